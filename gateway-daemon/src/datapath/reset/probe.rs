//! The segment that makes an idle end of a connection say where it stands.
//!
//! A reset is only believed with exactly the sequence number that the receiver expects (RFC 5961 section 3.2), which the
//! gateway does not track. But an end that gets a segment outside its window answers with an ACK that says both its
//! numbers (RFC 9293 section 3.10.7.4), and that answer comes through the gateway, which turns it into the reset. So all
//! that is needed is a segment that is outside the window for certain: of two bare ACKs half of the number space apart
//! one is, since no window is larger than a quarter of it (RFC 7323 section 2.3).
//!
//! Linux sends one such answer per connection in half a second (`tcp_invalid_ratelimit`); one suffices. An end that
//! negotiated timestamps and insists on them (RFC 7323 section 3.2 allows it) ignores the probes; it gets its reset with
//! the next segment that it sends.

use gateway_common::{
    abi::{FlowKey, Port, Protocol},
    wire::checksum,
};

/// Length of a probe: two headers without options.
pub const LEN: usize = 40;
const SEQUENCE_NUMBERS: [u32; 2] = [0, 1 << 31];
const IP_HEADER_LEN: usize = 20;
const TCP_CHECKSUM_AT: usize = IP_HEADER_LEN + 16;
const TTL: u8 = 64;
const ACK: u8 = 0x10;

/// The probes for the end whose packets have this key: from the address that it takes for its peer's.
pub fn probes(key: &FlowKey) -> [[u8; LEN]; 2] {
    SEQUENCE_NUMBERS.map(|seq| probe(key, seq))
}

fn probe(key: &FlowKey, seq: u32) -> [u8; LEN] {
    let mut packet = [0; LEN];
    let (ip, tcp) = packet.split_at_mut(IP_HEADER_LEN);
    // Identifier and header checksum are the kernel's to fill (raw(7)).
    ip[..2].copy_from_slice(&[0x45, 0]);
    ip[2..4].copy_from_slice(&[0, 40]);
    ip[8..10].copy_from_slice(&[TTL, Protocol::Tcp as u8]);
    ip[12..16].copy_from_slice(&key.dst.octets());
    ip[16..20].copy_from_slice(&key.src.octets());
    let port = |port: Port| port.number().to_be_bytes();
    tcp[..2].copy_from_slice(&port(key.dst_port));
    tcp[2..4].copy_from_slice(&port(key.src_port));
    tcp[4..8].copy_from_slice(&seq.to_be_bytes());
    tcp[12..14].copy_from_slice(&[5 << 4, ACK]);
    let sum = tcp_checksum(key, tcp);
    packet[TCP_CHECKSUM_AT..TCP_CHECKSUM_AT + 2].copy_from_slice(&sum.to_ne_bytes());
    packet
}

fn tcp_checksum(key: &FlowKey, segment: &[u8]) -> u16 {
    let pseudo = [&key.dst.octets()[..], &key.src.octets(), &[0, Protocol::Tcp as u8, 0, 20], segment];
    checksum::compute(&pseudo.concat(), 0)
}

#[cfg(test)]
mod tests {
    use super::{LEN, probes};
    use gateway_common::{
        abi::{Addr, FlowKey, Port, Protocol, Side},
        forward,
        memory::{BytesPacket, MemoryTables},
        verdict::Verdict,
        wire::{checksum, ipv4::Ipv4, transport::Transport},
    };

    /// A client of the ingress VIP.
    fn key() -> FlowKey {
        let client = (Addr::new([192, 0, 2, 77]), Port::new(50_123));
        let vip = (Addr::new([192, 0, 2, 10]), Port::new(8443));
        FlowKey::v4(Side::External, Protocol::Tcp, client, vip)
    }

    /// In an Ethernet frame, as the end would send it on if it were the gateway's neighbour, with the header checksum that
    /// the kernel has filled in.
    fn framed(probe: &[u8; LEN]) -> BytesPacket {
        let link = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
        let mut bytes = [&link[..], probe].concat();
        let sum = checksum::compute(&probe[..20], 0);
        bytes[24..26].copy_from_slice(&sum.to_ne_bytes());
        BytesPacket { bytes, ingress_ifindex: 1 }
    }

    #[test]
    fn a_probe_comes_from_the_address_that_the_end_knows() {
        for probe in probes(&key()) {
            let packet = framed(&probe);
            let ip = Ipv4::parse(&packet, 14).unwrap();
            let transport = Transport::parse(&packet, &ip, Side::External).unwrap();
            let FlowKey { src, dst, src_port, dst_port, .. } = key();
            let reverse = FlowKey::v4(Side::External, Protocol::Tcp, (dst, dst_port), (src, src_port));
            assert_eq!((transport.key, usize::from(ip.total_len)), (reverse, LEN));
            assert_eq!(probe[33], 0x10, "a bare ACK");
        }
    }

    #[test]
    fn a_probe_has_the_right_checksum() {
        for probe in probes(&key()) {
            let pseudo = [&probe[12..20], &[0, 6, 0, 20], &probe[20..]].concat();
            assert_eq!(checksum::compute(&pseudo, 0), 0);
        }
    }

    #[test]
    fn no_window_holds_both_probes() {
        let [first, second] =
            probes(&key()).map(|probe| u32::from_be_bytes([probe[24], probe[25], probe[26], probe[27]]));
        let largest_window = 65_535_u32 << 14;
        for next_expected in [0, 1, first, second, first.wrapping_sub(1), second.wrapping_sub(1), 0xdead_beef]
        {
            let inside = |seq: u32| seq.wrapping_sub(next_expected) < largest_window;
            assert!(!(inside(first) && inside(second)), "{next_expected}");
        }
    }

    /// The gateway itself must not take a probe for traffic of the flow: it never comes in by its interfaces, but a
    /// neighbour that sends it back must do no harm.
    #[test]
    fn a_probe_that_comes_back_is_nobodys() {
        let tables = MemoryTables::default();
        for probe in probes(&key()) {
            let verdict = forward::process(&mut framed(&probe), &tables, Side::External, 0);
            assert_eq!(verdict, Verdict::Pass);
        }
    }
}
