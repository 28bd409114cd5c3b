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
    api::{self, source::Source},
    config::{Config, Interfaces, Overrides},
    datapath::{host::Host, unload},
    drain::{self, Drained, Shutdown, Signals},
    gateway::Gateway,
    metrics::{self, Metrics},
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
pub async fn run(path: &Path, overrides: &Overrides) -> Result<()> {
    let interfaces = Interfaces::of_this_host().context("cannot list the network interfaces")?;
    let config = Config::load(path, &interfaces, overrides)?;
    for variable in overrides.unknown_variables() {
        warn!("{variable} is no setting of the gateway (`gateway-daemon config reference`)");
    }
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
    serve(&gateway, &metrics, socket, scrape, &shutdown);
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

fn serve(
    gateway: &Arc<Gateway>,
    metrics: &Metrics,
    socket: api::server::ApiSocket,
    scrape: Option<TcpListener>,
    shutdown: &Shutdown,
) {
    let source: Arc<dyn Source> = gateway.clone();
    let held = shutdown.clone();
    let api = api::server::serve(socket, source.clone(), shutdown.requested());
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
