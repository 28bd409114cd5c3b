//! What libFuzzer said, as figures.

use std::fmt::Write as _;

use super::child::Ended;

/// The figures of one target.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    target: String,
    cpu_secs: f64,
    executions: u64,
    /// Edges of the program's control flow that the corpus reaches.
    edges: u64,
    /// Edges of the whole program, most of which are of libraries and of parts that no input leads to.
    edges_in_all: u64,
    /// Inputs that are kept because each reaches something else.
    corpus: u64,
    /// The file with the input, and what was said about it.
    found: Option<(String, String)>,
}

impl Row {
    /// From a run's end.
    pub fn new(target: &str, ended: &Ended) -> Self {
        let output = &ended.output;
        Self {
            target: target.to_owned(),
            cpu_secs: ended.cpu.as_secs_f64(),
            executions: last_number_after(output, "stat::number_of_executed_units:")
                .or_else(|| last_execution(output))
                .unwrap_or_default(),
            edges: last_number_after(output, " cov:").unwrap_or_default(),
            edges_in_all: edges_in_all(output).unwrap_or_default(),
            corpus: last_number_after(output, " corp:").unwrap_or_default(),
            found: (!ended.ok).then(|| (artifact(output), complaint(output))),
        }
    }

    /// Target, file and first words of what was found.
    pub fn finding(&self) -> Option<String> {
        let (file, complaint) = self.found.as_ref()?;
        Some(format!("  {}: {complaint}\n    {file}", self.target))
    }

    fn per_second(&self) -> f64 {
        if self.cpu_secs > 0.0 { whole(self.executions) / self.cpu_secs } else { 0.0 }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate, to be read by people")]
fn whole(number: u64) -> f64 {
    number as f64
}

/// The number behind the last `word`.
fn last_number_after(output: &str, word: &str) -> Option<u64> {
    let (_, rest) = output.rsplit_once(word)?;
    leading_number(rest.trim_start())
}

fn leading_number(text: &str) -> Option<u64> {
    text.split(|letter: char| !letter.is_ascii_digit()).next()?.parse().ok()
}

/// The number in the last line of the form `#1234 NEW ...`: a run that ends with a finding prints no figures.
fn last_execution(output: &str) -> Option<u64> {
    output.lines().rev().find_map(|line| leading_number(line.strip_prefix('#')?))
}

/// `INFO: Loaded 1 modules   (123 inline 8-bit counters): 123 [0x.., 0x..),`
fn edges_in_all(output: &str) -> Option<u64> {
    let line = output.lines().find(|line| line.contains("inline 8-bit counters)"))?;
    leading_number(line.split_once('(')?.1)
}

fn artifact(output: &str) -> String {
    let written = output.lines().find_map(|line| line.split_once("Test unit written to "));
    written.map_or_else(|| "no input was written".to_owned(), |(_, path)| path.to_owned())
}

/// The panic's message, or libFuzzer's own error.
fn complaint(output: &str) -> String {
    let mut lines = output.lines().skip_while(|line| !line.contains("panicked at"));
    let panic = lines.nth(1).map(str::to_owned);
    let error = || output.lines().find(|line| line.contains("ERROR: libFuzzer")).map(str::to_owned);
    panic.or_else(error).or_else(|| output.lines().last().map(str::to_owned)).unwrap_or_default()
}

/// One line a target.
pub fn table(rows: &[Row]) -> String {
    let mut text = format!(
        "{:<12} {:>8} {:>12} {:>9} {:>8} {:>9} {:>7}  found\n",
        "target", "CPU s", "executions", "a second", "edges", "of", "corpus"
    );
    for row in rows {
        let found = row.found.as_ref().map_or("nothing", |(file, _)| file);
        let _ = writeln!(
            text,
            "{:<12} {:>8.1} {:>12} {:>9.0} {:>8} {:>9} {:>7}  {found}",
            row.target,
            row.cpu_secs,
            row.executions,
            row.per_second(),
            row.edges,
            row.edges_in_all,
            row.corpus
        );
    }
    text
}

/// `{targets: [...]}`
pub fn json(rows: &[Row]) -> String {
    let rows: Vec<String> = rows.iter().map(object).collect();
    format!("{{\"targets\": [\n{}\n]}}\n", rows.join(",\n"))
}

fn object(row: &Row) -> String {
    let found = row.found.as_ref().map_or_else(|| "null".to_owned(), |(file, _)| string(file));
    format!(
        "  {{\"target\": {}, \"cpu_secs\": {:.1}, \"executions\": {}, \"edges\": {}, \"edges_in_all\": {}, \
         \"corpus\": {}, \"found\": {found}}}",
        string(&row.target),
        row.cpu_secs,
        row.executions,
        row.edges,
        row.edges_in_all,
        row.corpus
    )
}

/// RFC 8259 section 7.
fn string(text: &str) -> String {
    let escaped = text.chars().map(|letter| match letter {
        '"' | '\\' => format!("\\{letter}"),
        letter if letter.is_control() => format!("\\u{:04x}", u32::from(letter)),
        letter => letter.to_string(),
    });
    format!("\"{}\"", escaped.collect::<String>())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const QUIET: &str = "\
INFO: Running with entropic power schedule (0xFF, 100).
INFO: Loaded 1 modules   (48213 inline 8-bit counters): 48213 [0x55d, 0x561),
#8\tINITED cov: 1200 ft: 3400 corp: 8/1024b exec/s: 0 rss: 50Mb
#4096\tpulse  cov: 1500 ft: 4400 corp: 30/9Kb lim: 4096 exec/s: 2048 rss: 60Mb
stat::number_of_executed_units: 5000
stat::average_exec_per_sec:     2500
";

    const LOUD: &str = "\
INFO: Loaded 1 modules   (77 inline 8-bit counters): 77 [0x55d, 0x561),
#12\tNEW    cov: 9 ft: 10 corp: 3/24b lim: 8 exec/s: 0 rss: 50Mb
thread '<unnamed>' panicked at fuzz/src/engine/oracle.rs:1:2:
NPCI saw 198.18.1.1
==7== ERROR: libFuzzer: deadly signal
artifact_prefix='/t/'; Test unit written to /t/crash-0a
";

    fn row(ok: bool, output: &str) -> Row {
        Row::new("process", &Ended { ok, cpu: Duration::from_secs(2), output: output.to_owned() })
    }

    #[test]
    fn figures_are_the_last_ones() {
        let row = row(true, QUIET);
        assert_eq!((row.executions, row.edges, row.edges_in_all, row.corpus), (5_000, 1_500, 48_213, 30));
        assert_eq!((row.per_second(), row.finding()), (2_500.0, None));
    }

    #[test]
    fn a_finding_has_its_file_and_its_first_words() {
        let row = row(false, LOUD);
        assert_eq!((row.executions, row.edges), (12, 9));
        assert_eq!(row.finding().unwrap(), "  process: NPCI saw 198.18.1.1\n    /t/crash-0a");
    }

    #[test]
    fn programs_can_read_it() {
        let text = json(&[row(true, QUIET), row(false, LOUD)]);
        assert!(
            text.starts_with("{\"targets\": [\n  {\"target\": \"process\", \"cpu_secs\": 2.0,"),
            "{text}"
        );
        assert!(
            text.contains("\"found\": null},\n") && text.contains("\"found\": \"/t/crash-0a\"}"),
            "{text}"
        );
        assert_eq!(string("a\"\\\n"), r#""a\"\\\u000a""#);
    }
}
