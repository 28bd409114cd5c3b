//! So many frames a second on one interface, come what may: a sender who does not care for answers.

use std::{
    net::Ipv4Addr,
    sync::mpsc::{self, Receiver, RecvTimeoutError, Sender},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::{
    netns::Namespace,
    packet::{Mac, Packet, TcpFlags},
    raw::RawSocket,
    seed::Random,
};

/// Between two looks at the clock, when nothing is due.
const TICK: Duration = Duration::from_millis(1);
/// Frames in one system call.
const BATCH: usize = 64;
/// Shares of a second: what has been due for longer is left out, so that a pause is not made up for by more than the rate.
const LATEST: u64 = 10;
/// IEEE 802 local experimental `EtherType` 2, which nobody sends: the socket receives nothing.
const UNUSED_ETHERTYPE: u16 = 0x88b6;

/// A flood that goes on until it is stopped.
#[derive(Debug)]
pub struct Flood {
    stop: Sender<()>,
    thread: JoinHandle<Sent>,
}

/// What was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// Frames that the other end has taken.
    pub frames: u64,
    /// From the first to the last of them.
    pub lasted: Duration,
}

impl Sent {
    /// Frames a second.
    #[expect(clippy::cast_precision_loss, reason = "a rate, for people")]
    pub fn rate(&self) -> f64 {
        self.frames as f64 / self.lasted.as_secs_f64()
    }
}

impl Flood {
    /// Sends these frames in turn, again and again.
    #[track_caller]
    pub fn start(from: &Namespace, interface: &str, frames: Vec<Vec<u8>>, per_second: u64) -> Self {
        let socket = RawSocket::open_for(from, interface, UNUSED_ETHERTYPE);
        let (stop, stopped) = mpsc::channel();
        let thread = thread::Builder::new().name("lab-flood".to_owned());
        let work = move || send(&socket, &frames, per_second, &stopped);
        Self { stop, thread: thread.spawn(work).expect("start a thread") }
    }

    /// Sends no more.
    pub fn stop(self) -> Sent {
        drop(self.stop);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

fn send(socket: &RawSocket, frames: &[Vec<u8>], per_second: u64, stopped: &Receiver<()>) -> Sent {
    let (begin, mut turn, mut sent) = (Instant::now(), 0, 0);
    loop {
        let due = due(begin.elapsed(), per_second);
        turn = turn.max(due.saturating_sub(per_second / LATEST));
        let rest = if turn < due { Duration::ZERO } else { TICK };
        if stopped.recv_timeout(rest) == Err(RecvTimeoutError::Disconnected) {
            return Sent { frames: sent, lasted: begin.elapsed() };
        }
        let batch = batch(frames, turn, due);
        sent += socket.send_some(batch) as u64;
        turn += batch.len() as u64;
    }
}

/// How many frames have been due after some time.
fn due(elapsed: Duration, per_second: u64) -> u64 {
    let due = elapsed.as_nanos() * u128::from(per_second) / Duration::from_secs(1).as_nanos();
    u64::try_from(due).unwrap_or(u64::MAX)
}

/// The next frames that are due, without going round.
fn batch(frames: &[Vec<u8>], turn: u64, due: u64) -> &[Vec<u8>] {
    let first = usize::try_from(turn % frames.len() as u64).expect("less than there are frames");
    let due = usize::try_from(due.saturating_sub(turn)).unwrap_or(usize::MAX);
    &frames[first..first + due.min(BATCH).min(frames.len() - first)]
}

/// Frames of a flood, from a host with one link-layer address to another.
#[derive(Debug, Clone, Copy)]
pub struct Aimed {
    /// Of the sender.
    pub from: Mac,
    /// Of the victim.
    pub to: Mac,
}

impl Aimed {
    /// First packets of TCP connections to any port that `port` names, from any host of 198.18.0.0/15 (RFC 2544).
    pub fn syns(
        self,
        count: usize,
        to: Ipv4Addr,
        random: &mut Random,
        mut port: impl FnMut(&mut Random) -> u16,
    ) -> Vec<Vec<u8>> {
        let one = || {
            let bits = random.next_u64().to_le_bytes();
            let from = Ipv4Addr::new(198, 18 + bits[0] % 2, bits[1], bits[2]);
            let from_port = u16::from_le_bytes([bits[3], bits[4]]).max(1024);
            let seq = u32::from_le_bytes([bits[5], bits[6], bits[7], bits[0]]);
            let packet = Packet::tcp((from, from_port), (to, port(random))).flags(TcpFlags::SYN);
            packet.numbers(seq, 0).mss(1460).macs(self.from, self.to).build()
        };
        std::iter::repeat_with(one).take(count).collect()
    }

    /// Random bytes: every other one after the type of IPv4, the others after a random one.
    pub fn garbage(self, count: usize, random: &mut Random) -> Vec<Vec<u8>> {
        let one = |number: usize| {
            let length = usize::try_from(46 + random.below(400)).expect("small");
            let mut frame = [self.to.0, self.from.0].concat();
            frame.extend(if number.is_multiple_of(2) { vec![0x08, 0x00] } else { random.bytes(2) });
            frame.extend(random.bytes(length));
            frame
        };
        (0..count).map(one).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::Frame;

    const AIMED: Aimed = Aimed { from: Mac([2, 0, 0, 0, 0, 1]), to: Mac([2, 0, 0, 0, 0, 2]) };

    #[test]
    fn a_batch_is_what_is_due_and_does_not_go_round() {
        let frames: Vec<Vec<u8>> = (0..100).map(|number| vec![number]).collect();
        assert_eq!(batch(&frames, 0, 3), &frames[..3]);
        assert_eq!(batch(&frames, 0, 1_000), &frames[..BATCH]);
        assert_eq!(batch(&frames, 190, 1_000), &frames[90..]);
        assert!(batch(&frames, 5, 5).is_empty() && batch(&frames, 9, 5).is_empty());
        assert_eq!(due(Duration::from_millis(1_500), 100_000), 150_000);
    }

    #[test]
    fn spoofed_connections_are_right_and_from_many() {
        let to = Ipv4Addr::new(192, 0, 2, 10);
        let frames = AIMED.syns(200, to, &mut Random::with_seed(1), |_| 8441);
        let mut sources: Vec<Ipv4Addr> = Vec::new();
        for frame in &frames {
            let frame = Frame::parse(frame).expect("a whole frame");
            assert!(
                frame.bad_checksums.is_empty() && frame.endpoints().is_some_and(|(_, to)| to.port() == 8441)
            );
            let ip = frame.ipv4().expect("it is IPv4");
            assert!(ip.dst == to && ip.src.octets()[0] == 198 && [18, 19].contains(&ip.src.octets()[1]));
            sources.push(ip.src);
        }
        sources.sort();
        sources.dedup();
        assert!(sources.len() > 190, "{}", sources.len());
    }

    #[test]
    fn garbage_is_aimed_and_half_of_it_pretends_to_be_ipv4() {
        let frames = AIMED.garbage(100, &mut Random::with_seed(1));
        assert!(frames.iter().all(|frame| frame.len() >= 60 && frame[..6] == AIMED.to.0));
        assert!(frames.iter().filter(|frame| frame[12..14] == [8, 0]).count() >= 50);
    }
}
