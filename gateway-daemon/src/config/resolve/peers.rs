//! Peer groups: names to positions, endpoints outside.

use super::addresses::AddressPlan;
use super::conflict::Conflict;
use super::unique::Unique;
use crate::config::choice::Protocol;
use crate::config::file;
use crate::config::model::{Endpoint, PeerGroup, PeerGroupIndex};
use crate::config::name::PeerGroupName;
use crate::config::problem::{Located, Problems};
use crate::config::reader::Section;

/// The peer groups, to be found by name.
pub(super) struct PeerGroups {
    groups: Vec<PeerGroup>,
    names: Unique<PeerGroupName>,
}

impl PeerGroups {
    /// The group called `name`; reports it if there is none.
    pub(super) fn find(
        &self,
        name: &Located<PeerGroupName>,
        problems: &mut Problems,
    ) -> Option<PeerGroupIndex> {
        let found = self.names.position(&name.value).map(PeerGroupIndex);
        if found.is_none() {
            let conflict = Conflict::UnknownPeerGroup { name: name.value.clone(), known: self.names.names() };
            problems.add(&name.at, &conflict);
        }
        found
    }

    pub(super) fn group(&self, index: PeerGroupIndex) -> &PeerGroup {
        &self.groups[index.get()]
    }

    pub(super) fn into_groups(self) -> Vec<PeerGroup> {
        self.groups
    }
}

pub(super) fn resolve(
    sections: &[file::PeerGroup],
    plan: &AddressPlan<'_>,
    problems: &mut Problems,
) -> PeerGroups {
    let mut peers = PeerGroups { groups: Vec::new(), names: Unique::new("peer group") };
    for section in sections {
        peers.names.claim(&section.name, problems);
        let name = &section.name.value;
        if section.endpoint.is_empty() {
            problems.add(&section.at().field("endpoint"), &Conflict::NoEndpoint { group: name.clone() });
        }
        let endpoints = section.endpoint.iter().map(|section| endpoint(section, plan, problems)).collect();
        peers.groups.push(PeerGroup { name: name.clone(), endpoints });
    }
    peers
}

fn endpoint(section: &file::Endpoint, plan: &AddressPlan<'_>, problems: &mut Problems) -> Endpoint {
    let endpoint = Endpoint {
        address: section.address.value.0,
        protocol: section.protocol.value,
        port: section.port.as_ref().map(|port| port.value),
    };
    if let (Protocol::Icmp, Some(port)) = (endpoint.protocol, &section.port) {
        problems.add(&port.at, &Conflict::PortOfIcmp);
    }
    if let Some((role, at)) = plan.role_of_prefix(endpoint.address) {
        let conflict = Conflict::EndpointInside { endpoint: endpoint.address, role };
        problems.add_with(&section.address.at, &conflict, "it stands here", at);
    }
    endpoint
}
