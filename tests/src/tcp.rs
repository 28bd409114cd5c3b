//! TCP connections from a chosen address, and what the kernel knows about them.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::sys::socket::sockopt::{IpBindAddressNoPort, ReceiveTimeout, SendTimeout};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, setsockopt, socket};
use nix::sys::time::TimeVal;

use crate::netns::Namespace;

impl Namespace {
    /// Connects from inside the namespace; `limit` also bounds every later read and write.
    pub fn connect(
        &self,
        source: Option<Ipv4Addr>,
        target: SocketAddrV4,
        limit: Duration,
    ) -> io::Result<TcpStream> {
        self.enter(|| connect_here(source, target, limit))
    }

    /// Listens inside the namespace.
    #[track_caller]
    pub fn listen(&self, address: SocketAddrV4) -> TcpListener {
        self.enter(|| TcpListener::bind(address))
            .unwrap_or_else(|error| panic!("listen on {address} in {}: {error}", self.role()))
    }
}

/// Connects in the calling thread's namespace. The standard library can't bind a socket before it connects.
pub fn connect_here(
    source: Option<Ipv4Addr>,
    target: SocketAddrV4,
    limit: Duration,
) -> io::Result<TcpStream> {
    connect_with(source.map(|address| SocketAddrV4::new(address, 0)), target, limit)
}

/// The same from a port of the caller's choice.
pub fn connect_from(source: SocketAddrV4, target: SocketAddrV4, limit: Duration) -> io::Result<TcpStream> {
    connect_with(Some(source), target, limit)
}

fn connect_with(
    source: Option<SocketAddrV4>,
    target: SocketAddrV4,
    limit: Duration,
) -> io::Result<TcpStream> {
    let fd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    // On Linux the send timeout bounds connect as well (socket(7)).
    let timeout =
        TimeVal::new(i64::try_from(limit.as_secs()).unwrap_or(i64::MAX), i64::from(limit.subsec_micros()));
    setsockopt(&fd, SendTimeout, &timeout)?;
    setsockopt(&fd, ReceiveTimeout, &timeout)?;
    if let Some(source) = source {
        // Port 0 is chosen at connect, by the whole tuple: else 28,000 connections exhaust the ports.
        setsockopt(&fd, IpBindAddressNoPort, &true)?;
        bind(fd.as_raw_fd(), &SockaddrIn::from(source))?;
    }
    connect(fd.as_raw_fd(), &SockaddrIn::from(target))?;
    Ok(TcpStream::from(fd))
}
