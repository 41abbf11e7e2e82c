//! Rules evaluated by promtool over what operators showed at `/metrics`. Its clock begins at 0 and a minute passes from sample
//! to sample, so a scrape is told as if it had been made then: a gauge stays what it was, a counter grows on as it grew between
//! two scrapes, and a time is moved with the clock.

use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// For how many minutes a scrape is told.
const MINUTES: u32 = 60;

/// What an operator shows, and when. Samples are named as Prometheus writes them, with their labels.
#[derive(Clone)]
pub struct Scrape {
    /// In seconds since 1970.
    pub at: f64,
    pub samples: BTreeMap<String, f64>,
    /// The names whose samples only grow.
    counters: BTreeSet<String>,
}

impl Scrape {
    pub fn read(text: &str, at: f64) -> Self {
        let lines = || text.lines().map(|line| line.trim_end());
        let sample = |line: &str| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        };
        let counter = |line: &str| {
            let (name, kind) = line.strip_prefix("# TYPE ")?.split_once(' ').unwrap();
            ["counter", "histogram"].contains(&kind).then(|| name.to_owned())
        };
        let samples = lines().filter(|line| !line.starts_with('#')).map(sample).collect();
        Self { at, samples, counters: lines().filter_map(counter).collect() }
    }

    pub fn value(&self, sample: &str) -> f64 {
        self.samples.get(sample).copied().unwrap_or_default()
    }

    /// The same, but for one sample that is there.
    pub fn with(mut self, sample: &str, value: f64) -> Self {
        assert!(self.samples.contains_key(sample), "{sample} is not shown");
        self.samples.insert(sample.to_owned(), value);
        self
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.samples.keys().map(|sample| name(sample))
    }

    fn is_counter(&self, sample: &str) -> bool {
        let name = name(sample);
        let family = ["_total", "_bucket", "_count", "_sum"].iter().find_map(|suffix| name.strip_suffix(suffix));
        family.is_some_and(|family| self.counters.contains(family))
    }

    /// As promtool wants series: this scrape and what follows from it and the one before, with the labels that Prometheus
    /// gives to what it scrapes.
    pub fn series(&self, before: &Self, job: &str, pod: &str) -> Vec<Value> {
        let minutes = (self.at - before.at) / 60.0;
        let told = |(sample, value): (&String, &f64)| {
            let labels = sample.split_once('{').map_or("", |(_, labels)| labels.trim_end_matches('}'));
            let series = format!(r#"{}{{namespace="approvals",job="{job}",pod="{pod}",{labels}}}"#, name(sample));
            let growth =
                if self.is_counter(sample) && minutes > 0.0 { (value - before.value(sample)) / minutes } else { 0.0 };
            let value = if name(sample).ends_with("_timestamp_seconds") { value - self.at } else { *value };
            json!({ "series": series, "values": format!("{value:.6}+{growth:.6}x{MINUTES}") })
        };
        self.samples.iter().map(told).collect()
    }
}

fn name(sample: &str) -> &str {
    sample.split('{').next().unwrap()
}

/// An expression, and the labels of all that it is to show, each with the value 1.
pub struct Expectation {
    pub expression: String,
    pub shown: Vec<String>,
}

/// Evaluates the rules over series, and the expressions half an hour later.
pub fn test(rules: &Path, groups: &[(Vec<Value>, Vec<Expectation>)]) {
    let tests: Vec<_> = groups
        .iter()
        .map(|(series, expectations)| {
            let expressions: Vec<_> = expectations
                .iter()
                .map(|Expectation { expression, shown }| {
                    let samples: Vec<_> = shown.iter().map(|labels| json!({ "labels": labels, "value": 1 })).collect();
                    json!({ "expr": expression, "eval_time": "30m", "exp_samples": samples })
                })
                .collect();
            json!({ "interval": "1m", "input_series": series, "promql_expr_test": expressions })
        })
        .collect();
    let input = json!({ "rule_files": [rules], "evaluation_interval": "1m", "tests": tests });
    let file = tempfile::NamedTempFile::with_suffix(".yaml").unwrap();
    serde_json::to_writer(&file, &input).unwrap();
    run(&["test", "rules"], file.path());
}

/// Has promtool read a rule file.
pub fn check(rules: &Path) {
    run(&["check", "rules", "--lint-fatal"], rules);
}

fn run(arguments: &[&str], file: &Path) {
    let program = std::env::var_os("PROMTOOL")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/promtool/bin/promtool"), PathBuf::from);
    let output = Command::new(&program).args(arguments).arg(file).output();
    let output = output.unwrap_or_else(|error| panic!("{}: {error}; run `make promtool`", program.display()));
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
}
