//! A network namespace that exists as long as its guard.

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::panic::resume_unwind;
use std::process::Command;
use std::sync::{Arc, Mutex, Weak};
use std::thread;

use nix::sched::{CloneFlags, setns};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::getppid;

use crate::process::Child;
use crate::session::Session;
use crate::tool;

/// One named network namespace, `gwl-<pid>-<start time>-<sequence>-<role>`.
///
/// Drop ends the processes that were started in it through [`crate::process::Proc`], and only those, then
/// deletes it.
#[derive(Debug)]
pub struct Namespace {
    session: Arc<Session>,
    role: String,
    name: String,
    handle: OwnedFd,
    children: Mutex<Vec<Weak<Child>>>,
}

impl Namespace {
    /// Makes the namespace, with loopback up, IPv6 off and the reverse path filter off.
    ///
    /// IPv6 is off because router solicitations and duplicate address detection would show up in captures.
    pub fn create(session: &Arc<Session>, role: &str) -> Self {
        let name = format!("{}-{role}", session.name());
        tool::run(tool::ip(["netns", "add", &name]));
        let handle = File::open(format!("/run/netns/{name}"))
            .unwrap_or_else(|error| panic!("open namespace {name}: {error}"))
            .into();
        let namespace = Self {
            session: Arc::clone(session),
            role: role.to_owned(),
            name,
            handle,
            children: Mutex::default(),
        };
        namespace.quieten();
        namespace
    }

    fn quieten(&self) {
        for scope in ["all", "default"] {
            self.sysctl(&format!("net/ipv6/conf/{scope}/disable_ipv6"), "1");
            self.sysctl(&format!("net/ipv4/conf/{scope}/rp_filter"), "0");
        }
        self.ip(&["link", "set", "lo", "up"]);
    }

    /// The name under `/run/netns`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is for: `npci`, `gateway`, `tenant1`.
    pub fn role(&self) -> &str {
        &self.role
    }

    /// The lab that it belongs to.
    pub fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// A program that will run inside the namespace.
    ///
    /// Only the network namespace changes (`setns` before `exec`): unlike under `ip netns exec`, `/sys` and
    /// every bpffs stay visible. The child dies with the *thread* that spawns it; [`crate::process::Proc`]
    /// ties it to the process instead.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let handle = self.handle.try_clone().expect("duplicate a namespace descriptor");
        let parent = i32::try_from(std::process::id()).expect("process numbers are positive and fit");
        let enter = move || {
            setns(handle.as_fd(), CloneFlags::CLONE_NEWNET)?;
            set_pdeathsig(Signal::SIGKILL)?;
            // The parent may have died before the death signal was armed.
            if getppid().as_raw() == parent { Ok(()) } else { Err(nix::errno::Errno::ESRCH.into()) }
        };
        // SAFETY: the closure runs between fork and exec and only makes system calls (setns, prctl, getppid);
        // it neither allocates nor takes a lock.
        unsafe { command.pre_exec(enter) };
        command
    }

    /// Runs `work` on a fresh thread inside the namespace and returns its value; a panic in it goes on in the
    /// caller.
    ///
    /// Sockets opened by `work` stay in the namespace wherever they are used later.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                self.join_this_thread();
                work()
            });
            inside.join().unwrap_or_else(|panic| resume_unwind(panic))
        })
    }

    /// Moves the calling thread into the namespace for good. For threads that the caller made itself.
    pub fn join_this_thread(&self) {
        setns(self.handle.as_fd(), CloneFlags::CLONE_NEWNET)
            .unwrap_or_else(|error| panic!("enter namespace {}: {error}", self.name));
    }

    /// Runs `ip` on this namespace and returns its output.
    #[track_caller]
    pub fn ip(&self, arguments: &[&str]) -> String {
        tool::run(self.ip_command(arguments))
    }

    /// Runs several `ip` commands, one a line, in one process.
    #[track_caller]
    pub fn ip_batch(&self, lines: &str) {
        tool::run_with_input(self.ip_command(&["-batch", "-"]), lines);
    }

    fn ip_command(&self, arguments: &[&str]) -> Command {
        let mut command = tool::ip(["-n", &self.name]);
        command.args(arguments);
        command
    }

    /// Sets a kernel parameter, given as a path below `/proc/sys` (`net/ipv4/ip_forward`): interface names
    /// have dots.
    #[track_caller]
    pub fn sysctl(&self, path: &str, value: &str) {
        self.enter(|| fs::write(format!("/proc/sys/{path}"), value))
            .unwrap_or_else(|error| panic!("sysctl {path}={value} in {}: {error}", self.name));
    }

    /// Switches offloads of an interface, as in `ethtool -K eth0 tx off`.
    #[track_caller]
    pub fn offloads(&self, interface: &str, settings: &[&str]) {
        let mut command = self.command("ethtool");
        command.args(["-K", interface]).args(settings);
        tool::run(command);
    }

    /// The link-layer address of an interface.
    #[track_caller]
    pub fn mac(&self, interface: &str) -> crate::packet::Mac {
        let text = self.ip(&["-o", "link", "show", "dev", interface]);
        let mac = text.split("link/ether ").nth(1).and_then(|rest| rest.split(' ').next());
        mac.and_then(|mac| mac.parse().ok())
            .unwrap_or_else(|| panic!("no link-layer address of {interface} in {text:?}"))
    }

    /// True when the neighbour table of an interface holds a confirmed entry.
    pub fn knows_neighbour(&self, interface: &str, address: Ipv4Addr) -> bool {
        self.ip(&["neigh", "show", "to", &address.to_string(), "dev", interface]).contains("lladdr")
    }

    /// Addresses, routes, neighbours and link counters, for the evidence of a failed test.
    pub fn describe(&self) -> String {
        let sections: [&[&str]; 4] = [
            &["-s", "-d", "link", "show"],
            &["addr", "show"],
            &["route", "show", "table", "all"],
            &["neigh", "show"],
        ];
        sections.iter().fold(format!("### {} ({})\n", self.role, self.name), |text, arguments| {
            let shown = tool::try_run(self.ip_command(arguments)).unwrap_or_else(|problem| problem);
            format!("{text}--- ip {}\n{shown}", arguments.join(" "))
        })
    }

    /// Notes a child that must end before the namespace does.
    pub(crate) fn adopt(&self, child: &Arc<Child>) {
        let mut children = self.children.lock().expect("no panic while the list is locked");
        children.retain(|known| known.strong_count() > 0);
        children.push(Arc::downgrade(child));
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        self.session.note_panic();
        let children = self.children.get_mut().map(std::mem::take).unwrap_or_default();
        children.iter().filter_map(Weak::upgrade).for_each(|child| child.end());
        if let Err(problem) = tool::try_run(tool::ip(["netns", "del", &self.name])) {
            eprintln!("lab: namespace {} not deleted: {problem}", self.name);
        }
    }
}
