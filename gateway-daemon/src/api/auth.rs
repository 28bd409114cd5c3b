//! Who asks, and what they may do.
//!
//! A caller on the unix socket is whom the kernel says it is (`SO_PEERCRED`); one over TCP is whom its certificate
//! says it is. The configuration names who has which role; whoever it does not name has none. Root, and the user that
//! the daemon runs as, can do everything anyway: they could also change the daemon's files.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::http::Method;
use nix::unistd::{Gid, Group, Uid, User, getgrouplist};
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::unix::UCred;

/// What a caller may do. Each role may also do what the ones before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Read everything.
    Viewer,
    /// Drain, resume, maintain, weigh; reload the settings.
    Operator,
    /// Everything.
    Admin,
}

impl Role {
    /// The word of the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    /// The least role that may send a request to the route of this pattern. What is not known to be harmless is for
    /// the admin.
    pub fn needed(method: &Method, route: &str) -> Self {
        const OPERATORS: [&str; 4] = ["drain", "resume", "maintenance", "reload"];
        let verb = route.rsplit('/').next().unwrap_or_default();
        match *method {
            Method::GET | Method::HEAD => Self::Viewer,
            // A question that does not fit a path.
            Method::POST if route == super::EXPLAIN_PATH => Self::Viewer,
            Method::POST if OPERATORS.contains(&verb) => Self::Operator,
            // Only the weight of a backend.
            Method::PATCH => Self::Operator,
            _ => Self::Admin,
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// Someone who is connected.
#[derive(Clone, Debug)]
pub enum Caller {
    /// A process of this host.
    Local(Arc<LocalCaller>),
    /// The holder of a certificate that our CA signed.
    Remote(Arc<RemoteCaller>),
}

/// A process of this host, as the kernel knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalCaller {
    /// Its user.
    pub uid: u32,
    /// The user's name, if it has one.
    pub name: Option<String>,
    /// Its group and the groups that its user is a member of.
    pub gids: Vec<u32>,
    /// The process; none if it is outside of our pid namespace.
    pub pid: Option<i32>,
}

/// The holder of a certificate.
#[derive(Clone, Debug)]
pub struct RemoteCaller {
    /// Where it calls from.
    pub address: SocketAddr,
    /// The certificate.
    pub certificate: CertificateDer<'static>,
    /// The one of the configured names that the certificate is valid for.
    pub name: Option<String>,
}

impl LocalCaller {
    /// Looks the user up. May ask a directory service: not for the event loop.
    pub fn look_up(peer: UCred) -> Self {
        let (uid, gid) = (peer.uid(), peer.gid());
        let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
        let mut gids = BTreeSet::from([gid]);
        gids.extend(user.iter().flat_map(groups_of).map(Gid::as_raw));
        Self { uid, name: user.map(|user| user.name), gids: gids.into_iter().collect(), pid: peer.pid() }
    }
}

/// The groups that the user database says; none when it can't tell.
fn groups_of(user: &User) -> Vec<Gid> {
    let name = CString::new(user.name.as_str()).unwrap_or_default();
    getgrouplist(&name, user.gid).unwrap_or_default()
}

impl std::fmt::Display for Caller {
    /// `root (uid 0)`, `certificate ops.example`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Local(local) => match &local.name {
                Some(name) => write!(f, "{name} (uid {})", local.uid),
                None => write!(f, "uid {}", local.uid),
            },
            Self::Remote(remote) => match &remote.name {
                Some(name) => write!(f, "certificate {name}"),
                None => write!(f, "unknown certificate from {}", remote.address.ip()),
            },
        }
    }
}

/// Who has which role.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoleMap {
    grants: Vec<(Grantee, Role)>,
}

/// Whom a line of the configuration names.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Grantee {
    User(u32),
    Group(u32),
    Certificate(String),
}

/// The configuration names someone who does not exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RoleError {
    /// No such user.
    #[error("this host has no user `{name}`, who is to be {role}")]
    UnknownUser {
        /// As configured.
        name: String,
        /// What it is to be.
        role: Role,
    },
    /// No such group.
    #[error("this host has no group `{name}`, which is to be {role}")]
    UnknownGroup {
        /// As configured.
        name: String,
        /// What it is to be.
        role: Role,
    },
    /// It is none of the forms.
    #[error("`{text}`, which is to be {role}, names nobody")]
    NotUnderstood {
        /// As configured.
        text: String,
        /// What it is to be.
        role: Role,
    },
}

impl RoleError {
    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::UnknownUser { .. } => "create the user, or name another; `#1000` names one by its number",
            Self::UnknownGroup { .. } => {
                "create the group, or name another; `@#1000` names one by its number"
            }
            Self::NotUnderstood { .. } => {
                "write a user as `name` or `#1000`, a group as `@name` or `@#1000`, a certificate as \
                 `cert:dns.name`"
            }
        }
    }
}

impl RoleMap {
    /// From what the configuration says: `name`, `#uid`, `@group`, `@#gid`, `cert:NAME`.
    pub fn new(admins: &[String], operators: &[String], viewers: &[String]) -> Result<Self, RoleError> {
        let lists = [(admins, Role::Admin), (operators, Role::Operator), (viewers, Role::Viewer)];
        let lines = lists.into_iter().flat_map(|(list, role)| list.iter().map(move |text| (text, role)));
        let grants = lines.map(|(text, role)| Ok((Grantee::parse(text, role)?, role)));
        Ok(Self { grants: grants.collect::<Result<_, _>>()? })
    }

    /// What a caller may do; none if nothing.
    pub fn role_of(&self, caller: &Caller) -> Option<Role> {
        if let Caller::Local(local) = caller
            && (local.uid == 0 || local.uid == Uid::effective().as_raw())
        {
            return Some(Role::Admin);
        }
        let granted = self.grants.iter().filter(|(grantee, _)| grantee.is(caller));
        granted.map(|(_, role)| *role).max()
    }

    /// The first configured name that a certificate is valid for.
    pub fn certificate_name(&self, certificate: &CertificateDer<'_>) -> Option<&str> {
        let certificate = webpki::EndEntityCert::try_from(certificate).ok()?;
        let names = self.grants.iter().filter_map(|(grantee, _)| grantee.certificate());
        names.into_iter().find(|name| {
            let name = ServerName::try_from(*name);
            name.is_ok_and(|name| certificate.verify_is_valid_for_subject_name(&name).is_ok())
        })
    }
}

impl Grantee {
    fn parse(text: &str, role: Role) -> Result<Self, RoleError> {
        let not_understood = || RoleError::NotUnderstood { text: text.to_owned(), role };
        if let Some(name) = text.strip_prefix("cert:") {
            let valid = ServerName::try_from(name).map_err(|_| not_understood())?;
            return Ok(Self::Certificate(valid.to_str().into_owned()));
        }
        if let Some(number) = text.strip_prefix("@#") {
            return number.parse().map(Self::Group).map_err(|_| not_understood());
        }
        if let Some(number) = text.strip_prefix('#') {
            return number.parse().map(Self::User).map_err(|_| not_understood());
        }
        match text.strip_prefix('@') {
            Some("") => Err(not_understood()),
            Some(name) => Self::group(name, role),
            None if text.is_empty() => Err(not_understood()),
            None => Self::user(text, role),
        }
    }

    fn user(name: &str, role: Role) -> Result<Self, RoleError> {
        let found = User::from_name(name).ok().flatten();
        let unknown = || RoleError::UnknownUser { name: name.to_owned(), role };
        found.map(|user| Self::User(user.uid.as_raw())).ok_or_else(unknown)
    }

    fn group(name: &str, role: Role) -> Result<Self, RoleError> {
        let found = Group::from_name(name).ok().flatten();
        let unknown = || RoleError::UnknownGroup { name: name.to_owned(), role };
        found.map(|group| Self::Group(group.gid.as_raw())).ok_or_else(unknown)
    }

    fn is(&self, caller: &Caller) -> bool {
        match (self, caller) {
            (Self::User(uid), Caller::Local(local)) => *uid == local.uid,
            (Self::Group(gid), Caller::Local(local)) => local.gids.contains(gid),
            (Self::Certificate(name), Caller::Remote(remote)) => remote.holds(name),
            _ => false,
        }
    }

    fn certificate(&self) -> Option<&str> {
        match self {
            Self::Certificate(name) => Some(name),
            Self::User(_) | Self::Group(_) => None,
        }
    }
}

impl RemoteCaller {
    /// Is its certificate valid for this name?
    fn holds(&self, name: &str) -> bool {
        let (Ok(name), Ok(certificate)) =
            (ServerName::try_from(name), webpki::EndEntityCert::try_from(&self.certificate))
        else {
            return false;
        };
        certificate.verify_is_valid_for_subject_name(&name).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    fn local(uid: u32, gids: &[u32]) -> Caller {
        Caller::Local(Arc::new(LocalCaller { uid, name: None, gids: gids.to_vec(), pid: Some(7) }))
    }

    #[test]
    fn the_highest_role_counts_and_nobody_has_one_by_default() {
        let roles = RoleMap::new(&list(&["#1001"]), &list(&["@#50"]), &list(&["#1001", "@#60"])).unwrap();
        for (caller, expected) in [
            (local(1_001, &[]), Some(Role::Admin)),
            (local(1_002, &[50, 60]), Some(Role::Operator)),
            (local(1_002, &[60]), Some(Role::Viewer)),
            (local(1_002, &[]), None),
            // A number of a user is not one of a group.
            (local(50, &[1_001]), None),
        ] {
            assert_eq!(roles.role_of(&caller), expected, "{caller:?}");
        }
    }

    #[test]
    fn root_and_the_daemon_itself_are_admins() {
        let roles = RoleMap::default();
        assert_eq!(roles.role_of(&local(0, &[])), Some(Role::Admin));
        assert_eq!(roles.role_of(&local(Uid::effective().as_raw(), &[])), Some(Role::Admin));
    }

    #[test]
    fn names_are_looked_up() {
        let roles = RoleMap::new(&[], &list(&["root"]), &list(&["@root"])).unwrap();
        assert_eq!(roles.grants, [(Grantee::User(0), Role::Operator), (Grantee::Group(0), Role::Viewer)]);
    }

    #[test]
    fn whoever_does_not_exist_is_named() {
        let error = RoleMap::new(&list(&["no-such-user"]), &[], &[]).unwrap_err();
        assert_eq!(error.to_string(), "this host has no user `no-such-user`, who is to be admin");
        let error = RoleMap::new(&[], &[], &list(&["@no-such-group"])).unwrap_err();
        assert_eq!(error.to_string(), "this host has no group `no-such-group`, which is to be viewer");
        for text in ["", "@", "#", "#-1", "#x", "@#x", "cert:", "cert:a b"] {
            let error = RoleMap::new(&[], &list(&[text]), &[]).unwrap_err();
            assert!(matches!(error, RoleError::NotUnderstood { .. }), "{text}: {error}");
        }
    }

    #[test]
    fn what_is_not_known_to_be_harmless_is_for_the_admin() {
        for (method, route, expected) in [
            (Method::GET, "/v1/export", Role::Viewer),
            (Method::HEAD, "/v1/status", Role::Viewer),
            (Method::POST, "/v1/explain", Role::Viewer),
            (Method::PUT, "/v1/explain", Role::Admin),
            (Method::POST, "/v1/tenants/{tenant}/drain", Role::Operator),
            (Method::PATCH, "/v1/tenants/{tenant}/pools/{pool}/backends/{backend}", Role::Operator),
            (Method::POST, "/v1/reload", Role::Operator),
            (Method::POST, "/v1/apply", Role::Admin),
            (Method::POST, "/v1/rollback", Role::Admin),
            (Method::PUT, "/v1/tenants/drain", Role::Admin),
            (Method::DELETE, "/v1/tenants/{tenant}", Role::Admin),
            (Method::POST, "/v1/anything-new", Role::Admin),
        ] {
            assert_eq!(Role::needed(&method, route), expected, "{method} {route}");
        }
    }
}
