//! What a namespace's network is set to: compared before and after, to show that nothing was changed or left behind.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use aya::programs::{SchedClassifier, TcAttachType};
use gateway_daemon::datapath::filter;

use crate::{netns::Namespace, tool};

/// Commands whose output says it. Learned neighbours are left out: traffic makes and forgets them.
const COMMANDS: [&[&str]; 9] = [
    &["ip", "-d", "link", "show"],
    &["ip", "addr", "show"],
    &["ip", "route", "show", "table", "all"],
    &["ip", "rule", "show"],
    &["ip", "neigh", "show", "nud", "permanent"],
    &["ip", "neigh", "show", "proxy"],
    &["nft", "list", "ruleset"],
    &["tc", "qdisc", "show"],
    &["ss", "-H", "-a", "-n", "-t", "-u", "-x"],
];

/// Kernel parameters, below `/proc/sys`.
const PARAMETERS: [&str; 3] = ["net/ipv4/conf", "net/ipv4/neigh", "net/ipv4/ip_forward"];

/// A description of it, by what was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemState(BTreeMap<String, String>);

impl SystemState {
    /// Looks at a namespace, and at whether these files exist.
    #[track_caller]
    pub fn of(namespace: &Namespace, files: &[PathBuf]) -> Self {
        let mut state = BTreeMap::new();
        for command in COMMANDS {
            let mut run = namespace.command(command[0]);
            run.args(&command[1..]);
            state.insert(command.join(" "), tool::run(run));
        }
        namespace.enter(|| {
            for path in PARAMETERS {
                read_parameters(&Path::new("/proc/sys").join(path), &mut state);
            }
            for interface in interfaces() {
                let programs = tcx_programs(&interface).unwrap_or_else(|| filters(&interface));
                state.insert(format!("TC programs of {interface}"), programs);
            }
        });
        for file in files {
            state.insert(format!("{} exists", file.display()), file.exists().to_string());
        }
        Self(state)
    }

    /// Is there something of which these words are a part?
    pub fn has(&self, words: &str) -> bool {
        self.0.values().any(|text| text.contains(words))
    }

    /// What is not as it was, a line each.
    pub fn changes(&self, later: &Self) -> Vec<String> {
        let keys: std::collections::BTreeSet<_> = self.0.keys().chain(later.0.keys()).collect();
        keys.into_iter().flat_map(|key| difference(key, self.0.get(key), later.0.get(key))).collect()
    }
}

/// Lines that only one of them has.
fn difference(key: &str, before: Option<&String>, after: Option<&String>) -> Vec<String> {
    let lines = |text: Option<&String>| -> Vec<String> {
        text.map(|text| text.lines().map(str::to_owned).collect()).unwrap_or_default()
    };
    let (before, after) = (lines(before), lines(after));
    let gone = before.iter().filter(|line| !after.contains(line)).map(|line| format!("{key}: - {line}"));
    let come = after.iter().filter(|line| !before.contains(line)).map(|line| format!("{key}: + {line}"));
    gone.chain(come).collect()
}

/// Those that cannot be read are write-only, and left out.
fn read_parameters(path: &Path, state: &mut BTreeMap<String, String>) {
    if let Ok(entries) = fs::read_dir(path) {
        entries.flatten().for_each(|entry| read_parameters(&entry.path(), state));
    } else if let Ok(value) = fs::read_to_string(path) {
        state.insert(path.display().to_string(), value);
    }
}

/// Of the calling thread's namespace. Not from `/sys`, which is that of another one.
fn interfaces() -> Vec<String> {
    let names = nix::net::if_::if_nameindex().expect("interfaces can be listed");
    names.iter().map(|interface| interface.name().to_string_lossy().into_owned()).collect()
}

/// None where the kernel has no TCX.
fn tcx_programs(interface: &str) -> Option<String> {
    if filter::is_needed(interface) {
        return None;
    }
    let (_, programs) = SchedClassifier::query_tcx(interface, TcAttachType::Ingress)
        .unwrap_or_else(|error| panic!("TCX programs of {interface}: {error}"));
    Some(programs.iter().map(|program| program.id().to_string()).collect::<Vec<_>>().join("\n"))
}

fn filters(interface: &str) -> String {
    let mut list = Command::new("tc");
    list.args(["filter", "show", "dev", interface, "ingress"]);
    tool::run(list)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::Session;

    #[test]
    fn changes_are_seen_and_their_absence_too() {
        let namespace = Namespace::create(&Session::start(), "state");
        let file = namespace.session().path("socket");
        let look = || SystemState::of(&namespace, std::slice::from_ref(&file));
        let before = look();
        assert_eq!(before.changes(&look()), Vec::<String>::new());
        namespace.ip(&["addr", "add", "192.0.2.7/32", "dev", "lo"]);
        namespace.sysctl("net/ipv4/conf/lo/forwarding", "1");
        fs::write(&file, "").expect("write a file");
        let changes = before.changes(&look()).join("\n");
        for change in ["+     inet 192.0.2.7/32", "conf/lo/forwarding: + 1", "exists: + true"] {
            assert!(changes.contains(change), "{change} in {changes}");
        }
    }
}
