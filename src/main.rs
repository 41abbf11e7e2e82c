//! The program: reads the arguments, does what they say, and turns an error into one line and an exit code.

use approval_operator::api::v1alpha1::crds;
use approval_operator::cli::{Check, Cli, Command, LogFormat, Run};
use approval_operator::{check, operator, telemetry};
use clap::Parser;
use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Crd => print_crds(),
        Command::Check(settings) => check(&settings),
        Command::Run(settings) => run(*settings),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("approval-operator: {error}");
            ExitCode::FAILURE
        }
    }
}

fn check(settings: &Check) -> Result<(), Box<dyn Error>> {
    telemetry::start(LogFormat::Text, None)?;
    Ok(check::run(settings)?)
}

fn run(settings: Run) -> Result<(), Box<dyn Error>> {
    // Held to the end: what ends the operator is in the traces too.
    let _traces = telemetry::start(settings.log_format, settings.otlp_endpoint.as_ref())?;
    Ok(operator::run(settings)?)
}

fn print_crds() -> Result<(), Box<dyn Error>> {
    let mut out = std::io::stdout().lock();
    for crd in crds() {
        writeln!(out, "---\n{}", serde_saphyr::to_string(&crd)?.trim_end())?;
    }
    Ok(())
}
