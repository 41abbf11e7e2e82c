//! A decision is stalled, because someone responded with another result before it was merged.

use super::installation::decision;
use super::merges::{FILE, NAME};
use super::refusals::{OTHER_FILE, named};
use super::site::{Controller, Site};
use approval_operator::api::v1alpha1::Reason;
use local_codepipeline::api::ApprovalStatus;
use test_support::pipeline_with_build;

pub async fn a_decision_that_contradicts_the_response(controller: Controller) {
    let site = Site::new(controller).await;
    site.env.put_pipeline(pipeline_with_build("checkout"));
    let execution = site.env.start_execution("checkout", "4f1a9c2e");
    site.env.complete_build("checkout", execution, true);
    let pending = site.env.pending_approvals("checkout");
    site.env.respond_as_bob("checkout", &pending[0], ApprovalStatus::Rejected);
    let files = [(FILE, Some(&decision("checkout", "4f1a9c2e"))), (OTHER_FILE, Some(&named("other", "9b8d7a6c")))];
    let commit = site.merge(&files).await;
    site.env.wait_for_reason(NAME, Reason::ApprovalAlreadyCompleted).await;
    site.env.wait_for_reason("other", Reason::Waiting).await;
    match controller {
        // The health check of the commit passed, because the decision waited for CodePipeline's history.
        Controller::Flux => {
            site.wait_until_applied("checkout", &commit).await;
            site.next_interval().await;
            let failed = format!("ApprovalDecision/{}/{NAME} status: 'Failed'", site.env.namespace);
            let report = site.wait_for_text("checkout", &failed).await;
            println!("{controller:?}: {report:#?}");
            assert_eq!(report.health, "False HealthCheckFailed");
        }
        Controller::ArgoCdClientSideDiff | Controller::ArgoCdServerSideDiff => {
            site.wait_until_applied("checkout", &commit).await;
            site.wait_for_health("checkout", "Degraded").await;
        }
    }
    // The other decision continues, and so does its file.
    let execution = site.env.start_execution("checkout", "9b8d7a6c");
    site.env.complete_build("checkout", execution, true);
    site.env.wait_for_reason("other", Reason::Delivered).await;
    site.merge(&[(OTHER_FILE, Some(&named("other", "deadbeef")))]).await;
    site.env.wait_for_message("other", "deadbeef").await;
    site.merge(&[(OTHER_FILE, None)]).await;
    site.wait_until_deleted("other").await;
    // The next release corrects it.
    let commit = site.merge(&[(FILE, Some(&decision("checkout", "deadbeef")))]).await;
    site.wait_until_applied("checkout", &commit).await;
    site.env.wait_for_reason(NAME, Reason::Waiting).await;
    site.wait_for_health("checkout", "Suspended").await;
    assert_eq!(site.env.codepipeline.ledger_for("checkout").len(), 2);
}
