//! `ping`.

use std::net::Ipv4Addr;

use crate::netns::Namespace;

/// How many echo requests were sent and answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PingReport {
    /// Requests.
    pub sent: u32,
    /// Replies to them.
    pub received: u32,
}

impl PingReport {
    /// True when every request was answered.
    pub fn all_answered(&self) -> bool {
        self.sent > 0 && self.received == self.sent
    }

    /// `3 packets transmitted, 2 received, ...`
    fn parse(output: &str) -> Option<Self> {
        let line = output.lines().find(|line| line.contains("packets transmitted"))?;
        let number_before = |word: &str| {
            let part = line.split(", ").find(|part| part.contains(word))?;
            part.split(' ').next()?.parse().ok()
        };
        Some(Self { sent: number_before("transmitted")?, received: number_before("received")? })
    }
}

impl Namespace {
    /// Sends so many echo requests, 10 ms apart, and waits at most one second for the last reply.
    #[track_caller]
    pub fn ping(&self, address: Ipv4Addr, count: u32) -> PingReport {
        self.ping_with(address, count, &[])
    }

    /// The same with more arguments, such as `-s 3000` or `-I <source>`.
    #[track_caller]
    pub fn ping_with(&self, address: Ipv4Addr, count: u32, arguments: &[&str]) -> PingReport {
        let mut command = self.command("ping");
        command.args(["-n", "-i", "0.01", "-W", "1", "-c", &count.to_string()]);
        let output = command.args(arguments).arg(address.to_string()).output().expect("start ping");
        let stdout = String::from_utf8_lossy(&output.stdout);
        PingReport::parse(&stdout)
            .unwrap_or_else(|| panic!("ping {address} from {}: {output:?}", self.role()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_iputils_summaries() {
        let line = "--- 192.0.2.1 ping statistics ---\n5 packets transmitted, 3 received, +1 duplicates, 40% packet loss, time 41ms";
        assert_eq!(PingReport::parse(line), Some(PingReport { sent: 5, received: 3 }));
        assert!(!PingReport { sent: 5, received: 3 }.all_answered());
        assert_eq!(PingReport::parse("connect: Network is unreachable"), None);
    }
}
