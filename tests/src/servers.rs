//! Programs that answer in NPCI's and the tenants' namespaces.

mod etcd;
mod nginx;
mod udp_echo;
mod whoami;

pub use etcd::Etcd;
pub use nginx::{AccessLine, Nginx};
pub use udp_echo::{UdpEcho, ask_udp};
pub use whoami::WhoAmI;
