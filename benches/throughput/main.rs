//! Decisions with tokens, answered by the operator and by what one would write instead, in one run on one machine beside what the API
//! server allows: `make bench`. `--quick` shows in some five minutes that all of it works. Ratios count; times are this machine's.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "as in tests")]

#[allow(dead_code, unused_imports, reason = "the tests use more of it")]
#[path = "../../tests/it/support/mod.rs"]
mod support;

mod ceiling;
mod contender;
mod counts;
mod ground;
mod observer;
mod plan;
mod report;
mod results;
mod svg;
mod trial;
mod usage;
mod work;

use clap::{Parser, Subcommand};
use plan::Plan;

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    role: Option<Role>,
    #[command(flatten)]
    plan: Plan,
    /// What cargo says to each benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Subcommand)]
enum Role {
    /// Be the ceiling, as a process of its own.
    #[command(hide = true)]
    Ceiling(ceiling::Tuning),
}

fn main() {
    let cli = Cli::parse();
    match cli.role {
        Some(Role::Ceiling(tuning)) => ceiling::run(&tuning),
        None => {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
            let results = runtime.block_on(cli.plan.carry_out());
            report::write(&results, &cli.plan.out);
        }
    }
}
