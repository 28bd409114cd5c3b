//! Every program passes the kernel's verifier.

use aya::programs::{Program, ProgramError};
use gateway_daemon::datapath::{pins::Pins, programs};
use gateway_tests::{bpffs::BpfFs, session::Session};

#[test]
fn the_kernel_accepts_every_program() {
    let session = Session::start();
    let bpffs = BpfFs::mount(&session, "verifier");
    let pins = Pins::new(bpffs.path());
    pins.prepare().unwrap();
    let sizes = programs::TableSizes { established: 1024, half_open: 1024 };
    let mut ebpf = programs::load(Some(&pins), sizes).unwrap();
    // All of them, so that a kernel which refuses several says so at once.
    let refused: Vec<String> = ebpf
        .programs_mut()
        .filter_map(|(name, program)| Some(format!("{name}: {}", last_lines(&load(program).err()?))))
        .collect();
    assert!(refused.is_empty(), "{}", refused.join("\n"));
}

fn load(program: &mut Program) -> Result<(), ProgramError> {
    match program {
        Program::Xdp(program) => program.load(),
        Program::SchedClassifier(program) => program.load(),
        other => panic!("unexpected type {other:?}"),
    }
}

/// What the verifier said last: all of it would be a hundred thousand lines.
fn last_lines(error: &ProgramError) -> String {
    let text = format!("{error:?}");
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}
