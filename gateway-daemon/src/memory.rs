//! The allocator's habits, which are made for programs that grow and never shrink.
//!
//! A daemon that has read a document of ten thousand tenants needs a fraction of that memory afterwards. glibc would
//! keep it, in as many arenas as there were threads at work.

/// Lets all threads share two arenas: what one thread frees, another one uses. Called before any thread is made.
pub fn share_arenas() {
    #[cfg(target_env = "gnu")]
    // SAFETY: `mallopt` takes no pointers and may be called at any time.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 2);
    }
}

/// Gives what is free back to the kernel. Takes milliseconds.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: `malloc_trim` takes no pointers and may be called at any time.
    unsafe {
        libc::malloc_trim(0);
    }
}
