//! The command line: `serve` runs an endpoint, the other commands call a running one.

mod cli;

use std::process::ExitCode;

use clap::Parser;

#[tokio::main]
async fn main() -> ExitCode {
    match cli::run(cli::Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("local-codepipeline: {error}");
            ExitCode::FAILURE
        }
    }
}
