//! The benchmark cases: calls as they occur when the operator reconciles a decision with a token.

use approval_operator::api::v1alpha1::{
    ApprovalDecision, ApprovalDecisionSpec, ApprovalResult, ApprovalStatus, Token, WireDecision,
};
use approval_operator::codepipeline::{CallError, Transmission, classify};
use approval_operator::decision::{
    AmbientCredentials, Attempt, Details, Observed, Outcome, Rejections, Report, Settings, Step, TargetObservation,
    decide, reconcile_key, status,
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::error::ErrorMetadata;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::hint::black_box;
use std::sync::Arc;

pub struct Case {
    pub name: &'static str,
    pub run: Box<dyn Fn()>,
}

const SETTINGS: Settings = Settings {
    aws_timeout: SignedDuration::from_secs(10),
    waiting_limit: SignedDuration::from_hours(7 * 24),
    poll_interval: SignedDuration::from_secs(15),
};

const DETAILS: Details<'_> = Details { settings: &SETTINGS, snapshot: None, location: None };

pub fn all() -> Vec<Case> {
    let now = Timestamp::now();
    let new = new_decision(now);
    let Step::RecordIntent(intent) = step(&new, &Attempt::None, now) else { panic!("expected RecordIntent") };
    let submitting = with_status(&new, &Outcome::Submitting(intent.clone()), now);
    let outcome = Outcome::Delivered { approved_at: Some(now), record: None };
    let delivered = with_status(&submitting, &outcome, now);
    let json = serde_json::to_string(&submitting).unwrap();
    let wire_decision = WireDecision(submitting.clone());
    let no_response = CallError::Indeterminate { detail: "the connection closed".to_owned() };
    let accepted = Attempt::Submitted(intent.clone(), Ok(Some(now)));
    let unconfirmed = Attempt::Submitted(intent.clone(), Err(no_response));
    vec![
        decide_case("decide: new decision", &new, Attempt::None, now),
        decide_case("decide: intent recorded", &submitting, Attempt::IntentRecorded(intent.clone()), now),
        decide_case("decide: result accepted", &submitting, accepted, now),
        decide_case("decide: response lost", &submitting, unconfirmed, now),
        decide_case("decide: delivered decision", &delivered, Attempt::None, now),
        report_case("report: Submitting", &new, Outcome::Submitting(intent), now),
        report_case("report: Delivered", &submitting, outcome, now),
        case("predicate: reconcile key", move || {
            _ = black_box(reconcile_key(black_box(&submitting)) == reconcile_key(&delivered));
        }),
        case("object: parse", move || {
            drop(black_box(serde_json::from_str::<WireDecision>(black_box(&json)).unwrap()));
        }),
        case("object: serialize", move || drop(black_box(serde_json::to_vec(black_box(&wire_decision)).unwrap()))),
        classify_case("classify: rejected request", 400, "InvalidApprovalTokenException"),
        classify_case("classify: throttling", 400, "ThrottlingException"),
        classify_case("classify: server error", 500, "InternalFailure"),
    ]
}

fn case(name: &'static str, run: impl Fn() + 'static) -> Case {
    Case { name, run: Box::new(run) }
}

fn decide_case(name: &'static str, decision: &ApprovalDecision, attempt: Attempt, now: Timestamp) -> Case {
    let decision = decision.clone();
    case(name, move || drop(black_box(step(black_box(&decision), black_box(&attempt), now))))
}

/// The status, the message and the Event of an outcome.
fn report_case(name: &'static str, decision: &ApprovalDecision, outcome: Outcome, now: Timestamp) -> Case {
    let decision = decision.clone();
    case(name, move || drop(black_box(Report::new(black_box(&decision), black_box(&outcome), DETAILS, None, now))))
}

/// Includes the construction of the SDK's error, because `classify` consumes it.
fn classify_case(name: &'static str, status: u16, code: &'static str) -> Case {
    case(name, move || {
        let error = ErrorMetadata::builder().code(code).message("Rate exceeded").build();
        let response = HttpResponse::new(StatusCode::try_from(status).unwrap(), SdkBody::empty());
        drop(black_box(classify(
            SdkError::service_error(black_box(error), response),
            Transmission::Started,
            "CodePipeline",
        )));
    })
}

/// No target exists.
fn own() -> TargetObservation {
    TargetObservation::Own { ambient: AmbientCredentials::Enabled, location: None, targets: Arc::default() }
}

fn step(decision: &ApprovalDecision, attempt: &Attempt, now: Timestamp) -> Step {
    decide(
        &Observed {
            decision,
            attempt,
            target: Some(&own()),
            pipeline: None,
            rejections: Some(&Rejections::Listed(Vec::new())),
        },
        &SETTINGS,
        now,
    )
}

fn with_status(decision: &ApprovalDecision, outcome: &Outcome, now: Timestamp) -> ApprovalDecision {
    let mut decision = decision.clone();
    decision.status = Some(status(&decision, outcome, now));
    decision
}

fn new_decision(now: Timestamp) -> ApprovalDecision {
    let result = ApprovalResult { status: ApprovalStatus::Approved, summary: "checked by the release team".to_owned() };
    let [pipeline, stage, action] = ["checkout", "Production", "Approve"].map(str::to_owned);
    let spec = ApprovalDecisionSpec {
        token: Some(Token("0a1b2c3d-0000-4000-8000-00000000000a".to_owned())),
        ..ApprovalDecisionSpec::new(pipeline, stage, action, result)
    };
    let mut decision = ApprovalDecision::new("release", spec);
    decision.metadata.namespace = Some("team".to_owned());
    decision.metadata.uid = Some("7c9e6679-7425-40de-944b-e07fc1f90ae7".to_owned());
    decision.metadata.resource_version = Some("4711".to_owned());
    decision.metadata.generation = Some(1);
    decision.metadata.creation_timestamp = Some(Time(now));
    decision
}
