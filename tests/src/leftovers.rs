//! Removal of what a killed test run left behind, and only that.
//!
//! A name is ours when it parses as a [`SessionName`], and left behind when the process in it is dead.
//! Processes need no removal: they die with the thread that started them (see [`crate::process`]).

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use crate::bpffs;
use crate::session::SessionName;
use crate::tool;

/// Where iproute2 keeps the names of namespaces.
const NETNS_DIR: &str = "/run/netns";

/// What [`remove`] took away.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Names of namespaces.
    pub namespaces: Vec<String>,
    /// Directories of sessions, their mounts included.
    pub directories: Vec<PathBuf>,
}

/// Removes the namespaces, mounts and directories of every lab whose creator is dead.
///
/// Two runs may do this at once: whoever comes second finds the thing gone, which is what it wanted.
pub fn remove() -> Removed {
    Removed { namespaces: remove_namespaces(), directories: remove_directories() }
}

fn remove_namespaces() -> Vec<String> {
    let dead: Vec<String> = names_in(Path::new(NETNS_DIR)).filter(|name| is_left_behind(name)).collect();
    for name in &dead {
        if let Err(problem) = tool::try_run(tool::ip(["netns", "del", name])) {
            warn_unless_gone(&Path::new(NETNS_DIR).join(name), &problem);
        }
    }
    dead
}

fn remove_directories() -> Vec<PathBuf> {
    let temp = env::temp_dir();
    let dead: Vec<PathBuf> =
        names_in(&temp).filter(|name| is_left_behind(name)).map(|name| temp.join(name)).collect();
    for dir in &dead {
        remove_directory(dir);
    }
    dead
}

/// Never descends into a mount that could not be taken off.
fn remove_directory(dir: &Path) {
    if let Err(error) = bpffs::unmount_all_below(dir) {
        return warn_unless_gone(dir, &format!("unmount: {error}"));
    }
    if let Err(error) = fs::remove_dir_all(dir) {
        warn_unless_gone(dir, &error.to_string());
    }
}

fn warn_unless_gone(path: &Path, problem: &str) {
    if path.exists() {
        eprintln!("lab: leftover {} not removed: {problem}", path.display());
    }
}

fn is_left_behind(name: &str) -> bool {
    SessionName::prefix_of(name).is_some_and(|session| !session.owner.is_alive())
}

fn names_in(dir: &Path) -> impl Iterator<Item = String> {
    fs::read_dir(dir).into_iter().flatten().filter_map(|entry| entry.ok()?.file_name().into_string().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::owner::Owner;

    #[test]
    fn only_names_of_dead_creators_are_left_behind() {
        let me = Owner::current();
        let dead = Owner { start_ticks: me.start_ticks + 1, ..me };
        assert!(!is_left_behind(&format!("gwl-{me}-0-npci")));
        assert!(is_left_behind(&format!("gwl-{dead}-0-npci")));
        assert!(!is_left_behind(&format!("other-{dead}-0-npci")));
    }
}
