//! Tenants come, change, drain and go, one at a time and hundreds at once, under requests to all the others.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, SocketAddrV4},
    ops::RangeInclusive,
    time::{Duration, Instant},
};

use super::{
    made_up,
    stage::{Stage, wait},
};
use crate::{
    capture::{Keep, Recording},
    clients::{
        Aim,
        open_loop::{End, Exchanges, OpenLoop, Running},
        pooled::Pooled,
    },
    gateway::{
        Document, Limits,
        api::{BackendPath, Outcome},
    },
    lab::Lab,
    raw::Direction,
    servers::Nginx,
    topology::{AddressPlan, Mode, Topology},
    world::NPCI,
};

/// All of them get requests; so does NPCI, from the first.
const TENANTS: usize = 20;
/// One more, which gets none: it is drained as a whole.
const RETIRED: usize = TENANTS + 1;
/// Requests a second to NPCI.
const EGRESS_RATE: u32 = 100;
/// Nothing is done to these.
const UNTOUCHED: RangeInclusive<usize> = 1..=10;
/// The weights of these change.
const WEIGHED: RangeInclusive<usize> = 11..=15;
/// A backend of these is drained, and resumed.
const DRAINED: RangeInclusive<usize> = 16..=20;
/// Between two changes of a weight, in tenants that come or go.
const WEIGH_EVERY: u16 = 4;
/// The same for drains.
const DRAIN_EVERY: u16 = 10;
/// Connections that stay, to each tenant that is drained: with so many, each backend has some.
const POOLED: usize = 6;
/// Long enough that no drain ends by itself before it is resumed.
const LONG_DEADLINE: Duration = Duration::from_secs(600);
/// A drain that is not resumed.
const SHORT_DEADLINE: Duration = Duration::from_secs(3);
/// After the short deadline, for the last flows to be reset.
const RESET_LIMIT: Duration = Duration::from_secs(5);
/// For a new flow of a drained tenant, which is to be refused at once.
const NEW_FLOW_LIMIT: Duration = Duration::from_millis(500);
/// The gateway keeps the flow of a closed connection for some minutes.
const FLOWS: u32 = 524_288;
/// Between one change of a weight and the next it is one of these.
const WEIGHTS: [u32; 3] = [1, 3, 10];

/// How much is done.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Requests a second, to all tenants together.
    pub rate: u32,
    /// Tenants that are added and removed one by one.
    pub tenants: u16,
    /// Right answers to wait for after each of them.
    pub answers: usize,
    /// Objects of the file that is applied.
    pub changes: u16,
}

/// What was seen.
#[derive(Debug)]
pub struct Churn {
    /// Requests to all tenants.
    pub exchanges: Exchanges,
    /// Requests of the first tenant to NPCI.
    pub egress: Exchanges,
    /// Changes that were made.
    pub changes: usize,
    /// Changes that were refused, in words.
    pub refused: Vec<String>,
    /// Fields that the applied file changed.
    pub applied: usize,
    /// Did the rollback bring back what was there before?
    pub rolled_back: Result<(), String>,
    /// Connections to drained backends that ended before the deadline, in words.
    pub broken: Vec<String>,
    /// Connections to a drained backend that were there still, some time after its deadline.
    pub outlived: usize,
    /// New requests that a drained backend got, in words.
    pub chosen: Vec<String>,
    /// Addresses that NPCI called, and those that it saw.
    pub npci: NpciSide,
}

/// The addresses on NPCI's wire.
#[derive(Debug, Default)]
pub struct NpciSide {
    /// Where packets of NPCI went.
    pub called: BTreeSet<Ipv4Addr>,
    /// Where packets to NPCI came from.
    pub seen: BTreeSet<Ipv4Addr>,
}

impl NpciSide {
    /// Whoever opens a conversation counts; and in any packet, whatever is neither a VIP nor NPCI's own.
    fn read(recording: &Recording, plan: &AddressPlan) -> Self {
        let mut side = Self::default();
        for packet in recording.packets.iter().filter(|packet| packet.opens_tcp()) {
            match (packet.addresses(), packet.direction) {
                (Some((_, destination)), Direction::Out) => _ = side.called.insert(destination),
                (Some((source, _)), Direction::In) => _ = side.seen.insert(source),
                (None, _) => {}
            }
        }
        let ours = |address: &Ipv4Addr| plan.is_vip(*address) || plan.npci_endpoints.contains(address);
        side.seen.extend(recording.addresses().into_iter().filter(|address| !ours(address)));
        side
    }
}

impl Churn {
    /// Requests without an answer, to and from tenants that nothing was done to.
    pub fn failed_untouched(&self) -> Vec<String> {
        [self.failed(UNTOUCHED), self.egress.failed(|_| true)].concat()
    }

    /// Requests that somebody else answered, or that somebody else was seen to send.
    pub fn wrong(&self) -> Vec<String> {
        [self.exchanges.wrong(), self.egress.wrong()].concat()
    }

    /// The same for tenants whose weights changed.
    pub fn failed_weighed(&self) -> Vec<String> {
        self.failed(WEIGHED)
    }

    /// The same for tenants with a backend that was drained, and what was open to it.
    pub fn failed_drained(&self) -> Vec<String> {
        let mut failed = self.failed(DRAINED);
        failed.extend(self.broken.iter().cloned());
        failed
    }

    fn failed(&self, numbers: RangeInclusive<usize>) -> Vec<String> {
        self.exchanges.failed(|aim| numbers.contains(&(aim + 1)))
    }
}

/// Does all of it.
#[track_caller]
pub fn run(size: Size) -> Churn {
    let lab = Lab::with(Topology::builder().mode(Mode::Tc).tenants(RETIRED));
    let _npci = Nginx::start(&lab.npci, NPCI, &[lab.plan.npci_endpoint()]);
    let stage =
        Stage::start(&lab, |config| config.limits = Some(Limits { flows: Some(FLOWS), ..Limits::default() }));
    let capture = lab.topology().capture_far_end(&lab.npci, &lab.external, Keep::Headers);
    let pooled = Pooled::open(&lab.npci, &stage.aims(DRAINED.chain([RETIRED])), POOLED)
        .unwrap_or_else(|problem| panic!("the connections that are to stay: {problem}"));
    let load = OpenLoop::new(size.rate, stage.aims(1..=TENANTS)).start(&lab.npci);
    let to_npci = OpenLoop::new(EGRESS_RATE, vec![npci(&lab)]).start(&lab.tenant(1).namespace);
    let mut work = Work { lab: &lab, stage, load, pooled, size, done: Done::default() };
    work.load.wait_for(size.rate as usize / 2);
    work.one_by_one();
    let (applied, rolled_back) = work.apply_and_roll_back();
    work.resume_all();
    let broken = work.ended("before any deadline");
    let (early, outlived) = work.drain_to_the_end();
    let Work { load, done, .. } = work;
    let exchanges = load.stop();
    let mut chosen = chosen(&exchanges, &done.drains);
    chosen.extend(done.answered);
    Churn {
        chosen,
        exchanges,
        egress: to_npci.stop(),
        changes: done.changes,
        refused: done.refused,
        applied,
        rolled_back,
        broken: [broken, early].concat(),
        outlived,
        npci: NpciSide::read(&capture.stop(), &lab.plan),
    }
}

/// How a tenant reaches NPCI.
fn npci(lab: &Lab) -> Aim {
    let address = lab.plan.npci_endpoint();
    Aim { address, server: NPCI.to_owned(), seen_as: lab.plan.egress_vip }
}

/// A backend that takes no new flows for a time.
#[derive(Debug, Clone)]
struct Drain {
    /// Of the load's aims.
    aim: usize,
    server: SocketAddrV4,
    /// When the drain was answered.
    from: Instant,
    /// When it was asked to resume.
    until: Option<Instant>,
}

#[derive(Debug, Default)]
struct Done {
    changes: usize,
    refused: Vec<String>,
    drains: Vec<Drain>,
    /// Is the tenant that is drained as a whole drained now?
    is_retired: bool,
    /// New requests to it that were answered while it was, in words.
    answered: Vec<String>,
}

struct Work<'lab> {
    lab: &'lab Lab,
    stage: Stage<'lab>,
    load: Running,
    pooled: Pooled,
    size: Size,
    done: Done,
}

impl Work<'_> {
    fn one_by_one(&mut self) {
        for number in 0..self.size.tenants {
            let added = self.stage.api.put_tenant(&made_up::tenant(number, 2));
            self.note(added);
            self.change_others(number);
        }
        for number in 0..self.size.tenants {
            let removed = self.stage.api.remove_tenant(&made_up::name(number));
            self.note(removed);
            self.change_others(number);
        }
    }

    fn change_others(&mut self, step: u16) {
        self.load.wait_for(self.size.answers);
        if step.is_multiple_of(WEIGH_EVERY) {
            self.weigh(usize::from(step / WEIGH_EVERY));
        }
        if step.is_multiple_of(DRAIN_EVERY) {
            self.drain_or_resume(usize::from(step / DRAIN_EVERY));
            self.retire_or_return();
            // What was open goes on.
            self.pooled.ask();
        }
    }

    fn weigh(&mut self, turn: usize) {
        let number = WEIGHED.start() + turn % WEIGHED.count();
        let weight = WEIGHTS[turn % WEIGHTS.len()];
        let weighed = self.stage.api.set_weight(&self.stage.backend(number, turn % 2), weight);
        self.note(weighed);
    }

    /// One tenant after the other is drained; the turn that comes to it again resumes it.
    fn drain_or_resume(&mut self, turn: usize) {
        let number = DRAINED.start() + turn % DRAINED.count();
        let open = self.done.drains.iter().position(|drain| drain.aim == number - 1 && drain.until.is_none());
        match open {
            Some(drain) => self.resume(drain),
            None => self.drain(number, turn / DRAINED.count() % 2, LONG_DEADLINE),
        }
    }

    /// The same for a whole tenant.
    fn retire_or_return(&mut self) {
        let name = &self.lab.tenant(RETIRED).plan.name;
        self.done.is_retired = !self.done.is_retired;
        if !self.done.is_retired {
            let resumed = self.stage.api.resume_tenant(name);
            self.note(resumed);
            return;
        }
        let drained = self.stage.api.drain_tenant(name, LONG_DEADLINE);
        self.note(drained);
        let url = format!("http://{}/whoami", self.stage.aim(RETIRED).address);
        let reply = self.lab.npci.curl(&url).limit(NEW_FLOW_LIMIT).run();
        self.done.answered.extend(reply.is_success().then(|| format!("{name} is drained and answers")));
    }

    fn drain(&mut self, number: usize, index: usize, deadline: Duration) {
        let backend = self.stage.backend(number, index);
        let drained = self.stage.api.drain_backend(&backend, deadline);
        if self.note(drained) {
            let drain = Drain { aim: number - 1, server: backend.backend, from: Instant::now(), until: None };
            self.done.drains.push(drain);
        }
    }

    fn resume(&mut self, drain: usize) {
        let Drain { aim, server, .. } = self.done.drains[drain];
        self.done.drains[drain].until = Some(Instant::now());
        let backend = BackendPath { backend: server, ..self.stage.backend(aim + 1, 0) };
        let resumed = self.stage.api.resume_backend(&backend);
        self.note(resumed);
    }

    fn resume_all(&mut self) {
        for drain in 0..self.done.drains.len() {
            if self.done.drains[drain].until.is_none() {
                self.resume(drain);
            }
        }
        if self.done.is_retired {
            self.retire_or_return();
        }
        self.pooled.ask();
    }

    /// Many objects at once, and back: how many fields differed, and whether all is as before.
    fn apply_and_roll_back(&mut self) -> (usize, Result<(), String>) {
        let before = self.stage.api.version().unwrap_or_else(|problem| panic!("no version: {problem}"));
        let (tenants, listeners) =
            ((0..self.size.changes).map(|number| made_up::tenant(number, 2)), self.listeners());
        let document = Document { peer_group: Vec::new(), tenant: tenants.collect() };
        let applied = self.stage.api.apply(&document);
        let fields = applied.as_ref().map_or(0, |outcome| outcome.changes.len());
        self.note(applied);
        self.load.wait_for(self.size.rate as usize / 4);
        let with_them = self.listeners();
        let back = self.stage.api.roll_back(before);
        self.note(back);
        let without = self.listeners();
        let is_right =
            with_them == listeners + usize::from(self.size.changes) && without == listeners && fields > 0;
        let seen = format!("listeners: {listeners}, with the file {with_them}, rolled back {without}");
        (fields, if is_right { Ok(()) } else { Err(seen) })
    }

    fn listeners(&self) -> usize {
        let contents = self.stage.gateway.tables().contents();
        contents.unwrap_or_else(|error| panic!("read the tables: {error:#}")).listeners.len()
    }

    /// Drains a backend until its deadline: what ended earlier, and how many connections are left in the end.
    fn drain_to_the_end(&mut self) -> (Vec<String>, usize) {
        let number = *DRAINED.start();
        let server = self.stage.backend(number, 0).backend;
        let asked = Instant::now();
        self.drain(number, 0, SHORT_DEADLINE);
        let of_it = self.pooled.servers().iter().filter(|known| **known == server).count();
        assert!(of_it > 0, "no connection that stays has come to {server}");
        let gone = |pooled: &Pooled| {
            let ended = pooled.ended();
            ended.into_iter().filter(|ended| ended.server == server).collect::<Vec<_>>()
        };
        let all_gone = wait(SHORT_DEADLINE + RESET_LIMIT, "the drained flows to be reset", || {
            gone(&self.pooled).len() == of_it
        });
        let ended = gone(&self.pooled);
        let early = ended.iter().filter(|ended| ended.at < asked + SHORT_DEADLINE);
        let tell = |at: Instant| {
            format!("{server} was drained for {SHORT_DEADLINE:?}, and cut after {:?}", at - asked)
        };
        let others = self.pooled.ended().len() - ended.len();
        let mut problems: Vec<String> = early.map(|ended| tell(ended.at)).collect();
        problems.extend((others > 0).then(|| format!("{others} connections to other backends have ended")));
        (problems, if all_gone.is_ok() { 0 } else { of_it - ended.len() })
    }

    fn ended(&self, when: &str) -> Vec<String> {
        let ended = self.pooled.ended();
        ended.iter().map(|ended| format!("{when}: connection to {}: {:?}", ended.server, ended.how)).collect()
    }

    /// Was it made?
    fn note(&mut self, outcome: Result<Outcome, String>) -> bool {
        self.done.changes += usize::from(outcome.is_ok());
        let is_made = outcome.is_ok();
        self.done.refused.extend(outcome.err());
        is_made
    }
}

/// Requests that were sent while a backend was drained, and that it answered.
fn chosen(exchanges: &Exchanges, drains: &[Drain]) -> Vec<String> {
    let mut chosen = Vec::new();
    for exchange in &exchanges.all {
        let End::Answered(server) = exchange.end else { continue };
        let hits = |drain: &&Drain| {
            drain.aim == exchange.aim
                && drain.server == server
                && drain.from < exchange.started
                && drain.until.is_none_or(|until| exchange.started + exchange.took < until)
        };
        chosen.extend(drains.iter().find(hits).map(|drain| {
            format!("{server} answered {:?} after it was drained", exchange.started - drain.from)
        }));
    }
    chosen
}
