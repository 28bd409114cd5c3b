//! Why a packet was dropped: one stable number and name each, used by the kernel's counters, the metrics, the API
//! and the documentation (`docs/drop-reasons.md` is made from this list).

/// Declares the reasons once: comment, number, name, advice. All that is said about them anywhere is derived from this
/// one list.
macro_rules! drop_reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident = $number:literal, $name:literal, $advice:literal;)+) => {
        /// The one reason why a packet was dropped. Numbers are stable: a retired one is never used again.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum DropReason {
            $($(#[doc = $doc])+ $variant = $number,)+
        }

        impl DropReason {
            /// Every reason, in order of its number.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The name used as metric label and in the CLI.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// What it means, for the operator.
            pub const fn explanation(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc),+),)+ }
            }

            /// What the operator can do about it.
            pub const fn advice(self) -> &'static str {
                match self { $(Self::$variant => $advice,)+ }
            }

            /// The name in the source.
            pub const fn variant(self) -> &'static str {
                match self { $(Self::$variant => stringify!($variant),)+ }
            }
        }
    };
}

drop_reasons! {
    /// The frame ends before its Ethernet, IPv4 or transport header does.
    Truncated = 1, "truncated",
        "Capture on the incoming interface. One sender: its card or tunnel cuts frames. Many: somebody is probing.";
    /// The IPv4 header contradicts itself: version, header length or total length.
    BadIpHeader = 2, "bad_ip_header",
        "Capture on the incoming interface and look at the sender: no working IP stack sends this.";
    /// The TCP, UDP or ICMP header contradicts itself: data offset or length.
    BadTransportHeader = 3, "bad_transport_header",
        "Capture on the incoming interface and look at the sender: no working stack sends this.";
    /// A later part of a fragmented datagram whose first part did not come in time, or was refused.
    FragmentUnmatched = 4, "fragment_unmatched",
        "A few are normal where packets are lost. Many: what drops the first parts? Lower the senders' MTU.";
    /// An ICMP error that quotes a packet of no tracked flow.
    IcmpErrorUnmatched = 5, "icmp_error_unmatched",
        "Nothing, if it is rare: the flow had ended. Many: somebody forges errors.";
    /// An ICMP message other than echo and errors (a redirect or source quench is none that may be passed on).
    IcmpTypeNotSupported = 6, "icmp_type_not_supported",
        "Nothing: only echo and errors are translated.";
    /// An IP protocol other than TCP, UDP and ICMP.
    ProtocolNotSupported = 7, "protocol_not_supported",
        "Nothing can be done with tunnels through the gateway: route them past it.";
    /// No listener for this address, protocol and port. Add one, or tell the sender.
    NoListener = 8, "no_listener",
        "`gateway-daemon listener list` shows what there is. Add one, or correct the sender.";
    /// The source is not in the listener's allow-list.
    SourceNotAllowed = 9, "source_not_allowed",
        "Add the source to the listener's `allow`, if it is one of NPCI's; else somebody tries.";
    /// The listener's pool has no backend that takes new flows, and is silent about it.
    NoBackend = 10, "no_backend",
        "`gateway-daemon backend list`: bring a backend up, or end its maintenance; see docs/health.md.";
    /// A packet to a tenant NAT IP from a source that is not that tenant's, or from an address that is the gateway's own.
    SourceNotTenant = 11, "source_not_tenant",
        "Correct the caller's target, or the tenant's `sources`. A source that is the gateway's own is spoofed.";
    /// A tenant called an address, protocol or port that is in none of its peer groups.
    DestinationNotAllowed = 12, "destination_not_allowed",
        "Add the endpoint to one of the tenant's peer groups, if the tenant may call it.";
    /// A packet straight to a tenant's own address, around the VIPs: from the external side, or from inside by nobody's host.
    DirectToTenant = 13, "direct_to_tenant",
        "Tell the sender to call the ingress VIP. If it is not NPCI, look at who can reach the interface that it came in by.";
    /// A packet to a VIP from the internal side, or to a tenant NAT IP from the external side.
    WrongSide = 14, "wrong_side",
        "Look at routing: packets to these addresses have to come in on the other side.";
    /// No flow is known and this packet cannot open one (TCP without SYN, an echo reply, a stray answer).
    NoFlow = 15, "no_flow",
        "A few are normal after flows have expired. Many: the timeouts are shorter than the applications' silence.";
    /// No free port of this node's slices towards that destination within the bounded search: TCP was reset, UDP got an ICMP error.
    PortsExhausted = 16, "ports_exhausted",
        "Fewer connections to this one destination: pool them, or spread them over more of NPCI's endpoints.";
    /// The table of half-open flows is full: a flood, or `limits.half_open_flows` is too small.
    HalfOpenTableFull = 17, "half_open_table_full",
        "Look for the source of SYNs that are never finished; if they are wanted, raise `limits.half_open_flows`.";
    /// The table of established flows is full: `limits.flows` is too small.
    FlowTableFull = 18, "flow_table_full",
        "Raise `limits.flows`, or find out which tenant keeps so many connections with `gateway-daemon flows`.";
    /// With `source = "preserve"`: another flow already has this client and backend tuple.
    TupleInUse = 19, "tuple_in_use",
        "Take `source = \"preserve\"` off one of the two listeners that lead to this backend.";
    /// The packet's time to live ended here.
    TtlExceeded = 20, "ttl_exceeded",
        "Look for a routing loop; `traceroute` causes single ones.";
    /// The packet is larger than the outgoing link's MTU.
    MtuExceeded = 21, "mtu_exceeded",
        "Make the MTU of both sides equal, or lower the senders' MTU.";
    /// The kernel has no usable route (or a blackhole, unreachable, prohibit one) to the next hop.
    NoRoute = 22, "no_route",
        "Add a route to `[[route]]`, or to the kernel; `ip route get` shows what there is.";
    /// The next hop's link address is not known yet; the daemon has been asked to resolve it.
    NoNeighbour = 23, "no_neighbour",
        "Nothing, if it is one packet: the next goes through. If it goes on, the next hop does not answer ARP.";
    /// IPv4 forwarding is off on the incoming interface, so the kernel refuses to route. See `status`.
    ForwardingDisabled = 24, "forwarding_disabled",
        "Something has switched `net.ipv4.conf.<interface>.forwarding` off; the daemon switches it on again.";
    /// The route leads out of an interface that is not on the side the packet must leave by.
    WrongInterface = 25, "wrong_interface",
        "Correct the route, or name the interface in the configuration on the side it belongs to.";
    /// The packet could not be changed as planned (no headroom for a VLAN tag, or the kernel refused).
    RewriteFailed = 26, "rewrite_failed",
        "Look into the daemon's log and report it with the interface's driver.";
    /// The tables contradict each other or are empty: the daemon has not finished filling them.
    NotConfigured = 27, "not_configured",
        "Wait for the daemon to be ready (`/readyz?verbose` says what is missing); if it goes on, restart the daemon.";
    /// This node does not hold the lease that allows it to open flows.
    NoLease = 28, "no_lease",
        "Nothing, if another node has the addresses. If none has, the daemons' logs say why.";
    /// Not the gateway's, but the kernel would have forwarded it untranslated from one side to the other.
    CrossesSides = 29, "crosses_sides",
        "If these packets are wanted, route them past this host; else somebody uses it as a router.";
    /// TC: the kernel could not make the headers contiguous (it was out of memory).
    NotLinear = 30, "not_linear",
        "The kernel is out of memory: free some.";
    /// The pool has no backend that takes new flows, and answers so: TCP was reset, UDP got an ICMP error.
    RefusedNoBackend = 31, "refused_no_backend",
        "`gateway-daemon backend list`: bring a backend up, or end its maintenance; see docs/health.md.";
    /// The listener or the tenant is draining and takes no new flows: TCP was reset, UDP got an ICMP error.
    RefusedDraining = 32, "refused_draining",
        "Nothing: that is what draining means. `gateway-daemon tenant resume` ends it.";
    /// The operator or a failed health check ended this flow: its TCP packets were answered with a reset.
    FlowReset = 33, "flow_reset",
        "Nothing: both ends open a new connection.";
    /// A fragment contradicts its datagram (it overlaps another part, is no multiple of 8 bytes long, or ends too far out), or is of a SYN.
    BadFragment = 34, "bad_fragment",
        "Capture on the incoming interface and look at the sender: no working stack sends this.";
    /// From the external side with a source that no sender there can have: a tenant's, one of ours, or no single host's.
    Martian = 35, "martian",
        "Somebody forges sources, or a network is connected twice: capture and look at the link address.";
    /// The tenant has as many flows as it may have at a time.
    TenantFlowsExceeded = 36, "tenant_flows_exceeded",
        "`gateway-daemon flows --tenant` shows what they are. Raise the tenant's `max_flows`, or make it close what it does not use.";
    /// The tenant opens flows faster than it may.
    TenantRateExceeded = 37, "tenant_rate_exceeded",
        "A flood, or a client that reconnects in a loop. Raise the tenant's `new_flows_per_second` if it is wanted.";
    /// A packet of a flow that was idle for too long.
    FlowExpired = 38, "flow_expired",
        "An end believes in a connection that the gateway has given up: raise the timeout of its kind, or let the ends send keep-alives.";
    /// A SYN to a listener that has very many half-open flows: its sender was asked to show that it is where it says.
    ClientChallenged = 39, "client_challenged",
        "A SYN flood, if it lasts: narrow the listener's `allow`, and ask who sends. Clients that are real connect a second later.";
    /// The answer to such a question: the client may connect now.
    ChallengeAnswered = 40, "challenge_answered",
        "Nothing: that is how a client gets in while its listener is flooded.";
    /// From a tenant's address, but not by the interface that this address is reached by.
    SourceSpoofed = 41, "source_spoofed",
        "Somebody uses a tenant's address, or its packets and the answers take different ways: then set the tenant's `loose_source`.";
    /// The IP header was damaged on the way: its checksum is wrong.
    BadIpChecksum = 42, "bad_ip_checksum",
        "A broken cable, network card or router on the incoming side: look at its error counters.";
}

impl DropReason {
    /// Size of the kernel's counter array: one more than the largest number.
    pub const COUNT: u32 = Self::ALL[Self::ALL.len() - 1] as u32 + 1;
}

#[cfg(test)]
mod tests {
    use super::DropReason;
    use std::collections::BTreeSet;

    #[test]
    fn numbers_ascend_and_names_are_unique() {
        assert!(
            DropReason::ALL.is_sorted_by(|one, next| (*one as u8) < *next as u8),
            "{:?}",
            DropReason::ALL
        );
        assert!(DropReason::ALL[0] as u8 > 0, "0 is no reason");
        assert!(DropReason::ALL.iter().all(|reason| (*reason as u32) < DropReason::COUNT));
        let names: BTreeSet<_> = DropReason::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(names.len(), DropReason::ALL.len());
    }
}
