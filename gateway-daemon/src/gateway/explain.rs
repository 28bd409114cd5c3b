//! The way that a packet would take, asked by an operator.

use std::net::Ipv4Addr;

use anyhow::Result;
use gateway_common::{
    abi::{FlowKey, Port, Side},
    drop_reason::DropReason,
    verdict::Verdict,
};

use super::{Gateway, State, report::unavailable};
use crate::{
    api::{
        source::SourceError,
        types::{
            Endpoints, ExplainPacket, ExplainRequest, ExplainStep, ExplainTuple, ExplainedReason,
            Explanation, Fate, Hook, Protocol, StepAction, TcpFlag,
        },
    },
    config::{self, Config},
    datapath::{
        explain::{self, Action, Inbound, Names, Step, explain, frame::Tuple, routes::KernelRoutes},
        hook, monotonic_ns,
    },
};

/// The longest frame that is taken: an IPv4 packet at its largest, with its link header and a tag.
const FRAME_MAX: usize = 65_535 + 18;

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
        let (bytes, destination, source) = frame(&request.packet)?;
        let entrance = match &request.interface {
            Some(name) => state.entrance(&config, name)?,
            None => state.likely_entrance(&config, source.zip(destination), &routes)?,
        };
        let packet = Inbound { bytes, ifindex: entrance.ifindex, side: entrance.side, hook: entrance.hook };
        let names = state.names();
        let explained =
            explain(&packet, &state.tables, &routes, &names, monotonic_ns()).map_err(unavailable)?;
        Ok(told(&entrance, explained, &names))
    }
}

impl State {
    fn names(&self) -> Names {
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
        found.ok_or_else(|| {
            let remedy = "`gateway-daemon status` lists the interfaces";
            wrong("interface", format!("`{name}` is no interface that the gateway is attached to"), remedy)
        })
    }

    /// What comes to a VIP comes from NPCI's side, anything else from the tenants': by the interface that leads to
    /// its source, if that is on the same side, else by the first of the side.
    fn likely_entrance<'a>(
        &'a self,
        config: &'a Config,
        ends: Option<(Ipv4Addr, Ipv4Addr)>,
        routes: &KernelRoutes,
    ) -> Result<Entrance<'a>, SourceError> {
        let (source, destination) = ends.ok_or_else(|| {
            wrong("interface", "a packet in hexadecimal comes in somewhere", "name the interface")
        })?;
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

fn wrong(field: &'static str, problem: impl Into<String>, remedy: &str) -> SourceError {
    SourceError::Wrong { field, problem: problem.into(), remedy: remedy.to_owned() }
}

/// The frame, and its destination and source if they are given apart.
type Given = (Vec<u8>, Option<Ipv4Addr>, Option<Ipv4Addr>);

fn frame(packet: &ExplainPacket) -> Result<Given, SourceError> {
    match packet {
        ExplainPacket::Hex(text) => Ok((bytes_of(text)?, None, None)),
        ExplainPacket::Tuple(tuple) => {
            let frame = tuple_of(tuple)?.frame();
            Ok((frame, Some(tuple.destination), Some(tuple.source)))
        }
    }
}

fn bytes_of(text: &str) -> Result<Vec<u8>, SourceError> {
    let digits: Option<Vec<u8>> = text
        .chars()
        .filter(|letter| !letter.is_ascii_whitespace() && *letter != ':')
        .map(|letter| letter.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect();
    let remedy = "give the whole Ethernet frame, two hexadecimal digits a byte, as `tcpdump -xx` prints them";
    let digits = digits.filter(|digits| digits.len().is_multiple_of(2) && !digits.is_empty());
    let digits = digits.ok_or_else(|| wrong("packet.hex", "these are no bytes in hexadecimal", remedy))?;
    if digits.len() > 2 * FRAME_MAX {
        let problem = format!("the frame is longer than {FRAME_MAX} bytes");
        return Err(wrong("packet.hex", problem, remedy));
    }
    Ok(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

fn tuple_of(tuple: &ExplainTuple) -> Result<Tuple, SourceError> {
    if tuple.protocol != Protocol::Tcp && !tuple.flags.is_empty() {
        let problem = format!("{} has no flags", tuple.protocol);
        return Err(wrong("packet.tuple.flags", problem, "leave them out, or make it tcp"));
    }
    Ok(Tuple {
        protocol: tuple.protocol.into(),
        source: (tuple.source.into(), Port::new(tuple.source_port)),
        destination: (tuple.destination.into(), Port::new(tuple.destination_port)),
        tcp_flags: flags_byte(&tuple.flags),
    })
}

/// None at all are those of a packet that opens a connection.
fn flags_byte(flags: &[TcpFlag]) -> u8 {
    use gateway_common::wire::transport::{TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN};
    if flags.is_empty() {
        return TCP_SYN;
    }
    let bit = |flag: &TcpFlag| match flag {
        TcpFlag::Syn => TCP_SYN,
        TcpFlag::Ack => TCP_ACK,
        TcpFlag::Fin => TCP_FIN,
        TcpFlag::Rst => TCP_RST,
    };
    flags.iter().map(bit).fold(0, std::ops::BitOr::bitor)
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
            hook::Hook::Tc => Hook::Tc,
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
        (Verdict::Drop(_), _) => Fate::Dropped,
        (Verdict::Reply, Some(_)) => Fate::Refused,
        (Verdict::Reply, None) => Fate::Answered,
        (Verdict::Redirect { .. } | Verdict::RedirectNeighbour { .. }, _) => Fate::Translated,
    }
}

fn leaves_by(verdict: Verdict, ingress: u32) -> Option<u32> {
    match verdict {
        Verdict::Pass | Verdict::Drop(_) => None,
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

    fn field(error: SourceError) -> &'static str {
        match error {
            SourceError::Wrong { field, .. } => field,
            error => panic!("{error}"),
        }
    }

    #[test]
    fn bytes_may_be_spaced_as_tools_print_them() {
        assert_eq!(bytes_of("02:00 0a\nFF").unwrap(), [2, 0, 10, 255]);
        for text in ["", " ", "0", "0g", "0x00", "\u{e9}0"] {
            assert_eq!(field(bytes_of(text).unwrap_err()), "packet.hex", "{text}");
        }
        assert_eq!(field(bytes_of(&"00".repeat(FRAME_MAX + 1)).unwrap_err()), "packet.hex");
    }

    #[test]
    fn flags_are_for_tcp_and_a_syn_is_meant_without_them() {
        assert_eq!(flags_byte(&[]), 0x02);
        assert_eq!(flags_byte(&[TcpFlag::Syn, TcpFlag::Ack]), 0x12);
        assert_eq!(flags_byte(&[TcpFlag::Fin, TcpFlag::Ack, TcpFlag::Rst]), 0x15);
        let tuple = ExplainTuple {
            protocol: Protocol::Udp,
            source: Ipv4Addr::LOCALHOST,
            source_port: 1,
            destination: Ipv4Addr::LOCALHOST,
            destination_port: 2,
            flags: vec![TcpFlag::Syn],
        };
        assert_eq!(field(tuple_of(&tuple).unwrap_err()), "packet.tuple.flags");
    }

    #[test]
    fn what_is_refused_aloud_is_no_answer() {
        let reason = Some(DropReason::RefusedNoBackend);
        assert_eq!(fate(Verdict::Reply, reason), Fate::Refused);
        assert_eq!(fate(Verdict::Reply, None), Fate::Answered);
        assert_eq!(leaves_by(Verdict::Reply, 7), Some(7));
        assert_eq!(leaves_by(Verdict::Drop(DropReason::NoFlow), 7), None);
    }
}
