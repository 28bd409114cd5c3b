//! The other gateway: what ours does, said to nftables and the kernel's conntrack.

use std::{fmt::Write as _, net::Ipv4Addr};

use super::{
    frame::Map,
    places::{self, GROUPS, Inside, Service},
    stream::StreamService,
};
use crate::{netns::Namespace, tool, topology::Topology};

/// Kernel parameters of the gateway's namespace.
const SETTINGS: [(&str, &str); 4] = [
    // A segment opens a connection only if it is a SYN.
    ("net/netfilter/nf_conntrack_tcp_loose", "0"),
    // Sequence numbers are for the ends to judge.
    ("net/netfilter/nf_conntrack_tcp_be_liberal", "1"),
    // Every error that there is to send is sent: conversations must not take each other's share.
    ("net/ipv4/icmp_ratelimit", "0"),
    // Room for the fragments of all packets of which a fragment never comes: 64 MiB.
    ("net/ipv4/ipfrag_high_thresh", "67108864"),
];

/// Makes the lab's gateway an nftables gateway. The VIPs and NAT IPs are its kernel's own addresses, so that it answers
/// ARP and pings for them.
pub fn install(topology: &Topology, map: &Map) {
    topology.gateway.ip_batch(&addresses(topology, map));
    apply(&topology.gateway, &rules(topology, map));
    for (parameter, value) in SETTINGS {
        topology.gateway.sysctl(parameter, value);
    }
}

/// Lets a kernel drop all that is sent to these addresses of its own, after packet sockets have seen it.
pub fn deafen(namespace: &Namespace, addresses: &[Ipv4Addr]) {
    let list: Vec<_> = addresses.iter().map(Ipv4Addr::to_string).collect();
    // Before fragments are put together, of which the kernel would report the incomplete ones.
    let chain = "type filter hook prerouting priority -450";
    let rule = format!("ip daddr {{ {} }} drop", list.join(", "));
    apply(namespace, &format!("table ip scripted {{ chain ends {{ {chain}; {rule}; }}; }}\n"));
}

fn apply(namespace: &Namespace, rules: &str) {
    let mut command = namespace.command("nft");
    command.args(["-f", "-"]);
    tool::run_with_input(command, rules);
}

fn addresses(topology: &Topology, map: &Map) -> String {
    let external = [map.plan.ingress_vip, map.plan.egress_vip].map(|vip| (vip, &topology.external.near));
    let internal = topology.tenants.iter().map(|tenant| (tenant.plan.nat_ip, &tenant.link.near));
    external.into_iter().chain(internal).fold(String::new(), |mut lines, (address, device)| {
        writeln!(lines, "addr add {address}/32 dev {device}").expect("writes to memory");
        lines
    })
}

/// The whole rule set.
pub fn rules(topology: &Topology, map: &Map) -> String {
    let external = &topology.external.near;
    let [internal, other] = [1, 2].map(|number| topology.tenant(number).link.near.as_str());
    let mut text =
        String::from("table ip nat {\n chain prerouting { type nat hook prerouting priority dstnat\n");
    for rule in forwards(map) {
        let device = if rule.is_external { external } else { internal };
        rule.write(&mut text, device);
    }
    let (nat, other_nat, vip) = (map.tenant.nat_ip, map.other.nat_ip, map.plan.egress_vip);
    let (subnet, other_subnet) = (map.tenant.subnet, map.other.subnet);
    let (ingress, peers) = (map.plan.ingress_vip, peers(map));
    write!(
        text,
        r#" }}
 chain postrouting {{ type nat hook postrouting priority srcnat
  oifname "{internal}" snat to {nat}
  oifname "{other}" snat to {other_nat}
  oifname "{external}" snat to {vip}
 }}
}}
table ip filter {{
 chain forward {{ type filter hook forward priority filter; policy drop
  ct state invalid drop
  ct state established,related accept
  iifname "{external}" ct status dnat tcp flags & (fin|syn|rst|ack) == syn accept
  iifname "{external}" ct status dnat meta l4proto udp accept
  iifname "{internal}" oifname "{external}" ip saddr != {subnet} drop
  iifname "{other}" oifname "{external}" ip saddr != {other_subnet} drop
  ip saddr {{ {nat}, {other_nat} }} drop
{peers} }}
 chain input {{ type filter hook input priority filter; policy drop
  ct state established accept
  iifname "{external}" ip daddr {{ {ingress}, {vip} }} icmp type echo-request icmp code 0 accept
  iifname "{internal}" ip saddr {subnet} ip daddr {nat} icmp type echo-request icmp code 0 accept
 }}
}}
"#
    )
    .expect("writes to memory");
    text
}

/// Who may be called by tenants.
fn peers(map: &Map) -> String {
    let open = |line: String| format!("  oifname != \"int*\" {line} accept\n");
    let syn = "tcp flags & (fin|syn|rst|ack) == syn";
    let scripted = Service::of(&map.plan, &map.tenant, 0).npci;
    let (first, last) = (scripted.port(), scripted.port() + GROUPS - 1);
    let host = scripted.ip();
    let mut text = open(format!("ip daddr {host} tcp dport {first}-{last} {syn}"));
    text += &open(format!("ip daddr {host} udp dport {first}-{last}"));
    text += &open(format!("ip daddr {host} icmp type echo-request icmp code 0"));
    for service in StreamService::all() {
        text += &open(format!("ip daddr {} tcp dport {} {syn}", map.plan.npci(), service.server));
    }
    text
}

/// One translation of a destination.
struct Forward {
    is_external: bool,
    protocol: &'static str,
    from: String,
    to: String,
}

impl Forward {
    fn write(&self, text: &mut String, device: &str) {
        let Self { protocol, from, to, .. } = self;
        writeln!(text, "  iifname \"{device}\" meta l4proto {protocol} {from} dnat to {to}")
            .expect("writes to memory");
    }
}

fn forwards(map: &Map) -> Vec<Forward> {
    let scripted = Service::all(&map.plan, &map.tenant).into_iter().flat_map(|service| {
        ["tcp", "udp"].into_iter().flat_map(move |protocol| {
            [
                listener(map, protocol, service.listener.port(), service.backend.to_string()),
                mapped(map, protocol, service.mapped.port(), service.npci.to_string()),
            ]
        })
    });
    let streams = StreamService::all().flat_map(|service| {
        [
            listener(map, "tcp", service.listener, format!("{}:{}", map.tenant.backend(), service.server)),
            mapped(map, "tcp", service.mapped, format!("{}:{}", map.plan.npci(), service.server)),
        ]
    });
    let other = Inside::of(&map.other).hosts[0];
    let others = listener(map, "tcp", places::OTHER_LISTENER, format!("{other}:8080"));
    scripted.chain(streams).chain([others]).collect()
}

fn listener(map: &Map, protocol: &'static str, port: u16, to: String) -> Forward {
    let allowed = places::ALLOWED.join(", ");
    let from = format!("ip daddr {} ip saddr {{ {allowed} }} {protocol} dport {port}", map.plan.ingress_vip);
    Forward { is_external: true, protocol, from, to }
}

fn mapped(map: &Map, protocol: &'static str, port: u16, to: String) -> Forward {
    let (nat, subnet) = (map.tenant.nat_ip, map.tenant.subnet);
    let from = format!("ip daddr {nat} ip saddr {subnet} {protocol} dport {port}");
    Forward { is_external: false, protocol, from, to }
}
