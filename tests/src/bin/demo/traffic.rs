//! What is sent, and whether the right one answered and saw the right client.

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddrV4},
    time::Duration,
};

use gateway_tests::{
    lab::Lab,
    netns::Namespace,
    servers::{WhoAmI, ask_udp},
    topology::TenantPlan,
    world::{NPCI, World},
};

const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// HTTP requests of each row; each has a connection of its own.
const REQUESTS: usize = 6;
/// Datagrams of each row.
const DATAGRAMS: usize = 3;
/// Echo requests of each row.
const ECHOES: u32 = 3;

/// Everything that was sent.
pub struct Traffic(Vec<Row>);

/// Who called whom.
struct Row {
    from: String,
    to: String,
    by: String,
    http: Option<Tally>,
    udp: Option<Tally>,
    ping: Option<Tally>,
}

/// Answers as they should be, of so many.
#[derive(Clone, Copy)]
struct Tally {
    right: usize,
    of: usize,
}

/// Who must answer, and as whom the caller must be seen.
#[derive(Clone, Copy)]
struct Wanted<'a> {
    server: &'a str,
    client: Ipv4Addr,
}

impl Traffic {
    /// Sends all of it.
    pub fn send(lab: &Lab, world: &World<'_>) -> Self {
        let mut rows = Vec::new();
        for tenant in &lab.tenants {
            rows.push(Row::to_tenant(lab, world, &tenant.plan));
            rows.extend(Row::to_npci(lab, world, &tenant.plan));
        }
        rows.push(Row {
            ping: Some(ping(&lab.npci, lab.plan.ingress_vip)),
            ..Row::new(NPCI, "the gateway", lab.plan.ingress_vip.to_string())
        });
        Self(rows)
    }

    /// Everything that got no right answer.
    pub fn failures(&self) -> usize {
        self.0.iter().flat_map(Row::tallies).map(|tally| tally.of - tally.right).sum()
    }

    /// How much was asked.
    pub fn questions(&self) -> usize {
        self.0.iter().flat_map(Row::tallies).map(|tally| tally.of).sum()
    }
}

impl Row {
    fn new(from: &str, to: &str, by: String) -> Self {
        Self { from: label(from), to: label(to), by, http: None, udp: None, ping: None }
    }

    /// By the ingress VIP. The tenant must see its own NAT IP.
    fn to_tenant(lab: &Lab, world: &World<'_>, tenant: &TenantPlan) -> Self {
        let (web, echo) = (world.web(tenant.number), world.echo(tenant.number));
        let wanted = Wanted { server: &tenant.name, client: tenant.nat_ip };
        Self {
            http: Some(http(&lab.npci, web, wanted)),
            udp: Some(udp(&lab.npci, echo, wanted)),
            ..Self::new(NPCI, &tenant.name, format!("{web}, {}", echo.port()))
        }
    }

    /// By NPCI's address, and by the tenant's NAT IP. NPCI must see the egress VIP.
    fn to_npci(lab: &Lab, world: &World<'_>, tenant: &TenantPlan) -> [Self; 2] {
        let inside = &lab.tenant(tenant.number).namespace;
        let wanted = Wanted { server: NPCI, client: lab.plan.egress_vip };
        let mut rows = [lab.plan.npci_endpoint(), world.mapped(tenant.number)].map(|target| Self {
            http: Some(http(inside, target, wanted)),
            udp: Some(udp(inside, target, wanted)),
            ..Self::new(&tenant.name, NPCI, target.to_string())
        });
        rows[0].ping = Some(ping(inside, lab.plan.npci()));
        rows
    }

    fn tallies(&self) -> impl Iterator<Item = Tally> {
        [self.http, self.udp, self.ping].into_iter().flatten()
    }
}

fn http(from: &Namespace, target: SocketAddrV4, wanted: Wanted<'_>) -> Tally {
    let url = format!("http://{target}/whoami");
    let is_right = || {
        let reply = from.curl(&url).run();
        let who = reply.is_success().then(|| WhoAmI::parse(&reply.body)).flatten();
        who.is_some_and(|who| who.name == wanted.server && who.remote_addr == wanted.client)
    };
    tally(REQUESTS, is_right)
}

fn udp(from: &Namespace, target: SocketAddrV4, wanted: Wanted<'_>) -> Tally {
    let answer = format!("{} hello", wanted.server);
    tally(DATAGRAMS, || ask_udp(from, target, "hello", ANSWER_LIMIT).as_ref() == Some(&answer))
}

fn ping(from: &Namespace, target: Ipv4Addr) -> Tally {
    let report = from.ping(target, ECHOES);
    Tally { right: report.received as usize, of: report.sent as usize }
}

fn tally(of: usize, mut is_right: impl FnMut() -> bool) -> Tally {
    Tally { right: (0..of).filter(|_| is_right()).count(), of }
}

fn label(name: &str) -> String {
    if name == NPCI { "NPCI".to_owned() } else { name.to_owned() }
}

impl fmt::Display for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [http, udp, ping] = ["HTTP", "UDP", "ping"];
        writeln!(f, "  {:<8} {:<12} {:<24} {http:>6} {udp:>6} {ping:>6}", "from", "to", "called by")?;
        self.0.iter().try_for_each(|row| writeln!(f, "{row}"))
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, to, by, .. } = self;
        write!(f, "  {from:<8} {to:<12} {by:<24}")?;
        [self.http, self.udp, self.ping].into_iter().try_for_each(|tally| {
            let shown = tally.map_or("-".to_owned(), |Tally { right, of }| format!("{right}/{of}"));
            write!(f, " {shown:>6}")
        })
    }
}
