//! The command line: runs a control plane for another command, or until the user stops it.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use test_control_plane::{ControlPlane, User};

/// A temporary Kubernetes control plane without containers: kube-apiserver and etcd.
#[derive(Parser)]
#[command(name = "test-control-plane")]
struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Start a control plane, run a command that uses it, stop it, and exit with the command's exit code.
    ///
    /// The command gets KUBECONFIG of the user, KUBECONFIG_ADMIN, KUBECONFIG_OPERATOR and KUBECONFIG_DEVELOPER, and a
    /// matching kubectl in PATH. Without a command it prints these variables for a shell, and runs until Ctrl-C or the
    /// end of standard input.
    Run {
        /// The user of KUBECONFIG: admin, operator or developer.
        #[arg(long, default_value_t = User::Admin)]
        user: User,
        /// The command and its arguments.
        #[arg(last = true)]
        command: Vec<OsString>,
    },
}

fn main() -> ExitCode {
    let Action::Run { user, command } = Arguments::parse().action;
    match run(user, &command) {
        Ok(code) => code,
        Err(message) => {
            eprintln!("test-control-plane: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(user: User, command: &[OsString]) -> Result<ExitCode, String> {
    let control_plane = ControlPlane::start().map_err(|error| error.to_string())?;
    let Some((program, args)) = command.split_first() else {
        return wait_for_user(&control_plane, user).map(|()| ExitCode::SUCCESS).map_err(|error| error.to_string());
    };
    let status = control_plane.command(user, program).args(args).status();
    let status = status.map_err(|error| format!("{}: {error}", program.display()))?;
    // Shells use the same exit code for a command that a signal ended.
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    Ok(code.and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}

/// Prints the variables for a shell, and waits. Ctrl-C ends this process, which ends the servers.
fn wait_for_user(control_plane: &ControlPlane, user: User) -> io::Result<()> {
    let mut output = io::stdout();
    let environment = control_plane.command(user, "");
    for (name, value) in environment.get_envs() {
        if let Some(value) = value {
            let value = value.display().to_string().replace('\'', r"'\''");
            writeln!(output, "export {}='{value}'", name.display())?;
        }
    }
    output.flush()?;
    eprintln!("The API server listens at {}. Press Ctrl-C to stop it.", control_plane.url());
    io::copy(&mut io::stdin(), &mut io::sink())?;
    Ok(())
}
