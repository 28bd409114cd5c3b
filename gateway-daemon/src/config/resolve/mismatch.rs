//! Fields that need each other, or have no meaning beside each other.

use crate::config::choice::{CheckWord, StoreWord};
use crate::config::problem::Explain;
use crate::config::text::grouped;

/// Why a field can't stand there, or must.
#[derive(Debug, thiserror::Error)]
pub(super) enum Mismatch {
    #[error("the store is `{kind}`, and this file has tenants or peer groups")]
    TenantsElsewhere { kind: StoreWord },
    #[error("the store `etcd` needs `endpoints`")]
    NoEndpoints,
    #[error("`{field}` is for the store `etcd`, and the store is `{kind}`")]
    NotOfStore { field: &'static str, kind: StoreWord },
    #[error("`{given}` needs `{missing}`")]
    Needs { given: &'static str, missing: &'static str },
    #[error("`{field}` is of no use without `listen`")]
    NoListener { field: &'static str },

    #[error("`{field}` is not for the check `{check}`")]
    NotOfCheck { field: &'static str, check: CheckWord, checks: &'static str },
    #[error("the check `script` needs `expect_hex`")]
    NoExpect,
    #[error("the timeout of {timeout_ms} ms is longer than the interval of {interval_ms} ms")]
    TimeoutBeyondInterval { timeout_ms: u32, interval_ms: u32 },
    #[error("`reset_on_expiry` needs `quarantine_secs` above 0")]
    NothingToReset,
    #[error("`drain_until` is for the state `draining`")]
    NotDraining,

    #[error("`new_flows_burst` is of no use without `new_flows_per_second`")]
    BurstOfNothing,
    #[error("a tenant has `reserved_ports` or `ports_per_destination`, not both")]
    ReservedAndShared,
    #[error("the timeout of {} seconds is shorter than the {} that {rfc} asks for", grouped((*secs).into()), grouped((*min).into()))]
    ShortTimeout { secs: u32, min: u32, rfc: &'static str },
}

impl Explain for Mismatch {
    fn help(&self) -> String {
        let help = match self {
            Self::TenantsElsewhere { .. } => {
                "move them into the store with `gateway-daemon apply -f FILE`, then remove them here; or set `kind = \
                 \"file\"` in `[store]`"
            }
            Self::NoEndpoints => "add the members' URLs, as in `endpoints = [\"https://127.0.0.1:2379\"]`",
            Self::NotOfStore { field, .. } => {
                return format!("remove `{field}`, or set `kind = \"etcd\"`");
            }
            Self::Needs { given, missing } => {
                return format!("add the path of the file as `{missing}`, or remove `{given}`");
            }
            Self::NoListener { field } => {
                return format!("set `listen` to an address and port, or remove `{field}`");
            }
            Self::NotOfCheck { field, checks, .. } => {
                return format!("remove `{field}`, or choose {checks} as `check`");
            }
            Self::NoExpect => "write what the answer begins with, in hex; \"..\" stands for any byte",
            Self::TimeoutBeyondInterval { interval_ms, .. } => {
                return format!("write at most {interval_ms}, so that checks of one server never overlap");
            }
            Self::NothingToReset => {
                "raise `quarantine_secs`: what is forgotten at once can't be told to its ends any more"
            }
            Self::BurstOfNothing => "add `new_flows_per_second`, or remove the burst",
            Self::ReservedAndShared => {
                "remove `ports_per_destination`: a tenant with reserved ports may have as many connections to one \
                 destination as it has ports"
            }
            Self::ShortTimeout { min, .. } => {
                return format!(
                    "write at least {min}, or add `allow_short_timeouts = true` if connections that are silent for \
                     longer may break"
                );
            }
            Self::NotDraining => "set `state` to \"draining\", or remove the deadline",
        };
        help.to_owned()
    }
}
