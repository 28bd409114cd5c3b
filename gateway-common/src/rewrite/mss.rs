//! The MSS option of a TCP header (RFC 9293 section 3.7.1).

use crate::{
    abi::Protocol,
    packet::{Packet, Refused, Window as _, WindowMut as _},
    wire::{
        checksum::Difference,
        transport::{TCP_HEADER_LEN, checksum_offset},
    },
};

/// Options that are looked at. Stacks put the MSS first; whoever hides it behind so many others is not helped.
const OPTIONS_MAX: usize = 10;
/// The option kinds.
const END: u8 = 0;
const PADDING: u8 = 1;
const MSS: u8 = 2;
/// Length of the MSS option: kind, length, value.
const MSS_LEN: usize = 4;

/// Lowers the MSS that the SYN whose header begins at `offset` offers to `mss` bytes, if it is higher.
///
/// # Errors
///
/// [`Refused`] when the packet could not be changed; it must then be dropped.
#[inline(always)]
pub fn clamp_mss<P: Packet>(packet: &mut P, offset: usize, mss: u16) -> Result<(), Refused> {
    let Some(at) = find(packet, offset) else {
        return Ok(());
    };
    let old = packet.window::<2>(at).ok_or(Refused)?.u16::<0>();
    if u16::from_be(old) <= mss {
        return Ok(());
    }
    let new = mss.to_be();
    // The sum is over words from the header's beginning on: at an odd place the two bytes are halves of two words.
    let is_odd = (at - offset) & 1 == 1;
    let change = if is_odd {
        Difference::NONE.word(old.swap_bytes(), new.swap_bytes())
    } else {
        Difference::NONE.word(old, new)
    };
    let checksum = offset + checksum_offset(Protocol::Tcp);
    packet.update_transport_checksum(checksum, Protocol::Tcp, Difference::NONE, change)?;
    packet.window_mut::<2>(at)?.set_u16::<0>(new);
    Ok(())
}

/// Where the value of the option stands, if there is one.
#[inline(always)]
fn find<P: Packet>(packet: &P, offset: usize) -> Option<usize> {
    let header_len = ((packet.window::<1>(offset + 12)?.u8::<0>() >> 4) as usize) << 2;
    let end = offset + header_len;
    let mut at = offset + TCP_HEADER_LEN;
    for _ in 0..OPTIONS_MAX {
        if at + MSS_LEN > end {
            return None;
        }
        let option = packet.window::<2>(at)?;
        let (kind, len) = (option.u8::<0>(), option.u8::<1>() as usize);
        match kind {
            END => return None,
            PADDING => at += 1,
            MSS if len == MSS_LEN => return Some(at + 2),
            _ if len < 2 => return None,
            _ => at += len,
        }
    }
    None
}
