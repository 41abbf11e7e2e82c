//! What a run came to: a row for each trial, kept as JSON, and the medians and ratios that are made of them.

use crate::trial::{Figures, Work};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Default, Deserialize, Serialize)]
pub struct Results {
    /// On what it ran.
    pub machine: BTreeMap<String, String>,
    pub rows: Vec<Row>,
    /// Trials that were not carried through.
    pub failures: Vec<String>,
}

#[derive(Debug, Deserialize, Serialize)]
pub struct Row {
    /// Trials of one round came one after another, and are compared with each other.
    pub round: usize,
    pub part: String,
    pub contender: String,
    pub detail: String,
    pub work: Work,
    pub figures: BTreeMap<String, f64>,
}

impl Row {
    pub fn new(round: usize, part: &str, (contender, detail): (String, String), work: Work, figures: Figures) -> Self {
        let figures = figures.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Self { round, part: part.to_owned(), contender, detail, work, figures }
    }

    /// By what it is told apart from others of its part: in the sweep, all are the ceiling.
    fn name(&self) -> &str {
        if self.part == "sweep" { &self.detail } else { &self.contender }
    }
}

impl Results {
    pub fn on_this_machine() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let after = |text: String, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
            line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
        };
        let cores = std::thread::available_parallelism().map_or(0, usize::from).to_string();
        let machine = BTreeMap::from([
            ("cores".to_owned(), cores),
            ("processor".to_owned(), after(read("/proc/cpuinfo"), "model name")),
            ("memory".to_owned(), after(read("/proc/meminfo"), "MemTotal")),
            ("kernel".to_owned(), read("/proc/sys/kernel/osrelease").trim().to_owned()),
        ]);
        Self { machine, ..Self::default() }
    }

    /// The pieces of work of a part, the smaller first.
    pub fn works(&self, part: &str) -> BTreeSet<Work> {
        self.rows.iter().filter(|row| row.part == part).map(|row| row.work).collect()
    }

    /// The contenders at a piece of work, in the order in which they came.
    pub fn contenders(&self, part: &str, work: Work) -> Vec<&str> {
        let mut names = Vec::new();
        for row in self.rows.iter().filter(|row| row.part == part && row.work == work) {
            if !names.contains(&row.name()) {
                names.push(row.name());
            }
        }
        names
    }

    pub fn median(&self, part: &str, work: Work, contender: &str, figure: &str) -> Option<f64> {
        median(self.of(part, work, contender).filter_map(|row| row.figures.get(figure).copied()).collect())
    }

    /// The median of what the contender has of what the other has in the same round.
    pub fn ratio(&self, part: &str, work: Work, (contender, other): (&str, &str), figure: &str) -> Option<f64> {
        let ratios = self.of(part, work, contender).filter_map(|row| {
            let base = self.of(part, work, other).find(|base| base.round == row.round)?;
            Some(row.figures.get(figure)? / base.figures.get(figure)?)
        });
        median(ratios.collect())
    }

    fn of<'a>(&'a self, part: &'a str, work: Work, contender: &'a str) -> impl Iterator<Item = &'a Row> {
        self.rows.iter().filter(move |row| row.part == part && row.work == work && row.name() == contender)
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
