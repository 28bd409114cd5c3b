//! Puts the daemon's parts together: the one place that knows all of them.
//!
//! Order of the start: everything that can be refused (configuration, sockets) comes before the first change to the
//! kernel; tables are filled before a program is attached. On SIGTERM the tasks end and the data path stays: packets
//! go on being translated until `unload`.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result};
use rtnetlink::Handle;
use tokio::net::TcpListener;
use tracing::{info, warn};

use crate::{
    api::{self, audit::Audit, auth::RoleMap, readonly::ReadOnly, server::ApiState, source::Source},
    config::{Config, Interfaces},
    datapath::{host::Host, unload},
    drain::{self, Drained, Shutdown, Signals},
    gateway::Gateway,
    metrics::{self, Metrics},
    store::Snapshot,
    tasks,
};

/// How long tasks may take to end after SIGTERM. They only finish what they hold: no packet depends on them.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);

/// Runs the agent until it is told to stop.
///
/// # Errors
///
/// A [`crate::config::ConfigError`] when the file is bad: nothing was changed then. Otherwise what could not be done;
/// a start that failed leaves the system as it was.
pub async fn run(path: &Path) -> Result<()> {
    let config =
        Config::load(path, &Interfaces::of_this_host().context("cannot list the network interfaces")?)?;
    let mut signals = Signals::install().context("cannot listen for signals")?;
    let socket = api::server::bind(&config.daemon.socket).await?;
    let scrape = match config.daemon.metrics {
        Some(address) => Some(metrics::server::bind(address).await?),
        None => None,
    };
    let netlink = netlink()?;
    let host = Host::read(&netlink).await?;
    let gateway = Arc::new(start(&config, path, host)?);
    release_spare_memory();
    let metrics = Metrics::default();
    let (trigger, shutdown) = drain::channel();
    serve(&gateway, &metrics, socket, api_state(&gateway, path)?, scrape, &shutdown);
    tasks::spawn(&gateway, &netlink, &metrics, shutdown)?;
    info!(config = %path.display(), "gateway is up");
    let signal = signals.next().await;
    info!(signal, "stopping; the data path goes on translating (`gateway-daemon unload` removes it)");
    trigger.request();
    if let Drained::Remaining(tasks) = trigger.drained(SHUTDOWN_GRACE).await {
        warn!(tasks, "some tasks did not end in time");
    }
    Ok(())
}

/// Loads, fills and attaches. When that fails on a host where nothing was attached before, nothing stays behind.
fn start(config: &Config, path: &Path, host: Host) -> Result<Gateway> {
    let fresh = Gateway::is_absent(config)?;
    Gateway::start(config.clone(), path, host, SystemTime::now()).inspect_err(|_| {
        if fresh && let Err(error) = unload(config) {
            warn!("cannot clean up after the failed start: {error:#}");
        }
    })
}

fn netlink() -> Result<Handle> {
    let (connection, handle, _) = rtnetlink::new_connection().context("cannot open a netlink socket")?;
    tokio::spawn(connection);
    Ok(handle)
}

/// What the API answers from. The tenants are the configuration file's, which the API does not write; only root and
/// the daemon's own user are allowed anything.
fn api_state(gateway: &Arc<Gateway>, path: &Path) -> Result<ApiState> {
    let controller = ReadOnly::new(path.display().to_string(), Snapshot::default());
    Ok(ApiState {
        source: gateway.clone(),
        controller: Arc::new(controller),
        roles: RoleMap::default().into(),
        audit: Audit::new(None)?,
    })
}

fn serve(
    gateway: &Arc<Gateway>,
    metrics: &Metrics,
    socket: api::server::ApiSocket,
    state: ApiState,
    scrape: Option<TcpListener>,
    shutdown: &Shutdown,
) {
    let source: Arc<dyn Source> = gateway.clone();
    let held = shutdown.clone();
    let api = api::server::serve(socket, state, shutdown.requested());
    tokio::spawn(async move {
        log_end("API", api.await);
        drop(held);
    });
    let Some(listener) = scrape else { return };
    let held = shutdown.clone();
    let server = metrics::server::serve(listener, source, metrics.clone(), shutdown.requested());
    tokio::spawn(async move {
        log_end("metrics", server.await);
        drop(held);
    });
}

fn log_end<E: std::fmt::Display>(name: &str, result: Result<(), E>) {
    if let Err(error) = result {
        warn!("the {name} server ended: {error}");
    }
}

/// Reading a large configuration takes several times its size for a moment; glibc would keep that until the end.
fn release_spare_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: `malloc_trim` takes no pointers and may be called at any time.
    unsafe {
        libc::malloc_trim(0);
    }
}
