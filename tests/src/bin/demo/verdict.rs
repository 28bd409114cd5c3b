//! What must hold, each with whether it does.

use std::{collections::BTreeSet, fmt, net::Ipv4Addr};

use gateway_tests::{lab::Lab, topology::TenantPlan};

use crate::{traffic::Traffic, wires::Wire};

/// The list.
pub struct Verdict(Vec<Check>);

struct Check {
    holds: bool,
    claim: String,
}

impl Verdict {
    /// Judges what was sent, what was captured (NPCI's wire first, then the tenants' in order), and what the gateway
    /// counted.
    pub fn of(lab: &Lab, traffic: &Traffic, wires: &[Wire], drops: Option<u64>) -> Self {
        let (npci, tenants) = wires.split_first().expect("NPCI's wire is captured");
        let mut checks = vec![all_answered(traffic)];
        checks.extend(npci_checks(lab, npci));
        checks.extend(lab.tenants.iter().zip(tenants).map(|(tenant, wire)| tenant_check(&tenant.plan, wire)));
        checks.push(isolation(lab, tenants));
        checks.push(check(drops == Some(0), "the gateway dropped no packet".to_owned()));
        Self(checks)
    }

    /// What does not hold.
    pub fn failed(&self) -> Vec<String> {
        self.0.iter().filter(|check| !check.holds).map(|check| format!("not true: {}", check.claim)).collect()
    }
}

fn check(holds: bool, claim: String) -> Check {
    Check { holds, claim }
}

fn all_answered(traffic: &Traffic) -> Check {
    let questions = traffic.questions();
    check(
        questions > 0 && traffic.failures() == 0,
        format!("all {questions} calls were answered by the right server, which saw the right client"),
    )
}

/// One destination, one source.
fn npci_checks(lab: &Lab, wire: &Wire) -> [Check; 2] {
    let (ingress_vip, egress_vip) = (lab.plan.ingress_vip, lab.plan.egress_vip);
    let is_npci = |address: &Ipv4Addr| lab.plan.npci_endpoints.contains(address);
    let called: BTreeSet<Ipv4Addr> =
        wire.rows.iter().filter(|row| is_npci(&row.from)).map(|row| row.to).collect();
    let callers: BTreeSet<Ipv4Addr> =
        wire.rows.iter().filter(|row| !is_npci(&row.from)).map(|row| row.from).collect();
    [
        check(
            called == [ingress_vip].into() && wire.is_understood(),
            format!("NPCI called one address only, the ingress VIP {ingress_vip}"),
        ),
        check(
            callers == [egress_vip].into() && wire.is_understood(),
            format!("NPCI was called from one address only, the egress VIP {egress_vip}"),
        ),
    ]
}

/// Calls come from the NAT IP alone.
fn tenant_check(tenant: &TenantPlan, wire: &Wire) -> Check {
    let is_inside = |address: &Ipv4Addr| tenant.backends.contains(address);
    let callers: BTreeSet<Ipv4Addr> =
        wire.rows.iter().filter(|row| !is_inside(&row.from)).map(|row| row.from).collect();
    check(
        callers == [tenant.nat_ip].into() && wire.is_understood(),
        format!("{} was called from one address only, its own NAT IP {}", tenant.name, tenant.nat_ip),
    )
}

/// Nobody else's address on any tenant's wire, in either direction.
fn isolation(lab: &Lab, wires: &[Wire]) -> Check {
    let is_clean = |number: usize, wire: &Wire| {
        let own = &lab.tenant(number).plan;
        wire.addresses.iter().all(|address| {
            *address == own.nat_ip
                || own.backends.contains(address)
                || lab.plan.npci_endpoints.contains(address)
        })
    };
    check(
        (1..).zip(wires).all(|(number, wire)| is_clean(number, wire)),
        "no tenant's wire showed a VIP or an address of another tenant".to_owned(),
    )
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|Check { holds, claim }| {
            writeln!(f, "  {:<6} {claim}", if *holds { "yes" } else { "NO" })
        })
    }
}
