//! Translated fragments: as the first one of their datagram, and never one over another.

use gateway_common::abi::Side;

use super::{Passage, policy};
use crate::engine::{
    plan,
    read::Ip,
    world::{Datagram, Train, World},
};

fn datagram(side: Side, ip: &Ip<'_>) -> Datagram {
    Datagram { side, src: ip.src(), dst: ip.dst(), protocol: ip.protocol(), id: ip.id() }
}

/// A first fragment left: the others have to follow it.
pub fn note_first(world: &mut World, passage: &Passage<'_>, came: &Ip<'_>, sent: &Ip<'_>) {
    let sent_now = 0..came.payload.len();
    let elsewhere = passage.elsewhere;
    let train = Train { src: sent.src(), dst: sent.dst(), elsewhere, sent: vec![sent_now] };
    world.trains.insert(datagram(passage.side, came), train);
}

/// Returns the tenant whose datagram it is.
pub fn check_later(world: &mut World, passage: &Passage<'_>, came: &Ip<'_>, sent: &Ip<'_>) -> u8 {
    let train = world.trains.get_mut(&datagram(passage.side, came));
    let train = train.expect("a later fragment left, and its first one did not");
    assert_eq!((sent.src(), sent.dst()), (train.src, train.dst), "the way of its first fragment");
    assert_eq!(sent.payload, came.payload, "a later fragment has nothing to translate");
    let (offset, _) = came.fragment();
    let range = offset..offset + came.payload.len();
    let overlaps = |other: &std::ops::Range<usize>| {
        *other != range && range.start < other.end && other.start < range.end
    };
    assert!(!train.sent.iter().any(overlaps), "{range:?} lies over another fragment: {:?}", train.sent);
    train.sent.push(range);
    let is_known = train.elsewhere == passage.elsewhere;
    assert!(
        is_known || passage.side == Side::External || policy::may_come_from_here(world, passage, came.src()),
        "a later fragment came from where its first one did not"
    );
    plan::owner(passage.inside(came, sent)).expect("an inside address")
}
