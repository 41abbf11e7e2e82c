//! What the API server knows that must hold when a replica records an intent, sends a request, or writes a status.

use super::acceptance::Acceptance;
use super::rules::user_time;
use super::{Checked, Replica, World, uid};
use approval_operator::api::v1alpha1::{
    ApprovalDecision, ApprovalDecisionStatus, ApprovalStatus, ReadyClass, Reason, Submission, SubmissionOutcome,
};
use approval_operator::decision::{
    Attempt, Message, Reconciliation, Stage, current_class, current_reason, is_edited, status_is_current,
};
use jiff::Timestamp;

/// The part of a message that says that doubt remains.
const CAVEAT: &str = "may have been accepted";

fn submission(decision: &ApprovalDecision) -> Option<&Submission> {
    decision.status.as_ref()?.submission.as_ref()
}

/// Whether a change of the target lets the decision continue.
pub fn waits_for_target(decision: &ApprovalDecision) -> bool {
    matches!(current_reason(decision), Some(Reason::TargetForbidden | Reason::TargetRequired))
}

/// Whether a status says that CodePipeline may have accepted a result nevertheless.
pub fn has_caveat(status: &ApprovalDecisionStatus) -> bool {
    status.conditions.iter().any(|condition| condition.message.contains(CAVEAT))
}

impl World {
    /// If this write can land, the decision must not be settled or Stalled, and unchanged since.
    pub(super) fn check_intent(&self, replica: Replica, number: usize, decision: &ApprovalDecision) -> Checked {
        let version = |decision: &ApprovalDecision| decision.metadata.resource_version.clone();
        let Some(live) = self.decisions[number].live().filter(|live| version(live) == version(decision)) else {
            return Ok(());
        };
        match current_class(live) {
            Some(ReadyClass::Settled) if !is_edited(live) => {
                Err(format!("{replica:?} recorded an intent although Ready is True"))
            }
            Some(ReadyClass::Stalled) if status_is_current(live) && !waits_for_target(live) => {
                Err(format!("{replica:?} recorded an intent although the decision is Stalled and unchanged"))
            }
            Some(
                ReadyClass::Settled
                | ReadyClass::Stalled
                | ReadyClass::Retrying
                | ReadyClass::InFlight
                | ReadyClass::Pending
                | ReadyClass::Waiting
                | ReadyClass::Suspended,
            )
            | None => Ok(()),
        }
    }

    /// A request may be sent only under its own recorded intent, and only if the decision allowed it when the intent was written.
    pub(super) fn check_send(&mut self, number: usize, reconciliation: &Reconciliation, now: Timestamp) -> Checked {
        let decision = reconciliation.decision();
        let Attempt::Submitted(intent, _) = reconciliation.observed().attempt else {
            return Err("a request was sent without an intent".to_owned());
        };
        if !self.sent.insert((uid(decision), decision.metadata.resource_version.clone())) {
            return Err("two requests were sent under one recorded intent".to_owned());
        }
        let Some(live) = self.decisions[number].live().filter(|live| uid(live) == uid(decision)) else {
            return Ok(());
        };
        let is_recorded = submission(live) == Some(&intent.submission);
        let not_after = user_time(decision.spec.not_after.as_ref());
        let violations = [
            (!is_recorded, "although its intent is not recorded"),
            (decision.spec.suspend, "although the decision was suspended"),
            (not_after.is_some_and(|time| time <= now), "after notAfter"),
        ];
        match violations.into_iter().find(|(is_violated, _)| *is_violated) {
            Some((_, violation)) => Err(format!("a request was sent {violation}")),
            None => Ok(()),
        }
    }

    /// The decisions that the replica knows to reject a request, and that nothing holds back.
    pub(super) fn rejections_of(
        &mut self,
        replica: Replica,
        number: usize,
        submission: &Submission,
    ) -> Vec<(usize, String, Option<i64>)> {
        self.aws().record_state();
        let now = self.clock(replica);
        let Some(state) = self.aws().newest().cloned() else { return Vec::new() };
        let Some(request) = state.request_of(&submission.token.0) else { return Vec::new() };
        let others = (0..self.decisions.len()).filter(|other| *other != number);
        let watch = &self.operators[replica as usize].watch;
        others
            .filter_map(|other| Some((other, watch.delivered(other)?)))
            .filter(|(other, rejection)| {
                let spec = &rejection.spec;
                let is_live = self.decisions[*other].live().is_some_and(|live| uid(live) == uid(rejection));
                let not_after = user_time(spec.not_after.as_ref());
                let is_settled = !is_edited(rejection)
                    && matches!(
                        current_reason(rejection),
                        Some(
                            Reason::Delivered
                                | Reason::AlreadyDecided
                                | Reason::ApprovalAlreadyCompleted
                                | Reason::Expired
                        )
                    );
                is_live
                    && spec.result.status == ApprovalStatus::Rejected
                    && !spec.suspend
                    && not_after.is_none_or(|not_after| now < not_after)
                    && !is_settled
                    && state.rejects(spec, request)
                    && self
                        .location_of_rejection(rejection)
                        .is_some_and(|location| location.account_id == submission.account_id)
            })
            .map(|(other, rejection)| (other, uid(rejection), rejection.metadata.generation))
            .collect()
    }

    /// A status must not drop a submission in doubt that CodePipeline accepted, or may still accept.
    pub(super) fn check_doubt(&mut self, live: &ApprovalDecision, status: &ApprovalDecisionStatus) -> Checked {
        let Some(before) = submission(live).filter(|submission| submission.outcome.is_none()) else { return Ok(()) };
        let after = status.submission.as_ref();
        let after = after.filter(|after| (&after.token, after.start_time) == (&before.token, before.start_time));
        match after.map(|after| after.outcome) {
            Some(None | Some(SubmissionOutcome::Accepted)) => return Ok(()),
            Some(Some(SubmissionOutcome::NotAccepted)) | None if has_caveat(status) => return Ok(()),
            Some(Some(SubmissionOutcome::NotAccepted)) | None => {}
        }
        let uid = uid(live);
        // The first attempt in doubt gives a submission its start time.
        let is_ours = |earlier: &Acceptance| {
            let key = |sent: &Submission| (sent.token.clone(), sent.stage_name.clone(), sent.action_name.clone());
            earlier.uid == uid
                && key(&earlier.submission) == key(before)
                && before.start_time <= earlier.submission.start_time
        };
        if self.aws().accepted.iter().any(is_ours) {
            return Err(format!("the submission of {uid} was dropped although CodePipeline accepted it"));
        }
        if self.aws().is_in_flight(&uid, &before.token) {
            return Err(format!("the submission of {uid} was dropped although it is in flight"));
        }
        Ok(())
    }

    pub(super) fn check_report(&mut self, replica: Replica, number: usize, reconciliation: &Reconciliation) -> Checked {
        let Stage::Report { outcome, .. } = reconciliation.stage() else {
            return Err("a status was written without an outcome".to_owned());
        };
        let message = Message::new(reconciliation.decision(), outcome).within(1_000);
        let reason = outcome.reason().as_str();
        self.note(format_args!("{replica:?} reports {reason} for decision {number}: {message}"));
        self.check_claim(replica, number, reconciliation, outcome)
    }
}
