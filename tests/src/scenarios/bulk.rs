//! Big transfers at the same time, up and down, opened by either side, judged by SHA-256.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use super::Digest;
use crate::{lab::Lab, netns::Namespace, servers::Nginx, topology::Mode, world::World};

/// Enough for the largest transfer on a machine that is busy with something else.
const LIMIT: Duration = Duration::from_secs(600);

/// What became of the transfers.
#[derive(Debug)]
pub struct Bulk {
    /// One result each.
    pub transfers: Vec<Transfer>,
    /// One more download, alone and not looked at, in bits per second.
    pub bits_per_second: f64,
}

/// What became of one transfer.
#[derive(Debug)]
pub struct Transfer {
    /// Who did what.
    pub name: &'static str,
    /// How much was to be transferred.
    pub bytes: u64,
    /// Of the original.
    pub sent: Digest,
    /// Of what arrived; the problem when nothing did.
    pub arrived: Result<Digest, String>,
}

impl Bulk {
    /// How many arrived as they were sent.
    pub fn equal(&self) -> usize {
        self.transfers.iter().filter(|transfer| transfer.is_equal()).count()
    }
}

impl Transfer {
    /// Did it arrive as it was sent?
    pub fn is_equal(&self) -> bool {
        self.arrived.as_ref() == Ok(&self.sent)
    }
}

/// Four transfers of so many bytes at once: NPCI loads from tenant 1 and stores at tenant 2, tenant 3 loads from NPCI and
/// tenant 1 stores there.
#[track_caller]
pub fn run(mode: Mode, bytes: u64) -> Bulk {
    let lab = Lab::new(mode);
    let world = World::start(&lab);
    let jobs = jobs(&lab, &world, bytes);
    let arrived = thread::scope(|scope| {
        let running: Vec<_> = jobs.iter().map(|job| scope.spawn(|| job.run())).collect();
        running
            .into_iter()
            .map(|job| job.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect::<Vec<_>>()
    });
    let transfers = jobs.iter().zip(arrived).map(|(job, arrived)| Transfer {
        name: job.name,
        bytes,
        sent: Digest::of_file(&job.original),
        arrived,
    });
    let transfers = transfers.collect();
    Bulk { transfers, bits_per_second: speed(&lab.npci, &jobs[0].url, bytes) }
}

/// One transfer to be made.
struct Job<'lab> {
    name: &'static str,
    client: &'lab Namespace,
    url: String,
    original: PathBuf,
    /// Where the server stores an upload.
    stored: Option<PathBuf>,
}

fn jobs<'lab>(lab: &'lab Lab, world: &World<'_>, bytes: u64) -> [Job<'lab>; 4] {
    let npci = lab.plan.npci_endpoint();
    let [first, third] = [1, 3].map(|number| &lab.tenant(number).namespace);
    let down = |name, client, server: &Nginx, host, seed| Job {
        name,
        client,
        url: format!("http://{host}/big"),
        original: server.add_file("big", bytes, seed),
        stored: None,
    };
    // Sent from where another server could serve it: only the place is borrowed.
    let up = |name, client, source: &Nginx, server: &Nginx, host, seed| Job {
        name,
        client,
        url: format!("http://{host}/upload/big"),
        original: source.add_file("to-send", bytes, seed),
        stored: Some(server.uploaded("big")),
    };
    [
        down("NPCI loads from bank-1", &lab.npci, &world.tenants[0], world.web(1), 1),
        up("NPCI stores at bank-2", &lab.npci, &world.npci, &world.tenants[1], world.web(2), 2),
        down("bank-3 loads from NPCI", third, &world.npci, npci, 3),
        up("bank-1 stores at NPCI", first, &world.tenants[0], &world.npci, npci, 4),
    ]
}

impl Job<'_> {
    fn run(&self) -> Result<Digest, String> {
        match &self.stored {
            None => self.load(),
            Some(stored) => self.store().map(|()| Digest::of_file(stored)),
        }
    }

    /// Summed up while it comes: nothing is written.
    fn load(&self) -> Result<Digest, String> {
        let mut child = self.curl(&[]).spawn().map_err(|error| format!("start curl: {error}"))?;
        let body = child.stdout.take().expect("stdout is piped");
        let digest = Digest::of(body, |_| ()).map_err(|error| format!("read from curl: {error}"));
        let output = child.wait_with_output().map_err(|error| format!("wait for curl: {error}"))?;
        if !output.status.success() {
            return Err(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr)));
        }
        digest.map(|(digest, _)| digest)
    }

    fn store(&self) -> Result<(), String> {
        let original = self.original.to_string_lossy();
        let output = self.curl(&["--upload-file", &original]).output();
        let output = output.map_err(|error| format!("start curl: {error}"))?;
        if output.status.success() {
            Ok(())
        } else {
            Err(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr)))
        }
    }

    fn curl(&self, arguments: &[&str]) -> Command {
        let mut command = self.client.command("curl");
        command.args(["-q", "--silent", "--show-error", "--fail", "--noproxy", "*"]);
        command.args(["--max-time", &LIMIT.as_secs().to_string()]).args(arguments).arg(&self.url);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

/// Of a download that goes nowhere.
fn speed(client: &Namespace, url: &str, bytes: u64) -> f64 {
    let reply = client.curl(url).limit(LIMIT).option(&["--output", "/dev/null"]).run();
    assert!(reply.is_success(), "{reply:?}");
    bits(bytes) / reply.time.as_secs_f64()
}

#[expect(clippy::cast_precision_loss, reason = "a speed, for people")]
fn bits(bytes: u64) -> f64 {
    bytes as f64 * 8.0
}
