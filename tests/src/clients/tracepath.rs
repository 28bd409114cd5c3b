//! `tracepath` of iputils: finds the path MTU with datagrams that must not be cut.

use std::net::Ipv4Addr;

use crate::netns::Namespace;
use crate::tool;

/// Enough for every way of the lab.
const MOST_HOPS: &str = "8";

/// What it found out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PathReport {
    /// The path MTU in the end, in bytes.
    pub pmtu: Option<u32>,
    /// How far away the destination is; `None` when it did not answer.
    pub hops: Option<u32>,
    /// Who said that a datagram was too large, and what would fit.
    pub told: Vec<(Ipv4Addr, u32)>,
}

impl Namespace {
    /// Asks with datagrams to this port and the ones behind it, one a datagram, at most 63.
    #[track_caller]
    pub fn tracepath(&self, target: Ipv4Addr, first_port: u16) -> PathReport {
        let mut command = self.command("tracepath");
        command.args(["-n", "-m", MOST_HOPS, "-p", &first_port.to_string()]).arg(target.to_string());
        PathReport::parse(&tool::run(command))
    }
}

impl PathReport {
    /// Lines are ` 4:  192.0.2.10  0.050ms pmtu 1300`, and the last one is `Resume: pmtu 1300 hops 6 back 6`.
    fn parse(output: &str) -> Self {
        let mut report = Self::default();
        for line in output.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let number_after =
                |name: &str| words.iter().skip_while(|word| **word != name).nth(1)?.parse().ok();
            if line.contains("Resume:") {
                (report.pmtu, report.hops) = (number_after("pmtu"), number_after("hops"));
            } else if let (Some(Ok(address)), Some(mtu)) =
                (words.get(1).map(|word| word.parse()), number_after("pmtu"))
            {
                report.told.push((address, mtu));
            }
        }
        report
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_and_who_told_are_read() {
        let output = " 1?: [LOCALHOST]                      pmtu 1500
 1:  203.0.113.9                                           0.040ms 
 2:  192.0.2.10                                            0.050ms pmtu 1300
 2:  192.0.2.10                                            0.050ms reached
     Resume: pmtu 1300 hops 2 back 2 
";
        let expected =
            PathReport { pmtu: Some(1300), hops: Some(2), told: vec![(Ipv4Addr::new(192, 0, 2, 10), 1300)] };
        assert_eq!(PathReport::parse(output), expected);
        let silent =
            PathReport::parse(" 1:  no reply\n     Too many hops: pmtu 1500\n     Resume: pmtu 1500 \n");
        assert_eq!(silent, PathReport { pmtu: Some(1500), ..PathReport::default() });
    }
}
