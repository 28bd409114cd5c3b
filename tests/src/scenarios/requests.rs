//! Many short HTTP requests to all tenants at once: who answered, and whom did they see?

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::{
    clients::{Load, LoadReport},
    lab::Lab,
    topology::{Mode, TenantPlan},
    world::World,
};

/// What became of the requests.
#[derive(Debug, Default)]
pub struct Requests {
    /// Sent.
    pub sent: usize,
    /// Without an answer.
    pub failed: usize,
    /// Answered by another tenant's server, or seen to come from another address than the tenant's NAT IP.
    pub wrong_tenant: usize,
    /// From the first to the last.
    pub elapsed: Duration,
    /// What went wrong, by its words.
    pub problems: Vec<String>,
}

/// Sends so many requests from NPCI, a connection each, to three tenants at once.
#[track_caller]
pub fn run(mode: Mode, count: usize) -> Requests {
    let lab = Lab::new(mode);
    let world = World::start(&lab);
    let started = Instant::now();
    let reports: Vec<LoadReport> = thread::scope(|scope| {
        let loads = lab.tenants.iter().map(|tenant| {
            let share = share(count, lab.tenants.len(), tenant.plan.number - 1);
            let load = Load::new(world.web(tenant.plan.number), share);
            let npci = &lab.npci;
            scope.spawn(move || load.run(npci))
        });
        let loads: Vec<_> = loads.collect();
        loads
            .into_iter()
            .map(|load| load.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    let mut requests = Requests { elapsed: started.elapsed(), ..Requests::default() };
    for (report, tenant) in reports.iter().zip(&lab.tenants) {
        requests.add(report, &tenant.plan);
    }
    requests
}

/// The parts differ by one at most, and sum up to the whole.
fn share(whole: usize, parts: usize, index: usize) -> usize {
    whole / parts + usize::from(index < whole % parts)
}

impl Requests {
    fn add(&mut self, report: &LoadReport, tenant: &TenantPlan) {
        let right_name = report.by_server.get(&tenant.name).copied().unwrap_or(0);
        let right_client = report.by_seen_client.get(&tenant.nat_ip).copied().unwrap_or(0);
        self.sent += report.answered() + report.failed();
        self.failed += report.failed();
        let wrong = report.answered() - right_name.min(right_client);
        self.wrong_tenant += wrong;
        if wrong > 0 {
            let seen = (&report.by_server, &report.by_seen_client);
            self.problems.push(format!("{}: answers came from and to {seen:?}", tenant.name));
        }
        let failures = report.failures.iter();
        self.problems.extend(failures.map(|(words, count)| format!("{}: {count} x {words}", tenant.name)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_sum_up() {
        assert_eq!([0, 1, 2].map(|index| share(10_000, 3, index)), [3334, 3333, 3333]);
    }
    #[test]
    fn an_answer_of_or_for_somebody_else_counts_as_wrong() {
        let tenant = TenantPlan::numbered(1);
        let count = |name: &str, client| {
            let report = LoadReport {
                by_server: [(name.to_owned(), 2), (tenant.name.clone(), 8)].into(),
                by_seen_client: [(client, 3), (tenant.nat_ip, 7)].into(),
                failures: [("refused".to_owned(), 1)].into(),
                elapsed: Duration::ZERO,
            };
            let mut requests = Requests::default();
            requests.add(&report, &tenant);
            (requests.sent, requests.failed, requests.wrong_tenant, requests.problems.len())
        };
        assert_eq!(count("bank-2", TenantPlan::numbered(2).nat_ip), (11, 1, 3, 2));
    }
}
