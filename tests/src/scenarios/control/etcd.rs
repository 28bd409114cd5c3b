//! The tenants are in etcd, and etcd dies: what goes on, what is refused, and what comes back.

use std::time::Duration;

use super::stage::{Stage, wait};
use crate::{
    clients::open_loop::{Exchanges, OpenLoop},
    gateway::Store,
    lab::Lab,
    servers::Etcd,
    topology::Mode,
};

/// All of them get requests.
const TENANTS: usize = 3;
/// Until changes are taken again.
const RECOVERY: Duration = Duration::from_secs(15);
/// Requests that are to be answered in each stretch.
const STRETCH: usize = 200;

/// What was seen.
#[derive(Debug)]
pub struct Outage {
    /// Requests all the time.
    pub exchanges: Exchanges,
    /// What the caller of a change was told while etcd was away.
    pub refused: Vec<String>,
    /// What was not as it should be.
    pub problems: Vec<String>,
}

/// etcd is killed; the daemon is killed and started without it; etcd comes back.
#[track_caller]
pub fn run(rate: u32) -> Outage {
    let lab = Lab::new(Mode::Tc);
    let mut etcd = Etcd::start(&lab.gateway);
    let mut stage = Stage::start(&lab, |config| config.store = Some(Store::etcd(etcd.url())));
    let load = OpenLoop::new(rate, stage.aims(1..=TENANTS)).start(&lab.npci);
    let (mut refused, mut problems) = (Vec::new(), Vec::new());
    let mut answered = STRETCH;
    let mut more = || {
        load.wait_for(answered);
        answered += STRETCH;
    };
    more();
    problems.extend(stage.api.set_weight(&stage.backend(1, 0), 2).err().map(|why| format!("before: {why}")));
    etcd.kill();
    match stage.api.set_weight(&stage.backend(1, 0), 3) {
        Ok(_) => problems.push("a change was taken while etcd was away".to_owned()),
        Err(why) => refused.push(why),
    }
    more();
    assert!(!stage.gateway.process().kill().success(), "the daemon was killed");
    stage.gateway.launch();
    let mut api = stage.gateway.api();
    match api.set_weight(&stage.backend(1, 0), 4) {
        Ok(_) => problems.push("a change was taken by a daemon that began without etcd".to_owned()),
        Err(why) => refused.push(why),
    }
    more();
    etcd.launch();
    let again =
        wait(RECOVERY, "changes to be taken again", || api.set_weight(&stage.backend(1, 0), 5).is_ok());
    problems.extend(again.err());
    more();
    Outage { exchanges: load.stop(), refused, problems }
}
