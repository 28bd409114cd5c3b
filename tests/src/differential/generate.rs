//! From a seed and a number to a conversation. Pure: equal input, equal conversation.

mod bad;
mod dialogue;
mod draw;
mod icmp;
mod stream;
mod tcp;
mod udp;

use draw::Draw;

use super::conversation::{Conversation, Path, Round, Talk, Topic};

/// How often each topic comes up; of the sum of all.
const SHARES: [(Topic, u64); 19] = [
    (Topic::TcpStream, 14),
    (Topic::TcpOrderly, 10),
    (Topic::TcpOdd, 8),
    (Topic::TcpReset, 7),
    (Topic::TcpSimultaneous, 3),
    (Topic::TcpReopened, 4),
    (Topic::TcpRepeated, 4),
    (Topic::TcpMidstream, 4),
    (Topic::Udp, 10),
    (Topic::SamePort, 3),
    (Topic::SystemPort, 1),
    (Topic::Echo, 5),
    (Topic::EchoToGateway, 2),
    (Topic::IcmpError, 12),
    (Topic::IcmpStray, 4),
    (Topic::Fragments, 7),
    (Topic::BadPacket, 7),
    (Topic::LastHop, 2),
    (Topic::Forbidden, 8),
];

/// Conversation number `index` of the run with this seed.
pub fn conversation(seed: u64, index: u64) -> Conversation {
    let mut draw = Draw::of(seed, index);
    let topic = topic(&mut draw);
    let path = path(&mut draw, topic);
    let talk = match topic {
        Topic::TcpStream => Talk::Stream(stream::script(&mut draw)),
        _ => Talk::Script(rounds(&mut draw, topic, path)),
    };
    Conversation { index, topic, path, talk }
}

fn topic(draw: &mut Draw) -> Topic {
    let total = SHARES.iter().map(|(_, share)| share).sum();
    let mut ticket = draw.below(total);
    let chosen = SHARES.iter().find(|(_, share)| match ticket.checked_sub(*share) {
        Some(rest) => {
            ticket = rest;
            false
        }
        None => true,
    });
    chosen.expect("the ticket is below the sum").0
}

fn path(draw: &mut Draw, topic: Topic) -> Path {
    match topic {
        Topic::SystemPort => Path::Ingress,
        // A ping of a VIP or a NAT IP is answered there, so only this way leads through.
        Topic::Echo => Path::Egress,
        _ => draw.one_of(&[Path::Ingress, Path::Ingress, Path::Egress, Path::Egress, Path::Addressed]),
    }
}

fn rounds(draw: &mut Draw, topic: Topic, path: Path) -> Vec<Round> {
    match topic {
        Topic::TcpStream => Vec::new(),
        Topic::TcpOrderly => tcp::orderly(draw),
        Topic::TcpOdd => tcp::odd(draw),
        Topic::TcpReset => tcp::reset(draw),
        Topic::TcpSimultaneous => tcp::simultaneous(draw),
        Topic::TcpReopened => tcp::reopened(draw),
        Topic::TcpRepeated => tcp::repeated(draw),
        Topic::TcpMidstream => tcp::midstream(draw),
        Topic::Udp => udp::datagrams(draw),
        Topic::SamePort => udp::same_port(draw),
        Topic::SystemPort => udp::system_port(draw),
        Topic::Echo => icmp::echo(draw),
        Topic::EchoToGateway => icmp::echo_to_gateway(draw),
        Topic::IcmpError => icmp::about_a_flow(draw, path),
        Topic::IcmpStray => icmp::about_nothing(draw),
        Topic::Fragments => udp::fragments(draw, path),
        Topic::BadPacket => bad::packet(draw),
        Topic::LastHop => bad::last_hop(draw),
        Topic::Forbidden => bad::forbidden(draw),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::differential::{
        conversation::{Cut, Role},
        script::NUMBERS,
    };

    #[test]
    fn seed_and_number_decide_all() {
        for index in 0..200 {
            assert_eq!(conversation(7, index), conversation(7, index));
        }
        let differs = (0..200).filter(|index| conversation(7, *index) != conversation(8, *index)).count();
        assert!(differs > 190, "another seed, other conversations: {differs}");
    }

    #[test]
    fn every_topic_comes_up() {
        let topics: BTreeSet<Topic> = (0..2000).map(|index| conversation(1, index).topic).collect();
        assert_eq!(topics.len(), SHARES.len());
    }

    /// The packets' numbers are part of their IP identification, which has room for so many.
    #[test]
    fn scripts_fit_into_the_numbers_of_packets() {
        for index in 0..5000 {
            if let Talk::Script(rounds) = conversation(3, index).talk {
                let packets = rounds.iter().map(Vec::len).sum::<usize>();
                assert!(
                    (1..=usize::from(NUMBERS)).contains(&packets),
                    "conversation {index}: {packets} packets"
                );
            }
        }
    }

    #[test]
    fn one_packet_at_most_is_never_complete() {
        let incomplete = |index| {
            let Talk::Script(rounds) = conversation(3, index).talk else { return 0 };
            let sends = rounds.into_iter().flatten();
            sends.filter(|send| send.cut.is_some_and(Cut::is_incomplete)).count()
        };
        let counts: Vec<_> = (0..5000).map(incomplete).collect();
        assert_eq!(counts.iter().max(), Some(&1));
    }

    #[test]
    fn routers_only_report_errors() {
        for index in 0..5000 {
            let Talk::Script(rounds) = conversation(5, index).talk else { continue };
            for send in rounds.iter().flatten() {
                let is_router = matches!(send.from, Role::ClientRouter | Role::ServerRouter);
                let is_error = matches!(send.what, crate::differential::conversation::What::Error { .. });
                assert!(!is_router || is_error, "{send:?}");
            }
        }
    }
}
