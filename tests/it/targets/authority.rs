//! Who may use a target: what its `access` admits, checked by the operator before any call.

use super::site::{ONE, REGION, Site, role_arn, through};
use approval_operator::api::v1alpha1::{ApprovalStatus, Reason};
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use local_codepipeline::api::Operation;
use local_codepipeline::iam::Role;
use serde_json::json;
use test_support::{for_revision, message, spec};

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_that_is_not_admitted_cannot_learn_whether_a_pipeline_exists() {
    let site = Site::new().await;
    let env = &site.env;
    let account = env.codepipeline.in_account(ONE, REGION);
    account.open_approval("shop", "Prod", "Approve").unwrap();
    site.create("production", ONE).await;
    site.patch("production", json!({ "access": [{ "namespaces": { "names": ["other"] }, "pipelines": ["*"] }] })).await;
    let _operator = env.operator().start();
    site.wait_for("production", "Verified").await;
    let mut messages = Vec::new();
    for pipeline in ["shop", "none"] {
        env.create(pipeline, through("production", for_revision(pipeline, "main"))).await;
        let forbidden = env.wait_for_reason(pipeline, Reason::TargetForbidden).await;
        messages.push(message(&forbidden).replace(pipeline, "PIPELINE"));
    }
    assert_eq!(messages[0], messages[1]);
    for operation in [Operation::GetPipelineState, Operation::ListPipelineExecutions, Operation::PutApprovalResult] {
        assert_eq!(account.request_count(operation), 0, "{operation}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_entry_must_admit_namespace_pipeline_and_result_together() {
    let site = Site::new().await;
    let env = &site.env;
    let account = env.codepipeline.in_account(ONE, REGION);
    let approval = account.open_approval("web-shop", "Prod", "Approve").unwrap();
    site.create("production", ONE).await;
    let here = json!({ "names": [env.namespace] });
    let split = json!([
        { "namespaces": here, "pipelines": ["web-*"], "results": ["Rejected"] },
        { "namespaces": here, "pipelines": ["api-*"] },
        { "namespaces": { "names": ["other"] }, "pipelines": ["web-*"] },
    ]);
    site.patch("production", json!({ "access": split })).await;
    let _operator = env.operator().start();
    env.create("release", through("production", spec("web-shop", &approval))).await;
    env.wait_for_reason("release", Reason::TargetForbidden).await;
    assert_eq!(account.ledger().len(), 0);
    // It is evaluated again when the target changes.
    let together = json!([{ "namespaces": here, "pipelines": ["web-*"], "results": ["Approved"] }]);
    site.patch("production", json!({ "access": together })).await;
    env.wait_for_reason("release", Reason::Delivered).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_labels_of_a_namespace_admit_its_decisions_as_soon_as_they_match() {
    let site = Site::new().await;
    let env = &site.env;
    let account = env.codepipeline.in_account(ONE, REGION);
    let approval = account.open_approval("shop", "Prod", "Approve").unwrap();
    site.create("production", ONE).await;
    let labels = json!({ "selector": { "matchLabels": { "team": "web" } } });
    site.patch("production", json!({ "access": [{ "namespaces": labels, "pipelines": ["*"] }] })).await;
    let _operator = env.operator().start();
    env.create("release", through("production", spec("shop", &approval))).await;
    env.wait_for_reason("release", Reason::TargetForbidden).await;
    let namespaces: Api<Namespace> = Api::all(env.client.clone());
    let label = Patch::Merge(json!({ "metadata": { "labels": { "team": "web" } } }));
    namespaces.patch(&env.namespace, &PatchParams::default(), &label).await.unwrap();
    env.wait_for_reason("release", Reason::Delivered).await;
    assert_eq!(account.ledger().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_continues_when_its_target_appears_and_when_sts_confirms_it() {
    let site = Site::new().await;
    let env = &site.env;
    let account = env.codepipeline.in_account(ONE, REGION);
    let approval = account.open_approval("shop", "Prod", "Approve").unwrap();
    env.codepipeline.put_role(Role::new(&role_arn(ONE)).unwrap().external_id("approvals-1"));
    let _operator = env.operator().start();
    env.create("release", through("production", spec("shop", &approval))).await;
    let missing = env.wait_for_reason("release", Reason::TargetNotFound).await;
    assert!(message(&missing).contains("production"), "{}", message(&missing));
    site.create_as("production", &site.spec(ONE)).await;
    let denied = site.wait_for("production", "AssumeRoleDenied").await;
    assert!(denied.contains("sts:AssumeRole") && denied.contains(&role_arn(ONE)), "{denied}");
    let waiting = env.wait_for_reason("release", Reason::TargetNotReady).await;
    assert!(message(&waiting).contains("sts:AssumeRole"), "{}", message(&waiting));
    site.patch("production", json!({ "externalId": "approvals-1" })).await;
    site.wait_for("production", "Verified").await;
    env.wait_for_reason("release", Reason::Delivered).await;
    assert_eq!(account.ledger().len(), 1);
    let caller_arn = async || site.targets.get("production").await.unwrap().status.unwrap().caller_arn;
    assert!(caller_arn().await.is_some());
    site.patch("production", json!({ "externalId": "approvals-2" })).await;
    site.wait_for("production", "AssumeRoleDenied").await;
    assert_eq!(caller_arn().await, None, "the operator is nobody there");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_that_may_not_list_targets_submits_nothing_and_says_so() {
    let site = Site::new().await;
    let env = &site.env;
    let approval = env.open_approval("shop");
    let kubeconfig = site.kubeconfig_without_targets();
    let operator = env.operator_via(&kubeconfig).start();
    env.create("release", spec("shop", &approval)).await;
    let refused = env.wait_for_reason("release", Reason::TargetNotReady).await;
    assert!(message(&refused).contains("--approval-targets=false"), "{}", message(&refused));
    assert_eq!(env.accepted_count("shop"), 0);
    drop(operator);
    let _operator = env.operator_via(&kubeconfig).arg("--approval-targets=false").start();
    env.wait_for_reason("release", Reason::Delivered).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejection_counts_while_the_labels_that_would_admit_it_cannot_be_read() {
    let site = Site::new().await;
    let env = &site.env;
    let account = env.codepipeline.in_account(ONE, REGION);
    let approval = account.open_approval("shop", "Prod", "Approve").unwrap();
    site.create("production", ONE).await;
    let labels = json!({ "selector": { "matchLabels": { "team": "web" } } });
    let access = json!([
        { "namespaces": { "names": [env.namespace] }, "pipelines": ["*"], "results": ["Approved"] },
        { "namespaces": labels, "pipelines": ["*"], "results": ["Rejected"] },
    ]);
    site.patch("production", json!({ "access": access })).await;
    let _operator = env.operator_via(&site.kubeconfig_without_labels()).start();
    let mut rejection = spec("shop", &approval);
    rejection.result.status = ApprovalStatus::Rejected;
    env.create("veto", through("production", rejection)).await;
    let veto = env.wait_for_reason("veto", Reason::TargetNotReady).await;
    assert!(message(&veto).contains("list and watch namespaces"), "{}", message(&veto));
    env.create("release", through("production", spec("shop", &approval))).await;
    env.wait_for_reason("release", Reason::ConflictingDecision).await;
    assert_eq!(account.ledger().len(), 0);
    // Without the rejection, the entry that names the namespace is enough.
    env.decisions.delete("veto", &DeleteParams::default()).await.unwrap();
    env.wait_for_reason("release", Reason::Delivered).await;
}
