//! The reconciler of `ApprovalDecision`s. A round goes observe → decide → act, one effect at a time, until nothing is left
//! to do: [`decide`] says what comes next, with [`choose`] where the request has to be found, [`reconcile`] carries it out,
//! and [`status`] words what came of it.

mod choose;
mod context;
mod decide;
#[cfg(test)]
mod fixtures;
mod limits;
mod outcome;
mod progress;
mod reconcile;
mod status;

pub use choose::{Choice, Chosen, Missing, Place, Wait, choose};
pub use context::Context;
pub use decide::{Attempt, Observed, RecordReading, Sight, Step, decide};
pub use limits::{LONGEST_AWS_TIMEOUT, Settings, expiry};
pub use outcome::{Doubt, Earlier, Expiry, Intent, Next, Outcome, Pending};
pub use progress::{Progress, acted_on, forget_if_answered, stands};
pub use reconcile::{Error, name, reconcile};
pub use status::{current_reason, event, message, status};
