//! The sections of the store and of the API.

use std::net::SocketAddr;

use super::mismatch::Mismatch;
use crate::config::api::{ApiConfig, ApiListen, Principal, TlsIdentity};
use crate::config::choice::StoreWord;
use crate::config::file::{self, File};
use crate::config::path::OptionalFile;
use crate::config::problem::{Located, Problems, Reported};
use crate::config::reader::List;
use crate::config::store::{EtcdConfig, StoreConfig, StoreKind};

pub(super) fn store(file: &File, problems: &mut Problems) -> Result<StoreConfig, Reported> {
    let section = &file.store;
    let kind = match store_word(file, problems) {
        StoreWord::Etcd => StoreKind::Etcd(etcd(section, problems)?),
        kind @ StoreWord::Embedded => without_etcd(section, kind, StoreKind::Embedded, problems),
        kind @ StoreWord::File => without_etcd(section, kind, StoreKind::File, problems),
    };
    Ok(StoreConfig { kind, history: section.history.value.get() })
}

/// Which store is asked for; a file with tenants is its own.
fn store_word(file: &File, problems: &mut Problems) -> StoreWord {
    let has_objects = !file.tenant.is_empty() || !file.peer_group.is_empty();
    let Some(kind) = &file.store.kind else {
        return if has_objects { StoreWord::File } else { StoreWord::Embedded };
    };
    if has_objects && kind.value != StoreWord::File {
        problems.add(&kind.at, &Mismatch::TenantsElsewhere { kind: kind.value });
    }
    kind.value
}

fn etcd(section: &file::Store, problems: &mut Problems) -> Result<EtcdConfig, Reported> {
    let endpoints = &section.endpoints;
    if endpoints.value.is_empty() {
        return Err(problems.add(&endpoints.at, &Mismatch::NoEndpoints));
    }
    let identity = identity(("cert_file", &section.cert_file), ("key_file", &section.key_file), problems)?;
    Ok(EtcdConfig {
        endpoints: endpoints.value.iter().map(|url| url.value.0.clone()).collect(),
        prefix: section.prefix.value.0.clone(),
        ca_file: section.ca_file.value.0.clone(),
        identity,
    })
}

/// Fields of etcd beside another store were meant for something: they are refused rather than ignored.
fn without_etcd(
    section: &file::Store,
    word: StoreWord,
    kind: StoreKind,
    problems: &mut Problems,
) -> StoreKind {
    let files =
        [("ca_file", &section.ca_file), ("cert_file", &section.cert_file), ("key_file", &section.key_file)];
    if !section.endpoints.value.is_empty() {
        problems.add(&section.endpoints.at, &Mismatch::NotOfStore { field: "endpoints", kind: word });
    }
    for (field, file) in files {
        if file.value.0.is_some() {
            problems.add(&file.at, &Mismatch::NotOfStore { field, kind: word });
        }
    }
    kind
}

type NamedFile<'f> = (&'static str, &'f Located<OptionalFile>);

/// A certificate and its key: both or none.
fn identity(
    (cert_name, cert): NamedFile<'_>,
    (key_name, key): NamedFile<'_>,
    problems: &mut Problems,
) -> Result<Option<TlsIdentity>, Reported> {
    match (&cert.value.0, &key.value.0) {
        (None, None) => Ok(None),
        (Some(cert_file), Some(key_file)) => {
            Ok(Some(TlsIdentity { cert_file: cert_file.clone(), key_file: key_file.clone() }))
        }
        (Some(_), None) => {
            Err(problems.add(&cert.at, &Mismatch::Needs { given: cert_name, missing: key_name }))
        }
        (None, Some(_)) => {
            Err(problems.add(&key.at, &Mismatch::Needs { given: key_name, missing: cert_name }))
        }
    }
}

pub(super) fn api(section: &file::Api, problems: &mut Problems) -> Result<ApiConfig, Reported> {
    let remote = section.listen.value.0.map(|address| remote(section, address, problems)).transpose()?;
    if remote.is_none() {
        refuse_files_without_listener(section, problems);
    }
    Ok(ApiConfig {
        admins: principals(&section.admins.value),
        operators: principals(&section.operators.value),
        viewers: principals(&section.viewers.value),
        remote,
    })
}

fn principals(names: &List<Principal>) -> Vec<Principal> {
    names.iter().map(|name| name.value.clone()).collect()
}

fn tls_files(section: &file::Api) -> [NamedFile<'_>; 3] {
    [
        ("tls_cert_file", &section.tls_cert_file),
        ("tls_key_file", &section.tls_key_file),
        ("tls_client_ca_file", &section.tls_client_ca_file),
    ]
}

fn remote(section: &file::Api, address: SocketAddr, problems: &mut Problems) -> Result<ApiListen, Reported> {
    let files = tls_files(section).map(|(missing, file)| {
        let fault = Mismatch::Needs { given: "listen", missing };
        file.value.0.clone().ok_or_else(|| problems.add(&section.listen.at, &fault))
    });
    let [cert_file, key_file, client_ca_file] = files;
    let identity = TlsIdentity { cert_file: cert_file?, key_file: key_file? };
    Ok(ApiListen { address, identity, client_ca_file: client_ca_file? })
}

fn refuse_files_without_listener(section: &file::Api, problems: &mut Problems) {
    for (field, file) in tls_files(section) {
        if file.value.0.is_some() {
            problems.add(&file.at, &Mismatch::NoListener { field });
        }
    }
}
