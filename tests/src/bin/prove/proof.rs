//! A scenario with the promises that it proves.

use std::{
    any::Any,
    io::{self, Write as _},
    panic::{AssertUnwindSafe, catch_unwind},
    time::Instant,
};

use crate::row::{Measured, Promise, Row};

/// How large everything is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// What CI can afford.
    Quick,
    /// What is promised.
    Full,
}

impl Scale {
    /// One or the other.
    pub fn pick<T>(self, quick: T, full: T) -> T {
        match self {
            Self::Quick => quick,
            Self::Full => full,
        }
    }
}

/// Measures, in the order of the promises.
type Scenario = Box<dyn Fn() -> Vec<Measured>>;

/// A scenario with the promises that it proves.
pub struct Proof {
    /// For the progress, and to choose it.
    pub name: String,
    /// What it proves.
    pub promises: Vec<Promise>,
    scenario: Scenario,
}

impl Proof {
    /// `scenario` returns one value a promise.
    pub fn new(
        name: impl Into<String>,
        promises: Vec<Promise>,
        scenario: impl Fn() -> Vec<Measured> + 'static,
    ) -> Self {
        Self { name: name.into(), promises, scenario: Box::new(scenario) }
    }

    /// Runs it, with a line of progress.
    pub fn run(&self) -> Vec<Row> {
        print!("{:<32} ", self.name);
        // Progress that cannot be shown is no reason to stop.
        let _ = io::stdout().flush();
        let started = Instant::now();
        let rows = self.measure();
        let word = if rows.iter().all(|row| row.met) { "ok" } else { "NOT MET" };
        println!("{word:<8} {:.1} s", started.elapsed().as_secs_f64());
        rows
    }

    fn measure(&self) -> Vec<Row> {
        let measured = catch_unwind(AssertUnwindSafe(|| (self.scenario)())).map_err(|panic| message(&*panic));
        let row = |(index, promise)| match &measured {
            Ok(values) => Row::new(promise, values.get(index).ok_or("not measured")),
            Err(message) if index == 0 => Row::new(promise, Err(message)),
            // Said once: it may be long.
            Err(_) => Row::new(promise, Err(&format!("as {}", self.promises[0].id))),
        };
        self.promises.iter().enumerate().map(row).collect()
    }
}

/// What a panic said.
fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::{Kind, Target};

    fn promise(id: &str) -> Promise {
        let kind = Kind::Correctness;
        Promise { id: id.to_owned(), kind, text: String::new(), target: Target::Exactly(1), unit: "" }
    }

    #[test]
    fn values_meet_their_promises_in_order() {
        let promises = vec![promise("a"), promise("b"), promise("c")];
        let proof = Proof::new("name", promises, || vec![Measured::count(1), Measured::count(2)]);
        let rows = proof.measure();
        assert_eq!(rows.iter().map(|row| row.met).collect::<Vec<_>>(), [true, false, false]);
        assert_eq!(rows[2].problem.as_deref(), Some("not measured"));
    }

    #[test]
    fn a_scenario_that_panics_is_a_row_that_is_not_met() {
        let proof = Proof::new("name", vec![promise("a"), promise("b")], || panic!("no {}", "luck"));
        let rows = proof.measure();
        assert!(rows.iter().all(|row| !row.met));
        assert_eq!((rows[0].problem.as_deref(), rows[1].problem.as_deref()), (Some("no luck"), Some("as a")));
    }
}
