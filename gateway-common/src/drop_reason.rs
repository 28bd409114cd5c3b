//! Why a packet was dropped: one stable number and name each, used by the kernel's counters, the metrics, the API
//! and the documentation.

/// Declares the reasons once; numbers, names and explanations are derived from this one list.
macro_rules! drop_reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident = $number:literal, $name:literal;)+) => {
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

            /// What it means and what to look at, for the operator.
            pub const fn explanation(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc),+),)+ }
            }
        }
    };
}

drop_reasons! {
    /// The frame ends before its Ethernet, IPv4 or transport header does.
    Truncated = 1, "truncated";
    /// The IPv4 header contradicts itself: version, header length or total length.
    BadIpHeader = 2, "bad_ip_header";
    /// The TCP, UDP or ICMP header contradicts itself: data offset or length.
    BadTransportHeader = 3, "bad_transport_header";
    /// A later part of a fragmented datagram whose first part did not come in time, or was refused.
    FragmentUnmatched = 4, "fragment_unmatched";
    /// An ICMP error that quotes a packet of no tracked flow.
    IcmpErrorUnmatched = 5, "icmp_error_unmatched";
    /// An ICMP message other than echo and errors (a redirect or source quench is none that may be passed on).
    IcmpTypeNotSupported = 6, "icmp_type_not_supported";
    /// An IP protocol other than TCP, UDP and ICMP.
    ProtocolNotSupported = 7, "protocol_not_supported";
    /// No listener for this address, protocol and port. Add one, or tell the sender.
    NoListener = 8, "no_listener";
    /// The source is not in the listener's allow-list.
    SourceNotAllowed = 9, "source_not_allowed";
    /// The listener's pool has no backend that takes new flows, and is silent about it.
    NoBackend = 10, "no_backend";
    /// A packet to a tenant NAT IP from a source that is not that tenant's, or from an address that is the gateway's own.
    SourceNotTenant = 11, "source_not_tenant";
    /// A tenant called an address, protocol or port that is in none of its peer groups.
    DestinationNotAllowed = 12, "destination_not_allowed";
    /// A packet from the external side straight to a tenant's own address, around the VIPs.
    DirectToTenant = 13, "direct_to_tenant";
    /// A packet to a VIP from the internal side, or to a tenant NAT IP from the external side.
    WrongSide = 14, "wrong_side";
    /// No flow is known and this packet cannot open one (TCP without SYN, an echo reply, a stray answer).
    NoFlow = 15, "no_flow";
    /// No free port of this node's slices towards that destination within the bounded search.
    PortsExhausted = 16, "ports_exhausted";
    /// The table of half-open flows is full: a flood, or `limits.half_open_flows` is too small.
    HalfOpenTableFull = 17, "half_open_table_full";
    /// The table of established flows is full: `limits.flows` is too small.
    FlowTableFull = 18, "flow_table_full";
    /// With `source = "preserve"`: another flow already has this client and backend tuple.
    TupleInUse = 19, "tuple_in_use";
    /// The packet's time to live ended here.
    TtlExceeded = 20, "ttl_exceeded";
    /// The packet is larger than the outgoing link's MTU.
    MtuExceeded = 21, "mtu_exceeded";
    /// The kernel has no usable route (or a blackhole, unreachable, prohibit one) to the next hop.
    NoRoute = 22, "no_route";
    /// The next hop's link address is not known yet; the daemon has been asked to resolve it.
    NoNeighbour = 23, "no_neighbour";
    /// IPv4 forwarding is off on the incoming interface, so the kernel refuses to route. See `status`.
    ForwardingDisabled = 24, "forwarding_disabled";
    /// The route leads out of an interface that is not on the side the packet must leave by.
    WrongInterface = 25, "wrong_interface";
    /// The packet could not be changed as planned (no headroom for a VLAN tag, or the kernel refused).
    RewriteFailed = 26, "rewrite_failed";
    /// The tables contradict each other or are empty: the daemon has not finished filling them.
    NotConfigured = 27, "not_configured";
    /// This node does not hold the lease that allows it to open flows.
    NoLease = 28, "no_lease";
    /// Not the gateway's, but the kernel would have forwarded it untranslated from one side to the other.
    CrossesSides = 29, "crosses_sides";
    /// TC: the kernel could not make the headers contiguous (it was out of memory).
    NotLinear = 30, "not_linear";
    /// The pool has no backend that takes new flows, and answers so: TCP was reset, UDP got an ICMP error.
    RefusedNoBackend = 31, "refused_no_backend";
    /// The listener or the tenant is draining and takes no new flows: TCP was reset, UDP got an ICMP error.
    RefusedDraining = 32, "refused_draining";
    /// The operator or a failed health check ended this flow: its TCP packets were answered with a reset.
    FlowReset = 33, "flow_reset";
    /// A fragment contradicts its datagram: it overlaps another part, is no multiple of 8 bytes long, or ends too far out.
    BadFragment = 34, "bad_fragment";
    /// From the external side with a source that no sender there can have: a tenant's, one of ours, or no single host's.
    Martian = 35, "martian";
}

impl DropReason {
    /// Size of the kernel's counter array: one more than the largest number.
    pub const COUNT: u32 = 36;
}

const _: () = assert!(DropReason::ALL.len() == 35);

#[cfg(test)]
mod tests {
    use super::DropReason;
    use std::collections::BTreeSet;

    #[test]
    fn numbers_are_dense_and_names_unique() {
        for (index, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index + 1);
        }
        assert_eq!(DropReason::COUNT as usize, DropReason::ALL.len() + 1);
        let names: BTreeSet<_> = DropReason::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(names.len(), DropReason::ALL.len());
    }
}
