//! What a NAT must withstand: floods, tenants that take too much, ports that run out, flows that idle out, and tenants that
//! pretend to be others.

pub mod exhaustion;
pub mod flood;
pub mod fuzz_report;
pub mod greedy;
pub mod idle;
pub mod isolation;
pub mod quarantine;

use std::{
    io,
    net::SocketAddrV4,
    time::{Duration, Instant},
};

use crate::{clients::Aim, lab::Lab, netns::Namespace, poll::poll_until, world::World};

/// How NPCI reaches a tenant's HTTP servers.
fn aim(lab: &Lab, world: &World<'_>, tenant: usize) -> Aim {
    let plan = &lab.tenant(tenant).plan;
    Aim { address: world.web(tenant), server: plan.name.clone(), seen_as: plan.nat_ip }
}

/// Lets time pass.
fn pass(time: Duration) {
    let begin = Instant::now();
    poll_until(2 * time + Duration::from_secs(10), "time to pass", || {
        (begin.elapsed() >= time).then_some(())
    });
}

/// Packets that were dropped for a reason so far.
fn dropped(world: &World<'_>, reason: &str) -> u64 {
    world.gateway.drops().get(reason).copied().unwrap_or(0)
}

/// Connects and ends the connection at once.
fn try_connect(from: &Namespace, target: SocketAddrV4, limit: Duration) -> io::Result<()> {
    from.connect(None, target, limit).map(drop)
}

/// The time that so many per cent of them are within; zero if there are none.
pub fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort_unstable();
    let index = (times.len() * percent).div_ceil(100).saturating_sub(1);
    times.get(index).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let mut times: Vec<Duration> = (1..=200).rev().map(Duration::from_millis).collect();
        assert_eq!(percentile(&mut times, 99), Duration::from_millis(198));
        assert_eq!(percentile(&mut times, 50), Duration::from_millis(100));
        assert_eq!(percentile(&mut [Duration::from_millis(7)], 99), Duration::from_millis(7));
        assert_eq!(percentile(&mut [], 99), Duration::ZERO);
    }
}
