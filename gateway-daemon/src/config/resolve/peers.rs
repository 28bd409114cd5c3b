//! Peer groups: names to positions, endpoints outside.

use std::sync::Arc;

use super::addresses::AddressPlan;
use super::conflict::Conflict;
use super::objects::{Objects, Piece};
use super::unique::Unique;
use crate::config::choice::Protocol;
use crate::config::file;
use crate::config::model::{Endpoint, PeerGroup, PeerGroupIndex};
use crate::config::name::PeerGroupName;
use crate::config::problem::{At, Problems};
use crate::config::reader::Section;

/// The peer groups, to be found by name.
pub(super) struct PeerGroups {
    groups: Vec<Arc<PeerGroup>>,
    names: Unique<PeerGroupName>,
    /// Where each of the earlier groups is now; none when it is gone.
    moved: Vec<Option<PeerGroupIndex>>,
    /// Which groups are as they were, by position.
    kept: Vec<bool>,
}

impl PeerGroups {
    /// The group called `name`; reports it if there is none.
    pub(super) fn find(
        &self,
        name: &PeerGroupName,
        at: &At,
        problems: &mut Problems,
    ) -> Option<PeerGroupIndex> {
        let found = self.names.position(name).map(PeerGroupIndex);
        if found.is_none() {
            let conflict = Conflict::UnknownPeerGroup { name: name.clone(), known: self.names.names() };
            problems.add(at, &conflict);
        }
        found
    }

    /// Where an earlier group is now.
    pub(super) fn moved(&self, earlier: PeerGroupIndex) -> Option<PeerGroupIndex> {
        self.moved.get(earlier.get()).copied().flatten()
    }

    /// Is the group as it was?
    pub(super) fn is_kept(&self, index: PeerGroupIndex) -> bool {
        self.kept[index.get()]
    }

    pub(super) fn group(&self, index: PeerGroupIndex) -> &PeerGroup {
        &self.groups[index.get()]
    }

    pub(super) fn into_groups(self) -> Vec<Arc<PeerGroup>> {
        self.groups
    }
}

pub(super) fn resolve(objects: &Objects<'_>, plan: &AddressPlan<'_>, problems: &mut Problems) -> PeerGroups {
    let mut names = Unique::new("peer group");
    let mut groups = Vec::with_capacity(objects.peer_groups.len());
    for piece in &objects.peer_groups {
        let group = match piece {
            Piece::Read(section) => {
                names.claim(&section.name.value, &section.name.at, problems);
                Arc::new(read(section, plan, problems))
            }
            Piece::Kept(group) => {
                names.claim(&group.name, &At::NOWHERE, problems);
                if objects.new_addresses {
                    recheck(group, plan, problems);
                }
                Arc::clone(group)
            }
        };
        groups.push(group);
    }
    let position = |group: &Arc<PeerGroup>| names.position(&group.name).map(PeerGroupIndex);
    let moved = objects.earlier_groups.iter().map(position).collect();
    let kept = objects.peer_groups.iter().map(|piece| matches!(piece, Piece::Kept(_))).collect();
    PeerGroups { groups, names, moved, kept }
}

fn read(section: &file::PeerGroup, plan: &AddressPlan<'_>, problems: &mut Problems) -> PeerGroup {
    let name = &section.name.value;
    if section.endpoint.is_empty() {
        problems.add(&section.at().field("endpoint"), &Conflict::NoEndpoint { group: name.clone() });
    }
    let endpoints = section.endpoint.iter().map(|section| endpoint(section, plan, problems)).collect();
    PeerGroup { name: name.clone(), endpoints }
}

/// A tenant may have taken an address of the group.
fn recheck(group: &PeerGroup, plan: &AddressPlan<'_>, problems: &mut Problems) {
    for endpoint in &group.endpoints {
        refuse_inside(*endpoint, &At::NOWHERE, plan, problems);
    }
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
    refuse_inside(endpoint, &section.address.at, plan, problems);
    endpoint
}

fn refuse_inside(endpoint: Endpoint, at: &At, plan: &AddressPlan<'_>, problems: &mut Problems) {
    if let Some((role, other)) = plan.role_of_prefix(endpoint.address) {
        let conflict = Conflict::EndpointInside { endpoint: endpoint.address, role };
        problems.add_with(at, &conflict, "it stands here", other);
    }
}
