//! The last submission for the same spec: what a further attempt continues.

use super::attribution::session_name;
use super::outcome::{Intent, PriorAttempts};
use super::step::Observed;
use super::timing::{AttemptTimes, Settings, next_attempt, next_attempt_in_doubt, start_attempt};
use crate::api::time::to_millisecond;
use crate::api::v1alpha1::{ApprovalDecision, Exception, Submission, Token};
use crate::codepipeline::{ExecutionIds, PipelineExecution};
use jiff::Timestamp;

/// The last submission for the same spec.
#[derive(Clone, Copy, Debug)]
pub(super) enum Last<'a> {
    /// There is none.
    None,
    /// It was not applied.
    NotApplied(&'a Submission),
    /// CodePipeline refused its token with this exception. The operator had found the token itself.
    Refused(&'a Submission, &'a Exception),
    /// It is in doubt, but CodePipeline's history shows that it was not accepted, or no trace of it.
    InDoubt(&'a Submission),
}

impl<'a> Last<'a> {
    pub(super) const fn submission(self) -> Option<&'a Submission> {
        match self {
            Self::None => None,
            Self::NotApplied(submission) | Self::Refused(submission, _) | Self::InDoubt(submission) => Some(submission),
        }
    }

    /// When the next attempt may start.
    pub(super) fn next_attempt(self, decision: &ApprovalDecision, settings: &Settings) -> Timestamp {
        match self {
            Self::None | Self::Refused(..) => Timestamp::MIN,
            Self::NotApplied(last) => next_attempt(decision, last),
            Self::InDoubt(last) => next_attempt_in_doubt(decision, settings, last),
        }
    }

    /// The intent to submit the decision's result to this request.
    pub(super) fn intent(
        self,
        observed: &Observed<'_>,
        settings: &Settings,
        now: Timestamp,
        token: &Token,
        ids: ExecutionIds,
        execution: Option<PipelineExecution>,
    ) -> Intent {
        let AttemptTimes { start_time, deadline } = start_attempt(settings, now);
        let is_same = self.submission().is_some_and(|last| last.token == *token);
        let session_name = session_name(observed);
        let (start_time, prior, session_name) = match self {
            Self::Refused(..) if is_same => (start_time, PriorAttempts::Refused, session_name),
            // If CodePipeline did accept one, it refuses this attempt.
            Self::InDoubt(last) if is_same => {
                // A session name proves nothing about attempts that were sent without it.
                let session_name = session_name.filter(|name| last.session_name.as_ref() == Some(name));
                (last.start_time, PriorAttempts::InDoubt, session_name)
            }
            Self::None | Self::NotApplied(_) | Self::Refused(..) | Self::InDoubt(_) => {
                (start_time, PriorAttempts::NotApplied, session_name)
            }
        };
        let spec = &observed.decision.spec;
        let submission = Submission {
            target: spec.target_ref.as_ref().map(|target| target.name.clone()),
            // The account and the region are those of the credentials, which are ensured after this.
            account_id: String::new(),
            region: String::new(),
            session_name,
            pipeline_name: spec.pipeline_name.clone(),
            stage_name: spec.stage_name.clone(),
            action_name: spec.action_name.clone(),
            pipeline_execution_id: ids.pipeline,
            action_execution_id: ids.action,
            token: token.clone(),
            result: spec.result.clone(),
            attempts: self.submission().map_or(1, |last| last.attempts.saturating_add(1)),
            start_time,
            deadline,
            outcome: None,
        };
        Intent { submission, execution, prior }
    }
}

/// The intent, whose attempt starts now: its credentials may have taken longer than an attempt has to send its request. Where an earlier
/// attempt is in doubt, the start is that of the first.
pub(super) fn started(intent: &Intent, settings: &Settings, now: Timestamp) -> Intent {
    let AttemptTimes { start_time, deadline } = start_attempt(settings, to_millisecond(now));
    let start_time = match intent.prior {
        PriorAttempts::NotApplied | PriorAttempts::Refused => start_time,
        PriorAttempts::InDoubt => intent.submission.start_time,
    };
    Intent { submission: Submission { start_time, deadline, ..intent.submission.clone() }, ..intent.clone() }
}
