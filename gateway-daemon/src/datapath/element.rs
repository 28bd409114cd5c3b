//! One entry of a hash map at a time, through a shared reference.
//!
//! aya's typed maps want to be borrowed mutably to change anything, and the tables of flows are read by several tasks
//! while one of them ends flows. The kernel needs no such lock: each call is atomic by itself.

use std::{
    io,
    mem::size_of,
    os::fd::{AsFd as _, AsRawFd as _},
    ptr::{from_mut, from_ref},
};

use aya::{Pod, maps::MapData};

/// `BPF_MAP_LOOKUP_ELEM`, `BPF_MAP_UPDATE_ELEM` and `BPF_MAP_DELETE_ELEM` of `enum bpf_cmd`.
const LOOKUP: libc::c_int = 1;
const UPDATE: libc::c_int = 2;
const DELETE: libc::c_int = 3;
/// `BPF_NOEXIST`: the key must not be there.
const NO_EXIST: u64 = 1;
/// `BPF_EXIST`: the key must be there.
const EXIST: u64 = 2;

/// The member of `union bpf_attr` for single elements.
#[repr(C)]
struct ElementAttr {
    map_fd: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// Reads one entry; `None` when there is none.
///
/// # Errors
///
/// What the kernel says; `InvalidInput` when the map's keys or values are of another size.
pub fn lookup<K: Pod, V: Pod>(map: &MapData, key: &K) -> io::Result<Option<V>> {
    check_sizes::<K, V>(map)?;
    // SAFETY: any bytes are valid for `Pod`, zeros included.
    let mut value: V = unsafe { std::mem::zeroed() };
    let found = call(LOOKUP, map, key, from_mut(&mut value) as u64, 0)?;
    Ok(found.then_some(value))
}

/// Replaces one entry as a whole; false when it is not there any more.
///
/// # Errors
///
/// As [`lookup`].
pub fn replace<K: Pod, V: Pod>(map: &MapData, key: &K, value: &V) -> io::Result<bool> {
    check_sizes::<K, V>(map)?;
    call(UPDATE, map, key, from_ref(value) as u64, EXIST)
}

/// Adds one entry; false when there is one already, which stays as it is.
///
/// # Errors
///
/// As [`lookup`]; `E2BIG` when the map is full.
pub fn add<K: Pod, V: Pod>(map: &MapData, key: &K, value: &V) -> io::Result<bool> {
    check_sizes::<K, V>(map)?;
    match call(UPDATE, map, key, from_ref(value) as u64, NO_EXIST) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        result => result,
    }
}

/// Deletes one entry; false when there was none.
///
/// # Errors
///
/// As [`lookup`].
pub fn remove<K: Pod, V: Pod>(map: &MapData, key: &K) -> io::Result<bool> {
    check_sizes::<K, V>(map)?;
    call(DELETE, map, key, 0, 0)
}

fn check_sizes<K: Pod, V: Pod>(map: &MapData) -> io::Result<()> {
    let info = map.info().map_err(io::Error::other)?;
    if info.key_size() as usize == size_of::<K>() && info.value_size() as usize == size_of::<V>() {
        Ok(())
    } else {
        Err(io::Error::from(io::ErrorKind::InvalidInput))
    }
}

/// Runs the command; "no such entry" is an answer, not an error. The caller has checked the sizes.
fn call<K: Pod>(command: libc::c_int, map: &MapData, key: &K, value: u64, flags: u64) -> io::Result<bool> {
    let map_fd = u32::try_from(map.fd().as_fd().as_raw_fd()).map_err(io::Error::other)?;
    let mut attr = ElementAttr { map_fd, pad: 0, key: from_ref(key) as u64, value, flags };
    // SAFETY: key and value have the map's sizes; `attr` is valid for its size and outlives the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut attr, size_of::<ElementAttr>()) };
    if result == 0 {
        return Ok(true);
    }
    match io::Error::last_os_error() {
        error if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        error => Err(error),
    }
}
