//! What every decision must report in the end, when nothing has gone wrong for a while: its outcome, or what it waits for.

use super::actual_state::ActualState;
use super::aws::PIPELINE;
use super::checks::{has_caveat, waits_for_target};
use super::rules::{is_same_action, user_time};
use super::users::UNKNOWN_REASON;
use super::{StoredDecision, World, uid};
use approval_operator::api::v1alpha1::{ApprovalDecision, ApprovalStatus, Binding, ReadyClass, Reason, Submission};
use approval_operator::decision::phase::ready;
use approval_operator::decision::{current_class, current_reason, is_edited, status_is_current};
use jiff::{SignedDuration, Timestamp};

impl World {
    /// In the end, every decision has reported its outcome, and none still waits without a cause. Returns the reasons.
    pub(super) fn check_final_state(&mut self) -> Result<Vec<Option<Reason>>, String> {
        self.aws().record_state();
        let clock = self.now() + SignedDuration::from_secs(5);
        let Some(end) = self.aws().newest().cloned() else { return Ok(Vec::new()) };
        let accepted = self.aws().accepted.clone();
        let mut reasons = Vec::new();
        for (number, stored) in self.decisions.iter().enumerate() {
            let Some(decision) = stored.live() else {
                reasons.push(None);
                continue;
            };
            let in_the_end = |why| format!("decision {number} in the end: {why}");
            self.check_final_decision(number, decision, &end, clock).map_err(in_the_end)?;
            let reason = current_reason(decision);
            let is_accepted = accepted
                .iter()
                .any(|ours| (&ours.uid, ours.generation) == (&uid(decision), decision.metadata.generation));
            let is_reported = matches!(reason, Some(Reason::Delivered | Reason::AlreadyDecided) | None)
                || decision.status.as_ref().is_some_and(has_caveat);
            let submission = decision.status.as_ref().and_then(|status| status.submission.as_ref());
            let is_visible = submission.is_none_or(|submission| self.is_recoverable(submission));
            if is_accepted && end.exists && !is_reported && is_visible {
                let reason = reason.map(Reason::as_str);
                return Err(in_the_end(format!("{reason:?} although CodePipeline accepted its result")));
            }
            check_versions(stored).map_err(in_the_end)?;
            reasons.push(reason);
        }
        Ok(reasons)
    }

    fn check_final_decision(
        &self,
        number: usize,
        decision: &ApprovalDecision,
        end: &ActualState,
        clock: Timestamp,
    ) -> Result<(), String> {
        let spec = &decision.spec;
        let class = current_class(decision).ok_or("it has no reason")?;
        let is_final = matches!(class, ReadyClass::Settled | ReadyClass::Stalled);
        let Some(reason) = current_reason(decision) else {
            // A final reason of a newer version stays.
            let is_kept = ready(decision).is_some_and(|ready| ready.reason == UNKNOWN_REASON) && is_final;
            return if is_kept { Ok(()) } else { Err("the reason of a newer version stayed".to_owned()) };
        };
        let name = reason.as_str();
        // Doubt lasts as long as nothing shows how the submission ended, and an edit is acted on after that.
        let submission = decision.status.as_ref().and_then(|status| status.submission.as_ref());
        let is_here = |sent: &Submission| sent.pipeline_name == PIPELINE && self.is_recoverable(sent);
        let exists = end.exists && submission.is_none_or(is_here);
        if reason == Reason::Unconfirmed && (!exists || is_untraceable(decision)) {
            return Ok(());
        }
        if is_edited(decision) || class != ReadyClass::Settled && !status_is_current(decision) {
            return Err(format!("{name} stayed although someone changed the decision"));
        }
        if class == ReadyClass::InFlight {
            return Err(format!("{name} did not end"));
        }
        let not_after = user_time(spec.not_after.as_ref());
        let is_over = not_after.is_some_and(|time| time < clock - SignedDuration::from_mins(2));
        let is_final = is_final && !waits_for_target(decision);
        match self.target_reason(decision) {
            _ if is_final => return Ok(()),
            Some(expected) if expected == reason => return Ok(()),
            // A poll of the other account that shows the same wakes no decision.
            Some(Reason::TargetForbidden) if reason == Reason::PipelineNotFound && spec.target_ref.is_none() => {
                return Ok(());
            }
            Some(expected) => return Err(format!("{name} although the target implies {}", expected.as_str())),
            None if waits_for_target(decision) => return Err(format!("{name} although it may use its target")),
            None => {}
        }
        if spec.suspend && class != ReadyClass::Suspended && !is_final {
            return Err(format!("{name} although the decision is suspended"));
        }
        if is_final || class == ReadyClass::Suspended && !is_over {
            return Ok(());
        }
        if is_over {
            return Err(format!("{name} after notAfter"));
        }
        match spec.binding() {
            Some(Binding::Execution(_)) if !self.is_here(decision) => {
                let is_missing = reason == Reason::PipelineNotFound;
                if is_missing { Ok(()) } else { Err(format!("{name} although its target has no pipelines")) }
            }
            Some(Binding::Execution(_)) if spec.action_name == "Prepare" => Ok(()),
            Some(Binding::Execution(binding)) => match end.implied(spec, binding, self.is_parallel()) {
                None if reason == Reason::ConflictingDecision && self.is_rejected(number, decision, end) => Ok(()),
                None => Err(format!("{name} although its request is pending")),
                Some(implied) if implied == reason => Ok(()),
                Some(implied) => Err(format!("{name} although the timeline implies {}", implied.as_str())),
            },
            Some(Binding::Token(_)) if reason == Reason::ConflictingDecision => {
                let is_rejected = self.is_rejected(number, decision, end);
                if is_rejected { Ok(()) } else { Err(format!("{name} although nothing rejects its request")) }
            }
            Some(Binding::Token(_)) | None => Err(format!("{name} although it does not name an execution")),
        }
    }

    /// Whether another decision rejects a request that this one names. A token that is not pending may belong to any execution.
    fn is_rejected(&self, number: usize, decision: &ApprovalDecision, end: &ActualState) -> bool {
        let spec = &decision.spec;
        let named = || end.requests.iter().filter(|request| end.names(spec, request));
        let is_unknown = spec.token.is_some() && named().all(|request| request.completion.is_some());
        let others = self.decisions.iter().enumerate().filter(|(other, _)| *other != number);
        let live = others.filter_map(|(_, stored)| stored.live()).map(|other| &other.spec);
        let mut rejections = live.filter(|other| other.result.status == ApprovalStatus::Rejected && !other.suspend);
        rejections.any(|other| {
            is_unknown && is_same_action(spec, other) || named().any(|request| end.rejects(other, request))
        })
    }
}

/// Whether neither view shows the submission, and the rules do not permit to send it again.
fn is_untraceable(decision: &ApprovalDecision) -> bool {
    ready(decision).is_some_and(|ready| ready.message.contains("no trace"))
}

/// Ready stays True until an edit.
fn check_versions(stored: &StoredDecision) -> Result<(), String> {
    let is_settled = |decision: &ApprovalDecision| current_class(decision) == Some(ReadyClass::Settled);
    let is_same = |two: &[ApprovalDecision]| {
        uid(&two[0]) == uid(&two[1]) && two[0].metadata.generation == two[1].metadata.generation
    };
    let is_current = |decision: &ApprovalDecision| !is_edited(decision);
    if stored
        .versions
        .windows(2)
        .any(|two| is_same(two) && is_current(&two[0]) && is_settled(&two[0]) && !is_settled(&two[1]))
    {
        return Err("Ready did not stay True".to_owned());
    }
    Ok(())
}
