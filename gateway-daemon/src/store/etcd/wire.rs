//! Requests to etcd: each with a deadline, each failure in words.

use std::path::Path;
use std::time::Duration;

use etcd_client::{
    Certificate, Client, ConnectOptions, GetOptions, GetResponse, Identity, KvClient, TlsOptions, Txn,
    TxnResponse, WatchOptions, WatchStream,
};

use super::keys::{FORMAT, Head, Keys};
use super::{EtcdConfig, EtcdTls};
use crate::store::StoreError;
use crate::store::touch::{self, Unreadable};

/// How long one request may take. An operator waits for it, and etcd answers within milliseconds or has lost its
/// leader, which takes longer to elect than anyone wants to wait.
pub(super) const DEADLINE: Duration = Duration::from_secs(2);

/// Keys in one answer: 200 objects of real tenants are some 300 KiB.
const PAGE: i64 = 200;

/// The largest answer that is taken: a page of the largest objects there may be ([`super::change::LARGEST_OBJECT`]).
const LARGEST_ANSWER: usize = 128 << 20;

/// The connection. Clones share it.
#[derive(Clone)]
pub(super) struct Wire {
    client: Client,
    pub keys: Keys,
    /// For messages.
    place: String,
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wire").field("place", &self.place).finish_non_exhaustive()
    }
}

/// `meta/version` as it was read.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub head: Head,
    /// The revision that wrote it; 0 when it was never written.
    pub mod_revision: i64,
    /// The revision at which it was read.
    pub revision: i64,
}

impl Wire {
    /// Prepares the connection; it is made when it is first used.
    pub async fn connect(config: &EtcdConfig) -> Result<Self, StoreError> {
        let place = config.endpoints.join(", ");
        let options = ConnectOptions::new().with_connect_timeout(DEADLINE).with_require_leader(true);
        let options = match &config.tls {
            Some(tls) => options.with_tls(tls_options(tls)?),
            None => options,
        };
        let client = Client::connect(&config.endpoints, Some(options)).await;
        let client = client.map_err(|error| misconfigured(&place, error))?;
        Ok(Self { client, keys: Keys::new(&config.prefix), place })
    }

    fn kv(&self) -> KvClient {
        self.client.kv_client().max_decoding_message_size(LARGEST_ANSWER)
    }

    /// Waits for an answer, but not for long.
    async fn answer<T>(
        &self,
        request: impl Future<Output = Result<T, etcd_client::Error>>,
    ) -> Result<T, StoreError> {
        match tokio::time::timeout(DEADLINE, request).await {
            Ok(answer) => answer.map_err(|error| self.unavailable(error)),
            Err(late) => Err(self.unavailable(late)),
        }
    }

    pub fn unavailable(&self, source: impl std::error::Error + Send + Sync + 'static) -> StoreError {
        StoreError::Unavailable {
            message: format!("etcd at {} does not do what it is asked", self.place),
            remedy: "see `etcdctl endpoint health` and the log of etcd; the gateway goes on with the tenants that it \
                     has, and changes work again when etcd does"
                .to_owned(),
            source: Some(Box::new(source)),
        }
    }

    pub fn unreadable(&self, what: &Unreadable) -> StoreError {
        let Unreadable { key, why } = what;
        StoreError::Corrupt {
            message: format!("`{key}` in etcd at {} can't be understood: {why}", self.place),
            remedy: "find out who else writes under the gateway's prefix; `etcdctl get KEY` shows it"
                .to_owned(),
        }
    }

    /// Reads JSON that stands under a key.
    pub fn parse<T: serde::de::DeserializeOwned>(&self, key: &str, bytes: &[u8]) -> Result<T, StoreError> {
        touch::parse(key, bytes).map_err(|what| self.unreadable(&what))
    }

    pub async fn get(&self, key: impl Into<Vec<u8>>, options: GetOptions) -> Result<GetResponse, StoreError> {
        self.answer(self.kv().get(key, Some(options))).await
    }

    /// The value of a key as it was at a revision.
    pub async fn value(&self, key: String, revision: i64) -> Result<Option<Vec<u8>>, StoreError> {
        let mut answer = self.get(key, GetOptions::new().with_revision(revision)).await?;
        Ok(answer.take_kvs().pop().map(|pair| pair.into_key_value().1))
    }

    pub async fn txn(&self, txn: Txn) -> Result<TxnResponse, StoreError> {
        self.answer(self.kv().txn(txn)).await
    }

    /// A lease for what must vanish if this process does.
    pub async fn lease(&self, lifetime: Duration) -> Result<i64, StoreError> {
        let seconds = i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX);
        Ok(self.answer(self.client.lease_client().grant(seconds, None)).await?.id())
    }

    /// Ends a lease and what depends on it.
    pub async fn end_lease(&self, lease: i64) -> Result<(), StoreError> {
        self.answer(self.client.lease_client().revoke(lease)).await.map(drop)
    }

    /// Every pair under a prefix as it was at a revision, page by page.
    pub async fn each(
        &self,
        prefix: String,
        revision: i64,
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut end = prefix.clone().into_bytes();
        // Prefixes end with `/`: what follows them begins with `0`.
        end.pop();
        end.push(b'/' + 1);
        let mut from = prefix.into_bytes();
        loop {
            let options = GetOptions::new().with_range(end.clone()).with_limit(PAGE).with_revision(revision);
            let page = self.get(from, options).await?;
            page.kvs().iter().try_for_each(|pair| visit(pair.key(), pair.value()))?;
            match page.kvs().last() {
                // The next key is the last one with a zero byte behind it.
                Some(last) if page.more() => from = [last.key(), &[0]].concat(),
                _ => return Ok(()),
            }
        }
    }

    /// The version in force, as the cluster agrees on it.
    pub async fn head(&self) -> Result<Seen, StoreError> {
        let answer = self.get(self.keys.version(), GetOptions::new()).await?;
        let revision = answer.header().map_or(0, etcd_client::ResponseHeader::revision);
        match answer.kvs().first() {
            None => Ok(Seen { head: Head::default(), mod_revision: 0, revision }),
            Some(pair) => {
                Ok(Seen { head: self.head_of(pair.value())?, mod_revision: pair.mod_revision(), revision })
            }
        }
    }

    /// Reads the value of `meta/version`; refuses what a newer daemon wrote.
    pub fn head_of(&self, bytes: &[u8]) -> Result<Head, StoreError> {
        #[derive(serde::Deserialize)]
        struct Format {
            format: u64,
        }
        let key = self.keys.version();
        match self.parse::<Format>(&key, bytes)?.format {
            FORMAT => self.parse(&key, bytes),
            newer => Err(StoreError::Corrupt {
                message: format!(
                    "the tenants in etcd at {} have format {newer}; this gateway-daemon knows {FORMAT}",
                    self.place
                ),
                remedy: "run the gateway-daemon of the other nodes here; nothing was changed".to_owned(),
            }),
        }
    }

    /// Reports of `meta/version` from a revision on.
    pub async fn watch(&self, revision: i64) -> Result<WatchStream, StoreError> {
        let options = WatchOptions::new().with_start_revision(revision);
        self.answer(self.client.watch_client().watch(self.keys.version(), Some(options))).await
    }
}

fn tls_options(tls: &EtcdTls) -> Result<TlsOptions, StoreError> {
    let options = TlsOptions::new().ca_certificate(Certificate::from_pem(pem(&tls.ca)?));
    match (&tls.cert, &tls.key) {
        (Some(cert), Some(key)) => Ok(options.identity(Identity::from_pem(pem(cert)?, pem(key)?))),
        (None, None) => Ok(options),
        _ => Err(StoreError::Unavailable {
            message: "etcd's TLS settings name a certificate without a key, or a key without a certificate"
                .to_owned(),
            remedy: "give both `cert` and `key`, or neither".to_owned(),
            source: None,
        }),
    }
}

fn pem(path: &Path) -> Result<Vec<u8>, StoreError> {
    std::fs::read(path).map_err(|error| StoreError::Unavailable {
        message: format!("{} can't be read, which etcd's TLS settings name", path.display()),
        remedy: "correct the path, or let the daemon's user read the file".to_owned(),
        source: Some(Box::new(error)),
    })
}

fn misconfigured(place: &str, error: etcd_client::Error) -> StoreError {
    StoreError::Unavailable {
        message: format!("the settings for etcd at `{place}` can't be used"),
        remedy: "give endpoints as `http://HOST:PORT`, or `https://HOST:PORT` with valid PEM files"
            .to_owned(),
        source: Some(Box::new(error)),
    }
}
