//! promtool evaluates rules over scrapes of operators. Its clock starts at 0, and its samples are a minute apart. So each replica
//! is described in phases that repeat a scrape at these times: a gauge is constant, a counter grows as fast as it grew between two
//! scrapes, and a timestamp moves with the clock.

use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The length of the series of a replica that does not stop, in minutes.
pub const MINUTES: u32 = 60;

/// The namespace of the pods that Prometheus scrapes.
pub const OPERATOR_NAMESPACE: &str = "approvals";

/// The metrics of an operator at one time. The name of a sample includes its labels, in the format of Prometheus.
#[derive(Clone)]
pub struct Scrape {
    /// In seconds since 1970.
    pub at: f64,
    pub samples: BTreeMap<String, f64>,
    /// The names of metrics that only grow.
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

    /// The same, with another value of one sample, which must exist.
    pub fn with(mut self, sample: &str, value: f64) -> Self {
        assert!(self.samples.contains_key(sample), "there is no sample {sample}");
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
}

/// What a replica reports for some minutes: a scrape, and the growth of its counters since an earlier scrape.
#[derive(Clone)]
pub struct Phase {
    before: Scrape,
    now: Scrape,
    minutes: u32,
}

impl Phase {
    /// Counters grow.
    pub fn growing(before: &Scrape, now: &Scrape, minutes: u32) -> Self {
        Self { before: before.clone(), now: now.clone(), minutes }
    }

    /// Counters are constant.
    pub fn constant(now: &Scrape, minutes: u32) -> Self {
        Self::growing(now, now, minutes)
    }

    fn growth(&self, counter: &str) -> f64 {
        let minutes = (self.now.at - self.before.at) / 60.0;
        let growth = self.now.value(counter) - self.before.value(counter);
        if minutes > 0.0 { growth / minutes } else { 0.0 }
    }

    fn counter(&self, sample: &str, value: &mut f64) -> String {
        let growth = self.growth(sample);
        let first = *value + growth;
        *value += growth * f64::from(self.minutes);
        format!("{first:.6}+{growth:.6}x{}", self.minutes - 1)
    }

    fn gauge(&self, sample: &str) -> String {
        match self.now.samples.get(sample) {
            Some(value) if name(sample).ends_with("_timestamp_seconds") => self.repeat(value - self.now.at),
            Some(value) => self.repeat(*value),
            // As Prometheus marks a series that has disappeared.
            None => format!("stale _x{}", self.minutes - 1),
        }
    }

    fn repeat(&self, value: f64) -> String {
        format!("{value:.6}+0x{}", self.minutes - 1)
    }
}

/// The phases of a replica as series for promtool, with the labels that Prometheus adds when it scrapes. After the last phase, the
/// replica no longer exists.
pub fn series(phases: &[Phase], job: &str, instance: &str) -> Vec<Value> {
    let samples: BTreeSet<&String> = phases.iter().flat_map(|phase| phase.now.samples.keys()).collect();
    let one_series = |sample: &String| {
        let labels = sample.split_once('{').map_or("", |(_, labels)| labels.trim_end_matches('}'));
        let series = format!(
            r#"{}{{namespace="{OPERATOR_NAMESPACE}",job="{job}",instance="{instance}",{labels}}}"#,
            name(sample)
        );
        let is_counter = phases.iter().any(|phase| phase.now.is_counter(sample));
        let mut value = phases[0].now.value(sample);
        let values = |phase: &Phase| if is_counter { phase.counter(sample, &mut value) } else { phase.gauge(sample) };
        let values: Vec<_> = phases.iter().map(values).chain(["stale".to_owned()]).collect();
        json!({ "series": series, "values": values.join(" ") })
    };
    samples.into_iter().map(one_series).collect()
}

fn name(sample: &str) -> &str {
    sample.split('{').next().unwrap()
}

/// An expression, and the labels and values of the samples that it must return.
pub struct Expectation {
    pub expression: String,
    pub samples: Vec<(String, f64)>,
}

/// Evaluates the rules over the series, and the expressions after half an hour.
pub fn test(rules: &Path, groups: &[(Vec<Value>, Vec<Expectation>)]) {
    let tests: Vec<_> = groups
        .iter()
        .map(|(series, expectations)| {
            let expressions: Vec<_> = expectations
                .iter()
                .map(|Expectation { expression, samples }| {
                    let samples: Vec<_> =
                        samples.iter().map(|(labels, value)| json!({ "labels": labels, "value": value })).collect();
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

/// Checks that a rule file is valid.
pub fn check(rules: &Path) {
    run(&["check", "rules", "--lint-fatal"], rules);
}

fn run(arguments: &[&str], file: &Path) {
    let program = std::env::var_os("PROMTOOL")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("hack/promtool/bin/promtool"), PathBuf::from);
    let output = Command::new(&program).args(arguments).arg(file).output();
    let output = output.unwrap_or_else(|error| panic!("{}: {error}; run `make promtool`", program.display()));
    let text = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&text));
}
