//! The allocator, and habits that fit a program which grows for a moment and shrinks again.
//!
//! A daemon that has read a document of ten thousand tenants needs a fraction of that memory afterwards. What stays is
//! small pieces among many that go: glibc keeps most of those pages (194 MiB where jemalloc keeps 69), because a page
//! with one piece in use can't be given back. jemalloc keeps pieces of one size together.

use std::ffi::{CStr, c_char};
use std::ptr;

use tikv_jemallocator::Jemalloc;

#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// Options of jemalloc: one arena and no caches of threads, so that what one thread frees another one uses, and pieces that
/// stay lie close together (4 MiB less with 10,000 tenants); and pages that are free for a second go back to the kernel,
/// also when nothing is allocated any more.
const OPTIONS: &CStr = c"narenas:1,tcache:false,background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0";

/// As jemalloc looks it up: a `const char *` of this name.
#[repr(transparent)]
pub struct Options(*const c_char);

// SAFETY: what it points to is constant.
unsafe impl Sync for Options {}

/// Where jemalloc finds its options.
// SAFETY: nothing else has the name, which belongs to jemalloc: its manual says that a program may define it.
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static MALLOC_CONF: Options = Options(OPTIONS.as_ptr());

/// `MALLCTL_ARENAS_ALL` is 4096.
const PURGE_ALL: &CStr = c"arena.4096.purge";

/// Gives what is free back to the kernel now. Takes milliseconds.
pub fn give_back() {
    // SAFETY: the name ends in NUL, and this control takes and returns nothing.
    let failed = unsafe {
        tikv_jemalloc_sys::mallctl(PURGE_ALL.as_ptr(), ptr::null_mut(), ptr::null_mut(), ptr::null_mut(), 0)
    };
    debug_assert_eq!(failed, 0, "this jemalloc knows the control");
}

/// Tells the kernel that a part of the program which was read once is not about to be read again: its pages no longer
/// count as this process's memory. Reading it later works as ever.
pub fn put_aside(part: &'static [u8]) {
    // SAFETY: the call has no preconditions.
    let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4_096);
    let begin = part.as_ptr().addr().next_multiple_of(page);
    let end = (part.as_ptr().addr() + part.len()) / page * page;
    if begin >= end {
        return;
    }
    let pages = part.as_ptr().with_addr(begin).cast_mut().cast();
    // SAFETY: whole pages of constants, which the kernel reads from the program's file again when they are used.
    let failed = unsafe { libc::madvise(pages, end - begin, libc::MADV_DONTNEED) };
    debug_assert_eq!(failed, 0, "these pages are mapped");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So large that it has whole pages, and not zero, so that it is in the file.
    static CONSTANTS: [u8; 3 * 4_096] = [7; 3 * 4_096];

    #[test]
    fn what_was_put_aside_can_be_read() {
        put_aside(&CONSTANTS);
        put_aside(&CONSTANTS[..9]);
        assert!(std::hint::black_box(&CONSTANTS).iter().all(|byte| *byte == 7));
    }

    #[test]
    fn the_allocator_found_its_options() {
        let mut arenas: libc::c_uint = 0;
        let mut len = size_of_val(&arenas);
        // SAFETY: `opt.narenas` is an unsigned integer, for which there is room.
        let failed = unsafe {
            let out = ptr::from_mut(&mut arenas).cast();
            tikv_jemalloc_sys::mallctl(c"opt.narenas".as_ptr(), out, &raw mut len, ptr::null_mut(), 0)
        };
        assert_eq!((failed, arenas), (0, 1));
        give_back();
    }
}
