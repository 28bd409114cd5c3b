//! Bodies of the API: what the routes read them into, and what becomes of the tenants.
//!
//! An input is a text of requests, one a line: a letter for the path, then the body. So a finding reads like a log.

use std::fmt::Debug;

use gateway_daemon::{
    api::{
        body,
        types::{DrainRequest, ExplainRequest, Problem, RollbackRequest, WeightRequest},
    },
    config::{Config, Interfaces},
    tenancy::{
        Tenancy,
        diff::diff,
        edit::{Edit, apply},
        problem::FieldProblem,
        spec::{
            AdminState, BackendSpec, Document, EgressSpec, ListenerSpec, PeerGroupSpec, PoolSpec, TenantSpec,
        },
    },
};
use serde::{Serialize, de::DeserializeOwned};

use crate::{config::assert_round_trip, seeds::texts};

/// Requests a run.
const MAX_REQUESTS: usize = 16;

/// The paths without a name of their own in the body are about this tenant, pool and backend of the sample.
const TENANT: &str = "bank-a";
const POOL: &str = "web";
const BACKEND: &str = "198.51.100.18:8080";

/// No body makes it panic; a refusal says why and changes nothing; what is accepted is legal and stays so.
pub fn run(bytes: &[u8]) {
    let mut config = sample();
    for line in bytes.split(|byte| *byte == b'\n').take(MAX_REQUESTS) {
        let Some((path, body)) = line.split_first() else { continue };
        if let Some(edits) = edits(*path, body) {
            config = changed(config, &edits);
        }
    }
}

/// The configuration that requests meet.
pub(crate) fn sample() -> Config {
    let text = texts::bare_sample();
    Config::parse("sample", &text, &Interfaces::Unchecked).expect("the sample is legal")
}

/// The edits that a route makes of a body; `None` when it refuses the body, or changes nothing.
fn edits(path: u8, bytes: &[u8]) -> Option<Vec<Edit>> {
    let (tenant, pool, backend) = (TENANT.to_owned(), POOL.to_owned(), BACKEND.to_owned());
    let edit = match path {
        b'C' => return refusable(body::list::<Edit>(bytes)),
        b'D' => Edit::Apply { document: object::<Document>(bytes)?, prune: false },
        b'P' => Edit::Apply { document: object::<Document>(bytes)?, prune: true },
        b'T' => Edit::PutTenant { tenant: object::<TenantSpec>(bytes)?, only_new: false },
        b'N' => Edit::PutTenant { tenant: object::<TenantSpec>(bytes)?, only_new: true },
        b'G' => Edit::PutPeerGroup { peer_group: object::<PeerGroupSpec>(bytes)?, only_new: false },
        b'L' => Edit::PutListener { tenant, listener: object::<ListenerSpec>(bytes)? },
        b'E' => Edit::PutEgress { tenant, egress: object::<EgressSpec>(bytes)? },
        b'O' => Edit::PutPool { tenant, pool: object::<PoolSpec>(bytes)? },
        b'B' => Edit::PutBackend { tenant, pool, backend: object::<BackendSpec>(bytes)? },
        b'W' => {
            let WeightRequest { weight } = object(bytes)?;
            Edit::SetBackendWeight { tenant, pool, backend, weight }
        }
        b'S' => {
            let drain_until = object::<DrainRequest>(bytes)?.deadline_secs.map(u64::from);
            Edit::SetTenantState { tenant, state: AdminState::Draining, drain_until }
        }
        b'R' => return object::<RollbackRequest>(bytes).and(None),
        b'X' => return object::<ExplainRequest>(bytes).and(None),
        _ => return None,
    };
    Some(vec![edit])
}

/// A body as a route reads it; what was read is written and read again as the same.
fn object<T: DeserializeOwned + Serialize + PartialEq + Debug>(bytes: &[u8]) -> Option<T> {
    let read = refusable(body::object::<T>(bytes))?;
    let text = serde_json::to_vec(&read).expect("what was JSON is JSON");
    let again = body::object::<T>(&text).expect("our own JSON");
    assert_eq!(again, read, "written and read again");
    Some(read)
}

fn refusable<T>(read: Result<T, Problem>) -> Option<T> {
    let problem = match read {
        Ok(value) => return Some(value),
        Err(problem) => problem,
    };
    let said = !problem.detail.is_empty() || !problem.problems.is_empty();
    assert!(said, "refused without a reason: {problem:?}");
    problem.problems.iter().for_each(assert_explained);
    None
}

/// The configuration after a change, as the daemon makes it; the one before if the change is refused.
fn changed(config: Config, edits: &[Edit]) -> Config {
    let before = config.tenancy();
    let Ok(after) = apply(&before, edits) else {
        return config;
    };
    assert_eq!(diff(&before, &after).is_empty(), before == after, "a difference that nobody sees");
    let all = config.with_tenancy(&after, None);
    match (config.with_tenancy(&after, Some(&before)), all) {
        (Ok(next), Ok(all)) => {
            assert!(next.tenancy() == all.tenancy(), "what was kept is not what would be read: {after:?}");
            assert_round_trip(&next);
            next
        }
        (Err(problems), Err(_)) => {
            assert!(!problems.is_empty(), "refused without a reason: {after:?}");
            problems.iter().for_each(assert_explained);
            assert_unchanged(&config, &before);
            config
        }
        (next, all) => panic!("in steps {:?}, at once {:?}: {after:?}", next.is_ok(), all.is_ok()),
    }
}

fn assert_explained(problem: &FieldProblem) {
    assert!(!problem.problem.is_empty() && !problem.remedy.is_empty(), "{problem:?}");
}

fn assert_unchanged(config: &Config, before: &Tenancy) {
    assert!(config.tenancy() == *before, "a refused change has changed something");
}
