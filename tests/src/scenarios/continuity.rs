//! Does traffic of every kind go on while something happens to the daemon?

use std::{thread, time::Duration};

use super::{
    background::{Background, Progress, ask},
    conversation::{self, Conversation},
    paced::{LongFile, PacedDownload},
    targets::{self, Target},
};
use crate::{gateway::Gateway, lab::Lab, poll::try_poll, world::World};

/// Requests to each target in one look.
const REQUESTS: usize = 20;
/// Bytes that a download must go on by in one look: eight times what its receive buffer holds.
const MORE_BYTES: u64 = 1 << 20;
/// Datagrams that must pass in one look.
const MORE_DATAGRAMS: usize = 20;
/// For a download or the datagrams to go on.
const LIMIT: Duration = Duration::from_secs(15);

/// What became of the traffic.
#[derive(Debug, Default)]
pub struct Continuity {
    /// What happened.
    pub event: &'static str,
    /// Downloads that were under way all the time.
    pub transfers: usize,
    /// Connections that were open before it.
    pub connections: usize,
    /// Times that they were used again.
    pub questions: usize,
    /// Short requests.
    pub requests: usize,
    /// Datagrams.
    pub datagrams: usize,
    /// Datagrams without an answer.
    pub lost_datagrams: usize,
    /// All else that failed, in words.
    pub failures: Vec<String>,
}

/// The running world, with a long file on the first tenant's server and on NPCI's.
#[derive(Debug)]
pub struct Stage<'lab> {
    /// NPCI, gateway, tenants.
    pub world: World<'lab>,
    lab: &'lab Lab,
    ingress_file: LongFile,
    egress_file: LongFile,
}

impl<'lab> Stage<'lab> {
    /// Makes the files.
    pub fn new(lab: &'lab Lab, world: World<'lab>) -> Self {
        let ingress_file = LongFile::add(&world.tenants[0], 11);
        let egress_file = LongFile::add(&world.npci, 12);
        Self { world, lab, ingress_file, egress_file }
    }

    /// Starts traffic of these tenants, of which tenant 1 is one, lets `happen` do something to the daemon, and ends the
    /// traffic.
    pub fn during(
        &mut self,
        event: &'static str,
        tenants: &[usize],
        happen: impl FnOnce(&mut Interlude<'_, 'lab>),
    ) -> Continuity {
        let conversations = conversation::of_each_kind(self.lab, &self.world, tenants);
        let (conversations, downloads) = match (conversations, self.start_downloads()) {
            (Ok(conversations), Ok(downloads)) => (conversations, downloads),
            (Err(problem), _) | (_, Err(problem)) => {
                return Continuity { event, failures: vec![problem], ..Continuity::default() };
            }
        };
        let (web, echo) =
            (targets::web(self.lab, &self.world, tenants), targets::echo(self.lab, &self.world, tenants));
        let (progress, seen) = (Progress::default(), Continuity { event, ..Continuity::default() });
        thread::scope(|scope| {
            let background = Background::start(scope, &progress, &web, &echo);
            let gateway = &mut self.world.gateway;
            let mut interlude =
                Interlude { gateway, web: &web, progress: &progress, conversations, downloads, seen };
            interlude.look("before");
            happen(&mut interlude);
            interlude.end(background)
        })
    }

    fn start_downloads(&self) -> Result<Vec<PacedDownload>, String> {
        let inside = &self.lab.tenant(1).namespace;
        Ok(vec![
            PacedDownload::start(&self.lab.npci, self.world.web(1), &self.ingress_file)?,
            PacedDownload::start(inside, self.lab.plan.npci_endpoint(), &self.egress_file)?,
        ])
    }
}

/// The time in which something happens to the daemon.
#[derive(Debug)]
pub struct Interlude<'a, 'lab> {
    /// What it happens to.
    pub gateway: &'a mut Gateway<'lab>,
    web: &'a [Target<'a>],
    progress: &'a Progress,
    conversations: Vec<Conversation>,
    downloads: Vec<PacedDownload>,
    seen: Continuity,
}

impl Interlude<'_, '_> {
    /// Uses every connection, makes new ones, and sees whether downloads and datagrams go on.
    pub fn look(&mut self, when: &str) {
        let received: Vec<u64> = self.downloads.iter().map(PacedDownload::received).collect();
        let datagrams = self.progress.datagrams();
        let mut problems: Vec<String> =
            self.conversations.iter_mut().filter_map(|conversation| conversation.ask().err()).collect();
        problems.extend(self.web.iter().flat_map(|target| ask(target, REQUESTS)));
        problems.extend(self.downloads.iter().zip(received).filter_map(|(download, bytes)| {
            wait(download.name(), || download.received() >= bytes + MORE_BYTES)
        }));
        problems.extend(wait("datagrams", || self.progress.datagrams() >= datagrams + MORE_DATAGRAMS));
        self.seen.questions += self.conversations.len();
        self.seen.requests += REQUESTS * self.web.len();
        self.seen.failures.extend(problems.into_iter().map(|problem| format!("{when}: {problem}")));
    }

    /// Notes something that should be otherwise.
    pub fn require(&mut self, holds: bool, problem: impl FnOnce() -> String) {
        if !holds {
            self.seen.failures.push(problem());
        }
    }

    fn end(mut self, background: Background<'_, '_>) -> Continuity {
        self.look("after");
        self.seen.transfers = self.downloads.len();
        self.seen.connections = self.conversations.len();
        for download in self.downloads {
            if !download.is_under_way() {
                self.seen.failures.push(format!("{} ended too early", download.name()));
            }
            self.seen.failures.extend(download.finish().err());
        }
        let outcome = background.stop();
        self.seen.requests += outcome.requests;
        self.seen.datagrams += outcome.datagrams;
        self.seen.lost_datagrams += outcome.lost_datagrams;
        self.seen.failures.extend(outcome.failures);
        self.seen
    }
}

/// Why it did not happen in time, if it did not.
fn wait(what: &str, goes_on: impl Fn() -> bool) -> Option<String> {
    let waited =
        try_poll(LIMIT, &format!("{what} to go on"), || if goes_on() { Ok(()) } else { Err(None::<String>) });
    waited.err().map(|timed_out| timed_out.to_string())
}
