//! A flood of spoofed SYNs, a scan of all ports and random frames, against connections that are idle and clients that are real.

use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    thread,
    time::{Duration, Instant},
};

use gateway_common::{abi::Counter, limits::HALF_OPEN_PLACES};

use super::aim;
use crate::{
    clients::{
        flood::{Aimed, Flood, Sent},
        open_loop::{End, Exchanges, OpenLoop},
        pooled::Pooled,
    },
    lab::Lab,
    poll::poll_until,
    seed::Random,
    topology::{Mode, Topology},
    usage,
    world::{World, web_listener},
};

/// Whose listener is flooded.
const VICTIM: usize = 1;
/// Spoofed senders, all in the listener's allow-list.
const SPOOFED: &str = "198.18.0.0/15";
/// Different SYNs; they are sent again and again.
const SYNS: usize = 131_072;
/// Packets a second to random ports of the VIP.
const SCAN_RATE: u64 = 1_000;
/// Random frames a second.
const GARBAGE_RATE: u64 = 1_000;
/// Different ones of each.
const VARIETY: usize = 8_192;
/// New clients that connect at a time.
const STRANGERS_AT_ONCE: usize = 4;
/// The first address of clients that the gateway has never heard of.
const FIRST_STRANGER: u8 = 128;
/// For a new connection with its request: a challenge costs a second, and another lost packet three more.
const LIMIT: Duration = Duration::from_secs(5);
/// Until the listener asks who its clients are.
const UNTIL_CHALLENGED: Duration = Duration::from_secs(5);
/// What a listener may have half-open.
pub const MOST_HALF_OPEN: u32 = HALF_OPEN_PLACES;

/// How large it is.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Connections that are open before.
    pub established: usize,
    /// Of the flood.
    pub lasting: Duration,
    /// Spoofed SYNs a second.
    pub syns: u64,
    /// Requests a second, each on a new connection.
    pub requests: u32,
    /// Clients that connect for the first time during the flood; at most 100.
    pub strangers: u8,
}

/// What was seen.
#[derive(Debug)]
pub struct SynFlood {
    /// Connections that were open before, and do not answer afterwards, in words.
    pub lost: Vec<String>,
    /// Requests during the flood.
    pub exchanges: Exchanges,
    /// What clients that connected for the first time had to wait; and the problems of those that could not.
    pub strangers: (Vec<Duration>, Vec<String>),
    /// SYNs.
    pub sent: Sent,
    /// The most half-open flows that a look saw, and how many looks there were.
    pub half_open: (u64, usize),
    /// SYNs that were answered with a challenge.
    pub challenges: u64,
    /// Resident memory of the daemon before and in the end, in bytes.
    pub resident: [u64; 2],
    /// Memory of all tables, the same.
    pub tables: [u64; 2],
    /// Packets that were dropped, by reason.
    pub drops: BTreeMap<String, u64>,
}

/// Everything at once.
#[track_caller]
pub fn run(mode: Mode, size: Size) -> SynFlood {
    let lab = Lab::with(Topology::builder().mode(mode).tenants(2));
    lend_addresses(&lab, size.strangers);
    let world = World::start_with(&lab, |config| {
        for listener in &mut config.tenant(VICTIM).listener {
            listener.allow.push(SPOOFED.to_owned());
        }
    });
    lab.warm_neighbours();
    let aim = aim(&lab, &world, VICTIM);
    let pooled = Pooled::open(&lab.npci, std::slice::from_ref(&aim), size.established)
        .unwrap_or_else(|problem| panic!("the connections that are to stay: {problem}"));
    let load = OpenLoop::new(size.requests, vec![aim]).limit(LIMIT).start(&lab.npci);
    load.wait_for(size.requests as usize);
    let before = memory(&world);
    let floods = Floods::start(&lab);
    let syns = floods.syns(&lab, size.syns);
    let (strangers, half_open) = thread::scope(|scope| {
        let strangers = scope.spawn(|| connect_strangers(&lab, &world, size.strangers));
        let half_open = watch(&world, size.lasting);
        (strangers.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), half_open)
    });
    let after = memory(&world);
    let exchanges = load.stop();
    let sent = syns.stop();
    floods.stop();
    pooled.ask();
    let ended = pooled.ended();
    let lost = ended.iter().map(|end| format!("connection {}: {:?}", end.connection, end.how)).collect();
    SynFlood {
        lost,
        exchanges,
        strangers,
        sent,
        half_open,
        challenges: challenges(&world),
        resident: [before.0, after.0],
        tables: [before.1, after.1],
        drops: world.gateway.drops(),
    }
}

impl SynFlood {
    /// Of the requests, those that were answered, in per cent.
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
    pub fn answered_percent(&self) -> f64 {
        let answered = self.exchanges.all.iter().filter(|one| matches!(one.end, End::Answered(_))).count();
        answered as f64 / self.exchanges.all.len() as f64 * 100.0
    }
}

/// By how much something has grown, in per cent.
#[expect(clippy::cast_precision_loss, reason = "for people")]
pub fn growth_percent([before, after]: [u64; 2]) -> f64 {
    (after as f64 / before as f64 - 1.0) * 100.0
}

/// Gives NPCI the addresses of new clients, and the gateway ways to all that are spoofed: the answers end at NPCI, where
/// nobody has these addresses.
fn lend_addresses(lab: &Lab, strangers: u8) {
    let far_mac = lab.external.far_mac;
    let (far, near) = (&lab.external.far, &lab.external.near);
    let all: Vec<Ipv4Addr> = (0..strangers).map(stranger).collect();
    let lines = |line: &dyn Fn(&Ipv4Addr) -> String| all.iter().map(line).collect::<String>();
    lab.npci.ip_batch(&lines(&|address| format!("addr add {address}/32 dev {far}\n")));
    lab.gateway.ip_batch(&lines(&|address| format!("neigh replace {address} lladdr {far_mac} dev {near}\n")));
    lab.gateway.ip(&["route", "add", SPOOFED, "via", &lab.plan.npci().to_string(), "dev", near]);
}

fn stranger(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, FIRST_STRANGER + number)
}

/// Resident bytes of the daemon, and bytes of its tables.
fn memory(world: &World<'_>) -> (u64, u64) {
    (usage::resident_bytes(world.gateway.process().id()), usage::map_bytes(&world.gateway.pins()))
}

fn challenges(world: &World<'_>) -> u64 {
    let counters = world.gateway.tables().counters().expect("the counters can be read");
    counters
        .into_iter()
        .filter(|(counter, _)| *counter == Counter::ChallengesSent)
        .map(|(_, count)| count)
        .sum()
}

/// The scan and the garbage.
#[derive(Debug)]
struct Floods {
    aimed: Aimed,
    seed: u64,
    beside: [Flood; 2],
}

impl Floods {
    fn start(lab: &Lab) -> Self {
        let aimed = Aimed { from: lab.external.far_mac, to: lab.external.near_mac };
        let mut random = Random::from_env();
        let any_port = |random: &mut Random| u16::try_from(random.below(65_536)).expect("it fits");
        let scan = aimed.syns(VARIETY, lab.plan.ingress_vip, &mut random, any_port);
        let garbage = aimed.garbage(VARIETY, &mut random);
        let start = |frames, rate| Flood::start(&lab.npci, &lab.external.far, frames, rate);
        let beside = [start(scan, SCAN_RATE), start(garbage, GARBAGE_RATE)];
        Self { aimed, seed: random.seed(), beside }
    }

    fn syns(&self, lab: &Lab, rate: u64) -> Flood {
        let mut random = Random::with_seed(self.seed);
        let port = web_listener(VICTIM);
        let syns = self.aimed.syns(SYNS, lab.plan.ingress_vip, &mut random, |_| port);
        Flood::start(&lab.npci, &lab.external.far, syns, rate)
    }

    fn stop(self) {
        for flood in self.beside {
            flood.stop();
        }
    }
}

/// Looks at the victim's half-open flows for so long: the most of them, and the number of looks.
fn watch(world: &World<'_>, lasting: Duration) -> (u64, usize) {
    let (begin, mut api) = (Instant::now(), world.gateway.api());
    let (mut most, mut looks) = (0, 0);
    poll_until(2 * lasting + LIMIT, "the flood to end", || {
        let status = api.status().unwrap_or_else(|problem| panic!("{problem}"));
        let half_open = status["tenants"][VICTIM - 1]["half_open_flows"].as_u64().expect("a number");
        (most, looks) = (most.max(half_open), looks + 1);
        (begin.elapsed() >= lasting).then_some(())
    });
    (most, looks)
}

/// Clients that were never heard of connect while the listener asks everybody who they are: how long each took, or why it
/// could not.
fn connect_strangers(lab: &Lab, world: &World<'_>, count: u8) -> (Vec<Duration>, Vec<String>) {
    let before = challenges(world);
    poll_until(UNTIL_CHALLENGED, "a challenge", || (challenges(world) > before).then_some(()));
    let mut lanes: Vec<Vec<u8>> = vec![Vec::new(); STRANGERS_AT_ONCE];
    (0..count).for_each(|number| lanes[usize::from(number) % STRANGERS_AT_ONCE].push(number));
    let connect = |number: u8| {
        let begin = Instant::now();
        let connected = lab.npci.connect(Some(stranger(number)), world.web(VICTIM), LIMIT);
        connected.map(|_| begin.elapsed()).map_err(|error| format!("{}: {error}", stranger(number)))
    };
    let ends: Vec<Result<Duration, String>> = thread::scope(|scope| {
        let lanes = lanes
            .into_iter()
            .map(|lane| scope.spawn(move || lane.into_iter().map(connect).collect::<Vec<_>>()));
        let lanes: Vec<_> = lanes.collect();
        lanes.into_iter().flat_map(|lane| lane.join().expect("connecting does not panic")).collect()
    });
    let mut seen = (Vec::new(), Vec::new());
    for end in ends {
        match end {
            Ok(took) => seen.0.push(took),
            Err(problem) => seen.1.push(problem),
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_relative() {
        assert!((growth_percent([100, 105]) - 5.0).abs() < 1e-9);
        assert!(growth_percent([100, 90]) < 0.0);
    }

    #[test]
    fn strangers_have_addresses_of_their_own() {
        assert_eq!(stranger(0), Ipv4Addr::new(192, 0, 2, 128));
        assert_eq!(stranger(99), Ipv4Addr::new(192, 0, 2, 227));
    }
}
