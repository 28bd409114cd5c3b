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

/// Options of jemalloc: two arenas, so that what one thread frees another one uses, and pages that are free for a second
/// go back to the kernel, also when nothing is allocated any more.
const OPTIONS: &CStr = c"narenas:2,background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0";

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_allocator_found_its_options() {
        let mut arenas: libc::c_uint = 0;
        let mut len = size_of_val(&arenas);
        // SAFETY: `opt.narenas` is an unsigned integer, for which there is room.
        let failed = unsafe {
            let out = ptr::from_mut(&mut arenas).cast();
            tikv_jemalloc_sys::mallctl(c"opt.narenas".as_ptr(), out, &raw mut len, ptr::null_mut(), 0)
        };
        assert_eq!((failed, arenas), (0, 2));
        give_back();
    }
}
