//! One question and its answer on a TCP connection, without blocking the thread: what the load of the control suite
//! consists of.

use std::{
    io,
    net::{Ipv4Addr, SocketAddrV4},
    thread::{self, JoinHandle},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    runtime::{Builder, Runtime},
};

use crate::{netns::Namespace, servers::WhoAmI};

/// More than the head and the body of an answer.
const ANSWER_BYTES: usize = 2048;

/// Whom to ask, and who must answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aim {
    /// Where to connect to.
    pub address: SocketAddrV4,
    /// Name of the server that must answer.
    pub server: String,
    /// The client's address as the server must see it.
    pub seen_as: Ipv4Addr,
}

impl Aim {
    /// What is wrong with an answer, if something is.
    pub fn fault(&self, who: &WhoAmI) -> Option<String> {
        let right = who.name == self.server && who.remote_addr == self.seen_as;
        (!right).then(|| format!("{} answered for {}, to {}", who.name, self.server, who.remote_addr))
    }
}

/// What becomes of the connection after the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    /// The server ends it, and so keeps the port for a while, not the client.
    Close,
    /// It stays for the next question.
    Keep,
}

/// Asks once who is there.
pub(super) async fn whoami(stream: &mut TcpStream, aim: &Aim, after: After) -> io::Result<WhoAmI> {
    let connection = if after == After::Close { "Connection: close\r\n" } else { "" };
    let request = format!("GET /whoami HTTP/1.1\r\nHost: {}\r\n{connection}\r\n", aim.address);
    stream.write_all(request.as_bytes()).await?;
    let (mut answer, mut length) = ([0; ANSWER_BYTES], 0);
    let who = loop {
        let more = stream.read(&mut answer[length..]).await?;
        length += more;
        match parse(&answer[..length]) {
            Some(who) => break who,
            None if more == 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            None => {}
        }
    };
    if after == After::Close && stream.read(&mut answer).await? > 0 {
        return Err(io::Error::other("more than one answer"));
    }
    Ok(who)
}

/// Of a complete answer.
fn parse(answer: &[u8]) -> Option<WhoAmI> {
    let text = str::from_utf8(answer).ok()?;
    let (_, body) = text.strip_prefix("HTTP/1.1 200 ")?.split_once("\r\n\r\n")?;
    WhoAmI::parse(body)
}

/// Runs work on a thread with its own event loop inside a namespace, apart from the thread that asks for it.
pub(super) fn in_background<T: Send + 'static>(
    namespace: &Namespace,
    name: &str,
    work: impl FnOnce(&Runtime) -> T + Send + 'static,
) -> JoinHandle<T> {
    let run = move || work(&Builder::new_current_thread().enable_all().build().expect("make an event loop"));
    let thread = thread::Builder::new().name(name.to_owned());
    // A thread begins in the namespace of the one that starts it.
    namespace.enter(move || thread.spawn(run)).expect("start a thread")
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = r#"{"name":"bank-1","remote_addr":"198.51.100.30","remote_port":4,"server_addr":"198.51.100.18","server_port":8080}"#;

    #[test]
    fn only_a_whole_answer_is_one() {
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{BODY}", BODY.len());
        assert!(parse(answer.as_bytes()).is_some());
        assert_eq!(parse(&answer.as_bytes()[..answer.len() - 1]), None, "half an answer");
        assert_eq!(parse(answer.replace("200", "503").as_bytes()), None, "an error");
    }

    #[test]
    fn answers_of_others_and_to_others_are_faults() {
        let who = WhoAmI::parse(BODY).expect("an answer");
        let aim = |server: &str, host| Aim {
            address: SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 10), 8441),
            server: server.to_owned(),
            seen_as: Ipv4Addr::new(198, 51, 100, host),
        };
        assert_eq!(aim("bank-1", 30).fault(&who), None);
        assert!(aim("bank-2", 30).fault(&who).is_some() && aim("bank-1", 46).fault(&who).is_some());
    }
}
