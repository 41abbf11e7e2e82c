//! The program: parses the arguments, runs the command, and turns an error into one line and an exit code.

use approval_operator::api::v1alpha1::crds;
use approval_operator::cli::{CheckArgs, Cli, Command, RunArgs};
use approval_operator::telemetry::LogFormat;
use approval_operator::{check, operator, telemetry};
use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    let result = match Cli::from_args().command {
        Command::Crd => print_crds(),
        Command::Check(args) => check(&args),
        Command::Run(args) => run(*args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("approval-operator: {error}");
            ExitCode::FAILURE
        }
    }
}

fn check(args: &CheckArgs) -> Result<(), Box<dyn Error>> {
    telemetry::start(LogFormat::Text, None)?;
    Ok(check::run(args)?)
}

fn run(args: RunArgs) -> Result<(), Box<dyn Error>> {
    // Dropped last, so that the spans of the shutdown are exported too.
    let _traces = telemetry::start(args.log_format, args.otlp_endpoint.as_ref())?;
    Ok(operator::run(args)?)
}

fn print_crds() -> Result<(), Box<dyn Error>> {
    let mut out = std::io::stdout().lock();
    for crd in crds() {
        writeln!(out, "---\n{}", serde_saphyr::to_string(&crd)?.trim_end())?;
    }
    Ok(())
}
