//! Values that can't stand together.

use std::collections::BTreeSet;
use std::fmt;

use ipnet::Ipv4Net;

use crate::config::address::{BackendAddr, NatAddr, RouterAddr, VipAddr};
use crate::config::choice::{Protocol, Side, Transport};
use crate::config::model::EgressTarget;
use crate::config::name::{InterfaceName, PeerGroupName, PoolName, TenantName};
use crate::config::port::Port;
use crate::config::problem::Explain;
use crate::config::text::{closest, grouped, suggestion};

/// What an address already is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Vip,
    NatIp,
    Source,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Vip => "a VIP of the gateway",
            Self::NatIp => "a tenant NAT IP",
            Self::Source => "an address of a tenant",
        })
    }
}

/// Why values contradict each other, or a rule about all of them.
#[derive(Debug, thiserror::Error)]
pub(super) enum Conflict {
    #[error("there are more than {} {what}", grouped(*max as u64))]
    TooMany { what: &'static str, max: usize },
    #[error("the {what} name `{name}` is taken")]
    NameTaken { what: &'static str, name: String },

    #[error("ingress VIP and egress VIP are both {address}")]
    SameVips { address: VipAddr },
    #[error("the interface `{name}` does not exist on this host")]
    UnknownInterface { name: InterfaceName, present: BTreeSet<String> },
    #[error("there is no {side} interface")]
    NoInterface { side: Side },

    #[error("there is another route to {to}")]
    RouteTwice { to: Ipv4Net },
    #[error("the route to {to} leads to a VIP of the gateway")]
    RouteToVip { to: Ipv4Net },
    #[error("the router {via} is a VIP of the gateway")]
    RouterIsVip { via: RouterAddr },
    #[error("the router {via} is within {to}, where its own route leads to")]
    RouterInside { via: RouterAddr, to: Ipv4Net },
    #[error("the interface `{name}` is none of the gateway's")]
    ForeignInterface { name: InterfaceName, known: Vec<InterfaceName> },

    #[error("the peer group `{group}` has no endpoint")]
    NoEndpoint { group: PeerGroupName },
    #[error("an ICMP endpoint has no port")]
    PortOfIcmp,
    #[error("the endpoint {endpoint} is {role}")]
    EndpointInside { endpoint: Ipv4Net, role: Role },

    #[error("the tenant NAT IP {address} is a VIP of the gateway")]
    NatIsVip { address: NatAddr },
    #[error("the tenant NAT IP {address} is taken")]
    NatTaken { address: NatAddr },
    #[error("the tenant NAT IP {address} is among the sources of another tenant")]
    NatInForeignSources { address: NatAddr },
    #[error("the tenant `{tenant}` has no sources")]
    NoSources { tenant: TenantName },
    #[error("the source {prefix} holds the VIP {vip}")]
    SourceHoldsVip { prefix: Ipv4Net, vip: VipAddr },
    #[error("the source {prefix} overlaps with {other} of tenant `{owner}`")]
    SourcesOverlap { prefix: Ipv4Net, other: Ipv4Net, owner: TenantName },
    #[error("the source {prefix} overlaps with {other} of the same tenant")]
    SourceRedundant { prefix: Ipv4Net, other: Ipv4Net },
    #[error("there is no peer group `{name}`")]
    UnknownPeerGroup { name: PeerGroupName, known: Vec<PeerGroupName> },
    #[error("a tenant names a peer group that is removed")]
    PeerGroupGone,
    #[error("the peer group `{name}` is named twice")]
    PeerGroupTwice { name: PeerGroupName },
    #[error("there is no tenant `{name}` that could be called")]
    UnknownTenant { name: TenantName, known: Vec<TenantName> },
    #[error("the tenant `{name}` is named twice")]
    TenantTwice { name: TenantName },
    #[error(
        "the tenant `{tenant}` reserves {} ports, and {} of the {} that may be reserved are left",
        grouped((*wanted).into()), grouped((*left).into()), grouped((*all).into())
    )]
    NoPortsLeft { tenant: TenantName, wanted: u32, left: u32, all: u32 },

    #[error("the pool `{pool}` is empty")]
    EmptyPool { pool: PoolName },
    #[error("all backends of the pool `{pool}` have weight 0")]
    NoWeight { pool: PoolName },
    #[error("the backend {address} is {role}")]
    BackendTaken { address: BackendAddr, role: Role },
    #[error("the backend {address} is not among the sources of its tenant `{tenant}`")]
    BackendOutside { address: BackendAddr, tenant: TenantName, sources: Vec<Ipv4Net> },
    #[error("the backend {address} belongs to another tenant, `{owner}`")]
    BackendForeign { address: BackendAddr, owner: TenantName },
    #[error("the backend {address}:{port} stands twice in the pool")]
    BackendTwice { address: BackendAddr, port: Port },

    #[error("{protocol} port {port} of the ingress VIP is taken")]
    ListenerTaken { protocol: Transport, port: Port },
    #[error("the tenant has no pool `{name}`")]
    UnknownPool { name: PoolName, known: Vec<PoolName> },
    #[error("the allow list is empty: nobody could connect")]
    EmptyAllow,

    #[error("{protocol} port {port} of the tenant NAT IP is taken")]
    EgressTaken { protocol: Transport, port: Port },
    #[error("the target {to} is {role}")]
    TargetInside { to: EgressTarget, role: Role },
    #[error("no peer group of the tenant allows {protocol} to {to}")]
    TargetNotAllowed { to: EgressTarget, protocol: Protocol },
}

impl Explain for Conflict {
    fn help(&self) -> String {
        let help = match self {
            Self::UnknownInterface { name, present } => {
                return suggestion(name.as_str(), "this host has", present.iter().map(String::as_str));
            }
            Self::ForeignInterface { name, known } => {
                return suggestion(
                    name.as_str(),
                    "the interfaces are",
                    known.iter().map(InterfaceName::as_str),
                );
            }
            Self::UnknownPeerGroup { name, known } => {
                return suggestion(
                    name.as_str(),
                    "the peer groups are",
                    known.iter().map(PeerGroupName::as_str),
                );
            }
            Self::UnknownTenant { name, known } => {
                return unknown_tenant(name, known);
            }
            Self::UnknownPool { name, known } => {
                return suggestion(name.as_str(), "its pools are", known.iter().map(PoolName::as_str));
            }
            Self::NoInterface { side } => return help_no_interface(*side),
            Self::BackendOutside { address, sources, .. } => return help_outside(*address, sources),
            Self::TargetNotAllowed { to, protocol } => return help_not_allowed(*to, *protocol),
            Self::TooMany { .. } => "split them between several gateways",
            Self::NameTaken { .. } => "give one of them another name",
            Self::SameVips { .. } => "give two different addresses: NPCI whitelists both",
            Self::RouteTwice { .. } => "remove one of them",
            Self::RouteToVip { .. } => "remove it: the gateway answers for its VIPs itself",
            Self::RouterIsVip { .. } => "give the address of the router itself",
            Self::RouterInside { to, .. } if to.prefix_len() == 32 => "give the address of another router",
            Self::RouterInside { .. } => {
                "give a router outside of it, or say with `interface` where the router is"
            }
            Self::NoEndpoint { .. } => {
                "add a `[[peer_group.endpoint]]` with address, protocol and port below it"
            }
            Self::PortOfIcmp => "remove the line `port`",
            Self::EndpointInside { .. } => {
                "give an address of NPCI: a peer group can't lead back to the inside"
            }
            Self::NatIsVip { .. } => "give the tenant an inside address of its own; NPCI never sees it",
            Self::NatTaken { .. } => "give each tenant a NAT IP of its own",
            Self::NatInForeignSources { .. } => "choose an address that is no other tenant's",
            Self::NoSources { .. } => "list the tenant's own addresses, its backends among them",
            Self::SourceHoldsVip { .. } => {
                "choose a smaller prefix: packets from a VIP are the gateway's, not a tenant's"
            }
            Self::SourcesOverlap { .. } => {
                "an address belongs to one tenant: correct one of the two prefixes"
            }
            Self::SourceRedundant { .. } => "remove the smaller one of the two",
            Self::PeerGroupGone => "take it out of the tenant's `peer_groups` first",
            Self::PeerGroupTwice { .. } | Self::TenantTwice { .. } => "name it once",
            Self::NoPortsLeft { .. } => {
                "reserve fewer, here or for another tenant: each tenant's are rounded up to a multiple of 63"
            }
            Self::EmptyPool { .. } => "add a `[[tenant.pool.backend]]` with address and port below it",
            Self::NoWeight { .. } => {
                "give at least one of them a weight of 1 or more, or its listeners could accept nothing"
            }
            Self::BackendTaken { .. } => "give the address of the server itself",
            Self::BackendForeign { .. } => {
                "choose one of this tenant's own addresses: tenants never reach each other"
            }
            Self::BackendTwice { .. } => "remove one, and set `weight` if it should get more flows",
            Self::ListenerTaken { .. } => "choose another port: the port is what tells the tenants apart",
            Self::EmptyAllow => "list who may connect; \"0.0.0.0/0\" is anyone",
            Self::EgressTaken { .. } => "choose another port: the port is what tells the targets apart",
            Self::TargetInside { .. } => "give an address of NPCI",
        };
        help.to_owned()
    }
}

/// There may be thousands of tenants: they are not listed.
fn unknown_tenant(name: &TenantName, known: &[TenantName]) -> String {
    match closest(name.as_str(), known.iter().map(TenantName::as_str)) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => "take it out of the tenant's `hairpin_to`, or add the tenant".to_owned(),
    }
}

fn help_no_interface(side: Side) -> String {
    format!("add an `[[interface]]` with `side = \"{side}\"`; the gateway needs one of each side")
}

fn help_not_allowed(to: EgressTarget, protocol: Protocol) -> String {
    let EgressTarget { address, port } = to;
    format!(
        "add the endpoint {{ address = \"{address}\", protocol = \"{protocol}\", port = {port} }} to one of the \
         tenant's peer groups, or the group that has it to `peer_groups`"
    )
}

fn help_outside(address: BackendAddr, sources: &[Ipv4Net]) -> String {
    match sources {
        [] => format!("add \"{address}\" to the tenant's `sources`"),
        [only] => format!("choose an address in {only}, or add \"{address}\" to the tenant's `sources`"),
        _ => format!("correct the address, or add \"{address}\" to the tenant's `sources`"),
    }
}
