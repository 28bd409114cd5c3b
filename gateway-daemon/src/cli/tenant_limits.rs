//! Flags of `tenant add` and `tenant set` about what a tenant may take of what all share.

use clap::Args;

use crate::tenancy::spec::{TenantSpec, TimeoutsSpec};

/// The flags. 0 takes a limit away.
#[derive(Debug, Args)]
pub struct LimitOptions {
    /// Flows that it may have at a time; 0 is any number
    #[arg(long, value_name = "FLOWS", group = "fields")]
    pub max_flows: Option<u32>,
    /// New flows that it may open or get a second; 0 is any number
    #[arg(long, value_name = "FLOWS", group = "fields")]
    pub new_flows_per_second: Option<u32>,
    /// New flows that it may have at once; 0 is those of one second
    #[arg(long, value_name = "FLOWS", group = "fields")]
    pub new_flows_burst: Option<u32>,
    /// Ports of the egress VIP that only its calls use; 0 is none
    #[arg(long, value_name = "PORTS", group = "fields")]
    pub reserved_ports: Option<u32>,
    /// Ports of the egress VIP that its calls may take among those that tenants share; 0 is all
    #[arg(long, value_name = "PORTS", group = "fields")]
    pub ports_per_destination: Option<u32>,
    /// Largest TCP segment that its connections may agree on; 0 leaves it alone
    #[arg(long, value_name = "BYTES", group = "fields")]
    pub mss_clamp: Option<u32>,
    /// Let its packets come in by other interfaces than the one that leads to it
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        default_missing_value = "true",
        require_equals = true,
        group = "fields"
    )]
    pub loose_source: Option<bool>,
    /// Idle timeout of its established TCP connections; 0 is the node's
    #[arg(long, value_name = "SECONDS", group = "fields")]
    pub tcp_established_secs: Option<u32>,
    /// Idle timeout of its UDP flows; 0 is the node's
    #[arg(long, value_name = "SECONDS", group = "fields")]
    pub udp_secs: Option<u32>,
    /// Allow these timeouts to be shorter than the RFCs do
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        default_missing_value = "true",
        require_equals = true,
        group = "fields"
    )]
    pub allow_short_timeouts: Option<bool>,
}

impl LimitOptions {
    /// Changes what was named.
    pub fn set(&self, tenant: &mut TenantSpec) {
        change(&mut tenant.max_flows, self.max_flows);
        change(&mut tenant.new_flows_per_second, self.new_flows_per_second);
        change(&mut tenant.new_flows_burst, self.new_flows_burst);
        change(&mut tenant.reserved_ports, self.reserved_ports);
        change(&mut tenant.ports_per_destination, self.ports_per_destination);
        change(&mut tenant.mss_clamp, self.mss_clamp);
        change(&mut tenant.loose_source, self.loose_source);
        let mut timeouts = tenant.timeouts.take().unwrap_or_default();
        change(&mut timeouts.tcp_established_secs, self.tcp_established_secs);
        change(&mut timeouts.udp_secs, self.udp_secs);
        change(&mut timeouts.allow_short_timeouts, self.allow_short_timeouts);
        tenant.timeouts = (timeouts != TimeoutsSpec::default()).then_some(timeouts);
    }
}

/// What is as it is when nothing is said is left out.
fn change<T: Copy + Default + PartialEq>(field: &mut Option<T>, named: Option<T>) {
    if let Some(value) = named {
        *field = (value != T::default()).then_some(value);
    }
}
