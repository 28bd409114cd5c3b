//! Reading a hash map in batches: one system call for thousands of entries instead of two for each.
//!
//! aya has no wrapper for `BPF_MAP_LOOKUP_BATCH` (kernel 5.6, commit cb4d03ab499d).

use std::{
    io,
    mem::size_of,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd},
};

use aya::{Pod, maps::MapData};

/// Entries a call. The kernel refuses (`ENOSPC`) to split a bucket, so it must exceed any bucket's length by far.
const BATCH: u32 = 4096;

/// `BPF_MAP_LOOKUP_BATCH` of `enum bpf_cmd`.
const LOOKUP_BATCH: libc::c_int = 24;

/// The member `batch` of `union bpf_attr`.
#[repr(C)]
#[derive(Default)]
struct BatchAttr {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// Calls `visit` for every entry of a hash map. Entries that come or go meanwhile may be seen or not, and an entry may
/// be seen twice; none that stays is missed.
///
/// # Errors
///
/// What the kernel says; `InvalidInput` when the map's keys or values are of another size.
pub fn for_each<K: Pod, V: Pod>(map: &MapData, mut visit: impl FnMut(&K, &V)) -> io::Result<()> {
    let info = map.info().map_err(io::Error::other)?;
    if info.key_size() as usize != size_of::<K>() || info.value_size() as usize != size_of::<V>() {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    let mut keys: Vec<K> = Vec::with_capacity(BATCH as usize);
    let mut values: Vec<V> = Vec::with_capacity(BATCH as usize);
    let mut position = None;
    loop {
        let read = lookup(map.fd().as_fd(), position, &mut keys, &mut values)?;
        for (key, value) in keys.iter().zip(&values) {
            visit(key, value);
        }
        match read {
            Some(next) => position = Some(next),
            None => return Ok(()),
        }
    }
}

/// Reads the batch after `position`; returns where the next one starts, or `None` after the last.
fn lookup<K: Pod, V: Pod>(
    map: BorrowedFd<'_>,
    position: Option<u32>,
    keys: &mut Vec<K>,
    values: &mut Vec<V>,
) -> io::Result<Option<u32>> {
    let mut next = 0_u32;
    let mut attr = BatchAttr {
        in_batch: position.as_ref().map_or(0, address),
        out_batch: (&raw mut next) as u64,
        keys: keys.as_mut_ptr() as u64,
        values: values.as_mut_ptr() as u64,
        count: BATCH,
        map_fd: u32::try_from(map.as_raw_fd()).map_err(io::Error::other)?,
        ..BatchAttr::default()
    };
    // SAFETY: both buffers have room for `count` elements of the map's sizes, as the caller has checked; the
    // positions point to 32-bit words, as hash maps want them; `attr` is valid for its size.
    let result = unsafe { libc::syscall(libc::SYS_bpf, LOOKUP_BATCH, &raw mut attr, size_of::<BatchAttr>()) };
    let error = io::Error::last_os_error();
    let last = result != 0 && error.raw_os_error() == Some(libc::ENOENT);
    if result != 0 && !last {
        return Err(error);
    }
    // SAFETY: the kernel has filled `count` elements of each buffer; any bytes are valid for `Pod`.
    unsafe {
        keys.set_len(attr.count as usize);
        values.set_len(attr.count as usize);
    }
    Ok((!last).then_some(next))
}

fn address<T>(value: &T) -> u64 {
    std::ptr::from_ref(value) as u64
}
