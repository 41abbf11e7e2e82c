//! Every reason that a decision with a token can reach, and every way in which the response to a submission can be lost.

use approval_operator::api::conditions::ConditionStatus;
use approval_operator::api::v1alpha1::{ApprovalDecision, ApprovalStatus, REQUESTED_AT, Reason, Submission};
use jiff::Timestamp;
use local_codepipeline::api::{ApprovalStatus as ResultStatus, Operation};
use local_codepipeline::faults::Fault;
use local_codepipeline::model::Outcome;
use serde_json::json;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Duration;
use test_support::{TestEnv, message, pipeline_with_build, ready, spec};

const BOB: &str = "arn:aws:iam::123456789012:user/bob";

fn attempts(decision: &ApprovalDecision) -> i64 {
    let submission = decision.status.as_ref().and_then(|status| status.submission.as_ref());
    submission.map_or(0, |Submission { attempts, .. }| *attempts)
}

fn approved_at(decision: &ApprovalDecision) -> Option<Timestamp> {
    decision.status.as_ref().and_then(|status| status.approved_at)
}

fn exception(decision: &ApprovalDecision) -> Option<&str> {
    decision.status.as_ref()?.exception.as_ref().map(|exception| exception.r#type.as_str())
}

/// When CodePipeline accepted the submission to a pipeline, from the ledger.
fn accepted_at(env: &TestEnv, pipeline: &str) -> Option<Timestamp> {
    env.codepipeline.ledger_for(pipeline).iter().find_map(|entry| match entry.outcome {
        Outcome::Accepted { approved_at, .. } => Some(approved_at),
        Outcome::Refused(_) | Outcome::NotApplied => None,
    })
}

fn close(left: Option<Timestamp>, right: Option<Timestamp>) -> bool {
    left.zip(right).is_some_and(|(left, right)| left.duration_since(right).abs().as_millis() <= 2)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_and_a_rejection_are_delivered_with_the_time_of_codepipeline() {
    let env = TestEnv::new().await;
    let _operator = env.operator().start();
    env.open_and_approve("approved").await;
    let mut rejection = spec("rejected", &env.open_approval("rejected"));
    rejection.result.status = ApprovalStatus::Rejected;
    env.create("rejected", rejection).await;
    for (pipeline, status) in [("approved", "Approved"), ("rejected", "Rejected")] {
        let decision = env.wait_for_reason(pipeline, Reason::Delivered).await;
        assert_eq!(ready(&decision), Some(ConditionStatus::True));
        assert!(close(approved_at(&decision), accepted_at(&env, pipeline)), "{pipeline}: {:?}", decision.status);
        let ledger = env.codepipeline.ledger_for(pipeline);
        let [entry] = ledger.as_slice() else { panic!("{ledger:#?}") };
        assert_eq!((entry.status.as_str(), entry.summary.as_str()), (status, format!("for {pipeline}").as_str()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_final_and_keeps_the_exception_of_codepipeline() {
    let env = TestEnv::new().await;
    let open = env.open_approval("web");
    let other = env.open_approval("other");
    env.codepipeline.inject(
        Fault::error(400, "ValidationException", "1 validation error detected: Value at 'x' failed")
            .pipeline("invalid"),
    );
    let mut no_stage = spec("web", &open);
    no_stage.stage_name = "Nowhere".to_owned();
    let mut no_action = spec("web", &open);
    no_action.action_name = "Nothing".to_owned();
    env.put_pipeline(pipeline_with_build("build"));
    let execution = env.start_execution("build", "v1");
    env.complete_build("build", execution, true);
    let mut no_approval = spec("build", &env.pending_approvals("build")[0]);
    (no_approval.stage_name, no_approval.action_name) = ("Build".to_owned(), "Compile".to_owned());
    // The stage is added between the result and the read.
    let corrected = env.open_approval("corrected");
    env.codepipeline.inject(
        Fault::error(400, "StageNotFoundException", "no such stage")
            .on(Operation::PutApprovalResult)
            .pipeline("corrected"),
    );
    let secret = env.open_approval("secret");
    env.codepipeline.inject(
        Fault::error(400, "ActionNotFoundException", "no such approval")
            .on(Operation::PutApprovalResult)
            .pipeline("build"),
    );
    env.codepipeline.inject(
        Fault::error(400, "AccessDeniedException", "not authorized")
            .on(Operation::GetPipelineState)
            .pipeline("secret")
            .always(),
    );
    let mut unreadable = spec("secret", &secret);
    unreadable.stage_name = "Nowhere".to_owned();
    let rows = [
        ("token", spec("web", &other), Reason::InvalidApprovalToken, "InvalidApprovalTokenException", ""),
        ("pipeline", spec("none", &open), Reason::PipelineNotFound, "PipelineNotFoundException", ""),
        ("stage", no_stage, Reason::StageNotFound, "StageNotFoundException", "; its stages are Source, Prod. "),
        ("action", no_action, Reason::ActionNotFound, "ActionNotFoundException", "; the approval is Approve. "),
        ("build", no_approval, Reason::ActionNotFound, "ActionNotFoundException", "its category is Build; "),
        (
            "corrected",
            spec("corrected", &corrected),
            Reason::StageNotFound,
            "StageNotFoundException",
            " \"Approve\" now. ",
        ),
        ("unreadable", unreadable, Reason::StageNotFound, "StageNotFoundException", ""),
        ("invalid", spec("invalid", &open), Reason::ValidationFailed, "ValidationException", ""),
    ];
    for (name, spec, ..) in &rows {
        env.create(name, spec.clone()).await;
    }
    let _operator = env.operator().start();
    for (name, _, expected, raised, names) in rows {
        let decision = env.wait_for_reason(name, expected).await;
        assert_eq!(ready(&decision), Some(ConditionStatus::False), "{name}");
        assert_eq!(exception(&decision), Some(raised), "{name}");
        assert!(message(&decision).contains(names), "{name}: {}", message(&decision));
        assert!(decision.status.unwrap().conditions.iter().any(|condition| condition.r#type == "Stalled"), "{name}");
        // History may show why a token is not valid, and the pipeline has the right names.
        let is_read = !matches!(name, "pipeline" | "invalid");
        let events = if is_read { vec!["Unconfirmed", expected.as_str()] } else { vec![expected.as_str()] };
        env.wait_for_events(name, &events).await;
    }
    assert_eq!(env.accepted_count("web"), 0);
    env.patch("corrected", json!({ "metadata": { "annotations": { REQUESTED_AT: "now" } } })).await.unwrap();
    env.wait_for_reason("corrected", Reason::Delivered).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_summary_is_refused_and_the_token_stays_valid() {
    let env = TestEnv::new().await;
    let _operator = env.operator().start();
    let approval = env.codepipeline.with_service(|service, now| {
        let mut pipeline =
            local_codepipeline::model::PipelineDefinition::with_approval("web", "Prod", "Approve").unwrap();
        let action = &mut pipeline.stages[1].actions[0];
        action.configuration.insert("IsSummaryRequired".to_owned(), "true".to_owned());
        service.put_pipeline(now, pipeline).unwrap();
        service.open_approval(now, ("web", "Prod", "Approve"), &[]).unwrap()
    });
    let mut without_summary = spec("web", &approval);
    without_summary.result.summary = String::new();
    env.create("web", without_summary).await;
    env.wait_for_reason("web", Reason::InvalidApprovalToken).await;
    env.patch("web", json!({ "spec": { "result": { "summary": "because" } } })).await.unwrap();
    env.wait_for_reason("web", Reason::Delivered).await;
    assert_eq!(env.accepted_count("web"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submission_that_was_not_applied_says_why_and_is_retried() {
    let env = TestEnv::new().await;
    let rows = [
        ("throttled", Fault::throttled(), Reason::Throttled),
        ("denied", Fault::access_denied(), Reason::AccessDenied),
        ("expired-token", Fault::expired_token(), Reason::CredentialsUnavailable),
        ("undeclared", Fault::error(400, "SomethingNewException", "new"), Reason::ServiceUnavailable),
    ];
    for (pipeline, fault, _) in &rows {
        env.codepipeline.inject(fault.clone().pipeline(*pipeline).always());
        env.open_and_approve(pipeline).await;
    }
    let _operator = env.operator().start();
    for (pipeline, _, expected) in &rows {
        let decision = env.wait_for_reason(pipeline, *expected).await;
        assert!(exception(&decision).is_some(), "{pipeline}");
        env.wait_for_submissions(pipeline, 2).await;
        env.codepipeline.clear_faults_for(pipeline);
    }
    for (pipeline, _, expected) in &rows {
        let decision = env.wait_for_reason(pipeline, Reason::Delivered).await;
        assert_eq!(exception(&decision), None, "{pipeline}");
        assert_eq!(env.accepted_count(pipeline), 1, "{pipeline}");
        env.wait_for_events(pipeline, &[expected.as_str(), "Delivered"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_outcome_of_a_lost_response_comes_from_history_and_is_never_submitted_twice() {
    let env = TestEnv::new().await;
    // The fault, and the number of attempts: if CodePipeline applied the first one, there must be no second.
    let rows = [
        ("cut-before", Fault::disconnect_before_applying(), 2),
        ("cut-after", Fault::disconnect_after_applying(), 1),
        ("hang-before", Fault::hang_before_applying(), 2),
        ("hang-after", Fault::hang_after_applying(), 1),
        ("not-json-before", Fault::not_json_before_applying(), 2),
        ("not-json-after", Fault::not_json_after_applying(), 1),
        ("500-before", Fault::internal_failure(), 2),
        ("500-after", Fault::internal_failure_after_applying(), 1),
        ("503-before", Fault::service_unavailable(), 2),
        ("late", Fault::delayed().delay_before(Duration::from_secs(2)), 1),
    ];
    for (pipeline, fault, _) in &rows {
        env.codepipeline.inject(fault.clone().on(Operation::PutApprovalResult).pipeline(*pipeline));
        env.open_and_approve(pipeline).await;
    }
    let operator = env.operator().start();
    for (pipeline, ..) in &rows {
        let decision = env.wait_for_reason(pipeline, Reason::Unconfirmed).await;
        assert_eq!(ready(&decision), Some(ConditionStatus::Unknown), "{pipeline}");
    }
    for (pipeline, _, expected) in &rows {
        let decision = env.wait_for_reason(pipeline, Reason::Delivered).await;
        assert_eq!(attempts(&decision), *expected, "{pipeline}");
        assert!(close(approved_at(&decision), accepted_at(&env, pipeline)), "{pipeline}: {:?}", decision.status);
        assert_eq!(env.accepted_count(pipeline), 1, "{pipeline}");
        env.wait_for_events(pipeline, &["Unconfirmed", "Delivered"]).await;
        if *expected == 1 {
            let by = decision.status.unwrap().decided_by;
            assert!(by.as_deref().is_some_and(|by| by.ends_with("/OPERATOR")), "{pipeline}: {by:?}");
        }
        let requests = env.codepipeline.request_count_for(Operation::PutApprovalResult, pipeline);
        assert_eq!(requests, expected.unsigned_abs(), "{pipeline}: one POST per attempt\n{}", operator.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_refusal_is_resubmitted_after_history_would_have_shown_an_acceptance() {
    let env = TestEnv::new().await;
    env.open_approval("web");
    let stale = env.open_approval("other");
    let put = Operation::PutApprovalResult;
    env.codepipeline.inject(Fault::disconnect_after_applying().on(put).pipeline("web"));
    env.create("web", spec("web", &stale)).await;
    let _operator = env.operator().start();
    env.wait_for_reason("web", Reason::Unconfirmed).await;
    let decision = env.wait_for_reason("web", Reason::InvalidApprovalToken).await;
    assert_eq!(
        (attempts(&decision), env.codepipeline.request_count_for(put, "web"), env.accepted_count("web")),
        (2, 2, 0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_success_without_approved_at_is_a_success() {
    let env = TestEnv::new().await;
    env.codepipeline.inject(Fault::without_approved_at());
    env.open_and_approve("web").await;
    let _operator = env.operator().start();
    let decision = env.wait_for_reason("web", Reason::Delivered).await;
    assert_eq!((approved_at(&decision), attempts(&decision), env.accepted_count("web")), (None, 1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submission_is_retried_while_codepipeline_refuses_connections() {
    let mut env = TestEnv::new().await;
    let approval = env.open_and_approve("web").await;
    let address = env.codepipeline.address();
    let service = env.codepipeline.with_service(|service, _| service.clone());
    let sts = local_codepipeline::LocalCodePipeline::start(local_codepipeline::Settings::default()).await.unwrap();
    let operator = env.operator().env("AWS_ENDPOINT_URL_STS", &sts.url());
    let elsewhere = local_codepipeline::Settings::default();
    drop(std::mem::replace(
        &mut env.codepipeline,
        local_codepipeline::LocalCodePipeline::start(elsewhere).await.unwrap(),
    ));
    let _operator = operator.start();
    let decision = env.wait_for_reason("web", Reason::ServiceUnavailable).await;
    assert_eq!(exception(&decision), None);
    env.codepipeline = local_codepipeline::LocalCodePipeline::serve(address, service).await.unwrap();
    let decision = env.wait_for_reason("web", Reason::Delivered).await;
    assert!(attempts(&decision) > 1, "{:?}", decision.status);
    assert_eq!(env.codepipeline.ledger()[0].token, approval.token.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_for_a_completed_approval_is_settled_from_history() {
    let env = TestEnv::new().await;
    let at = |pipeline| (pipeline, "Prod", "Approve");
    let respond = |pipeline, status| {
        let approval = env.open_approval(pipeline);
        env.codepipeline.respond_as(BOB, at(pipeline), approval.token, status, "bob's summary").unwrap();
        approval
    };
    // The next execution has reached the action, so only history shows the previous one.
    let superseded = |pipeline: &'static str, status| {
        let approval = respond(pipeline, status);
        env.open_approval(pipeline);
        let completed = Fault::error(400, "ApprovalAlreadyCompletedException", "The approval is already complete");
        env.codepipeline.inject(completed.on(Operation::PutApprovalResult).pipeline(pipeline));
        approval
    };
    let timed_out = env.open_approval("timed-out");
    env.codepipeline.advance_clock(Duration::from_hours(8 * 24));
    let rows = [
        ("same", respond("same", ResultStatus::Approved), Reason::AlreadyDecided, Some(BOB)),
        ("other", respond("other", ResultStatus::Rejected), Reason::ApprovalAlreadyCompleted, Some(BOB)),
        ("timed-out", timed_out, Reason::ApprovalAlreadyCompleted, None),
        ("previous", superseded("previous", ResultStatus::Approved), Reason::AlreadyDecided, Some(BOB)),
        (
            "previous-other",
            superseded("previous-other", ResultStatus::Rejected),
            Reason::ApprovalAlreadyCompleted,
            Some(BOB),
        ),
    ];
    for (pipeline, approval, ..) in &rows {
        env.create(pipeline, spec(pipeline, approval)).await;
    }
    let _operator = env.operator().start();
    for (pipeline, _, expected, by) in rows {
        let decision = env.wait_for_reason(pipeline, expected).await;
        assert_eq!(exception(&decision), Some("ApprovalAlreadyCompletedException"), "{pipeline}");
        assert_eq!(decision.status.unwrap().decided_by.as_deref(), by, "{pipeline}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_response_is_found_in_a_lagging_history_after_the_next_execution_arrived() {
    let env = TestEnv::new().await;
    env.codepipeline.with_service(|service, _| {
        let mut behaviour = service.behaviour().clone();
        behaviour.lags.decision = jiff::SignedDuration::from_secs(9);
        service.set_behaviour(behaviour);
    });
    env.codepipeline.inject(Fault::disconnect_after_applying().on(Operation::PutApprovalResult));
    let approval = env.open_and_approve("web").await;
    let _operator = env.operator().start();
    env.wait_for_reason("web", Reason::Unconfirmed).await;
    let next = env.open_approval("web");
    let decision = env.wait_for_reason("web", Reason::Delivered).await;
    let status = decision.status.as_ref().unwrap();
    assert_eq!(status.pipeline_execution_id, Some(approval.pipeline_execution_id.to_string()));
    assert_eq!(status.action_execution_id, Some(approval.action_execution_id.to_string()));
    assert!(close(status.approved_at, accepted_at(&env, "web")), "{status:?}");
    assert_eq!(env.accepted_count("web"), 1, "the next execution still waits for a response");
    let pending = env.codepipeline.with_service(|service, now| service.pending_approvals(now, "web").unwrap());
    assert_eq!(pending[0].approval, next);
}

#[tokio::test(flavor = "multi_thread")]
async fn codepipeline_accepts_one_of_several_decisions_for_a_request() {
    let env = TestEnv::new().await;
    let approval = env.open_approval("web");
    let mut rejection = spec("web", &approval);
    rejection.result.status = ApprovalStatus::Rejected;
    env.create("first", spec("web", &approval)).await;
    let _operator = env.operator().start();
    env.wait_for_reason("first", Reason::Delivered).await;
    env.create("same", spec("web", &approval)).await;
    env.create("other", rejection).await;
    env.wait_for_reason("same", Reason::AlreadyDecided).await;
    env.wait_for_reason("other", Reason::ApprovalAlreadyCompleted).await;
    assert_eq!(env.accepted_count("web"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_success_response_is_unconfirmed() {
    let env = TestEnv::new().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(axum::serve(listener, axum::Router::new().fallback(async || {})).into_future());
    env.open_and_approve("web").await;
    let _operator = env.operator().env("AWS_ENDPOINT_URL_CODEPIPELINE", &url).start();
    env.wait_for_reason("web", Reason::Unconfirmed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submission_was_not_applied_if_the_connection_cannot_be_opened() {
    let env = TestEnv::new().await;
    env.open_and_approve("web").await;
    // The listener accepts no connections: when its queue is full, a new connection hangs.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(200)).ok();
    let queue: Vec<_> = std::iter::from_fn(connect).collect();
    let _operator = env.operator().env("AWS_ENDPOINT_URL_CODEPIPELINE", &format!("http://{address}")).start();
    let decision = env.wait_for_reason("web", Reason::ServiceUnavailable).await;
    assert!(message(&decision).contains("no connection to CodePipeline at "), "{}", message(&decision));
    drop(queue);
}
