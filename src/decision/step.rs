//! What goes into [`decide`](super::decide()) and what comes out: the observations of one reconcile, and the next step.

use super::conflict::Rejections;
use super::outcome::{Intent, Outcome};
use super::target::{TargetObservation, TargetProblem};
use crate::api::v1alpha1::{ApprovalDecision, Location};
use crate::codepipeline::{CallError, PipelineObservation};
use jiff::Timestamp;

/// What one reconcile knows.
#[derive(Clone, Debug)]
pub struct Observed<'a> {
    /// The object, as it was watched, read or last written.
    pub decision: &'a ApprovalDecision,
    /// The target of the decision, or of its submission in doubt, if this reconcile has looked for it.
    pub target: Option<&'a TargetObservation>,
    /// How far this reconcile has come with a submission.
    pub attempt: &'a Attempt,
    /// The pipeline, if this reconcile has a poll of it with the query of the decision.
    pub pipeline: Option<&'a PipelineObservation>,
    /// The decisions that reject requests of the same action, if this reconcile has listed them.
    pub rejections: Option<&'a Rejections>,
}

impl<'a> Observed<'a> {
    /// Where the poll read the pipeline.
    pub(super) fn polled_location(&self) -> Option<&'a Location> {
        self.pipeline?.poll.location.as_ref()
    }
}

/// How far a reconcile has come with a submission.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Attempt {
    /// There is none.
    None,
    /// The client has no credentials, so no intent was written.
    NotPrepared(Intent, CallError),
    /// The credentials belong to an account or region where the result must not be sent, so no intent was written.
    NotAllowed(Intent, TargetProblem),
    /// The intent is in the status, and nothing was sent under it.
    IntentRecorded(Intent),
    /// The request was handed to the client under the recorded intent. This is the response.
    Submitted(Intent, Result<Option<Timestamp>, CallError>),
}

/// What to do next.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Step {
    /// Nothing until the object changes, or something that it waits for in the cache of decisions.
    AwaitChange,
    /// Nothing until then, or until the object changes.
    WaitUntil(Timestamp),
    /// Nothing until a poll shows something new, or until `until`.
    AwaitSnapshot {
        /// A poll that starts at this time or later is wanted, even if it shows nothing new.
        recheck_at: Option<Timestamp>,
        /// When the wait ends.
        until: Timestamp,
    },
    /// Find the target of the decision, or of its submission in doubt.
    FindTarget,
    /// Read the pipeline, in a poll that all its decisions share. The wait for it ends at this time.
    ReadPipeline(Timestamp),
    /// List the decisions that reject requests of the same action.
    ListRejections,
    /// Write the intent to submit.
    RecordIntent(Intent),
    /// Send the request under the recorded intent.
    Send {
        /// What was recorded.
        intent: Intent,
        /// The request leaves before this time or not at all.
        send_deadline: Timestamp,
    },
    /// Write the outcome into the status.
    WriteStatus(Outcome),
}
