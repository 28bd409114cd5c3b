//! One check against a real server.
//!
//! Checks leave from this node's own address (the kernel chooses it by its routes, unless one is set): they are not
//! translated, so they see the backend and the way to it, not the gateway's tables. A check is one connection and has
//! one deadline for all of it. What is read is bounded, whatever a server sends.
//!
//! Connections of `tcp` and `http` checks end with an RST as soon as the verdict is there (`SO_LINGER` 0). Otherwise
//! one side would keep each of them for a minute in TIME-WAIT: thousands of checks a second on this node or on a
//! backend's. `tls` and `script` checks part in order, because servers would log the RST as a failed handshake or a lost
//! session.

mod http;
mod script;
mod tcp;
mod tls;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use super::BackendId;
use super::failure::{Failure, Phase};
use super::target::{Check, CheckKind};

/// Makes checks.
pub trait Prober: Send + Sync + 'static {
    /// Makes one, within its timeout.
    fn probe<'a>(&'a self, id: &'a BackendId, check: &'a Check) -> BoxFuture<'a, Result<(), Failure>>;
}

/// Makes checks over the network.
pub struct Network {
    source: Option<Ipv4Addr>,
    tls: TlsConnector,
}

impl Network {
    /// With `source` checks leave from that address of this node, without from the one that its routes say.
    pub fn new(source: Option<Ipv4Addr>) -> Result<Self, rustls::Error> {
        Ok(Self { source, tls: tls::connector()? })
    }

    async fn check(&self, to: SocketAddrV4, check: &Check) -> Result<(), Failure> {
        let deadline = Deadline::after(check.timeout);
        let stream = deadline.within(Phase::Connecting, tcp::connect(self.source, to)).await?;
        match &check.kind {
            CheckKind::Tcp => tcp::reset_on_close(&stream),
            CheckKind::Tls { host } => tls::check(stream, &self.tls, host.as_deref(), to, &deadline).await,
            CheckKind::Http { tls, path, host, expect } => {
                let page = http::Page { path, host: host.as_deref(), expect };
                let tls = tls.then_some(&self.tls);
                http::check(stream, tls, &page, to, &deadline).await
            }
            CheckKind::Script { send, expect } => script::check(stream, send, expect, &deadline).await,
        }
    }
}

impl Prober for Network {
    fn probe<'a>(&'a self, id: &'a BackendId, check: &'a Check) -> BoxFuture<'a, Result<(), Failure>> {
        let to = SocketAddrV4::new(id.address, check.port.unwrap_or(id.port));
        Box::pin(self.check(to, check))
    }
}

/// When a check must be over.
struct Deadline {
    at: Instant,
    after: Duration,
}

impl Deadline {
    fn after(after: Duration) -> Self {
        Self { at: Instant::now() + after, after }
    }

    async fn within<T>(
        &self,
        during: Phase,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        match tokio::time::timeout_at(self.at, work).await {
            Ok(result) => result,
            Err(_) => Err(Failure::Timeout { after: self.after, during }),
        }
    }
}

#[cfg(test)]
mod tests;
