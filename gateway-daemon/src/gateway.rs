//! The gateway of this node: configuration, tables and attached programs as one thing.
//!
//! | module | does |
//! |---|---|
//! | `load` | loads the programs and fills the tables |
//! | `apply` | brings the tables to a configuration |
//! | `scan` | goes round the flows, and ends those that are idle |
//! | `heal` | compares the kernel with what it should hold, and repairs it |
//! | `report`, `explain` | tell operators |
//! | `watchers` | tells watchers what happens, and captures packets |
//! | `attach`, `forwarding`, `routes` | interfaces: hooks, the kernel's switches, routes |

mod apply;
mod attach;
mod endings;
pub(crate) mod explain;
mod forwarding;
mod heal;
mod load;
mod readiness;
mod report;
mod routes;
mod scan;
mod signs;
pub(crate) mod watchers;

use std::{
    collections::{BTreeSet, HashSet},
    fs::File,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, atomic::AtomicU32},
    time::{Instant, SystemTime},
};

use anyhow::Result;
use arc_swap::ArcSwap;
use aya::Ebpf;
use gateway_common::abi::HeldFrame;
use tokio::sync::{Notify, watch};
use tracing::info;

use self::apply::ByHealth;
use crate::{
    config::Config,
    datapath::{
        held,
        host::Host,
        migrate::Migration,
        pins::Pins,
        plan::{Mirror, TenantIds, Touched, check, check_slots},
        programs::{self, Attachment},
        reset::Injector,
        tables::Tables,
        tap::Tap,
    },
    health::{
        BackendId, Standing, Standings,
        from_config::{self, Server},
        target::Target,
    },
    metrics::Metrics,
};

pub use crate::metrics::labels::Kind as RepairKind;
pub use endings::Ending;
pub use heal::{Healed, Repairs};
pub use scan::{RoundReport, Turn};

/// One node's gateway. Shared by all tasks; readers do not wait for each other.
pub struct Gateway {
    config: ArcSwap<Config>,
    standings: ArcSwap<Standings>,
    config_path: PathBuf,
    started: Instant,
    state: RwLock<State>,
    injector: OnceLock<Arc<Injector>>,
    /// Why the store takes no changes now.
    trouble: ArcSwap<Option<String>>,
    metrics: Metrics,
    routes: routes::Routes,
    /// Changes whenever another configuration is in force.
    changes: watch::Sender<u32>,
    /// How many comparisons in a row a change has disturbed.
    disturbed: AtomicU32,
    /// What comparisons read through.
    looking: Mutex<Tables>,
    /// Told when the tables could not be written.
    upset: Notify,
    /// How far going round the flows has got.
    round: Mutex<scan::Round>,
    /// The pool whose slots are compared next.
    slots_turn: AtomicU32,
    watchers: watchers::Watchers,
    /// Keeps other daemons, and `unload`, away from the pins.
    _lock: File,
}

/// What changes while the daemon runs.
struct State {
    ebpf: Ebpf,
    tables: Tables,
    mirror: Mirror,
    /// Is the mirror not to be trusted, since a write failed?
    out_of_step: bool,
    /// How often the tables were written.
    writes: u64,
    /// Numbers of the configured tenants, and of removed ones that still have flows.
    tenants: TenantIds,
    /// Backends that took new flows when this daemon started, as the tables say.
    carried: apply::Carried,
    host: Host,
    attachments: Vec<Attachment>,
    warnings: Vec<String>,
    repairs: Repairs,
    generation: u32,
    /// Key of the cookies that challenges carry.
    cookie_key: [u64; 2],
    loaded_at: SystemTime,
}

impl Gateway {
    /// Is nothing of this gateway in the kernel yet?
    pub fn is_absent(config: &Config) -> Result<bool> {
        let pins = Pins::new(&config.daemon.bpffs);
        let nothing_here = pins.link_names()?.is_empty() && pins.map_names()?.is_empty();
        Ok(nothing_here && pins.earlier_version()?.is_none())
    }

    /// Loads the programs, fills the tables, puts routes in place, then attaches. Adopts what an earlier daemon has left.
    ///
    /// # Errors
    ///
    /// What the kernel refused. Interfaces that were attached before stay attached.
    pub fn start(config: Config, path: &Path, host: Host, now: SystemTime, metrics: Metrics) -> Result<Self> {
        check(&config, &host)?;
        Self::refuse_routes(&config)?;
        let pins = Pins::new(&config.daemon.bpffs);
        let earlier = pins.earlier_version()?;
        pins.prepare()?;
        let lock = pins.lock()?;
        pins.clear_discarded()?;
        let migration = earlier.map(|earlier| Migration::begin(earlier, &pins)).transpose()?;
        let loaded = State::load(&config, host, now, &pins, migration.as_ref());
        let (mut state, standings) = loaded.inspect_err(|_| {
            if let Some(migration) = &migration {
                migration.undo(&pins);
            }
        })?;
        let routes = routes::Routes::put_in_place(&config)?;
        if let Some(migration) = &migration {
            migration.take_links(&pins)?;
        }
        state.attachments = programs::attach(&mut state.ebpf, &pins, &attach::targets(&config, &state.host))?;
        if let Some(migration) = migration {
            migration.finish(&mut state.tables)?;
        }
        forwarding::switch_on(&config, &state.host)?;
        let watchers = watchers::Watchers::new(Tap::take(&mut state.ebpf)?);
        let gateway = Self {
            config: ArcSwap::from_pointee(config),
            standings: ArcSwap::from_pointee(standings),
            config_path: path.to_owned(),
            started: Instant::now(),
            state: RwLock::new(state),
            injector: OnceLock::new(),
            trouble: ArcSwap::default(),
            metrics,
            routes,
            changes: watch::Sender::new(0),
            disturbed: AtomicU32::new(0),
            looking: Mutex::new(Tables::open(&pins)?),
            upset: Notify::new(),
            round: Mutex::default(),
            slots_turn: AtomicU32::new(0),
            watchers,
            _lock: lock,
        };
        gateway.forget_removed_tenants()?;
        Ok(gateway)
    }

    /// Tells whenever another configuration is in force.
    pub fn changes(&self) -> watch::Receiver<u32> {
        self.changes.subscribe()
    }

    /// The configuration in force.
    pub fn config(&self) -> Arc<Config> {
        self.config.load_full()
    }

    /// A panic of another task while it held the lock leaves maps and links as they are: reading on is right.
    fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn state_mut(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings the tables to another configuration; returns how many entries were written or removed. `standings` is
    /// asked for the health of that configuration's backends when nobody else can write any more: what it says is never
    /// older than what stands in the tables.
    ///
    /// # Errors
    ///
    /// When the configuration does not fit: nothing has changed then. When the kernel refuses a write the new
    /// configuration is in force and the tables are brought to it by the next [`Gateway::heal`].
    pub fn reconfigure(
        &self,
        config: Arc<Config>,
        touched: &Touched,
        standings: impl FnOnce() -> Standings,
    ) -> Result<usize> {
        check_slots(&config)?;
        let mut state = self.state_mut();
        let standings = standings();
        state.generation = state.generation.wrapping_add(1);
        state.loaded_at = SystemTime::now();
        let applied = self.watched(state.apply(&config, &ByHealth::of(&standings), touched));
        self.standings.store(Arc::new(standings));
        self.config.store(config);
        self.changes.send_replace(state.generation);
        applied
    }

    /// Brings the tables to what health says now; returns how many entries were written or removed. `standings` is asked
    /// as by [`Gateway::reconfigure`].
    pub fn follow_health(&self, standings: impl FnOnce() -> Standings) -> Result<usize> {
        let mut state = self.state_mut();
        let standings = standings();
        let before = self.standings.swap(Arc::new(standings.clone()));
        let touched = tenants_that_differ(&before, &standings);
        if touched.is_empty() {
            return Ok(0);
        }
        // A change that is under way has told health about its backends already: those that it removes are as before.
        let shares = ByHealth { now: &standings, before: &before };
        self.watched(state.apply(&self.config(), &shares, &Touched::These(touched)))
    }

    /// Follows changes of the host: addresses, interfaces that came, went or were made anew. Returns whether there
    /// were any.
    pub fn follow_host(&self, host: Host) -> Result<bool> {
        if self.state().host == host {
            return Ok(false);
        }
        info!("interfaces or addresses of the host have changed");
        let mut state = self.state_mut();
        // The one of this moment: whoever changes it holds the lock.
        let config = self.config();
        state.host = host;
        let standings = self.standings.load();
        self.watched(state.apply(&config, &ByHealth::of(&standings), &Touched::These(BTreeSet::new())))?;
        state.attach(&config)?;
        Ok(true)
    }

    /// Makes known which servers took new flows when this daemon started. Asked once: later on the configuration and
    /// health say so, see [`Gateway::carrying`].
    pub fn first_targets(&self) -> Vec<Target> {
        let mut state = self.state_mut();
        let targets = from_config::targets(&self.config(), |backend| state.has_carried(backend));
        state.carried = HashSet::new();
        targets
    }

    /// The servers of these tenants that take new flows now.
    pub fn carrying(&self, tenants: &BTreeSet<String>) -> HashSet<Server> {
        let state = self.state();
        let (config, standings) = (self.config(), self.standings.load());
        drop(state);
        let tenants = config.tenants.iter().filter(|tenant| tenants.contains(tenant.name.as_str()));
        tenants.flat_map(|tenant| from_config::taking_flows(tenant, &standings)).collect()
    }

    /// Tries to send on a part of a datagram that came before the first one.
    ///
    /// # Errors
    ///
    /// When the program for it cannot be run.
    pub fn resume(&self, frame: &HeldFrame) -> Result<held::Try> {
        held::resume(&self.state().ebpf, frame)
    }

    /// Is there a tenant of this name?
    pub fn is_tenant(&self, name: &str) -> bool {
        self.state().tenants.contains_key(name)
    }

    /// Hands the programs to a function that needs them mutably, such as the reader of kernel log lines.
    pub fn with_programs<T>(&self, use_them: impl FnOnce(&mut Ebpf) -> T) -> T {
        use_them(&mut self.state_mut().ebpf)
    }

    /// Where this gateway's maps and links are pinned.
    pub fn pins(&self) -> Pins {
        Pins::new(&self.config.load().daemon.bpffs)
    }
}

/// Names of the tenants of which some backend's standing is not what it was. Those that are checked no longer are left
/// to the change that removes them.
fn tenants_that_differ(old: &Standings, new: &Standings) -> BTreeSet<String> {
    let differs = |(id, standing): &(&BackendId, &Standing)| old.get(*id) != Some(*standing);
    new.iter().filter(differs).map(|(id, _)| id.tenant.to_string()).collect()
}

/// Advice about virtual interfaces in XDP, for `status`.
fn veth_warning(attachment: &Attachment, host: &Host) -> Option<String> {
    let link = host.link(&attachment.link.interface)?;
    (attachment.link.hook.is_xdp() && link.kind.as_deref() == Some("veth")).then(|| {
        format!(
            "{}: XDP on veth loses checksums that the far end leaves to the network card, and redirects to a far end \
             without GRO: `ethtool -K <far end> tx off gro on`, or use hook = \"tc\"",
            link.name
        )
    })
}
