//! `approval-operator check`: whether decisions can be made in a namespace and whether the operator is well, told from
//! inside the cluster. The chart's test runs it. Nothing is left behind and no approval is answered.

use crate::api::v1alpha1::{ApprovalDecision, ApprovalDecisionSpec, ApprovalResult, ApprovalStatus, Token};
use crate::causes::with_causes;
use crate::cli::Check;
use axum::body::Bytes;
use axum::http::Uri;
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use kube::Api;
use kube::api::PostParams;
use std::time::Duration;
use tokio::time::timeout;

/// The longest that either question may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What pipeline, stage and action are called in the decision of the dry run.
const NAME: &str = "helm-test";

/// What is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The asynchronous runtime.
    #[error("the operating system: {0}")]
    System(#[from] std::io::Error),
    /// The cluster.
    #[error("no Kubernetes cluster can be reached: {0}. Set KUBECONFIG, or run in a pod with a ServiceAccount")]
    Kubernetes(String),
    /// No decision can be made.
    #[error("an ApprovalDecision in the namespace {namespace} is not admitted: {message}")]
    NotAdmitted {
        /// Where it was to be made.
        namespace: String,
        /// What the API server says.
        message: String,
    },
    /// The operator is not well, or not to be reached.
    #[error("{url} says: {message}")]
    NotReady {
        /// What was asked.
        url: Uri,
        /// What it says.
        message: String,
    },
    /// Either did not answer.
    #[error("no answer within {PATIENCE:?} from {0}")]
    Timeout(String),
}

/// Makes a decision in dry run and reads the operator's readiness. What it finds goes to standard output.
///
/// # Errors
/// The first thing that is not as it should be.
pub fn run(settings: &Check) -> Result<(), Error> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(check(settings))
}

async fn check(settings: &Check) -> Result<(), Error> {
    let admitted = timeout(PATIENCE, admit(&settings.namespace)).await;
    admitted.map_err(|_| Error::Timeout("the Kubernetes API".to_owned()))??;
    println!("an ApprovalDecision in the namespace {} is admitted (server-side dry run)", settings.namespace);
    let read = timeout(PATIENCE, read(&settings.readyz)).await;
    let answer = read.map_err(|_| Error::Timeout(settings.readyz.to_string()))??;
    println!("{} says: {}", settings.readyz, answer.trim());
    Ok(())
}

async fn admit(namespace: &str) -> Result<(), Error> {
    let client = kube::Client::try_default().await.map_err(|error| Error::Kubernetes(with_causes(&error)))?;
    let spec = ApprovalDecisionSpec {
        pipeline_name: NAME.to_owned(),
        stage_name: NAME.to_owned(),
        action_name: NAME.to_owned(),
        token: Some(Token("00000000-0000-4000-8000-000000000000".to_owned())),
        pipeline_execution_id: None,
        source_revision: None,
        result: ApprovalResult { status: ApprovalStatus::Approved, summary: String::new() },
        not_after: None,
        suspend: false,
    };
    let mut decision = ApprovalDecision::new("", spec);
    decision.metadata.name = None;
    decision.metadata.generate_name = Some(format!("{NAME}-"));
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    let created = Api::namespaced(client, namespace).create(&dry_run, &decision).await;
    created.map(drop).map_err(|error| Error::NotAdmitted {
        namespace: namespace.to_owned(),
        message: match error {
            kube::Error::Api(status) if status.code == 404 => {
                "its CustomResourceDefinition is not installed: install the chart approval-operator-crds".to_owned()
            }
            kube::Error::Api(status) => status.message,
            other => with_causes(&other),
        },
    })
}

async fn read(url: &Uri) -> Result<String, Error> {
    let not_ready = |message| Error::NotReady { url: url.clone(), message };
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let answer = client.get(url.clone()).await.map_err(|error| not_ready(with_causes(&error)))?;
    let status = answer.status();
    let body = answer.into_body().collect().await.map_err(|error| not_ready(with_causes(&error)))?.to_bytes();
    let text = String::from_utf8_lossy(&body).into_owned();
    if status.is_success() { Ok(text) } else { Err(not_ready(format!("{status}: {}", text.trim()))) }
}
