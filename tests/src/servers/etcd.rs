//! etcd, the store that several nodes share: Debian's, with its data in the lab's directory.

use std::{path::PathBuf, time::Duration};

use crate::{netns::Namespace, poll::poll_until, process::Proc};

/// Until it serves.
const START_LIMIT: Duration = Duration::from_secs(20);
/// Where clients go, on the namespace's own loopback.
const CLIENTS: &str = "http://127.0.0.1:2379";
/// Where other members would.
const PEERS: &str = "http://127.0.0.1:2380";

/// One member, alone in its cluster.
#[derive(Debug)]
pub struct Etcd<'lab> {
    namespace: &'lab Namespace,
    data: PathBuf,
    process: Option<Proc>,
}

impl<'lab> Etcd<'lab> {
    /// Starts one and waits until it serves.
    #[track_caller]
    pub fn start(namespace: &'lab Namespace) -> Self {
        let data = namespace.session().path("etcd-data");
        let mut etcd = Self { namespace, data, process: None };
        etcd.launch();
        etcd
    }

    /// Where it serves.
    pub fn url(&self) -> &'static str {
        CLIENTS
    }

    /// Starts it on what it has stored before.
    #[track_caller]
    pub fn launch(&mut self) {
        let mut command = self.namespace.command("etcd");
        command.arg("--data-dir").arg(&self.data).args(["--log-level", "error"]);
        command.args(["--listen-client-urls", CLIENTS, "--advertise-client-urls", CLIENTS]);
        command.args(["--listen-peer-urls", PEERS, "--initial-advertise-peer-urls", PEERS]);
        command.args(["--initial-cluster", &format!("default={PEERS}")]);
        self.process = Some(Proc::spawn(self.namespace, "etcd", command));
        poll_until(START_LIMIT, "etcd to serve", || self.serves().then_some(()));
    }

    fn serves(&self) -> bool {
        self.namespace.curl(&format!("{CLIENTS}/health")).run().body.contains("true")
    }

    /// As when its machine dies.
    #[track_caller]
    pub fn kill(&mut self) {
        if let Some(process) = self.process.take() {
            process.kill();
        }
    }
}
