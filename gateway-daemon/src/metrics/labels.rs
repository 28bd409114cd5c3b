//! The values that labels of the daemon's own counters take: enumerations, so that a label can't grow without bound.

use std::marker::PhantomData;
use std::ops::Index;

use prometheus_client::metrics::counter::Counter;

use crate::api::auth::Role;
use crate::store::StoreError;

/// The values of one label.
pub(super) trait Label: Copy + 'static {
    /// All of them, in the order of their discriminants.
    const ALL: &'static [Self];

    /// The value as it is shown.
    fn name(self) -> &'static str;

    /// The position in [`Self::ALL`].
    fn position(self) -> usize;
}

macro_rules! label {
    ($(#[doc = $doc:literal])+ $name:ident { $($(#[doc = $variant_doc:literal])+ $variant:ident = $word:literal,)+ }) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[doc = $variant_doc])+ $variant,)+
        }

        impl Label for $name {
            const ALL: &'static [Self] = &[$(Self::$variant,)+];

            fn name(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }

            fn position(self) -> usize {
                self as usize
            }
        }
    };
}

label! {
    /// What the reconciler writes, and what it repairs when somebody else removed it.
    Kind {
        /// An entry of a table in the kernel.
        MapEntry = "map_entry",
        /// A link between a program and an interface.
        Link = "link",
        /// An address on an interface.
        Address = "address",
        /// A route.
        Route = "route",
        /// A next hop.
        Neighbour = "neighbour",
        /// A forwarding switch of the kernel.
        Forwarding = "forwarding",
        /// The pin of a map.
        Pin = "pin",
    }
}

impl Kind {
    /// The word used in output.
    pub fn name(self) -> &'static str {
        Label::name(self)
    }
}

label! {
    /// How something ended.
    Outcome {
        /// It was done.
        Done = "done",
        /// It was not.
        Failed = "failed",
    }
}

label! {
    /// What was wrong with the tenant store.
    StoreFault {
        /// Two changes crossed; the later one has to be made again.
        Conflict = "conflict",
        /// It does not answer.
        Unavailable = "unavailable",
        /// What it holds can't be understood.
        Corrupt = "corrupt",
        /// It was asked for what it can't do: a version that is gone, a write where it only reads.
        Refused = "refused",
    }
}

label! {
    /// What became of a part of a datagram that came before the first one.
    PartFate {
        /// It was sent on after the first one.
        Sent = "sent",
        /// The data path dropped it, and counted why.
        Dropped = "dropped",
        /// The first part did not come in time.
        Expired = "expired",
        /// It made way for a later one: too many waited.
        Displaced = "displaced",
    }
}

label! {
    /// How much of its ports a tenant uses, in percent.
    PortLevel {
        /// Worth knowing.
        Seventy = "70",
        /// Time to act.
        EightyFive = "85",
        /// New flows are dropped.
        All = "100",
    }
}

impl PortLevel {
    /// The number.
    pub fn percent(self) -> u8 {
        match self {
            Self::Seventy => 70,
            Self::EightyFive => 85,
            Self::All => 100,
        }
    }
}

impl From<Option<Role>> for ApiRole {
    fn from(role: Option<Role>) -> Self {
        match role {
            None => Self::None,
            Some(Role::Viewer) => Self::Viewer,
            Some(Role::Operator) => Self::Operator,
            Some(Role::Admin) => Self::Admin,
        }
    }
}

impl From<&StoreError> for StoreFault {
    fn from(error: &StoreError) -> Self {
        match error {
            StoreError::Conflict { .. } => Self::Conflict,
            StoreError::Unavailable { .. } => Self::Unavailable,
            StoreError::Corrupt { .. } => Self::Corrupt,
            StoreError::ReadOnly { .. } | StoreError::NoSuchVersion { .. } => Self::Refused,
        }
    }
}

label! {
    /// What a caller of the API may do.
    ApiRole {
        /// Nothing: it is not known, or its request was no HTTP.
        None = "none",
        /// Look.
        Viewer = "viewer",
        /// Change tenants.
        Operator = "operator",
        /// Everything.
        Admin = "admin",
    }
}

label! {
    /// The hundreds of an HTTP status.
    CodeClass {
        /// Answered.
        Success = "2xx",
        /// See elsewhere, or nothing new.
        Redirect = "3xx",
        /// The caller's fault.
        Client = "4xx",
        /// The daemon's fault.
        Server = "5xx",
    }
}

impl From<axum::http::StatusCode> for CodeClass {
    fn from(status: axum::http::StatusCode) -> Self {
        match status.as_u16() {
            ..300 => Self::Success,
            300..400 => Self::Redirect,
            400..500 => Self::Client,
            500.. => Self::Server,
        }
    }
}

label! {
    /// What a health check found.
    CheckResult {
        /// The backend answered as expected.
        Passed = "passed",
        /// It refused, or answered something else.
        Failed = "failed",
        /// It did not answer in time.
        TimedOut = "timed_out",
    }
}

/// One thing for each value of a label.
#[derive(Debug)]
pub(super) struct Labelled<L, T = Counter> {
    values: Box<[T]>,
    label: PhantomData<L>,
}

impl<L: Label, T: Default> Default for Labelled<L, T> {
    fn default() -> Self {
        Self { values: L::ALL.iter().map(|_| T::default()).collect(), label: PhantomData }
    }
}

impl<L: Label, T> Index<L> for Labelled<L, T> {
    type Output = T;

    fn index(&self, label: L) -> &T {
        &self.values[label.position()]
    }
}

impl<L: Label> Labelled<L> {
    /// Every value of the label and its count.
    pub(super) fn samples(&self) -> impl Iterator<Item = ([&'static str; 1], u64)> {
        L::ALL.iter().map(|label| ([label.name()], self[*label].get()))
    }
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;

    use super::*;

    #[test]
    fn every_value_has_a_counter_of_its_own() {
        let counters: Labelled<Kind> = Labelled::default();
        for (n, kind) in (1..).zip(Kind::ALL) {
            counters[*kind].inc_by(n);
        }
        let samples: Vec<_> = counters.samples().collect();
        assert_eq!(samples[0], (["map_entry"], 1));
        assert_eq!(samples[4], (["neighbour"], 5));
    }

    #[test]
    fn statuses_fall_into_their_hundreds() {
        let cases = [
            (StatusCode::OK, CodeClass::Success),
            (StatusCode::NOT_MODIFIED, CodeClass::Redirect),
            (StatusCode::CONFLICT, CodeClass::Client),
            (StatusCode::INTERNAL_SERVER_ERROR, CodeClass::Server),
        ];
        for (status, class) in cases {
            assert_eq!(CodeClass::from(status), class);
        }
    }
}
