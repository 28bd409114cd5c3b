//! A TCP connection that stays open between two questions: what must survive everything that happens to the daemon.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddrV4, TcpStream},
    time::Duration,
};

use crate::{lab::Lab, netns::Namespace, servers::WhoAmI, world::NPCI, world::World};

/// For connecting and each answer: some retransmissions (0.2, 0.4, 0.8, 1.6 s), and a busy machine.
const LIMIT: Duration = Duration::from_secs(8);

/// An HTTP connection with keep-alive.
#[derive(Debug)]
pub struct Conversation {
    what: String,
    server: String,
    client: Ipv4Addr,
    stream: BufReader<TcpStream>,
}

impl Conversation {
    /// Connects, and asks once. `server` is who must answer, and `client` whom it must see.
    pub fn open(
        from: &Namespace,
        target: SocketAddrV4,
        server: &str,
        client: Ipv4Addr,
    ) -> Result<Self, String> {
        let what = format!("connection of {} to {target}", from.role());
        let stream = from.connect(None, target, LIMIT).map_err(|error| format!("{what}: {error}"))?;
        let stream = BufReader::new(stream);
        let mut conversation = Self { what, server: server.to_owned(), client, stream };
        conversation.ask()?;
        Ok(conversation)
    }

    /// One question and its answer.
    pub fn ask(&mut self) -> Result<(), String> {
        let body = self.exchange().map_err(|error| format!("{}: {error}", self.what))?;
        let who = WhoAmI::parse(&body).ok_or_else(|| format!("{}: answer {body:?}", self.what))?;
        if who.name == self.server && who.remote_addr == self.client {
            Ok(())
        } else {
            Err(format!("{}: {} saw {}", self.what, who.name, who.remote_addr))
        }
    }

    fn exchange(&mut self) -> std::io::Result<String> {
        self.stream.get_mut().write_all(b"GET /whoami HTTP/1.1\r\nHost: lab\r\n\r\n")?;
        let mut body = vec![0; self.content_length()?];
        self.stream.read_exact(&mut body)?;
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    /// Reads the head of an answer.
    fn content_length(&mut self) -> std::io::Result<usize> {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line)? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            match line.trim_end().split_once(": ") {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = value.parse().unwrap_or(0);
                }
                None if line.trim_end().is_empty() => return Ok(length),
                _ => {}
            }
        }
    }
}

/// One connection of each kind for each of these tenants: from NPCI, to NPCI's address, to the mapped port.
pub fn of_each_kind(lab: &Lab, world: &World<'_>, tenants: &[usize]) -> Result<Vec<Conversation>, String> {
    let mut open = Vec::new();
    for number in tenants {
        let tenant = lab.tenant(*number);
        let plan = &tenant.plan;
        open.push(Conversation::open(&lab.npci, world.web(*number), &plan.name, plan.nat_ip)?);
        for target in [lab.plan.npci_endpoint(), world.mapped(*number)] {
            open.push(Conversation::open(&tenant.namespace, target, NPCI, lab.plan.egress_vip)?);
        }
    }
    Ok(open)
}
