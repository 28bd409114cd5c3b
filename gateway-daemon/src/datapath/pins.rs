//! Where maps and links are pinned.
//!
//! ```text
//! <daemon.bpffs>/v<ABI version>/maps/<MAP NAME>
//! <daemon.bpffs>/v<ABI version>/links/<interface>@<index>@<hook>
//! ```
//!
//! Everything that the data path needs lives here, so it outlives the daemon. The version is that of the map layout:
//! a daemon never adopts maps of another one by their path. Those that have not changed it pins under its own as well.
//!
//! `<daemon.bpffs>/discarded` is what a killed daemon had no time to remove.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use gateway_common::limits::ABI_VERSION;
use nix::{
    mount::{MsFlags, mount},
    sys::statfs::{BPF_FS_MAGIC, statfs},
};

use super::{hook::Hook, migrate::OLDEST_VERSION};

/// The directories of one gateway in a BPF file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pins {
    base: PathBuf,
    version: u32,
}

/// What the name of a pinned link says.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkName {
    /// The interface's name.
    pub interface: String,
    /// The interface's index: a device of the same name that was made anew has another one.
    pub ifindex: u32,
    /// The hook.
    pub hook: Hook,
}

impl LinkName {
    /// The file name. A BPF file system takes no dots (`bpf_lookup` in kernel/bpf/inode.c), which names of VLAN devices
    /// usually have: they stand there as `%2E`, and `%` as `%25`.
    pub fn file_name(&self) -> String {
        let interface = self.interface.replace('%', "%25").replace('.', "%2E");
        format!("{interface}@{}@{}", self.ifindex, self.hook)
    }

    /// From a file name; `None` if it is not of this form.
    pub fn parse(file_name: &str) -> Option<Self> {
        let mut parts = file_name.rsplitn(3, '@');
        let hook = parts.next()?;
        let hook = Hook::ALL.into_iter().find(|known| known.name() == hook)?;
        let ifindex = parts.next()?.parse().ok()?;
        let interface = parts.next()?.replace("%2E", ".").replace("%25", "%");
        Some(Self { interface, ifindex, hook })
    }
}

impl Pins {
    /// Under the configured directory.
    pub fn new(bpffs: &Path) -> Self {
        Self { base: bpffs.to_owned(), version: ABI_VERSION }
    }

    fn root(&self) -> PathBuf {
        self.base.join(format!("v{}", self.version))
    }

    fn discarded(&self) -> PathBuf {
        self.base.join("discarded")
    }

    /// Where maps are pinned.
    pub fn maps(&self) -> PathBuf {
        self.root().join("maps")
    }

    /// The pin of one map.
    pub fn map(&self, name: &str) -> PathBuf {
        self.maps().join(name)
    }

    /// The pin of one link.
    pub fn link(&self, name: &LinkName) -> PathBuf {
        self.links().join(name.file_name())
    }

    fn links(&self) -> PathBuf {
        self.root().join("links")
    }

    /// Makes the directories, and mounts a BPF file system when the configured place is not in one.
    pub fn prepare(&self) -> Result<()> {
        let place = existing_ancestor(&self.base);
        if !is_bpffs(place)? {
            fs::create_dir_all(&self.base).with_context(|| format!("cannot make {}", self.base.display()))?;
            mount_bpffs(&self.base)?;
        }
        for directory in [self.maps(), self.links()] {
            fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
        }
        Ok(())
    }

    /// Takes the directory for this process, until the returned file is closed.
    ///
    /// # Errors
    ///
    /// When another process has it: a running daemon.
    pub fn lock(&self) -> Result<File> {
        let directory =
            File::open(&self.base).with_context(|| format!("cannot open {}", self.base.display()))?;
        match directory.try_lock() {
            Ok(()) => Ok(directory),
            Err(TryLockError::WouldBlock) => bail!(
                "a running gateway-daemon owns {}: stop it first, or give this one another `daemon.bpffs` and other \
                 interfaces",
                self.base.display()
            ),
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("cannot lock {}", self.base.display()))
            }
        }
    }

    /// Is there anything to remove?
    pub fn exist(&self) -> bool {
        self.base.exists()
    }

    /// The state of an earlier version that this daemon can take over, if there is one.
    ///
    /// # Errors
    ///
    /// When there is one that it can't: of a newer daemon, or of one that is too old. Its programs would still be
    /// attached.
    pub fn earlier_version(&self) -> Result<Option<Self>> {
        let mut earlier = None;
        for version in self.versions()?.into_iter().filter(|version| *version != self.version) {
            if version > self.version {
                bail!(
                    "{} holds the state of a newer gateway-daemon (layout {version}, this one knows {} and earlier): \
                     start that version again, or end all flows with its `gateway-daemon unload`",
                    self.base.display(),
                    self.version
                );
            }
            if version < OLDEST_VERSION {
                bail!(
                    "{} holds the state of a gateway-daemon that is too old (layout {version}, this one takes over \
                     {OLDEST_VERSION} and later): end all flows with its `gateway-daemon unload`, then start this one",
                    self.base.display()
                );
            }
            // Two of them are what two unfinished upgrades left: the later one has all that lived.
            earlier = earlier.max(Some(version));
        }
        Ok(earlier.map(|version| Self { base: self.base.clone(), version }))
    }

    /// Versions of which something is pinned.
    fn versions(&self) -> Result<Vec<u32>> {
        let names = names_in(&self.base)?;
        Ok(names.iter().filter_map(|name| name.strip_prefix('v')?.parse().ok()).collect())
    }

    /// Takes a pinned link over from `earlier`; the program in it stays as it is.
    pub fn take_link(&self, earlier: &Self, name: &LinkName) -> Result<()> {
        let (from, to) = (earlier.link(name), self.link(name));
        fs::rename(&from, &to).with_context(|| format!("cannot move {} to {}", from.display(), to.display()))
    }

    /// Version of the map layout.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Every pinned link.
    pub fn link_names(&self) -> Result<Vec<LinkName>> {
        Ok(names_in(&self.links())?.iter().filter_map(|name| LinkName::parse(name)).collect())
    }

    /// Removes a pinned link: the program is detached with it.
    pub fn remove_link(&self, name: &LinkName) -> Result<()> {
        let path = self.link(name);
        fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))
    }

    /// Every pinned map.
    pub fn map_names(&self) -> Result<Vec<String>> {
        names_in(&self.maps())
    }

    /// Removes the pin of a map.
    pub fn remove_map(&self, name: &str) -> Result<()> {
        let path = self.map(name);
        fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))
    }

    /// Removes the pins of all maps.
    pub fn remove_maps(&self) -> Result<usize> {
        let names = self.map_names()?;
        for name in &names {
            self.remove_map(name)?;
        }
        Ok(names.len())
    }

    /// Removes all of this version. In one step as far as others see: a daemon that is killed on the way leaves nothing
    /// that the next one would take for it.
    pub fn discard(&self) -> Result<()> {
        self.clear_discarded()?;
        let (from, to) = (self.root(), self.discarded());
        fs::rename(&from, &to)
            .with_context(|| format!("cannot move {} to {}", from.display(), to.display()))?;
        self.clear_discarded()
    }

    /// Removes what was discarded.
    pub fn clear_discarded(&self) -> Result<()> {
        let path = self.discarded();
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", path.display()))
            }
            _ => Ok(()),
        }
    }

    /// Removes the directories, which must be empty by now. The configured one stays when it was there before us (a
    /// mount point, say).
    pub fn remove_directories(&self) -> Result<()> {
        for directory in [self.maps(), self.links(), self.root()] {
            match fs::remove_dir(&directory) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("cannot remove {}", directory.display()));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// File names in a directory; none when it does not exist.
fn names_in(directory: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(|| format!("cannot read {}", directory.display()))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot read {}", directory.display()))?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

fn existing_ancestor(path: &Path) -> &Path {
    path.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(Path::new("/"))
}

fn is_bpffs(path: &Path) -> Result<bool> {
    let stat = statfs(path).with_context(|| format!("cannot look at {}", path.display()))?;
    Ok(stat.filesystem_type() == BPF_FS_MAGIC)
}

fn mount_bpffs(path: &Path) -> Result<()> {
    mount(Some("bpf"), path, Some("bpf"), MsFlags::empty(), Some("mode=0700")).with_context(|| {
        format!(
            "{} is not in a BPF file system, and mounting one there failed: `mount -t bpf bpf DIR`",
            path.display()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::{LinkName, Pins};
    use crate::datapath::hook::Hook;
    use std::path::Path;

    #[test]
    fn link_names_survive_the_file_system() {
        for hook in Hook::ALL {
            for interface in ["eth0.100", "eth0", "a@b%2E%25.c"] {
                let name = LinkName { interface: interface.to_owned(), ifindex: 7, hook };
                assert!(!name.file_name().contains('.'), "{}", name.file_name());
                assert_eq!(LinkName::parse(&name.file_name()), Some(name));
            }
        }
        for bad in ["", "eth0", "eth0@x@tc", "eth0@1@nonsense", "@"] {
            assert_eq!(LinkName::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_layout_version_is_in_every_path() {
        let pins = Pins::new(Path::new("/sys/fs/bpf/two-ip-gateway"));
        assert_eq!(pins.map("FLOWS"), Path::new("/sys/fs/bpf/two-ip-gateway/v3/maps/FLOWS"));
    }
}
