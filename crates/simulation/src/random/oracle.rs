//! What a decision may report, derived from the timeline of CodePipeline's true states. What the operators saw and how they work does
//! not matter here. [`super::final_state`] says what it must report in the end.

use super::actual_state::{ActualState, Completion, Request};
use super::aws::PIPELINE;
use super::rules::{is_same_action, user_time};
use super::{Checked, Replica, World, uid};
use crate::fixtures::SETTINGS;
use approval_operator::api::v1alpha1::{
    ApprovalDecision, ApprovalDecisionSpec, ApprovalStatus, Binding, ExecutionBinding, Reason, Submission,
};
use approval_operator::decision::timing::{CLOCK_SKEW, HISTORY_LAG};
use approval_operator::decision::{Attempt, Outcome, Reconciliation, subject};
use jiff::{SignedDuration, Timestamp};
use local_codepipeline::model::{ExceptionKind, ExecutionMode, Outcome as Sent};
use std::collections::HashSet;

/// What a claim is judged by.
struct Window {
    /// Since then, the operator observed what it claims.
    since: Timestamp,
    /// The time by the replica's clock.
    clock: Timestamp,
    /// The true states since then, oldest first.
    states: Vec<ActualState>,
    /// The true states that history may have shown since then.
    shown: Vec<ActualState>,
}

impl World {
    /// What a status reports must have been true at some time since the operator started to observe it.
    pub(super) fn check_claim(
        &mut self,
        replica: Replica,
        number: usize,
        reconciliation: &Reconciliation,
        outcome: &Outcome,
    ) -> Checked {
        let (decision, reason) = (reconciliation.decision(), outcome.reason());
        // The API server refuses a write over an older version.
        let live = self.decisions[number].live();
        if live.is_none_or(|live| live.metadata.resource_version != decision.metadata.resource_version) {
            return Ok(());
        }
        self.aws().record_state();
        let (now, clock) = (self.now(), self.clock(replica));
        let offset = clock.duration_since(now);
        let observed = reconciliation.observed();
        let poll = observed.pipeline.map(|pipeline| pipeline.poll.started_at);
        let sent = match observed.attempt {
            Attempt::Submitted(intent, _) => Some(intent.submission.start_time),
            Attempt::None | Attempt::NotPrepared(..) | Attempt::NotAllowed(..) | Attempt::IntentRecorded(_) => None,
        };
        let since = sent.or(poll).map_or(now, |started_at| started_at - offset);
        // What has just started is not visible yet.
        let [_, start, ..] = self.scenario.lags.map(SignedDuration::from_millis);
        let window =
            Window { since, clock, states: self.states_since(since - start), shown: self.states_shown_since(since) };
        self.claim(number, &subject(decision), outcome, &window)
            .map_err(|why| format!("decision {number} reported {}: {why}", reason.as_str()))
    }

    fn states_since(&mut self, since: Timestamp) -> Vec<ActualState> {
        let timeline = &self.aws().timeline;
        let first = timeline.iter().rposition(|state| state.at <= since).unwrap_or(0);
        timeline.iter().skip(first).cloned().collect()
    }

    /// The true states that history may have shown since then.
    fn states_shown_since(&mut self, since: Timestamp) -> Vec<ActualState> {
        let [_, start, decided, _] = self.scenario.lags.map(SignedDuration::from_millis);
        self.states_since(since - start - decided)
    }

    pub(super) fn is_parallel(&self) -> bool {
        self.scenario.mode == ExecutionMode::Parallel
    }

    fn claim(&mut self, number: usize, decision: &ApprovalDecision, outcome: &Outcome, window: &Window) -> Checked {
        let (spec, uid, reason) = (&decision.spec, uid(decision), outcome.reason());
        let is_parallel = self.is_parallel();
        let newest = window.states.last().ok_or("the timeline is empty")?;
        let submission = decision.status.as_ref().and_then(|status| status.submission.as_ref());
        let generation = decision.metadata.generation;
        let is_accepted = self.aws().accepted.iter().any(|ours| ours.uid == uid && ours.generation == generation);
        let is_ours = submission.is_some_and(|submission| {
            self.aws().accepted.iter().any(|ours| ours.uid == uid && ours.submission.token == submission.token)
        });
        // The request that a result was submitted for, or that the spec names. The pipeline may have been deleted since.
        let token = match spec.binding() {
            Some(Binding::Token(token)) => Some(token),
            Some(Binding::Execution(_)) | None => submission.map(|submission| &submission.token),
        };
        let known = token.and_then(|token| self.aws().timeline.iter().rev().find_map(|then| then.request_of(&token.0)));
        let known = known.cloned();
        let request = known.as_ref().filter(|request| request.is_at(spec));
        // A failed request that refused our token as completed counts as rejected, even if it timed out.
        let is_presumed_rejected = request.is_some_and(|request| {
            let is_failed = request.completion.as_ref().is_some_and(|completion| completion.result.is_none());
            is_failed && self.was_refused_as_completed(&uid, request)
        });
        let result = request.and_then(Request::result).or(is_presumed_rejected.then_some(ApprovalStatus::Rejected));
        let is_same = result == Some(spec.result.status);
        let implied = |states: &[ActualState], wanted: Reason| match spec.binding() {
            Some(Binding::Execution(binding)) => {
                states.iter().any(|state| state.implied(spec, binding, is_parallel) == Some(wanted))
            }
            Some(Binding::Token(_)) | None => false,
        };
        let not_after = user_time(spec.not_after.as_ref());
        let created = decision.metadata.creation_timestamp.as_ref().map_or(Timestamp::MIN, |time| time.0);
        let is_expired =
            not_after.is_some_and(|time| time <= window.clock) || created + SETTINGS.waiting_limit <= window.clock;
        let is_true = match reason {
            Reason::Delivered => is_ours || submission.is_some_and(|sent| is_twin(request, sent)),
            // An outcome may say that it is unproven where history does not show how the approval was completed.
            reason if is_accepted && newest.exists && !is_unproven(outcome) => reason == Reason::AlreadyDecided,
            Reason::AlreadyDecided => is_same || implied(&window.shown, reason),
            Reason::ApprovalAlreadyCompleted => {
                let is_other = |completion: &Completion| completion.result != Some(spec.result.status);
                request.and_then(|request| request.completion.as_ref()).is_some_and(is_other)
                    || implied(&window.shown, reason)
                    || is_unproven(outcome)
            }
            Reason::InvalidApprovalToken => match request {
                None => matches!(spec.binding(), Some(Binding::Token(_))),
                Some(Request { completion: None, .. }) => {
                    self.scenario.summary_required && spec.result.summary.is_empty()
                }
                Some(_) => true,
            },
            Reason::ActionNotFound if spec.action_name == "Prepare" => true,
            Reason::PipelineNotFound => {
                let is_elsewhere = spec.pipeline_name != PIPELINE || self.was_elsewhere();
                is_elsewhere || window.states.iter().any(|state| !state.exists)
            }
            Reason::StageNotFound | Reason::ActionNotFound => {
                let lacks_it = |state: &ActualState| {
                    let stage = state.stages.iter().find(|(stage, _)| *stage == spec.stage_name);
                    stage.is_none_or(|(_, actions)| !actions.contains(&spec.action_name))
                };
                // A refusal is reported after the pipeline was read once more for its names, and it was true when CodePipeline raised it.
                let refused = matches!(outcome, Outcome::Refused { .. }).then_some(submission).flatten();
                let earlier = refused.map(|submission| self.states_since(submission.start_time - CLOCK_SKEW));
                window.states.iter().chain(earlier.iter().flatten()).any(lacks_it)
            }
            Reason::ExecutionEnded => spec.action_name == "Prepare" || implied(&window.states, reason),
            Reason::AmbiguousRevision => implied(&window.states, reason) || self.seems_ambiguous(spec, window.since),
            Reason::PipelineExecutionNotFound => implied(&window.states, reason),
            Reason::Expired => {
                // The poll that shows no response started after the limit.
                let limit = not_after.map(|limit| limit - window.clock.duration_since(self.now()));
                let shown = self.states_shown_since(limit.map_or(window.since, |limit| limit.max(window.since)));
                // The history of another account has no response.
                let is_shown = !self.was_elsewhere() && is_settled(spec, &shown, is_parallel);
                is_expired && (is_unproven(outcome) || !is_shown)
            }
            // Only the schema has it.
            Reason::Pending => false,
            // The credentials were for another account.
            Reason::TargetForbidden => self.was_elsewhere(),
            Reason::TargetNotFound | Reason::TargetNotReady | Reason::TargetRequired => self.scenario.target.is_some(),
            Reason::Suspended => spec.suspend,
            Reason::ConflictingDecision => self.has_conflict(number, spec),
            Reason::ValidationFailed => {
                user_time(spec.ignore_responses_before.as_ref()).is_some_and(|time| window.clock < time)
            }
            Reason::Throttled
            | Reason::AccessDenied
            | Reason::CredentialsUnavailable
            | Reason::ServiceUnavailable
            | Reason::ClockSkew
            | Reason::Waiting
            | Reason::Submitting
            | Reason::Unconfirmed => true,
        };
        if is_true {
            return Ok(());
        }
        let completion = request.map(|request| &request.completion);
        Err(format!("not true (CodePipeline accepted its result: {is_accepted}; its request: {completion:?})"))
    }

    fn was_refused_as_completed(&mut self, uid: &str, request: &Request) -> bool {
        let callers = self.aws().callers.clone();
        self.aws().service.ledger().iter().any(|entry| {
            let is_refused = matches!(&entry.outcome, Sent::Refused(exception) if exception.kind == ExceptionKind::ApprovalAlreadyCompleted);
            is_refused && callers.get(&entry.caller).is_some_and(|sender| sender == uid) && request.token.as_ref() == Some(&entry.token)
        })
    }

    /// Whether some version of another decision rejects a request that this one may approve. Which execution a token belongs to is not
    /// always visible; then every rejection of the action counts.
    fn has_conflict(&mut self, number: usize, spec: &ApprovalDecisionSpec) -> bool {
        let timeline = self.aws().timeline.clone();
        let others = self.decisions.iter().enumerate().filter(|(other, _)| *other != number);
        let versions = others.flat_map(|(_, stored)| &stored.versions).map(|other| &other.spec);
        let mut rejections = versions.filter(|other| other.result.status == ApprovalStatus::Rejected);
        rejections.any(|other| {
            spec.token.is_some() && (other.token.is_none() || other.token == spec.token) && is_same_action(spec, other)
                || timeline.iter().any(|state| {
                    let mut named = state.requests.iter().filter(|request| state.names(spec, request));
                    named.any(|request| state.rejects(other, request))
                })
        })
    }

    /// Whether several executions had a pending request at the same time, within the time that history may lag. If history
    /// shows a cancellation later than that, the canceled request seems to be pending beside later ones.
    fn seems_ambiguous(&mut self, spec: &ApprovalDecisionSpec, since: Timestamp) -> bool {
        let [.., cancellation] = self.scenario.lags;
        let cancellation = SignedDuration::from_millis(cancellation);
        let is_parallel = self.is_parallel();
        let aws = self.aws();
        let first = |lag| aws.timeline.iter().rposition(|state| state.at <= since - lag).unwrap_or(0);
        let open = |state: &ActualState, is_meant: &dyn Fn(&Request) -> bool| {
            let open = state.requests.iter().filter(|request| request.completion.is_none() && is_meant(request));
            open.map(|request| request.execution.clone()).collect::<HashSet<_>>()
        };
        let pending = |state: &ActualState| open(state, &|request| state.names(spec, request));
        // What a decision rejects need not be covered.
        let not_covered =
            |state: &ActualState| open(state, &|request| state.rejects(spec, request) && !state.names(spec, request));
        let lag = cancellation.max(HISTORY_LAG);
        if is_parallel && aws.timeline.iter().skip(first(lag)).any(|state| !not_covered(state).is_empty()) {
            return true;
        }
        let at_once = aws.timeline.iter().skip(first(HISTORY_LAG)).any(|state| pending(state).len() > 1);
        let one_by_one: HashSet<_> = aws.timeline.iter().skip(first(cancellation)).flat_map(pending).collect();
        is_parallel && (at_once || cancellation > HISTORY_LAG && one_by_one.len() > 1)
    }
}

/// Whether someone else responded as the submission would have, while it was in flight: CodePipeline does not tell them apart.
fn is_twin(request: Option<&Request>, submission: &Submission) -> bool {
    // The name of the session does.
    if submission.session_name.is_some() {
        return false;
    }
    let Some(completion) = request.and_then(|request| request.completion.as_ref()) else { return false };
    let result = &submission.result;
    let in_time = submission.start_time - CLOCK_SKEW <= completion.at && completion.at <= submission.deadline;
    let has_summary = result.summary.is_empty() || completion.summary.as_ref() == Some(&result.summary);
    in_time && has_summary && completion.result == Some(result.status)
}

/// Whether a response had settled a decision that names executions all along.
fn is_settled(spec: &ApprovalDecisionSpec, states: &[ActualState], is_parallel: bool) -> bool {
    let is_response = |binding: ExecutionBinding<'_>, state: &ActualState| {
        let implied = state.implied(spec, binding, is_parallel);
        matches!(implied, Some(Reason::AlreadyDecided | Reason::ApprovalAlreadyCompleted))
    };
    match spec.binding() {
        Some(Binding::Execution(binding)) => states.iter().all(|state| is_response(binding, state)),
        Some(Binding::Token(_)) | None => false,
    }
}

/// Whether an outcome says that another one is possible.
fn is_unproven(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Refused { record: None, .. } | Outcome::Unconfirmed { .. } | Outcome::Submitting(_) => true,
        Outcome::Expired { caveat, .. } | Outcome::Refused { caveat, .. } => caveat.is_some(),
        _ => false,
    }
}
