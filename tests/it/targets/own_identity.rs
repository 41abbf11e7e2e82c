//! Decisions without a target, while the operator's own credentials change to those of another account.

use super::site::{ONE, OWN, Site, through};
use approval_operator::api::v1alpha1::Reason;
use serde_json::json;
use test_support::{for_revision, message, pipeline_with_build, spec};

/// The operator's credentials are those of its own account first, then those of the target's account, then those of its own again.
#[tokio::test(flavor = "multi_thread")]
async fn other_credentials_of_the_operator_wake_the_decisions_without_a_target() {
    let site = Site::new().await;
    let env = &site.env;
    let secret = tempfile::tempdir().unwrap();
    let set_key = |key: &str| std::fs::write(secret.path().join("AWS_ACCESS_KEY_ID"), key).unwrap();
    let (first, second, third) = ("FIRST".to_owned(), format!("SECOND@{ONE}"), "THIRD".to_owned());
    set_key(&first);
    std::fs::write(secret.path().join("AWS_SECRET_ACCESS_KEY"), "secret").unwrap();
    let account = env.codepipeline.in_account(ONE, OWN.1);
    let pipelines = ["one", "two"].map(|name| account.open_approval(name, "Prod", "Approve").unwrap());
    let mut target = site.spec(ONE);
    target["region"] = json!(OWN.1);
    target.as_object_mut().unwrap().remove("roleArn");
    site.create_as("production", &target).await;
    env.put_pipeline(pipeline_with_build("shop"));
    let approval = env.open_approval("web");
    // A poll does not show it in time.
    let _operator = env
        .operator()
        .arg("--poll-interval=1h")
        .arg(&format!("--aws-credentials-dir={}", secret.path().display()))
        .start();
    env.create("waiting", for_revision("shop", "main")).await;
    env.wait_for_reason("waiting", Reason::Waiting).await;

    set_key(&second);
    env.codepipeline.refuse_access_key(first);
    env.create("other", spec("web", &approval)).await;
    let required = env.wait_for_reason("waiting", Reason::TargetRequired).await;
    assert!(message(&required).contains("production"), "{}", message(&required));
    env.wait_for_reason("other", Reason::TargetRequired).await;
    site.wait_for("production", "Verified").await;
    env.create("one", through("production", spec("one", &pipelines[0]))).await;
    env.wait_for_reason("one", Reason::Delivered).await;

    set_key(&third);
    env.codepipeline.refuse_access_key(second);
    // Its call fails, so STS is asked who the operator is.
    env.create("two", through("production", spec("two", &pipelines[1]))).await;
    env.wait_for_reason("waiting", Reason::Waiting).await;
    env.wait_for_reason("other", Reason::Delivered).await;
    site.wait_for("production", "WrongAccount").await;
    assert_eq!((env.accepted_count("web"), account.ledger().len()), (1, 1));
}
