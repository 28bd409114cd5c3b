//! `gateway-daemon capture`: a tenant's packets, before and after translation, as a file.

use std::fs::{File, OpenOptions};
use std::io::{IsTerminal as _, Write as _, stdout};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use hyper::Method;

use super::Exit;
use super::client::ClientOptions;
use super::format::counted;
use super::mistake::Mistake;
use super::output::{print, print_bytes, print_json};
use crate::api::change::Ask;
use crate::api::client::Client;
use crate::pcapng::Counter;

/// Who talks to whom in a payment network is not for everybody.
const FILE_MODE: u32 = 0o600;

/// Options of `capture`.
#[derive(Debug, Args)]
#[command(after_help = super::EXIT_CODES)]
pub struct CaptureOptions {
    /// Whose packets
    #[arg(long, value_name = "NAME")]
    pub tenant: String,
    /// End after so many packets, up to 1000000
    #[arg(long, value_name = "COUNT", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub limit: u32,
    /// End after so many seconds, up to 3600
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    pub seconds: u32,
    /// Write so many bytes of each frame, whatever they are, instead of its headers
    #[arg(long, value_name = "BYTES", conflicts_with = "payload", value_parser = clap::value_parser!(u32).range(14..=4_064))]
    pub snaplen: Option<u32>,
    /// Write what people send, too: up to 4064 bytes of each frame
    #[arg(long)]
    pub payload: bool,
    /// Why: kept in the audit
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// The pcapng file to write; it must not exist. `-` is standard output
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// Whom to ask.
    #[command(flatten)]
    pub client: ClientOptions,
}

impl CaptureOptions {
    /// Writes until the capture is over, and says what was written.
    pub fn execute(&self) -> anyhow::Result<Exit> {
        self.client.stay(async |client| self.write(client).await)
    }

    async fn write(&self, client: &Client) -> anyhow::Result<Exit> {
        let is_stdout = self.output == Path::new("-");
        if is_stdout && stdout().is_terminal() {
            let problem = "a capture is no text, and standard output is a terminal";
            return Err(Mistake::new(problem, "name a file with `--output`, or a program behind `|`").into());
        }
        // Before the file is made: where the daemon refuses there is to be none.
        let mut pieces = client.follow(&self.question()).await?;
        let mut file = if is_stdout { None } else { Some(create(&self.output)?) };
        let mut counter = Counter::default();
        while let Some(piece) = pieces.next().await? {
            counter.take(&piece);
            match &mut file {
                Some(file) => file.write_all(&piece).with_context(|| cannot_write(&self.output))?,
                None if print_bytes(&piece)? => {}
                None => return Ok(Exit::Done),
            }
        }
        self.tell(&counter, is_stdout)?;
        Ok(Exit::Done)
    }

    pub(super) fn question(&self) -> Ask {
        let ask = Ask::new(Method::POST, &["tenants", &self.tenant, "capture"]);
        let ask = ask.query("limit", &self.limit.to_string()).query("seconds", &self.seconds.to_string());
        let ask = match self.snaplen {
            Some(bytes) => ask.query("snaplen", &bytes.to_string()),
            None if self.payload => ask.query("payload", "true"),
            None => ask,
        };
        match &self.reason {
            Some(reason) => ask.query("reason", reason),
            None => ask,
        }
    }

    fn tell(&self, counter: &Counter, is_stdout: bool) -> anyhow::Result<()> {
        let lost = counter.lost.unwrap_or(0);
        if self.client.json && !is_stdout {
            return print_json(&serde_json::json!({"frames": counter.frames, "packets_lost": lost}));
        }
        let place = self.output.display();
        let (frames, lost) = (counted(counter.frames, "frame"), counted(lost, "packet"));
        if is_stdout {
            eprintln!("{frames}; {lost} lost");
            return Ok(());
        }
        print(&format!("{place}: {frames}; {lost} lost\n"))
    }
}

fn create(path: &Path) -> anyhow::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(FILE_MODE)
        .open(path)
        .with_context(|| cannot_write(path))
}

fn cannot_write(path: &Path) -> String {
    format!("cannot write {}", path.display())
}
