//! Whose a frame is, and what is put together.

use std::net::Ipv4Addr;

use super::*;
use crate::{
    differential::frame::data,
    packet::{IcmpError, Packet, fragments},
};

const NPCI: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 150);
const VIP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
const INDEX: u64 = 3 * BATCH + 17;

fn datagram(length: usize) -> Vec<u8> {
    let packet = Packet::udp((NPCI, 20_000), (VIP, 9000)).id(first_id(INDEX) + 5).dont_fragment(false);
    packet.payload(&data(INDEX, length)).build()
}

/// How many whole packets and how many pieces come out.
fn put_together(frames: &[Vec<u8>]) -> (usize, usize) {
    let out = whole(frames);
    let is_piece = |frame: &Result<Frame, ParseError>| {
        let frame = frame.as_ref().expect("readable");
        matches!(frame.ipv4().expect("IPv4").transport, crate::packet::Transport::Fragment(_))
    };
    let pieces = out.iter().filter(|frame| is_piece(frame)).count();
    (out.len() - pieces, pieces)
}

#[test]
fn packets_are_known_by_their_identification() {
    assert_eq!(owner(&datagram(10)), Some(17));
    assert!(fragments(&datagram(500), 48).iter().all(|piece| owner(piece) == Some(17)));
    let foreign = Packet::udp((NPCI, 20_000), (VIP, 9000)).id(0).build();
    assert_eq!(owner(&foreign), None);
}

#[test]
fn what_a_gateway_writes_itself_is_known_by_what_it_is_about() {
    let error = Packet::icmp_error(VIP, NPCI, IcmpError::TtlExceeded, &datagram(10)).id(0);
    assert_eq!(owner(&error.build()), Some(17));
    let answer = Packet::echo_reply(VIP, NPCI, 20_000, 1).id(4711).payload(&data(INDEX, 8));
    assert_eq!(owner(&answer.build()), Some(17));
}

#[test]
fn frames_that_end_early_belong_to_nobody() {
    let frame = datagram(10);
    for length in 0..20 {
        assert_eq!(owner(&frame[..length.min(18)]), None);
    }
    let echo = Packet::echo_request(NPCI, VIP, 1, 1).build();
    assert_eq!(owner(&echo), None, "without data nobody can tell");
}

#[test]
fn fragments_are_put_together_in_any_order() {
    let mut pieces = fragments(&datagram(500), 104);
    let expected = Frame::parse(&datagram(500)).expect("a datagram");
    for _ in 0..pieces.len() {
        pieces.rotate_left(1);
        let out = whole(&pieces);
        let ip = out[0].as_ref().expect("readable").ipv4().expect("IPv4");
        assert_eq!((out.len(), ip), (1, expected.ipv4().expect("IPv4")));
    }
}

#[test]
fn what_is_not_complete_stays_in_pieces() {
    let pieces = fragments(&datagram(500), 104);
    let count = pieces.len();
    assert_eq!(put_together(&pieces[1..]), (0, count - 1), "without the first");
    assert_eq!(put_together(&pieces[..count - 1]), (0, count - 1), "without the last");
    let mut doubled = pieces.clone();
    doubled.push(pieces[1].clone());
    assert_eq!(put_together(&doubled), (1, 0), "with one twice it is complete");
    assert_eq!(put_together(&doubled[1..]), (0, count - 1), "with one twice, and without the first");
    let other = Packet::udp((NPCI, 20_000), (VIP, 9000)).id(first_id(INDEX)).build();
    let among = [&[other], &pieces[..]].concat();
    assert_eq!(put_together(&among), (2, 0), "beside another packet");
}

#[test]
fn identifications_of_a_batch_do_not_meet() {
    let ids: Vec<u16> = (0..BATCH).map(first_id).collect();
    assert!(ids.windows(2).all(|pair| pair[1] - pair[0] == NUMBERS));
    assert_eq!(first_id(BATCH), first_id(0));
    assert!((0..INCOMPLETE_IDS).all(|index| incomplete_id(index) > ids[ids.len() - 1] + NUMBERS - 1));
    assert!(
        (0..INCOMPLETE_IDS).all(|index| slot(incomplete_id(index)) == usize::try_from(index % BATCH).ok())
    );
}
