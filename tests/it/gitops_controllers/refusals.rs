//! Manifests that the API server refuses, because of the CRD or because of the admission policy.

use super::installation::decision;
use super::merges::{FILE, NAME};
use super::site::{Controller, Report, Site};
use approval_operator::api::v1alpha1::Reason;
use kube::ResourceExt;
use kube::api::ListParams;
use serde_json::{Value, json};
use test_support::pipeline_with_build;

pub const OTHER_FILE: &str = "decisions/checkout/other.yaml";

/// A decision that the CRD does not allow.
pub fn invalid() -> Value {
    let mut manifest = named("broken", "4f1a9c2e");
    manifest["spec"]["pipelineName"] = json!("");
    manifest
}

/// Another decision of the team `checkout`.
pub fn named(name: &str, revision: &str) -> Value {
    let mut manifest = decision("checkout", revision);
    manifest["metadata"]["name"] = json!(name);
    manifest
}

/// Waits until the team `checkout` can read that the API server refuses an edit to [`invalid`].
pub async fn refused(site: &Site) -> Report {
    let (sync, text) = match site.controller {
        Controller::Flux => ("", "dry-run failed (Invalid)"),
        Controller::ArgoCdClientSideDiff => ("OutOfSync", "one or more objects failed to apply"),
        // Argo CD cannot compare, so it does not sync.
        Controller::ArgoCdServerSideDiff => ("Unknown", "Failed to compare desired state to live state"),
    };
    let condition = |report: &Report| {
        report.sync == sync && report.text.contains(text) && report.text.contains("spec.pipelineName")
    };
    site.wait_for_report("checkout", "the edit is refused", condition).await
}

async fn names(site: &Site) -> Vec<String> {
    let list = site.env.decisions.list(&ListParams::default()).await.unwrap();
    list.items.iter().map(ResourceExt::name_any).collect()
}

pub async fn two_decisions_and_a_refused_manifest_in_one_commit(controller: Controller) {
    let mut site = Site::new(controller).await;
    site.add_team("payments");
    for pipeline in ["checkout", "payments"] {
        site.env.put_pipeline(pipeline_with_build(pipeline));
    }
    let commit = site
        .merge(&[
            (FILE, Some(&decision("checkout", "4f1a9c2e"))),
            (OTHER_FILE, Some(&named("other", "9b8d7a6c"))),
            ("decisions/checkout/broken.yaml", Some(&invalid())),
            ("decisions/payments/production.yaml", Some(&decision("payments", "4f1a9c2e"))),
        ])
        .await;
    let report = site.wait_for_text("checkout", "spec.pipelineName").await;
    println!("{controller:?}: {report:#?}");
    // Another team is not affected.
    site.env.wait_for_reason("payments-production", Reason::Waiting).await;
    site.wait_until_applied("payments", &commit).await;
    match controller {
        // Flux applies nothing of a folder, unless the API server admits all of it.
        Controller::Flux => assert_eq!(names(&site).await, ["payments-production"]),
        Controller::ArgoCdClientSideDiff | Controller::ArgoCdServerSideDiff => {
            site.env.wait_for_reason(NAME, Reason::Waiting).await;
            site.env.wait_for_reason("other", Reason::Waiting).await;
        }
    }
    let commit = site.merge(&[("decisions/checkout/broken.yaml", None)]).await;
    site.wait_until_applied("checkout", &commit).await;
    site.env.wait_for_reason(NAME, Reason::Waiting).await;
    site.env.wait_for_reason("other", Reason::Waiting).await;
}

pub async fn a_refused_edit_next_to_another_edit(controller: Controller) {
    let site = Site::new(controller).await;
    site.env.put_pipeline(pipeline_with_build("checkout"));
    let commit = site
        .merge(&[
            (FILE, Some(&decision("checkout", "4f1a9c2e"))),
            ("decisions/checkout/broken.yaml", Some(&named("broken", "4f1a9c2e"))),
        ])
        .await;
    site.wait_until_applied("checkout", &commit).await;
    site.merge(&[
        (FILE, Some(&decision("checkout", "9b8d7a6c"))),
        ("decisions/checkout/broken.yaml", Some(&invalid())),
    ])
    .await;
    let report = refused(&site).await;
    println!("{controller:?}: {report:#?}");
    match controller {
        Controller::Flux => assert_eq!(site.env.decisions.get(NAME).await.unwrap().metadata.generation, Some(1)),
        Controller::ArgoCdClientSideDiff => {
            site.env.wait_for_message(NAME, "9b8d7a6c").await;
            // The health does not show the refusal.
            site.wait_for_health("checkout", "Suspended").await;
        }
        // The health stays what it was when the edit arrived.
        Controller::ArgoCdServerSideDiff => {
            assert_eq!(report.sync, "Unknown");
            assert_eq!(site.env.decisions.get(NAME).await.unwrap().metadata.generation, Some(1));
        }
    }
    let commit = site.merge(&[("decisions/checkout/broken.yaml", Some(&named("broken", "9b8d7a6c")))]).await;
    site.wait_until_applied("checkout", &commit).await;
    site.env.wait_for_message(NAME, "9b8d7a6c").await;
}

pub async fn a_pipeline_that_the_account_may_not_approve(controller: Controller) {
    let site = Site::new(controller).await;
    let mut manifest = decision("checkout", "4f1a9c2e");
    manifest["spec"]["pipelineName"] = json!("payments");
    site.merge(&[(FILE, Some(&manifest))]).await;
    let account = format!("system:serviceaccount:{}:checkout", site.env.namespace);
    let report = site.wait_for_text("checkout", &format!("{account} may not approve payments/Prod/Approve")).await;
    println!("{controller:?}: {report:#?}");
    assert!(
        report.text.contains("Grant it in a Role with the rule {apiGroups: [codepipeline.approvals.dev]"),
        "{report:?}"
    );
    assert_eq!(names(&site).await, [""; 0]);
    assert_eq!(site.env.codepipeline.ledger_for("payments").len(), 0);
}
