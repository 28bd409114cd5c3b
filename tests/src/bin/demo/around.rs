//! Commands to look around in a lab that stays up.

use std::process;

use gateway_tests::{gateway, lab::Lab, netns::Namespace, world::World};

/// To be pasted into a root shell.
pub fn commands(lab: &Lab, world: &World<'_>) -> String {
    let tenant = lab.tenant(1);
    let (socket, daemon) = (lab.session().path("gateway.sock"), gateway::binary());
    format!(
        r"The lab stays up until Ctrl-C here, or `kill {pid}`. In another root shell, first:

  npci='{npci}'
  tenant1='{tenant1}'
  gateway='{gateway}'
  daemon='{daemon}'
  export GATEWAY_SOCKET={socket}

then, for example:

  $npci curl -s http://{web}/whoami          # NPCI calls {name}
  $tenant1 curl -s http://{npci_endpoint}/whoami      # {name} calls NPCI
  $tenant1 curl -s http://{mapped}/whoami   # the same, by its NAT IP
  $npci tcpdump -ni {npci_device}                            # NPCI's wire
  $tenant1 tcpdump -ni {tenant_device}                          # {name}'s wire
  $daemon status
  $daemon flows
  $daemon drops
  $gateway curl -s http://127.0.0.1:9464/metrics      # Prometheus
  less {config}
",
        pid = process::id(),
        npci = enter(&lab.npci),
        tenant1 = enter(&tenant.namespace),
        gateway = enter(&lab.gateway),
        daemon = daemon.display(),
        socket = socket.display(),
        web = world.web(1),
        name = tenant.plan.name,
        npci_endpoint = lab.plan.npci_endpoint(),
        mapped = world.mapped(1),
        npci_device = lab.external.far,
        tenant_device = tenant.link.far,
        config = world.gateway.config_path().display(),
    )
}

fn enter(namespace: &Namespace) -> String {
    format!("nsenter --net=/run/netns/{}", namespace.name())
}
