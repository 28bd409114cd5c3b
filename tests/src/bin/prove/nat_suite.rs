//! Suite `nat`: what a NAT must withstand, and how well it was looked at.

mod figures;

use std::time::Duration;

use gateway_tests::{
    Mode,
    scenarios::nat::{
        exhaustion::{self, AT_ONCE, FURTHER, PORTS},
        flood::{self, SynFlood, growth_percent},
        greedy::{self, Greedy},
        idle::{self, GRANULARITY, Life, SLACK},
        isolation::{self, CLAMP, SPOOFED},
        percentile, quarantine,
    },
};

use crate::{
    proof::{Proof, Scale},
    row::{Kind, Measured, Promise, Target},
};

/// Connections that are idle while SYNs pour in.
const ESTABLISHED: usize = 1_000;
/// Spoofed SYNs a second.
const SYNS: f64 = 100_000.0;
/// As many are tried, so that a sender who is late now and then reaches that.
const SYNS_TRIED: u64 = 105_000;
/// Requests a second meanwhile.
const REQUESTS: u32 = 200;
/// Of these, answered.
const ANSWERED_PERCENT: f64 = 99.0;
/// By how much memory may grow and be called flat.
const FLAT_PERCENT: f64 = 5.0;
/// A challenged client sends its SYN again after a second.
const CHALLENGED_MS: f64 = 1_500.0;
/// By how much the others' slowest hundredth may change.
const NOTICED_PERCENT: f64 = 10.0;
/// Of the flows that a limit allows, those that are opened.
const GRANTED_PERCENT: f64 = 99.0;

/// All of it at this scale.
pub fn proofs(scale: Scale) -> Vec<Proof> {
    let mut proofs = vec![
        syn_flood(Mode::Tc, scale),
        syn_flood(Mode::XdpNative, scale),
        tenant_flood(scale),
        port_exhaustion(),
        idle(scale),
        quarantine(scale),
        isolation(),
    ];
    proofs.extend(figures::proofs(scale));
    proofs
}

/// Every promise.
#[cfg(test)]
pub fn promises() -> Vec<Promise> {
    proofs(Scale::Full).into_iter().flat_map(|proof| proof.promises).collect()
}

fn promise(
    kind: Kind,
    id: impl Into<String>,
    text: impl Into<String>,
    target: Target,
    unit: &'static str,
) -> Promise {
    Promise { id: id.into(), kind, text: text.into(), target, unit }
}

fn correct(id: impl Into<String>, text: impl Into<String>, target: Target, unit: &'static str) -> Promise {
    promise(Kind::Correctness, id, text, target, unit)
}

fn none(id: impl Into<String>, text: impl Into<String>, unit: &'static str) -> Promise {
    correct(id, text, Target::Exactly(0), unit)
}

/// A number of things that should not be, with their words.
fn things(things: Vec<String>) -> Measured {
    Measured::count(things.len()).because(things)
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn number(count: u64) -> Measured {
    Measured::figure(count as f64)
}

fn syn_flood(mode: Mode, scale: Scale) -> Proof {
    let name = if mode.is_xdp() { "xdp-native" } else { "tc" };
    let size = flood::Size {
        established: ESTABLISHED,
        lasting: Duration::from_secs(scale.pick(10, 60)),
        syns: SYNS_TRIED,
        requests: REQUESTS,
        strangers: scale.pick(20, 100),
    };
    let id = |what: &str| format!("syn-flood-{what}-{name}");
    let most = Target::AtMost(f64::from(flood::MOST_HALF_OPEN));
    let (seconds, strangers) = (size.lasting.as_secs(), size.strangers);
    let promises = vec![
        none(
            id("established-lost"),
            format!("of {ESTABLISHED} idle connections, lost in {seconds} s of SYNs"),
            "connections",
        ),
        correct(
            id("answered"),
            format!("of {REQUESTS} requests a second meanwhile, answered"),
            Target::AtLeast(ANSWERED_PERCENT),
            "%",
        ),
        none(
            id("strangers-refused"),
            format!("of {strangers} clients never seen before, not connected"),
            "clients",
        ),
        promise(
            Kind::Speed,
            id("connect-p50"),
            "their connect(), challenged, p50",
            Target::AtMost(CHALLENGED_MS),
            "ms",
        ),
        promise(
            Kind::Speed,
            id("connect-p99"),
            "their connect(), challenged, p99",
            Target::AtMost(5_000.0),
            "ms",
        ),
        correct(id("half-open"), "half-open flows of the listener, at most", most, "flows"),
        correct(
            id("strangers-challenged"),
            "answers to challenges, of these clients and others",
            Target::AtLeast(f64::from(strangers)),
            "answers",
        ),
        correct(id("challenges"), "challenges sent", Target::AtLeast(1.0), "challenges"),
        correct(id("daemon-memory"), "growth of the daemon's memory", Target::AtMost(FLAT_PERCENT), "%"),
        correct(id("table-memory"), "growth of the tables' memory", Target::AtMost(FLAT_PERCENT), "%"),
        promise(Kind::Speed, id("rate"), "spoofed SYNs that were sent", Target::AtLeast(SYNS), "1/s"),
    ];
    Proof::new(format!("syn flood {name}"), promises, move || syn_flood_rows(flood::run(mode, size)))
}

fn syn_flood_rows(mut seen: SynFlood) -> Vec<Measured> {
    let answered = seen.answered_percent();
    let mut problems = seen.exchanges.failed(|_| true);
    problems.extend(seen.exchanges.wrong());
    let counts = format!("{} requests, dropped: {:?}", seen.exchanges.all.len(), seen.drops);
    let sizes = |of: [u64; 2]| [format!("from {} to {} bytes", of[0], of[1])];
    let (most, looks) = seen.half_open;
    let (took, refused) = &mut seen.strangers;
    vec![
        things(seen.lost),
        Measured::figure(answered).because([counts]).because(problems),
        things(std::mem::take(refused)),
        Measured::figure(millis(percentile(took, 50))),
        Measured::figure(millis(percentile(took, 99))),
        number(most).because([format!("in {looks} looks")]),
        number(seen.drops.get("challenge_answered").copied().unwrap_or(0)),
        number(seen.challenges),
        Measured::figure(growth_percent(seen.resident)).because(sizes(seen.resident)),
        Measured::figure(growth_percent(seen.tables)).because(sizes(seen.tables)),
        Measured::figure(seen.sent.rate()),
    ]
}

fn tenant_flood(scale: Scale) -> Proof {
    let size = greedy::Size { pairs: scale.pick(2, 8), stretch: Duration::from_millis(2_500) };
    let (limit, times) = (greedy::LIMIT, greedy::TIMES);
    let promises = vec![
        none(
            "tenant-flood-others-failed",
            format!("a tenant opens flows at {times} x its limit: others' requests failed"),
            "requests",
        ),
        none(
            "tenant-flood-excess",
            format!("flows that it opens beyond {limit} a second and their burst"),
            "flows",
        ),
        correct(
            "tenant-flood-granted",
            "of the flows that it may open, opened",
            Target::AtLeast(GRANTED_PERCENT),
            "%",
        ),
        promise(
            Kind::Speed,
            "tenant-flood-p99",
            "change of the others' request latency, p99",
            Target::AtMost(NOTICED_PERCENT),
            "%",
        ),
    ];
    Proof::new("tenant flood", promises, move || tenant_flood_rows(&greedy::run(size)))
}

fn tenant_flood_rows(seen: &Greedy) -> Vec<Measured> {
    let flows = format!("{} tried, {} opened, {:.1} allowed", seen.tried, seen.opened, seen.allowed);
    let (percent, [quiet, flooded]) = seen.slowdown();
    vec![
        things(seen.failures()),
        Measured::figure(seen.excess()).because([flows.clone()]),
        Measured::figure(seen.granted_percent()).because([flows]),
        Measured::figure(percent).because([format!("{quiet:?} without, {flooded:?} with it")]),
    ]
}

fn port_exhaustion() -> Proof {
    let promises = vec![
        correct(
            "exhaustion-open",
            format!("connections of a tenant with {PORTS} ports to one destination"),
            Target::Exactly(u64::from(PORTS)),
            "connections",
        ),
        none("exhaustion-beyond", format!("of {FURTHER} further ones, opened"), "connections"),
        none("exhaustion-uncounted", "of them, not counted as ports_exhausted", "packets"),
        none(
            "exhaustion-untold",
            format!("of them, clients that are not told within {} ms", AT_ONCE.as_millis()),
            "connections",
        ),
        none(
            "exhaustion-others-failed",
            "calls to other destinations, of other tenants, from NPCI, failed",
            "calls",
        ),
        none("exhaustion-wrong-sources", "meanwhile, sources on NPCI's wire that are no VIP", "sources"),
    ];
    Proof::new("port exhaustion", promises, || {
        let seen = exhaustion::run();
        let (sent, counted) = seen.counted;
        vec![
            Measured::count(seen.open),
            Measured::count(seen.beyond),
            number(sent.saturating_sub(counted)).because([format!("{sent} sent, {counted} counted")]),
            things(seen.untold),
            things(seen.others),
            things(seen.wrong_sources),
        ]
    })
}

fn idle(scale: Scale) -> Proof {
    let size = idle::Size { tcp: scale.pick(10, 600), udp: scale.pick(5, 300) };
    let kept = |id: &str, what: &str, secs: u64| {
        let least = Duration::from_secs(secs).saturating_sub(GRANULARITY).as_secs_f64();
        correct(id, format!("{what} with a timeout of {secs} s is kept for"), Target::AtLeast(least), "s")
    };
    let gone = |id: &str, secs: u64| {
        let most = (Duration::from_secs(secs) + SLACK).as_secs_f64();
        correct(id, "the same is gone after", Target::AtMost(most), "s")
    };
    let promises = vec![
        kept("idle-tcp-kept", "silent TCP connection", size.tcp),
        gone("idle-tcp-gone", size.tcp),
        kept("idle-udp-kept", "silent UDP flow", size.udp),
        gone("idle-udp-gone", size.udp),
        none("idle-lost", "flows with keep-alives, or of another tenant, that end meanwhile", "answers"),
        none("idle-not-reset", "ends of the silent connection, and wires, without a reset", "ends"),
    ];
    Proof::new("idle expiry", promises, move || {
        let seen = idle::run(size);
        let [tcp, udp] = [seen.tcp, seen.udp].map(life);
        let mut measured: Vec<Measured> = tcp.into_iter().chain(udp).collect();
        measured.extend([things(seen.lost), things(seen.not_reset)]);
        measured
    })
}

fn life(life: Life) -> [Measured; 2] {
    let gone = life.gone.map_or(f64::INFINITY, |gone| gone.as_secs_f64());
    [Measured::figure(life.kept.as_secs_f64()), Measured::figure(gone)]
}

fn quarantine(scale: Scale) -> Proof {
    let size = quarantine::Size { idle: scale.pick(3, 30), quarantine: scale.pick(5, 120) };
    let seconds = Duration::from_secs(size.quarantine);
    let (least, most) = (seconds.saturating_sub(GRANULARITY).as_secs_f64(), (seconds + SLACK).as_secs_f64());
    let kept = format!("quarantine of {} s: ports of flows that idled out are nobody's for", size.quarantine);
    let promises = vec![
        correct("quarantine-kept", kept, Target::AtLeast(least), "s"),
        correct("quarantine-over", "the first of them is taken again after", Target::AtMost(most), "s"),
    ];
    Proof::new("quarantine", promises, move || {
        let seen = quarantine::run(size);
        assert_eq!(seen.open, PORTS as usize, "connections that hold all ports");
        let after = seen.reused_after.unwrap_or_else(|problem| panic!("{problem}")).as_secs_f64();
        let tries = format!("{} connections were tried", seen.tries);
        [after; 2].map(|after| Measured::figure(after).because([tries.clone()])).into()
    })
}

fn isolation() -> Proof {
    let promises = vec![
        none("hairpin-connected", "calls from tenant to tenant that nobody allowed, connected", "calls"),
        none("hairpin-refused", "call that `hairpin_to` allows, not connected", "calls"),
        none(
            "spoofed-uncounted",
            format!("of {SPOOFED} packets with another tenant's source, not counted as source_spoofed"),
            "packets",
        ),
        none("spoofed-passed", "of them, on another wire", "packets"),
        none(
            "mss-clamped",
            format!("handshake packets of a tenant clamped to {CLAMP} B that offer another size"),
            "packets",
        ),
        none(
            "mss-left-alone",
            "handshake packets of another tenant that offer less than they did",
            "packets",
        ),
    ];
    Proof::new("isolation", promises, || {
        let seen = isolation::run();
        let (clamped, left_alone) = (seen.clamped, seen.left_alone);
        // SYN and SYN-ACK on either side of the gateway, of one connection in each direction.
        assert_eq!((clamped.0, left_alone.0), (4, 4), "handshake packets that left the gateway");
        let denied = format!("of {}", seen.denied);
        vec![
            things(seen.connected).because([denied]),
            things(seen.not_allowed.into_iter().collect()),
            number(seen.uncounted),
            things(seen.passed),
            things(clamped.1),
            things(left_alone.1),
        ]
    })
}
