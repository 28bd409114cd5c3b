//! Which packet's way is asked for, and the answer.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Endpoints, Hook, Protocol, Side};

word! {
    /// A flag of TCP that matters to the gateway.
    TcpFlag {
        /// It opens a connection
        Syn = "syn",
        /// It answers
        Ack = "ack",
        /// The sender is done
        Fin = "fin",
        /// The connection is over
        Rst = "rst",
    }
}

word! {
    /// What becomes of a packet.
    Fate {
        /// It is translated and sent on.
        Translated = "translated",
        /// It is not the gateway's: the kernel goes on with it.
        Passed = "passed",
        /// The gateway answers it itself.
        Answered = "answered",
        /// The gateway refuses it, and tells its sender.
        Refused = "refused",
        /// It is dropped.
        Dropped = "dropped",
    }
}

word! {
    /// What the data path does at a step.
    StepAction {
        /// It looks something up.
        Look = "look",
        /// It would add an entry.
        Insert = "insert",
        /// It would remove an entry.
        Remove = "remove",
        /// It would add to a counter.
        Count = "count",
        /// It would tell the daemon.
        Report = "report",
    }
}

/// Which packet: `POST /v1/explain`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExplainRequest {
    /// The interface that it comes in by. Without one it is guessed: a packet to a VIP comes from NPCI's side, any
    /// other from the tenants'. A packet in hexadecimal needs one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "ext0")]
    pub interface: Option<String>,
    /// The packet.
    pub packet: ExplainPacket,
}

/// A packet, one way or the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExplainPacket {
    /// One that is made from this.
    Tuple(ExplainTuple),
    /// A whole Ethernet frame in hexadecimal; spaces and colons between bytes do not count.
    Hex(FrameText),
}

/// A whole Ethernet frame in hexadecimal; spaces and colons between bytes do not count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(pattern = r"^[ \t\n\f\r:]*([0-9A-Fa-f][ \t\n\f\r:]*[0-9A-Fa-f][ \t\n\f\r:]*)+$")]
pub struct FrameText(pub String);

/// A 5-tuple.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExplainTuple {
    /// The protocol; of ICMP it is an echo request.
    pub protocol: Protocol,
    /// Source address.
    #[schema(value_type = String, format = Ipv4)]
    pub source: Ipv4Addr,
    /// Source port, or the identifier of an ICMP echo.
    pub source_port: u16,
    /// Destination address.
    #[schema(value_type = String, format = Ipv4)]
    pub destination: Ipv4Addr,
    /// Destination port; 0 for ICMP.
    pub destination_port: u16,
    /// TCP's flags; none are those of a packet that opens a connection.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<TcpFlag>,
}

/// The way of a packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Explanation {
    /// What becomes of it.
    pub fate: Fate,
    /// Why it is refused or dropped.
    pub reason: Option<ExplainedReason>,
    /// The interface that it comes in by.
    pub interface: String,
    /// The side of that interface.
    pub side: Side,
    /// The hook of that interface.
    pub hook: Hook,
    /// The tenant that it belongs to, as far as that is known.
    pub tenant: Option<String>,
    /// Its protocol, if the gateway translates that.
    pub protocol: Option<Protocol>,
    /// Its ends as it comes in.
    pub original: Option<Endpoints>,
    /// The ends of what goes out: of the translated packet, or of the answer.
    pub translated: Option<Endpoints>,
    /// The interface that it goes out by.
    pub leaves_by: Option<String>,
    /// Every table that it met, in order. Nothing was changed: what would be written is only told.
    pub steps: Vec<ExplainStep>,
}

/// Why a packet is not translated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ExplainedReason {
    /// The reason's stable name, as in `/v1/drops`.
    pub name: String,
    /// What it means and what to look at.
    pub explanation: String,
}

/// One step of a packet's way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ExplainStep {
    /// What is done.
    pub action: StepAction,
    /// The table, by the name that `/v1/status` has for it; `routes` is the kernel's.
    pub table: String,
    /// The key, in words.
    pub key: String,
    /// What was found or would be written, in words; `None` where nothing was found.
    pub found: Option<String>,
}
