//! `approval-operator check`: checks from inside the cluster that decisions can be created in a namespace and that the operator is
//! ready. The chart's test runs it. It creates nothing and responds to no approval.

use crate::api::v1alpha1::{ApprovalDecision, ApprovalDecisionSpec, ApprovalResult, ApprovalStatus, Token};
use crate::cli::CheckArgs;
use crate::error_chain::display_chain;
use crate::kube_client;
use crate::proxy::{InvalidProxy, ProxySettings};
use axum::body::Bytes;
use axum::http::Uri;
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use kube::Api;
use kube::api::PostParams;
use std::time::Duration;
use tokio::time::timeout;

/// The longest time that each of the two checks may take.
const CHECK_TIMEOUT: Duration = Duration::from_secs(10);

/// The name of the pipeline, the stage and the action in the decision of the dry run.
const NAME: &str = "helm-test";

/// Why the check failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The asynchronous runtime.
    #[error("operating system error: {0}")]
    System(#[from] std::io::Error),
    /// The configuration of the Kubernetes client.
    #[error("no Kubernetes cluster is configured: {0}. Set KUBECONFIG, or run in a pod with a ServiceAccount")]
    Kubernetes(String),
    /// A proxy in the environment.
    #[error(transparent)]
    Proxy(#[from] InvalidProxy),
    /// The API server refuses the decision.
    #[error("an ApprovalDecision cannot be created in namespace {namespace}: {message}")]
    NotAdmitted {
        /// The namespace of the dry run.
        namespace: String,
        /// The reason that the API server gives.
        message: String,
    },
    /// The operator is not ready, or cannot be reached.
    #[error("the operator is not ready: {url}: {message}")]
    NotReady {
        /// The URL that was read.
        url: Uri,
        /// The response, or the error.
        message: String,
    },
    /// The API server or the operator did not respond.
    #[error("no response from {0} within {CHECK_TIMEOUT:?}")]
    Timeout(String),
}

/// Creates a decision in dry-run mode, then reads the operator's readiness. Prints the results to standard output.
///
/// # Errors
/// The first check that fails.
pub fn run(args: &CheckArgs) -> Result<(), Error> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(check(args))
}

async fn check(args: &CheckArgs) -> Result<(), Error> {
    let created = timeout(CHECK_TIMEOUT, create_in_dry_run(&args.namespace)).await;
    created.map_err(|_| Error::Timeout("the Kubernetes API".to_owned()))??;
    println!("an ApprovalDecision can be created in namespace {} (server-side dry run)", args.namespace);
    let response = timeout(CHECK_TIMEOUT, read(&args.readyz)).await;
    let response = response.map_err(|_| Error::Timeout(args.readyz.to_string()))??;
    println!("{} returned: {}", args.readyz, response.trim());
    Ok(())
}

async fn create_in_dry_run(namespace: &str) -> Result<(), Error> {
    let config = kube_client::config(&ProxySettings::from_env()?)
        .await
        .map_err(|error| Error::Kubernetes(display_chain(&error)))?;
    let client = kube_client::client(config).map_err(|error| Error::Kubernetes(display_chain(&error)))?;
    let result = ApprovalResult { status: ApprovalStatus::Approved, summary: String::new() };
    let token = Some(Token("00000000-0000-4000-8000-000000000000".to_owned()));
    let spec = ApprovalDecisionSpec {
        token,
        ..ApprovalDecisionSpec::new(NAME.to_owned(), NAME.to_owned(), NAME.to_owned(), result)
    };
    let mut decision = ApprovalDecision::new("", spec);
    decision.metadata.name = None;
    decision.metadata.generate_name = Some(format!("{NAME}-"));
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    let created = Api::namespaced(client, namespace).create(&dry_run, &decision).await;
    created.map(drop).map_err(|error| Error::NotAdmitted {
        namespace: namespace.to_owned(),
        message: match &error {
            kube::Error::Api(status) if status.code == 404 && kind(status) == Some("namespaces") => {
                "the namespace does not exist; create it, or use --namespace with another one".to_owned()
            }
            kube::Error::Api(status) if status.code == 404 => {
                "its CustomResourceDefinition is not installed; install the chart approval-operator-crds".to_owned()
            }
            error => display_chain(error),
        },
    })
}

/// The resource that the API server did not find, if it names one.
fn kind(status: &kube::core::Status) -> Option<&str> {
    status.details.as_ref().map(|details| details.kind.as_str())
}

async fn read(url: &Uri) -> Result<String, Error> {
    let not_ready = |message| Error::NotReady { url: url.clone(), message };
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let response = client.get(url.clone()).await.map_err(|error| not_ready(display_chain(&error)))?;
    let status = response.status();
    let body = response.into_body().collect().await.map_err(|error| not_ready(display_chain(&error)))?.to_bytes();
    let text = String::from_utf8_lossy(&body).into_owned();
    if status.is_success() { Ok(text) } else { Err(not_ready(format!("{status}: {}", text.trim()))) }
}
