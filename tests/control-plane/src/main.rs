//! The command: a control plane for as long as another command runs, or a person looks around in it.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use control_plane::{ControlPlane, User};

/// A Kubernetes API server with its etcd, without containers, that leaves nothing behind.
#[derive(Parser)]
#[command(name = "control-plane")]
struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Start one, run a command that uses it, end it, and exit as the command did.
    ///
    /// KUBECONFIG is the user's, KUBECONFIG_ADMIN, KUBECONFIG_OPERATOR and KUBECONFIG_DEVELOPER are set too, and
    /// kubectl is first in PATH. Without a command it prints these variables for a shell, and ends at Ctrl-C or when
    /// standard input does.
    Run {
        /// Whose KUBECONFIG it is: admin, operator or developer.
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
            eprintln!("control-plane: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(user: User, command: &[OsString]) -> Result<ExitCode, String> {
    let control_plane = ControlPlane::start().map_err(|error| error.to_string())?;
    let Some((program, args)) = command.split_first() else {
        return stay(&control_plane, user).map(|()| ExitCode::SUCCESS).map_err(|error| error.to_string());
    };
    let status = control_plane.command(user, program).args(args).status();
    let status = status.map_err(|error| format!("{}: {error}", program.display()))?;
    // As a shell tells of a command that a signal has ended.
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    Ok(code.and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}

/// Prints what a shell needs, and waits. Ctrl-C ends this process, and that ends the servers.
fn stay(control_plane: &ControlPlane, user: User) -> io::Result<()> {
    let mut output = io::stdout();
    let environment = control_plane.command(user, "");
    for (name, value) in environment.get_envs() {
        if let Some(value) = value {
            let value = value.display().to_string().replace('\'', r"'\''");
            writeln!(output, "export {}='{value}'", name.display())?;
        }
    }
    output.flush()?;
    eprintln!("The API server listens at {}. Ctrl-C ends it.", control_plane.url());
    io::copy(&mut io::stdin(), &mut io::sink())?;
    Ok(())
}
