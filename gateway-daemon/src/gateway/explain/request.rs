//! The packet that an operator asks for: pure.

use std::net::Ipv4Addr;

use gateway_common::abi::Port;

use crate::{
    api::{
        source::SourceError,
        types::{ExplainPacket, ExplainTuple, Protocol, TcpFlag},
    },
    datapath::explain::frame::Tuple,
};

/// The longest frame that is taken: an IPv4 packet at its largest, with its link header and a tag.
const FRAME_MAX: usize = 65_535 + 18;

pub(super) fn wrong(field: &'static str, problem: impl Into<String>, remedy: &str) -> SourceError {
    SourceError::Wrong { field, problem: problem.into(), remedy: remedy.to_owned() }
}

/// A packet that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Given {
    /// The frame.
    pub(crate) bytes: Vec<u8>,
    /// Its source and destination, if they are given apart.
    pub(crate) ends: Option<(Ipv4Addr, Ipv4Addr)>,
}

/// The packet of a request.
pub(crate) fn frame(packet: &ExplainPacket) -> Result<Given, SourceError> {
    match packet {
        ExplainPacket::Hex(text) => Ok(Given { bytes: bytes_of(&text.0)?, ends: None }),
        ExplainPacket::Tuple(tuple) => {
            let bytes = tuple_of(tuple)?.frame();
            Ok(Given { bytes, ends: Some((tuple.source, tuple.destination)) })
        }
    }
}

/// Without an interface: the one that a packet with these ends comes in by has to be guessed, and a packet without
/// them is refused.
pub(crate) fn ends_of(ends: Option<(Ipv4Addr, Ipv4Addr)>) -> Result<(Ipv4Addr, Ipv4Addr), SourceError> {
    ends.ok_or_else(|| wrong("interface", "a packet in hexadecimal comes in somewhere", "name the interface"))
}

/// An interface that was named and is not attached.
pub(crate) fn no_such_interface(name: &str) -> SourceError {
    let remedy = "`gateway-daemon status` lists the interfaces";
    wrong("interface", format!("`{name}` is no interface that the gateway is attached to"), remedy)
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
}
