//! Every row of the table of reasons that a decision with a token can reach, and every way in which an answer can fail to
//! come back.

use crate::support::{Case, message, ready, spec};
use approval_operator::api::conditions::ConditionStatus;
use approval_operator::api::v1alpha1::{ApprovalDecision, ApprovalStatus, Reason, Submission};
use jiff::Timestamp;
use local_codepipeline::api::{ApprovalStatus as Answer, Operation};
use local_codepipeline::faults::Fault;
use local_codepipeline::model::Outcome;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Duration;

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

/// What the ledger says of the accepted answer of a pipeline.
fn accepted_at(case: &Case, pipeline: &str) -> Option<Timestamp> {
    case.service.ledger_of(pipeline).iter().find_map(|entry| match entry.outcome {
        Outcome::Accepted { approved_at, .. } => Some(approved_at),
        Outcome::Refused(_) | Outcome::NotApplied => None,
    })
}

fn close(left: Option<Timestamp>, right: Option<Timestamp>) -> bool {
    left.zip(right).is_some_and(|(left, right)| left.duration_since(right).abs().as_millis() <= 2)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_and_a_rejection_are_delivered_with_the_services_time() {
    let case = Case::new().await;
    let _operator = case.operator().start();
    case.approve("approved").await;
    let mut rejection = spec("rejected", &case.open("rejected"));
    rejection.result.status = ApprovalStatus::Rejected;
    case.create("rejected", rejection).await;
    for (pipeline, status) in [("approved", "Approved"), ("rejected", "Rejected")] {
        let decision = case.until_reason(pipeline, Reason::Delivered).await;
        assert_eq!(ready(&decision), Some(ConditionStatus::True));
        assert!(close(approved_at(&decision), accepted_at(&case, pipeline)), "{pipeline}: {:?}", decision.status);
        let ledger = case.service.ledger_of(pipeline);
        let [entry] = ledger.as_slice() else { panic!("{ledger:#?}") };
        assert_eq!((entry.status.as_str(), entry.summary.as_str()), (status, format!("for {pipeline}").as_str()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_service_refuses_is_final_and_named_as_the_service_names_it() {
    let case = Case::new().await;
    let open = case.open("web");
    let other = case.open("other");
    case.service.fault(
        Fault::error(400, "ValidationException", "1 validation error detected: Value at 'x' failed")
            .pipeline("invalid"),
    );
    let mut no_stage = spec("web", &open);
    no_stage.stage_name = "Nowhere".to_owned();
    let mut no_action = spec("web", &open);
    no_action.action_name = "Nothing".to_owned();
    let rows = [
        ("token", spec("web", &other), Reason::InvalidApprovalToken, "InvalidApprovalTokenException"),
        ("pipeline", spec("none", &open), Reason::PipelineNotFound, "PipelineNotFoundException"),
        ("stage", no_stage, Reason::StageNotFound, "StageNotFoundException"),
        ("action", no_action, Reason::ActionNotFound, "ActionNotFoundException"),
        ("invalid", spec("invalid", &open), Reason::ValidationFailed, "ValidationException"),
    ];
    for (name, spec, ..) in &rows {
        case.create(name, spec.clone()).await;
    }
    let _operator = case.operator().start();
    for (name, _, expected, raised) in rows {
        let decision = case.until_reason(name, expected).await;
        assert_eq!(ready(&decision), Some(ConditionStatus::False), "{name}");
        assert_eq!(exception(&decision), Some(raised), "{name}");
        assert!(decision.status.unwrap().conditions.iter().any(|condition| condition.r#type == "Stalled"), "{name}");
        case.until_events(name, &[expected.as_str()]).await;
    }
    assert_eq!(case.accepted("web"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_summary_that_the_action_requires_is_asked_for_and_the_token_stays_good() {
    let case = Case::new().await;
    let _operator = case.operator().start();
    let approval = case.service.service(|service, now| {
        let mut pipeline =
            local_codepipeline::model::PipelineDefinition::with_approval("web", "Prod", "Approve").unwrap();
        let action = &mut pipeline.stages[1].actions[0];
        action.configuration.insert("IsSummaryRequired".to_owned(), "true".to_owned());
        service.put_pipeline(now, pipeline).unwrap();
        service.open_approval(now, ("web", "Prod", "Approve"), &[]).unwrap()
    });
    let mut silent = spec("web", &approval);
    silent.result.summary = String::new();
    case.create("web", silent).await;
    case.until_reason("web", Reason::InvalidApprovalToken).await;
    case.patch("web", serde_json::json!({ "spec": { "result": { "summary": "because" } } })).await.unwrap();
    case.until_reason("web", Reason::Delivered).await;
    assert_eq!(case.accepted("web"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_definitely_not_taken_says_why_and_is_sent_again() {
    let case = Case::new().await;
    let rows = [
        ("throttled", Fault::throttled(), Reason::Throttled),
        ("denied", Fault::access_denied(), Reason::AccessDenied),
        ("expired-token", Fault::expired_token(), Reason::CredentialsUnavailable),
        ("undeclared", Fault::error(400, "SomethingNewException", "new"), Reason::ServiceUnavailable),
    ];
    for (pipeline, fault, _) in &rows {
        case.service.fault(fault.clone().pipeline(*pipeline).always());
        case.approve(pipeline).await;
    }
    let _operator = case.operator().start();
    for (pipeline, _, expected) in &rows {
        let decision = case.until_reason(pipeline, *expected).await;
        assert!(exception(&decision).is_some(), "{pipeline}");
        case.until_asked(pipeline, 2).await;
        case.service.clear_faults_of(pipeline);
    }
    for (pipeline, _, expected) in &rows {
        let decision = case.until_reason(pipeline, Reason::Delivered).await;
        assert_eq!(exception(&decision), None, "{pipeline}");
        assert_eq!(case.accepted(pipeline), 1, "{pipeline}");
        case.until_events(pipeline, &[expected.as_str(), "Delivered"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_is_told_as_the_record_has_it_and_never_given_twice() {
    let case = Case::new().await;
    // The fault, and how many attempts it takes: where the first was applied, a second would be one too many.
    let rows = [
        ("cut-before", Fault::cut_before_applying(), 2),
        ("cut-after", Fault::cut_after_applying(), 1),
        ("hang-before", Fault::hang_before_applying(), 2),
        ("hang-after", Fault::hang_after_applying(), 1),
        ("not-json-before", Fault::not_json_before_applying(), 2),
        ("not-json-after", Fault::not_json_after_applying(), 1),
        ("500-before", Fault::internal_failure(), 2),
        ("500-after", Fault::internal_failure_after_applying(), 1),
        ("503-before", Fault::unavailable(), 2),
        ("late", Fault::late().delay_before(Duration::from_secs(2)), 1),
    ];
    for (pipeline, fault, _) in &rows {
        case.service.fault(fault.clone().on(Operation::PutApprovalResult).pipeline(*pipeline));
        case.approve(pipeline).await;
    }
    let operator = case.operator().start();
    for (pipeline, ..) in &rows {
        let decision = case.until_reason(pipeline, Reason::Unconfirmed).await;
        assert_eq!(ready(&decision), Some(ConditionStatus::Unknown), "{pipeline}");
        let edit = serde_json::json!({ "spec": { "result": { "status": "Rejected" } } });
        let refused = case.patch(pipeline, edit).await.unwrap_err().to_string();
        assert!(refused.contains("spec cannot change while an answer is under way"), "{pipeline}: {refused}");
    }
    for (pipeline, _, expected) in &rows {
        let decision = case.until_reason(pipeline, Reason::Delivered).await;
        assert_eq!(attempts(&decision), *expected, "{pipeline}");
        assert!(close(approved_at(&decision), accepted_at(&case, pipeline)), "{pipeline}: {:?}", decision.status);
        assert_eq!(case.accepted(pipeline), 1, "{pipeline}");
        case.until_events(pipeline, &["Unconfirmed", "Delivered"]).await;
        if *expected == 1 {
            let by = decision.status.unwrap().decided_by;
            assert!(by.as_deref().is_some_and(|by| by.ends_with("/OPERATOR")), "{pipeline}: {by:?}");
        }
        let requests = case.service.requests_of(Operation::PutApprovalResult, pipeline);
        assert_eq!(requests, expected.unsigned_abs(), "{pipeline}: one POST an attempt\n{}", operator.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_that_was_lost_is_asked_for_again_once_the_history_must_have_shown_an_acceptance() {
    let case = Case::new().await;
    case.open("web");
    let stale = case.open("other");
    let put = Operation::PutApprovalResult;
    case.service.fault(Fault::cut_after_applying().on(put).pipeline("web"));
    case.create("web", spec("web", &stale)).await;
    let _operator = case.operator().start();
    case.until_reason("web", Reason::Unconfirmed).await;
    let decision = case.until_reason("web", Reason::InvalidApprovalToken).await;
    assert_eq!((attempts(&decision), case.service.requests_of(put, "web"), case.accepted("web")), (2, 2, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_success_that_does_not_say_when_is_a_success() {
    let case = Case::new().await;
    case.service.fault(Fault::without_approved_at());
    case.approve("web").await;
    let _operator = case.operator().start();
    let decision = case.until_reason("web", Reason::Delivered).await;
    assert_eq!((approved_at(&decision), attempts(&decision), case.accepted("web")), (None, 1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_refuses_connections_is_waited_for() {
    let mut case = Case::new().await;
    let approval = case.approve("web").await;
    let address = case.service.address();
    let service = case.service.service(|service, _| service.clone());
    let operator = case.operator();
    let elsewhere = local_codepipeline::Settings::default();
    drop(std::mem::replace(&mut case.service, local_codepipeline::LocalCodePipeline::start(elsewhere).await.unwrap()));
    let _operator = operator.start();
    let decision = case.until_reason("web", Reason::ServiceUnavailable).await;
    assert_eq!(exception(&decision), None);
    case.service = local_codepipeline::LocalCodePipeline::serve(address, service).await.unwrap();
    let decision = case.until_reason("web", Reason::Delivered).await;
    assert!(attempts(&decision) > 1, "{:?}", decision.status);
    assert_eq!(case.service.ledger()[0].token, approval.token.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_that_was_completed_before_is_settled_from_the_record() {
    let case = Case::new().await;
    let at = |pipeline| (pipeline, "Prod", "Approve");
    let answer = |pipeline, status| {
        let approval = case.open(pipeline);
        case.service.answer_as(BOB, at(pipeline), approval.token, status, "bob's words").unwrap();
        approval
    };
    // The next run stands at the action: of the one before only the history knows.
    let overtaken = |pipeline: &'static str, status| {
        let approval = answer(pipeline, status);
        case.open(pipeline);
        let completed = Fault::error(400, "ApprovalAlreadyCompletedException", "The approval is already complete");
        case.service.fault(completed.on(Operation::PutApprovalResult).pipeline(pipeline));
        approval
    };
    let timed_out = case.open("timed-out");
    case.service.advance(Duration::from_hours(8 * 24));
    let rows = [
        ("same", answer("same", Answer::Approved), Reason::AlreadyDecided, Some(BOB)),
        ("other", answer("other", Answer::Rejected), Reason::ApprovalAlreadyCompleted, Some(BOB)),
        ("timed-out", timed_out, Reason::ApprovalAlreadyCompleted, None),
        ("past", overtaken("past", Answer::Approved), Reason::AlreadyDecided, Some(BOB)),
        ("past-other", overtaken("past-other", Answer::Rejected), Reason::ApprovalAlreadyCompleted, Some(BOB)),
    ];
    for (pipeline, approval, ..) in &rows {
        case.create(pipeline, spec(pipeline, approval)).await;
    }
    let _operator = case.operator().start();
    for (pipeline, _, expected, by) in rows {
        let decision = case.until_reason(pipeline, expected).await;
        assert_eq!(exception(&decision), Some("ApprovalAlreadyCompletedException"), "{pipeline}");
        assert_eq!(decision.status.unwrap().decided_by.as_deref(), by, "{pipeline}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_to_a_run_that_was_overtaken_is_found_in_a_history_that_lags() {
    let case = Case::new().await;
    case.service.service(|service, _| {
        let mut behaviour = service.behaviour().clone();
        behaviour.lags.decision = jiff::SignedDuration::from_secs(9);
        service.set_behaviour(behaviour);
    });
    case.service.fault(Fault::cut_after_applying().on(Operation::PutApprovalResult));
    let approval = case.approve("web").await;
    let _operator = case.operator().start();
    case.until_reason("web", Reason::Unconfirmed).await;
    let next = case.open("web");
    let decision = case.until_reason("web", Reason::Delivered).await;
    let status = decision.status.as_ref().unwrap();
    assert_eq!(status.pipeline_execution_id, Some(approval.pipeline_execution_id.to_string()));
    assert_eq!(status.action_execution_id, Some(approval.action_execution_id.to_string()));
    assert!(close(status.approved_at, accepted_at(&case, "web")), "{status:?}");
    assert_eq!(case.accepted("web"), 1, "the run behind it still waits for its own answer");
    let pending = case.service.service(|service, now| service.pending_approvals(now, "web").unwrap());
    assert_eq!(pending[0].approval, next);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_decisions_on_one_request_the_service_takes_one() {
    let case = Case::new().await;
    let approval = case.open("web");
    let mut rejection = spec("web", &approval);
    rejection.result.status = ApprovalStatus::Rejected;
    case.create("first", spec("web", &approval)).await;
    let _operator = case.operator().start();
    case.until_reason("first", Reason::Delivered).await;
    case.create("same", spec("web", &approval)).await;
    case.create("other", rejection).await;
    case.until_reason("same", Reason::AlreadyDecided).await;
    case.until_reason("other", Reason::ApprovalAlreadyCompleted).await;
    assert_eq!(case.accepted("web"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_success_is_not_the_services_word() {
    let case = Case::new().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(axum::serve(listener, axum::Router::new().fallback(async || {})).into_future());
    case.approve("web").await;
    let _operator = case.operator().set("AWS_ENDPOINT_URL", &url).start();
    case.until_reason("web", Reason::Unconfirmed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_cannot_be_opened_carried_no_answer() {
    let case = Case::new().await;
    case.approve("web").await;
    // Nobody accepts: once its queue is full, whoever knocks waits.
    let deaf = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = deaf.local_addr().unwrap();
    let knock = || TcpStream::connect_timeout(&address, Duration::from_millis(200)).ok();
    let queue: Vec<_> = std::iter::from_fn(knock).collect();
    let _operator = case.operator().set("AWS_ENDPOINT_URL", &format!("http://{address}")).start();
    let decision = case.until_reason("web", Reason::ServiceUnavailable).await;
    assert!(message(&decision).contains("timeout"), "{}", message(&decision));
    drop(queue);
}
