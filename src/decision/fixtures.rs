//! Decisions, records and errors as the tests of this module need them, in a line each.

use super::limits::Settings;
use super::outcome::{Earlier, Intent};
use crate::api::conditions::Condition;
use crate::api::v1alpha1::{
    ApprovalDecision, ApprovalDecisionSpec, ApprovalDecisionStatus, ApprovalResult, ApprovalStatus, Exception,
    NotAfter, REQUESTED_AT, Reason, Submission, Token,
};
use crate::codepipeline::{CallError, Cause, ExecutionIds, Finished, Record, Refusal};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// The operator's defaults.
pub const SETTINGS: Settings = Settings {
    aws_timeout: SignedDuration::from_secs(10),
    waiting_limit: SignedDuration::from_hours(7 * 24),
    poll_interval: SignedDuration::from_secs(15),
};

pub const SUMMARY: &str = "checked by the release team";

/// So many seconds after the decision of [`fresh`] was created.
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

/// A decision that nobody has touched since it was created: Approved, with a summary and a token.
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

/// Changes to a decision, in the words of the tests.
pub trait Given: Sized {
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

    /// Deleted, and held by a finalizer: the API server counts the deletion as a change.
    fn deleted(self) -> Self {
        self.edited().with(|decision| decision.metadata.deletion_timestamp = Some(Time(at(1))))
    }

    fn answering(self, status: ApprovalStatus, summary: &str) -> Self {
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

    fn handled(self, value: &str) -> Self {
        self.with_status(|status| status.last_handled_requested_at = Some(value.to_owned()))
    }

    /// Ready, as the operator writes it at time 0 over what the decision is now.
    fn standing(self, reason: Reason) -> Self {
        self.with(|decision| {
            let generation = decision.metadata.generation;
            let status = decision.status.get_or_insert_default();
            status.observed_generation = generation;
            status.conditions.push(Condition {
                r#type: "Ready".to_owned(),
                status: reason.standing().ready(),
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

    /// An answer of unknown fate, sent at time 0 as the first attempt.
    fn in_doubt(self) -> Self {
        self.standing(Reason::Unconfirmed).submitted(1, 0, 20)
    }

    fn raised(self, exception: Exception) -> Self {
        self.with_status(|status| status.exception = Some(exception))
    }

    fn known(self, ids: ExecutionIds) -> Self {
        self.with_status(|status| {
            status.pipeline_execution_id = ids.pipeline;
            status.action_execution_id = ids.action;
        })
    }
}

impl Given for ApprovalDecision {
    fn decision(&mut self) -> &mut ApprovalDecision {
        self
    }
}

pub fn submission(attempts: i64, start: i64, deadline: i64) -> Submission {
    Submission { attempts, start_time: at(start), deadline: at(deadline), token: token() }
}

pub fn intent(attempts: i64, start: i64, deadline: i64, earlier: Earlier) -> Intent {
    Intent { submission: submission(attempts, start, deadline), ids: ExecutionIds::default(), earlier }
}

pub fn ids() -> ExecutionIds {
    ExecutionIds { pipeline: Some("pipeline-run".to_owned()), action: Some("action-run".to_owned()) }
}

/// The record of an answer in our words, taken then.
pub fn finished(result: impl Into<Option<ApprovalStatus>>, seconds: i64) -> Finished {
    Finished {
        result: result.into(),
        summary: Some(SUMMARY.to_owned()),
        at: Some(at(seconds)),
        by: Some("arn:aws:iam::111122223333:user/ada".to_owned()),
        ids: ids(),
    }
}

pub fn over(result: impl Into<Option<ApprovalStatus>>, seconds: i64) -> Record {
    Record::Finished(finished(result, seconds))
}

pub fn exception(name: &str) -> Exception {
    Exception { r#type: format!("{name}Exception"), message: "words of the service".to_owned() }
}

pub fn already_completed() -> Exception {
    exception("ApprovalAlreadyCompleted")
}

pub fn refusal(refusal: Refusal) -> CallError {
    let exception = exception(Reason::from(refusal).as_str());
    CallError::Refused { refusal, exception }
}

pub fn not_taken(cause: Cause) -> CallError {
    CallError::NotTaken {
        cause,
        exception: Some(exception(Reason::from(cause).as_str())),
        detail: "not now".to_owned(),
    }
}

pub fn lost() -> CallError {
    CallError::Lost { detail: "the connection broke".to_owned() }
}
