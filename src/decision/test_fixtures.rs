//! Short constructors for the decisions, records and errors of the tests of this module.

use super::outcome::{Intent, PriorAttempts};
use super::timing::Settings;
use crate::api::conditions::Condition;
use crate::api::v1alpha1::{
    ApprovalDecision, ApprovalDecisionSpec, ApprovalDecisionStatus, ApprovalResult, ApprovalStatus, Exception,
    NotAfter, REQUESTED_AT, Reason, Submission, Token,
};
use crate::codepipeline::{ApprovalRecord, CallError, CompletedApproval, ExecutionIds, Refusal, RetryCause};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

pub mod outcomes;

/// The operator's defaults.
pub const SETTINGS: Settings = Settings {
    aws_timeout: SignedDuration::from_secs(10),
    waiting_limit: SignedDuration::from_hours(7 * 24),
    poll_interval: SignedDuration::from_secs(15),
};

pub const SUMMARY: &str = "checked by the release team";

/// This many seconds after the creation of the decision of [`fresh`].
pub fn at(seconds: i64) -> Timestamp {
    let created: Timestamp = "2026-07-01T12:00:00Z".parse().expect("a time");
    created + SignedDuration::from_secs(seconds)
}

pub fn token() -> Token {
    Token("0a1b2c3d-0000-4000-8000-00000000000a".to_owned())
}

pub fn other_token() -> Token {
    Token("0a1b2c3d-0000-4000-8000-00000000000b".to_owned())
}

/// A new decision without a status: Approved, with a summary and a token.
pub fn fresh() -> ApprovalDecision {
    let result = ApprovalResult { status: ApprovalStatus::Approved, summary: SUMMARY.to_owned() };
    let spec = ApprovalDecisionSpec {
        pipeline_name: "shop".to_owned(),
        stage_name: "Production".to_owned(),
        action_name: "Approve".to_owned(),
        token: Some(token()),
        pipeline_execution_id: None,
        source_revision: None,
        result,
        not_after: None,
        suspend: false,
    };
    let mut decision = ApprovalDecision::new("release", spec);
    decision.metadata.namespace = Some("team".to_owned());
    decision.metadata.uid = Some("uid-1".to_owned());
    decision.metadata.generation = Some(1);
    decision.metadata.creation_timestamp = Some(Time(at(0)));
    decision
}

/// Changes to a decision.
pub trait DecisionExt: Sized {
    fn decision(&mut self) -> &mut ApprovalDecision;

    fn with(mut self, change: impl FnOnce(&mut ApprovalDecision)) -> Self {
        change(self.decision());
        self
    }

    fn with_status(self, change: impl FnOnce(&mut ApprovalDecisionStatus)) -> Self {
        self.with(|decision| change(decision.status.get_or_insert_default()))
    }

    fn suspended(self) -> Self {
        self.with(|decision| decision.spec.suspend = true)
    }

    fn not_after(self, time: impl ToString) -> Self {
        self.with(|decision| decision.spec.not_after = Some(NotAfter(time.to_string())))
    }

    /// Deleted, and kept by a finalizer. The API server counts the deletion as a change of the spec.
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

    /// The operator has acted on this value of the annotation.
    fn handled(self, value: &str) -> Self {
        self.with_status(|status| status.last_handled_requested_at = Some(value.to_owned()))
    }

    /// The operator wrote a Ready condition with this reason at time 0, about the current generation.
    fn with_reason(self, reason: Reason) -> Self {
        self.with(|decision| {
            let generation = decision.metadata.generation;
            let status = decision.status.get_or_insert_default();
            status.observed_generation = generation;
            status.conditions.push(Condition {
                r#type: "Ready".to_owned(),
                status: reason.ready_class().ready(),
                observed_generation: generation,
                last_transition_time: at(0),
                reason: reason.as_str().to_owned(),
                message: String::new(),
            });
        })
    }

    fn submitted(self, attempts: i64, start: i64, deadline: i64) -> Self {
        self.with_status(|status| status.submission = Some(submission(attempts, start, deadline)))
    }

    /// The first attempt started at time 0, and its outcome is unknown.
    fn in_doubt(self) -> Self {
        self.with_reason(Reason::Unconfirmed).submitted(1, 0, 20)
    }

    fn raised(self, exception: Exception) -> Self {
        self.with_status(|status| status.exception = Some(exception))
    }

    fn with_ids(self, ids: ExecutionIds) -> Self {
        self.with_status(|status| {
            status.pipeline_execution_id = ids.pipeline;
            status.action_execution_id = ids.action;
        })
    }
}

impl DecisionExt for ApprovalDecision {
    fn decision(&mut self) -> &mut ApprovalDecision {
        self
    }
}

pub fn submission(attempts: i64, start: i64, deadline: i64) -> Submission {
    Submission { attempts, start_time: at(start), deadline: at(deadline), token: token() }
}

pub fn intent(attempts: i64, start: i64, deadline: i64, prior: PriorAttempts) -> Intent {
    Intent { submission: submission(attempts, start, deadline), ids: ExecutionIds::default(), prior }
}

pub fn ids() -> ExecutionIds {
    ExecutionIds { pipeline: Some("pipeline-execution".to_owned()), action: Some("action-execution".to_owned()) }
}

/// An approval that received this result then, with our summary.
pub fn completed_approval(result: impl Into<Option<ApprovalStatus>>, seconds: i64) -> CompletedApproval {
    CompletedApproval {
        result: result.into(),
        summary: Some(SUMMARY.to_owned()),
        at: Some(at(seconds)),
        by: Some("arn:aws:iam::111122223333:user/ada".to_owned()),
        ids: ids(),
    }
}

/// The history that shows it.
pub fn completed_record(result: impl Into<Option<ApprovalStatus>>, seconds: i64) -> ApprovalRecord {
    ApprovalRecord::Completed(completed_approval(result, seconds))
}

pub fn exception(name: &str) -> Exception {
    Exception { r#type: format!("{name}Exception"), message: "message of CodePipeline".to_owned() }
}

pub fn already_completed() -> Exception {
    exception("ApprovalAlreadyCompleted")
}

pub fn refusal(refusal: Refusal) -> CallError {
    let exception = exception(Reason::from(refusal).as_str());
    CallError::Refused { refusal, exception }
}

pub fn not_applied(cause: RetryCause) -> CallError {
    CallError::NotApplied {
        cause,
        exception: Some(exception(Reason::from(cause).as_str())),
        detail: "not now".to_owned(),
    }
}

pub fn indeterminate() -> CallError {
    CallError::Indeterminate { detail: "the connection broke".to_owned() }
}
