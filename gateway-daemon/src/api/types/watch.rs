//! What happens, as it happens; and which packets are captured.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{Direction, Endpoints, Protocol, Side};

/// What is told of: `GET /v1/monitor`. Without `drops` and `flows` it is both.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct MonitorFilter {
    /// Only what is of this tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Tell of packets that are dropped.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    #[param(value_type = Option<bool>)]
    pub drops: bool,
    /// Tell of flows that begin and end.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    #[param(value_type = Option<bool>)]
    pub flows: bool,
}

impl MonitorFilter {
    /// Is this told? What was missed always is: it may have been what is asked for.
    pub fn wants(&self, what: &Happening) -> bool {
        let (is_wanted, tenant) = match what {
            Happening::Dropped(drop) => (self.drops || !self.flows, drop.tenant.as_deref()),
            Happening::Opened(flow) => (self.flows || !self.drops, Some(flow.tenant.as_str())),
            Happening::Ended(end) => (self.flows || !self.drops, Some(end.flow.tenant.as_str())),
            Happening::Missed(_) => return true,
        };
        is_wanted && self.tenant.as_deref().is_none_or(|wanted| tenant == Some(wanted))
    }
}

/// Something that happened: one line of `GET /v1/monitor`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Happening {
    /// A packet was dropped.
    Dropped(DroppedPacket),
    /// A flow was opened.
    Opened(FlowNews),
    /// A flow ended.
    Ended(FlowEnded),
    /// Not everything was told.
    Missed(Missed),
}

/// A packet that was dropped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DroppedPacket {
    /// When it came in: Unix time in milliseconds.
    pub at_unix_ms: u64,
    /// Whose it is, as far as that is known.
    pub tenant: Option<String>,
    /// The interface that it came in by.
    pub interface: String,
    /// The side that it came in on.
    pub side: Side,
    /// Why, as `GET /v1/drops` names it.
    pub reason: String,
    /// Was its sender told?
    pub answered: bool,
    /// Number of its IP protocol, if it is an IPv4 packet.
    pub protocol_number: Option<u8>,
    /// Its ends as it came in; ports are 0 where there are none.
    pub packet: Option<Endpoints>,
    /// Length of its frame.
    pub bytes: u32,
}

/// A flow, as far as its beginning or end says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FlowNews {
    /// When: Unix time in milliseconds.
    pub at_unix_ms: u64,
    /// Whose it is.
    pub tenant: String,
    /// Who opened it.
    pub direction: Direction,
    /// Its protocol.
    pub protocol: Protocol,
    /// The ends of its opener's packets as they come in.
    pub original: Endpoints,
    /// The ends of the same packets as they go out.
    pub translated: Endpoints,
}

/// A flow that ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FlowEnded {
    /// Which.
    #[serde(flatten)]
    pub flow: FlowNews,
    /// Why.
    pub why: EndOfFlow,
}

word! {
    /// Why a flow ended.
    EndOfFlow {
        /// It was idle for too long.
        Expired = "expired",
        /// Its ports are used again by a connection that leads elsewhere.
        Replaced = "replaced",
        /// It was half-open, and gave its place to a new one.
        Evicted = "evicted",
    }
}

/// What was not told since the last word about it: the data path tells of so many things a second, and a reader that is
/// too slow loses some.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Missed {
    /// Drops that were left out, since there were too many in a second.
    pub drops: u64,
    /// Flows that were left out.
    pub flows: u64,
    /// What was lost on the way, of either kind.
    pub lost: u64,
}

/// Which packets are captured: `POST /v1/tenants/{tenant}/capture`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct CaptureQuery {
    /// How many packets at most: 1,000 unless said otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(minimum = 1, maximum = 1_000_000)]
    pub limit: Option<u32>,
    /// How long at most: a minute unless said otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(minimum = 1, maximum = 3_600)]
    pub seconds: Option<u32>,
    /// So many bytes of each frame, whatever they are. Without this and `payload` it is the headers alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(minimum = 14, maximum = 4_064)]
    pub snaplen: Option<u32>,
    /// Each frame as far as it can be captured, with what people send.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    #[param(value_type = Option<bool>)]
    pub payload: bool,
    /// Why: kept in the audit. The header `Gateway-Reason` does the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(max_length = 500, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$")]
    pub reason: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::fake;

    fn told(tenant: Option<&str>, drops: bool, flows: bool) -> Vec<usize> {
        let filter = MonitorFilter { tenant: tenant.map(str::to_owned), drops, flows };
        (0..)
            .zip(fake::happenings())
            .filter(|(_, what)| filter.wants(what))
            .map(|(number, _)| number)
            .collect()
    }

    #[test]
    fn what_is_asked_for_is_told_and_what_was_missed_always() {
        // A drop of bank-a, one of nobody, a flow of bank-a, an end of bank-b, and what was missed.
        assert_eq!(told(None, false, false), [0, 1, 2, 3, 4]);
        assert_eq!(told(None, true, true), [0, 1, 2, 3, 4]);
        assert_eq!(told(None, true, false), [0, 1, 4]);
        assert_eq!(told(None, false, true), [2, 3, 4]);
        assert_eq!(told(Some("bank-a"), false, false), [0, 2, 4]);
        assert_eq!(told(Some("bank-b"), false, true), [3, 4]);
        assert_eq!(told(Some("bank-c"), false, false), [4]);
    }
}
