//! `traceroute`, the one of Debian's package of that name.

use std::net::Ipv4Addr;

use crate::netns::Namespace;
use crate::tool;

/// Enough for every way of the lab.
const MOST_HOPS: &str = "8";
/// Seconds for an answer, more than it takes even on a busy machine.
const WAIT: &str = "2";

/// What it asks with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probe {
    /// Datagrams to one port (`-U`).
    Udp(u16),
    /// SYNs to one port (`-T`).
    Tcp(u16),
    /// Echo requests (`-I`).
    Echo,
}

impl Probe {
    fn arguments(self) -> Vec<String> {
        let to_port = |how: &str, port: u16| vec![how.to_owned(), "-p".to_owned(), port.to_string()];
        match self {
            Self::Udp(port) => to_port("-U", port),
            Self::Tcp(port) => to_port("-T", port),
            Self::Echo => vec!["-I".to_owned()],
        }
    }
}

impl Namespace {
    /// Asks each hop once, and returns who answered: the first hop first, `None` for silence, up to the hop that was the
    /// destination.
    #[track_caller]
    pub fn traceroute(&self, target: Ipv4Addr, probe: Probe) -> Vec<Option<Ipv4Addr>> {
        let mut command = self.command("traceroute");
        command.args(["-n", "-q", "1", "-w", WAIT, "-m", MOST_HOPS]);
        command.args(probe.arguments()).arg(target.to_string());
        parse(&tool::run(command))
    }
}

/// ` 3  192.0.2.10  0.050 ms`, or ` 3  *`. The first line is a title.
fn parse(output: &str) -> Vec<Option<Ipv4Addr>> {
    let hop = |line: &str| line.split_whitespace().nth(1).and_then(|word| word.parse().ok());
    output.lines().skip(1).map(hop).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_answered_is_read_hop_by_hop() {
        let output = "traceroute to 192.0.2.10 (192.0.2.10), 8 hops max, 60 byte packets\n \
                      1  203.0.113.9  0.040 ms\n 2  *\n 3  192.0.2.10  0.050 ms !X\n";
        let [first, last] = [[203, 0, 113, 9], [192, 0, 2, 10]].map(Ipv4Addr::from);
        assert_eq!(parse(output), [Some(first), None, Some(last)]);
    }
}
