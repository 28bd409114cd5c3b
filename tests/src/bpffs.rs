//! A BPF filesystem of the lab's own.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::session::Session;

/// Iterators that a kernel with `CONFIG_BPF_PRELOAD` pins at mount (kernel/bpf/preload).
const KERNELS_OWN: [&str; 2] = ["maps.debug", "progs.debug"];

/// A mounted bpffs below the lab's directory, unmounted on drop, which frees whatever is still pinned in it.
///
/// It is seen from every namespace of the lab, since those differ from the test process in their network
/// only.
#[derive(Debug)]
pub struct BpfFs {
    path: PathBuf,
}

impl BpfFs {
    /// Mounts at `<lab directory>/<name>`.
    pub fn mount(session: &Session, name: &str) -> Self {
        let path = session.path(name);
        fs::create_dir(&path).unwrap_or_else(|error| panic!("create {}: {error}", path.display()));
        mount(Some("bpffs"), &path, Some("bpf"), MsFlags::empty(), Some("mode=0700"))
            .unwrap_or_else(|error| panic!("mount bpffs at {}: {error}", path.display()));
        Self { path }
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Names of what is pinned, below the mount point, sorted. Empty when all was unloaded: what the kernel
    /// itself pins into every new mount does not count.
    pub fn pinned(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        collect_files(&self.path, &mut found);
        found.sort();
        let names = found.iter().map(|path| path.strip_prefix(&self.path).expect("found below it"));
        names
            .filter(|name| !KERNELS_OWN.iter().any(|own| *name == Path::new(own)))
            .map(Path::to_owned)
            .collect()
    }
}

impl Drop for BpfFs {
    fn drop(&mut self) {
        if let Err(error) = unmount(&self.path) {
            eprintln!("lab: bpffs {} not unmounted: {error}", self.path.display());
        }
    }
}

/// Takes off every mount at or below a directory, the innermost first.
pub fn unmount_all_below(dir: &Path) -> io::Result<()> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let mut points: Vec<&Path> = mount_points(&mounts).filter(|point| point.starts_with(dir)).collect();
    points.sort_by_key(|point| std::cmp::Reverse(point.components().count()));
    points.into_iter().try_for_each(|point| unmount(point).map_err(io::Error::from))
}

/// Lazily when something still uses it.
fn unmount(path: &Path) -> nix::Result<()> {
    match umount2(path, MntFlags::empty()) {
        Err(Errno::EBUSY) => umount2(path, MntFlags::MNT_DETACH),
        outcome => outcome,
    }
}

/// Field 5 of each line (proc(5)). The lab's own paths have no characters that the kernel escapes.
fn mount_points(mountinfo: &str) -> impl Iterator<Item = &Path> {
    mountinfo.lines().filter_map(|line| line.split(' ').nth(4)).map(Path::new)
}

fn collect_files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => collect_files(&entry.path(), found),
            _ => found.push(entry.path()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_mounted(path: &Path) -> bool {
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("readable");
        mount_points(&mounts).any(|point| point == path)
    }

    #[test]
    fn mounts_and_unmounts() {
        let session = Session::start();
        let bpffs = BpfFs::mount(&session, "bpffs");
        let path = bpffs.path().to_owned();
        assert!(is_mounted(&path));
        assert_eq!(bpffs.pinned(), Vec::<PathBuf>::new());
        drop(bpffs);
        assert!(!is_mounted(&path));
    }

    #[test]
    fn busy_mount_goes_lazily() {
        let session = Session::start();
        let bpffs = BpfFs::mount(&session, "bpffs");
        let path = bpffs.path().to_owned();
        let _open = fs::File::open(&path).expect("open the mount point");
        drop(bpffs);
        assert!(!is_mounted(&path));
    }

    #[test]
    fn nested_mounts_are_all_taken_off() {
        let session = Session::start();
        let (a, b) = (BpfFs::mount(&session, "a"), BpfFs::mount(&session, "b"));
        unmount_all_below(session.dir()).expect("unmounts");
        assert!(!is_mounted(a.path()) && !is_mounted(b.path()));
        std::mem::forget((a, b));
    }
}
