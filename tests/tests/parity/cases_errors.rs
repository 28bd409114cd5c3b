//! ICMP errors about packets of flows, in both directions, and about nothing.

use std::net::Ipv4Addr;

use gateway_common::drop_reason::DropReason;
use gateway_tests::packet::{IcmpError, Packet};

use crate::expect::{Expect, dropped, passed, translated};
use crate::places::{
    EGRESS_VIP, INGRESS_VIP, NPCI, ROUTED, STRANGER, Wire, backend, client, nat_ip, second_backend,
};
use crate::rig::{Case, Rig};
use crate::talk::{ACK, DATA, End, SYN, Talk, ping, pong, settled, tcp, udp};

/// All of them.
pub const CASES: &[Case] = &[
    Case::new("errors: about an ingress connection", about_ingress),
    Case::new("errors: about an egress connection", about_egress),
    Case::new("errors: about datagrams, with and without a checksum", about_datagrams),
    Case::new("errors: about echo", about_echo),
    Case::new("errors: every length of quote, options in both headers", lengths),
    Case::new("errors: about a connection whose client is shown", about_preserved),
    Case::new("errors: from another tenant, or an impossible sender", foreign),
    Case::new("errors: about no flow", about_nothing),
];

const ERRORS: [IcmpError; 7] = [
    IcmpError::NetUnreachable,
    IcmpError::HostUnreachable,
    IcmpError::PortUnreachable,
    IcmpError::FragmentationNeeded { mtu: 1300 },
    IcmpError::AdministrativelyProhibited,
    IcmpError::TtlExceeded,
    IcmpError::ParameterProblem { pointer: 9 },
];

/// A packet of a flow as its sender wrote it and as the other side saw it, and where the two are.
struct Sent {
    sender: Wire,
    seer: Wire,
    tenant: u8,
    written: Packet,
    seen: Packet,
}

impl Sent {
    /// The error arrives about what was seen, and leaves about what was written.
    #[track_caller]
    fn complain(&self, rig: &mut Rig, error: IcmpError, router: Ipv4Addr, shown: Ipv4Addr, cut: usize) {
        let quote = |packet: &Packet| {
            let bytes = packet.build();
            bytes[14..bytes.len().min(14 + cut)].to_vec()
        };
        let (seen, written) = (quote(&self.seen), quote(&self.written));
        let about = |quoted: &[u8], from: Ipv4Addr| {
            let to = Ipv4Addr::new(quoted[12], quoted[13], quoted[14], quoted[15]);
            Packet::icmp(from, to, error.type_and_code(), error.rest()).payload(quoted)
        };
        let expect = translated(self.sender, about(&written, shown))
            .of(self.tenant)
            .counting("icmp_errors_translated", 1);
        rig.step(&format!("{error:?}, {cut} bytes"), self.seer, &about(&seen, router), &expect);
    }
}

/// A packet of the opener's, the time to live as it is where the error is made.
fn forth(talk: &Talk, packet: impl Fn(End, End) -> Packet) -> Sent {
    Sent {
        sender: talk.opener,
        seer: talk.other,
        tenant: talk.tenant,
        written: packet(talk.near.0, talk.near.1),
        seen: packet(talk.far.0, talk.far.1),
    }
}

/// A packet to the opener.
fn back(talk: &Talk, packet: impl Fn(End, End) -> Packet) -> Sent {
    Sent {
        sender: talk.other,
        seer: talk.opener,
        tenant: talk.tenant,
        written: packet(talk.far.1, talk.far.0),
        seen: packet(talk.near.1, talk.near.0),
    }
}

/// Enough for every header.
const WHOLE: usize = 600;

fn about_ingress(rig: &mut Rig) {
    let talk = Talk::upi(rig, (NPCI, 40_000));
    talk.handshake(rig);
    let data = |src, dst| tcp(DATA)(src, dst).payload(b"a request");
    for error in ERRORS {
        for cut in [28, WHOLE] {
            forth(&talk, data).complain(rig, error, backend(1), INGRESS_VIP, cut);
            forth(&talk, data).complain(rig, error, second_backend(1), INGRESS_VIP, cut);
            back(&talk, data).complain(rig, error, client(101), nat_ip(1), cut);
        }
    }
    talk.data(rig);
}

fn about_egress(rig: &mut Rig) {
    let talk = Talk::egress(rig, 1, (backend(1), 50_000), (NPCI, 443));
    talk.handshake(rig);
    let data = |src, dst| tcp(DATA)(src, dst).payload(b"a request");
    for error in ERRORS {
        for cut in [28, WHOLE] {
            // The tenant called the endpoint itself: it may know the routers on the way.
            forth(&talk, data).complain(rig, error, ROUTED, ROUTED, cut);
            back(&talk, data).complain(rig, error, second_backend(1), EGRESS_VIP, cut);
        }
    }
    talk.data(rig);
}

fn about_datagrams(rig: &mut Rig) {
    let talk = Talk::egress(rig, 1, (backend(1), 50_001), (NPCI, 53));
    talk.forth(rig, "query", udp(b"query"), Expect::opens);
    let half_open = forth(&talk, udp(b"query"));
    half_open.complain(rig, IcmpError::PortUnreachable, NPCI, NPCI, WHOLE);
    talk.back(rig, "answer", udp(b"answer"), Expect::establishes);
    for error in ERRORS {
        forth(&talk, udp(b"query")).complain(rig, error, NPCI, NPCI, 28);
        back(&talk, udp(b"answer")).complain(rig, error, backend(1), EGRESS_VIP, WHOLE);
    }
    talk.back(rig, "answer", udp(b"answer"), settled);
}

fn about_echo(rig: &mut Rig) {
    let talk = Talk::egress(rig, 1, (backend(1), 7_000), (NPCI, 0));
    talk.forth(rig, "ping", ping(b"ping"), Expect::opens);
    forth(&talk, ping(b"ping")).complain(rig, IcmpError::TtlExceeded, ROUTED, ROUTED, 28);
    forth(&talk, ping(b"ping")).complain(rig, IcmpError::HostUnreachable, ROUTED, ROUTED, WHOLE);
    talk.back(rig, "pong", |src, dst| pong(b"ping")(src, (dst.0, 7_000)), Expect::establishes);
}

fn lengths(rig: &mut Rig) {
    let talk = Talk::upi(rig, (NPCI, 40_001));
    talk.handshake(rig);
    for options in [0, 4, 20, 40] {
        let data = |src, dst| tcp(DATA)(src, dst).payload(&[7; 100]).ip_options(&vec![1; options]);
        for cut in (28..60).filter(|cut| *cut != 37).chain([140]) {
            forth(&talk, data).complain(
                rig,
                IcmpError::HostUnreachable,
                backend(1),
                INGRESS_VIP,
                options + cut,
            );
        }
    }
}

/// The server sees the client itself, and so the routers on the way to it.
fn about_preserved(rig: &mut Rig) {
    let talk = Talk::ingress(rig, 1, (NPCI, 40_009), 8445, (backend(1), 8080)).seen_from((NPCI, 40_009));
    talk.handshake(rig);
    for error in ERRORS {
        back(&talk, tcp(ACK)).complain(rig, error, client(101), client(101), WHOLE);
        forth(&talk, tcp(ACK)).complain(rig, error, backend(1), INGRESS_VIP, 28);
    }
}

fn foreign(rig: &mut Rig) {
    let talk = Talk::upi(rig, (NPCI, 40_002));
    talk.handshake(rig);
    let (outside, inside) = (rig.world.external, rig.world.tenant(2));
    let about = |talk: &Talk| tcp(DATA)(talk.far.0, talk.far.1).build();
    let error = |src| Packet::icmp_error(src, nat_ip(1), IcmpError::HostUnreachable, &about(&talk));
    let refused = |reason: DropReason| dropped(reason).of(1);
    for src in [backend(2), nat_ip(2), INGRESS_VIP, Ipv4Addr::LOCALHOST] {
        rig.step("another tenant's", inside, &error(src), &refused(DropReason::SourceNotTenant));
    }
    let seen = tcp(DATA)(talk.near.1, talk.near.0).build();
    for src in [backend(1), EGRESS_VIP, Ipv4Addr::BROADCAST] {
        let error = Packet::icmp_error(src, INGRESS_VIP, IcmpError::HostUnreachable, &seen);
        rig.step("from outside", outside, &error, &refused(DropReason::Martian));
    }
}

fn about_nothing(rig: &mut Rig) {
    let (outside, inside) = (rig.world.external, rig.world.tenant(1));
    let refused = || dropped(DropReason::IcmpErrorUnmatched);
    let about = tcp(SYN)((EGRESS_VIP, 50_000), (NPCI, 443)).build();
    for error in ERRORS {
        let inward = Packet::icmp_error(NPCI, EGRESS_VIP, error, &about);
        rig.step("to the egress VIP", outside, &inward, &refused());
        let outward = Packet::icmp_error(backend(1), NPCI, error, &about);
        rig.step("of a tenant", inside, &outward, &refused().of(1));
        rig.step("not ours", outside, &Packet::icmp_error(NPCI, STRANGER, error, &about), &passed());
    }
}
