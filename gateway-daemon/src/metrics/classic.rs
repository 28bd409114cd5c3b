//! The older text format of Prometheus (0.0.4), for readers that do not ask for `OpenMetrics`: `curl`, `promtool check
//! metrics`, many agents. The samples are the same; only the comments name counters and infos by their samples' names.

/// From the `OpenMetrics` text that [`super::Metrics::render`] makes.
pub(super) fn from_openmetrics(text: &str) -> String {
    let mut suffix = "";
    let mut classic = String::with_capacity(text.len());
    for line in families_with_type_first(text) {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("EOF" | "UNIT"), ..) => {}
            (Some("#"), Some("TYPE"), Some(name), Some(kind)) => {
                let kind_and_suffix = classic_kind(kind);
                suffix = kind_and_suffix.1;
                classic.extend(["# TYPE ", name, suffix, " ", kind_and_suffix.0, "\n"]);
            }
            (Some("#"), Some("HELP"), Some(name), Some(help)) => {
                classic.extend(["# HELP ", name, suffix, " ", help, "\n"]);
            }
            _ => classic.extend([line, "\n"]),
        }
    }
    classic
}

/// The kind and what its samples' names end with.
fn classic_kind(kind: &str) -> (&str, &'static str) {
    match kind {
        "counter" => ("counter", "_total"),
        "info" => ("gauge", "_info"),
        other => (other, ""),
    }
}

/// The lines, with each `# HELP` after its `# TYPE`: only that says how the name goes on.
fn families_with_type_first(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    for i in 1..lines.len() {
        if lines[i - 1].starts_with("# HELP ") && lines[i].starts_with("# TYPE ") {
            lines.swap(i - 1, i);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::from_openmetrics;

    #[test]
    fn comments_name_the_samples() {
        let text = "# HELP a_bytes Bytes\n# TYPE a_bytes counter\n# UNIT a_bytes bytes\na_bytes_total{x=\"1 2\"} 3\n\
                    # HELP b Of what\n# TYPE b info\nb_info{v=\"1\"} 1\n\
                    # HELP c How much\n# TYPE c gauge\nc 4\n# EOF\n";
        let expected = "# TYPE a_bytes_total counter\n# HELP a_bytes_total Bytes\na_bytes_total{x=\"1 2\"} 3\n\
                        # TYPE b_info gauge\n# HELP b_info Of what\nb_info{v=\"1\"} 1\n\
                        # TYPE c gauge\n# HELP c How much\nc 4\n";
        assert_eq!(from_openmetrics(text), expected);
    }
}
