//! Sections of the daemon's own settings that stand for themselves.

use std::time::Duration;

use super::mismatch::Mismatch;
use crate::config::bounded::Bounded;
use crate::config::file;
use crate::config::model::{Daemon, Gateway, Limits, Node, Reconcile, Timeouts};
use crate::config::problem::{Located, Problems};

pub(super) fn gateway(section: &file::Gateway) -> Gateway {
    Gateway { ingress_vip: section.ingress_vip.value, egress_vip: section.egress_vip.value }
}

pub(super) fn node(section: &file::Node) -> Node {
    Node { name: section.name.value.clone(), id: section.id.value, port_slices: section.port_slices.value }
}

pub(super) fn daemon(section: &file::Daemon) -> Daemon {
    Daemon {
        socket: section.socket.value.0.clone(),
        bpffs: section.bpffs.value.0.clone(),
        state_dir: section.state_dir.value.0.clone(),
        metrics: section.metrics.value.0,
    }
}

pub(super) fn limits(section: &file::Limits) -> Limits {
    Limits {
        flows: section.flows.value.get(),
        half_open_flows: section.half_open_flows.value.get(),
        challenge_above: small(section.challenge_above.value.get()),
    }
}

pub(super) fn timeouts(section: &file::Timeouts, problems: &mut Problems) -> Timeouts {
    if section.reset_on_expiry.value && section.quarantine_secs.value.get() == 0 {
        problems.add(&section.reset_on_expiry.at, &Mismatch::NothingToReset);
    }
    Timeouts {
        tcp_established: seconds(&section.tcp_established_secs),
        tcp_transitory: seconds(&section.tcp_transitory_secs),
        tcp_half_open: seconds(&section.tcp_half_open_secs),
        udp: seconds(&section.udp_secs),
        icmp: seconds(&section.icmp_secs),
        quarantine: seconds(&section.quarantine_secs),
        reset_on_expiry: section.reset_on_expiry.value,
    }
}

pub(super) fn reconcile(section: &file::Reconcile) -> Reconcile {
    Reconcile { interval: milliseconds(&section.interval_ms) }
}

/// A number whose range ends below 65,536.
pub(super) fn small(value: u32) -> u16 {
    u16::try_from(value).unwrap_or(u16::MAX)
}

pub(super) fn seconds<B>(field: &Located<Bounded<B>>) -> Duration {
    Duration::from_secs(field.value.get().into())
}

pub(super) fn milliseconds<B>(field: &Located<Bounded<B>>) -> Duration {
    Duration::from_millis(field.value.get().into())
}
