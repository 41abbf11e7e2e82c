//! Where a decision goes: to the account and region of its target, as the session that is named after it, and never elsewhere.

use super::site::{ONE, OWN, REGION, Site, TWO, through};
use approval_operator::api::conditions::ConditionStatus;
use approval_operator::api::v1alpha1::{ApprovalDecision, ApprovalDecisionSpec, Reason, TargetRef};
use approval_operator::codepipeline::SessionName;
use kube::ResourceExt;
use local_codepipeline::api::Operation;
use local_codepipeline::faults::Fault;
use serde_json::json;
use test_support::{for_revision, message, pipeline_with_build, ready, reason, spec};

const AT: (&str, &str) = ("Prod", "Approve");

#[tokio::test(flavor = "multi_thread")]
async fn pipelines_of_the_same_name_in_two_accounts_are_told_apart_and_the_session_names_the_decision() {
    let site = Site::new().await;
    let env = &site.env;
    let accounts = [ONE, TWO].map(|account| env.codepipeline.in_account(account, REGION));
    let approvals = accounts.each_ref().map(|account| account.open_approval("shop", AT.0, AT.1).unwrap());
    site.create("one", ONE).await;
    site.create("two", TWO).await;
    let operator = env.operator().start();
    let message = site.wait_for("two", "Verified").await;
    assert!(message.contains(&format!("arn:aws:sts::{TWO}:assumed-role/approvals/approval-operator")), "{message}");
    env.create("release", through("two", spec("shop", &approvals[1]))).await;
    let decision = env.wait_for_reason("release", Reason::Delivered).await;
    assert_eq!(accounts.each_ref().map(|account| account.ledger().len()), [0, 1]);
    assert_eq!(accounts[0].request_count(Operation::GetPipelineState), 0);
    let session = SessionName::of(&env.namespace, "release", &decision.uid().unwrap());
    let caller = format!("arn:aws:sts::{TWO}:assumed-role/approvals/{session}");
    assert_eq!(accounts[1].ledger()[0].caller, caller);
    let status = decision.status.unwrap();
    assert_eq!((status.account_id.as_deref(), status.region.as_deref()), (Some(TWO), Some(REGION)));
    let submission = status.submission.unwrap();
    assert_eq!((submission.target.as_deref(), submission.account_id.as_str()), (Some("two"), TWO));
    assert!((operator.metric(r#"approval_operator_target_ready{target="two"}"#).await - 1.0).abs() < 0.1);

    // A settled decision is not submitted again elsewhere, and an edit of the target is acted on.
    env.patch("release", json!({ "spec": { "targetRef": { "name": "one" }, "token": approvals[0].token } }))
        .await
        .unwrap();
    env.wait_until("release", "the other account", |decision| {
        decision.status.as_ref().is_some_and(|status| status.account_id.as_deref() == Some(ONE))
            && reason(decision) == Some(Reason::Delivered)
    })
    .await;
    assert_eq!(accounts.each_ref().map(|account| account.ledger().len()), [1, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_is_created_again_elsewhere_does_not_move_a_waiting_decision() {
    let site = Site::new().await;
    let env = &site.env;
    let [one, two] = [ONE, TWO].map(|account| env.codepipeline.in_account(account, REGION));
    for account in [&one, &two] {
        let pipeline = pipeline_with_build("shop");
        account.with_service(|service, now| service.put_pipeline(now, pipeline).unwrap());
    }
    site.create("production", ONE).await;
    let _operator = env.operator().start();
    env.create("release", through("production", for_revision("shop", "main"))).await;
    env.wait_until("release", "an account", |decision| {
        decision.status.as_ref().is_some_and(|status| status.account_id.as_deref() == Some(ONE))
    })
    .await;
    site.delete("production").await;
    env.wait_for_reason("release", Reason::TargetNotFound).await;
    site.create("production", TWO).await;
    let forbidden = env.wait_for_reason("release", Reason::TargetForbidden).await;
    for expected in [ONE, TWO] {
        assert!(message(&forbidden).contains(expected), "{}", message(&forbidden));
    }
    assert_eq!(two.request_count(Operation::GetPipelineState), 0);
    // Its author means the new account.
    env.patch("release", json!({ "metadata": { "annotations": { "codepipeline.approvals.dev/requestedAt": "now" } } }))
        .await
        .unwrap();
    env.wait_until("release", "the new account", |decision| {
        decision.status.as_ref().is_some_and(|status| status.account_id.as_deref() == Some(TWO))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guards_of_a_reference_must_equal_what_the_target_has() {
    let site = Site::new().await;
    let env = &site.env;
    let account = env.codepipeline.in_account(ONE, REGION);
    let approval = account.open_approval("shop", AT.0, AT.1).unwrap();
    site.create("production", ONE).await;
    let _operator = env.operator().start();
    for (name, account_id, region, field) in [
        ("other-account", Some(TWO), None, "accountId"),
        ("other-region", Some(ONE), Some("eu-west-1"), "region"),
        ("same", Some(ONE), Some(REGION), ""),
    ] {
        let guarded = TargetRef {
            name: "production".to_owned(),
            account_id: account_id.map(str::to_owned),
            region: region.map(str::to_owned),
        };
        env.create(name, ApprovalDecisionSpec { target_ref: Some(guarded), ..spec("shop", &approval) }).await;
        if field.is_empty() {
            env.wait_for_reason(name, Reason::Delivered).await;
        } else {
            let forbidden = env.wait_for_reason(name, Reason::TargetForbidden).await;
            assert!(message(&forbidden).contains(field), "{}", message(&forbidden));
            assert_eq!(account.ledger().len(), 0);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submission_in_doubt_is_settled_in_its_own_account_once_its_target_is_back() {
    let site = Site::new().await;
    let env = &site.env;
    let [one, two] = [ONE, TWO].map(|account| env.codepipeline.in_account(account, REGION));
    let approval = one.open_approval("shop", AT.0, AT.1).unwrap();
    two.open_approval("shop", AT.0, AT.1).unwrap();
    site.create("production", ONE).await;
    let _operator = env.operator().start();
    site.wait_for("production", "Verified").await;
    one.inject(Fault::disconnect_after_applying().on(Operation::PutApprovalResult).always());
    env.create("release", through("production", spec("shop", &approval))).await;
    env.wait_for_reason("release", Reason::Unconfirmed).await;
    site.delete("production").await;
    site.create("production", TWO).await;
    let unconfirmed = env.wait_for_message("release", TWO).await;
    assert_eq!(reason(&unconfirmed), Some(Reason::Unconfirmed), "{}", message(&unconfirmed));
    assert_eq!(two.request_count(Operation::GetPipelineState), 0, "recovery never reads another account");
    site.delete("production").await;
    site.create("production", ONE).await;
    let delivered = env.wait_for_reason("release", Reason::Delivered).await;
    let decided_by = delivered.status.unwrap().decided_by.unwrap();
    assert!(decided_by.starts_with(&format!("arn:aws:sts::{ONE}:assumed-role/approvals/")), "{decided_by}");
    assert_eq!((one.ledger().len(), two.ledger().len()), (1, 0));
}

/// Without a target, the operator's own identity is used, unless an administrator has a target for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_target_of_the_operators_own_account_must_be_named() {
    let site = Site::new().await;
    let env = &site.env;
    let approval = env.open_approval("shop");
    let mut own = site.spec(OWN.0);
    own["region"] = json!(OWN.1);
    own.as_object_mut().unwrap().remove("roleArn");
    site.create_as("own", &own).await;
    let _operator = env.operator().start();
    env.create("release", spec("shop", &approval)).await;
    let required = env.wait_for_reason("release", Reason::TargetRequired).await;
    assert!(message(&required).contains("own"), "{}", message(&required));
    assert_eq!(env.accepted_count("shop"), 0);
    env.patch("release", json!({ "spec": { "targetRef": { "name": "own" } } })).await.unwrap();
    env.wait_for_reason("release", Reason::Delivered).await;
    // The rule ends with the target.
    let second = env.open_approval("web");
    env.create("second", spec("web", &second)).await;
    env.wait_for_reason("second", Reason::TargetRequired).await;
    site.delete("own").await;
    env.wait_for_reason("second", Reason::Delivered).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_ambient_credentials_every_decision_needs_a_target() {
    let site = Site::new().await;
    let env = &site.env;
    let approval = env.open_approval("shop");
    let _operator = env.operator().arg("--ambient-credentials=false").start();
    env.create("release", spec("shop", &approval)).await;
    let required = env.wait_for_reason("release", Reason::TargetRequired).await;
    assert!(message(&required).contains("--ambient-credentials"), "{}", message(&required));
    assert_eq!(env.codepipeline.request_count(Operation::PutApprovalResult), 0);
}

/// Two clusters send the same words to the same request at the same time, and both lose the response.
#[tokio::test(flavor = "multi_thread")]
async fn two_operators_with_the_same_words_say_truthfully_whose_result_was_accepted() {
    let (site, other) = (Site::new().await, Site::new().await);
    let account = site.env.codepipeline.in_account(ONE, REGION);
    let approval = account.open_approval("shop", AT.0, AT.1).unwrap();
    account.inject(Fault::disconnect_after_applying().on(Operation::PutApprovalResult).always());
    let endpoint = site.env.codepipeline.url();
    let mut operators = Vec::new();
    for site in [&site, &other] {
        site.create("production", ONE).await;
        operators.push(site.env.operator().env("AWS_ENDPOINT_URL", &endpoint).start());
        site.wait_for("production", "Verified").await;
    }
    for site in [&site, &other] {
        site.env.create("release", through("production", spec("shop", &approval))).await;
    }
    let mut found = Vec::new();
    for site in [&site, &other] {
        let is_settled = |decision: &ApprovalDecision| ready(decision) == Some(ConditionStatus::True);
        let decision = site.env.wait_until("release", "a settled state", is_settled).await;
        let status = decision.status.clone().unwrap();
        let session = SessionName::of(&site.env.namespace, "release", &decision.uid().unwrap());
        found.push((reason(&decision).unwrap(), status.decided_by.unwrap(), session));
    }
    found.sort_by_key(|(reason, ..)| *reason != Reason::Delivered);
    let [(first, by, session), (second, other_by, _)] = <[_; 2]>::try_from(found).unwrap();
    assert_eq!((first, second), (Reason::Delivered, Reason::AlreadyDecided));
    assert_eq!(by, format!("arn:aws:sts::{ONE}:assumed-role/approvals/{session}"));
    assert_eq!(other_by, by, "it names whose result it was");
    assert_eq!(account.ledger().iter().filter(|entry| entry.is_accepted()).count(), 1);
}
