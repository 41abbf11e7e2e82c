//! A team's usual merges.

use super::installation::decision;
use super::site::{Controller, Site};
use approval_operator::api::v1alpha1::{ApprovalDecision, Reason};
use serde_json::json;
use test_support::{message, pipeline_with_build, reason};

pub const FILE: &str = "decisions/checkout/production.yaml";
pub const NAME: &str = "checkout-production";

/// Merges a decision for an execution that starts afterwards, and returns when it is delivered.
pub async fn release(site: &Site, revision: &str) -> ApprovalDecision {
    let commit = site.merge(&[(FILE, Some(&decision("checkout", revision)))]).await;
    let waiting = site
        .env
        .wait_until(NAME, "waiting for the revision", |it| {
            it.spec.source_revisions[0].revision_id.as_deref() == Some(revision) && reason(it) == Some(Reason::Waiting)
        })
        .await;
    assert!(message(&waiting).contains(revision), "{}", message(&waiting));
    // A decision that waits does not fail the sync.
    site.wait_until_applied("checkout", &commit).await;
    site.wait_for_health("checkout", "Suspended").await;
    let execution = site.env.start_execution("checkout", revision);
    site.env.complete_build("checkout", execution, true);
    let delivered = site
        .env
        .wait_until(NAME, "delivered", |it| {
            reason(it) == Some(Reason::Delivered)
                && it.status.as_ref().unwrap().pipeline_execution_id == Some(execution.to_string())
        })
        .await;
    site.wait_for_health("checkout", "Healthy").await;
    delivered
}

pub async fn a_decision_that_is_merged_before_its_execution_starts(controller: Controller) {
    let site = Site::new(controller).await;
    site.env.put_pipeline(pipeline_with_build("checkout"));
    release(&site, "4f1a9c2e").await;
    assert_eq!(site.env.accepted_count("checkout"), 1);
}

pub async fn the_next_release_in_the_same_file(controller: Controller) {
    let site = Site::new(controller).await;
    site.env.put_pipeline(pipeline_with_build("checkout"));
    let first = release(&site, "4f1a9c2e").await.status.unwrap();
    let second = release(&site, "9b8d7a6c").await.status.unwrap();
    let history: Vec<_> = second.history.iter().map(|it| it.pipeline_execution_id.clone()).collect();
    assert_eq!(history, [first.pipeline_execution_id]);
    assert_eq!(site.env.accepted_count("checkout"), 2);
}

pub async fn a_settled_decision_whose_summary_changes(controller: Controller) {
    let site = Site::new(controller).await;
    site.env.put_pipeline(pipeline_with_build("checkout"));
    let first = release(&site, "4f1a9c2e").await.status.unwrap();
    let mut edited = decision("checkout", "4f1a9c2e");
    edited["spec"]["result"]["summary"] = json!("Load test passed, and the link works");
    let commit = site.merge(&[(FILE, Some(&edited))]).await;
    site.wait_until_applied("checkout", &commit).await;
    // The operator finds its own submission in CodePipeline's history, which may be late.
    let settled = site.env.wait_for_reason(NAME, Reason::AlreadyDecided).await;
    assert!(message(&settled).contains("of this decision"), "{}", message(&settled));
    assert_eq!(settled.status.unwrap().approved_at, first.approved_at);
    site.wait_for_health("checkout", "Healthy").await;
    assert_eq!(site.env.codepipeline.ledger_for("checkout").len(), 1);
}
