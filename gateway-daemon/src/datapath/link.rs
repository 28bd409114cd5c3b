//! What is attached: is it still there, and where? Detaching it.
//!
//! Of pinned links the kernel is asked here: aya opens links to own them, and has no way to ask one about its target.
//! Filters are looked after in [`filter`].

use std::{
    ffi::CString,
    fs::File,
    io,
    mem::size_of,
    os::{
        fd::{AsRawFd as _, FromRawFd as _},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

use anyhow::Result;

use super::{
    filter,
    hook::Hook,
    pins::{LinkName, Pins},
};

/// `BPF_OBJ_GET` and `BPF_OBJ_GET_INFO_BY_FD` of `enum bpf_cmd`.
const OBJ_GET: libc::c_int = 7;
const OBJ_GET_INFO_BY_FD: libc::c_int = 15;

/// What the kernel says about a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkInfo {
    /// The program in it.
    pub program_id: u32,
    /// The interface that it is attached to; 0 when somebody has detached it by force, or the interface is gone.
    pub ifindex: u32,
}

#[repr(C)]
#[derive(Default)]
struct ObjGetAttr {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

#[repr(C)]
struct InfoAttr {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
}

/// The beginning of `struct bpf_link_info`. For XDP and TCX the union begins with the interface.
#[repr(C)]
#[derive(Default)]
struct RawInfo {
    kind: u32,
    id: u32,
    program_id: u32,
    pad: u32,
    ifindex: u32,
    rest: [u32; 27],
}

/// Looks at an attachment; none when it is gone.
///
/// # Errors
///
/// What the kernel says.
pub fn inspect(pins: &Pins, name: &LinkName) -> io::Result<Option<LinkInfo>> {
    match name.hook {
        Hook::TcFilter => filter::inspect(pins, name),
        Hook::Tc | Hook::XdpNative | Hook::XdpGeneric => inspect_pinned(&pins.link(name)),
    }
}

/// Removes an attachment, and what the pins say of it.
///
/// # Errors
///
/// What the kernel says.
pub fn detach(pins: &Pins, name: &LinkName) -> Result<()> {
    match name.hook {
        Hook::TcFilter => filter::remove(pins, name),
        Hook::Tc | Hook::XdpNative | Hook::XdpGeneric => pins.remove_link(name),
    }
}

fn inspect_pinned(path: &Path) -> io::Result<Option<LinkInfo>> {
    match open(path) {
        Ok(link) => info(&link).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn open(path: &Path) -> io::Result<File> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let attr = ObjGetAttr { pathname: path.as_ptr() as u64, ..ObjGetAttr::default() };
    // SAFETY: `attr` is valid for its size, and the path is a C string that lives until after the call.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, OBJ_GET, &raw const attr, size_of::<ObjGetAttr>()) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    let fd = libc::c_int::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made this descriptor for us alone.
    Ok(unsafe { File::from_raw_fd(fd) })
}

fn info(link: &File) -> io::Result<LinkInfo> {
    let mut raw = RawInfo::default();
    let attr = InfoAttr {
        bpf_fd: u32::try_from(link.as_raw_fd()).map_err(io::Error::other)?,
        info_len: u32::try_from(size_of::<RawInfo>()).map_err(io::Error::other)?,
        info: (&raw mut raw) as u64,
    };
    // SAFETY: `attr` is valid for its size, and `raw` for the length that it names.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, OBJ_GET_INFO_BY_FD, &raw const attr, size_of::<InfoAttr>()) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(LinkInfo { program_id: raw.program_id, ifindex: raw.ifindex })
}
