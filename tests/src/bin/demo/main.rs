//! `cargo xtask demo`: the gateway at work, and what is seen of it on each wire.
//!
//! NPCI, one gateway and three tenants in network namespaces; real HTTP, UDP and ping both ways; a capture on NPCI's
//! wire and on every tenant's. What it prints about addresses is what was captured.

mod around;
mod failure;
mod interrupt;
mod traffic;
mod verdict;
mod wires;

use std::{
    io::{self, Write as _},
    panic::{self, AssertUnwindSafe},
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::{Parser, ValueEnum};
use gateway_tests::{capture::Capture, lab::Lab, topology, world::World};
use nix::unistd::geteuid;

use crate::{interrupt::Interrupt, traffic::Traffic, verdict::Verdict, wires::Wire};

/// NPCI, one gateway and three tenants in network namespaces, with real traffic and captures of every wire.
#[derive(Parser)]
#[command(name = "demo", bin_name = "cargo xtask demo")]
struct Options {
    /// Leave everything up until Ctrl-C, and print commands to look around
    #[arg(long)]
    keep: bool,
    /// How the gateway's programs are attached
    #[arg(long, value_enum, default_value_t = Mode::Tc)]
    mode: Mode,
}

#[derive(Clone, Copy, ValueEnum)]
enum Mode {
    /// TC, as for pods of one host
    Tc,
    /// XDP in the driver, as for network cards
    Xdp,
    /// XDP on any interface
    XdpGeneric,
}

impl From<Mode> for topology::Mode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Tc => Self::Tc,
            Mode::Xdp => Self::XdpNative,
            Mode::XdpGeneric => Self::XdpGeneric,
        }
    }
}

/// Stopped by Ctrl-C or SIGTERM.
struct Stopped;

fn main() -> ExitCode {
    let options = Options::parse();
    if !geteuid().is_root() {
        eprintln!("demo: must be root, to make network namespaces and load BPF programs");
        return ExitCode::FAILURE;
    }
    let interrupt = Interrupt::arm();
    let failure = failure::note_panics();
    // When this returns, all is removed.
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| run(&options, &interrupt)));
    let problem = match outcome {
        Ok(Ok(verdict)) if verdict.failed().is_empty() => {
            println!("demo: ok");
            return ExitCode::SUCCESS;
        }
        Ok(Ok(verdict)) => verdict.failed().join("; "),
        Ok(Err(Stopped)) => "stopped".to_owned(),
        Err(_) => failure.take(),
    };
    // The last line is the summary; a log may follow the first line of a panic.
    let (summary, details) = problem.split_once('\n').unwrap_or((&problem, ""));
    if !details.is_empty() {
        println!("\n{}", details.trim_end());
    }
    println!("demo: failed: {summary}");
    ExitCode::FAILURE
}

fn run(options: &Options, interrupt: &Interrupt) -> Result<Verdict, Stopped> {
    println!("The two-IP gateway: NPCI, one gateway and three tenants, each in a network namespace\n");
    let lab = step("network namespaces and the wires between them", || Lab::new(options.mode.into()));
    interrupt.check()?;
    let servers = "web and UDP servers of NPCI and of each tenant, gateway-daemon";
    let world = step(servers, || World::start(&lab));
    interrupt.check()?;
    let (traffic, wires) =
        step("HTTP, UDP and ping both ways, every wire captured", || exchange(&lab, &world));
    interrupt.check()?;
    println!("\n{traffic}\nCaptured: who opened connections to whom\n");
    for wire in &wires {
        println!("{wire}");
    }
    let drops = world.gateway.cli(&["drops"])["total"].as_u64();
    let verdict = Verdict::of(&lab, &traffic, &wires, drops);
    println!("{verdict}");
    if !verdict.failed().is_empty() {
        lab.session().keep();
    }
    if options.keep {
        println!("{}", around::commands(&lab, &world));
        interrupt.wait();
        println!("Removing the lab.");
    }
    Ok(verdict)
}

/// Sends everything while every wire is captured.
fn exchange(lab: &Lab, world: &World<'_>) -> (Traffic, Vec<Wire>) {
    let numbers = 1..=lab.tenants.len();
    let npci = lab.capture_npci();
    let tenants: Vec<Capture> = numbers.map(|number| lab.capture_tenant(number)).collect();
    let traffic = Traffic::send(lab, world);
    let mut wires = vec![Wire::of_npci(lab, &npci.stop())];
    let captured = lab.tenants.iter().zip(tenants);
    wires.extend(captured.map(|(tenant, capture)| Wire::of_tenant(lab, &tenant.plan, &capture.stop())));
    (traffic, wires)
}

/// Says what is done, does it, and says how long it took.
fn step<T>(what: &str, work: impl FnOnce() -> T) -> T {
    print!("  {what:<66}");
    // Only so that it is seen at once: a lost line is no harm.
    let _ = io::stdout().flush();
    let start = Instant::now();
    let value = work();
    println!(" {:>4.1} s", round_up(start.elapsed()).as_secs_f64());
    value
}

/// To tenths of a second: nothing takes no time.
fn round_up(time: Duration) -> Duration {
    time.max(Duration::from_millis(100))
}
