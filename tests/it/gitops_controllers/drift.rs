//! The cluster changes without a commit: someone uses kubectl, or the namespace is deleted.

use super::installation::{Installation, decision};
use super::merges::{FILE, NAME, release};
use super::site::{Controller, Site};
use approval_operator::api::v1alpha1::Reason;
use serde_json::{Value, json};
use test_control_plane::User;
use test_support::chart::kubectl;
use test_support::{pipeline_with_build, reason};

fn patch_with_kubectl(site: &Site, spec: &Value) {
    let patch = json!({ "spec": spec }).to_string();
    let arguments =
        ["patch", "approvaldecision", NAME, "--namespace", &site.env.namespace, "--type=merge", "--patch", &patch];
    kubectl(&Installation::shared().cluster, User::Admin, &arguments, &Value::Null).expect_success();
}

pub async fn a_field_of_the_manifest_is_changed_with_kubectl(controller: Controller) {
    let site = Site::new(controller).await;
    site.env.put_pipeline(pipeline_with_build("checkout"));
    let commit = site.merge(&[(FILE, Some(&decision("checkout", "4f1a9c2e")))]).await;
    site.wait_until_applied("checkout", &commit).await;
    patch_with_kubectl(&site, &json!({ "sourceRevisions": [{ "revisionId": "deadbeef" }] }));
    site.next_interval().await;
    let reverted = site.env.wait_until(NAME, "reverted", |it| it.metadata.generation == Some(3)).await;
    assert_eq!(reverted.spec.source_revisions[0].revision_id.as_deref(), Some("4f1a9c2e"));
}

/// Argo CD compares only the fields that Git has; Flux also removes what kubectl added.
pub async fn a_field_that_the_manifest_does_not_have_is_set_with_kubectl(controller: Controller) {
    let site = Site::new(controller).await;
    site.env.put_pipeline(pipeline_with_build("checkout"));
    let commit = site.merge(&[(FILE, Some(&decision("checkout", "4f1a9c2e")))]).await;
    site.wait_until_applied("checkout", &commit).await;
    patch_with_kubectl(&site, &json!({ "suspend": true }));
    site.env.wait_for_reason(NAME, Reason::Suspended).await;
    site.next_interval().await;
    match controller {
        Controller::Flux => {
            site.env.wait_until(NAME, "reverted", |it| !it.spec.suspend && reason(it) == Some(Reason::Waiting)).await;
        }
        Controller::ArgoCdClientSideDiff | Controller::ArgoCdServerSideDiff => {
            site.wait_until_applied("checkout", &commit).await;
            assert!(site.env.decisions.get(NAME).await.unwrap().spec.suspend);
        }
    }
}

pub async fn the_namespace_is_deleted_and_synced_again(controller: Controller) {
    let site = Site::new(controller).await;
    site.env.put_pipeline(pipeline_with_build("checkout"));
    let before = release(&site, "4f1a9c2e").await.status.unwrap();
    site.delete_namespace().await;
    site.create_namespace_again();
    let after =
        site.env.wait_until(NAME, "settled from history", |it| reason(it) == Some(Reason::AlreadyDecided)).await;
    let after = after.status.unwrap();
    assert_eq!(after.approved_at, before.approved_at);
    assert_eq!(after.pipeline_execution_id, before.pipeline_execution_id);
    site.wait_for_health("checkout", "Healthy").await;
    assert_eq!(site.env.codepipeline.ledger_for("checkout").len(), 1);
}
