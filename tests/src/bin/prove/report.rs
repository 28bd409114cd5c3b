//! The rows, for people and for programs.

use std::fmt::Write as _;

use serde_json::json;

use crate::{machine::Machine, row::Row};

/// One line a row, then what explains those that are not met.
pub fn table(rows: &[Row]) -> String {
    let head = ["ID", "PROMISE", "TARGET", "MEASURED", "UNIT", ""].map(str::to_owned);
    let lines: Vec<[String; 6]> = std::iter::once(head).chain(rows.iter().map(cells)).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 6] = std::array::from_fn(width);
    let mut text = String::new();
    for line in &lines {
        let cells = line.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        let _ = writeln!(text, "{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
    text + &problems(rows) + &summary(rows)
}

fn cells(row: &Row) -> [String; 6] {
    [
        row.id.clone(),
        row.promise.clone(),
        row.target.to_string(),
        row.measured.map_or_else(|| "-".to_owned(), figure),
        row.unit.to_owned(),
        if row.met { "met" } else { "NOT MET" }.to_owned(),
    ]
}

/// Without decimals that say nothing.
fn figure(value: f64) -> String {
    if value.fract() == 0.0 { format!("{value}") } else { format!("{value:.2}") }
}

fn problems(rows: &[Row]) -> String {
    let explained = rows.iter().filter_map(|row| Some((row, row.problem.as_ref()?)));
    explained.fold(String::new(), |mut text, (row, problem)| {
        let _ = write!(text, "\n{}:\n  {}\n", row.id, problem.replace('\n', "\n  "));
        text
    })
}

fn summary(rows: &[Row]) -> String {
    let met = rows.iter().filter(|row| row.met).count();
    format!("\n{met} of {} rows are met", rows.len())
}

/// `{suite, machine, rows}`
pub fn json(suite: &str, machine: &Machine, rows: &[Row]) -> String {
    let document = json!({ "suite": suite, "machine": machine, "rows": rows });
    serde_json::to_string_pretty(&document).expect("plain data") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::{Kind, Measured, Promise, Target};

    fn rows() -> Vec<Row> {
        let promise = |id: &str, kind, target| Promise {
            id: id.to_owned(),
            kind,
            text: "it works".to_owned(),
            target,
            unit: "Gbit/s",
        };
        vec![
            Row::new(&promise("a", Kind::Correctness, Target::Exactly(0)), Err("it\nbroke")),
            Row::new(&promise("speed-b", Kind::Speed, Target::AtLeast(5.0)), Ok(&Measured::figure(6.25))),
        ]
    }

    #[test]
    fn the_table_is_aligned_and_explains_failures() {
        let expected = "\
ID       PROMISE   TARGET  MEASURED  UNIT
a        it works  0       -         Gbit/s  NOT MET
speed-b  it works  >= 5    6.25      Gbit/s  met

a:
  it
  broke

1 of 2 rows are met";
        assert_eq!(table(&rows()), expected);
    }

    #[test]
    fn the_document_has_the_documented_shape() {
        let text = json("main", &crate::machine::describe(), &rows());
        let document: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(document["suite"], "main");
        assert!(document["machine"]["cpus"].is_u64() && document["machine"]["memory_mib"].is_u64());
        let row = json!({
            "id": "speed-b", "kind": "speed", "promise": "it works", "target": ">= 5",
            "measured": 6.25, "unit": "Gbit/s", "met": true,
        });
        assert_eq!(document["rows"][1], row);
        assert_eq!(document["rows"][0]["problem"], "it\nbroke");
    }
}
