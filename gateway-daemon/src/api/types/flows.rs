//! Which flows are asked for, and the answer.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{Endpoints, Flow, FlowState, Protocol};

/// Flows that match a [`FlowFilter`]: `GET /v1/flows`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FlowList {
    /// How many flows match.
    pub total: u64,
    /// Are some of them left out because of the limit?
    pub truncated: bool,
    /// The flows, at most as many as the limit.
    pub flows: Vec<Flow>,
}

/// Which flows are asked for. Every given field has to match.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct FlowFilter {
    /// The tenant's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// The state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<FlowState>,
    /// Where the packets of the opener come from: an address or prefix, before or after translation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>, pattern = r"^((25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])\.){3}(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])(/(3[0-2]|[12]?[0-9]))?$", example = "203.0.113.0/24")]
    pub source: Option<AddressOrPrefix>,
    /// Where they go to: an address or prefix, before or after translation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>, pattern = r"^((25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])\.){3}(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])(/(3[0-2]|[12]?[0-9]))?$", example = "192.0.2.10")]
    pub destination: Option<AddressOrPrefix>,
    /// A port of either end, before or after translation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Only how many there are.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    #[param(value_type = Option<bool>)]
    pub count: bool,
    /// How many flows at most.
    #[serde(default)]
    #[param(value_type = Option<u32>, maximum = 10_000, minimum = 0)]
    pub limit: FlowLimit,
}

impl FlowFilter {
    /// Does a flow match? `ends` are the ends of its opener's packets before and after translation. The limit is
    /// for the caller to keep.
    pub fn matches(&self, tenant: &str, protocol: Protocol, state: FlowState, ends: &[Endpoints; 2]) -> bool {
        self.tenant.as_deref().is_none_or(|wanted| wanted == tenant)
            && self.protocol.is_none_or(|wanted| wanted == protocol)
            && self.state.is_none_or(|wanted| wanted == state)
            && self.source.is_none_or(|wanted| ends.iter().any(|ends| wanted.contains(ends.source)))
            && self.destination.is_none_or(|wanted| ends.iter().any(|ends| wanted.contains(ends.destination)))
            && self.port.is_none_or(|wanted| ends.iter().any(|ends| ends.has_port(wanted)))
    }

    /// How many flows the answer may hold.
    pub fn most(&self) -> usize {
        if self.count { 0 } else { self.limit.get() }
    }
}

impl Endpoints {
    fn has_port(&self, port: u16) -> bool {
        self.source_port == port || self.destination_port == port
    }
}

/// `203.0.113.5` or `203.0.113.0/24`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AddressOrPrefix(Ipv4Net);

impl AddressOrPrefix {
    /// Is it this address, or does it hold it?
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        self.0.contains(&address)
    }
}

impl std::fmt::Display for AddressOrPrefix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl From<AddressOrPrefix> for String {
    fn from(prefix: AddressOrPrefix) -> Self {
        prefix.to_string()
    }
}

impl std::str::FromStr for AddressOrPrefix {
    type Err = AddressOrPrefixError;

    fn from_str(text: &str) -> Result<Self, AddressOrPrefixError> {
        let address = text.parse::<Ipv4Addr>().map(Ipv4Net::from).ok();
        let prefix = address.or_else(|| text.parse().ok()).map(Self);
        prefix.ok_or_else(|| AddressOrPrefixError { text: text.to_owned() })
    }
}

impl TryFrom<String> for AddressOrPrefix {
    type Error = AddressOrPrefixError;

    fn try_from(text: String) -> Result<Self, AddressOrPrefixError> {
        text.parse()
    }
}

/// It is no address and no prefix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is neither an IPv4 address nor a prefix such as 203.0.113.0/24")]
pub struct AddressOrPrefixError {
    text: String,
}

/// How many flows one answer holds at most: 0 to 10,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct FlowLimit(u32);

impl FlowLimit {
    /// What a request without a limit gets: some screens full.
    pub const DEFAULT: Self = Self(100);
    /// The most that a request gets: an answer of some 4 MB. More is refused, not cut.
    pub const MAX: Self = Self(10_000);

    /// The limit as a number.
    pub fn get(self) -> usize {
        self.0 as usize
    }
}

impl Default for FlowLimit {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl std::fmt::Display for FlowLimit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl From<FlowLimit> for u32 {
    fn from(limit: FlowLimit) -> Self {
        limit.0
    }
}

impl TryFrom<u32> for FlowLimit {
    type Error = FlowLimitError;

    fn try_from(value: u32) -> Result<Self, FlowLimitError> {
        if value <= Self::MAX.0 { Ok(Self(value)) } else { Err(FlowLimitError { text: value.to_string() }) }
    }
}

impl std::str::FromStr for FlowLimit {
    type Err = FlowLimitError;

    fn from_str(text: &str) -> Result<Self, FlowLimitError> {
        let value: u32 = text.parse().map_err(|_| FlowLimitError { text: text.to_owned() })?;
        Self::try_from(value)
    }
}

/// More flows were asked for than one answer holds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the limit {text} is not a number from 0 to {}", FlowLimit::MAX)]
pub struct FlowLimitError {
    text: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(source: [u8; 4], source_port: u16) -> Endpoints {
        Endpoints {
            source: source.into(),
            source_port,
            destination: Ipv4Addr::new(192, 0, 2, 10),
            destination_port: 443,
        }
    }

    fn matches(filter: &FlowFilter) -> bool {
        let ends = [ends([203, 0, 113, 5], 40_000), ends([198, 51, 100, 7], 50_000)];
        filter.matches("bank-a", Protocol::Tcp, FlowState::Established, &ends)
    }

    #[test]
    fn an_end_matches_before_and_after_translation() {
        for (source, expected) in
            [("203.0.113.5", true), ("198.51.100.0/24", true), ("192.0.2.10", false), ("0.0.0.0/0", true)]
        {
            let filter = FlowFilter { source: Some(source.parse().unwrap()), ..FlowFilter::default() };
            assert_eq!(matches(&filter), expected, "{source}");
        }
        for (destination, expected) in [("192.0.2.10", true), ("192.0.2.11", false), ("192.0.2.8/30", true)] {
            let filter =
                FlowFilter { destination: Some(destination.parse().unwrap()), ..FlowFilter::default() };
            assert_eq!(matches(&filter), expected, "{destination}");
        }
    }

    #[test]
    fn a_port_matches_at_either_end() {
        for (port, expected) in [(443, true), (40_000, true), (50_000, true), (444, false)] {
            let filter = FlowFilter { port: Some(port), ..FlowFilter::default() };
            assert_eq!(matches(&filter), expected, "{port}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in ["", "203.0.113", "203.0.113.0/33", "::1", "a"] {
            assert!(text.parse::<AddressOrPrefix>().is_err(), "{text}");
        }
    }
}
