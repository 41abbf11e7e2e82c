//! The reconciler of `ApprovalDecision`s. A round goes observe → decide → act, one effect at a time, until nothing is left
//! to do: [`decide`] says what comes next, [`reconcile`] carries it out, and [`status`] words what came of it.

mod decide;
#[cfg(test)]
mod fixtures;
mod limits;
mod outcome;
mod progress;
mod reconcile;
mod status;

pub use decide::{Attempt, Observed, Reading, Step, decide};
pub use limits::Settings;
pub use outcome::{Doubt, Earlier, Expiry, Intent, Outcome};
pub use progress::Progress;
pub use reconcile::{Context, Error, name, reconcile};
pub use status::{current_reason, event, message, status};
