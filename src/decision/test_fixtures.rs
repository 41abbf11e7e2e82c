//! Short constructors for the decisions, pipelines, outcomes and errors of the tests of this module.

use super::outcome::{Intent, PriorAttempts};
use super::status::Details;
use super::timing::Settings;
use crate::api::conditions::{Condition, ConditionStatus};
use crate::api::v1alpha1::{
    ApprovalDecision, ApprovalDecisionSpec, ApprovalDecisionStatus, ApprovalResult, ApprovalStatus, Exception,
    PipelineExecutionId, REQUESTED_AT, Reason, SourceRevision, Submission, SubmissionOutcome, Token, UserTime,
};
use crate::codepipeline::{CallError, CompletedApproval, ExecutionIds, Refusal, RetryCause};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

pub mod outcomes;
pub mod pipeline;
pub mod targets;

/// The operator's defaults, but calls take no time. An attempt has 25 s: 5 s to write its intent, and 20 s for the difference between
/// clocks.
pub const SETTINGS: Settings = Settings {
    aws_timeout: SignedDuration::ZERO,
    waiting_limit: SignedDuration::from_hours(7 * 24),
    poll_interval: SignedDuration::from_secs(15),
};

/// A reconcile that read no snapshot.
pub const DETAILS: Details<'_> = Details { settings: &SETTINGS, snapshot: None, location: None };

pub const WEEK: i64 = 7 * 24 * 3600;

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
        token: Some(token()),
        ..ApprovalDecisionSpec::new("shop".to_owned(), "Production".to_owned(), "Approve".to_owned(), result)
    };
    let mut decision = ApprovalDecision::new("release", spec);
    decision.metadata.namespace = Some("team".to_owned());
    decision.metadata.uid = Some("uid-1".to_owned());
    decision.metadata.generation = Some(1);
    decision.metadata.creation_timestamp = Some(Time(at(0)));
    decision
}

/// As [`fresh`], but it names this execution.
pub fn by_id(execution: &str) -> ApprovalDecision {
    fresh().naming_execution(execution)
}

/// As [`fresh`], but it names the executions with this commit id, in a pipeline with one source.
pub fn by_revision(revision: &str) -> ApprovalDecision {
    fresh().naming_revisions(vec![entry(None, Some(revision))])
}

/// An entry of `sourceRevisions`.
pub fn entry(action: Option<&str>, revision: Option<&str>) -> SourceRevision {
    SourceRevision { action_name: action.map(str::to_owned), revision_id: revision.map(str::to_owned) }
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
        self.with(|decision| decision.spec.not_after = Some(UserTime(time.to_string())))
    }

    fn ignoring_responses_before(self, time: impl ToString) -> Self {
        self.with(|decision| decision.spec.ignore_responses_before = Some(UserTime(time.to_string())))
    }

    fn naming_token(self, token: Token) -> Self {
        self.naming_nothing().with(|decision| decision.spec.token = Some(token))
    }

    fn naming_execution(self, execution: &str) -> Self {
        let id = PipelineExecutionId(execution.to_owned());
        self.naming_nothing().with(|decision| decision.spec.pipeline_execution_id = Some(id))
    }

    fn naming_revisions(self, entries: Vec<SourceRevision>) -> Self {
        self.naming_nothing().with(|decision| decision.spec.source_revisions = entries)
    }

    fn naming_nothing(self) -> Self {
        self.with(|decision| {
            let spec = &mut decision.spec;
            (spec.token, spec.pipeline_execution_id, spec.source_revisions) = (None, None, Vec::new());
        })
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

    /// The operator wrote the conditions of this reason at time 0, about the current generation.
    fn with_reason(self, reason: Reason) -> Self {
        self.with(|decision| {
            let generation = decision.metadata.generation;
            let status = decision.status.get_or_insert_default();
            status.observed_generation = generation;
            let condition = |r#type: &str, status| Condition {
                r#type: r#type.to_owned(),
                status,
                observed_generation: generation,
                last_transition_time: at(0),
                reason: reason.as_str().to_owned(),
                message: String::new(),
            };
            let class = reason.ready_class();
            let secondary = class.secondary_condition().map(|r#type| condition(r#type, ConditionStatus::True));
            status.conditions = std::iter::once(condition("Ready", class.ready())).chain(secondary).collect();
        })
    }

    /// The last submission of the decision as it is now. Its outcome is what the reason of the status says.
    fn submitted(self, attempts: i64, start: i64, deadline: i64) -> Self {
        self.with(|decision| {
            let outcome = match super::phase::current_reason(decision) {
                None | Some(Reason::Submitting | Reason::Unconfirmed) => None,
                Some(Reason::Delivered) => Some(SubmissionOutcome::Accepted),
                Some(_) => Some(SubmissionOutcome::NotAccepted),
            };
            let spec = &decision.spec;
            let submission = Submission {
                token: spec.token.clone().unwrap_or_else(token),
                result: spec.result.clone(),
                outcome,
                ..submission(attempts, start, deadline)
            };
            decision.status.get_or_insert_default().submission = Some(submission);
        })
    }

    /// The first attempt started at time 0, and its outcome is unknown.
    fn in_doubt(self) -> Self {
        self.with_reason(Reason::Unconfirmed).submitted(1, 0, 25)
    }

    fn raised(self, exception: Exception) -> Self {
        self.with_status(|status| status.exception = Some(exception))
    }

    /// The operator knows these executions of the request.
    fn with_ids(self, ids: ExecutionIds) -> Self {
        self.with_status(|status| {
            if let Some(submission) = &mut status.submission {
                submission.pipeline_execution_id.clone_from(&ids.pipeline);
                submission.action_execution_id.clone_from(&ids.action);
            }
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

/// A submission of the decision of [`fresh`], whose outcome is unknown.
pub fn submission(attempts: i64, start: i64, deadline: i64) -> Submission {
    let spec = fresh().spec;
    Submission {
        target: None,
        account_id: "111122223333".to_owned(),
        region: "eu-west-1".to_owned(),
        session_name: None,
        pipeline_name: spec.pipeline_name,
        stage_name: spec.stage_name,
        action_name: spec.action_name,
        pipeline_execution_id: None,
        action_execution_id: None,
        token: token(),
        result: spec.result,
        attempts,
        start_time: at(start),
        deadline: at(deadline),
        outcome: None,
    }
}

pub fn intent(attempts: i64, start: i64, deadline: i64, prior: PriorAttempts) -> Intent {
    Intent { submission: submission(attempts, start, deadline), execution: None, prior }
}

pub fn ids() -> ExecutionIds {
    ids_of("pipeline-execution", "action-execution")
}

pub fn ids_of(execution: &str, action: &str) -> ExecutionIds {
    ExecutionIds { pipeline: Some(execution.to_owned()), action: Some(action.to_owned()) }
}

/// An approval that received this result then, with our summary.
pub fn completed_approval(result: impl Into<Option<ApprovalStatus>>, seconds: i64) -> CompletedApproval {
    let result = result.into();
    CompletedApproval {
        result,
        summary: result.map(|_| SUMMARY.to_owned()),
        at: Some(at(seconds)),
        by: result.map(|_| ADA.to_owned()),
        ids: ids(),
        decision: None,
    }
}

pub const ADA: &str = "arn:aws:iam::111122223333:user/ada";

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
