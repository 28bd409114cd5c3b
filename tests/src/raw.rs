//! A packet socket (packet(7)) on one interface: sends frames as they are and receives all that pass.
//!
//! What it sees on a veth: frames that arrive, after XDP and before TC ingress; frames that leave, after TC
//! egress. Frames that XDP redirects out of an interface pass it unseen, so look at the far end. A sender
//! with checksum offload hands over frames whose transport checksum is half-done; the kernel says which ones
//! ([`Received::checksum_pending`]).

use std::io::IoSliceMut;
use std::mem::size_of;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use nix::net::if_::if_nametoindex;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::sockopt::{RcvBufForce, ReceiveTimestampns};
use nix::sys::socket::{
    ControlMessageOwned, LinkAddr, MsgFlags, RecvMsg, SockaddrLike, bind, recvmsg, send, setsockopt,
};

use crate::netns::Namespace;
use crate::packet::{ETHERTYPE_VLAN, Frame};

/// Which way a frame passed the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// Into the namespace.
    In,
    /// Out of the namespace.
    Out,
}

/// A frame with what the kernel said about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// Since 1970, by the kernel's clock.
    pub time: Duration,
    /// Which way it went.
    pub direction: Direction,
    /// The transport checksum was left for a device to finish (offload).
    pub checksum_pending: bool,
    /// From the Ethernet header on; a VLAN tag that the kernel keeps apart is put back.
    pub bytes: Vec<u8>,
}

/// Every protocol.
pub const ALL_PROTOCOLS: u16 = 0x0003;

/// Larger than any GSO packet (65,535 bytes and an Ethernet header).
const LARGEST_FRAME: usize = 66_000;
/// Enough for some ten thousand frames while the reader has no CPU; only used when needed.
const RECEIVE_BUFFER: usize = 128 << 20;

/// The socket.
#[derive(Debug)]
pub struct RawSocket {
    fd: OwnedFd,
    interface: String,
}

impl RawSocket {
    /// Opens it on an interface of a namespace, for all protocols.
    #[track_caller]
    pub fn open(namespace: &Namespace, interface: &str) -> Self {
        Self::open_for(namespace, interface, ALL_PROTOCOLS)
    }

    /// Opens it for one `EtherType`.
    #[track_caller]
    pub fn open_for(namespace: &Namespace, interface: &str, ethertype: u16) -> Self {
        let fd = namespace
            .enter(|| open_in_this_namespace(interface, ethertype))
            .unwrap_or_else(|error| panic!("packet socket on {interface} of {}: {error}", namespace.role()));
        Self { fd, interface: interface.to_owned() }
    }

    /// Sends one frame as it is.
    #[track_caller]
    pub fn send(&self, frame: &[u8]) {
        if let Err(error) = send(self.fd.as_raw_fd(), frame, MsgFlags::empty()) {
            panic!("send {} bytes on {}: {error}", frame.len(), self.interface);
        }
    }

    /// Sends frames in one system call, and returns how many were taken: none where the other end has no room.
    #[track_caller]
    pub fn send_some(&self, frames: &[Vec<u8>]) -> usize {
        let mut parts: Vec<libc::iovec> = frames.iter().map(|frame| part_of(frame)).collect();
        let mut messages: Vec<libc::mmsghdr> = parts.iter_mut().map(message_of).collect();
        let count = libc::c_uint::try_from(messages.len()).expect("few frames at once");
        // SAFETY: each message points to one part, each part to a frame; all three live until the call returns, and the
        // kernel only reads the frames.
        let taken = unsafe { libc::sendmmsg(self.fd.as_raw_fd(), messages.as_mut_ptr(), count, 0) };
        match Errno::result(taken) {
            Ok(taken) => usize::try_from(taken).expect("not negative"),
            Err(Errno::ENOBUFS | Errno::EAGAIN | Errno::EINTR) => 0,
            Err(error) => panic!("send {count} frames on {}: {error}", self.interface),
        }
    }

    /// The next frame that is already there.
    pub fn try_receive(&self) -> Option<Received> {
        let mut buffer = vec![0; LARGEST_FRAME];
        let mut received = self.try_receive_into(&mut buffer)?;
        received.bytes.shrink_to_fit();
        Some(received)
    }

    /// The same with the caller's buffer, for loops.
    pub(crate) fn try_receive_into(&self, buffer: &mut [u8]) -> Option<Received> {
        let mut control = nix::cmsg_space!(libc::timespec, libc::tpacket_auxdata);
        let mut slices = [IoSliceMut::new(buffer)];
        loop {
            match recvmsg::<LinkAddr>(
                self.fd.as_raw_fd(),
                &mut slices,
                Some(&mut control),
                MsgFlags::MSG_DONTWAIT,
            ) {
                Ok(message) => {
                    let length = message.bytes;
                    let about = About::of(&message);
                    return Some(about.received(&buffer[..length]));
                }
                // Nothing is there, or the interface went down or away and nothing will come.
                Err(Errno::EAGAIN | Errno::ENETDOWN | Errno::ENXIO) => return None,
                Err(Errno::EINTR) => {}
                Err(error) => panic!("receive on {}: {error}", self.interface),
            }
        }
    }

    /// Waits for the first frame that arrives and for which `pick` has a value; panics when `limit` has
    /// passed.
    #[track_caller]
    pub fn wait_for<T>(&self, limit: Duration, what: &str, mut pick: impl FnMut(&Frame) -> Option<T>) -> T {
        let deadline = Instant::now() + limit;
        let mut seen = 0;
        while self.wait_readable(deadline) {
            let Some(received) = self.try_receive().filter(|received| received.direction == Direction::In)
            else {
                continue;
            };
            seen += 1;
            if let Some(value) = Frame::parse(&received.bytes).ok().and_then(|frame| pick(&frame)) {
                return value;
            }
        }
        panic!("waited {limit:?} in vain for {what} on {}; {seen} other frames came", self.interface);
    }

    /// True when something is there, false when the deadline has passed.
    pub(crate) fn wait_readable(&self, deadline: Instant) -> bool {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).expect("deadlines of tests are short");
        let mut fds = [PollFd::new(self.fd.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, timeout) {
            Ok(ready) => ready > 0,
            Err(Errno::EINTR) => self.wait_readable(deadline),
            Err(error) => panic!("poll {}: {error}", self.interface),
        }
    }

    /// How many frames did not fit into the buffer since the last call.
    pub fn dropped(&self) -> u32 {
        let mut statistics = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
        let mut length = socklen_of::<libc::tpacket_stats>();
        // SAFETY: the kernel writes at most `length` bytes, the size of the structure it is given.
        let outcome = unsafe {
            libc::getsockopt(
                self.fd.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                (&raw mut statistics).cast(),
                &raw mut length,
            )
        };
        Errno::result(outcome).unwrap_or_else(|error| panic!("statistics of {}: {error}", self.interface));
        statistics.tp_drops
    }

    /// Answers an ARP request for `address` with `mac`, as a host that exists would. Returns false for other
    /// frames.
    pub fn answer_arp(&self, frame: &Frame, address: Ipv4Addr, mac: crate::packet::Mac) -> bool {
        let Some(request) = frame.arp().filter(|arp| arp.operation == 1 && arp.target == address) else {
            return false;
        };
        let mut reply = [request.sender_mac.0, mac.0].concat();
        reply.extend([0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 2]);
        reply.extend(mac.0);
        reply.extend(address.octets());
        reply.extend(request.sender_mac.0);
        reply.extend(request.sender.octets());
        self.send(&reply);
        true
    }
}

impl AsFd for RawSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Opened with protocol 0 and bound afterwards, so that it never receives from another interface in between.
fn open_in_this_namespace(interface: &str, ethertype: u16) -> nix::Result<OwnedFd> {
    // SAFETY: a plain system call; the new descriptor is owned by nobody else.
    let fd = unsafe {
        let fd = Errno::result(libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0))?;
        OwnedFd::from_raw_fd(fd)
    };
    setsockopt(&fd, RcvBufForce, &RECEIVE_BUFFER)?;
    setsockopt(&fd, ReceiveTimestampns, &true)?;
    request_auxiliary_data(&fd)?;
    bind(fd.as_raw_fd(), &link_address(if_nametoindex(interface)?, ethertype))?;
    Ok(fd)
}

/// Asks for the VLAN tag and the checksum state of each frame.
fn request_auxiliary_data(fd: &OwnedFd) -> nix::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the kernel reads the integer whose size is given.
    let outcome = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_AUXDATA,
            (&raw const on).cast(),
            socklen_of::<libc::c_int>(),
        )
    };
    Errno::result(outcome).map(drop)
}

fn link_address(index: u32, ethertype: u16) -> LinkAddr {
    let address = libc::sockaddr_ll {
        sll_family: u16::try_from(libc::AF_PACKET).expect("a small number"),
        sll_protocol: ethertype.to_be(),
        sll_ifindex: i32::try_from(index).expect("interface numbers are positive and fit"),
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    // SAFETY: the pointer is to a complete `sockaddr_ll` of the length given.
    unsafe { LinkAddr::from_raw((&raw const address).cast(), Some(socklen_of::<libc::sockaddr_ll>())) }
        .expect("the family is AF_PACKET")
}

fn socklen_of<T>() -> libc::socklen_t {
    libc::socklen_t::try_from(size_of::<T>()).expect("a small structure")
}

/// A frame as a part of a message that is sent.
fn part_of(frame: &[u8]) -> libc::iovec {
    libc::iovec { iov_base: frame.as_ptr().cast_mut().cast(), iov_len: frame.len() }
}

/// A message of one part, to whom the socket is bound.
fn message_of(part: &mut libc::iovec) -> libc::mmsghdr {
    // SAFETY: numbers and pointers, for all of which zero is a value: no address, no control data.
    let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
    (message.msg_hdr.msg_iov, message.msg_hdr.msg_iovlen) = (part, 1);
    message
}

/// What the kernel says beside the bytes.
struct About {
    time: Duration,
    direction: Direction,
    checksum_pending: bool,
    /// Tag protocol and tag.
    vlan: Option<(u16, u16)>,
}

impl About {
    fn of(message: &RecvMsg<'_, '_, LinkAddr>) -> Self {
        let outgoing = message.address.is_some_and(|address| address.pkttype() == libc::PACKET_OUTGOING);
        let direction = if outgoing { Direction::Out } else { Direction::In };
        let mut about = Self { time: Duration::ZERO, direction, checksum_pending: false, vlan: None };
        for note in message.cmsgs().expect("the control buffer is large enough") {
            match note {
                ControlMessageOwned::ScmTimestampns(time) => about.time = Duration::from(time),
                ControlMessageOwned::Unknown(other) => about.note_auxiliary(&other.data_bytes),
                _ => {}
            }
        }
        about
    }

    /// `struct tpacket_auxdata` (`linux/if_packet.h`): status, length, captured length (32 bits each), then
    /// four 16-bit fields, the last two of which are the VLAN tag and its protocol.
    fn note_auxiliary(&mut self, data: &[u8]) {
        let (Some(status), Some(tag), Some(protocol)) =
            (data.first_chunk::<4>(), data.get(16..18), data.get(18..20))
        else {
            return;
        };
        let status = u32::from_ne_bytes(*status);
        self.checksum_pending = status & libc::TP_STATUS_CSUMNOTREADY != 0;
        if status & libc::TP_STATUS_VLAN_VALID != 0 {
            let number = |bytes: &[u8]| u16::from_ne_bytes([bytes[0], bytes[1]]);
            let known = status & libc::TP_STATUS_VLAN_TPID_VALID != 0;
            self.vlan = Some((if known { number(protocol) } else { ETHERTYPE_VLAN }, number(tag)));
        }
    }

    fn received(self, frame: &[u8]) -> Received {
        let bytes = match self.vlan {
            Some((protocol, tag)) if frame.len() >= 12 => {
                [&frame[..12], &protocol.to_be_bytes(), &tag.to_be_bytes(), &frame[12..]].concat()
            }
            _ => frame.to_vec(),
        };
        Received {
            time: self.time,
            direction: self.direction,
            checksum_pending: self.checksum_pending,
            bytes,
        }
    }
}
