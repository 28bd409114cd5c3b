//! The virtual machine.

use std::{
    fmt::{self, Display},
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use anyhow::{Context as _, Result, ensure};

use super::{initramfs, package::Kernel};

const QEMU: &str = "qemu-system-x86_64";

/// program, package
const NEEDED: [(&str, &str); 6] = [
    (QEMU, "qemu-system-x86"),
    ("depmod", "kmod"),
    ("insmod", "kmod"),
    ("modprobe", "kmod"),
    ("switch_root", "util-linux"),
    ("ldd", "libc-bin"),
];

/// After this the machine is stopped: four times what the usual suites take on two emulated processors.
const LIMIT: &str = "40m";

/// Half of it is room for files.
const MEMORY: &str = "4G";

/// More than this help no test, and cost the emulation locks.
const PROCESSORS_MAX: usize = 4;

/// The line that the guest ends with.
const STATUS: &str = "status: ";

/// So much of the kernel's messages is shown when it ended too early.
const LAST_LINES: usize = 30;

/// How the guest's instructions run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accelerator {
    /// By the processor.
    Kvm,
    /// By emulation, ten times slower and more.
    Emulation,
}

impl Display for Accelerator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kvm => "KVM",
            Self::Emulation => "emulated, which is slow",
        })
    }
}

/// A machine that is ready to start.
#[derive(Debug)]
pub struct Machine {
    image: PathBuf,
    initramfs: PathBuf,
    console: PathBuf,
    accelerator: Accelerator,
}

/// # Errors
///
/// When a program is missing: the error says what to install. Or on another architecture.
pub fn require_programs() -> Result<()> {
    ensure!(cfg!(target_arch = "x86_64"), "`--kernel` is for x86-64 machines");
    super::require(&NEEDED)
}

impl Machine {
    /// Writes what it starts from into `directory`; its first process will be a shell with `script`.
    ///
    /// # Errors
    ///
    /// When a file cannot be read or written.
    pub fn new(kernel: &Kernel, script: &Path, directory: &Path) -> Result<Self> {
        let initramfs = directory.join("initramfs");
        fs::write(&initramfs, initramfs::build(kernel, script)?)
            .with_context(|| format!("cannot write {}", initramfs.display()))?;
        let console = directory.join("console.log");
        Ok(Self { image: kernel.image(), initramfs, console, accelerator: accelerator() })
    }

    /// How it will run.
    pub fn accelerator(&self) -> Accelerator {
        self.accelerator
    }

    /// Runs it to its end. The first serial line is the kernel's, the second the tests'.
    pub fn command(&self) -> Command {
        let processors = thread::available_parallelism().map_or(1, |count| count.get().min(PROCESSORS_MAX));
        let mut command = Command::new("timeout");
        command.args(["--foreground", "--kill-after=10", LIMIT, QEMU, "-no-reboot", "-nodefaults"]);
        command.args(["-display", "none", "-m", MEMORY, "-smp", &processors.to_string()]);
        command.args(match self.accelerator {
            Accelerator::Kvm => ["-accel", "kvm", "-cpu", "host"],
            Accelerator::Emulation => ["-accel", "tcg,thread=multi", "-cpu", "max"],
        });
        command.arg("-kernel").arg(&self.image).arg("-initrd").arg(&self.initramfs);
        // A panic ends the machine: -1 is "at once", and `-no-reboot` takes it for the end.
        command.args(["-append", "console=ttyS0 panic=-1 quiet"]);
        command.arg("-serial").arg(format!("file:{}", self.console.display()));
        command.args(["-serial", "stdio"]);
        command.args(["-fsdev", "local,id=host,path=/,security_model=none,readonly=on,multidevs=remap"]);
        command.args(["-device", "virtio-9p-pci,fsdev=host,mount_tag=host"]);
        command
    }

    /// The end of the kernel's messages.
    pub fn last_words(&self) -> String {
        let text = fs::read(&self.console).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
    }
}

/// The status that the guest's tests ended with; none when it did not come so far.
pub fn status(output: &str) -> Option<u32> {
    output.lines().rev().find_map(|line| line.trim_end().strip_prefix(STATUS)?.parse().ok())
}

fn accelerator() -> Accelerator {
    let can_open = File::options().read(true).write(true).open("/dev/kvm").is_ok();
    let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    if can_open && has_virtualisation(&processors) { Accelerator::Kvm } else { Accelerator::Emulation }
}

/// Where the processor cannot, as in most virtual machines, there may be a KVM that runs only kernels made for it.
fn has_virtualisation(cpuinfo: &str) -> bool {
    let flags = cpuinfo.lines().find_map(|line| line.strip_prefix("flags")?.split_once(':'));
    flags.is_some_and(|(_, flags)| flags.split_whitespace().any(|flag| flag == "vmx" || flag == "svm"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_status_counts() {
        assert_eq!(status("status: 1\ntest result: ok\nstatus: 0\r\n"), Some(0));
        assert_eq!(status("status: 101\n"), Some(101));
        assert_eq!(status("running 3 tests\nstatus: \n"), None);
    }

    #[test]
    fn kvm_needs_a_processor_that_has_it() {
        assert!(has_virtualisation("processor\t: 0\nflags\t\t: fpu vmx ssse3\n"));
        assert!(has_virtualisation("flags\t\t: fpu svm\n"));
        assert!(!has_virtualisation("flags\t\t: fpu\nvmx flags\t: vnmi\n"));
    }
}
