//! The way that a packet would take, asked by an operator.

use std::net::Ipv4Addr;

use anyhow::Result;
use gateway_common::{
    abi::{FlowKey, Side},
    drop_reason::DropReason,
    verdict::Verdict,
};

pub(crate) mod request;

use self::request::{Given, ends_of, frame, no_such_interface, wrong};
use super::{Gateway, State, report::unavailable};
use crate::{
    api::{
        source::SourceError,
        types::{
            Endpoints, ExplainRequest, ExplainStep, ExplainedReason, Explanation, Fate, Hook, Protocol,
            StepAction,
        },
    },
    config::{self, Config},
    datapath::{
        explain::{self, Action, Inbound, Names, Step, explain, routes::KernelRoutes},
        hook, monotonic_ns,
    },
};

/// A configured interface that has our program.
struct Entrance<'a> {
    interface: &'a config::Interface,
    ifindex: u32,
    side: Side,
    hook: hook::Hook,
}

impl Gateway {
    pub(super) fn explanation(&self, request: &ExplainRequest) -> Result<Explanation, SourceError> {
        let (config, state) = (self.config(), self.state());
        let routes = KernelRoutes::open().map_err(unavailable)?;
        let Given { bytes, ends } = frame(&request.packet)?;
        let entrance = match &request.interface {
            Some(name) => state.entrance(&config, name)?,
            None => state.likely_entrance(&config, ends, &routes)?,
        };
        let packet = Inbound { bytes, ifindex: entrance.ifindex, side: entrance.side, hook: entrance.hook };
        let names = state.names();
        let explained =
            explain(&packet, &state.tables, &routes, &names, monotonic_ns()).map_err(unavailable)?;
        Ok(told(&entrance, explained, &names))
    }
}

impl State {
    pub(super) fn names(&self) -> Names {
        Names {
            tenants: self.tenants.iter().map(|(name, id)| (*id, name.clone())).collect(),
            interfaces: self.host.links.iter().map(|link| (link.index, link.name.clone())).collect(),
        }
    }

    /// The interfaces that packets can come in by.
    fn entrances<'a>(&'a self, config: &'a Config) -> impl Iterator<Item = Entrance<'a>> {
        config.interfaces.iter().filter_map(|interface| {
            let name = interface.name.as_str();
            let ifindex = self.host.link(name)?.index;
            let attachment = self.attachments.iter().find(|one| one.link.interface == name)?;
            Some(Entrance { interface, ifindex, side: attachment.side, hook: attachment.link.hook })
        })
    }

    fn entrance<'a>(&'a self, config: &'a Config, name: &str) -> Result<Entrance<'a>, SourceError> {
        let found = self.entrances(config).find(|one| one.interface.name.as_str() == name);
        found.ok_or_else(|| no_such_interface(name))
    }

    /// What comes to a VIP comes from NPCI's side, anything else from the tenants': by the interface that leads to
    /// its source, if that is on the same side, else by the first of the side.
    fn likely_entrance<'a>(
        &'a self,
        config: &'a Config,
        ends: Option<(Ipv4Addr, Ipv4Addr)>,
        routes: &KernelRoutes,
    ) -> Result<Entrance<'a>, SourceError> {
        let (source, destination) = ends_of(ends)?;
        let vips = [config.gateway.ingress_vip.get(), config.gateway.egress_vip.get()];
        let side = if vips.contains(&destination) { Side::External } else { Side::Internal };
        let towards = routes.interface_towards(source).map_err(unavailable)?;
        let on_side = || self.entrances(config).filter(|one| one.side == side);
        let likely = on_side().find(|one| Some(one.ifindex) == towards).or_else(|| on_side().next());
        likely.ok_or_else(|| {
            let problem = "the gateway is attached to no interface of the side that this packet comes from";
            wrong("interface", problem, "`gateway-daemon status` says why")
        })
    }
}

fn told(entrance: &Entrance<'_>, explained: explain::Explanation, names: &Names) -> Explanation {
    let explain::Explanation { steps, verdict, drop_reason, tenant, original, leaving } = explained;
    Explanation {
        fate: fate(verdict, drop_reason),
        reason: drop_reason.map(|reason| ExplainedReason {
            name: reason.name().to_owned(),
            explanation: reason.explanation().trim().to_owned(),
        }),
        interface: entrance.interface.name.as_str().to_owned(),
        side: entrance.side.into(),
        hook: match entrance.hook {
            hook::Hook::Tc | hook::Hook::TcFilter => Hook::Tc,
            hook::Hook::XdpNative | hook::Hook::XdpGeneric => Hook::Xdp,
        },
        tenant: tenant.map(|tenant| names.tenant(tenant)),
        protocol: original.and_then(|key| key.protocol()).map(Protocol::from),
        original: original.as_ref().map(endpoints),
        translated: leaving.as_ref().map(endpoints),
        leaves_by: leaves_by(verdict, entrance.ifindex).map(|ifindex| names.interface(ifindex)),
        steps: steps.into_iter().map(step).collect(),
    }
}

/// What is refused aloud has a reason and an answer.
fn fate(verdict: Verdict, reason: Option<DropReason>) -> Fate {
    match (verdict, reason) {
        (Verdict::Pass, _) => Fate::Passed,
        // The daemon keeps it for a moment: as far as can be told now, it goes nowhere.
        (Verdict::Drop(_) | Verdict::Held, _) => Fate::Dropped,
        (Verdict::Reply, Some(_)) => Fate::Refused,
        (Verdict::Reply, None) => Fate::Answered,
        (Verdict::Redirect { .. } | Verdict::RedirectNeighbour { .. }, _) => Fate::Translated,
    }
}

fn leaves_by(verdict: Verdict, ingress: u32) -> Option<u32> {
    match verdict {
        Verdict::Pass | Verdict::Drop(_) | Verdict::Held => None,
        Verdict::Reply => Some(ingress),
        Verdict::Redirect { ifindex } | Verdict::RedirectNeighbour { ifindex } => Some(ifindex),
    }
}

fn endpoints(key: &FlowKey) -> Endpoints {
    Endpoints {
        source: key.src.into(),
        source_port: key.src_port.number(),
        destination: key.dst.into(),
        destination_port: key.dst_port.number(),
    }
}

fn step(step: Step) -> ExplainStep {
    let Step { action, table, key, found } = step;
    let action = match action {
        Action::Look => StepAction::Look,
        Action::Insert => StepAction::Insert,
        Action::Remove => StepAction::Remove,
        Action::Count => StepAction::Count,
        Action::Report => StepAction::Report,
    };
    ExplainStep { action, table: table.to_owned(), key, found }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_aloud_is_no_answer() {
        let reason = Some(DropReason::RefusedNoBackend);
        assert_eq!(fate(Verdict::Reply, reason), Fate::Refused);
        assert_eq!(fate(Verdict::Reply, None), Fate::Answered);
        assert_eq!(leaves_by(Verdict::Reply, 7), Some(7));
        assert_eq!(leaves_by(Verdict::Drop(DropReason::NoFlow), 7), None);
    }
}
