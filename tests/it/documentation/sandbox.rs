//! A folder that looks like a clone of the project, where bash runs the commands of a page. `cargo` and `make` in it build nothing:
//! cargo runs the programs that were built with the tests, and both refuse names that do not exist.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use test_control_plane::{ControlPlane, User, write_script};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// How long the commands of a page may take in total.
const TIME_LIMIT: Duration = Duration::from_secs(240);

/// Each part of a script reads this first. `terminal TEXT` runs its input in the background, and waits until the output has TEXT.
const PRELUDE: &str = r#"
set -euo pipefail
trap 'jobs -p | xargs --no-run-if-empty kill 2>/dev/null || true' EXIT
terminal() {
  local log deadline=$((SECONDS + 60)) commands
  log=$(mktemp "$HOME/terminal-XXXXXX") commands=$(cat)
  bash -euo pipefail -c "$commands" >"$log" 2>&1 </dev/null &
  until grep --quiet --fixed-strings -- "$1" "$log"; do
    if ((SECONDS > deadline)) || { ! kill -0 $! 2>/dev/null && ! grep --quiet --fixed-strings -- "$1" "$log"; }; then
      cat "$log"
      return 1
    fi
    sleep 0.1
  done
  cat "$log"
}
"#;

const CARGO: &str = r#"#!/usr/bin/env bash
command=$1 package=approval-operator
shift
if [[ ${1:-} == -p ]]; then
  package=$2
  shift 2
fi
[[ $package == approval-operator || -f crates/$package/Cargo.toml ]] || {
  echo "there is no package $package" >&2
  exit 1
}
case "$command $*" in
  "run -- "*) shift; exec "target/debug/$package" "$@" ;;
  "build --workspace" | "test " | "test --lib" | "test --test it NAME") ;;
  *) echo "the cargo of this test does not know: $command $*" >&2; exit 1 ;;
esac
"#;

const MAKE: &str = r#"#!/usr/bin/env bash
for target; do
  grep --quiet "^$target:" Makefile || {
    echo "the Makefile has no target $target" >&2
    exit 1
  }
done
"#;

pub struct Sandbox {
    folder: TempDir,
    /// The port of `local-codepipeline serve`. Its default may be in use.
    port: u16,
}

impl Sandbox {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let sandbox = Self { folder, port };
        let project = sandbox.project();
        for folder in [sandbox.home().join("bin"), project.join("target/debug")] {
            fs::create_dir_all(folder).unwrap();
        }
        for entry in fs::read_dir(ROOT).unwrap().map(Result::unwrap) {
            if entry.file_name() != "target" && entry.file_name() != ".git" {
                symlink(entry.path(), project.join(entry.file_name())).unwrap();
            }
        }
        let operator = PathBuf::from(env!("CARGO_BIN_EXE_approval-operator"));
        for program in ["local-codepipeline", "test-control-plane"] {
            let file = operator.with_file_name(program);
            assert!(file.is_file(), "{} is missing; build it with `cargo build --workspace`", file.display());
        }
        let programs = project.join("target/debug");
        symlink(&operator, programs.join("approval-operator")).unwrap();
        symlink(operator.with_file_name("test-control-plane"), programs.join("test-control-plane")).unwrap();
        let codepipeline = operator.with_file_name("local-codepipeline");
        let codepipeline = format!(
            "#!/usr/bin/env bash\n\
             if [[ $1 == serve ]]; then shift; exec '{program}' serve --address 127.0.0.1:{port} \"$@\"; fi\n\
             AWS_ENDPOINT_URL=${{AWS_ENDPOINT_URL:-http://127.0.0.1:{port}}} exec '{program}' \"$@\"\n",
            program = codepipeline.display(),
        );
        write_script(&programs.join("local-codepipeline"), &codepipeline).unwrap();
        let bin = sandbox.home().join("bin");
        write_script(&bin.join("cargo"), CARGO).unwrap();
        write_script(&bin.join("make"), MAKE).unwrap();
        fs::write(sandbox.home().join("prelude"), PRELUDE).unwrap();
        symlink(Path::new(ROOT).join("crates/test-control-plane/bin/helm"), bin.join("helm")).unwrap();
        let aws =
            std::env::var_os("AWS_CLI").map_or_else(|| Path::new(ROOT).join("hack/aws-cli/bin/bin/aws"), PathBuf::from);
        symlink(aws, bin.join("aws")).unwrap();
        sandbox
    }

    fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    fn project(&self) -> PathBuf {
        self.folder.path().join("project")
    }

    /// The address of `local-codepipeline serve` in place of its default.
    pub fn endpoint(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Runs a script, which bash reads from its standard input as it reads what a user enters, and returns its output.
    pub fn run(&self, script: &str, control_plane: Option<&ControlPlane>) -> String {
        let bin = self.home().join("bin");
        let mut path = vec![bin, self.project().join("target/debug"), "/usr/bin".into(), "/bin".into()];
        let mut bash = Command::new("/bin/bash");
        bash.env_clear();
        if let Some(control_plane) = control_plane {
            let environment = control_plane.command(User::Admin, "");
            for (name, value) in environment.get_envs() {
                if let (true, Some(value)) = (name == OsStr::new("PATH"), value) {
                    path.splice(1..1, std::env::split_paths(value).take(1));
                } else if let Some(value) = value {
                    bash.env(name, value);
                }
            }
        }
        bash.envs(std::env::var_os("KUBEBUILDER_ASSETS").map(|folder| ("KUBEBUILDER_ASSETS", folder)));
        let log = self.folder.path().join("output");
        let output = File::create(&log).unwrap();
        let mut bash = bash
            .env("PATH", std::env::join_paths(path).unwrap())
            .env("HOME", self.home())
            .env("LC_ALL", "C.UTF-8")
            // The default port may be in use.
            .env("APPROVAL_OPERATOR_HTTP_ADDRESS", "127.0.0.1:0")
            .env("APPROVAL_OPERATOR_POLL_INTERVAL", "1s")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("ENDPOINT", format!("http://{}", self.endpoint()))
            .current_dir(self.project())
            .stdin(Stdio::piped())
            .stderr(output.try_clone().unwrap())
            .stdout(output)
            .process_group(0)
            .spawn()
            .unwrap();
        // A script that fails does not read its rest.
        let _ = bash.stdin.take().unwrap().write_all(script.as_bytes());
        let deadline = Instant::now() + TIME_LIMIT;
        let status = loop {
            match bash.try_wait().unwrap() {
                None if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(50)),
                status => break status,
            }
        };
        // What the page leaves in the background, too.
        let _ = Command::new("kill").args(["-KILL", "--", &format!("-{}", bash.id())]).stderr(Stdio::null()).status();
        let _ = bash.wait();
        let output = fs::read_to_string(log).unwrap();
        let status = status.unwrap_or_else(|| panic!("the commands did not end:\n{output}"));
        assert!(status.success(), "{status}:\n{output}");
        output
    }
}
