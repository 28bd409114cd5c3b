//! Self-healing: the kernel is compared with what it should hold, and what somebody changed is put back.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, PoisonError, atomic::Ordering},
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context as _, Result, bail};
use gateway_common::layout::LAYOUTS;
use tracing::{info, warn};

use super::{Gateway, RepairKind, State, apply::ByHealth, attach, forwarding};
use crate::{
    config::Config,
    datapath::{
        changes::Changes,
        contents::Contents,
        link,
        pins::Pins,
        plan::{Touched, placed::PlacedPool},
        programs::{self, Target, stages},
    },
    metrics::labels::Outcome,
};

/// For longer than this no change is held up by a comparison, unless [`DISTURBED_MAX`] is reached.
const HOLD_UP: Duration = Duration::from_millis(10);

/// So many comparisons in a row may find nothing out because something changed meanwhile.
const DISTURBED_MAX: u32 = 3;

/// So many hash slots are compared at a time, which takes some tens of milliseconds; the others have their turn in the
/// next passes.
const SLOTS_A_PASS: u32 = 1 << 20;

/// Repairs since the start.
#[derive(Clone, Debug, Default)]
pub struct Repairs {
    /// How many things of each kind.
    pub counts: BTreeMap<RepairKind, u64>,
    /// When the last one was made, and of what.
    pub last: Option<(SystemTime, String)>,
}

impl Repairs {
    /// Notes a repair.
    fn note(&mut self, kind: RepairKind, things: u64, what: &str) {
        *self.counts.entry(kind).or_default() += things;
        self.last = Some((SystemTime::now(), what.to_owned()));
    }
}

/// What seems to be wrong with the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Suspicion {
    /// Nothing.
    None,
    /// Some entry, or the last change has failed.
    Entries,
    /// The slots of a pool.
    Slots {
        /// Its number.
        pool: u32,
    },
}

/// What one comparison has found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Healed {
    /// Things that were repaired.
    pub things: u64,
}

impl Gateway {
    /// Compares the tables, and the routes, with what they should hold, and repairs them.
    ///
    /// # Errors
    ///
    /// What could not be read or repaired; the next call tries again.
    pub fn heal(&self) -> Result<Healed> {
        let started = Instant::now();
        // Those of others are read as well, so it is done at this pace; what goes wrong there holds up nothing here.
        let routes = self.heal_routes();
        let healed = self.heal_tables().and_then(|things| Ok(Healed { things: things + routes? }));
        let outcome = if healed.is_ok() { Outcome::Done } else { Outcome::Failed };
        self.metrics.reconcile_runs(outcome).inc();
        if healed.is_ok() {
            self.metrics.full_sync_done(started.elapsed());
        }
        healed
    }

    /// Looks after what keeps packets from passing untranslated, and after what outlives the daemon: programs, forwarding
    /// switches, pins. Takes a millisecond, however large the tables are.
    ///
    /// # Errors
    ///
    /// All that could not be repaired; what could be is. The next call tries again.
    pub fn heal_hooks(&self) -> Result<()> {
        let config = self.config();
        let failures: Vec<String> =
            [self.heal_links(&config), self.heal_stages(), self.heal_forwarding(&config), self.heal_pins()]
                .into_iter()
                .filter_map(|healed| healed.err().map(|error| format!("{error:#}")))
                .collect();
        if failures.is_empty() { Ok(()) } else { bail!("{}", failures.join("; ")) }
    }

    /// Returns when a change could not be written to the tables.
    pub async fn is_upset(&self) {
        self.upset.notified().await;
    }

    /// Passes on how writing went, and wakes whoever waits for [`Gateway::is_upset`] if it failed.
    pub(super) fn watched<T>(&self, written: Result<T>) -> Result<T> {
        written.inspect_err(|_| self.upset.notify_one())
    }

    /// Repairs since the start.
    pub fn repairs(&self) -> Repairs {
        self.state().repairs.clone()
    }

    /// Could the tables not be brought to the configuration yet?
    pub fn is_out_of_step(&self) -> bool {
        self.state().out_of_step
    }

    /// Notes why the store takes no changes now, for `status` and the probes; none when it does.
    pub fn note_trouble(&self, trouble: Option<String>) {
        let before = self.trouble.swap(Arc::new(trouble.clone()));
        if *before != trouble {
            if let Some(trouble) = trouble {
                warn!("the tenant store takes no changes now, traffic goes on: {trouble}");
            } else {
                info!("the tenant store takes changes again");
            }
        }
    }

    /// Notes a repair that was made elsewhere.
    pub fn note_repair(&self, kind: RepairKind, what: &str) {
        self.note(&mut self.state_mut(), kind, 1, what);
    }

    /// Notes a repair, and tells the log and the metrics.
    fn note(&self, state: &mut State, kind: RepairKind, things: u64, what: &str) {
        if things > 0 {
            warn!(kind = kind.name(), things, "repaired: {what}");
            self.metrics.repairs(kind).inc_by(things);
            state.repairs.note(kind, things, what);
        }
    }

    /// Looks without holding up changes; what seems to differ is looked at again when nothing can change in between.
    /// Where that would hold up changes for long, it waits for a look that no change has disturbed, but not for ever.
    fn heal_tables(&self) -> Result<u64> {
        let started = Instant::now();
        let (suspicion, writes) = self.look()?;
        if suspicion == Suspicion::None || self.is_to_wait(writes, started.elapsed()) {
            return Ok(0);
        }
        let mut state = self.state_mut();
        // Those of this moment: whoever changes them holds the lock.
        let (config, standings) = (self.config(), self.standings.load_full());
        let was_out_of_step = state.out_of_step;
        let differences = state.differences()?;
        if !was_out_of_step && !state.confirms(suspicion, differences.as_ref())? {
            return Ok(0);
        }
        state.out_of_step = true;
        let written = state.apply(&config, &ByHealth::of(&standings), &Touched::All)? as u64;
        if was_out_of_step {
            return Ok(written);
        }
        let addresses = differences.as_ref().map_or(0, |changes| changes.addresses.len() as u64);
        self.note(&mut state, RepairKind::Address, addresses, "entries of the table of addresses");
        let others = written.saturating_sub(addresses);
        self.note(&mut state, RepairKind::MapEntry, others, "entries of the tables");
        Ok(written)
    }

    /// Reads through descriptors of its own, so that nobody waits for the lock. A change meanwhile looks like damage.
    fn look(&self) -> Result<(Suspicion, u64)> {
        let (wanted, pools, writes) = {
            let state = self.state();
            if state.out_of_step {
                return Ok((Suspicion::Entries, state.writes));
            }
            let mut pools: Vec<PlacedPool> = state.mirror.pools().cloned().collect();
            pools.sort_unstable_by_key(|pool| pool.id);
            (state.mirror.contents(), pools, state.writes)
        };
        let Some(wanted) = wanted else { return Ok((Suspicion::Entries, writes)) };
        Ok((self.compare_with(&wanted, &pools)?, writes))
    }

    /// Was the comparison that began at `writes`, and took so long, disturbed by a change, and may another one come
    /// first?
    fn is_to_wait(&self, writes: u64, took: Duration) -> bool {
        let disturbed = took > HOLD_UP && self.state().writes != writes;
        let before = if disturbed {
            self.disturbed.fetch_add(1, Ordering::Relaxed)
        } else {
            self.disturbed.swap(0, Ordering::Relaxed)
        };
        disturbed && before < DISTURBED_MAX
    }

    fn compare_with(&self, wanted: &Contents, pools: &[PlacedPool]) -> Result<Suspicion> {
        let tables = self.looking.lock().unwrap_or_else(PoisonError::into_inner);
        if !Changes::between(&tables.contents()?, wanted).is_empty() {
            return Ok(Suspicion::Entries);
        }
        let turn = self.slots_turn.load(Ordering::Relaxed);
        let mut slots = 0;
        for pool in from_turn(pools, turn) {
            if slots >= SLOTS_A_PASS {
                self.slots_turn.store(pool.id, Ordering::Relaxed);
                break;
            }
            slots += pool.value.maglev_len;
            if tables.hash_of_slots(&pool.value)? != pool.slots {
                return Ok(Suspicion::Slots { pool: pool.id });
            }
        }
        Ok(Suspicion::None)
    }

    /// One interface that refuses does not keep the others from being repaired.
    fn heal_links(&self, config: &Config) -> Result<()> {
        let pins = self.pins();
        let broken = {
            let state = self.state();
            let mut targets = attach::targets(config, &state.host);
            targets.retain(|target| !state.is_attached(&pins, target));
            targets
        };
        if broken.is_empty() {
            return Ok(());
        }
        let mut state = self.state_mut();
        let mut failures = Vec::new();
        for target in &broken {
            match programs::attach_one(&mut state.ebpf, &pins, target) {
                Ok(attachment) => {
                    state.attachments.retain(|old| old.link.interface != target.interface);
                    state.attachments.push(attachment);
                    self.note(
                        &mut state,
                        RepairKind::Link,
                        1,
                        &format!("the program of {}", target.interface),
                    );
                }
                Err(error) => failures.push(format!("cannot attach {} again: {error:#}", target.interface)),
            }
        }
        if failures.is_empty() { Ok(()) } else { bail!("{}", failures.join("; ")) }
    }

    /// Without its stage a packet is dropped, so nothing passes while one is missing.
    fn heal_stages(&self) -> Result<()> {
        let missing = stages::missing(&self.state().ebpf)?;
        if missing.is_empty() {
            return Ok(());
        }
        let mut state = self.state_mut();
        stages::fill(&mut state.ebpf)?;
        let what = format!("programs behind the entry points: {}", missing.join(", "));
        self.note(&mut state, RepairKind::Link, missing.len() as u64, &what);
        Ok(())
    }

    /// The daemon has the maps open, so it goes on without their pins; the next one could not.
    fn heal_pins(&self) -> Result<()> {
        let pins = self.pins();
        let maps = LAYOUTS.iter().map(|layout| layout.map);
        let missing: Vec<&str> = maps.filter(|name| !pins.map(name).exists()).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let mut state = self.state_mut();
        for name in missing {
            let path = pins.map(name);
            let Some(map) = state.ebpf.map(name) else { continue };
            map.pin(&path).with_context(|| format!("cannot pin the map at {} again", path.display()))?;
            self.note(&mut state, RepairKind::Pin, 1, &format!("the pin of the map {name}"));
        }
        Ok(())
    }

    fn heal_forwarding(&self, config: &Config) -> Result<()> {
        let switched = forwarding::switch_on(config, &self.state().host)?;
        if !switched.is_empty() {
            let what = format!("forwarding of {}", switched.join(", "));
            self.note(&mut self.state_mut(), RepairKind::Forwarding, switched.len() as u64, &what);
        }
        Ok(())
    }
}

/// The pools, in the order of their numbers, beginning with that of the turn and ending before it.
fn from_turn(pools: &[PlacedPool], turn: u32) -> impl Iterator<Item = &PlacedPool> {
    let first = pools.partition_point(|pool| pool.id < turn);
    pools[first..].iter().chain(&pools[..first])
}

impl State {
    /// Is it so, now that nothing changes?
    fn confirms(&self, suspicion: Suspicion, differences: Option<&Changes>) -> Result<bool> {
        match suspicion {
            Suspicion::None => Ok(false),
            Suspicion::Entries => Ok(differences.is_none_or(|changes| !changes.is_empty())),
            Suspicion::Slots { pool } => {
                let found = self.mirror.pools().find(|placed| placed.id == pool);
                found
                    .map_or(Ok(false), |placed| Ok(self.tables.hash_of_slots(&placed.value)? != placed.slots))
            }
        }
    }

    /// Writes that would bring the tables to what they should hold; none when that is not known.
    fn differences(&self) -> Result<Option<Changes>> {
        let Some(wanted) = self.mirror.contents() else { return Ok(None) };
        let actual = self.tables.contents()?;
        Ok(Some(Changes::between(&actual, &wanted)))
    }

    /// Is the target's link where it was put, with the program that was put there?
    fn is_attached(&self, pins: &Pins, target: &Target) -> bool {
        let attachment = self.attachments.iter().find(|attachment| {
            attachment.link.interface == target.interface && attachment.link.ifindex == target.ifindex
        });
        let Some(attachment) = attachment else { return false };
        match link::inspect(pins, &attachment.link) {
            Ok(Some(info)) => {
                info.ifindex == target.ifindex && Some(info.program_id) == attachment.program_id
            }
            Ok(None) => false,
            Err(error) => error.kind() == io::ErrorKind::PermissionDenied,
        }
    }
}

#[cfg(test)]
mod tests {
    use gateway_common::abi::{Pool, PoolFlags};

    use super::*;

    #[test]
    fn every_pool_has_its_turn() {
        let value = Pool { maglev_offset: 0, maglev_len: 1, flags: PoolFlags::default() };
        let pool = |id| PlacedPool { id, value, members: None, slots: 0 };
        let pools = [2, 5, 9].map(pool);
        let ids = |turn| from_turn(&pools, turn).map(|pool| pool.id).collect::<Vec<_>>();
        assert_eq!(ids(0), [2, 5, 9]);
        // One that is gone by its turn.
        assert_eq!(ids(4), [5, 9, 2]);
        assert_eq!(ids(9), [9, 2, 5]);
        assert_eq!(ids(10), [2, 5, 9]);
    }
}
