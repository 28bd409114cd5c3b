//! The daemon's binary, started in the gateway namespace, and its subcommands.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::thread;
use std::time::Duration;

use gateway_daemon::datapath::{pins::Pins, tables::Tables};
use serde_json::Value;

use super::{GatewayConfig, api::Api};
use crate::bpffs::BpfFs;
use crate::poll::poll_result;
use crate::process::Proc;
use crate::tool;
use crate::topology::Topology;

/// Names another binary than the one that cargo built.
pub const BINARY_VARIABLE: &str = "GATEWAY_DAEMON_BIN";
/// Until `status` answers: loading includes the verifier's work.
const START_LIMIT: Duration = Duration::from_secs(30);
/// Appended to a subcommand whose output is to be parsed.
const JSON_OUTPUT: [&str; 1] = ["--json"];

/// A gateway with its configuration. The daemon may be stopped, killed and started again on the same pinned
/// state; drop stops it and unmounts the pinned state, which detaches its programs.
#[derive(Debug)]
pub struct Gateway<'lab> {
    topology: &'lab Topology,
    binary: PathBuf,
    config_path: PathBuf,
    socket: PathBuf,
    /// None while it is not running.
    process: Option<Proc>,
    bpffs: BpfFs,
}

impl<'lab> Gateway<'lab> {
    /// Writes the configuration, after `adjust` has changed it, starts the daemon and waits until it answers.
    #[track_caller]
    pub fn start(topology: &'lab Topology, adjust: impl FnOnce(&mut GatewayConfig)) -> Self {
        let mut gateway = Self::prepare(topology, &binary(), adjust);
        gateway.launch();
        gateway
    }

    /// The same with a binary of the caller's and without starting it, for tests of a start that fails and of
    /// upgrades.
    #[track_caller]
    pub fn prepare(topology: &'lab Topology, binary: &Path, adjust: impl FnOnce(&mut GatewayConfig)) -> Self {
        let bpffs = BpfFs::mount(topology.session(), "bpffs");
        let mut config = GatewayConfig::for_topology(topology, topology.session().dir(), bpffs.path());
        adjust(&mut config);
        let config_path = topology.session().path("gateway.toml");
        let gateway = Self {
            topology,
            binary: binary.to_owned(),
            config_path,
            socket: config.daemon.socket.clone(),
            process: None,
            bpffs,
        };
        gateway.write_config(&config);
        gateway
    }

    /// Starts the daemon, which must not be running, and waits until it answers.
    #[track_caller]
    pub fn launch(&mut self) {
        self.spawn();
        self.await_answer();
    }

    #[track_caller]
    fn await_answer(&self) {
        poll_result(START_LIMIT, "the daemon to answer", || {
            let process = self.process();
            assert!(process.is_running(), "the daemon ended\n{}", process.tail());
            self.try_cli(&["status"])
        });
    }

    /// Starts the daemon, which removes everything when it ends, and waits until it answers.
    #[track_caller]
    pub fn launch_detaching(&mut self) {
        self.spawn_with(&["--detach-on-exit"]);
        self.await_answer();
    }

    /// Starts the daemon without waiting.
    #[track_caller]
    pub fn spawn(&mut self) {
        self.spawn_with(&[]);
    }

    #[track_caller]
    fn spawn_with(&mut self, options: &[&str]) {
        assert!(self.process.as_ref().is_none_or(|process| !process.is_running()), "the daemon runs already");
        let mut command = self.topology.gateway.command(&self.binary.to_string_lossy());
        command.arg("run").arg("--config").arg(&self.config_path).args(options);
        self.process = Some(Proc::spawn(&self.topology.gateway, "gateway-daemon", command));
    }

    /// Gives the pinned state the name of another layout; returns the paths of that one and of the one before. Flows look
    /// the same in all of them. The daemon must not be running.
    #[track_caller]
    pub fn rename_layout(&self, from: u32, to: u32) -> [PathBuf; 2] {
        let [to, from] = [to, from].map(|version| self.bpffs.path().join(format!("v{version}")));
        fs::rename(&from, &to).expect("rename the pinned state");
        [to, from]
    }

    /// Another binary for the next start and for subcommands, as after an upgrade.
    pub fn replace_binary(&mut self, binary: &Path) {
        binary.clone_into(&mut self.binary);
    }

    /// The daemon. Panics when it was never started.
    #[track_caller]
    pub fn process(&self) -> &Proc {
        self.process.as_ref().expect("the daemon was started")
    }

    /// The file that the daemon reads.
    pub fn config_path(&self) -> &Path {
        &self.config_path
    }

    /// The mount that it pins into.
    pub fn bpffs(&self) -> &BpfFs {
        &self.bpffs
    }

    /// Replaces the configuration file in one step; telling the daemon is the caller's part.
    #[track_caller]
    pub fn write_config(&self, config: &GatewayConfig) {
        let next = self.config_path.with_extension("toml.next");
        fs::write(&next, config.render()).expect("write the configuration");
        fs::rename(&next, &self.config_path).expect("replace the configuration");
    }

    /// A client of the API, not yet connected: good for one life of the daemon.
    pub fn api(&self) -> Api {
        Api::new(&self.socket)
    }

    /// The API's socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Where maps and links are pinned.
    pub fn pins(&self) -> Pins {
        Pins::new(self.bpffs.path())
    }

    /// The pinned tables, opened beside the daemon.
    #[track_caller]
    pub fn tables(&self) -> Tables {
        Tables::open(&self.pins()).unwrap_or_else(|error| panic!("open the pinned tables: {error:#}"))
    }

    /// The configuration for this topology, to be changed and written anew.
    pub fn fresh_config(&self) -> GatewayConfig {
        let mut config =
            GatewayConfig::for_topology(self.topology, self.topology.session().dir(), self.bpffs.path());
        config.daemon.socket.clone_from(&self.socket);
        config
    }

    /// Removes programs, tables and routes from the kernel, and returns what was said; the daemon must not be running.
    pub fn unload(&self) -> Result<String, String> {
        let mut command = self.topology.gateway.command(&self.binary.to_string_lossy());
        command.arg("unload").arg("--config").arg(&self.config_path);
        tool::try_run(command)
    }

    /// Runs a subcommand and parses what it prints; panics when it fails.
    #[track_caller]
    pub fn cli(&self, arguments: &[&str]) -> Value {
        self.try_cli(arguments).unwrap_or_else(|problem| panic!("{problem}"))
    }

    /// The same; the error has everything that was printed.
    pub fn try_cli(&self, arguments: &[&str]) -> Result<Value, String> {
        let output = self.cli_output(&[arguments, &JSON_OUTPUT].concat());
        if !output.status.success() {
            return Err(format!("{arguments:?} failed: {output:?}"));
        }
        serde_json::from_slice(&output.stdout)
            .map_err(|error| format!("{arguments:?} printed no JSON ({error}): {output:?}"))
    }

    /// Packets dropped so far, by reason.
    #[track_caller]
    pub fn drops(&self) -> BTreeMap<String, u64> {
        let drops = self.cli(&["drops"]);
        let reasons = drops["reasons"].as_array().into_iter().flatten();
        let entry = |drop: &Value| Some((drop["reason"].as_str()?.to_owned(), drop["packets"].as_u64()?));
        reasons.filter_map(entry).collect()
    }

    /// Runs a subcommand against this daemon's socket and returns all that it said.
    #[track_caller]
    pub fn cli_output(&self, arguments: &[&str]) -> Output {
        let mut command = self.topology.gateway.command(&self.binary.to_string_lossy());
        command.args(arguments).arg("--socket").arg(&self.socket);
        command.output().unwrap_or_else(|error| panic!("start {}: {error}", self.binary.display()))
    }
}

impl Drop for Gateway<'_> {
    /// Describes the network while the daemon's programs are still attached.
    fn drop(&mut self) {
        if thread::panicking() {
            let session = self.topology.session();
            session.keep();
            if let Err(error) = fs::write(session.path("state-attached.txt"), self.topology.describe()) {
                eprintln!("lab: state not written: {error}");
            }
        }
    }
}

/// The daemon's binary: from the environment, else where cargo puts it, two levels above the running test
/// (`target/<profile>/deps/<test>`).
#[track_caller]
pub fn binary() -> PathBuf {
    let path = env::var_os(BINARY_VARIABLE).map_or_else(beside_this_test, PathBuf::from);
    assert!(
        path.is_file(),
        "no daemon at {}: build it with `cargo build -p gateway-daemon`, or set {BINARY_VARIABLE}",
        path.display()
    );
    path
}

fn beside_this_test() -> PathBuf {
    let test = env::current_exe().expect("the path of the running test");
    let profile = test.ancestors().skip(1).find(|dir| !dir.ends_with("deps"));
    profile.expect("a test stands in some directory").join("gateway-daemon")
}
