//! The command-line options.

use crate::contender::{Configuration, Contender};
use clap::{Args, ValueEnum};
use std::path::PathBuf;

#[derive(Args)]
pub struct Options {
    /// Run a small version of each part to check that it works; the numbers mean nothing
    #[arg(long)]
    quick: bool,
    /// Parts of the benchmark to run
    #[arg(long, value_delimiter = ',', default_value = "sweep,requests,sizes,delays,arrivals")]
    pub parts: Vec<Part>,
    /// Numbers of waiting decisions to measure with
    #[arg(long, value_delimiter = ',', default_value = "100,2000,10000")]
    sizes: Vec<usize>,
    /// Repetitions of the trials of the ceiling, the operator and the tuned Go controller; other trials run once
    #[arg(long, default_value_t = 3)]
    repetitions: usize,
    /// Response times of the local CodePipeline in the delays part, in milliseconds
    #[arg(long, value_delimiter = ',', default_value = "20,100")]
    delays: Vec<u64>,
    /// Run only the contenders with these names
    #[arg(long, value_delimiter = ',')]
    pub only: Vec<String>,
    /// Measure this build of the operator instead of the one that cargo built; repeat the flag to compare several
    #[arg(long = "operator", value_name = "NAME=PATH", value_parser = parse_build)]
    builds: Vec<Build>,
    /// Folder for results.json and throughput.svg
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/target/bench"))]
    pub out: PathBuf,
    /// Measure nothing; report the results.json in the output folder again
    #[arg(long)]
    pub report_only: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Part {
    /// Ways to write a status; later parts use the fastest for the ceiling
    Sweep,
    /// What single kinds of API requests cost
    Requests,
    /// All contenders, by number of waiting decisions
    Sizes,
    /// By response time of CodePipeline
    Delays,
    /// Decisions that arrive one by one
    Arrivals,
}

/// A build of the operator.
#[derive(Clone)]
struct Build {
    name: String,
    path: PathBuf,
}

fn parse_build(text: &str) -> Result<Build, String> {
    let (name, path) = text.split_once('=').ok_or("expected NAME=PATH")?;
    Ok(Build { name: name.to_owned(), path: path.into() })
}

impl Options {
    pub fn sizes(&self) -> Vec<usize> {
        if self.quick { vec![20] } else { self.sizes.clone() }
    }

    /// The number of waiting decisions in parts that measure only one size.
    pub fn default_size(&self) -> usize {
        self.or_quick(2_000, 20)
    }

    pub fn repetitions(&self) -> usize {
        self.or_quick(self.repetitions, 1)
    }

    pub fn delays(&self) -> &[u64] {
        if self.quick { &[20] } else { &self.delays }
    }

    pub fn or_quick<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }

    /// The build that `--operator` names first. Others are compared with it.
    pub fn reference_build(&self) -> Option<String> {
        self.builds.first().map(|build| build.name.clone())
    }

    /// The builds that `--operator` names, all tuned, or cargo's own with both configurations.
    pub fn operators(&self) -> Vec<Contender> {
        let operator = |name: &str, program: PathBuf, configuration| Contender::Operator {
            name: name.to_owned(),
            program,
            configuration,
        };
        if self.builds.is_empty() {
            let own = env!("CARGO_BIN_EXE_approval-operator");
            let configurations = [Configuration::Tuned, Configuration::Defaults];
            return configurations.map(|configuration| operator("operator", own.into(), configuration)).into();
        }
        let builds = self.builds.iter();
        builds.map(|build| operator(&build.name, build.path.clone(), Configuration::Tuned)).collect()
    }
}
