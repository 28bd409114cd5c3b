//! A UDP server that says who it is.

use std::io;
use std::net::{SocketAddrV4, UdpSocket};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::netns::Namespace;
use crate::stop::{StopHandle, StopSignal, Wake, stop_pair};

/// Largest datagram.
const LARGEST: usize = 65_535;

/// Answers each datagram with `<name> <datagram>`, from the address that it was sent to. Drop stops it.
#[derive(Debug)]
pub struct UdpEcho {
    running: Option<(StopHandle, JoinHandle<()>)>,
}

impl UdpEcho {
    /// Binds in the namespace before it returns, so nothing has to be awaited.
    #[track_caller]
    pub fn start(namespace: &Namespace, name: &str, address: SocketAddrV4) -> Self {
        let socket = namespace
            .enter(|| UdpSocket::bind(address))
            .unwrap_or_else(|error| panic!("bind {address} in {}: {error}", namespace.role()));
        socket.set_nonblocking(true).expect("a socket can be made non-blocking");
        let (handle, signal) = stop_pair();
        let prefix = format!("{name} ");
        let thread = thread::Builder::new().name("lab-udp-echo".to_owned());
        let thread =
            thread.spawn(move || serve(&socket, &signal, prefix.as_bytes())).expect("start a server thread");
        Self { running: Some((handle, thread)) }
    }
}

impl Drop for UdpEcho {
    fn drop(&mut self) {
        if let Some((handle, thread)) = self.running.take() {
            drop(handle);
            // Its panic, if any, was printed by its own thread.
            let _ = thread.join();
        }
    }
}

fn serve(socket: &UdpSocket, stop: &StopSignal, prefix: &[u8]) {
    let mut buffer = vec![0; LARGEST];
    while stop.wait(socket) == Wake::Readable {
        match socket.recv_from(&mut buffer) {
            // An answer that can't be sent is a lost datagram, which the asker notices.
            Ok((length, peer)) => drop(socket.send_to(&[prefix, &buffer[..length]].concat(), peer)),
            // ICMP errors about earlier answers are reported here too.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => {}
        }
    }
}

/// Sends one datagram from a namespace and returns the answer, or `None` when `limit` passes without one.
pub fn ask_udp(
    namespace: &Namespace,
    target: SocketAddrV4,
    question: &str,
    limit: Duration,
) -> Option<String> {
    let socket = namespace.enter(|| UdpSocket::bind("0.0.0.0:0")).expect("bind any port");
    socket.connect(target).unwrap_or_else(|error| panic!("connect UDP to {target}: {error}"));
    socket.set_read_timeout(Some(limit)).expect("the limit is not zero");
    socket.send(question.as_bytes()).unwrap_or_else(|error| panic!("send UDP to {target}: {error}"));
    let mut buffer = vec![0; LARGEST];
    let length = socket.recv(&mut buffer).ok()?;
    Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
}
