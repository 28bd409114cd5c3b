//! What makes no sense, and who may not: refused with the field and the remedy, and nothing has changed.

mod cases;

use std::{fs, process::Output};

use gateway_daemon::datapath::{changes::Changes, contents::Contents};
use serde_json::Value;

use super::stage::Stage;
use crate::{
    gateway::api::{Answer, Request},
    lab::Lab,
    topology::Mode,
};
use cases::{ApiCase, CliCase};

/// Exit code of the command line for wrong input.
const REFUSED: i32 = 2;
/// `nobody`: a user to whom the configuration gives no role.
const NOBODY: u32 = 65_534;

/// What became of the requests.
#[derive(Debug, Default)]
pub struct Refusals {
    /// Wrong inputs that were tried.
    pub cases: usize,
    /// Of them, refused as they should be.
    pub refused: usize,
    /// What was wrong with the others.
    pub problems: Vec<String>,
    /// What was wrong with the answer to a user without a role, and with the line of the audit.
    pub unauthorised: Vec<String>,
}

/// Tries every one.
#[track_caller]
pub fn run() -> Refusals {
    let lab = Lab::new(Mode::Tc);
    let mut stage = Stage::start(&lab, |_| ());
    let mut refusals = Refusals::default();
    for case in cases::of_the_api() {
        let problems = unchanged(&mut stage, |stage| judge_api(stage, &case));
        refusals.note(&case.name(), problems);
    }
    for case in cases::of_the_cli() {
        let problems = unchanged(&mut stage, |stage| run_cli(&lab, stage, &case));
        refusals.note(&case.arguments.join(" "), problems);
    }
    refusals.unauthorised = unchanged(&mut stage, |stage| unauthorised(&lab, stage));
    refusals
}

impl Refusals {
    fn note(&mut self, name: &str, problems: Vec<String>) {
        self.cases += 1;
        self.refused += usize::from(problems.is_empty());
        self.problems.extend(problems.into_iter().map(|problem| format!("{name}: {problem}")));
    }
}

/// Adds to the problems of `try_it` whatever has changed meanwhile.
fn unchanged(stage: &mut Stage<'_>, try_it: impl FnOnce(&mut Stage<'_>) -> Vec<String>) -> Vec<String> {
    let before = (version(stage), contents(stage));
    let mut problems = try_it(stage);
    let after = (version(stage), contents(stage));
    if before.0 != after.0 {
        problems.push(format!("version {} before, {} after", before.0, after.0));
    }
    let changes = Changes::between(&before.1, &after.1);
    if !changes.is_empty() {
        problems.push(format!("the kernel's tables have changed: {changes:?}"));
    }
    problems
}

#[track_caller]
fn version(stage: &mut Stage<'_>) -> u64 {
    stage.api.version().unwrap_or_else(|problem| panic!("no version: {problem}"))
}

#[track_caller]
fn contents(stage: &Stage<'_>) -> Contents {
    stage.gateway.tables().contents().unwrap_or_else(|error| panic!("read the tables: {error:#}"))
}

fn judge_api(stage: &mut Stage<'_>, case: &ApiCase) -> Vec<String> {
    let body = case.body();
    let mut request = Request::new(case.method, &case.path);
    if let Some(body) = &body {
        request = request.json(body);
    }
    for (name, value) in case.headers {
        request = request.header(name, value);
    }
    match stage.api.send(&request) {
        Ok(answer) => judge_answer(&answer, case.status, case.field),
        Err(problem) => vec![problem],
    }
}

/// A refusal has the right status, says what is wrong and what to do about it, and names the field.
fn judge_answer(answer: &Answer, status: u16, field: Option<&str>) -> Vec<String> {
    let mut problems = Vec::new();
    if answer.status != status {
        problems.push(format!("status {}, not {status}: {}", answer.status, answer.body));
    }
    let Ok(document) = answer.any_json() else {
        problems.push(format!("no problem document: {:?}", answer.body));
        return problems;
    };
    let says = |value: &Value| value.as_str().is_some_and(|text| !text.is_empty());
    for part in ["title", "detail", "remedy"] {
        if !says(&document[part]) {
            problems.push(format!("no {part}: {document}"));
        }
    }
    let Some(field) = field else { return problems };
    let entries = document["problems"].as_array().map(Vec::as_slice).unwrap_or_default();
    let named = entries.iter().find(|entry| entry["path"].as_str() == Some(field));
    if !named.is_some_and(|entry| says(&entry["problem"]) && says(&entry["remedy"])) {
        problems.push(format!("does not say what is wrong with {field}: {document}"));
    }
    problems
}

/// The word `FILE` stands for a file with the document of the case.
fn run_cli(lab: &Lab, stage: &Stage<'_>, case: &CliCase) -> Vec<String> {
    let file = lab.session().path("document.toml");
    fs::write(&file, case.document).expect("write a document");
    let file = file.to_string_lossy();
    let given: Vec<&str> =
        case.arguments.iter().map(|word| if *word == "FILE" { &*file } else { word }).collect();
    judge_cli(&stage.gateway.cli_output(&given), case)
}

fn judge_cli(output: &Output, case: &CliCase) -> Vec<String> {
    let mut problems = Vec::new();
    let error = String::from_utf8_lossy(&output.stderr);
    if output.status.code() != Some(REFUSED) {
        problems.push(format!("{}, not exit code {REFUSED}: {error}", output.status));
    }
    let missing = case.says.iter().filter(|part| !error.contains(**part));
    problems.extend(missing.map(|part| format!("does not say {part:?}: {error}")));
    problems
}

/// Someone without a role asks for a change.
fn unauthorised(lab: &Lab, stage: &mut Stage<'_>) -> Vec<String> {
    let id = NOBODY.to_string();
    let mut command = lab.gateway.command("setpriv");
    command.args(["--reuid", &id, "--regid", &id, "--clear-groups"]);
    command.args(["curl", "-q", "--silent", "--show-error", "--max-time", "10", "--unix-socket"]);
    command.arg(stage.gateway.socket()).args(["-X", "DELETE", "--write-out", "\n%{http_code}"]);
    let output = command.arg("http://gateway/v1/tenants/bank-1").output().expect("start setpriv");
    let text = String::from_utf8_lossy(&output.stdout);
    let (body, status) = text.rsplit_once('\n').unwrap_or((&text, ""));
    let answer = Answer { status: status.parse().unwrap_or(0), headers: Vec::new(), body: body.to_owned() };
    let mut problems = judge_answer(&answer, 403, None);
    let audit = fs::read_to_string(lab.session().path("state/audit.jsonl")).unwrap_or_default();
    let is_it = |line: &Value| {
        line["uid"] == NOBODY
            && line["status"] == 403
            && line["outcome"] == "not_permitted"
            && line["method"] == "DELETE"
            && line["path"] == "/v1/tenants/bank-1"
    };
    let mut lines = audit.lines().filter_map(|line| serde_json::from_str(line).ok());
    let is_audited = lines.any(|line| is_it(&line));
    if !is_audited {
        problems.push(format!("the audit has no line of user {NOBODY}"));
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_without_field_or_remedy_is_no_refusal() {
        let answer = |body: &str| Answer { status: 422, headers: Vec::new(), body: body.to_owned() };
        let good = answer(
            r#"{"title":"t","detail":"d","remedy":"r","problems":[{"path":"port","problem":"p","remedy":"r"}]}"#,
        );
        assert_eq!(judge_answer(&good, 422, Some("port")), Vec::<String>::new());
        assert_eq!(judge_answer(&good, 400, Some("port")).len(), 1, "another status");
        assert_eq!(judge_answer(&good, 422, Some("weight")).len(), 1, "another field");
        assert_eq!(judge_answer(&answer(r#"{"title":"t","detail":"d"}"#), 422, None).len(), 1, "no remedy");
        assert_eq!(judge_answer(&answer("oops"), 422, None).len(), 1, "no document");
    }

    #[test]
    fn there_are_enough_cases() {
        assert!(cases::of_the_api().len() + cases::of_the_cli().len() >= 25);
    }
}
