//! Sizes in a form that the kernel's verifier follows.

use core::arch::asm;

/// A size that lies in `1..=most`, else `None`: as the helpers that copy bytes ask for.
///
/// Left alone, the compiler makes one comparison of both: `size - 1 <= most - 1`. That bounds another register than the one
/// which the helper is given, and the verifier of Linux 6.1 does not learn that a number is positive from a comparison
/// with zero; newer ones do. So the size is compared with a one that the compiler does not know for one.
#[inline(always)]
pub fn size_within(size: usize, most: usize) -> Option<u32> {
    let mut size = size as u64;
    let one: u64;
    // SAFETY: changes nothing but the two registers.
    unsafe {
        asm!(
            "{one} = 1",
            "{size} = {size}",
            one = out(reg) one,
            size = inlateout(reg) size,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    if size < one || size > most as u64 { None } else { Some(size as u32) }
}
