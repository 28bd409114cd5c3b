//! The alerts in `deploy/`, as Prometheus's own tool sees them, and what belongs to each: metrics, tests, a section of
//! the runbook.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Metrics in alerts that are not ours.
const PROMETHEUS_OWN: &[&str] = &["up"];

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn text_of(path: &str) -> String {
    let path = repository().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn rules() -> String {
    text_of("deploy/prometheus-rules.yaml")
}

/// What stands behind `key` on lines of that key.
fn values<'a>(yaml: &'a str, key: &str) -> Vec<&'a str> {
    yaml.lines().filter_map(|line| line.trim_start().strip_prefix(key)).map(str::trim).collect()
}

fn alerts(rules: &str) -> Vec<&str> {
    let alerts = values(rules, "- alert:");
    assert!(alerts.len() > 20, "{alerts:?}");
    alerts
}

/// None when promtool is not installed: a machine that runs CI must have it.
fn promtool(arguments: &[&str]) -> Option<Output> {
    let ran = Command::new("promtool").args(arguments).current_dir(repository().join("deploy")).output();
    if ran.is_err() {
        assert!(std::env::var_os("CI").is_none(), "promtool is not installed: run scripts/setup.sh");
        eprintln!("left out: promtool is not installed, scripts/setup.sh installs it");
    }
    ran.ok()
}

fn must_succeed(arguments: &[&str]) {
    let Some(output) = promtool(arguments) else { return };
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "promtool {}: {said}", arguments.join(" "));
}

#[test]
fn the_rules_are_sound() {
    must_succeed(&["check", "rules", "prometheus-rules.yaml"]);
}

#[test]
fn every_alert_fires_when_it_should_and_only_then() {
    must_succeed(&["test", "rules", "prometheus-rules.test.yaml"]);
}

#[test]
fn every_alert_is_tested_both_ways() {
    let (rules, tests) = (rules(), text_of("deploy/prometheus-rules.test.yaml"));
    let cases: BTreeSet<_> = values(&tests, "- name:").into_iter().collect();
    for alert in alerts(&rules) {
        for case in [format!("{alert} fires"), format!("{alert} stays quiet")] {
            assert!(cases.contains(case.as_str()), "no test {case:?}");
        }
        let with_alerts = format!("        alertname: {alert}\n        exp_alerts:\n          - exp_labels:");
        assert!(tests.contains(&with_alerts), "{alert} is never expected to fire");
    }
    assert_eq!(cases.len(), 2 * alerts(&rules).len(), "tests of alerts that are no more");
}

#[test]
fn every_alert_says_how_bad_what_and_where_to_read_on() {
    let rules = rules();
    let blocks: Vec<_> = rules.split("- alert:").skip(1).collect();
    assert_eq!(blocks.len(), alerts(&rules).len());
    for block in blocks {
        let name = block.lines().next().unwrap().trim();
        let severity = values(block, "severity:");
        assert!(severity == ["critical"] || severity == ["warning"], "{name}: {severity:?}");
        for key in ["summary:", "description:"] {
            assert_eq!(values(block, key).len(), 1, "{name}: {key}");
        }
        let anchor = format!("docs/runbook.md#{}", name.to_lowercase());
        assert_eq!(values(block, "runbook_url:"), [anchor]);
    }
}

#[test]
fn every_alert_has_its_section_in_the_runbook_and_no_section_is_left_over() {
    let (rules, runbook) = (rules(), text_of("docs/runbook.md"));
    let sections: Vec<_> = runbook.split("\n## ").skip(1).collect();
    let titles: BTreeSet<_> = sections.iter().map(|section| section.lines().next().unwrap()).collect();
    assert_eq!(titles, alerts(&rules).into_iter().collect::<BTreeSet<_>>());
    for section in sections {
        for part in ["**Means:** ", "**Impact:** ", "**Look:** ", "**Do:** "] {
            assert_eq!(section.matches(part).count(), 1, "{part} of {}", section.lines().next().unwrap());
        }
    }
}

/// Every metric that the alerts name, in their expressions or texts.
fn metrics_in(rules: &str) -> BTreeSet<&str> {
    let words = rules.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let ours = words.filter(|word| word.starts_with("gateway_"));
    ours.chain(PROMETHEUS_OWN.iter().copied().filter(|name| rules.contains(&format!("{name}{{")))).collect()
}

#[test]
fn every_metric_in_an_alert_is_one_of_ours() {
    let golden = text_of("gateway-daemon/tests/golden/metrics.txt");
    let known: BTreeSet<_> = golden
        .lines()
        .filter_map(|line| line.split_whitespace().nth(1)?.split(['{', ':']).next())
        .chain(PROMETHEUS_OWN.iter().copied())
        .collect();
    let rules = rules();
    let used = metrics_in(&rules);
    assert!(used.len() > 20, "{used:?}");
    let unknown: Vec<_> = used.difference(&known).collect();
    assert!(unknown.is_empty(), "no such metrics: {unknown:?}");
}
