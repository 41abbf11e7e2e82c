//! The effects of a reconcile, which the driver performs, and what comes before each.

use crate::api::v1alpha1::{ApprovalDecision, ApprovalDecisionStatus, Submission};
use crate::codepipeline::{Query, WakeCondition};
use crate::decision::outcome::{Intent, Outcome, Requeue};
use crate::decision::status::Announcement;
use jiff::Timestamp;

/// What a reconcile is about to do.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Stage {
    /// Decide on the next step.
    Decide,
    /// Ensure that there are credentials, before the intent is recorded.
    Prepare(Intent),
    /// Record the intent.
    RecordIntent(Intent),
    /// Write the outcome.
    Report {
        /// The outcome.
        outcome: Outcome,
        /// Writes of it that failed.
        failures: u32,
    },
    /// Get a poll of the pipeline, or a newer one than the reconcile knows.
    ReadPipeline {
        /// A poll that starts at this time or later is wanted, even if it shows nothing new.
        recheck_at: Option<Timestamp>,
        /// When the wait for it ends.
        until: Timestamp,
    },
    /// Nothing more.
    Finish(Requeue),
}

/// An effect to perform. Its result goes to the method in its description.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Find the target of this name, or what decisions without one need to know: `on_target`.
    FindTarget {
        /// Its name; none for the operator's own identity.
        target: Option<String>,
    },
    /// Subscribe to the pipeline, and report the newest poll if it is as wanted: `on_snapshot`.
    ReadPipeline {
        /// The target where the pipeline is; none for the operator's own identity.
        target: Option<String>,
        /// pipelineName
        pipeline: String,
        /// What the decision needs to know of it.
        query: Query,
        /// Which poll is wanted.
        condition: WakeCondition,
    },
    /// List the decisions that reject requests of the same action: `on_rejections`.
    ListRejections,
    /// Find another decision of the same namespace whose result CodePipeline accepted for the request with one of these ids:
    /// `on_accepted`.
    FindAccepted {
        /// The token and the action execution, as far as they are known.
        ids: Vec<String>,
    },
    /// Ensure that there are credentials for the submission, in a session of the decision where the target has a role:
    /// `on_credentials`.
    EnsureCredentials {
        /// The target where the result is sent; none for the operator's own identity.
        target: Option<String>,
    },
    /// Write the status with an intent, with the resourceVersion as precondition: `on_written`. This fences
    /// every other view of the object.
    RecordIntent(Box<ApprovalDecisionStatus>),
    /// Send the request, before `send_deadline` or not at all: `on_response`.
    Send {
        /// The request.
        submission: Box<Submission>,
        /// When it must have left.
        send_deadline: Timestamp,
    },
    /// Write the status, with the resourceVersion as precondition: `on_written`, or
    /// `on_write_failed`.
    WriteStatus(Box<ApprovalDecisionStatus>),
    /// Announce a change of reason. There is no result.
    Announce(Announcement),
    /// The reconcile is complete. The subscription to the pipeline ends, unless the requeue waits for it.
    Finish(Requeue),
}

/// The result of a write with a precondition.
#[derive(Clone, Debug)]
pub enum WriteResult {
    /// It landed. This is the object as it is now.
    Written(Box<ApprovalDecision>),
    /// Someone else wrote first. This is the object as it is now.
    Conflict(Box<ApprovalDecision>),
    /// The object was deleted.
    Gone,
}
