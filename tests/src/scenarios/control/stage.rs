//! A gateway whose tenants are in its store, with servers and clients around it.

use std::{net::SocketAddrV4, time::Duration};

use crate::{
    clients::Aim,
    gateway::{
        Document, Gateway, GatewayConfig,
        api::{Api, BackendPath},
    },
    lab::Lab,
    poll::try_poll,
    servers::Nginx,
    topology::Tenant,
    world::{web_backends, web_listener},
};

/// The pool of every tenant.
pub const POOL: &str = "web";

/// All of it, running.
#[derive(Debug)]
pub struct Stage<'lab> {
    /// The gateway. Dropped first, so its programs are gone before the servers are.
    pub gateway: Gateway<'lab>,
    /// Of the gateway, in its first life.
    pub api: Api,
    lab: &'lab Lab,
    _servers: Vec<Nginx>,
}

impl<'lab> Stage<'lab> {
    /// Starts servers on both backends of every tenant, and a gateway; brings all tenants into its store.
    #[track_caller]
    pub fn start(lab: &'lab Lab, adjust: impl FnOnce(&mut GatewayConfig)) -> Self {
        let servers = lab.tenants.iter().map(start_server).collect();
        Self::start_before(lab, servers, adjust)
    }

    /// The same with servers of the caller's, and with those tenants that `adjust` leaves.
    #[track_caller]
    pub fn start_before(
        lab: &'lab Lab,
        servers: Vec<Nginx>,
        adjust: impl FnOnce(&mut GatewayConfig),
    ) -> Self {
        let mut document = Document::default();
        let gateway = Gateway::start(lab, |config| {
            configure(config, lab);
            adjust(config);
            document = config.take_document();
        });
        let mut api = gateway.api();
        api.apply(&document)
            .unwrap_or_else(|problem| panic!("the tenants of the lab are refused: {problem}"));
        lab.warm_neighbours();
        Self { gateway, api, lab, _servers: servers }
    }

    /// How NPCI reaches these tenants.
    pub fn aims(&self, numbers: impl IntoIterator<Item = usize>) -> Vec<Aim> {
        numbers.into_iter().map(|number| self.aim(number)).collect()
    }

    /// How NPCI reaches a tenant.
    pub fn aim(&self, number: usize) -> Aim {
        let tenant = &self.lab.tenant(number).plan;
        Aim {
            address: self.lab.plan.ingress(web_listener(number)),
            server: tenant.name.clone(),
            seen_as: tenant.nat_ip,
        }
    }

    /// A backend of a tenant, as the API names it.
    pub fn backend(&self, number: usize, index: usize) -> BackendPath<'lab> {
        let tenant = self.lab.tenant(number);
        BackendPath { tenant: &tenant.plan.name, pool: POOL, backend: web_backends(tenant)[index] }
    }
}

/// A pool of both servers, and a listener, for every tenant.
fn configure(config: &mut GatewayConfig, lab: &Lab) {
    for (number, tenant) in (1..).zip(&lab.tenants) {
        let listener = web_listener(number);
        config.tenant(number).add_pool(POOL, &web_backends(tenant)).add_listener("tcp", listener, POOL);
    }
}

fn start_server(tenant: &Tenant) -> Nginx {
    Nginx::start(&tenant.namespace, &tenant.plan.name, &web_backends(tenant))
}

/// One server a backend, so that one of them can fail. Both say the tenant's name.
pub fn start_servers_apart(tenant: &Tenant) -> Vec<Nginx> {
    let start = |address: SocketAddrV4| Nginx::start_apart(&tenant.namespace, &tenant.plan.name, address);
    web_backends(tenant).into_iter().map(start).collect()
}

/// Waits until something is so; the problem if it never is.
pub fn wait(limit: Duration, what: &str, mut is_so: impl FnMut() -> bool) -> Result<(), String> {
    let waited = try_poll(limit, what, || is_so().then_some(()).ok_or(None::<String>));
    waited.map_err(|timed_out| timed_out.to_string())
}
