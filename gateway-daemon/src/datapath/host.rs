//! What the kernel knows of this host: links, addresses, forwarding.

use std::{fs, io, net::IpAddr, net::Ipv4Addr, path::PathBuf};

use anyhow::{Context as _, Result};
use futures_util::TryStreamExt as _;
use gateway_common::abi::Mac;
use netlink_packet_route::{
    address::AddressAttribute,
    link::{InfoData, InfoKind, InfoVlan, LinkAttribute, LinkInfo, LinkMessage},
};
use rtnetlink::Handle;

/// Links and IPv4 addresses of this network namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// Every link.
    pub links: Vec<HostLink>,
    /// Every IPv4 address on any of them.
    pub addresses: Vec<Ipv4Addr>,
}

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostLink {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its Ethernet address.
    pub mac: Mac,
    /// Its kind, such as `veth` or `vlan`; none for hardware.
    pub kind: Option<String>,
    /// For a VLAN device: the link below and its VLAN identifier.
    pub vlan: Option<(u32, u16)>,
}

impl Host {
    /// Asks the kernel.
    pub async fn read(netlink: &Handle) -> Result<Self> {
        let messages: Vec<_> =
            netlink.link().get().execute().try_collect().await.context("cannot list network interfaces")?;
        let links = messages.into_iter().filter_map(HostLink::from_message).collect();
        let messages: Vec<_> =
            netlink.address().get().execute().try_collect().await.context("cannot list addresses")?;
        let addresses = messages.iter().flat_map(|message| &message.attributes).filter_map(ipv4_of).collect();
        Ok(Self { links, addresses })
    }

    /// The link of this name.
    pub fn link(&self, name: &str) -> Option<&HostLink> {
        self.links.iter().find(|link| link.name == name)
    }

    /// VLAN devices on top of a link.
    pub fn vlans_on(&self, index: u32) -> impl Iterator<Item = (&HostLink, u16)> {
        self.links.iter().filter_map(move |link| match link.vlan {
            Some((parent, id)) if parent == index => Some((link, id)),
            _ => None,
        })
    }
}

impl HostLink {
    fn from_message(message: LinkMessage) -> Option<Self> {
        let mut link = Self {
            index: message.header.index,
            name: String::new(),
            mac: Mac::default(),
            kind: None,
            vlan: None,
        };
        let (mut parent, mut vlan_id) = (None, None);
        for attribute in message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name = name,
                LinkAttribute::Address(bytes) => link.mac = Mac::new(bytes.try_into().unwrap_or_default()),
                LinkAttribute::Link(index) => parent = Some(index),
                LinkAttribute::LinkInfo(infos) => vlan_id = link.read_info(infos),
                _ => {}
            }
        }
        link.vlan = parent.zip(vlan_id);
        (!link.name.is_empty()).then_some(link)
    }

    /// Notes the kind; returns the VLAN identifier if it is a VLAN device.
    fn read_info(&mut self, infos: Vec<LinkInfo>) -> Option<u16> {
        let mut vlan_id = None;
        for info in infos {
            match info {
                LinkInfo::Kind(kind) => self.kind = Some(kind_name(&kind)),
                LinkInfo::Data(InfoData::Vlan(attributes)) => {
                    vlan_id = attributes.iter().find_map(|attribute| match attribute {
                        InfoVlan::Id(id) => Some(*id),
                        _ => None,
                    });
                }
                _ => {}
            }
        }
        vlan_id
    }
}

fn kind_name(kind: &InfoKind) -> String {
    match kind {
        InfoKind::Other(name) => name.clone(),
        kind => format!("{kind:?}").to_lowercase(),
    }
}

fn ipv4_of(attribute: &AddressAttribute) -> Option<Ipv4Addr> {
    match attribute {
        AddressAttribute::Local(IpAddr::V4(address)) => Some(*address),
        _ => None,
    }
}

/// The switch for IPv4 forwarding of packets that come in by an interface.
fn forwarding_path(interface: &str) -> PathBuf {
    // Dots separate names in sysctl's notation, not in this file system: `eth0.100` is one component.
    super::sysctl::net().join("ipv4/conf").join(interface).join("forwarding")
}

/// Does the kernel forward IPv4 packets that come in by this interface?
pub fn forwarding(interface: &str) -> io::Result<bool> {
    Ok(fs::read_to_string(forwarding_path(interface))?.trim() != "0")
}

/// Switches IPv4 forwarding of packets that come in by this interface.
pub fn set_forwarding(interface: &str, on: bool) -> io::Result<()> {
    fs::write(forwarding_path(interface), if on { "1" } else { "0" })
}

/// The name of the interface with this index; none when it is gone.
pub fn name_of(index: u32) -> Option<String> {
    let interfaces = nix::net::if_::if_nameindex().ok()?;
    let found = interfaces.iter().find(|interface| interface.index() == index)?;
    Some(found.name().to_string_lossy().into_owned())
}
