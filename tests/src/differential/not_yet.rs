//! Differences that are no decision, but work that is not done. To be removed when the gateway does it: take the entry
//! out, and what it excused fails; take the last one out, and this file with it.

use super::{
    conversation::{Forbidden, Send, Target, What},
    differences::Case,
    sight::Seen,
};
use crate::packet::{ChecksumOf, Defect, Transport};

/// Declares the gaps once.
macro_rules! gaps {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal, $matches:path;)+) => {
        /// What our gateway does not do yet.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum NotYet {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl NotYet {
            /// Every gap.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// What reports call it.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// What is missing.
            pub fn explanation(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc),+).trim_ascii(),)+ }
            }

            /// The gap that explains the discrepancy, if there is one.
            pub fn excusing(case: &Case<'_>) -> Option<Self> {
                $(if $matches(case) {
                    return Some(Self::$variant);
                })+
                None
            }
        }
    };
}

gaps! {
    /// ICMP errors are dropped, not translated.
    IcmpErrors = "not-yet-icmp-errors", icmp_error;
    /// Fragments are dropped, and what follows a first packet that came in fragments.
    Fragments = "not-yet-fragments", fragment;
    /// No "time exceeded" for packets whose time to live ends at the gateway.
    TimeExceeded = "not-yet-time-exceeded", time_exceeded;
    /// A tenant's packet with the source of another tenant is taken for that one's, whatever interface it comes in by.
    SpoofedTenant = "not-yet-spoofed-tenant", spoofed_tenant;
    /// The checksum of the IP header is not verified, as RFC 1812 section 5.2.2 demands of a router: a wrong one stays wrong.
    HeaderChecksum = "not-yet-header-checksum", header_checksum;
}

fn icmp_error(case: &Case<'_>) -> bool {
    let is_error = |send: &Send| matches!(send.what, What::Error { .. });
    case.sent().iter().any(is_error)
        && icmp_kind(case.only_theirs()).is_some_and(|kind| !matches!(kind, 0 | 8))
}

fn fragment(case: &Case<'_>) -> bool {
    case.only_theirs().is_some() && case.sent_until_then().any(|send| send.cut.is_some())
}

fn time_exceeded(case: &Case<'_>) -> bool {
    case.sent().iter().any(|send| send.ttl <= 1) && icmp_kind(case.only_theirs()) == Some(11)
}

fn spoofed_tenant(case: &Case<'_>) -> bool {
    let is_spoofed = |send: &Send| send.target == Target::Forbidden(Forbidden::SpoofedTenant);
    case.only_ours().is_some() && case.sent().iter().any(is_spoofed)
}

fn header_checksum(case: &Case<'_>) -> bool {
    let is_wrong = case.only_ours().is_some_and(|seen| seen.wrong() == [ChecksumOf::Ip]);
    is_wrong && case.sent().iter().any(|send| send.defect == Some(Defect::IpChecksum))
}

fn icmp_kind(seen: Option<&Seen>) -> Option<u8> {
    match &seen?.ip()?.transport {
        Transport::Icmp(icmp) => Some(icmp.kind),
        _ => None,
    }
}
