//! What happens without the settings of `examples/gitops`, and with others. The page docs/gitops.md warns of it.

use super::installation::decision;
use super::merges::{FILE, NAME};
use super::refusals::{OTHER_FILE, invalid, named};
use super::site::{Controller, Report, Site};
use approval_operator::api::v1alpha1::Reason;
use serde_json::{Value, json};
use test_support::pipeline_with_build;

const BROKEN: &str = "decisions/checkout/broken.yaml";

async fn site(controller: Controller, change: fn(&mut Value)) -> Site {
    let site = Site::with(controller, change).await;
    site.env.put_pipeline(pipeline_with_build("checkout"));
    site
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the controllers: make gitops"]
async fn flux_without_the_expressions_fails_while_a_decision_waits() {
    let site = site(Controller::Flux, |kustomization| {
        kustomization["spec"]["healthCheckExprs"] = Value::Null;
        kustomization["spec"]["timeout"] = json!("10s");
    })
    .await;
    site.merge(&[(FILE, Some(&decision("checkout", "4f1a9c2e")))]).await;
    site.env.wait_for_reason(NAME, Reason::Waiting).await;
    let report = site.wait_for_text("checkout", "timeout waiting for").await;
    assert_eq!(report.health, "False HealthCheckFailed", "{report:#?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the controllers: make gitops"]
async fn argo_cd_with_sync_waves_waits_for_a_decision_and_applies_no_newer_commit() {
    let site = site(Controller::ArgoCdClientSideDiff, |_| ()).await;
    let mut other = named("other", "4f1a9c2e");
    other["metadata"]["annotations"]["argocd.argoproj.io/sync-wave"] = json!("1");
    let first = site.merge(&[(FILE, Some(&decision("checkout", "4f1a9c2e"))), (OTHER_FILE, Some(&other))]).await;
    site.env.wait_for_reason(NAME, Reason::Waiting).await;
    site.wait_for_text("checkout", "waiting for healthy state of").await;
    let second = site.merge(&[(FILE, Some(&decision("checkout", "9b8d7a6c")))]).await;
    let compared = |report: &Report| report.compared == second;
    let report = site.wait_for_report("checkout", "the newer commit is compared", compared).await;
    assert_eq!(report.syncing.as_ref(), Some(&first), "{report:#?}");
    assert_eq!(site.env.decisions.get(NAME).await.unwrap().metadata.generation, Some(1));
    assert!(site.env.decisions.get_opt("other").await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the controllers: make gitops"]
async fn argo_cd_without_refresh_retries_the_refused_commit_although_a_newer_one_corrects_it() {
    let without_retry = |application: &mut Value| application["spec"]["syncPolicy"]["retry"] = Value::Null;
    let site = site(Controller::ArgoCdClientSideDiff, without_retry).await;
    let first = site.merge(&[(BROKEN, Some(&invalid()))]).await;
    site.wait_for_text("checkout", "Retrying attempt #1").await;
    let second = site.merge(&[(BROKEN, Some(&named("broken", "4f1a9c2e")))]).await;
    let retried = |report: &Report| report.compared == second && report.text.contains("Retrying attempt #2");
    let report = site.wait_for_report("checkout", "the refused commit is retried", retried).await;
    assert_eq!(report.syncing.as_ref(), Some(&first), "{report:#?}");
    assert!(site.env.decisions.get_opt("broken").await.unwrap().is_none());
}
