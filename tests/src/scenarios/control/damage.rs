//! Somebody takes away what the daemon has built. It puts it back, and says so.

mod harm;
mod whole;

use std::time::{Duration, Instant};

use serde_json::Value;

pub use harm::Harm;

use super::stage::Stage;
use crate::{
    gateway::{Route, api::Api},
    lab::Lab,
    poll::try_poll,
    scenarios::routes::{TO, routers},
    topology::Mode,
};

/// Until it is given up.
const LIMIT: Duration = Duration::from_secs(10);
/// For a repair that was made to be counted.
const COUNT_LIMIT: Duration = Duration::from_secs(3);

/// What became of one thing.
#[derive(Debug)]
pub struct Repair {
    /// What was done.
    pub harm: Harm,
    /// From then until all was as it should be.
    pub took: Result<Duration, String>,
    /// Where the repair was not counted, in words.
    pub uncounted: Vec<String>,
}

/// Does every harm once.
#[track_caller]
pub fn run() -> Vec<Repair> {
    let lab = Lab::new(Mode::Tc);
    let [router, _] = routers(&lab);
    let mut stage = Stage::start(&lab, |config| config.route.push(Route::new(TO[0], &router)));
    whole::check(&lab, &stage).unwrap_or_else(|problem| panic!("before any harm: {problem}"));
    Harm::ALL.into_iter().map(|harm| repair(&lab, &mut stage, harm)).collect()
}

fn repair(lab: &Lab, stage: &mut Stage<'_>, harm: Harm) -> Repair {
    let before = Counts::read(lab, &mut stage.api, harm.kind());
    let begin = Instant::now();
    harm.inflict(lab, stage);
    let mended = try_poll(LIMIT, "all to be as it was", || match whole::check(lab, stage) {
        Ok(()) => Ok(begin.elapsed()),
        Err(problem) => Err(Some(problem)),
    });
    // What is counted is counted after it was done.
    let counted = try_poll(COUNT_LIMIT, "the repair to be counted", || {
        let problems = before.problems(&Counts::read(lab, &mut stage.api, harm.kind()));
        if problems.is_empty() { Ok(()) } else { Err(Some(problems.join("\n"))) }
    });
    let uncounted = counted.err().and_then(|timed_out| timed_out.last);
    Repair {
        harm,
        took: mended.map_err(|timed_out| timed_out.to_string()),
        uncounted: uncounted.iter().flat_map(|words| words.lines()).map(str::to_owned).collect(),
    }
}

/// Repairs of one kind so far, as the daemon tells them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Counts {
    status: Option<u64>,
    metrics: Option<u64>,
}

impl Counts {
    fn read(lab: &Lab, api: &mut Api, kind: &str) -> Self {
        let status = api.status().unwrap_or_else(|problem| panic!("no status: {problem}"));
        let metrics = lab.gateway.curl("http://127.0.0.1:9464/metrics").run();
        Self { status: in_status(&status, kind), metrics: in_metrics(&metrics.body, kind) }
    }

    fn problems(self, after: &Self) -> Vec<String> {
        let places = [("status", self.status, after.status), ("metrics", self.metrics, after.metrics)];
        let silent = places.into_iter().filter(|(_, before, after)| after.is_none() || before >= after);
        silent.map(|(place, before, after)| format!("{place}: {before:?} before, {after:?} after")).collect()
    }
}

/// `repairs: {counts: {kind: number}}`
fn in_status(status: &Value, kind: &str) -> Option<u64> {
    let repairs = status.get("repairs")?;
    let counts = repairs.get("counts").unwrap_or(repairs);
    Some(counts.get(kind).and_then(Value::as_u64).unwrap_or(0))
}

/// `gateway_repairs_total{kind="link"} 3`
fn in_metrics(text: &str, kind: &str) -> Option<u64> {
    let wanted = format!("gateway_repairs_total{{kind=\"{kind}\"}} ");
    text.lines().find_map(|line| line.strip_prefix(&wanted)?.parse().ok())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn counts_are_found_and_must_rise() {
        let status = json!({ "repairs": { "counts": { "link": 2 } } });
        assert_eq!((in_status(&status, "link"), in_status(&status, "address")), (Some(2), Some(0)));
        assert_eq!(in_status(&json!({}), "link"), None);
        let text = "# HELP x\ngateway_repairs_total{kind=\"link\"} 3\n";
        assert_eq!((in_metrics(text, "link"), in_metrics(text, "address")), (Some(3), None));
        let counts = |status, metrics| Counts { status, metrics };
        assert_eq!(counts(Some(1), Some(1)).problems(&counts(Some(2), Some(2))), Vec::<String>::new());
        assert_eq!(counts(Some(1), Some(1)).problems(&counts(Some(1), None)).len(), 2);
    }
}
