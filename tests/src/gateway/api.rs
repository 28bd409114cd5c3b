//! The daemon's API as the lab speaks it: the one place that knows its paths and shapes.
//!
//! Deliberately not the daemon's own client: what another program sends is text, and a renamed field must fail a test.

mod http;

pub use http::{Answer, Http, Request};

use std::{net::SocketAddrV4, path::Path, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Document, Tenant};

/// What a change did.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Outcome {
    /// In force afterwards.
    pub version: u64,
    /// What differs.
    pub changes: Vec<Value>,
    /// Entries of the kernel's tables that were written or removed.
    pub table_writes: u64,
    /// Microseconds, by the daemon's own clock.
    pub took_us: u64,
}

/// One backend of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackendPath<'a> {
    /// Its tenant.
    pub tenant: &'a str,
    /// Its pool.
    pub pool: &'a str,
    /// The backend.
    pub backend: SocketAddrV4,
}

impl BackendPath<'_> {
    fn path(&self) -> String {
        let Self { tenant, pool, backend } = self;
        format!("/v1/tenants/{tenant}/pools/{pool}/backends/{backend}")
    }
}

/// A client. The error of a request says what was asked and what came back.
#[derive(Debug)]
pub struct Api {
    http: Http,
}

impl Api {
    /// On this socket; connects with the first request.
    pub fn new(socket: &Path) -> Self {
        Self { http: Http::new(socket) }
    }

    /// Any request, right or wrong.
    pub fn send(&mut self, request: &Request<'_>) -> Result<Answer, String> {
        let Request { method, path, .. } = request;
        self.http.send(request).map_err(|error| format!("{method} {path}: {error}"))
    }

    /// Adds or replaces a tenant.
    pub fn put_tenant(&mut self, tenant: &Tenant) -> Result<Outcome, String> {
        self.change("PUT", &format!("/v1/tenants/{}", tenant.name), Some(tenant))
    }

    /// Removes a tenant.
    pub fn remove_tenant(&mut self, name: &str) -> Result<Outcome, String> {
        self.change("DELETE", &format!("/v1/tenants/{name}"), None::<&()>)
    }

    /// Changes a backend's share of new flows.
    pub fn set_weight(&mut self, backend: &BackendPath<'_>, weight: u32) -> Result<Outcome, String> {
        self.change("PATCH", &backend.path(), Some(&json!({ "weight": weight })))
    }

    /// Takes a backend out for new flows; after the deadline its flows are reset.
    pub fn drain_backend(
        &mut self,
        backend: &BackendPath<'_>,
        deadline: Duration,
    ) -> Result<Outcome, String> {
        let body = json!({ "deadline_secs": deadline.as_secs() });
        self.change("POST", &format!("{}/drain", backend.path()), Some(&body))
    }

    /// Lets a backend take new flows again.
    pub fn resume_backend(&mut self, backend: &BackendPath<'_>) -> Result<Outcome, String> {
        self.change("POST", &format!("{}/resume", backend.path()), None::<&()>)
    }

    /// Takes a whole tenant out for new flows; after the deadline those that it has are reset.
    pub fn drain_tenant(&mut self, name: &str, deadline: Duration) -> Result<Outcome, String> {
        let body = json!({ "deadline_secs": deadline.as_secs() });
        self.change("POST", &format!("/v1/tenants/{name}/drain"), Some(&body))
    }

    /// Lets a tenant take new flows again.
    pub fn resume_tenant(&mut self, name: &str) -> Result<Outcome, String> {
        self.change("POST", &format!("/v1/tenants/{name}/resume"), None::<&()>)
    }

    /// Adds or replaces all that the document holds.
    pub fn apply(&mut self, document: &Document) -> Result<Outcome, String> {
        self.change("POST", "/v1/apply", Some(document))
    }

    /// Makes what an earlier version held the newest.
    pub fn roll_back(&mut self, version: u64) -> Result<Outcome, String> {
        self.change("POST", "/v1/rollback", Some(&json!({ "version": version })))
    }

    /// The version in force.
    pub fn version(&mut self) -> Result<u64, String> {
        let history = self.read("/v1/history?limit=1")?;
        Ok(history["entries"][0]["version"].as_u64().unwrap_or(0))
    }

    /// `GET /v1/status`
    pub fn status(&mut self) -> Result<Value, String> {
        self.read("/v1/status")
    }

    /// What is known about each backend.
    pub fn health(&mut self) -> Result<Vec<Value>, String> {
        let health = self.read("/v1/health")?;
        Ok(health["backends"].as_array().cloned().unwrap_or_default())
    }

    /// The tracked flows of a tenant.
    pub fn flows(&mut self, tenant: &str) -> Result<Vec<Value>, String> {
        let flows = self.read(&format!("/v1/flows?tenant={tenant}"))?;
        Ok(flows["flows"].as_array().cloned().unwrap_or_default())
    }

    fn read(&mut self, path: &str) -> Result<Value, String> {
        self.send(&Request::new("GET", path))?.json()
    }

    fn change(
        &mut self,
        method: &str,
        path: &str,
        body: Option<&(impl Serialize + ?Sized)>,
    ) -> Result<Outcome, String> {
        let body = body.map(|body| serde_json::to_vec(body).expect("plain data"));
        let request = match &body {
            Some(body) => Request::new(method, path).json(body),
            None => Request::new(method, path),
        };
        let outcome = self.send(&request)?.json()?;
        serde_json::from_value(outcome).map_err(|error| format!("{method} {path}: {error}"))
    }
}
