//! Real TCP over a way whose smallest link neither end knows: what they are told is enough.

use std::{net::Ipv4Addr, path::PathBuf, time::Duration};

use super::{MTU, Narrow, Stage, stage};
use crate::{
    capture::{Capture, Keep, Recording},
    netns::Namespace,
    raw::Direction,
    scenarios::Digest,
    servers::Nginx,
    topology::Mode,
};

/// Of each transfer: hundreds of full windows.
const BYTES: u64 = 2 << 20;
/// In front of the IP packet.
const ETHERNET_HEADER: usize = 14;
/// A connection that is told nothing hangs for longer.
const LIMIT: Duration = Duration::from_secs(5);

/// What was seen with one small link.
#[derive(Debug)]
pub struct Passage {
    /// Where it was.
    pub narrow: Narrow,
    /// One each.
    pub transfers: Vec<Transfer>,
    /// The longest packet that the gateway was sent, in bytes: longer than any link's MTU where senders leave it to others to
    /// cut (GSO).
    pub longest: usize,
    /// Packets that the gateway found too large by itself.
    pub refused_by_gateway: u64,
    /// Frames that the gateway sent although they were too large for the link, which lost them.
    pub lost: u64,
}

impl Passage {
    /// Did all arrive, by what the hosts were told, and was nothing lost that nobody was told of?
    pub fn is_right(&self, mode: Mode) -> bool {
        self.transfers.iter().all(Transfer::is_right)
            && (self.longest > stage::BELIEVED_MTU) != mode.is_xdp()
            && (self.refused_by_gateway > 0) == self.narrow.is_the_gateways()
            && self.lost == 0
    }
}

impl Transfer {
    fn is_right(&self) -> bool {
        self.arrived == Ok(()) && self.learned == Some(MTU)
    }
}

/// What became of one transfer.
#[derive(Debug, PartialEq, Eq)]
pub struct Transfer {
    /// Who did what.
    pub name: &'static str,
    /// Did the same bytes arrive? The problem when not.
    pub arrived: Result<(), String>,
    /// The path MTU that the sending host's kernel has learned.
    pub learned: Option<u32>,
}

/// Four transfers for each link that is small in turn, in one lab.
#[track_caller]
pub fn run(mode: Mode) -> Vec<Passage> {
    let lab = stage::lab(mode);
    let stage = Stage::start(&lab, |_| ());
    Narrow::ALL.map(|narrow| pass(&stage, narrow)).into()
}

fn pass(stage: &Stage<'_>, narrow: Narrow) -> Passage {
    let figures = || (stage.refused_for_size(), stage.lost());
    let before = figures();
    let wires = stage.lab.links().map(|(far, link)| stage.lab.capture_far_end(far, link, Keep::Headers));
    let wires: Vec<Capture> = wires.collect();
    let transfers = narrow.during(stage, || all(stage));
    let longest = wires.into_iter().map(|wire| longest(&wire.stop())).max().expect("there are links");
    let (refused, lost) = figures();
    Passage { narrow, transfers, longest, refused_by_gateway: refused - before.0, lost: lost - before.1 }
}

fn longest(wire: &Recording) -> usize {
    let sent = wire.packets.iter().filter(|packet| packet.direction == Direction::Out);
    sent.map(|packet| packet.length - ETHERNET_HEADER).max().unwrap_or(0)
}

/// Both hosts load and store, one after the other; each transfer begins with nothing known of the way.
#[track_caller]
pub(super) fn all(stage: &Stage<'_>) -> Vec<Transfer> {
    jobs(stage).iter().map(|job| job.run(stage)).collect()
}

/// One transfer to be made.
struct Job<'a> {
    name: &'static str,
    client: &'a Namespace,
    url: String,
    original: PathBuf,
    /// Where the server stores an upload.
    stored: Option<PathBuf>,
    /// Who sends the bytes, and to which address.
    sender: (&'a Namespace, Ipv4Addr),
}

fn jobs<'a>(stage: &'a Stage<'_>) -> [Job<'a>; 4] {
    let Stage { npci, bank, npci_web, bank_web, lab, .. } = stage;
    let (web, endpoint) = (stage.web(), stage.npci_endpoint());
    let down = |name, client, server: &Nginx, at, seed, sender| Job {
        name,
        client,
        url: format!("http://{at}/big"),
        original: server.add_file("big", BYTES, seed),
        stored: None,
        sender,
    };
    // Sent from where another server could serve it: only the place is borrowed.
    let up = |name, source: &Nginx, server: &Nginx, at, seed, sender: (&'a Namespace, Ipv4Addr)| Job {
        name,
        client: sender.0,
        url: format!("http://{at}/upload/big"),
        original: source.add_file("to-send", BYTES, seed),
        stored: Some(server.uploaded("big")),
        sender,
    };
    let (nat, egress_vip) = (lab.tenant(1).plan.nat_ip, lab.plan.egress_vip);
    [
        down("NPCI loads from the bank", &npci.host, bank_web, web, 1, (&bank.host, nat)),
        up("NPCI stores at the bank", npci_web, bank_web, web, 2, (&npci.host, *web.ip())),
        down("the bank loads from NPCI", &bank.host, npci_web, endpoint, 3, (&npci.host, egress_vip)),
        up("the bank stores at NPCI", bank_web, npci_web, endpoint, 4, (&bank.host, *endpoint.ip())),
    ]
}

impl Job<'_> {
    fn run(&self, stage: &Stage<'_>) -> Transfer {
        stage.forget();
        let arrived = match &self.stored {
            None => self.load(),
            Some(stored) => self.store(stored),
        };
        Transfer { name: self.name, arrived, learned: learned(self.sender) }
    }

    fn load(&self) -> Result<(), String> {
        let download = self.client.curl(&self.url).limit(LIMIT).compare_with(&self.original);
        if download.identical && download.error == 0 { Ok(()) } else { Err(format!("{download:?}")) }
    }

    fn store(&self, stored: &PathBuf) -> Result<(), String> {
        // Of the run before, which would do as well.
        drop(std::fs::remove_file(stored));
        let reply = self.client.curl(&self.url).limit(LIMIT).upload(&self.original).run();
        if !reply.is_success() {
            return Err(format!("{reply:?}"));
        }
        let [sent, arrived] = [&self.original, stored].map(|path| Digest::of_file(path));
        if sent == arrived { Ok(()) } else { Err(format!("{arrived:?} instead of {sent:?}")) }
    }
}

/// `... cache expires 599sec mtu 1300`
fn learned((host, to): (&Namespace, Ipv4Addr)) -> Option<u32> {
    let route = host.ip(&["route", "get", &to.to_string()]);
    route.split_whitespace().skip_while(|word| *word != "mtu").nth(1)?.parse().ok()
}
