//! Reports in the status of each target how many pipelines the operator polls through it, and how many requests are pending in them. One
//! task does so for all targets: it waits for a change, and writes what differs from the status [`backoff::COUNTS_WRITE`] later.

use super::target_context::TargetContext;
use crate::api::v1alpha1::ApprovalTargetStatus;
use crate::backoff;
use crate::codepipeline::PollCounts;
use crate::error_chain::display_chain;
use crate::leader_election::LeaderState;
use crate::telemetry::LogLimiter;
use kube::ResourceExt;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Reports the counts whenever this replica is the leader.
pub(super) async fn report_counts(context: TargetContext) {
    let mut leader = context.leader.clone();
    let refusals = LogLimiter::default();
    while leader.wait_for(|state| *state == LeaderState::Leader).await.is_ok() {
        tokio::select! {
            biased;
            // An error means that the operator ends.
            _ = leader.changed() => {}
            () = report_while_leading(&context, &refusals) => {}
        }
    }
    // The watch goes on without it.
    std::future::pending().await
}

async fn report_while_leading(context: &TargetContext, refusals: &LogLimiter) {
    let leading_since = Instant::now();
    loop {
        // Decisions have this time to subscribe after the operator has started.
        sleep(backoff::COUNTS_WRITE).await;
        let is_complete = write_counts(context, leading_since.elapsed(), refusals).await;
        if is_complete {
            context.targets.counts_changed().await;
        }
    }
}

/// Writes the counts that differ. Returns whether that succeeded.
async fn write_counts(context: &TargetContext, leading_for: Duration, refusals: &LogLimiter) -> bool {
    let mut is_complete = true;
    for known in context.targets.all() {
        // Its decisions wait for the verification.
        if known.is_pending() {
            continue;
        }
        let counts = known.connection.poller.counts();
        let status = known.target.status.as_ref();
        let Some(counts) = counts_to_write(counts, status, leading_for) else { continue };
        if let Err(error) = context.write_status(&known.target, &counts).await {
            is_complete = false;
            if refusals.is_due() {
                let target = known.target.name_any();
                tracing::warn!(target, "could not write the counts of the ApprovalTarget: {}", display_chain(&error));
            }
        }
    }
    is_complete
}

/// The fields of the status, if they must change.
fn counts_to_write(counts: PollCounts, status: Option<&ApprovalTargetStatus>, leading_for: Duration) -> Option<Value> {
    if counts.not_polled > 0 && leading_for < backoff::FIRST_POLLS {
        return None;
    }
    let written = status.map(|status| (status.pipelines, status.pending_requests));
    let current = (Some(i64::from(counts.pipelines)), Some(i64::from(counts.pending_requests)));
    (written != Some(current))
        .then(|| json!({ "pipelines": counts.pipelines, "pendingRequests": counts.pending_requests }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(pipelines: u32, not_polled: u32, pending_requests: u32) -> PollCounts {
        PollCounts { pipelines, not_polled, pending_requests }
    }

    fn status(pipelines: i64, pending_requests: i64) -> ApprovalTargetStatus {
        let (pipelines, pending_requests) = (Some(pipelines), Some(pending_requests));
        ApprovalTargetStatus { pipelines, pending_requests, ..ApprovalTargetStatus::default() }
    }

    #[test]
    fn counts_are_written_only_if_they_differ_from_the_status() {
        let at_start = Duration::ZERO;
        let none = json!({ "pipelines": 0, "pendingRequests": 0 });
        assert_eq!(counts_to_write(counts(0, 0, 0), None, at_start), Some(none.clone()));
        assert_eq!(counts_to_write(counts(0, 0, 0), Some(&ApprovalTargetStatus::default()), at_start), Some(none));
        assert_eq!(counts_to_write(counts(0, 0, 0), Some(&status(0, 0)), at_start), None);
        assert_eq!(counts_to_write(counts(2, 0, 3), Some(&status(2, 3)), at_start), None);
        for other in [status(2, 2), status(1, 3)] {
            let expected = json!({ "pipelines": 2, "pendingRequests": 3 });
            assert_eq!(counts_to_write(counts(2, 0, 3), Some(&other), at_start), Some(expected));
        }
    }

    #[test]
    fn a_new_leader_keeps_the_counts_until_it_has_polled_every_pipeline_but_not_forever() {
        let soon = backoff::FIRST_POLLS - Duration::from_millis(1);
        assert_eq!(counts_to_write(counts(2, 1, 1), Some(&status(2, 3)), soon), None);
        assert!(counts_to_write(counts(2, 0, 1), Some(&status(2, 3)), soon).is_some());
        assert!(counts_to_write(counts(2, 1, 1), Some(&status(2, 3)), backoff::FIRST_POLLS).is_some());
    }
}
