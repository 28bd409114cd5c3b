//! Sending whole IP packets from addresses that stand on no interface.

use std::{
    io,
    os::fd::{AsRawFd as _, OwnedFd},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use gateway_common::abi::Addr;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, sendto, socket,
};

use super::pace::Pace;

/// Probes a second: some percent of what one CPU can send, and few enough for anybody's network. 12,500 connections a
/// second, at four probes each.
const PROBES_PER_SECOND: u32 = 50_000;

/// A raw socket of the network namespace that it was opened in. What it sends takes the kernel's routes, and passes none of
/// the gateway's programs: they look at what comes in.
#[derive(Debug)]
pub struct Injector {
    socket: OwnedFd,
    /// Shared by all that end flows at the same time.
    pace: Mutex<Pace>,
}

impl Injector {
    /// Opens the socket; needs `CAP_NET_RAW`.
    ///
    /// # Errors
    ///
    /// What the kernel says, usually that the capability is missing.
    pub fn open() -> io::Result<Self> {
        // `IPPROTO_RAW` means that headers are given (raw(7)).
        let (flags, protocol) = (SockFlag::SOCK_CLOEXEC, SockProtocol::Raw);
        let socket = socket(AddressFamily::Inet, SockType::Raw, flags, protocol)?;
        Ok(Self { socket, pace: Mutex::new(Pace::new(PROBES_PER_SECOND, Instant::now())) })
    }

    /// How long the next packet has to wait.
    pub(super) fn wait(&self) -> Duration {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner).next(Instant::now())
    }

    /// Sends a packet that begins with its IP header.
    ///
    /// # Errors
    ///
    /// What the kernel says: no route, no answer from the next hop, a full queue.
    pub fn send(&self, packet: &[u8], to: Addr) -> io::Result<()> {
        let [a, b, c, d] = to.octets();
        sendto(self.socket.as_raw_fd(), packet, &SockaddrIn::new(a, b, c, d, 0), MsgFlags::empty())?;
        Ok(())
    }
}
