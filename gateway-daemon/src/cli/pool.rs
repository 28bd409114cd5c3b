//! `gateway-daemon pool`.

use std::net::SocketAddrV4;

use clap::{Args, Subcommand, ValueEnum};
use hyper::Method;

use super::Exit;
use super::change::ChangeOptions;
use super::columns::Align::{Left, Right};
use super::columns::Columns;
use super::listener::{ListOptions, tenants, word};
use super::mistake::Mistake;
use crate::api::change::Ask;
use crate::tenancy::spec::{BackendSpec, HealthSpec, PoolSpec, TenantSpec};

/// Options of `pool`.
#[derive(Debug, Args)]
#[command(after_help = super::EXIT_CODES)]
pub struct PoolOptions {
    /// What to do.
    #[command(subcommand)]
    pub command: PoolCommand,
}

/// What to do with pools.
#[derive(Debug, Subcommand)]
pub enum PoolCommand {
    /// Add a pool of backends.
    Add(AddOptions),
    /// Change fields of a pool; what is not named stays, its backends too.
    Set(SetOptions),
    /// Remove a pool.
    Remove(RemoveOptions),
    /// List the pools.
    List(ListOptions),
}

/// What new flows meet when no backend takes any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum WhenAllDown {
    /// RST or ICMP at once
    Refuse,
    /// Nothing
    Drop,
}

/// What becomes of the flows of a backend that goes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnBackendDown {
    /// They go on
    Keep,
    /// They are reset
    Reset,
}

/// How backends are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Check {
    /// They are not, and count as up
    None,
    /// A TCP connection
    Tcp,
    /// An HTTP request
    Http,
    /// An HTTPS request
    Https,
    /// A TLS handshake
    Tls,
    /// Bytes sent and expected
    Script,
}

/// The fields of a pool.
#[derive(Debug, Args)]
pub struct PoolFields {
    /// What new flows meet when no backend takes any
    #[arg(long, value_enum)]
    pub when_all_down: Option<WhenAllDown>,
    /// What becomes of the flows of a backend that goes down
    #[arg(long, value_enum)]
    pub on_backend_down: Option<OnBackendDown>,
    /// Seconds in which the share of a backend that came up grows to its full weight
    #[arg(long, value_name = "SECONDS")]
    pub slow_start: Option<u32>,
    /// How its backends are checked; replaces all fields of the check
    #[arg(long, value_enum)]
    pub check: Option<Check>,
    /// Milliseconds from one check to the next
    #[arg(long, value_name = "MILLISECONDS")]
    pub check_interval: Option<u32>,
    /// Milliseconds that a check may take
    #[arg(long, value_name = "MILLISECONDS")]
    pub check_timeout: Option<u32>,
    /// Successes in a row until a backend is up
    #[arg(long, value_name = "COUNT")]
    pub check_rise: Option<u32>,
    /// Failures in a row until a backend is down
    #[arg(long, value_name = "COUNT")]
    pub check_fall: Option<u32>,
    /// Per cent of the interval by which checks are spread at random
    #[arg(long, value_name = "PERCENT")]
    pub check_jitter: Option<u32>,
    /// Whether a backend counts as up until it is proven down; without, it is down until proven up
    #[arg(long, value_name = "BOOL")]
    pub check_assume_up: Option<bool>,
    /// Whether unanswered SYNs and RSTs of real traffic bring the next check forward and count as failures
    #[arg(long, value_name = "BOOL")]
    pub check_passive: Option<bool>,
    /// Port to check, if not the backend's own
    #[arg(long, value_name = "PORT")]
    pub check_port: Option<u16>,
    /// HTTP and HTTPS: the path to GET
    #[arg(long, value_name = "PATH")]
    pub check_path: Option<String>,
    /// HTTP and HTTPS: the Host header; TLS and HTTPS: the server name
    #[arg(long, value_name = "NAME")]
    pub check_host: Option<String>,
    /// HTTP and HTTPS: statuses that count as success, as in 200-299,304
    #[arg(long, value_name = "STATUSES")]
    pub check_status: Option<String>,
    /// Script: bytes to send, in hex
    #[arg(long, value_name = "HEX")]
    pub check_send: Option<String>,
    /// Script: bytes that the answer must begin with, in hex; `..` stands for any byte
    #[arg(long, value_name = "HEX")]
    pub check_expect: Option<String>,
}

/// Options of `pool add`.
#[derive(Debug, Args)]
pub struct AddOptions {
    /// Name of the tenant
    pub tenant: String,
    /// Name of the pool
    pub name: String,
    /// A backend, with its share of new flows; may be repeated
    #[arg(long = "backend", value_name = "ADDRESS:PORT[=WEIGHT]", required = true, value_parser = backend)]
    pub backends: Vec<BackendSpec>,
    /// Its other fields.
    #[command(flatten)]
    pub fields: PoolFields,
    /// How.
    #[command(flatten)]
    pub change: ChangeOptions,
}

/// Options of `pool set`.
#[derive(Debug, Args)]
pub struct SetOptions {
    /// Name of the tenant
    pub tenant: String,
    /// Name of the pool
    pub name: String,
    /// What is to be another.
    #[command(flatten)]
    pub fields: PoolFields,
    /// How.
    #[command(flatten)]
    pub change: ChangeOptions,
}

/// Options of `pool remove`.
#[derive(Debug, Args)]
pub struct RemoveOptions {
    /// Name of the tenant
    pub tenant: String,
    /// Name of the pool
    pub name: String,
    /// How.
    #[command(flatten)]
    pub change: ChangeOptions,
}

fn backend(text: &str) -> Result<BackendSpec, String> {
    let (address, weight) =
        text.split_once('=').map_or((text, None), |(address, weight)| (address, Some(weight)));
    let address: SocketAddrV4 =
        address.parse().map_err(|_| format!("`{address}` is not as 198.51.100.7:8080"))?;
    let weight =
        weight.map(str::parse).transpose().map_err(|_| "the weight is not a number from 0 to 65535")?;
    let (port, address) = (address.port(), address.ip().to_string());
    Ok(BackendSpec { address, port, weight, ..BackendSpec::default() })
}

impl PoolOptions {
    /// Asks the daemon and prints its answer.
    pub fn execute(&self) -> anyhow::Result<Exit> {
        match &self.command {
            PoolCommand::Add(options) => options.execute(),
            PoolCommand::Set(options) => options.execute(),
            PoolCommand::Remove(RemoveOptions { tenant, name, change }) => {
                change.make(Ask::new(Method::DELETE, &["tenants", tenant, "pools", name]))
            }
            PoolCommand::List(options) => list(options),
        }
    }
}

fn put(tenant: &str, pool: &PoolSpec) -> Ask {
    Ask::new(Method::PUT, &["tenants", tenant, "pools", &pool.name]).with(pool)
}

impl AddOptions {
    fn execute(&self) -> anyhow::Result<Exit> {
        let (name, backend) = (self.name.clone(), self.backends.clone());
        let mut pool = PoolSpec { name, backend, ..PoolSpec::default() };
        self.fields.put_into(&mut pool)?;
        self.change.revise(&["tenants", &self.tenant], |tenant: TenantSpec| {
            if tenant.pool.iter().any(|pool| pool.name == self.name) {
                let what = format!("tenant `{}` has a pool `{}` already", self.tenant, self.name);
                return Err(Mistake::new(what, "`pool set` changes it").into());
            }
            Ok(put(&self.tenant, &pool))
        })
    }
}

impl SetOptions {
    fn execute(&self) -> anyhow::Result<Exit> {
        self.change.revise(&["tenants", &self.tenant], |tenant: TenantSpec| {
            let found = tenant.pool.into_iter().find(|pool| pool.name == self.name);
            let Some(mut pool) = found else {
                let what = format!("tenant `{}` has no pool `{}`", self.tenant, self.name);
                return Err(Mistake::new(what, "`pool add` adds one").into());
            };
            self.fields.put_into(&mut pool)?;
            Ok(put(&self.tenant, &pool))
        })
    }
}

impl PoolFields {
    /// Changes what was named.
    fn put_into(&self, pool: &mut PoolSpec) -> Result<(), Mistake> {
        put_if(&mut pool.when_all_down, self.when_all_down.map(word));
        put_if(&mut pool.on_backend_down, self.on_backend_down.map(word));
        put_if(&mut pool.slow_start_secs, self.slow_start);
        match self.check {
            Some(Check::None) => pool.health = None,
            Some(check) => {
                pool.health = Some(Box::new(HealthSpec { check: word(check), ..HealthSpec::default() }));
            }
            None => {}
        }
        self.put_into_check(pool)
    }

    fn put_into_check(&self, pool: &mut PoolSpec) -> Result<(), Mistake> {
        let mut unchecked = HealthSpec::default();
        let checked = pool.health.is_some();
        let health = pool.health.as_deref_mut().unwrap_or(&mut unchecked);
        put_if(&mut health.interval_ms, self.check_interval);
        put_if(&mut health.timeout_ms, self.check_timeout);
        put_if(&mut health.rise, self.check_rise);
        put_if(&mut health.fall, self.check_fall);
        put_if(&mut health.jitter_percent, self.check_jitter);
        put_if(&mut health.assume_up, self.check_assume_up);
        put_if(&mut health.passive, self.check_passive);
        put_if(&mut health.port, self.check_port);
        put_if(&mut health.path, self.check_path.clone());
        put_if(&mut health.host, self.check_host.clone());
        put_if(&mut health.expect_status, self.check_status.clone());
        put_if(&mut health.send_hex, self.check_send.clone());
        put_if(&mut health.expect_hex, self.check_expect.clone());
        if !checked && unchecked != HealthSpec::default() {
            return Err(Mistake::new("the pool has no check whose fields could be set", "add `--check`"));
        }
        Ok(())
    }
}

fn put_if<T>(field: &mut Option<T>, value: Option<T>) {
    if value.is_some() {
        *field = value;
    }
}

fn list(options: &ListOptions) -> anyhow::Result<Exit> {
    options.client.show(async |client| tenants(client, options.tenant.as_deref()).await, |list| render(list))
}

fn render(tenants: &[TenantSpec]) -> String {
    let mut columns = Columns::new([
        ("TENANT", Left),
        ("POOL", Left),
        ("CHECK", Left),
        ("WHEN ALL DOWN", Left),
        ("ON BACKEND DOWN", Left),
        ("BACKENDS", Right),
    ]);
    let or_default = |value: &Option<String>| value.clone().unwrap_or_else(|| "(default)".to_owned());
    for (tenant, pool) in tenants.iter().flat_map(|one| one.pool.iter().map(move |below| (one, below))) {
        columns.row([
            tenant.name.clone(),
            pool.name.clone(),
            pool.health.as_ref().map_or_else(|| "-".to_owned(), |health| health.check.clone()),
            or_default(&pool.when_all_down),
            or_default(&pool.on_backend_down),
            pool.backend.len().to_string(),
        ]);
    }
    columns.render()
}
