//! Decisions without a target, while the operator's own credentials change to those of another account.

use super::site::{ONE, OWN, Site, through};
use approval_operator::api::v1alpha1::{ApprovalDecisionSpec, Reason, UserTime};
use jiff::{SignedDuration, Timestamp};
use local_codepipeline::api::{ApprovalStatus as ResultStatus, PutApprovalResultInput};
use local_codepipeline::model::{Name, Service, SourceRevision};
use serde_json::json;
use test_support::{MountedSecret, for_revision, message, pipeline_with_build, spec};

/// The operator's credentials are those of its own account first, then those of the target's account, then those of its own again.
#[tokio::test(flavor = "multi_thread")]
async fn other_credentials_of_the_operator_wake_the_decisions_without_a_target() {
    let site = Site::new().await;
    let env = &site.env;
    let (first, second, third) = ("FIRST".to_owned(), format!("SECOND@{ONE}"), "THIRD".to_owned());
    let secret = MountedSecret::new(&first);
    let account = env.codepipeline.in_account(ONE, OWN.1);
    let pipelines = ["one", "two"].map(|name| account.open_approval(name, "Prod", "Approve").unwrap());
    let mut target = site.spec(ONE);
    target["region"] = json!(OWN.1);
    target.as_object_mut().unwrap().remove("roleArn");
    site.create_as("production", &target).await;
    env.put_pipeline(pipeline_with_build("shop"));
    let approval = env.open_approval("web");
    // A poll does not show it in time.
    let _operator = env.operator().arg("--poll-interval=1h").arg(&secret.argument()).start();
    env.create("waiting", for_revision("shop", "main")).await;
    env.wait_for_reason("waiting", Reason::Waiting).await;

    secret.set("AWS_ACCESS_KEY_ID", &second);
    env.codepipeline.refuse_access_key(first);
    env.create("other", spec("web", &approval)).await;
    let required = env.wait_for_reason("waiting", Reason::TargetRequired).await;
    assert!(message(&required).contains("production"), "{}", message(&required));
    env.wait_for_reason("other", Reason::TargetRequired).await;
    site.wait_for("production", "Verified").await;
    env.create("one", through("production", spec("one", &pipelines[0]))).await;
    env.wait_for_reason("one", Reason::Delivered).await;

    secret.set("AWS_ACCESS_KEY_ID", &third);
    env.codepipeline.refuse_access_key(second);
    // Its call fails, so STS is asked who the operator is.
    env.create("two", through("production", spec("two", &pipelines[1]))).await;
    env.wait_for_reason("waiting", Reason::Waiting).await;
    env.wait_for_reason("other", Reason::Delivered).await;
    site.wait_for("production", "WrongAccount").await;
    assert_eq!((env.accepted_count("web"), account.ledger().len()), (1, 1));
}

/// The operator's credentials become those of another account, which has a pipeline of the same name with an execution of the same
/// revision, and more executions than a page.
#[tokio::test(flavor = "multi_thread")]
async fn a_response_that_was_read_in_the_former_account_settles_no_decision_in_the_new_one() {
    let site = Site::new().await;
    let env = &site.env;
    let (first, second) = ("FIRST".to_owned(), format!("SECOND@{ONE}"));
    let secret = MountedSecret::new(&first);
    let at = ("shop", "Prod", "Approve");
    let main = [SourceRevision { action_name: Name::new("Source").unwrap(), revision_id: Some("main".to_owned()) }];
    let open = |service: &mut Service, time| service.open_approval(time, at, &main).unwrap();
    let rejected = env.codepipeline.with_service(open);
    env.respond_as_bob("shop", &rejected, ResultStatus::Rejected);
    let account = env.codepipeline.in_account(ONE, OWN.1);
    account.with_service(|service, now| {
        for number in 0..101 {
            let time = now - SignedDuration::from_secs(3600 - number);
            let token = service.open_approval(time, at, &[]).unwrap().token;
            let input = PutApprovalResultInput::new(at.0, at.1, at.2, token, ResultStatus::Approved, "");
            service.put_approval_result(time, "arn:aws:iam::111111111111:user/eve", &input).unwrap();
        }
    });
    account.with_service(open);
    let _operator = env.operator().arg(&secret.argument()).start();
    let waiting = ApprovalDecisionSpec {
        ignore_responses_before: Some(UserTime(Timestamp::now().to_string())),
        ..for_revision("shop", "main")
    };
    env.create("waiting", waiting).await;
    env.wait_for_message("waiting", &rejected.pipeline_execution_id.to_string()).await;

    secret.set("AWS_ACCESS_KEY_ID", &second);
    env.codepipeline.refuse_access_key(first);
    env.wait_for_reason("waiting", Reason::TargetForbidden).await;
    env.create("release", for_revision("shop", "main")).await;
    env.wait_for_reason("release", Reason::Delivered).await;
    assert_eq!(account.ledger().len(), 102);
}
