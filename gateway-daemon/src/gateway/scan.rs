//! Going round the flows: what is idle expires, and its ends are told if the settings say so.

use std::{
    collections::VecDeque,
    sync::PoisonError,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use gateway_common::abi::{FlowKey, SettingsFlags};
use tracing::warn;

use super::{Gateway, State};
use crate::datapath::{
    expiry::{self, Candidate, Expired},
    lifetimes::Lifetimes,
    monotonic_ns, reset,
    scan::{Scan, TURN, rest_after_round},
};

/// Connections whose ends are asked to speak in one turn: 4,000 probes, which take 80 ms at the pace of the injector.
const TOLD_A_TURN: usize = 1_000;

/// Connections that wait for that. Those beyond are not asked: their ends learn of it when they speak.
const TOLD_LATER: usize = 65_536;

/// A round that is under way.
#[derive(Default)]
pub(super) struct Round {
    scan: Scan,
    /// What it began with.
    begun: Option<Begun>,
    /// How long it has kept a CPU busy.
    busy: Duration,
    /// Connections that idled out and whose ends were not asked yet.
    to_tell: VecDeque<[FlowKey; 2]>,
}

struct Begun {
    at: Instant,
    lifetimes: Lifetimes,
}

/// What came of a turn.
#[derive(Clone, Copy, Debug)]
pub struct Turn {
    /// Flows that were ended.
    pub expired: Expired,
    /// How long the round took that has ended with it, if one has.
    pub round: Option<Duration>,
    /// When it is time for the next turn.
    pub rest: Duration,
}

impl Gateway {
    /// Goes on with the round: reads some flows and ends those that have been idle for too long. Blocks while it tells
    /// their ends, for a tenth of a second at most.
    ///
    /// # Errors
    ///
    /// When the tables cannot be read or the program for it cannot be run; the next turn tries again.
    pub fn scan(&self) -> Result<Turn> {
        let mut round = self.round.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = self.state().scan(&mut round)?;
        self.tell_some(&mut round.to_tell);
        Ok(turn)
    }

    /// Asks the ends of some connections that idled out to speak, upon which the data path resets them.
    fn tell_some(&self, waiting: &mut VecDeque<[FlowKey; 2]>) {
        if waiting.is_empty() {
            return;
        }
        let told: Vec<[FlowKey; 2]> = waiting.drain(..waiting.len().min(TOLD_A_TURN)).collect();
        match self.injector() {
            Ok(injector) => {
                let unsent = reset::ask(&injector, told.iter().flatten());
                if unsent > 0 {
                    warn!(unsent, "ends of connections that idled out could not be asked to speak");
                }
            }
            Err(error) => warn!("ends of connections that idled out are not told: {error:#}"),
        }
    }
}

impl State {
    fn scan(&self, round: &mut Round) -> Result<Turn> {
        let started = Instant::now();
        let settings = self.tables.settings()?;
        let begun = round.begun.get_or_insert_with(|| Begun {
            at: started,
            lifetimes: Lifetimes::new(settings.timeouts, self.mirror.tenant_settings()),
        });
        let (now_ns, mut idle) = (monotonic_ns(), Vec::new());
        let maps = self.tables.flow_maps();
        let is_over = round
            .scan
            .turn(maps, |table, key, entry| {
                if begun.lifetimes.is_idle(table, entry, now_ns) {
                    idle.push(Candidate::new(table, key, entry));
                }
            })
            .context("cannot scan flows")?;
        let expired = expiry::run(&self.ebpf, &idle)?;
        if settings.flags.contains(SettingsFlags::RESET_EXPIRED) {
            let room = TOLD_LATER - round.to_tell.len();
            round.to_tell.extend(expiry::in_the_dark(maps[0], &idle)?.into_iter().take(room));
        }
        let since = begun.at.elapsed();
        round.busy += started.elapsed();
        if !is_over {
            return Ok(Turn { expired, round: None, rest: TURN });
        }
        let busy = std::mem::take(&mut round.busy);
        round.begun = None;
        let rest = if round.to_tell.is_empty() { rest_after_round(since, busy) } else { TURN };
        Ok(Turn { expired, round: Some(since), rest })
    }
}
