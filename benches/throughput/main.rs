//! Measures how fast the operator delivers decisions with tokens. Other implementations run the same workload on the same machine,
//! beside the ceiling: what the API server allows. `make bench` runs it, and `--quick` only checks that everything works, in about
//! five minutes. Compare ratios: times depend on the machine.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "as in tests")]

mod ceiling;
mod chart;
mod contender;
mod decision_watcher;
mod environment;
mod options;
mod report;
mod request_counts;
mod resource_usage;
mod results;
mod suite;
mod trial;
mod workload;

use clap::{Parser, Subcommand};
use options::Options;
use results::Results;
use suite::Suite;

/// Measures the operator beside other implementations and the API server's ceiling
///
/// To compare two builds of the operator in one run:
///
///     cargo bench --bench throughput -- --parts sizes --sizes 2000 --operator before=PATH --operator after=PATH
#[derive(Parser)]
#[command(verbatim_doc_comment)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    options: Options,
    /// cargo passes this flag to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Run the ceiling. The benchmark starts itself with this command, so that the ceiling is a process of its own.
    #[command(hide = true)]
    Ceiling(ceiling::CeilingOptions),
}

fn main() {
    let cli = Cli::parse();
    match cli.command {
        Some(Command::Ceiling(options)) => ceiling::run(&options),
        None => {
            let results = if cli.options.report_only { Results::load(&cli.options.out) } else { measure(&cli.options) };
            report::write(&results, &cli.options.out);
        }
    }
}

fn measure(options: &Options) -> Results {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(Suite::run(options))
}
