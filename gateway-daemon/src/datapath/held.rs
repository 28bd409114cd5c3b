//! Parts of datagrams that came before the first one. The data path hands them over; here they wait, bounded, until the
//! first part is known, and are sent on by a program in the kernel then.
//!
//! Nobody tells when the first part comes: each part is tried again after a millisecond, and then after twice the last
//! rest. Packets overtake each other by microseconds, so nearly all go out at the first or second try.

use std::{
    collections::HashMap,
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow};
use aya::{
    Ebpf,
    programs::{SchedClassifier, TestRun as _, TestRunOptions},
};
use gateway_common::{
    abi::{HeldFrame, Side},
    limits::{RESUME_SENT, RESUME_UNMATCHED},
    names,
};

use crate::metrics::labels::PartFate;

/// Frames that wait at a time, over all sources: 8 MiB.
const FRAMES_MAX: usize = 4_096;

/// Frames that wait at a time of one source: two dozen datagrams of 64 KiB in parts of 1,480 bytes.
const FRAMES_MAX_PER_SOURCE: usize = 1_024;

/// How long a frame waits at most: far longer than packets overtake each other by. Where the first part was lost, all of
/// them are sent again.
const PATIENCE: Duration = Duration::from_millis(500);

/// Rest before the second try.
const FIRST_REST: Duration = Duration::from_millis(1);

/// What a try led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Try {
    /// There is nothing more to do.
    Done(PartFate),
    /// Its first part is not known.
    Waits,
}

/// Sends a part on if its first part is known.
///
/// # Errors
///
/// When the program cannot be run.
pub fn resume(ebpf: &Ebpf, frame: &HeldFrame) -> Result<Try> {
    /// Size of `struct __sk_buff` of `linux/bpf.h`, and where the interface stands in it.
    const CONTEXT: usize = 192;
    const IFINDEX: usize = 40;
    let name =
        if frame.side == Side::External as u8 { names::RESUME_EXTERNAL } else { names::RESUME_INTERNAL };
    let program: &SchedClassifier = ebpf.program(name).context("no such program")?.try_into()?;
    let mut context = [0; CONTEXT];
    context[IFINDEX..IFINDEX + 4].copy_from_slice(&frame.ifindex.to_ne_bytes());
    let bytes =
        frame.bytes.get(..usize::from(frame.len)).ok_or_else(|| anyhow!("a frame of {} bytes", frame.len))?;
    let options = TestRunOptions { data_in: Some(bytes), ctx_in: Some(&context), ..TestRunOptions::new() };
    let result = program.test_run(options).with_context(|| format!("cannot run the program {name}"))?;
    Ok(match i32::try_from(result.return_value) {
        Ok(RESUME_SENT) => Try::Done(PartFate::Sent),
        Ok(RESUME_UNMATCHED) => Try::Waits,
        _ => Try::Done(PartFate::Dropped),
    })
}

/// A frame that waits.
struct Waiting {
    frame: Box<HeldFrame>,
    since: Instant,
    due: Instant,
    rest: Duration,
}

/// Frames that wait for their first parts.
#[derive(Default)]
pub struct Shelf {
    /// In the order in which they came.
    frames: Vec<Waiting>,
    per_source: HashMap<(u8, Ipv4Addr), usize>,
}

impl Shelf {
    /// Puts a frame on the shelf that was just tried. Returns whether another had to make way for it.
    #[must_use]
    pub fn put(&mut self, frame: HeldFrame, now: Instant) -> bool {
        let source = source(&frame);
        let displaced = self.make_way(source);
        *self.per_source.entry(source).or_default() += 1;
        let (due, rest) = (now + FIRST_REST, FIRST_REST);
        self.frames.push(Waiting { frame: Box::new(frame), since: now, due, rest });
        displaced
    }

    /// Where there is no room, what has waited longest goes: first parts come soon or never. A source that has its share
    /// displaces its own frames alone.
    fn make_way(&mut self, newcomer: (u8, Ipv4Addr)) -> bool {
        let is_of = |of: (u8, Ipv4Addr)| move |waiting: &Waiting| source(&waiting.frame) == of;
        let oldest = if self.per_source.get(&newcomer).is_some_and(|count| *count >= FRAMES_MAX_PER_SOURCE) {
            self.frames.iter().position(is_of(newcomer))
        } else if self.frames.len() >= FRAMES_MAX {
            Some(0)
        } else {
            None
        };
        let Some(oldest) = oldest else { return false };
        let displaced = self.frames.remove(oldest);
        release(&mut self.per_source, source(&displaced.frame));
        true
    }

    /// When the next frame is to be tried again.
    pub fn next_due(&self) -> Option<Instant> {
        self.frames.iter().map(|waiting| waiting.due).min()
    }

    /// Tries every frame that is due, and takes those off the shelf that wait no longer. Returns what came of these.
    pub fn try_due(&mut self, now: Instant, mut attempt: impl FnMut(&HeldFrame) -> Try) -> Vec<PartFate> {
        let mut fates = Vec::new();
        let per_source = &mut self.per_source;
        self.frames.retain_mut(|waiting| {
            if now < waiting.due {
                return true;
            }
            let fate = match attempt(&waiting.frame) {
                Try::Waits if now - waiting.since < PATIENCE => {
                    waiting.rest *= 2;
                    waiting.due = now + waiting.rest;
                    return true;
                }
                Try::Waits => PartFate::Expired,
                Try::Done(fate) => fate,
            };
            fates.push(fate);
            release(per_source, source(&waiting.frame));
            false
        });
        fates
    }
}

fn release(per_source: &mut HashMap<(u8, Ipv4Addr), usize>, source: (u8, Ipv4Addr)) {
    if let Some(count) = per_source.get_mut(&source) {
        *count -= 1;
        if *count == 0 {
            per_source.remove(&source);
        }
    }
}

/// The side that a frame came in on, and its source.
fn source(frame: &HeldFrame) -> (u8, Ipv4Addr) {
    let tagged = frame.bytes[12..14] == [0x81, 0];
    let at = if tagged { 18 + 12 } else { 14 + 12 };
    let address =
        Ipv4Addr::new(frame.bytes[at], frame.bytes[at + 1], frame.bytes[at + 2], frame.bytes[at + 3]);
    (frame.side, address)
}

#[cfg(test)]
mod tests {
    use bytemuck::Zeroable as _;

    use super::*;

    fn frame(source: u8) -> HeldFrame {
        let mut frame = HeldFrame::zeroed();
        frame.bytes[29] = source;
        frame
    }

    #[test]
    fn a_frame_is_tried_less_and_less_often_until_its_time_is_over() {
        let (mut shelf, start) = (Shelf::default(), Instant::now());
        assert!(!shelf.put(frame(1), start));
        let mut tries = 0;
        let fates = loop {
            let due = shelf.next_due().expect("it waits");
            let fates = shelf.try_due(due, |_| {
                tries += 1;
                Try::Waits
            });
            assert!(due < start + 3 * PATIENCE);
            if !fates.is_empty() {
                break fates;
            }
        };
        assert_eq!((fates, tries, shelf.next_due()), (vec![PartFate::Expired], 9, None));
    }

    #[test]
    fn only_what_is_due_is_tried() {
        let (mut shelf, start) = (Shelf::default(), Instant::now());
        assert!(!shelf.put(frame(1), start));
        assert!(!shelf.put(frame(2), start + FIRST_REST));
        let mut tried = Vec::new();
        let fates = shelf.try_due(start + FIRST_REST, |frame| {
            tried.push(frame.bytes[29]);
            Try::Done(PartFate::Sent)
        });
        assert_eq!((fates, tried), (vec![PartFate::Sent], vec![1]));
    }

    #[test]
    fn a_source_that_has_its_share_displaces_its_own_alone() {
        let (mut shelf, now) = (Shelf::default(), Instant::now());
        assert!(!shelf.put(frame(2), now));
        let displaced = (0..2_000).filter(|_| shelf.put(frame(1), now)).count();
        assert_eq!(displaced, 2_000 - FRAMES_MAX_PER_SOURCE);
        let mut of_the_other = 0;
        let fates = shelf.try_due(now + FIRST_REST, |frame| {
            of_the_other += usize::from(frame.bytes[29] == 2);
            Try::Done(PartFate::Dropped)
        });
        assert_eq!((fates.len(), of_the_other), (FRAMES_MAX_PER_SOURCE + 1, 1));
        assert!(shelf.per_source.is_empty());
    }

    #[test]
    fn what_has_waited_longest_makes_way() {
        let (mut shelf, start) = (Shelf::default(), Instant::now());
        for number in 0..=FRAMES_MAX_PER_SOURCE {
            let mut frame = frame(1);
            frame.ifindex = u32::try_from(number).expect("small");
            assert_eq!(shelf.put(frame, start), number == FRAMES_MAX_PER_SOURCE);
        }
        let mut tried = Vec::new();
        let _fates = shelf.try_due(start + FIRST_REST, |frame| {
            tried.push(frame.ifindex);
            Try::Done(PartFate::Sent)
        });
        assert_eq!((tried.first(), tried.len()), (Some(&1), FRAMES_MAX_PER_SOURCE));
    }

    #[test]
    fn all_sources_together_are_bounded() {
        let (mut shelf, now) = (Shelf::default(), Instant::now());
        let puts = (0..=u8::MAX).flat_map(|source| (0..20).map(move |_| source));
        let displaced = puts.filter(|source| shelf.put(frame(*source), now)).count();
        assert_eq!((shelf.frames.len(), displaced), (FRAMES_MAX, 256 * 20 - FRAMES_MAX));
    }
}
