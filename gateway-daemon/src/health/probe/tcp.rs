//! Connecting.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};

use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::{TcpSocket, TcpStream};

use crate::health::failure::{Failure, Phase};

/// Opens a connection, from `source` if there is one.
pub async fn connect(source: Option<Ipv4Addr>, to: SocketAddrV4) -> Result<TcpStream, Failure> {
    open(source, to).await.map_err(|error| Failure::from_io(&error, Phase::Connecting))
}

async fn open(source: Option<Ipv4Addr>, to: SocketAddrV4) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    if let Some(source) = source {
        // The port is chosen when connecting: the same one can then serve checks of different backends.
        setsockopt(&socket, sockopt::IpBindAddressNoPort, &true)?;
        socket.bind(SocketAddrV4::new(source, 0).into())?;
    }
    socket.connect(to.into()).await
}

/// Lets the connection end with an RST when it is dropped, so that nothing of it stays on either side.
pub fn reset_on_close(stream: &TcpStream) -> Result<(), Failure> {
    stream.set_zero_linger().map_err(|error| Failure::from_io(&error, Phase::Connecting))
}
