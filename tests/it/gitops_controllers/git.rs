//! A Git repository that the controllers read over HTTP: `git http-backend` behind a server on loopback. Each commit on its
//! branch `main` is a merged pull request.

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::Response;
use axum::http::request::Parts;
use serde_json::Value;
use std::io::Write;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;
use tokio::net::TcpListener;

/// The largest request of a Git client; a fetch names the commits that the client has.
const MAX_REQUEST: usize = 1024 * 1024;

pub struct Repository {
    pub url: String,
    /// The folder of the repository, in a folder with its work tree.
    bare: PathBuf,
    folder: TempDir,
}

impl Repository {
    /// Serves an empty repository until the runtime of the test ends. Argo CD does not compare the port of a webhook's URL, so the
    /// name distinguishes the repository from those of other tests.
    pub async fn serve(name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("work")).unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("http://{}/{name}.git", listener.local_addr().unwrap());
        let repository = Self { url, bare: folder.path().join(name).with_extension("git"), folder };
        repository.git(&["init", "--quiet", "--bare", "--initial-branch=main"]);
        let server = axum::Router::new().fallback(http_backend).with_state(repository.folder.path().to_owned());
        tokio::spawn(async move { axum::serve(listener, server).await });
        repository
    }

    /// Commits these files, or their removal, and returns the revision.
    pub fn commit(&self, message: &str, files: &[(&str, Option<&Value>)]) -> String {
        for (path, content) in files {
            let path = self.folder.path().join("work").join(path);
            match content {
                Some(content) => {
                    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                    // JSON is also YAML.
                    std::fs::write(path, format!("{content:#}\n")).unwrap();
                }
                None => std::fs::remove_file(path).unwrap(),
            }
        }
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "--message", message]);
        self.git(&["rev-parse", "HEAD"]).trim().to_owned()
    }

    fn git(&self, arguments: &[&str]) -> String {
        let output = Command::new("git")
            .args(["-c", "user.name=Alice", "-c", "user.email=alice@example.com", "-c", "core.bare=false"])
            .args(arguments)
            .env("GIT_DIR", &self.bare)
            .envs((!arguments.contains(&"--bare")).then(|| ("GIT_WORK_TREE", self.folder.path().join("work"))))
            // The configuration of a developer must not affect a test.
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .output()
            .unwrap();
        assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

/// Passes a request to `git http-backend`, which is a CGI program.
async fn http_backend(State(root): State<PathBuf>, request: Request) -> Response<Body> {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, MAX_REQUEST).await.unwrap();
    tokio::task::spawn_blocking(move || run_backend(&root, &head, &body)).await.unwrap()
}

fn run_backend(root: &Path, head: &Parts, body: &[u8]) -> Response<Body> {
    let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut process = Command::new("git")
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REQUEST_METHOD", head.method.as_str())
        .env("PATH_INFO", head.uri.path())
        .env("QUERY_STRING", head.uri.query().unwrap_or_default())
        .env("CONTENT_TYPE", header("content-type"))
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .env("HTTP_GIT_PROTOCOL", header("git-protocol"))
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // It may have responded without reading everything.
    let _ = process.stdin.take().unwrap().write_all(body);
    let output = process.wait_with_output().unwrap().stdout;
    parse_response(&output).unwrap_or_else(|| panic!("git http-backend: {}", String::from_utf8_lossy(&output)))
}

/// The headers, an empty line, and the body. The header `Status` has the status.
fn parse_response(output: &[u8]) -> Option<Response<Body>> {
    let end = output.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
    let mut response = Response::builder();
    for line in std::str::from_utf8(&output[..end]).ok()?.split("\r\n") {
        let (name, value) = line.split_once(": ")?;
        response = match name {
            "Status" => response.status(value.split(' ').next()?),
            name => response.header(name, value),
        };
    }
    response.body(output[end + 4..].to_vec().into()).ok()
}
