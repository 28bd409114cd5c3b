//! Texts of the configuration and bodies of the API, made from the sample configuration.

use std::{collections::BTreeSet, fs, path::Path};

use gateway_daemon::{config::example, tenancy::edit::Edit};
use serde::Serialize;

use crate::api_body::sample;

/// The sample without its comments, all fields given.
pub(crate) fn bare_sample() -> String {
    let sample = example();
    let fields = sample.lines().filter(|line| !line.is_empty() && !line.starts_with("# ") && *line != "#");
    fields.map(|line| line.strip_prefix('#').unwrap_or(line)).collect::<Vec<_>>().join("\n") + "\n"
}

/// The sample, and every way of being wrong that the daemon's tests know.
pub fn config() -> Vec<Vec<u8>> {
    let broken = Path::new(env!("CARGO_MANIFEST_DIR")).join("../gateway-daemon/tests/config-broken");
    let mut texts = vec![bare_sample().into_bytes()];
    let entries = fs::read_dir(broken).into_iter().flatten().flatten();
    let mut paths: Vec<_> = entries.map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    paths.sort();
    // One of them is a directory.
    texts.extend(paths.iter().filter_map(|path| fs::read(path).ok()).filter(|text| text.len() < 8_192));
    texts
}

/// Fields, sections and values of the sample.
pub fn config_words() -> Vec<String> {
    let sample = bare_sample();
    let mut words = BTreeSet::new();
    for line in sample.lines() {
        match line.split_once(" = ") {
            Some((field, value)) => {
                words.extend([format!("{field} = "), format!("{value}\n"), line.to_owned() + "\n"]);
            }
            None => _ = words.insert(line.to_owned() + "\n"),
        }
    }
    words.into_iter().collect()
}

/// The objects of the sample, each at its path, and edits of them.
pub fn api_body() -> Vec<Vec<u8>> {
    let tenancy = sample().tenancy();
    let document = tenancy.document();
    let tenant = document.tenant[0].clone();
    let pool = tenant.pool[0].clone();
    let edits = vec![
        Edit::SetBackendWeight {
            tenant: tenant.name.clone(),
            pool: pool.name.clone(),
            backend: "198.51.100.18:8080".to_owned(),
            weight: 3,
        },
        Edit::RemoveListener { tenant: tenant.name.clone(), listener: tenant.listener[0].name.clone() },
        Edit::RemoveTenant { tenant: tenant.name.clone() },
    ];
    let bodies = [
        ('D', json(&document)),
        ('T', json(&tenant)),
        ('G', json(&document.peer_group[0])),
        ('O', json(&pool)),
        ('B', json(&pool.backend[0])),
        ('L', json(&tenant.listener[0])),
        ('E', json(&tenant.egress[0])),
        ('C', json(&edits)),
        ('W', r#"{"weight":7}"#.to_owned()),
        ('S', r#"{"deadline_secs":30}"#.to_owned()),
        ('P', "{}".to_owned()),
        ('R', r#"{"version":1}"#.to_owned()),
        ('X', r#"{"interface":"ext0","packet":{"hex":"00"}}"#.to_owned()),
    ];
    bodies.iter().map(|(path, body)| format!("{path}{body}\n").into_bytes()).collect()
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("a specification is JSON")
}

/// Every name and value of the sample's objects and edits, as it stands in JSON.
pub fn api_words() -> Vec<String> {
    const MORE: [&str; 14] = [
        "null",
        "true",
        "{}",
        "[]",
        "\"draining\"",
        "\"maintenance\"",
        "\"udp\"",
        "\"preserve\"",
        "\"reset\"",
        "\"drain_until\":",
        "\"state\":",
        "\"edit\":",
        "65536",
        "18446744073709551615",
    ];
    let texts = api_body().into_iter().map(|text| String::from_utf8(text).expect("JSON is text"));
    let mut words: BTreeSet<String> = MORE.iter().map(|word| (*word).to_owned()).collect();
    for text in texts {
        let pieces = text.split(['{', '}', '[', ']', ',', '\n']).filter(|piece| piece.len() > 1);
        words.extend(pieces.map(str::to_owned));
    }
    words.into_iter().collect()
}
