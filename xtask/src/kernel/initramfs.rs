//! The first file system of the machine: the modules and programs that bring it to the host's.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};

use super::package::Kernel;

/// What mounting the host's file system needs.
const MODULES: [&str; 4] = ["virtio_pci", "9pnet_virtio", "9p", "overlay"];

/// What `init.sh` starts.
const PROGRAMS: [&str; 6] = ["sh", "insmod", "mkdir", "mount", "switch_root", "umount"];

const INIT: &str = include_str!("init.sh");

/// File type and permissions (`man 7 inode`).
const DIRECTORY: u32 = 0o040_755;
const EXECUTABLE: u32 = 0o100_755;

/// An archive for `-initrd` that ends in `script`, a path of the host.
pub fn build(kernel: &Kernel, script: &Path) -> Result<Vec<u8>> {
    let mut files = BTreeMap::new();
    for program in PROGRAMS {
        add_program(&mut files, program)?;
    }
    let mut order = Vec::new();
    for module in modules(kernel)? {
        let name = module.rsplit('/').next().unwrap_or(&module);
        files.insert(format!("modules/{name}"), read(Path::new(&module))?);
        order.push(format!("{name}\n"));
    }
    files.insert("modules/order".to_owned(), order.concat().into_bytes());
    let init = INIT.replace("SCRIPT", &super::quoted(script.as_os_str()));
    files.insert("init".to_owned(), init.into_bytes());
    Ok(archive(&files))
}

/// The program and its shared libraries, in the places where they are here.
fn add_program(files: &mut BTreeMap<String, Vec<u8>>, program: &str) -> Result<()> {
    let path = super::find(program).with_context(|| format!("there is no program {program}"))?;
    let linked = Command::new("ldd").arg(&path).output().context("cannot run ldd")?;
    let linked = String::from_utf8_lossy(&linked.stdout);
    for library in linked.split_whitespace().filter(|word| word.starts_with('/')) {
        files.insert(library.trim_start_matches('/').to_owned(), read(Path::new(library))?);
    }
    files.insert(format!("bin/{program}"), read(&path)?);
    Ok(())
}

/// Paths of the modules, each after those that it needs.
fn modules(kernel: &Kernel) -> Result<Vec<String>> {
    let mut modprobe = Command::new(super::find("modprobe").unwrap_or_else(|| "modprobe".into()));
    modprobe.arg("--dirname").arg(&kernel.root).args(["--set-version", &kernel.release]);
    let listed = modprobe.args(["--show-depends", "--all"]).args(MODULES).output();
    let listed = listed.context("cannot run modprobe")?;
    let problem = String::from_utf8_lossy(&listed.stderr);
    ensure!(listed.status.success(), "{} lacks a module: {}", kernel.release, problem.trim_end());
    Ok(in_order(&String::from_utf8_lossy(&listed.stdout)))
}

/// From lines `insmod <path> [options]`; those that are built in have others.
fn in_order(listed: &str) -> Vec<String> {
    let mut modules: Vec<String> = Vec::new();
    for path in listed.lines().filter_map(|line| line.strip_prefix("insmod ")?.split(' ').next()) {
        if !modules.iter().any(|known| known == path) {
            modules.push(path.to_owned());
        }
    }
    modules
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// In the format `newc` of cpio (Documentation/driver-api/early-userspace/buffer-format.rst of the kernel).
fn archive(files: &BTreeMap<String, Vec<u8>>) -> Vec<u8> {
    let mut archive = Vec::new();
    let mut directories = vec!["dev".to_owned()];
    for path in files.keys() {
        for (end, _) in path.match_indices('/') {
            if !directories.iter().any(|known| *known == path[..end]) {
                directories.push(path[..end].to_owned());
            }
        }
    }
    for directory in &directories {
        append(&mut archive, directory, DIRECTORY, &[]);
    }
    for (path, content) in files {
        append(&mut archive, path, EXECUTABLE, content);
    }
    append(&mut archive, "TRAILER!!!", 0, &[]);
    archive
}

fn append(archive: &mut Vec<u8>, path: &str, mode: u32, content: &[u8]) {
    let [size, name_size] = [content.len(), path.len() + 1];
    // The inode's number is 0 for all: it only matters to hard links, and none of these is one.
    let header = [0, mode as usize, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0];
    archive.extend(b"070701");
    for field in header {
        archive.extend(format!("{field:08X}").bytes());
    }
    archive.extend(path.bytes());
    archive.push(0);
    pad(archive);
    archive.extend(content);
    pad(archive);
}

fn pad(archive: &mut Vec<u8>) {
    archive.resize(archive.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_loaded_once_and_in_order() {
        let listed = "insmod /m/ring.ko \ninsmod /m/virtio.ko debug=1\nbuiltin zlib\ninsmod /m/ring.ko \n";
        assert_eq!(in_order(listed), ["/m/ring.ko", "/m/virtio.ko"]);
    }

    #[test]
    fn the_archive_has_directories_before_their_files() {
        let files = BTreeMap::from([("lib/x/y.so".to_owned(), b"abcde".to_vec())]);
        let archive = archive(&files);
        assert!(archive.len().is_multiple_of(4) && archive.starts_with(b"070701"));
        let at = |text: &str| {
            let found = archive.windows(text.len()).position(|window| window == text.as_bytes());
            found.unwrap_or_else(|| panic!("no {text:?}"))
        };
        let file = at("lib/x/y.so\0");
        assert!(at("lib\0") < at("lib/x\0") && at("lib/x\0") < file);
        let header = &archive[file - 110..file];
        assert_eq!(&header[..6], b"070701");
        assert_eq!(&header[54..62], b"00000005", "its size");
        assert_eq!(&header[94..102], b"0000000B", "its name's length, with the zero");
        assert_eq!(at("abcde"), (file + 11).next_multiple_of(4));
    }
}
