//! What the programs cost, in nanoseconds a packet.
//!
//! One `BPF_PROG_TEST_RUN` a packet with `repeat` 1, since with more the kernel feeds a program its own output: a
//! rewriting program would be timed on packets that it does not know. The time is the kernel's own account of the
//! program (`run_time_ns` of its statistics), which holds neither the system call nor the making of the packet.
//!
//! | module | is |
//! |---|---|
//! | [`cases`] | what is measured: packets of each kind, for XDP and for TC |
//! | [`rig`] | the network namespace, tables and flows that they need |
//! | [`meter`] | the kernel's account of one program |
//! | [`rounds`] | every case in turn, round after round |
//! | [`stats`] | medians, spreads, ratios |
//! | [`report`] | the table and the JSON |
//! | [`machine`] | where it was measured |

pub mod cases;
pub mod machine;
pub mod meter;
pub mod report;
pub mod rig;
pub mod rounds;
pub mod stats;

use crate::{Lab, Mode, topology::Topology};
use cases::Cases;
use machine::Machine;
use meter::Accounting;
use report::{ProgramRow, Report};
use rig::Rig;
use rounds::{Effort, Series};

/// Runs the suite `kernel` in a lab of its own.
#[track_caller]
pub fn kernel(effort: Effort) -> Report {
    // One tenant: with few entries the tables are at their fastest, which is what the references are compared with.
    // XDP mode, since a packet can only claim to come from an interface that XDP knows.
    let lab = Lab::with(Topology::builder().mode(Mode::XdpNative).tenants(1));
    let machine = Machine::here(machine::last_usable_cpu());
    lab.gateway.enter(|| {
        machine::stay_on(machine.used_cpu);
        let _accounting = Accounting::on();
        let (mut series, mut programs) = (Vec::new(), Vec::new());
        for load in 1..=effort.loads {
            let (measured, loaded) = one_load(&lab, load, effort);
            Series::append(&mut series, measured);
            programs = loaded;
        }
        Report::new(machine, effort, &series, programs)
    })
}

/// Loads everything anew: where the kernel puts programs and tables in memory decides several per cent.
fn one_load(lab: &Lab, number: usize, effort: Effort) -> (Vec<Series>, Vec<ProgramRow>) {
    let mut rig = Rig::build(lab, number);
    let cases = Cases::prepare(&rig, effort.runs);
    (rounds::run(&mut rig, &cases, effort), ProgramRow::all(&rig))
}
