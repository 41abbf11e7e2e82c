//! The command line of the endpoint: `serve` runs one, the others talk to one that runs.

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
