//! The operator is killed and restarted: every result is submitted exactly once, and every status is correct.

use approval_operator::api::v1alpha1::Reason;
use kube::api::ListParams;
use local_codepipeline::api::Operation;
use local_codepipeline::faults::Fault;
use std::time::Duration;
use test_support::{Cluster, TestEnv, reason, spec};
use tokio::time::timeout;

const DECISIONS: usize = 120;

#[tokio::test(flavor = "multi_thread")]
async fn every_decision_is_accepted_once_when_the_operator_is_killed_repeatedly() {
    let env = TestEnv::new().await;
    // Slow enough that a kill hits submissions in flight, both before and after CodePipeline accepts them.
    env.codepipeline.inject(
        Fault::delayed().delay_before(Duration::from_millis(40)).delay_after(Duration::from_millis(40)).always(),
    );
    for number in 0..DECISIONS {
        env.open_and_approve(&format!("p{number}")).await;
    }
    for submissions in [5, 20, 35, 50, 70, 90] {
        let operator = env.operator().arg("--concurrency=8").start();
        let submitted = env.codepipeline.wait_for(|service, _| service.ledger().len() >= submissions);
        timeout(Duration::from_secs(60), submitted).await.unwrap_or_else(|_| panic!("{}", operator.log()));
        operator.kill();
    }
    let operator = env.operator().arg("--concurrency=8").start();
    for number in 0..DECISIONS {
        let pipeline = format!("p{number}");
        let decision =
            env.wait_until(&pipeline, "settled", |decision| reason(decision) == Some(Reason::Delivered)).await;
        assert_eq!(env.accepted_count(&pipeline), 1, "{pipeline}\n{}", operator.log());
        assert!(decision.status.unwrap().approved_at.is_some(), "{pipeline}");
    }
    // The test is only useful if some kills hit a submission in flight.
    let posts = env.codepipeline.request_count(Operation::PutApprovalResult);
    let decisions = env.decisions.list(&ListParams::default()).await.unwrap();
    let recovered = decisions.iter().filter(|decision| decision.status.as_ref().unwrap().decided_by.is_some()).count();
    assert!(recovered > 0, "no kill hit a submission in flight; {posts} requests");
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_finishes_the_submission_in_flight_and_starts_no_other() {
    let env = TestEnv::new().await;
    env.codepipeline.inject(Fault::delayed().delay_after(Duration::from_millis(500)));
    env.open_and_approve("in-flight").await;
    let mut operator = env.operator().start();
    env.wait_for_submissions("in-flight", 1).await;
    operator.signal("TERM");
    operator.wait_for_log("stopping").await;
    env.open_and_approve("new").await;
    assert!(operator.wait_for_exit().await.success(), "{}", operator.log());
    let decision = env.decisions.get("in-flight").await.unwrap();
    assert_eq!(reason(&decision), Some(Reason::Delivered), "{}", operator.log());
    assert_eq!(reason(&env.decisions.get("new").await.unwrap()), Some(Reason::Pending));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_is_written_after_the_api_server_restarts() {
    let mut cluster = Cluster::start();
    let env = TestEnv::in_cluster(&cluster).await;
    let late = Fault::delayed().delay_before(Duration::from_millis(500)).delay_after(Duration::from_millis(3000));
    env.codepipeline.inject(late.on(Operation::PutApprovalResult));
    env.open_and_approve("web").await;
    let operator = env.operator().arg("--aws-timeout=10s").start();
    let accepted = env.codepipeline.wait_for(|service, _| !service.ledger().is_empty());
    assert!(timeout(Duration::from_secs(60), accepted).await.is_ok(), "{}", operator.log());
    cluster.control_plane.stop_api_server();
    operator.wait_for_log("could not write the outcome of a submission").await;
    cluster.control_plane.start_api_server().unwrap();
    let decision = env.wait_for_reason("web", Reason::Delivered).await;
    assert_eq!(decision.status.unwrap().decided_by, None, "from the response, not from history");
    assert_eq!(env.codepipeline.request_count(Operation::PutApprovalResult), 1);
    assert_eq!(env.codepipeline.request_count(Operation::GetPipelineState), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_that_is_deleted_while_its_submission_is_in_flight_leaves_nothing_behind() {
    let env = TestEnv::new().await;
    env.codepipeline.inject(Fault::delayed().delay_after(Duration::from_millis(300)).pipeline("gone"));
    let approval = env.open_and_approve("gone").await;
    let operator = env.operator().start();
    env.wait_for_submissions("gone", 1).await;
    env.delete("gone").await;
    operator.wait_for_log("the decision was deleted during its reconcile").await;
    // A new decision with the same name finds that the request is already decided.
    env.create("gone", spec("gone", &approval)).await;
    env.wait_for_reason("gone", Reason::AlreadyDecided).await;
    assert_eq!(env.accepted_count("gone"), 1);
    env.open_and_approve("next").await;
    env.wait_for_reason("next", Reason::Delivered).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_response_of_a_pipeline_that_was_replaced_does_not_lock_its_decision_forever() {
    let env = TestEnv::new().await;
    let put = Operation::PutApprovalResult;
    env.codepipeline.inject(Fault::disconnect_before_applying().on(put).times(2));
    env.open_and_approve("web").await;
    let _operator = env.operator().start();
    // The second attempt follows a read of history, which shows the execution of the request.
    env.wait_for_submissions("web", 2).await;
    env.codepipeline.with_service(|service, now| service.delete_pipeline(now, "web").unwrap());
    env.open_approval("web");
    env.wait_for_reason("web", Reason::InvalidApprovalToken).await;
    assert_eq!(env.accepted_count("web"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_while_credentials_are_fetched_submits_nothing() {
    let env = TestEnv::new().await;
    let folder = tempfile::tempdir().unwrap();
    let [config, script, marker] = ["config", "credentials.sh", "fetching"].map(|name| folder.path().join(name));
    let credentials = r#"{"Version":1,"AccessKeyId":"SLOW","SecretAccessKey":"s"}"#;
    std::fs::write(&script, format!("touch {}; sleep 2; echo '{credentials}'", marker.display())).unwrap();
    let process = format!("credential_process = sh {}", script.display());
    std::fs::write(&config, format!("[default]\nregion = eu-west-1\n{process}\n")).unwrap();
    env.open_and_approve("web").await;
    let mut operator = env.operator().aws_config_file(&config).arg("--aws-timeout=10s").start();
    // Wait until the reconcile of the decision waits for the credentials too.
    let is_waiting =
        async || marker.exists() && operator.metric("approval_operator_reconciles_in_progress").await > 0.0;
    operator.eventually("it fetches credentials", is_waiting).await;
    operator.signal("TERM");
    assert!(operator.wait_for_exit().await.success(), "{}", operator.log());
    assert_eq!(env.codepipeline.request_count(Operation::PutApprovalResult), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submission_in_doubt_is_not_recovered_from_another_region() {
    let env = TestEnv::new().await;
    let put = Operation::PutApprovalResult;
    env.codepipeline.inject(Fault::disconnect_after_applying().on(put).pipeline("web"));
    env.open_and_approve("web").await;
    let operator = env.operator().start();
    env.wait_for_reason("web", Reason::Unconfirmed).await;
    operator.kill();
    let elsewhere = env.operator().env("AWS_REGION", "us-east-1").start();
    let expected = "it was sent to account 123456789012, region eu-west-1, and the operator now has credentials for another account";
    let decision = env.wait_for_message("web", expected).await;
    assert_eq!(reason(&decision), Some(Reason::Unconfirmed));
    elsewhere.kill();
    let _operator = env.operator().start();
    env.wait_for_reason("web", Reason::Delivered).await;
    assert_eq!(env.codepipeline.request_count_for(put, "web"), 1);
}
