//! What holds after every packet.
//!
//! The oracles know the plan, the packet before and after, and what was counted and entered; not how the engine came to
//! its verdict. They say nothing about packets that the engine refuses to handle, so they hold for an engine that drops
//! all fragments and ICMP errors, and for one that translates them.

pub mod books;
pub mod clients;
mod errors;
mod fragments;
mod losses;
mod mss;
pub mod openings;
mod policy;
mod reply;
mod resets;
#[cfg(test)]
mod tests;
mod translation;

use gateway_common::{
    abi::{Addr, Counter, FlowKey, Side},
    verdict::Verdict,
};

use super::{
    plan::{self, EGRESS_VIP, INGRESS_VIP},
    read::Ip,
    world::World,
};
use books::Books;

/// A packet's way through the engine.
#[derive(Clone, Copy, Debug)]
pub struct Passage<'a> {
    pub side: Side,
    /// Did it come in where nobody is reached?
    pub elsewhere: bool,
    pub before: &'a [u8],
    pub after: &'a [u8],
    pub verdict: Verdict,
    /// What was entered and counted before it.
    pub books: &'a Books,
}

impl Passage<'_> {
    /// The side that it has to leave by. A tenant that calls a listener, and the listener's answer, stay inside.
    pub fn leaves_by(&self, came: &Ip<'_>) -> Side {
        let stays = self.side == Side::Internal && [INGRESS_VIP, EGRESS_VIP].contains(&came.dst());
        if stays { Side::Internal } else { self.side.opposite() }
    }

    /// The address of the tenant that the flow belongs to: of two tenants, the one that calls.
    pub fn inside(&self, came: &Ip<'_>, sent: &Ip<'_>) -> Addr {
        let is_answer = self.side == Side::Internal && came.dst() == EGRESS_VIP;
        if self.side == Side::External || is_answer { sent.dst() } else { came.src() }
    }
}

/// The key of a packet that was built here.
pub fn read_key(side: Side, frame: &[u8]) -> FlowKey {
    translation::key_of(side, &Ip::of_frame(frame).expect("a sound packet"))
}

/// Panics when a promise is broken.
pub fn check(world: &mut World, passage: &Passage<'_>) {
    let after = Books::of(&world.tables);
    after.assert_whole();
    after.assert_counted_once(passage);
    losses::check(passage, &after);
    assert_sound_header(passage);
    match passage.verdict {
        Verdict::Pass => {
            assert_untouched(passage);
            assert_not_ours(world, passage);
            after.assert_nothing_entered(passage.books);
        }
        Verdict::Drop(_) | Verdict::Held => {
            assert_untouched(passage);
            after.assert_nothing_entered(passage.books);
            clients::check(world, passage);
        }
        Verdict::Reply => {
            after.assert_nothing_entered(passage.books);
            reply::check(passage);
            clients::check(world, passage);
        }
        Verdict::Redirect { ifindex } => {
            world.translated += 1;
            translated(world, passage, &after, ifindex);
        }
        Verdict::RedirectNeighbour { .. } => panic!("a plain frame has nobody to resolve its next hop"),
    }
}

fn assert_untouched(passage: &Passage<'_>) {
    assert!(
        passage.before == passage.after,
        "{:?} must leave the packet alone: {passage:02x?}",
        passage.verdict
    );
}

/// Nothing is sent, answered or kept whose IP header was damaged on the way, as far as the engine looks at that: headers
/// without options.
fn assert_sound_header(passage: &Passage<'_>) {
    let Some(came) = Ip::of_frame(passage.before).filter(|ip| ip.header.len() == 20) else { return };
    let is_let_be = matches!(passage.verdict, Verdict::Pass | Verdict::Drop(_));
    assert!(is_let_be || came.header_is_valid(), "{:?} with a damaged header", passage.verdict);
}

/// What the kernel gets is not the gateway's, and the kernel would not carry it across.
fn assert_not_ours(world: &World, passage: &Passage<'_>) {
    let Some(ip) = Ip::of_frame(passage.before) else { return };
    let (src, dst) = (ip.src(), ip.dst());
    assert!(!plan::is_ours(passage.side, src, dst), "the gateway's, and passed: {src} > {dst}");
    let crosses = match passage.side {
        Side::External => plan::owner(dst).is_some(),
        Side::Internal => plan::is_npci(dst),
    };
    let routed = world.tables.routes.get(&dst) == Some(&plan::route(passage.side.opposite()));
    assert!(!(crosses && routed), "passed across: {src} > {dst}");
}

fn translated(world: &mut World, passage: &Passage<'_>, after: &Books, ifindex: u32) {
    let sent = Ip::of_frame(passage.after).expect("what leaves is a sound IPv4 packet");
    let came = Ip::of_frame(passage.before).expect("only a sound IPv4 packet is translated");
    assert_eq!(ifindex, world.plan.ifindex(passage.leaves_by(&came)), "it leaves on the right side");
    translation::check_headers(world, passage, &came, &sent);
    let (offset, _) = came.fragment();
    let tenant = if offset > 0 {
        fragments::check_later(world, passage, &came, &sent)
    } else if let Some(quote) = came.quote() {
        errors::check(world, passage, after, (&came, quote), &sent)
    } else {
        let tenant = translation::check(world, passage, after, &came, &sent);
        if !came.is_whole() {
            fragments::note_first(world, passage, &came, &sent);
        }
        tenant
    };
    after.assert_tenant_counted(passage, tenant);
    if after.since(passage.books, Counter::FlowsOpened) != 0 {
        let entry = after.entry(&translation::key_of(passage.side, &came));
        openings::note(world, entry.expect("a packet of the flow that it opened"));
    }
}
