//! The program: reads the arguments, does what they say, and turns an error into one line and an exit code.

use approval_operator::api::v1alpha1::crds;
use approval_operator::cli::{Cli, Command, LogFormat};
use approval_operator::{check, operator, telemetry};
use clap::Parser;
use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Crd => print_crds(),
        Command::Check(settings) => {
            telemetry::start(LogFormat::Text);
            check::run(&settings).map_err(Into::into)
        }
        Command::Run(settings) => {
            telemetry::start(settings.log_format);
            operator::run(settings).map_err(Into::into)
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("approval-operator: {error}");
            ExitCode::FAILURE
        }
    }
}

fn print_crds() -> Result<(), Box<dyn Error>> {
    let mut out = std::io::stdout().lock();
    for crd in crds() {
        writeln!(out, "---\n{}", serde_saphyr::to_string(&crd)?.trim_end())?;
    }
    Ok(())
}
