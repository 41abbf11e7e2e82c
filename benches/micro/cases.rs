//! The pieces, each as it occurs in a round over a decision with a token.

use approval_operator::api::v1alpha1::{
    ApprovalDecision, ApprovalDecisionSpec, ApprovalResult, ApprovalStatus, Lean, Token,
};
use approval_operator::codepipeline::{CallError, Transmission, classify};
use approval_operator::decision::{Attempt, Observed, Outcome, Settings, Step, acted_on, decide, event, status};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::error::ErrorMetadata;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::hint::black_box;

pub struct Case {
    pub name: &'static str,
    pub run: Box<dyn Fn()>,
}

const SETTINGS: Settings = Settings {
    aws_timeout: SignedDuration::from_secs(10),
    waiting_limit: SignedDuration::from_hours(7 * 24),
    poll_interval: SignedDuration::from_secs(15),
};

pub fn all() -> Vec<Case> {
    let now = Timestamp::now();
    let fresh = fresh(now);
    let Step::Intend(intent) = step(&fresh, &Attempt::None, now) else { panic!("a fresh decision is to be answered") };
    let submitting = told(&fresh, &Outcome::Submitting(intent.clone()), now);
    let delivered = Outcome::Delivered { approved_at: Some(now), record: None };
    let over = told(&submitting, &delivered, now);
    let json = serde_json::to_string(&submitting).unwrap();
    let sent = Lean(submitting.clone());
    let lost = CallError::Lost { detail: "the connection closed".to_owned() };
    vec![
        deciding("decide: what to do with a fresh one", &fresh, Attempt::None, now),
        deciding("decide: whether to send", &submitting, Attempt::Intended(intent.clone()), now),
        deciding(
            "decide: an answer that was taken",
            &submitting,
            Attempt::Answered(intent.clone(), Ok(Some(now))),
            now,
        ),
        deciding("decide: an answer that was lost", &submitting, Attempt::Answered(intent.clone(), Err(lost)), now),
        deciding("decide: what is over", &over, Attempt::None, now),
        wording("status: Submitting", &fresh, Outcome::Submitting(intent), now),
        wording("status: Delivered", &submitting, delivered.clone(), now),
        case("event: Delivered", {
            let submitting = submitting.clone();
            move || drop(black_box(event(black_box(&submitting), &delivered, None)))
        }),
        case("watch: whether there is news", {
            let submitting = submitting.clone();
            move || _ = black_box(acted_on(black_box(&submitting)) == acted_on(&over))
        }),
        case("object: read", move || drop(black_box(serde_json::from_str::<Lean>(black_box(&json)).unwrap()))),
        case("status: write", move || drop(black_box(serde_json::to_vec(black_box(&sent)).unwrap()))),
        classing("classify: a refusal", 400, "InvalidApprovalTokenException"),
        classing("classify: throttling", 400, "ThrottlingException"),
        classing("classify: a server's failure", 500, "InternalFailure"),
    ]
}

fn case(name: &'static str, run: impl Fn() + 'static) -> Case {
    Case { name, run: Box::new(run) }
}

fn deciding(name: &'static str, decision: &ApprovalDecision, attempt: Attempt, now: Timestamp) -> Case {
    let decision = decision.clone();
    case(name, move || drop(black_box(step(black_box(&decision), black_box(&attempt), now))))
}

fn wording(name: &'static str, decision: &ApprovalDecision, outcome: Outcome, now: Timestamp) -> Case {
    let decision = decision.clone();
    case(name, move || drop(black_box(status(black_box(&decision), black_box(&outcome), now))))
}

/// What the SDK returns of an error is made anew each time, which takes its part.
fn classing(name: &'static str, status: u16, code: &'static str) -> Case {
    case(name, move || {
        let error = ErrorMetadata::builder().code(code).message("Rate exceeded").build();
        let response = HttpResponse::new(StatusCode::try_from(status).unwrap(), SdkBody::empty());
        drop(black_box(classify(SdkError::service_error(black_box(error), response), Transmission::Begun)));
    })
}

fn step(decision: &ApprovalDecision, attempt: &Attempt, now: Timestamp) -> Step {
    decide(&Observed { decision, attempt, record: None, sight: None }, &SETTINGS, now)
}

fn told(decision: &ApprovalDecision, outcome: &Outcome, now: Timestamp) -> ApprovalDecision {
    let mut decision = decision.clone();
    decision.status = Some(status(&decision, outcome, now));
    decision
}

fn fresh(now: Timestamp) -> ApprovalDecision {
    let spec = ApprovalDecisionSpec {
        pipeline_name: "checkout".to_owned(),
        stage_name: "Production".to_owned(),
        action_name: "Approve".to_owned(),
        token: Some(Token("0a1b2c3d-0000-4000-8000-00000000000a".to_owned())),
        pipeline_execution_id: None,
        source_revision: None,
        result: ApprovalResult { status: ApprovalStatus::Approved, summary: "checked by the release team".to_owned() },
        not_after: None,
        suspend: false,
    };
    let mut decision = ApprovalDecision::new("release", spec);
    decision.metadata.namespace = Some("team".to_owned());
    decision.metadata.uid = Some("7c9e6679-7425-40de-944b-e07fc1f90ae7".to_owned());
    decision.metadata.resource_version = Some("4711".to_owned());
    decision.metadata.generation = Some(1);
    decision.metadata.creation_timestamp = Some(Time(now));
    decision
}
