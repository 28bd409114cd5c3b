//! Every program passes the kernel's verifier.

use aya::programs::Program;
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
    let mut failed = Vec::new();
    for (name, program) in ebpf.programs_mut() {
        let loaded = match program {
            Program::Xdp(program) => program.load(),
            Program::SchedClassifier(program) => program.load(),
            other => panic!("{name}: unexpected type {other:?}"),
        };
        if let Err(error) = loaded {
            let text = format!("{error:?}");
            let tail: Vec<&str> = text.lines().rev().take(40).collect();
            failed.push(format!("{name}: {}", tail.into_iter().rev().collect::<Vec<_>>().join("\n")));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}
