//! Merges while a submission is in doubt: the approval was pending when the decision was merged, the response was lost, and
//! CodePipeline's history cannot be read.

use super::installation::decision;
use super::merges::{FILE, NAME};
use super::site::{Controller, Site};
use approval_operator::api::v1alpha1::Reason;
use local_codepipeline::api::Operation;
use local_codepipeline::faults::Fault;
use serde_json::json;
use std::time::Instant;
use test_support::{message, pipeline_with_build, reason};

/// Merges a decision whose submission gets into doubt because of this fault.
async fn in_doubt(controller: Controller, fault: Fault) -> Site {
    let site = Site::new(controller).await;
    site.env.put_pipeline(pipeline_with_build("checkout"));
    let execution = site.env.start_execution("checkout", "4f1a9c2e");
    site.env.complete_build("checkout", execution, true);
    site.env.codepipeline.inject(fault.on(Operation::PutApprovalResult).pipeline("checkout"));
    site.merge(&[(FILE, Some(&decision("checkout", "4f1a9c2e")))]).await;
    site.env.wait_for_submissions("checkout", 1).await;
    let unreadable = Fault::service_unavailable().on(Operation::ListActionExecutions).pipeline("checkout");
    site.env.codepipeline.inject(unreadable.always());
    site.env.wait_for_reason(NAME, Reason::Unconfirmed).await;
    site
}

pub async fn an_edit_while_a_submission_is_in_doubt(controller: Controller) {
    let site = in_doubt(controller, Fault::hang_after_applying()).await;
    let merged_at = Instant::now();
    let commit = site.merge(&[(FILE, Some(&decision("checkout", "9b8d7a6c")))]).await;
    let edited = site.env.wait_until(NAME, "edited", |it| it.metadata.generation == Some(2)).await;
    println!("{controller:?}: the edit is applied after {:?}", merged_at.elapsed());
    assert_eq!(reason(&edited), Some(Reason::Unconfirmed));
    site.wait_until_applied("checkout", &commit).await;
    site.env.codepipeline.clear_faults();
    // The submission is finished, and then the edit counts.
    let waiting = site.env.wait_for_message(NAME, "9b8d7a6c").await;
    assert_eq!(reason(&waiting), Some(Reason::Waiting), "{}", message(&waiting));
    assert_eq!(site.env.accepted_count("checkout"), 1);
    let execution = site.env.start_execution("checkout", "9b8d7a6c");
    site.env.complete_build("checkout", execution, true);
    let delivered = site.env.wait_for_reason(NAME, Reason::Delivered).await;
    assert_eq!(delivered.status.unwrap().history.len(), 1);
    assert_eq!(site.env.codepipeline.ledger_for("checkout").len(), 2);
}

pub async fn suspend_while_a_submission_is_in_doubt(controller: Controller) {
    let site = in_doubt(controller, Fault::hang_before_applying()).await;
    let mut suspended = decision("checkout", "4f1a9c2e");
    suspended["spec"]["suspend"] = json!(true);
    let commit = site.merge(&[(FILE, Some(&suspended))]).await;
    let edited = site.env.wait_until(NAME, "suspended", |it| it.spec.suspend).await;
    assert_eq!(reason(&edited), Some(Reason::Unconfirmed));
    site.wait_until_applied("checkout", &commit).await;
    site.env.codepipeline.clear_faults();
    let settled = site.env.wait_until(NAME, "held back", |it| reason(it) == Some(Reason::Suspended)).await;
    println!("{controller:?}: {}", message(&settled));
    assert!(message(&settled).contains("spec.suspend is true"), "{}", message(&settled));
    site.wait_for_health("checkout", "Suspended").await;
    assert_eq!(site.env.codepipeline.request_count_for(Operation::PutApprovalResult, "checkout"), 1);
    assert_eq!(site.env.pending_approvals("checkout").len(), 1);
}
