//! Who made a namespace or a directory: a process, told apart from later ones that were given the same
//! number.

use std::fmt;
use std::fs;
use std::str::FromStr;

/// A process identity that survives reuse of process numbers: the number and the start time together.
///
/// Two processes with the same number never have the same start time within one boot, and nothing the lab
/// leaves behind in `/run` or as a mount survives a reboot. The owner is looked up in this process's own PID
/// namespace: labs that share `/run/netns` must share `/proc` as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Owner {
    /// Process number.
    pub pid: u32,
    /// Start time in clock ticks since boot, field 22 of `/proc/<pid>/stat` (proc(5)).
    pub start_ticks: u64,
}

impl Owner {
    /// The identity of the running process.
    pub fn current() -> Self {
        let pid = std::process::id();
        let stat = ProcessStat::read(pid).expect("/proc/<own pid>/stat is readable");
        Self { pid, start_ticks: stat.start_ticks }
    }

    /// True while this very process runs. A zombie is dead: it can hold nothing any more.
    pub fn is_alive(&self) -> bool {
        ProcessStat::read(self.pid)
            .is_some_and(|stat| stat.start_ticks == self.start_ticks && !matches!(stat.state, 'Z' | 'X'))
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.pid, self.start_ticks)
    }
}

/// The text was not `<pid>-<start time>`.
#[derive(Debug, PartialEq, Eq)]
pub struct NotAnOwner;

impl FromStr for Owner {
    type Err = NotAnOwner;

    fn from_str(text: &str) -> Result<Self, NotAnOwner> {
        let (pid, start_ticks) = text.split_once('-').ok_or(NotAnOwner)?;
        Ok(Self {
            pid: pid.parse().map_err(|_| NotAnOwner)?,
            start_ticks: start_ticks.parse().map_err(|_| NotAnOwner)?,
        })
    }
}

/// The two fields of `/proc/<pid>/stat` that tell whether a process is still the one we mean.
struct ProcessStat {
    state: char,
    start_ticks: u64,
}

impl ProcessStat {
    fn read(pid: u32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// The command name may itself hold spaces and brackets: fields are counted after the last bracket.
    fn parse(stat: &str) -> Option<Self> {
        let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
        let state = fields.next()?.chars().next()?;
        let start_ticks = fields.nth(18)?.parse().ok()?;
        Some(Self { state, start_ticks })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn own_process_is_alive() {
        assert!(Owner::current().is_alive());
    }

    #[test]
    fn same_number_with_another_start_time_is_dead() {
        let me = Owner::current();
        assert!(!Owner { start_ticks: me.start_ticks + 1, ..me }.is_alive());
    }

    #[test]
    fn zombie_is_dead() {
        let mut child = Command::new("true").spawn().expect("spawn true");
        let stat = ProcessStat::read(child.id()).expect("an unreaped child has a stat file");
        let owner = Owner { pid: child.id(), start_ticks: stat.start_ticks };
        crate::poll_until(std::time::Duration::from_secs(5), "child to exit", || {
            (!owner.is_alive()).then_some(())
        });
        child.wait().expect("reap");
    }

    #[test]
    fn text_form_round_trips() {
        let owner = Owner { pid: 12, start_ticks: 3456 };
        assert_eq!(owner.to_string().parse(), Ok(owner));
        for bad in ["", "12", "12-", "-3", "12-x", "12-3-4", "+ 1-2"] {
            assert_eq!(bad.parse::<Owner>(), Err(NotAnOwner), "{bad:?}");
        }
    }

    #[test]
    fn command_names_with_brackets_do_not_shift_the_fields() {
        let stat = "7 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 20";
        let parsed = ProcessStat::parse(stat).expect("parses");
        assert_eq!((parsed.state, parsed.start_ticks), ('S', 4242));
    }
}
