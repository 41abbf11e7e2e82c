//! The results of a benchmark: one row per trial, saved as JSON, with the medians and ratios of the rows.

use crate::trial::Metrics;
use crate::workload::Workload;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

const FILE: &str = "results.json";

#[derive(Debug, Default, Deserialize, Serialize)]
pub struct Results {
    /// Hardware and kernel.
    pub machine: BTreeMap<String, String>,
    /// The build of the operator that others are compared with.
    pub reference_build: Option<String>,
    pub rows: Vec<Row>,
    /// Trials that failed, and why.
    pub failures: Vec<String>,
}

#[derive(Debug, Deserialize, Serialize)]
pub struct Row {
    pub repetition: usize,
    pub part: String,
    pub contender: String,
    pub detail: String,
    pub workload: Workload,
    pub metrics: BTreeMap<String, f64>,
}

impl Row {
    pub fn new(
        repetition: usize,
        part: &str,
        (contender, detail): (String, String),
        workload: Workload,
        metrics: Metrics,
    ) -> Self {
        let metrics = metrics.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Self { repetition, part: part.to_owned(), contender, detail, workload, metrics }
    }

    /// The contender, or its detail in the sweep, where every contender is the ceiling.
    fn name(&self) -> &str {
        if self.part == "sweep" { &self.detail } else { &self.contender }
    }
}

impl Results {
    pub fn on_this_machine() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let value_of = |text: String, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
            line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
        };
        let cores = std::thread::available_parallelism().map_or(0, usize::from).to_string();
        let machine = BTreeMap::from([
            ("cores".to_owned(), cores),
            ("processor".to_owned(), value_of(read("/proc/cpuinfo"), "model name")),
            ("memory".to_owned(), value_of(read("/proc/meminfo"), "MemTotal")),
            ("kernel".to_owned(), read("/proc/sys/kernel/osrelease").trim().to_owned()),
        ]);
        Self { machine, ..Self::default() }
    }

    pub fn load(folder: &Path) -> Self {
        serde_json::from_str(&std::fs::read_to_string(folder.join(FILE)).unwrap()).unwrap()
    }

    pub fn save(&self, folder: &Path) {
        std::fs::create_dir_all(folder).unwrap();
        std::fs::write(folder.join(FILE), serde_json::to_string_pretty(self).unwrap()).unwrap();
    }

    /// The workloads of a part, in ascending order.
    pub fn workloads(&self, part: &str) -> BTreeSet<Workload> {
        self.rows.iter().filter(|row| row.part == part).map(|row| row.workload).collect()
    }

    /// The contenders with this workload, in the order in which they were measured.
    pub fn contenders(&self, part: &str, workload: Workload) -> Vec<&str> {
        let mut names = Vec::new();
        for row in self.rows.iter().filter(|row| row.part == part && row.workload == workload) {
            if !names.contains(&row.name()) {
                names.push(row.name());
            }
        }
        names
    }

    pub fn median(&self, part: &str, workload: Workload, contender: &str, metric: &str) -> Option<f64> {
        median(self.of(part, workload, contender).filter_map(|row| row.metrics.get(metric).copied()).collect())
    }

    /// The median over the repetitions of the contender's value divided by the reference's value in the same repetition.
    pub fn ratio(
        &self,
        part: &str,
        workload: Workload,
        (contender, reference): (&str, &str),
        metric: &str,
    ) -> Option<f64> {
        let ratios = self.of(part, workload, contender).filter_map(|row| {
            let reference =
                self.of(part, workload, reference).find(|reference| reference.repetition == row.repetition)?;
            Some(row.metrics.get(metric)? / reference.metrics.get(metric)?)
        });
        median(ratios.collect())
    }

    fn of<'a>(&'a self, part: &'a str, workload: Workload, contender: &'a str) -> impl Iterator<Item = &'a Row> {
        self.rows.iter().filter(move |row| row.part == part && row.workload == workload && row.name() == contender)
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        even if even % 2 == 0 => Some(f64::midpoint(*values.get(middle - 1)?, *values.get(middle)?)),
        _ => values.get(middle).copied(),
    }
}
