//! Sending whole IP packets from addresses that stand on no interface.

use std::{
    io,
    os::fd::{AsRawFd as _, OwnedFd},
};

use gateway_common::abi::Addr;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, sendto, socket,
};

/// A raw socket of the network namespace that it was opened in. What it sends takes the kernel's routes, and passes none of
/// the gateway's programs: they look at what comes in.
#[derive(Debug)]
pub struct Injector {
    socket: OwnedFd,
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
        Ok(Self { socket: socket(AddressFamily::Inet, SockType::Raw, flags, protocol)? })
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
