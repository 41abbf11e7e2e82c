//! The pure core: what to do about an `ApprovalDecision`, without a client, a clock or an await. A [`Reconciliation`] repeats
//! observe → [`decide`] → act, one effect at a time, until nothing is left to do. [`resolve`] finds the request that
//! executions name, [`phase`] reads how far a decision has come, `status` reports outcomes, and `message` words them.

mod attribution;
mod conflict;
mod decide;
mod evaluate;
mod find_request;
mod last;
mod message;
mod outcome;
pub mod phase;
mod reconciliation;
mod recover;
mod resolve;
mod status;
mod step;
mod subject;
mod submit;
mod target;
mod target_rules;
#[cfg(test)]
pub(crate) mod test_fixtures;
pub mod timing;
mod urgency;

pub use conflict::{RejectedRequests, Rejection, Rejections};
pub use decide::{Decide, decide};
pub use message::Message;
pub use outcome::{Caveat, Intent, Outcome, PriorAttempts, Requeue, UnconfirmedCause, Wait};
pub use phase::{
    Phase, current_class, current_reason, depends_on_targets, is_edited, pinned_location, reconcile_key,
    status_is_current, subscription_generation, trim_if_delivered,
};
pub use reconciliation::{Effect, Reconciliation, Stage, WriteResult};
pub use resolve::{
    Ambiguity, Candidates, ExecutionPosition, ExecutionWait, Missing, Named, OpenRequest, PendingRequest, RefusedNames,
    Resolution, RevisionHint, resolve,
};
pub use status::{Announcement, Attention, Details, MAX_NOTE, Report, result_still_unrecorded, status, status_matches};
pub use step::{Attempt, Observed, Step};
pub use subject::{query_of, subject, target_of};
pub use target::{
    AmbientCredentials, FailureCause, Forbidden, RejectionLocation, TargetObservation, TargetProblem,
    TargetsUnavailable, Unverified, Verification, VerifyFailure, rejection_location,
};
pub use timing::{Expiry, MAX_AWS_TIMEOUT, Settings, expiry};
pub use urgency::{Urgency, urgency};
