//! What a tenant may take of what all tenants share.

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use gateway_common::port_slice::{PORTS_PER_SLICE, SLICES};

/// Ports of a slice: a share of ports is the same places of every slice.
pub const PLACES: u16 = PORTS_PER_SLICE;

/// Most places of a slice that may be reserved, by all tenants together: three quarters. The last quarter stays for those
/// that have none reserved.
pub const PLACES_RESERVED_MAX: u16 = 768;

/// The limits of one tenant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TenantLimits {
    /// Flows that it may have at a time.
    pub max_flows: Option<u32>,
    /// How fast it may open flows.
    pub new_flows: Option<NewFlows>,
    /// Which ports of the egress VIP its calls may take.
    pub ports: TenantPorts,
    /// Largest TCP segment that its connections may agree on, in bytes.
    pub mss_clamp: Option<u16>,
    /// May its packets come in elsewhere than where its route leads?
    pub loose_source: bool,
    /// Its own idle timeouts.
    pub timeouts: TenantTimeouts,
}

/// Those of most tenants.
static NO_LIMITS: LazyLock<Arc<TenantLimits>> = LazyLock::new(Arc::default);

impl TenantLimits {
    /// In a place of its own, or that of all tenants without limits.
    pub fn shared(self) -> Arc<Self> {
        if self == **NO_LIMITS { NO_LIMITS.clone() } else { Arc::new(self) }
    }
}

/// How fast flows may be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewFlows {
    /// So many a second in the long run; never 0.
    pub per_second: u32,
    /// So many at once; those of one second when absent.
    pub burst: Option<u32>,
}

impl NewFlows {
    /// From one flow to the next, at the limit.
    pub fn interval(self) -> Duration {
        Duration::from_secs(1) / self.per_second
    }

    /// How far ahead of that pace a tenant may get.
    pub fn credit(self) -> Duration {
        self.interval() * self.burst.unwrap_or(self.per_second)
    }
}

/// Which ports of the egress VIP a tenant's calls may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TenantPorts {
    /// All that nobody has reserved.
    #[default]
    Shared,
    /// At least so many that nobody else may take, and no others.
    Reserved(u32),
    /// At most so many of those that nobody has reserved.
    PerDestination(u32),
}

impl TenantPorts {
    /// Places of every slice that the tenant reserves.
    pub fn reserved_places(self) -> u16 {
        match self {
            Self::Reserved(ports) => places(ports.div_ceil(SLICES.into())),
            Self::Shared | Self::PerDestination(_) => 0,
        }
    }

    /// Places of every slice that the tenant may have at most; none where all that are shared will do.
    pub fn window_places(self) -> Option<u16> {
        match self {
            Self::PerDestination(ports) => Some(places(ports / u32::from(SLICES)).max(1)),
            Self::Shared | Self::Reserved(_) => None,
        }
    }
}

fn places(places: u32) -> u16 {
    u16::try_from(places).unwrap_or(PLACES).min(PLACES)
}

/// A tenant's own idle timeouts; the node's where absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TenantTimeouts {
    /// TCP, established.
    pub tcp_established: Option<Duration>,
    /// UDP.
    pub udp: Option<Duration>,
    /// May these be shorter than the RFCs allow?
    pub allow_short: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_burst_is_that_of_one_second_if_none_is_given() {
        let of = |per_second, burst| NewFlows { per_second, burst };
        assert_eq!(of(200, None).interval(), Duration::from_millis(5));
        assert_eq!(of(200, None).credit(), Duration::from_secs(1));
        assert_eq!(of(200, Some(3)).credit(), Duration::from_millis(15));
        assert_eq!(of(1_000_000, Some(1)).credit(), Duration::from_micros(1));
    }

    /// The interval is whole nanoseconds: flows are never slower than was said, and at most 0.1 % faster.
    #[test]
    fn the_pace_is_exact_to_a_thousandth() {
        for per_second in (1..=1_000_000).step_by(997) {
            let exact = 1e9 / f64::from(per_second);
            let interval = NewFlows { per_second, burst: None }.interval().as_secs_f64() * 1e9;
            assert!(interval <= exact + 1e-6 && interval >= exact * 0.999, "{per_second}");
        }
    }

    #[test]
    fn reserved_ports_are_rounded_up_and_quotas_down() {
        let reserved = |ports| TenantPorts::Reserved(ports).reserved_places();
        assert_eq!([1, 63, 64, 126, 48_384].map(reserved), [1, 1, 2, 2, 768]);
        let window = |ports| TenantPorts::PerDestination(ports).window_places();
        assert_eq!([1, 63, 125, 126, 64_512].map(window), [1, 1, 1, 2, 1_024].map(Some));
        assert_eq!(TenantPorts::Shared.window_places(), None);
        assert_eq!(TenantPorts::PerDestination(63).reserved_places(), 0);
    }
}
