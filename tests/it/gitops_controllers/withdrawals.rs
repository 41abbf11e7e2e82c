//! A file is removed while its decision waits.

use super::installation::decision;
use super::merges::{FILE, NAME};
use super::refusals::{invalid, named, refused};
use super::site::{Controller, Site};
use approval_operator::api::v1alpha1::Reason;
use serde_json::json;
use test_support::pipeline_with_build;

/// The execution of a withdrawn decision reaches the approval, and the operator sends nothing. Another decision shows that it
/// would have.
async fn nothing_is_sent(site: &Site) {
    let execution = site.env.start_execution("checkout", "4f1a9c2e");
    site.env.complete_build("checkout", execution, true);
    assert_eq!(site.env.pending_approvals("checkout").len(), 1);
    site.env.open_and_approve("control").await;
    site.env.wait_for_reason("control", Reason::Delivered).await;
    assert_eq!(site.env.codepipeline.ledger_for("checkout").len(), 0);
}

pub async fn the_file_of_a_waiting_decision_is_removed(controller: Controller) {
    let site = Site::new(controller).await;
    site.env.put_pipeline(pipeline_with_build("checkout"));
    site.merge(&[(FILE, Some(&decision("checkout", "4f1a9c2e"))), ("decisions/checkout/README.md", Some(&json!("")))])
        .await;
    site.env.wait_for_reason(NAME, Reason::Waiting).await;
    let commit = site.merge(&[(FILE, None)]).await;
    site.wait_until_deleted(NAME).await;
    site.wait_until_applied("checkout", &commit).await;
    nothing_is_sent(&site).await;
}

pub async fn a_removal_while_a_manifest_of_another_team_is_refused(controller: Controller) {
    let mut site = Site::new(controller).await;
    site.add_team("payments");
    site.env.put_pipeline(pipeline_with_build("checkout"));
    site.merge(&[
        (FILE, Some(&decision("checkout", "4f1a9c2e"))),
        ("decisions/checkout/README.md", Some(&json!(""))),
        ("decisions/payments/broken.yaml", Some(&invalid())),
    ])
    .await;
    site.env.wait_for_reason(NAME, Reason::Waiting).await;
    site.wait_for_text("payments", "spec.pipelineName").await;
    site.merge(&[(FILE, None)]).await;
    site.wait_until_deleted(NAME).await;
    nothing_is_sent(&site).await;
}

/// Flux, and Argo CD with server-side diff, do not prune while the API server refuses a manifest in the folder. Until it is fixed,
/// kubectl withdraws the decision, and the controller does not create it again.
pub async fn a_removal_while_a_manifest_of_the_same_team_is_refused(controller: Controller) {
    let site = Site::new(controller).await;
    site.env.put_pipeline(pipeline_with_build("checkout"));
    let broken = "decisions/checkout/broken.yaml";
    let files = [(FILE, Some(&decision("checkout", "4f1a9c2e"))), (broken, Some(&named("broken", "9b8d7a6c")))];
    let commit = site.merge(&files).await;
    site.env.wait_for_reason(NAME, Reason::Waiting).await;
    // Argo CD compares an edit only of objects that its cache has.
    site.wait_until_applied("checkout", &commit).await;
    site.merge(&[(broken, Some(&invalid())), (FILE, None)]).await;
    let report = refused(&site).await;
    println!("{controller:?}: {report:#?}");
    match controller {
        Controller::ArgoCdClientSideDiff => site.wait_until_deleted(NAME).await,
        Controller::Flux | Controller::ArgoCdServerSideDiff => {
            assert!(site.env.decisions.get_opt(NAME).await.unwrap().is_some());
            site.env.delete(NAME).await;
        }
    }
    let commit = site.merge(&[(broken, Some(&named("broken", "deadbeef")))]).await;
    site.wait_until_applied("checkout", &commit).await;
    assert!(site.env.decisions.get_opt(NAME).await.unwrap().is_none());
    nothing_is_sent(&site).await;
}
