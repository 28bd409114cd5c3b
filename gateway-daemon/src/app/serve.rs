//! The sockets that the daemon answers on.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use tokio::net::TcpListener;
use tracing::warn;

use crate::{
    api::{
        self,
        audit::Audit,
        auth::{RoleError, RoleMap},
        controller::Controller,
        server::{ApiSocket, ApiState, Roles},
        signal,
        tls::{self, Reloader, TlsListener, TlsOptions},
    },
    config::{ApiConfig, Config, Principal},
    control::Control,
    drain::Shutdown,
    gateway::Gateway,
    metrics::{self, Metrics},
    tenancy::problem::FieldProblem,
};

/// Bound sockets that nobody answers on yet.
pub struct Doors {
    socket: ApiSocket,
    remote: Option<TlsListener>,
    scrape: Option<TcpListener>,
    roles: Roles,
    audit: Audit,
}

/// What is read again on SIGHUP besides the settings.
pub struct Reloads {
    audit: Audit,
    certificates: Option<Reloader>,
}

impl Reloads {
    /// Reads the settings and all this again, because of a signal. What can't be read stays as it is.
    pub async fn by_signal(&self, controller: &dyn Controller) {
        if let Err(problem) = signal::reload(controller, &self.audit, || self.reload()).await {
            warn!(problems = ?problem.problems, "the settings were not read again: {}", problem.detail);
        }
    }

    fn reload(&self) {
        if let Err(error) = self.audit.reopen() {
            warn!("cannot open the audit file again: {:#}", anyhow::Error::from(error));
        }
        if let Some(Err(error)) = self.certificates.as_ref().map(Reloader::reload) {
            warn!("cannot read the API's certificates again: {:#}", anyhow::Error::from(error));
        }
    }
}

impl Doors {
    /// Binds everything, and changes nothing else.
    pub async fn open(settings: &Config) -> Result<Self> {
        let roles = role_map(&settings.api)?.into();
        let socket = api::server::bind(&settings.daemon.socket).await?;
        let remote = match tls_options(&settings.api) {
            Some(options) => Some(tls::bind(options).await?),
            None => None,
        };
        let scrape = match settings.daemon.metrics {
            Some(address) => Some(metrics::server::bind(address).await?),
            None => None,
        };
        let directory = &settings.daemon.state_dir;
        std::fs::create_dir_all(directory)
            .with_context(|| format!("cannot make the state directory {}", directory.display()))?;
        let audit = Audit::new(Some(&directory.join("audit.jsonl")))?;
        Ok(Self { socket, remote, scrape, roles, audit })
    }

    /// Answers on all of them until the shutdown.
    pub fn serve(
        self,
        gateway: &Arc<Gateway>,
        control: &Arc<Control>,
        metrics: &Metrics,
        shutdown: &Shutdown,
    ) -> Reloads {
        let state = ApiState {
            source: gateway.clone(),
            controller: control.clone(),
            roles: self.roles.clone(),
            audit: self.audit.clone(),
            answered: Arc::new({
                let metrics = metrics.clone();
                move |role, status| {
                    metrics.api_requests(role.into(), status.into()).inc();
                }
            }),
        };
        control.on_reload({
            let roles = self.roles;
            move |config| {
                let map = role_map(&config.api).map_err(|error| nobody(&error))?;
                let roles = roles.clone();
                Ok(Box::new(move || roles.replace(map)))
            }
        });
        let certificates = self.remote.as_ref().map(TlsListener::reloader);
        hold(shutdown, "API", api::server::serve(self.socket, state.clone(), shutdown.requested()));
        if let Some(remote) = self.remote {
            hold(shutdown, "remote API", tls::serve(remote, state, shutdown.requested()));
        }
        if let Some(listener) = self.scrape {
            let source = gateway.clone();
            let pages =
                metrics::server::Pages { source, readiness: gateway.clone(), metrics: metrics.clone() };
            hold(shutdown, "metrics", metrics::server::serve(listener, pages, shutdown.requested()));
        }
        Reloads { audit: self.audit, certificates }
    }
}

/// Runs a server to its end; the shutdown waits for it.
fn hold<E: std::fmt::Display + Send>(
    shutdown: &Shutdown,
    name: &'static str,
    server: impl Future<Output = Result<(), E>> + Send + 'static,
) {
    let held = shutdown.clone();
    tokio::spawn(async move {
        if let Err(error) = server.await {
            warn!("the {name} server ended: {error}");
        }
        drop(held);
    });
}

fn role_map(config: &ApiConfig) -> Result<RoleMap, RoleError> {
    let names = |list: &[Principal]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    RoleMap::new(&names(&config.admins), &names(&config.operators), &names(&config.viewers))
}

fn nobody(error: &RoleError) -> FieldProblem {
    FieldProblem { path: "api".to_owned(), problem: error.to_string(), remedy: error.remedy().to_owned() }
}

fn tls_options(config: &ApiConfig) -> Option<TlsOptions> {
    config.remote.as_ref().map(|remote| TlsOptions {
        listen: remote.address,
        certificate: remote.identity.cert_file.clone(),
        key: remote.identity.key_file.clone(),
        client_ca: remote.client_ca_file.clone(),
    })
}
