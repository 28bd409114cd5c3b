//! Puts the daemon's parts together: the one place that knows all of them.
//!
//! Order of the start: everything that can be refused (configuration, store, sockets) comes before the first change to
//! the kernel; tables are filled before a program is attached. On SIGTERM the tasks end and the data path stays:
//! packets go on being translated until `unload`.

mod serve;
mod tenants;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Weak},
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context as _, Result};
use rtnetlink::Handle;
use tracing::{info, warn};

use self::serve::Doors;
use crate::{
    config::{Config, ConfigError, Interfaces, Overrides},
    control::{Control, ReadSettings},
    datapath::{host::Host, unload},
    drain::{self, Drained, Shutdown, Signals},
    gateway::Gateway,
    health::{
        driver::{CONCURRENCY_DEFAULT, Health},
        probe::Network,
    },
    memory,
    metrics::Metrics,
    notify::Notifier,
    tasks,
};

pub use tenants::TenantsError;

/// How long tasks may take to end after SIGTERM. They only finish what they hold: no packet depends on them.
const SHUTDOWN_GRACE: Duration = Duration::from_millis(800);

/// How long `--detach-on-exit` waits for what still works with the data path, such as a scan on a machine that is busy: as long
/// as anything does, nothing can be removed.
const DETACH_GRACE: Duration = Duration::from_secs(10);

/// How often it is looked whether the last task has ended.
const LOOK: Duration = Duration::from_millis(5);

/// What the agent is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// The configuration file.
    pub path: PathBuf,
    /// Settings that win over it.
    pub overrides: Overrides,
    /// Remove everything from the kernel at the end?
    pub detach_on_exit: bool,
}

/// Runs the agent until it is told to stop.
///
/// # Errors
///
/// A [`crate::config::ConfigError`] when the file is bad: nothing was changed then. Otherwise what could not be done;
/// a start that failed leaves the system as it was.
pub async fn run(options: &Options) -> Result<()> {
    let settings = load(options)?;
    let mut signals = Signals::install().context("cannot listen for signals")?;
    let notifier = Notifier::from_env();
    let doors = Doors::open(&settings).await?;
    let (source, snapshot, config) = tenants::open(&settings, &options.path).await?;
    let netlink = netlink()?;
    let host = Host::read(&netlink).await?;
    let metrics = Metrics::default();
    let gateway = Arc::new(start(&config, &options.path, host, metrics.clone())?);
    let (trigger, shutdown) = drain::channel();
    let prober = Network::new(None).context("cannot prepare TLS for health checks")?;
    let health = Health::start(Arc::new(prober), CONCURRENCY_DEFAULT, shutdown.clone());
    let control =
        Control::new(gateway.clone(), health, source, snapshot, read_settings(options), metrics.clone());
    memory::give_back();
    control.spawn(&shutdown);
    let reloads = doors.serve(&gateway, &control, &metrics, &shutdown);
    tasks::spawn(&gateway, &netlink, &metrics, shutdown.clone())?;
    notifier.watchdog(shutdown.clone());
    reload_on_hangup(&control, reloads, &notifier, shutdown)?;
    notifier.ready();
    info!(config = %options.path.display(), "gateway is up");
    let signal = signals.next().await;
    notifier.stopping();
    trigger.request();
    if let Drained::Remaining(tasks) = trigger.drained(SHUTDOWN_GRACE).await {
        warn!(tasks, "some tasks did not end in time");
    }
    let last = Arc::downgrade(&gateway);
    drop((gateway, control));
    leave(options, &config, signal, &last).await
}

/// `last` is the gateway, which keeps others from its pins as long as any task has it.
async fn leave(options: &Options, config: &Config, signal: &str, last: &Weak<Gateway>) -> Result<()> {
    if !options.detach_on_exit {
        info!(signal, "stopped; the data path goes on translating (`gateway-daemon unload` removes it)");
        return Ok(());
    }
    let until = Instant::now() + DETACH_GRACE;
    while last.strong_count() > 0 && Instant::now() < until {
        tokio::time::sleep(LOOK).await;
    }
    for line in unload(config)? {
        info!(signal, "{line}");
    }
    Ok(())
}

/// An interface is missing, and nothing else is wrong: it may still come, so whoever starts the daemon is to try again.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct NotThereYet(ConfigError);

fn load(options: &Options) -> Result<Config> {
    let interfaces = Interfaces::of_this_host().context("cannot list the network interfaces")?;
    // Whatever else is wrong comes first: it stays wrong.
    Config::load(&options.path, &Interfaces::Unchecked, &options.overrides)?;
    let config = Config::load(&options.path, &interfaces, &options.overrides).map_err(NotThereYet)?;
    for variable in options.overrides.unknown_variables() {
        warn!("the variable {variable} looks like a setting and is none");
    }
    Ok(config)
}

/// A reload must not fail because an interface is away for a moment.
fn read_settings(options: &Options) -> ReadSettings {
    let options = options.clone();
    Box::new(move || Config::load(&options.path, &Interfaces::Unchecked, &options.overrides))
}

/// Loads, fills and attaches. When that fails on a host where nothing was attached before, nothing stays behind.
fn start(config: &Config, path: &Path, host: Host, metrics: Metrics) -> Result<Gateway> {
    let fresh = Gateway::is_absent(config)?;
    Gateway::start(config.clone(), path, host, SystemTime::now(), metrics).inspect_err(|_| {
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

/// SIGHUP reads everything again that can be: settings, roles, certificates, the audit file.
fn reload_on_hangup(
    control: &Arc<Control>,
    reloads: serve::Reloads,
    notifier: &Notifier,
    shutdown: Shutdown,
) -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut hangups = signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?;
    let (control, notifier) = (control.clone(), notifier.clone());
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = shutdown.requested() => return,
                _ = hangups.recv() => {}
            }
            notifier.reloading();
            reloads.by_signal(&*control).await;
            notifier.ready();
        }
    });
    Ok(())
}
