//! Reading and writing maps in batches: one system call for thousands of entries instead of one or two for each.
//!
//! aya has no wrapper for the batch commands (kernel 5.6, commit cb4d03ab499d; for tries 5.14, commit 740b486a8d1f).

use std::{
    io,
    mem::size_of,
    os::fd::{AsFd as _, AsRawFd as _},
};

use aya::{Pod, maps::MapData};

/// Entries a call. The kernel refuses (`ENOSPC`) to split a bucket of a hash map, so it must exceed any bucket's length
/// by far.
const BATCH: usize = 4096;

/// Room for a position: four bytes in a hash map, a key in the others.
const POSITION_BYTES: usize = 64;

/// Commands of `enum bpf_cmd`.
#[derive(Clone, Copy)]
#[repr(i32)]
enum Command {
    Lookup = 24,
    Update = 26,
    Delete = 27,
}

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

/// Where a reader of a map is, who reads it a part at a time.
#[derive(Default)]
pub struct Cursor(Option<Position>);

/// Where a batch ended, as the kernel wrote it.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Position([u8; POSITION_BYTES]);

/// Calls `visit` for every entry of a hash map or trie. Entries that come or go meanwhile may be seen or not, and an
/// entry may be seen twice; none that stays is missed.
///
/// # Errors
///
/// What the kernel says; `InvalidInput` when the map's keys or values are of another size.
pub fn for_each<K: Pod, V: Pod>(map: &MapData, mut visit: impl FnMut(&K, &V)) -> io::Result<()> {
    let mut cursor = Cursor::default();
    while for_some::<K, V>(map, &mut cursor, usize::MAX, &mut visit)? == Rest::Some {}
    Ok(())
}

/// Is there more behind the cursor?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Rest {
    /// Nothing: the cursor is at the beginning again.
    None,
    /// Perhaps.
    Some,
}

/// As [`for_each`], from the cursor on, and no further than the first batch that ends at or after `most` entries. Over a
/// whole round, also one of several calls, none that stays is missed.
///
/// # Errors
///
/// As [`for_each`]. The cursor stays where it is.
pub fn for_some<K: Pod, V: Pod>(
    map: &MapData,
    cursor: &mut Cursor,
    most: usize,
    mut visit: impl FnMut(&K, &V),
) -> io::Result<Rest> {
    check_sizes::<K, V>(map)?;
    let mut keys: Vec<K> = Vec::with_capacity(BATCH);
    let mut values: Vec<V> = Vec::with_capacity(BATCH);
    let mut read = 0;
    while read < most {
        cursor.0 = lookup(map, cursor.0.as_ref(), BATCH, &mut keys, &mut values)?;
        read += keys.len();
        for (key, value) in keys.iter().zip(&values) {
            visit(key, value);
        }
        if cursor.0.is_none() {
            return Ok(Rest::None);
        }
    }
    Ok(Rest::Some)
}

/// The values of an array from index `first` on; fewer than `count` when the array ends before.
///
/// # Errors
///
/// As [`for_each`].
pub fn array_range<V: Pod>(map: &MapData, first: u32, count: usize) -> io::Result<Vec<V>> {
    check_sizes::<u32, V>(map)?;
    let mut keys: Vec<u32> = Vec::with_capacity(count);
    let mut values: Vec<V> = Vec::with_capacity(count);
    // The kernel begins with the key after the position.
    let position = first.checked_sub(1).map(|before| {
        let mut bytes = [0; POSITION_BYTES];
        bytes[..4].copy_from_slice(&before.to_ne_bytes());
        Position(bytes)
    });
    lookup(map, position.as_ref(), count, &mut keys, &mut values)?;
    Ok(values)
}

/// Writes entries, existing or new.
///
/// # Errors
///
/// What the kernel says; the entries before the one that it refused are written.
pub fn update<K: Pod, V: Pod>(map: &MapData, keys: &[K], values: &[V]) -> io::Result<()> {
    check_sizes::<K, V>(map)?;
    for (keys, values) in keys.chunks(BATCH).zip(values.chunks(BATCH)) {
        let attr = BatchAttr { values: values.as_ptr() as u64, ..attr_of(map, keys)? };
        // SAFETY: keys and values are as many elements of the map's sizes as `count` says.
        unsafe { call(Command::Update, attr) }?;
    }
    Ok(())
}

/// Removes entries.
///
/// # Errors
///
/// What the kernel says, `NotFound` for a key that is not there; the entries before it are removed.
pub fn delete<K: Pod>(map: &MapData, keys: &[K]) -> io::Result<()> {
    if map.info().map_err(io::Error::other)?.key_size() as usize != size_of::<K>() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for keys in keys.chunks(BATCH) {
        // SAFETY: keys are as many elements of the map's key size as `count` says.
        unsafe { call(Command::Delete, attr_of(map, keys)?) }?;
    }
    Ok(())
}

fn check_sizes<K, V>(map: &MapData) -> io::Result<()> {
    let info = map.info().map_err(io::Error::other)?;
    let fits = info.key_size() as usize == size_of::<K>() && info.value_size() as usize == size_of::<V>();
    if fits { Ok(()) } else { Err(io::ErrorKind::InvalidInput.into()) }
}

fn attr_of<K>(map: &MapData, keys: &[K]) -> io::Result<BatchAttr> {
    Ok(BatchAttr {
        keys: keys.as_ptr() as u64,
        count: u32::try_from(keys.len()).map_err(io::Error::other)?,
        map_fd: u32::try_from(map.fd().as_fd().as_raw_fd()).map_err(io::Error::other)?,
        ..BatchAttr::default()
    })
}

/// Reads at most `count` entries after `position`; returns where the next ones start, or `None` after the last.
fn lookup<K: Pod, V: Pod>(
    map: &MapData,
    position: Option<&Position>,
    count: usize,
    keys: &mut Vec<K>,
    values: &mut Vec<V>,
) -> io::Result<Option<Position>> {
    keys.clear();
    values.clear();
    let mut next = Position([0; POSITION_BYTES]);
    let attr = BatchAttr {
        in_batch: position.map_or(0, |position| std::ptr::from_ref(position) as u64),
        out_batch: (&raw mut next) as u64,
        keys: keys.as_mut_ptr() as u64,
        values: values.as_mut_ptr() as u64,
        count: u32::try_from(count).map_err(io::Error::other)?,
        ..attr_of::<K>(map, &[])?
    };
    // SAFETY: both buffers have room for `count` elements of the map's sizes, as the callers have seen to; positions
    // are larger than any key.
    let (read, ended) = unsafe { call(Command::Lookup, attr) }?;
    // SAFETY: the kernel has filled so many elements of each buffer; any bytes are valid for `Pod`.
    unsafe {
        keys.set_len(read);
        values.set_len(read);
    }
    Ok((!ended).then_some(next))
}

/// Returns how many entries were handled, and whether a lookup has reached the end of the map.
///
/// # Safety
///
/// The pointers in `attr` are valid for what the command does with them.
unsafe fn call(command: Command, mut attr: BatchAttr) -> io::Result<(usize, bool)> {
    // SAFETY: `attr` is valid for its size; for what it points to, see above.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command as i32, &raw mut attr, size_of::<BatchAttr>()) };
    let error = io::Error::last_os_error();
    match (result, command, error.raw_os_error()) {
        (0, ..) => Ok((attr.count as usize, false)),
        (_, Command::Lookup, Some(libc::ENOENT)) => Ok((attr.count as usize, true)),
        _ => Err(error),
    }
}
