//! Differences that are no decision, but work that is not done. To be removed when the gateway does it: take the entry
//! out, and what it excused fails; take the last one out, and this file with it.

use super::{
    conversation::{Forbidden, Send, Target},
    differences::Case,
};
use crate::packet::{ChecksumOf, Defect};

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
    /// A tenant's packet with the source of another tenant is taken for that one's, whatever interface it comes in by.
    SpoofedTenant = "not-yet-spoofed-tenant", spoofed_tenant;
    /// The checksum of the IP header is not verified, as RFC 1812 section 5.2.2 demands of a router: a wrong one stays wrong.
    HeaderChecksum = "not-yet-header-checksum", header_checksum;
}

fn spoofed_tenant(case: &Case<'_>) -> bool {
    let is_spoofed = |send: &Send| send.target == Target::Forbidden(Forbidden::SpoofedTenant);
    case.only_ours().is_some() && case.sent().iter().any(is_spoofed)
}

fn header_checksum(case: &Case<'_>) -> bool {
    let is_wrong = case.only_ours().is_some_and(|seen| seen.wrong() == [ChecksumOf::Ip]);
    is_wrong && case.sent().iter().any(|send| send.defect == Some(Defect::IpChecksum))
}
