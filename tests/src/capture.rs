//! Recording what passes an interface, exactly.
//!
//! A packet socket of our own rather than tcpdump, for one reason: the end. tcpdump has to be given time to
//! drain its ring; here [`Capture::stop`] first sends markers through the veth ([`crate::fence`]), then
//! drains the socket, so that every frame sent before `stop` is in the recording, and a frame that is not
//! there was not sent. Lost frames are a panic, not a gap. The file is ordinary pcap for tcpdump and
//! Wireshark.
//!
//! Capture at the far ends (NPCI, tenants): XDP on the gateway's ends hides frames from packet sockets.
//! Frames from a sender with checksum offload (TC mode leaves it on) carry half-done transport checksums;
//! [`Recording::assert_checksums`] accepts that for frames which the kernel itself marks as pending, and
//! nowhere else. In XDP mode the far ends have offload off but GRO on (XDP needs it): segments that GRO
//! merged on arrival are pending too, after it verified each of them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::fence::{self, Fence};
use crate::netns::Namespace;
use crate::packet::{ChecksumOf, ETHERTYPE_IPV4, ETHERTYPE_VLAN, Frame};
use crate::pcap::PcapWriter;
use crate::raw::{Direction, RawSocket, Received};
use crate::session::Session;
use crate::stop::{StopHandle, Wake, stop_pair};

/// Enough for Ethernet, a VLAN tag and the longest IP and TCP headers.
const HEADERS: usize = 14 + 4 + 60 + 60;
/// Larger than any GSO packet.
const READ_BUFFER: usize = 66_000;

/// How much of each frame is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Keep {
    /// All of it.
    #[default]
    Whole,
    /// The headers, for transfers of gigabytes. Such frames can't be parsed and verified, only summarised.
    Headers,
}

/// A running capture.
#[derive(Debug)]
pub struct Capture {
    session: Arc<Session>,
    path: PathBuf,
    fence: Option<Fence>,
    running: Option<(StopHandle, JoinHandle<Reader>)>,
}

impl Capture {
    /// Starts on an interface. Frames on their way while `stop` is called may be missed; see
    /// [`Capture::start_fenced`].
    pub fn start(namespace: &Namespace, interface: &str) -> Self {
        Self::start_with(namespace, interface, Keep::Whole, None)
    }

    /// Starts on a veth whose other end is known, so that `stop` is exact.
    pub fn start_fenced(
        namespace: &Namespace,
        interface: &str,
        other_end: (&Namespace, &str),
        keep: Keep,
    ) -> Self {
        let fence = Fence::between(other_end, (namespace, interface));
        Self::start_with(namespace, interface, keep, Some(fence))
    }

    fn start_with(namespace: &Namespace, interface: &str, keep: Keep, fence: Option<Fence>) -> Self {
        let session = Arc::clone(namespace.session());
        let path = free_path(&session, &format!("{}-{interface}", namespace.role()));
        let file =
            PcapWriter::create(&path).unwrap_or_else(|error| panic!("create {}: {error}", path.display()));
        let socket = RawSocket::open(namespace, interface);
        let (handle, signal) = stop_pair();
        let mut reader = Reader { socket, file, keep, packets: Vec::new() };
        let thread = thread::Builder::new().name("lab-capture".to_owned()).spawn(move || {
            while signal.wait(&reader.socket) == Wake::Readable {
                reader.drain();
            }
            reader.drain();
            reader
        });
        let thread = thread.expect("start a capture thread");
        Self { session, path, fence, running: Some((handle, thread)) }
    }

    /// The capture file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Ends the capture with everything that was sent before. Panics when a frame was lost for lack of
    /// memory.
    #[track_caller]
    pub fn stop(mut self) -> Recording {
        if let Some(fence) = &self.fence {
            fence.cross();
        }
        let reader = self.end().expect("a capture ends once");
        let dropped = reader.socket.dropped();
        assert_eq!(
            dropped,
            0,
            "the capture {} lost {dropped} frames: use Keep::Headers",
            self.path.display()
        );
        Recording { packets: reader.packets }
    }

    fn end(&mut self) -> Option<Reader> {
        let (handle, thread) = self.running.take()?;
        drop(handle);
        Some(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        if let Some((handle, thread)) = self.running.take() {
            drop(handle);
            // Its panic, if any, was printed by its own thread.
            let _ = thread.join();
        }
        if thread::panicking() {
            self.session.keep();
        }
    }
}

/// `<name>.<number>.pcap` with the first free number.
fn free_path(session: &Session, name: &str) -> PathBuf {
    let candidate = |run: u32| session.path(&format!("{name}.{run}.pcap"));
    (1..u32::MAX).map(candidate).find(|path| !path.exists()).expect("some number is free")
}

/// What the capture thread works with.
#[derive(Debug)]
struct Reader {
    socket: RawSocket,
    file: PcapWriter<std::io::BufWriter<std::fs::File>>,
    keep: Keep,
    packets: Vec<Captured>,
}

impl Reader {
    /// Takes all that is there and hands the file to the operating system.
    fn drain(&mut self) {
        let mut buffer = vec![0; READ_BUFFER];
        while let Some(received) = self.socket.try_receive_into(&mut buffer) {
            if !fence::is_marker(&received.bytes) {
                self.record(received);
            }
        }
        self.file.flush().expect("write the capture file");
    }

    fn record(&mut self, received: Received) {
        let packet = Captured::new(received, self.keep);
        self.file.write(packet.time, &packet.bytes, packet.length).expect("write the capture file");
        self.packets.push(packet);
    }
}

/// One captured frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Captured {
    /// Since 1970.
    pub time: Duration,
    /// Seen from the namespace.
    pub direction: Direction,
    /// The sender's offload left the transport checksum half-done.
    pub checksum_pending: bool,
    /// On the wire, in bytes.
    pub length: usize,
    /// What was kept of it.
    pub bytes: Vec<u8>,
}

impl Captured {
    fn new(received: Received, keep: Keep) -> Self {
        let Received { time, direction, checksum_pending, mut bytes } = received;
        let length = bytes.len();
        if keep == Keep::Headers {
            bytes.truncate(HEADERS);
            bytes.shrink_to_fit();
        }
        Self { time, direction, checksum_pending, length, bytes }
    }

    /// The parsed frame. Panics when it contradicts itself, since no test expects a broken frame on a far
    /// end.
    #[track_caller]
    pub fn frame(&self) -> Frame {
        Frame::parse(&self.bytes).unwrap_or_else(|error| panic!("{error}: {self:02x?}"))
    }

    /// Source and destination when it is IPv4, read without judging the rest.
    pub fn addresses(&self) -> Option<(Ipv4Addr, Ipv4Addr)> {
        let ethertype =
            |at: usize| self.bytes.get(at..at + 2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
        let start = match ethertype(12)? {
            ETHERTYPE_IPV4 => 14,
            ETHERTYPE_VLAN if ethertype(16)? == ETHERTYPE_IPV4 => 18,
            _ => return None,
        };
        let address = |at: usize| self.bytes.get(at..)?.first_chunk::<4>().copied().map(Ipv4Addr::from);
        Some((address(start + 12)?, address(start + 16)?))
    }

    /// Is it the first packet of a TCP connection (SYN without ACK)? Read without judging the rest; false for a tagged
    /// frame.
    pub fn opens_tcp(&self) -> bool {
        const SYN: u8 = 0x02;
        const ACK: u8 = 0x10;
        let byte = |at: usize| self.bytes.get(at).copied().unwrap_or(0);
        let is_ipv4 = self.bytes.get(12..14) == Some(&ETHERTYPE_IPV4.to_be_bytes());
        let header = usize::from(byte(14) & 0x0f) * 4;
        is_ipv4 && byte(23) == 6 && byte(14 + header + 13) & (SYN | ACK) == SYN
    }

    /// Wrong checksums, apart from those that offload has yet to finish.
    fn wrong_checksums(&self) -> Vec<crate::packet::BadChecksum> {
        let mut bad = self.frame().bad_checksums;
        let pending = |bad: &crate::packet::BadChecksum| {
            self.checksum_pending && bad.partial && matches!(bad.of, ChecksumOf::Tcp | ChecksumOf::Udp)
        };
        bad.retain(|bad| !pending(bad));
        bad
    }
}

/// A finished capture.
#[derive(Debug, Clone, Default)]
pub struct Recording {
    /// In the order in which the interface saw them.
    pub packets: Vec<Captured>,
}

impl Recording {
    /// All frames, parsed.
    #[track_caller]
    pub fn frames(&self) -> Vec<Frame> {
        self.packets.iter().map(Captured::frame).collect()
    }

    /// Only the frames that went one way.
    #[must_use]
    pub fn going(&self, direction: Direction) -> Self {
        self.only(|packet| packet.direction == direction)
    }

    /// Only some frames.
    #[must_use]
    pub fn only(&self, keep: impl Fn(&Captured) -> bool) -> Self {
        Self { packets: self.packets.iter().filter(|packet| keep(packet)).cloned().collect() }
    }

    /// Every (source, destination) of IPv4 unicast seen, so neither ARP nor broadcast nor multicast.
    pub fn address_pairs(&self) -> BTreeSet<(Ipv4Addr, Ipv4Addr)> {
        self.pair_counts().into_keys().collect()
    }

    /// The same with the number of frames of each.
    pub fn pair_counts(&self) -> BTreeMap<(Ipv4Addr, Ipv4Addr), usize> {
        let unicast = |(_, dst): &(Ipv4Addr, Ipv4Addr)| !dst.is_multicast() && !dst.is_broadcast();
        let mut counts = BTreeMap::new();
        for pair in self.packets.iter().filter_map(Captured::addresses).filter(unicast) {
            *counts.entry(pair).or_default() += 1;
        }
        counts
    }

    /// Every address that appears as a source or a destination of IPv4 unicast.
    pub fn addresses(&self) -> BTreeSet<Ipv4Addr> {
        self.address_pairs().into_iter().flat_map(|(src, dst)| [src, dst]).collect()
    }

    /// Panics unless every checksum of every frame is right or marked by the kernel as pending.
    #[track_caller]
    pub fn assert_checksums(&self) {
        for packet in &self.packets {
            let bad = packet.wrong_checksums();
            assert!(bad.is_empty(), "bad checksums {bad:?} in {packet:02x?}");
        }
    }

    /// Panics unless every checksum is right on the wire: for frames sent with offload off (XDP modes).
    #[track_caller]
    pub fn assert_checksums_strictly(&self) {
        self.packets.iter().for_each(|packet| packet.frame().assert_checksums());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{Packet, TcpFlags};

    #[test]
    fn only_the_first_packet_opens_a_connection() {
        let end = |host| std::net::SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, host), 443);
        let opens = |packet: Packet| {
            let bytes = packet.build();
            let (time, length) = (Duration::ZERO, bytes.len());
            Captured { time, direction: Direction::In, checksum_pending: false, length, bytes }.opens_tcp()
        };
        assert!(opens(Packet::tcp(end(1), end(2)).flags(TcpFlags::SYN)));
        assert!(opens(Packet::tcp(end(1), end(2)).flags(TcpFlags::SYN).ip_options(&[1; 4])));
        assert!(!opens(Packet::tcp(end(1), end(2)).flags(TcpFlags::SYN | TcpFlags::ACK)));
        assert!(!opens(Packet::tcp(end(1), end(2)).flags(TcpFlags::ACK)));
        assert!(!opens(Packet::udp(end(1), end(2))));
    }
}
