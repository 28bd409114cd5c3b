//! The gateway of this node: configuration, tables and attached programs as one thing.

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::{Instant, SystemTime},
};

use anyhow::{Context as _, Result, bail};
use aya::Ebpf;
use gateway_common::abi::Side;
use tracing::{info, warn};

use crate::{
    config::{self, Config},
    datapath::{
        desired::{Desired, TenantIds, check, desired},
        expiry::{self, Expired},
        flows,
        hook::{self, Hook},
        host::{self, Host, HostLink},
        pins::Pins,
        programs::{self, Attachment, TableSizes, Target},
        tables::{self, Tables},
    },
};

mod ports;
mod readiness;
mod report;

/// One node's gateway. Shared by all tasks; readers do not wait for each other.
pub struct Gateway {
    config: Config,
    config_path: PathBuf,
    started: Instant,
    state: RwLock<State>,
    /// Keeps other daemons, and `unload`, away from the pins.
    _lock: File,
}

/// What changes while the daemon runs.
struct State {
    ebpf: Ebpf,
    tables: Tables,
    tenants: TenantIds,
    host: Host,
    attachments: Vec<Attachment>,
    warnings: Vec<String>,
    generation: u32,
    loaded_at: SystemTime,
}

impl Gateway {
    /// Is nothing of this gateway in the kernel yet?
    pub fn is_absent(config: &Config) -> Result<bool> {
        let pins = Pins::new(&config.daemon.bpffs);
        Ok(pins.link_names()?.is_empty() && pins.map_names()?.is_empty())
    }

    /// Loads the programs, fills the tables, then attaches. Adopts what an earlier daemon has left.
    ///
    /// # Errors
    ///
    /// What the kernel refused. Interfaces that were attached before stay attached.
    pub fn start(config: Config, path: &Path, host: Host, now: SystemTime) -> Result<Self> {
        check(&config, &host)?;
        let pins = Pins::new(&config.daemon.bpffs);
        pins.refuse_other_versions()?;
        pins.prepare()?;
        let lock = pins.lock()?;
        let sizes =
            TableSizes { established: 2 * config.limits.flows, half_open: 2 * config.limits.half_open_flows };
        let mut ebpf = programs::load(Some(&pins), sizes)?;
        let mut tables = Tables::open(&pins)?;
        programs::expiry_program(&mut ebpf)?;
        refuse_new_identity(&tables, &config)?;
        let warnings =
            tables::size_warnings(&tables, [u64::from(sizes.established), u64::from(sizes.half_open)])?;
        for warning in &warnings {
            warn!("{warning}");
        }
        let tenants = tables.tenant_ids(config.tenants.iter().map(|tenant| tenant.name.as_str()))?;
        let generation = fill(&mut tables, &config, &host, &tenants)?;
        let attachments = programs::attach(&mut ebpf, &pins, &targets(&config, &host)?)?;
        switch_forwarding_on(&config, &host)?;
        let state = State { ebpf, tables, tenants, host, attachments, warnings, generation, loaded_at: now };
        let gateway = Self {
            config,
            config_path: path.to_owned(),
            started: Instant::now(),
            state: RwLock::new(state),
            _lock: lock,
        };
        gateway.forget_removed_tenants()?;
        Ok(gateway)
    }

    /// The configuration in force.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// A panic of another task while it held the lock leaves maps and links as they are: reading on is right.
    fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn state_mut(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows changes of the host: addresses, interfaces that came, went or were made anew. Returns whether there
    /// were any.
    pub fn follow_host(&self, host: Host) -> Result<bool> {
        if self.state().host == host {
            return Ok(false);
        }
        info!("interfaces or addresses of the host have changed");
        let mut state = self.state_mut();
        let State { ebpf, tables, tenants, attachments, .. } = &mut *state;
        let generation = fill(tables, &self.config, &host, tenants)?;
        let pins = Pins::new(&self.config.daemon.bpffs);
        *attachments = programs::attach(ebpf, &pins, &targets(&self.config, &host)?)?;
        switch_forwarding_on(&self.config, &host)?;
        state.generation = generation;
        state.host = host;
        Ok(true)
    }

    /// Deletes flows that have been idle for too long.
    pub fn expire(&self) -> Result<Expired> {
        let state = self.state();
        expiry::run(&state.ebpf, &state.tables)
    }

    /// Hands the programs to a function that needs them mutably, such as the reader of kernel log lines.
    pub fn with_programs<T>(&self, use_them: impl FnOnce(&mut Ebpf) -> T) -> T {
        use_them(&mut self.state_mut().ebpf)
    }

    /// Where this gateway's maps and links are pinned.
    pub fn pins(&self) -> Pins {
        Pins::new(&self.config.daemon.bpffs)
    }

    fn forget_removed_tenants(&self) -> Result<()> {
        let mut state = self.state_mut();
        let mut busy = std::collections::HashSet::new();
        for map in state.tables.flow_maps() {
            busy.extend(flows::count(map)?.tenants.into_keys());
        }
        let State { tables, tenants, .. } = &mut *state;
        tables.forget_tenants(tenants, |tenant| busy.contains(&tenant))
    }
}

/// Refuses to change whose flows these are while there are any: known flows would go on under the old address, or never
/// expire.
fn refuse_new_identity(tables: &Tables, config: &Config) -> Result<()> {
    let current = tables.settings()?;
    let (ingress, egress) = (config.gateway.ingress_vip.get().into(), config.gateway.egress_vip.get().into());
    let same = current.ingress_vip == ingress && current.egress_vip == egress;
    if current.node == 0 || (same && current.node == config.node.id.get()) || !tables.has_flows()? {
        return Ok(());
    }
    bail!(
        "a VIP or the node's id has changed, and flows of the old ones are tracked: put them back, or end all flows with \
         `gateway-daemon unload`"
    )
}

/// Brings the tables to the configuration; returns the generation that they then hold. Writes nothing when they hold it
/// already, so a restart changes nothing that a packet could notice.
fn fill(tables: &mut Tables, config: &Config, host: &Host, tenants: &TenantIds) -> Result<u32> {
    let current = tables.settings()?.generation;
    let to_switch = to_switch_on(tables, config, host)?;
    let with_flags = |generation| -> Result<Desired> {
        let mut desired = desired(config, host, tenants, generation)?;
        for (index, interface) in &mut desired.interfaces {
            *interface = interface.with_forwarding_switched_on(to_switch.contains(index));
        }
        Ok(desired)
    };
    let unchanged = with_flags(current)?;
    if tables.holds(&unchanged)? {
        return Ok(current);
    }
    switch_off_removed(tables, &unchanged)?;
    let next = current.wrapping_add(1);
    tables.apply(&with_flags(next)?)?;
    Ok(next)
}

/// Interfaces where forwarding is the daemon's to switch: it is off, or an earlier daemon has switched it on. This is
/// noted in the table before the switch is touched, so that `unload` finds it whenever the daemon dies.
fn to_switch_on(tables: &Tables, config: &Config, host: &Host) -> Result<Vec<u32>> {
    let known = tables.interfaces()?;
    let mut ours = Vec::new();
    for link in forwarding_links(config, host) {
        let earlier =
            known.get(&link.index).is_some_and(gateway_common::abi::Interface::forwarding_switched_on);
        if earlier || !is_forwarding(&link.name)? {
            ours.push(link.index);
        }
    }
    Ok(ours)
}

/// Interfaces that leave the configuration forward no more before their program goes.
fn switch_off_removed(tables: &Tables, desired: &Desired) -> Result<()> {
    for (index, interface) in tables.interfaces()? {
        let stays = desired.interfaces.iter().any(|(wanted, _)| *wanted == index);
        if stays || !interface.forwarding_switched_on() {
            continue;
        }
        let Some(name) = host::name_of(index) else { continue };
        host::set_forwarding(&name, false)
            .with_context(|| format!("cannot switch IPv4 forwarding off again on {name}"))?;
        info!(interface = name, "switched IPv4 forwarding off again");
    }
    Ok(())
}

/// The kernel answers questions about routes only for interfaces that forward. Comes last: until the programs are
/// attached nothing may be forwarded, and until forwarding is on they drop.
fn switch_forwarding_on(config: &Config, host: &Host) -> Result<()> {
    for link in forwarding_links(config, host) {
        switch_on(&link.name)?;
    }
    Ok(())
}

/// The configured interfaces and the VLAN devices on them.
fn forwarding_links<'a>(config: &'a Config, host: &'a Host) -> impl Iterator<Item = &'a HostLink> {
    config.interfaces.iter().filter_map(|configured| host.link(configured.name.as_str())).flat_map(|link| {
        let vlans = host.vlans_on(link.index).map(|(vlan, _)| vlan);
        std::iter::once(link).chain(vlans)
    })
}

fn is_forwarding(interface: &str) -> Result<bool> {
    host::forwarding(interface).with_context(|| format!("cannot read the forwarding switch of {interface}"))
}

/// Switches forwarding on if it is off.
fn switch_on(interface: &str) -> Result<()> {
    if is_forwarding(interface)? {
        return Ok(());
    }
    host::set_forwarding(interface, true).with_context(|| {
        format!("cannot switch IPv4 forwarding on: `sysctl net.ipv4.conf.{interface}.forwarding=1`")
    })?;
    info!(interface, "switched IPv4 forwarding on");
    Ok(())
}

fn targets(config: &Config, host: &Host) -> Result<Vec<Target>> {
    let mut virtual_kinds = Vec::new();
    let mut links = Vec::new();
    for configured in config.interfaces.iter() {
        let name = configured.name.as_str();
        let link =
            host.link(name).with_context(|| format!("interface {name} does not exist on this host"))?;
        if let Some(kind) = &link.kind {
            virtual_kinds.push((name.to_owned(), kind.clone()));
        }
        links.push((configured, link.index));
    }
    let target = |(configured, ifindex): (&config::Interface, u32)| Target {
        interface: configured.name.as_str().to_owned(),
        ifindex,
        side: match configured.side {
            config::Side::External => Side::External,
            config::Side::Internal => Side::Internal,
        },
        choice: hook::choose(configured.hook, configured.xdp_mode, &virtual_kinds),
    };
    Ok(links.into_iter().map(target).collect())
}

/// Advice about virtual interfaces in XDP, for `status`.
fn veth_warning(attachment: &Attachment, host: &Host) -> Option<String> {
    let link = host.link(&attachment.link.interface)?;
    let is_xdp = !matches!(attachment.link.hook, Hook::Tc);
    (is_xdp && link.kind.as_deref() == Some("veth")).then(|| {
        format!(
            "{}: XDP on veth loses checksums that the far end leaves to the network card, and redirects to a far end \
             without GRO: `ethtool -K <far end> tx off gro on`, or use hook = \"tc\"",
            link.name
        )
    })
}
