//! Many short HTTP requests, one TCP connection each.
//!
//! Own client instead of `curl --parallel`: it counts per answering server, tells failures apart and binds
//! each connection's source, and its cost per request is small enough that two cores see the gateway and not
//! the client.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::netns::Namespace;
use crate::servers::WhoAmI;
use crate::tcp;

/// A run of requests to `/whoami`.
#[derive(Debug, Clone)]
pub struct Load {
    target: SocketAddrV4,
    source: Option<Ipv4Addr>,
    requests: usize,
    concurrency: usize,
    limit: Duration,
}

/// What became of the requests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// Answers by the name of the server.
    pub by_server: BTreeMap<String, usize>,
    /// Answers by the client address that the server saw.
    pub by_seen_client: BTreeMap<Ipv4Addr, usize>,
    /// Failures by their words.
    pub failures: BTreeMap<String, usize>,
    /// From the first connect to the last answer.
    pub elapsed: Duration,
}

impl LoadReport {
    /// How many were answered.
    pub fn answered(&self) -> usize {
        self.by_server.values().sum()
    }

    /// How many were not.
    pub fn failed(&self) -> usize {
        self.failures.values().sum()
    }

    /// Panics unless every request was answered.
    #[track_caller]
    pub fn assert_no_failures(&self) {
        assert!(self.failures.is_empty() && self.answered() > 0, "requests failed: {self:?}");
    }

    fn note(&mut self, outcome: Result<WhoAmI, String>) {
        match outcome {
            Ok(who) => {
                *self.by_server.entry(who.name).or_default() += 1;
                *self.by_seen_client.entry(who.remote_addr).or_default() += 1;
            }
            Err(problem) => *self.failures.entry(problem).or_default() += 1,
        }
    }

    fn join(mut self, other: Self) -> Self {
        add_counts(&mut self.by_server, other.by_server);
        add_counts(&mut self.by_seen_client, other.by_seen_client);
        add_counts(&mut self.failures, other.failures);
        self
    }
}

fn add_counts<K: Ord>(counts: &mut BTreeMap<K, usize>, more: BTreeMap<K, usize>) {
    for (key, count) in more {
        *counts.entry(key).or_default() += count;
    }
}

impl Load {
    /// So many requests, eight at a time, five seconds each at most.
    pub fn new(target: SocketAddrV4, requests: usize) -> Self {
        Self { target, source: None, requests, concurrency: 8, limit: Duration::from_secs(5) }
    }

    /// How many at a time.
    #[must_use]
    pub fn concurrency(mut self, concurrency: usize) -> Self {
        self.concurrency = concurrency;
        self
    }

    /// Connects from this address.
    #[must_use]
    pub fn from(mut self, source: Ipv4Addr) -> Self {
        self.source = Some(source);
        self
    }

    /// For connecting and for each wait in a request.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Runs all of it from a namespace.
    pub fn run(&self, namespace: &Namespace) -> LoadReport {
        let (next, started) = (AtomicUsize::new(0), Instant::now());
        let worker = || {
            namespace.join_this_thread();
            self.work(&next)
        };
        let report = thread::scope(|scope| {
            let workers: Vec<_> = (0..self.concurrency).map(|_| scope.spawn(worker)).collect();
            let reports = workers.into_iter().map(|worker| worker.join().expect("a worker does not panic"));
            reports.fold(LoadReport::default(), LoadReport::join)
        });
        LoadReport { elapsed: started.elapsed(), ..report }
    }

    fn work(&self, next: &AtomicUsize) -> LoadReport {
        let mut report = LoadReport::default();
        while next.fetch_add(1, Ordering::Relaxed) < self.requests {
            report.note(self.request());
        }
        report
    }

    /// One connection, one request, read to the end.
    fn request(&self) -> Result<WhoAmI, String> {
        let connected = tcp::connect_here(self.source, self.target, self.limit);
        let mut stream = connected.map_err(|error| format!("connect: {error}"))?;
        let request = format!("GET /whoami HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.target);
        stream.write_all(request.as_bytes()).map_err(|error| format!("send: {error}"))?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map_err(|error| format!("receive: {error}"))?;
        let body = answer.strip_prefix("HTTP/1.1 200 ").and_then(|rest| rest.split_once("\r\n\r\n"));
        body.and_then(|(_, body)| WhoAmI::parse(body)).ok_or_else(|| format!("bad answer: {answer:?}"))
    }
}
