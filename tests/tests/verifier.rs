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
    let costs: Vec<_> = ebpf.programs().map(|(name, program)| (name, verified(program))).collect();
    for (name, instructions) in &costs {
        println!("{name}: {instructions} instructions verified");
    }
    let dear: Vec<_> = costs.iter().filter(|(_, instructions)| *instructions > VERIFIED_MAX).collect();
    assert!(dear.is_empty(), "too near the verifier's limit of 1,000,000: {dear:?}");
}

/// The verifier gives up at a million; other kernels prune less than this one.
const VERIFIED_MAX: u32 = 600_000;

fn verified(program: &Program) -> u32 {
    program.info().unwrap().verified_instruction_count().unwrap_or(0)
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
