//! A download that is under way for as long as it has to be: slow until it is released, then as fast as it goes.

use std::{
    io::{self, Read, Write as _},
    net::SocketAddrV4,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use nix::sys::socket::{setsockopt, sockopt::RcvBuf};

use super::Digest;
use crate::{netns::Namespace, servers::Nginx};

/// Between two reads: with [`PART`] at most 3.3 MB/s, so that [`LENGTH`] lasts 40 seconds if it must.
const PACE: Duration = Duration::from_millis(5);
/// Of a read.
const PART: usize = 16 << 10;
/// Of the file.
const LENGTH: u64 = 128 << 20;
/// So little that bytes which arrive have passed the gateway a moment ago.
const RECEIVE_BUFFER: usize = 128 << 10;
/// Of its name.
const FILE: &str = "long";
/// For connecting and each read.
const LIMIT: Duration = Duration::from_secs(10);

/// What is to be downloaded again and again.
#[derive(Debug, Clone, Copy)]
pub struct LongFile {
    sum: Digest,
}

impl LongFile {
    /// Makes the file on a server.
    pub fn add(server: &Nginx, seed: u64) -> Self {
        Self { sum: Digest::of_file(&server.add_file(FILE, LENGTH, seed)) }
    }
}

/// Gives the sum and the length of what came.
type Reader = JoinHandle<io::Result<(Digest, u64)>>;

/// A running download. Dropped, it goes on to its end, unobserved.
#[derive(Debug)]
pub struct PacedDownload {
    what: String,
    expected: Digest,
    received: Arc<AtomicU64>,
    running: Option<(Sender<()>, Reader)>,
}

impl PacedDownload {
    /// Starts it.
    pub fn start(from: &Namespace, target: SocketAddrV4, file: &LongFile) -> Result<Self, String> {
        let what = format!("download of {} from {target}", from.role());
        let mut stream = from.connect(None, target, LIMIT).map_err(|error| format!("{what}: {error}"))?;
        setsockopt(&stream, RcvBuf, &RECEIVE_BUFFER).expect("a receive buffer can be limited");
        let request = format!("GET /{FILE} HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).map_err(|error| format!("{what}: {error}"))?;
        let received = Arc::new(AtomicU64::new(0));
        let (counter, (release, released)) = (Arc::clone(&received), mpsc::channel());
        let body = move || {
            skip_head(&mut stream)?;
            let paced = Paced { reader: stream, released, is_released: false };
            let count = |bytes| {
                counter.fetch_add(bytes, Ordering::Relaxed);
            };
            Digest::of(paced, count)
        };
        let thread = thread::Builder::new().name("lab-download".to_owned()).spawn(body);
        let running = Some((release, thread.expect("start a thread")));
        Ok(Self { what, expected: file.sum, received, running })
    }

    /// What it is, in words.
    pub fn name(&self) -> &str {
        &self.what
    }

    /// Bytes so far.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// False once there is nothing left to receive.
    pub fn is_under_way(&self) -> bool {
        self.running.as_ref().is_some_and(|(_, thread)| !thread.is_finished())
    }

    /// Lets it run to its end, and compares what came.
    pub fn finish(mut self) -> Result<(), String> {
        let (release, thread) = self.running.take().expect("a download finishes once");
        drop(release);
        let done = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let (sum, length) =
            done.map_err(|error| format!("{} after {} bytes: {error}", self.what, self.received()))?;
        if sum == self.expected {
            Ok(())
        } else {
            Err(format!("{}: SHA-256 of {length} bytes is {sum:?}, sent was {:?}", self.what, self.expected))
        }
    }
}

/// Up to the empty line. One byte a call: the body must not be touched.
fn skip_head(stream: &mut impl Read) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    if head.starts_with(b"HTTP/1.1 200 ") {
        Ok(())
    } else {
        Err(io::Error::other(format!("answer {}", String::from_utf8_lossy(&head))))
    }
}

/// Gives small parts at intervals until it is released.
struct Paced<R> {
    reader: R,
    released: Receiver<()>,
    is_released: bool,
}

impl<R: Read> Read for Paced<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.is_released =
            self.is_released || self.released.recv_timeout(PACE) == Err(RecvTimeoutError::Disconnected);
        let length = if self.is_released { buffer.len() } else { buffer.len().min(PART) };
        self.reader.read(&mut buffer[..length])
    }
}
