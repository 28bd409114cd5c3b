//! Where the tenants come from at the start.

use std::{path::Path, sync::Arc};

use crate::{
    config::{Config, EtcdConfig, StoreKind},
    control::Source,
    store::{
        Snapshot, StoreError, TenantStore, embedded,
        etcd::{self, EtcdTls},
        file::FileStore,
    },
    tenancy::problem::FieldProblem,
};

/// The store can't be used, or holds what this node refuses.
#[derive(Debug, thiserror::Error)]
pub enum TenantsError {
    /// The store said no.
    #[error("cannot read the tenants")]
    Store(#[from] StoreError),
    /// The tenants do not fit the settings, for instance since a VIP is now an address of theirs.
    #[error(
        "version {version} of the tenants does not fit the settings: {}",
        .problems.iter().map(|problem| format!("{}: {}", problem.path, problem.problem)).collect::<Vec<_>>().join("; ")
    )]
    Rejected {
        /// The version in the store.
        version: crate::store::Version,
        /// What is wrong.
        problems: Vec<FieldProblem>,
    },
}

impl TenantsError {
    /// What to do about it.
    pub fn remedy(&self) -> String {
        match self {
            Self::Store(StoreError::Unavailable { remedy, .. } | StoreError::Corrupt { remedy, .. }) => {
                remedy.clone()
            }
            Self::Store(_) => "see the daemon's log".to_owned(),
            Self::Rejected { .. } => {
                "put the old settings back, change the tenants, and then change the settings".to_owned()
            }
        }
    }
}

/// Opens the store and reads the version in force; returns the settings with its tenants.
pub async fn open(settings: &Config, path: &Path) -> Result<(Source, Snapshot, Config), TenantsError> {
    let kept = settings.store.history as usize;
    let store: Arc<dyn TenantStore> = match &settings.store.kind {
        StoreKind::File => {
            let store = FileStore::new(path.to_owned(), settings.tenancy());
            let snapshot = store.load().await?;
            return Ok((Source::File(Arc::new(store)), snapshot, settings.clone()));
        }
        StoreKind::Embedded => Arc::new(embedded::open(&settings.daemon.state_dir, kept)?),
        StoreKind::Etcd(cluster) => {
            check_tls(cluster)?;
            Arc::new(etcd::connect(etcd_config(settings, cluster, kept)).await?)
        }
    };
    let snapshot = store.load().await?;
    let config = settings.with_tenancy(&snapshot.tenancy, None);
    let config = config.map_err(|problems| TenantsError::Rejected { version: snapshot.version, problems })?;
    Ok((Source::Store(store), snapshot, config))
}

/// Without an authority nobody could tell the cluster from a stranger, and a certificate of ours would not be shown.
fn check_tls(cluster: &EtcdConfig) -> Result<(), StoreError> {
    let encrypted = cluster.endpoints.iter().any(|endpoint| endpoint.starts_with("https:"));
    if cluster.ca_file.is_some() || !(encrypted || cluster.identity.is_some()) {
        return Ok(());
    }
    Err(StoreError::Unavailable {
        message: "`store.ca_file` is not set, and etcd is to be reached by TLS".to_owned(),
        remedy: "name the certificate of the authority that signs the members' certificates".to_owned(),
        source: None,
    })
}

fn etcd_config(settings: &Config, cluster: &EtcdConfig, kept: usize) -> etcd::EtcdConfig {
    let identity = cluster.identity.as_ref();
    let tls = cluster.ca_file.as_ref().map(|ca| EtcdTls {
        ca: ca.clone(),
        cert: identity.map(|identity| identity.cert_file.clone()),
        key: identity.map(|identity| identity.key_file.clone()),
    });
    etcd::EtcdConfig {
        endpoints: cluster.endpoints.clone(),
        prefix: cluster.prefix.clone(),
        tls,
        state_dir: settings.daemon.state_dir.clone(),
        kept,
    }
}
