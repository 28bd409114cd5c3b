//! What systemd is told: ready, reloading, stopping, and that the event loop still turns.
//!
//! Outside of a unit with `Type=notify` nobody has set `NOTIFY_SOCKET`, and all of this does nothing. A message that
//! can't be sent is logged and forgotten: no packet depends on it.
//!
//! The `sd-notify` crate gives the words, but asks the environment for the socket at every message and does not know
//! sockets in the abstract namespace (`@name`), so they are sent from here.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::MissedTickBehavior;
use tracing::{debug, warn};

use crate::drain::Shutdown;

/// How long a message may wait for room in the service manager's queue.
const SEND_TIMEOUT: Duration = Duration::from_secs(1);

/// The way to the service manager, if there is one. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Notifier {
    address: Option<SocketAddr>,
    watchdog: Option<Duration>,
}

impl Notifier {
    /// As the service manager has set the environment: `NOTIFY_SOCKET`, `WATCHDOG_USEC`, `WATCHDOG_PID`.
    pub fn from_env() -> Self {
        let socket = std::env::var_os("NOTIFY_SOCKET");
        Self::new(socket.as_deref(), sd_notify::watchdog_enabled())
    }

    fn new(socket: Option<&OsStr>, watchdog: Option<Duration>) -> Self {
        let address = socket.and_then(|socket| {
            let address = address_of(socket);
            address.inspect_err(|error| warn!(?socket, %error, "cannot notify the service manager")).ok()
        });
        Self { address, watchdog }
    }

    /// Programs are attached and the API answers. Also ends [`Self::reloading`].
    pub fn ready(&self) {
        self.tell(&[NotifyState::Ready]);
    }

    /// The settings are being read again. [`Self::ready`] has to follow, also when that fails.
    pub fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.tell(&[NotifyState::Reloading, now]),
            Err(error) => debug!(%error, "cannot read the clock"),
        }
    }

    /// The daemon ends; the data path goes on.
    pub fn stopping(&self) {
        self.tell(&[NotifyState::Stopping]);
    }

    /// One line for `systemctl status`.
    pub fn status(&self, line: &str) {
        let line = line.replace('\n', " ");
        self.tell(&[NotifyState::Status(&line)]);
    }

    /// Says at twice the pace that the unit's `WatchdogSec` wants that the event loop turns, until the shutdown. Does
    /// nothing when the unit has no watchdog. Needs a tokio runtime: a loop that hangs sends nothing.
    pub fn watchdog(&self, shutdown: Shutdown) {
        let Some(interval) = self.watchdog.map(|longest| longest / 2).filter(|interval| !interval.is_zero())
        else {
            return;
        };
        let notifier = self.clone();
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(interval);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    () = shutdown.requested() => return,
                    _ = ticks.tick() => notifier.tell(&[NotifyState::Watchdog]),
                }
            }
        });
    }

    fn tell(&self, states: &[NotifyState<'_>]) {
        let Some(address) = &self.address else { return };
        let message = states.iter().fold(String::new(), |message, state| message + &format!("{state}\n"));
        if let Err(error) = send(address, &message) {
            warn!(%error, message = message.trim_end(), "cannot notify the service manager");
        }
    }
}

/// A path, or with `@` in front a name in the abstract namespace.
fn address_of(socket: &OsStr) -> io::Result<SocketAddr> {
    match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        _ => SocketAddr::from_pathname(socket),
    }
}

fn send(address: &SocketAddr, message: &str) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(SEND_TIMEOUT))?;
    socket.connect_addr(address)?;
    socket.send(message.as_bytes()).map(drop)
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::drain;

    /// The service manager's end.
    struct Manager {
        socket: UnixDatagram,
        notifier: Notifier,
        _directory: TempDir,
    }

    impl Manager {
        fn new(watchdog: Option<Duration>) -> Self {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("notify");
            let socket = UnixDatagram::bind(&path).unwrap();
            socket.set_nonblocking(true).unwrap();
            let notifier = Notifier::new(Some(path.as_os_str()), watchdog);
            Self { socket, notifier, _directory: directory }
        }

        /// The next message that has come.
        fn next(&self) -> Option<String> {
            let mut buffer = [0; 512];
            let length = self.socket.recv(&mut buffer).ok()?;
            Some(String::from_utf8(buffer[..length].to_vec()).unwrap())
        }
    }

    #[test]
    fn the_service_manager_hears_each_step() {
        let manager = Manager::new(None);
        manager.notifier.ready();
        assert_eq!(manager.next().as_deref(), Some("READY=1\n"));
        manager.notifier.reloading();
        let reloading = manager.next().unwrap();
        let since = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap().trim_end();
        assert!(since.parse::<u64>().unwrap() > 0, "{reloading}");
        manager.notifier.status("two\nlines");
        assert_eq!(manager.next().as_deref(), Some("STATUS=two lines\n"));
        manager.notifier.stopping();
        assert_eq!(manager.next().as_deref(), Some("STOPPING=1\n"));
        assert_eq!(manager.next(), None);
    }

    #[test]
    fn a_socket_may_have_an_abstract_name() {
        let name = format!("two-ip-gateway-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        socket.set_nonblocking(true).unwrap();
        Notifier::new(Some(OsStr::new(&format!("@{name}"))), None).ready();
        let mut buffer = [0; 16];
        assert_eq!(socket.recv(&mut buffer).unwrap(), "READY=1\n".len());
    }

    #[test]
    fn nobody_to_tell_is_no_error() {
        Notifier::default().ready();
        Notifier::new(Some(OsStr::new("/nonexistent/notify")), None).ready();
    }

    #[tokio::test(start_paused = true)]
    async fn the_watchdog_is_fed_twice_as_often_as_it_wants_until_the_end() {
        let manager = Manager::new(Some(Duration::from_secs(10)));
        let (trigger, shutdown) = drain::channel();
        manager.notifier.watchdog(shutdown);
        tokio::time::sleep(Duration::from_secs(21)).await;
        let fed: Vec<_> = std::iter::from_fn(|| manager.next()).collect();
        assert_eq!(fed, ["WATCHDOG=1\n"; 5], "at 0, 5, 10, 15 and 20 s");
        trigger.request();
        assert_eq!(trigger.drained(Duration::from_secs(1)).await, drain::Drained::All);
        tokio::time::sleep(Duration::from_secs(20)).await;
        assert_eq!(manager.next(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_unit_without_a_watchdog_hears_nothing() {
        let manager = Manager::new(None);
        let (_trigger, shutdown) = drain::channel();
        manager.notifier.watchdog(shutdown);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(manager.next(), None);
    }
}
