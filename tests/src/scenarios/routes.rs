//! The daemon's routes beside those of others: put in place, followed, left and removed; others' are never touched.

use std::time::Duration;

use super::system_state::SystemState;
use crate::{
    gateway::{Gateway, GatewayConfig, Route},
    lab::Lab,
    poll::try_poll,
    topology::Mode,
};

/// Where the routes lead to: nobody in the lab has these.
pub const TO: [&str; 2] = ["203.0.113.0/25", "203.0.113.128/25"];
/// The protocol of the daemon's routes.
const PROTOCOL: &str = "221";
/// Exit code of a start that failed.
const FAILED: i32 = 1;
/// For a start to be refused, and for a route to be put back.
const LIMIT: Duration = Duration::from_secs(10);

/// Two of NPCI's endpoints serve as routers.
pub fn routers(lab: &Lab) -> [String; 2] {
    [1, 2].map(|number| lab.plan.npci_endpoints[number].to_string())
}

/// Returns what was not as it should be.
#[track_caller]
pub fn run() -> Vec<String> {
    let lab = Lab::new(Mode::Tc);
    let [first, second] = routers(&lab);
    let mut stage = Stage { lab: &lab, problems: Vec::new() };
    let with = |routes: &[(&str, &str)]| {
        let routes: Vec<Route> = routes.iter().map(|(to, via)| Route::new(to, via)).collect();
        move |config: &mut GatewayConfig| config.route = routes
    };
    let binary = crate::gateway::binary();
    let mut gateway = Gateway::prepare(&lab, &binary, with(&[(TO[0], &first), (TO[1], &first)]));
    let write = |gateway: &Gateway<'_>, routes: &[(&str, &str)]| {
        let mut config = gateway.fresh_config();
        with(routes)(&mut config);
        gateway.write_config(&config);
    };

    // Somebody else's way to the same prefix: refused, and nothing has changed.
    lab.gateway.ip(&["route", "add", TO[0], "via", &second, "proto", "static"]);
    stage.refused_start(&mut gateway, &format!("`ip route del {} via {second} proto 4`", TO[0]));
    // The same way by somebody else: taken as it is, and only the other one is put in place.
    lab.gateway.ip(&["route", "replace", TO[0], "via", &first, "proto", "static"]);
    gateway.launch();
    stage.expect("a way that is there", &[(TO[1], &first)]);
    // It goes: the daemon needs one of its own.
    lab.gateway.ip(&["route", "del", TO[0], "via", &first, "proto", "static"]);
    stage.await_routes("somebody else's is gone", &[(TO[0], &first), (TO[1], &first)]);

    write(&gateway, &[(TO[0], &second)]);
    stage.reload(&gateway, true);
    stage.expect("reloaded", &[(TO[0], &second)]);
    // Refused: another route is in the way of one that is new.
    lab.gateway.ip(&["route", "add", TO[1], "via", &second, "proto", "static"]);
    write(&gateway, &[(TO[0], &first), (TO[1], &first)]);
    stage.reload(&gateway, false);
    stage.expect("a refused reload", &[(TO[0], &second)]);
    lab.gateway.ip(&["route", "del", TO[1], "via", &second, "proto", "static"]);

    // A stopped daemon leaves them; the next one brings them to its own configuration.
    stage.stop(&gateway);
    stage.expect("stopped", &[(TO[0], &second)]);
    write(&gateway, &[(TO[1], &second)]);
    gateway.launch();
    stage.expect("started again", &[(TO[1], &second)]);

    // One that is replaced at run time stays, behind the daemon's.
    lab.gateway.ip(&["route", "replace", TO[1], "via", &first]);
    stage.await_routes("replaced", &[(TO[1], &second)]);
    stage.expect_first("replaced", &second);
    stage.expect_warning(&gateway, &format!("`ip route del {} via {first} proto 3`", TO[1]));
    stage.stop(&gateway);
    // It was put in front by the daemon before, so this is no reason not to start.
    gateway.launch();
    stage.expect("started beside it", &[(TO[1], &second)]);
    lab.gateway.ip(&["route", "del", TO[1], "via", &first, "proto", "boot"]);

    // A router that nobody can reach stops nothing.
    write(&gateway, &[(TO[0], "198.18.0.1"), (TO[1], &second)]);
    stage.reload(&gateway, true);
    stage.expect("a router elsewhere", &[(TO[1], &second)]);
    stage.expect_warning(&gateway, &format!("the route {} via 198.18.0.1 is not in place", TO[0]));

    stage.stop(&gateway);
    match gateway.unload() {
        Ok(said) if said.contains(&format!("removed the route {} via {second}", TO[1])) => {}
        other => stage.problems.push(format!("unload: {other:?}")),
    }
    stage.expect("unloaded", &[]);
    stage.problems
}

struct Stage<'lab> {
    lab: &'lab Lab,
    problems: Vec<String>,
}

impl Stage<'_> {
    /// The daemon's routes, as (prefix, router).
    fn routes(&self) -> Vec<(String, String)> {
        let text = self.lab.gateway.ip(&["route", "show", "proto", PROTOCOL]);
        let route = |line: &str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            (words[0].to_owned(), words.get(2).copied().unwrap_or_default().to_owned())
        };
        let mut routes: Vec<_> = text.lines().map(route).collect();
        routes.sort();
        routes
    }

    fn compare(&self, when: &str, wanted: &[(&str, &str)]) -> Result<(), String> {
        let wanted: Vec<_> = wanted.iter().map(|(to, via)| ((*to).to_owned(), (*via).to_owned())).collect();
        let found = self.routes();
        if found == wanted { Ok(()) } else { Err(format!("{when}: {found:?}, not {wanted:?}")) }
    }

    fn expect(&mut self, when: &str, wanted: &[(&str, &str)]) {
        self.problems.extend(self.compare(when, wanted).err());
    }

    fn await_routes(&mut self, when: &str, wanted: &[(&str, &str)]) {
        let found = try_poll(LIMIT, when, || self.compare(when, wanted).map_err(Some));
        self.problems.extend(found.err().map(|timed_out| timed_out.to_string()));
    }

    /// Which router the kernel chooses for the second prefix.
    fn expect_first(&mut self, when: &str, router: &str) {
        let chosen = self.lab.gateway.ip(&["route", "get", "203.0.113.200"]);
        if !chosen.contains(&format!("via {router} ")) {
            self.problems.push(format!("{when}: the kernel chooses {chosen}"));
        }
    }

    fn expect_warning(&mut self, gateway: &Gateway<'_>, words: &str) {
        let found = try_poll(LIMIT, "a warning", || {
            let warnings = gateway.cli(&["status"])["warnings"].to_string();
            if warnings.contains(words) { Ok(()) } else { Err(Some(format!("no {words:?} in {warnings}"))) }
        });
        self.problems.extend(found.err().map(|timed_out| timed_out.to_string()));
    }

    fn refused_start(&mut self, gateway: &mut Gateway<'_>, words: &str) {
        let before = SystemState::of(&self.lab.gateway, &[]);
        gateway.spawn();
        let status = gateway.process().wait(LIMIT);
        let said = gateway.process().stderr();
        if status.code() != Some(FAILED) || !said.contains(words) || !said.contains("help: ") {
            self.problems.push(format!("a start that should fail: {status}: {said}"));
        }
        let changes = before.changes(&SystemState::of(&self.lab.gateway, &[]));
        self.problems.extend(changes.into_iter().map(|change| format!("a refused start: {change}")));
    }

    fn reload(&mut self, gateway: &Gateway<'_>, is_fine: bool) {
        let reloaded = gateway.try_cli(&["reload"]);
        if reloaded.is_ok() != is_fine {
            self.problems.push(format!("reload: {reloaded:?}"));
        }
    }

    fn stop(&mut self, gateway: &Gateway<'_>) {
        let stopped = gateway.process().stop();
        if !stopped.success() {
            self.problems.push(format!("the daemon ended with {stopped}"));
        }
    }
}
