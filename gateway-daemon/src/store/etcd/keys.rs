//! The keys under the prefix, and what stands in `meta/version` and `history/`.

use serde::{Deserialize, Serialize};

use crate::store::Version;
use crate::store::touch::{Signature, Touch};

/// What this code reads and writes.
pub(super) const FORMAT: u64 = 1;

/// Makes keys. Numbers are padded, so that the order of keys is that of numbers.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    prefix: String,
}

impl Keys {
    pub fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    pub fn version(&self) -> String {
        format!("{}meta/version", self.prefix)
    }

    pub fn objects(&self) -> String {
        format!("{}objects/", self.prefix)
    }

    pub fn object(&self, key: &str) -> String {
        format!("{}objects/{key}", self.prefix)
    }

    pub fn history(&self, version: Version) -> String {
        format!("{}history/{:020}", self.prefix, version.0)
    }

    /// After every key of the history: `0` follows `/`.
    pub fn history_end(&self) -> String {
        format!("{}history0", self.prefix)
    }

    /// Before every staged part of this version and later ones.
    pub fn staged_from(&self, version: Version) -> String {
        format!("{}staged/{:020}", self.prefix, version.0)
    }

    pub fn part(&self, staged: &Staged, n: usize) -> String {
        format!("{}-{}/{n:06}", self.staged_from(staged.version), staged.id)
    }
}

/// The value of `meta/version`. When it is missing, nothing was ever stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    pub format: u64,
    pub version: Version,
    /// Chosen at random by the commit that wrote the version: tells its author that it was accepted.
    pub id: String,
    /// The touched objects that are not in `objects/` yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staged: Option<Staged>,
}

impl Default for Head {
    fn default() -> Self {
        Self { format: FORMAT, version: Version(0), id: String::new(), staged: None }
    }
}

/// Where the parts of a large change are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Staged {
    pub version: Version,
    pub id: String,
    pub parts: usize,
}

/// The value of an entry of the history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    #[serde(flatten)]
    pub signature: Signature,
    pub touched: Touched,
}

/// The touched objects of a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Touched {
    Here(Vec<Touch>),
    Staged(Staged),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_keys_is_that_of_versions() {
        let keys = Keys::new("/g/");
        assert!(keys.history(Version(9)) < keys.history(Version(10)));
        assert!(keys.history(Version(u64::MAX)) < keys.history_end());
        let staged = |version| Staged { version: Version(version), id: "zz".into(), parts: 2 };
        assert!(keys.part(&staged(9), 999) < keys.staged_from(Version(10)));
        assert!(keys.staged_from(Version(10)) < keys.part(&staged(10), 0));
    }
}
