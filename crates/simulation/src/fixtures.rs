//! Builders of decisions and errors.

use approval_operator::api::v1alpha1::{
    ApprovalDecision, ApprovalDecisionSpec, ApprovalResult, ApprovalStatus, Exception, Location, REQUESTED_AT, Reason,
    Token, UserTime,
};
use approval_operator::codepipeline::{CallError, RetryCause};
use approval_operator::decision::{AmbientCredentials, Settings, TargetObservation};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::sync::Arc;

/// The operator's defaults.
pub const SETTINGS: Settings = Settings {
    aws_timeout: SignedDuration::from_secs(10),
    waiting_limit: SignedDuration::from_hours(7 * 24),
    poll_interval: SignedDuration::from_secs(15),
};

pub const SUMMARY: &str = "checked by the release team";

/// A size of a test: `all` where the environment variable FAULTS is `all`, `quick` otherwise.
pub fn scale<T>(quick: T, all: T) -> T {
    if std::env::var("FAULTS").is_ok_and(|faults| faults == "all") { all } else { quick }
}

/// That many seconds after the decision of [`fresh`] was created.
pub fn at(seconds: i64) -> Timestamp {
    let created: Timestamp = "2026-07-01T12:00:00Z".parse().expect("a time");
    created + SignedDuration::from_secs(seconds)
}

pub fn token() -> Token {
    Token("0a1b2c3d-0000-4000-8000-00000000000a".to_owned())
}

/// A decision that has not changed since it was created: Approved, with a summary and a token.
pub fn fresh() -> ApprovalDecision {
    let result = ApprovalResult { status: ApprovalStatus::Approved, summary: SUMMARY.to_owned() };
    let [pipeline, stage, action] = ["shop", "Production", "Approve"].map(str::to_owned);
    let spec =
        ApprovalDecisionSpec { token: Some(token()), ..ApprovalDecisionSpec::new(pipeline, stage, action, result) };
    let mut decision = ApprovalDecision::new("release", spec);
    decision.metadata.namespace = Some("team".to_owned());
    decision.metadata.uid = Some("uid-1".to_owned());
    decision.metadata.generation = Some(1);
    decision.metadata.creation_timestamp = Some(Time(at(0)));
    decision
}

/// The account and the region of the operator.
pub fn location() -> Location {
    Location { account_id: "123456789012".to_owned(), region: "us-east-1".to_owned() }
}

/// What a reconcile observes where no target exists.
pub fn own_identity() -> TargetObservation {
    let ambient = AmbientCredentials::Enabled;
    TargetObservation::Own { ambient, location: Some(location()), targets: Arc::default() }
}

/// Changes to a decision.
pub trait Given: Sized {
    fn decision(&mut self) -> &mut ApprovalDecision;

    fn with(mut self, change: impl FnOnce(&mut ApprovalDecision)) -> Self {
        change(self.decision());
        self
    }

    fn not_after(self, time: impl ToString) -> Self {
        self.with(|decision| decision.spec.not_after = Some(UserTime(time.to_string())))
    }

    /// Deleted, and held by a finalizer: the API server counts the deletion as a change.
    fn deleted(self) -> Self {
        self.edited().with(|decision| decision.metadata.deletion_timestamp = Some(Time(at(1))))
    }

    fn with_result(self, status: ApprovalStatus, summary: &str) -> Self {
        let summary = summary.to_owned();
        self.with(|decision| decision.spec.result = ApprovalResult { status, summary })
    }

    fn edited(self) -> Self {
        self.with(|decision| decision.metadata.generation = decision.metadata.generation.map(|number| number + 1))
    }

    fn annotated(self, value: &str) -> Self {
        self.with(|decision| {
            let annotations = decision.metadata.annotations.get_or_insert_default();
            annotations.insert(REQUESTED_AT.to_owned(), value.to_owned());
        })
    }
}

impl Given for ApprovalDecision {
    fn decision(&mut self) -> &mut ApprovalDecision {
        self
    }
}

pub fn exception(name: &str) -> Exception {
    Exception { r#type: format!("{name}Exception"), message: "a message from CodePipeline".to_owned() }
}

/// CodePipeline did not apply a request, for a temporary cause.
pub fn not_applied(cause: RetryCause) -> CallError {
    CallError::NotApplied {
        cause,
        exception: Some(exception(Reason::from(cause).as_str())),
        detail: "not now".to_owned(),
    }
}

/// It is unknown whether CodePipeline applied a request.
pub fn indeterminate() -> CallError {
    CallError::Indeterminate { detail: "the connection broke".to_owned() }
}
