//! Kernels from Debian's archive, unpacked below `target/kernel`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::step::{self, Output};

/// Every package of a kernel begins so.
const PREFIX: &str = "linux-image-";

/// Debian's stock kernel for a machine like this one.
const ARCHITECTURE: &str = "-amd64";

/// Built otherwise than the stock kernel, or not signed.
const OTHER_FLAVOURS: [&str; 4] = ["-rt-", "-cloud-", "-unsigned", "-dbg"];

/// An unpacked kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// Such as `6.1.0-56-amd64`.
    pub release: String,
    /// What the package holds, as it would lie in `/`.
    pub root: PathBuf,
}

impl Kernel {
    /// The kernel itself.
    pub fn image(&self) -> PathBuf {
        self.root.join(format!("boot/vmlinuz-{}", self.release))
    }

    /// What belongs to `/lib/modules`.
    pub fn modules(&self) -> PathBuf {
        self.root.join("lib/modules")
    }
}

/// The newest kernel of a version such as `6.1`: from a package that lies in `cache` already, else by apt.
///
/// # Errors
///
/// When there is none, or it cannot be unpacked.
pub fn kernel(version: &str, cache: &Path) -> Result<Kernel> {
    fs::create_dir_all(cache).with_context(|| format!("cannot make {}", cache.display()))?;
    let package = match cached(version, cache)? {
        Some(package) => package,
        None => download(version, cache)?,
    };
    let release = package.split('_').next().and_then(|name| name.strip_prefix(PREFIX));
    let release = release.with_context(|| format!("{package} is not named as kernels are"))?;
    unpack(&cache.join(&package), release, cache)
}

fn cached(version: &str, cache: &Path) -> Result<Option<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(cache).with_context(|| format!("cannot read {}", cache.display()))? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    let packages = names.iter().filter(|name| Path::new(name).extension().is_some_and(|end| end == "deb"));
    Ok(newest(packages.map(|name| (name.split('_').next().unwrap_or(name), name)), version).cloned())
}

/// Returns the name of the file.
fn download(version: &str, cache: &Path) -> Result<String> {
    let known = Command::new("apt-cache").args(["pkgnames", &format!("{PREFIX}{version}")]).output();
    let known = known.context("cannot run apt-cache")?;
    let names = String::from_utf8_lossy(&known.stdout);
    let Some(name) = newest(names.lines().map(|name| (name, name)), version) else {
        bail!(
            "apt knows no {PREFIX}{version}*{ARCHITECTURE}: run `apt-get update`; where apt's sources are another release's, \
             put the package, from https://packages.debian.org, into {}",
            cache.display()
        );
    };
    let step = format!("download of {name}");
    let mut download = Command::new("apt-get");
    download.args(["download", name]).current_dir(cache);
    step::run(&step, &mut download, Output::OnFailure)?.require(&step)?;
    cached(version, cache)?.with_context(|| format!("apt-get left no {name} in {}", cache.display()))
}

/// Of what is offered under names of packages, that of the newest stock kernel.
fn newest<'a, T>(offers: impl Iterator<Item = (&'a str, T)>, version: &str) -> Option<T> {
    let fitting = offers.filter(|(name, _)| is_stock(name, version));
    fitting.max_by_key(|(name, _)| numbers(name)).map(|(_, offer)| offer)
}

fn is_stock(package: &str, version: &str) -> bool {
    let rest = package.strip_prefix(PREFIX).and_then(|rest| rest.strip_prefix(version));
    rest.is_some_and(|rest| {
        let ends = rest.starts_with(['.', '-']);
        ends && rest.ends_with(ARCHITECTURE) && !OTHER_FLAVOURS.iter().any(|other| rest.contains(other))
    })
}

fn numbers(text: &str) -> Vec<u32> {
    text.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect()
}

/// Under another name first: what has its own is complete.
fn unpack(package: &Path, release: &str, cache: &Path) -> Result<Kernel> {
    let kernel = Kernel { release: release.to_owned(), root: cache.join(release) };
    if kernel.root.exists() {
        return Ok(kernel);
    }
    let unfinished = cache.join(format!("{release}.unfinished"));
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).with_context(|| format!("cannot remove {}", unfinished.display()))?;
    }
    let name = format!("unpacking of {release}");
    let mut extract = Command::new("dpkg-deb");
    extract.arg("--extract").args([package, &unfinished]);
    step::run(&name, &mut extract, Output::OnFailure)?.require(&name)?;
    let name = format!("index of the modules of {release}");
    let mut index = Command::new(super::find("depmod").unwrap_or_else(|| "depmod".into()));
    index.arg("--basedir").args([unfinished.as_os_str(), release.as_ref()]);
    step::run(&name, &mut index, Output::OnFailure)?.require(&name)?;
    fs::rename(&unfinished, &kernel.root)
        .with_context(|| format!("cannot rename {}", unfinished.display()))?;
    Ok(kernel)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFERS: [&str; 8] = [
        "linux-image-6.1.0-9-amd64",
        "linux-image-6.1.0-56-amd64",
        "linux-image-6.1.0-57-amd64-unsigned",
        "linux-image-6.1.0-58-rt-amd64",
        "linux-image-6.1.0-59-cloud-amd64",
        "linux-image-6.1.0-60-amd64-dbg",
        "linux-image-6.12.9-amd64",
        "linux-image-6.1.0-61-arm64",
    ];

    #[test]
    fn takes_the_newest_stock_kernel_of_the_version() {
        let newest = |version| newest(OFFERS.iter().map(|name| (*name, *name)), version);
        assert_eq!(newest("6.1"), Some("linux-image-6.1.0-56-amd64"));
        assert_eq!(newest("6.12"), Some("linux-image-6.12.9-amd64"));
        assert_eq!(newest("6.1.0-9"), Some("linux-image-6.1.0-9-amd64"));
        assert_eq!(newest("6"), Some("linux-image-6.12.9-amd64"));
        assert_eq!(newest("5.10"), None);
    }
}
