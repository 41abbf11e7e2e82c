//! What a decision may report, and must report in the end, derived from the timeline of CodePipeline's true states. What the
//! operators saw and how they work does not matter here.

use super::actual_state::{ActualState, Execution, Request};
use super::{Checked, Replica, StoredDecision, World, uid};
use crate::fixtures::SETTINGS;
use approval_operator::api::v1alpha1::{
    ApprovalDecision, ApprovalDecisionSpec, Binding, ExecutionBinding, ReadyClass, Reason,
};
use approval_operator::decision::timing::{CLOCK_SKEW, HISTORY_LAG};
use approval_operator::decision::{Attempt, Outcome, Reconciliation, current_reason, status_is_current};
use jiff::{SignedDuration, Timestamp};
use local_codepipeline::model::ExecutionMode;
use std::collections::HashSet;

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
            Attempt::None | Attempt::NotPrepared(..) | Attempt::IntentRecorded(_) => None,
        };
        let since = sent.or(poll).or(observed.record.map(|record| record.started_at));
        let since = since.map_or(now, |started_at| started_at - offset);
        // What has just started is not visible yet.
        let since = since - SignedDuration::from_millis(self.scenario.lags[1]);
        self.claim(decision, outcome, since, clock)
            .map_err(|why| format!("decision {number} reported {}: {why}", reason.as_str()))
    }

    fn claim(&mut self, decision: &ApprovalDecision, outcome: &Outcome, since: Timestamp, clock: Timestamp) -> Checked {
        let (spec, uid, reason) = (&decision.spec, uid(decision), outcome.reason());
        let seems_ambiguous = self.seems_ambiguous(spec, since);
        let summary_required = self.scenario.summary_required;
        let is_ours = self.aws().service.ledger().iter().any(|entry| entry.caller == uid && entry.is_accepted());
        let later: Vec<&ActualState> = {
            let timeline = &self.aws().timeline;
            let first = timeline.iter().rposition(|state| state.at <= since).unwrap_or(0);
            timeline.iter().skip(first).collect()
        };
        let newest = later.last().ok_or("the timeline is empty")?;
        let submission = decision.status.as_ref().and_then(|status| status.submission.as_ref());
        // The request that a result was submitted for, or that the spec names. The pipeline may have been deleted since.
        let token = submission.map(|submission| &submission.token).or(spec.token.as_ref());
        let request = token.and_then(|token| later.iter().rev().find_map(|then| then.request_of(&token.0)));
        let request = request.filter(|request| request.is_at(spec));
        let result = request.and_then(Request::result);
        let is_same = result == Some(spec.result.status);
        let is_twin = request.and_then(|request| request.completion.as_ref()).zip(submission).is_some_and(
            |(completion, submission)| {
                let in_time =
                    submission.start_time - CLOCK_SKEW <= completion.at && completion.at <= submission.deadline;
                let has_summary =
                    spec.result.summary.is_empty() || completion.summary.as_ref() == Some(&spec.result.summary);
                in_time && has_summary && is_same
            },
        );
        let implied = |wanted: Reason| match spec.binding() {
            Ok(Binding::Execution(binding)) => later.iter().any(|state| state.implied(spec, binding) == Some(wanted)),
            Ok(Binding::Token(_)) | Err(_) => false,
        };
        // What is true of the execution alone, or of the newest visible execution of the revision. In PARALLEL mode, the request
        // of an older execution may be pending whose token is not visible yet. And a poll may see a stage or an action that
        // someone removes from the pipeline during the poll.
        let candidates: HashSet<&str> = later
            .iter()
            .filter_map(|state| match spec.binding() {
                Ok(Binding::Execution(ExecutionBinding::PipelineExecution(id))) => {
                    state.executions.iter().find(|execution| execution.id == id.0)
                }
                Ok(Binding::Execution(ExecutionBinding::SourceRevision(revision))) => {
                    state.executions.iter().find(|execution| execution.has(revision))
                }
                Ok(Binding::Token(_)) | Err(_) => None,
            })
            .map(|execution| execution.id.as_str())
            .collect();
        let execution_is = |wanted: Reason| {
            let is_one = |execution: &&Execution| candidates.contains(execution.id.as_str());
            later.iter().any(|state| {
                state
                    .executions
                    .iter()
                    .filter(is_one)
                    .any(|execution| state.of_execution(spec, execution) == Some(wanted))
            })
        };
        let not_after = spec.not_after.as_ref().and_then(|time| time.0.parse::<Timestamp>().ok());
        let created = decision.metadata.creation_timestamp.as_ref().map_or(Timestamp::MIN, |time| time.0);
        let is_expired = not_after.is_some_and(|time| time <= clock) || created + SETTINGS.waiting_limit <= clock;
        let is_true = match reason {
            Reason::Delivered => is_ours || is_twin,
            // An outcome may say that it is unproven where history does not show how the approval was completed.
            _ if is_ours && newest.exists && !is_unproven(reason, outcome) => false,
            Reason::AlreadyDecided => is_same || implied(reason) || execution_is(reason),
            Reason::ApprovalAlreadyCompleted => {
                request.is_some_and(|request| request.completion.is_some() && !is_same)
                    || implied(reason)
                    || execution_is(reason)
                    || is_unproven(reason, outcome)
            }
            Reason::InvalidApprovalToken => match request {
                None => matches!(spec.binding(), Ok(Binding::Token(_))),
                Some(Request { completion: None, .. }) => summary_required && spec.result.summary.is_empty(),
                Some(_) => true,
            },
            Reason::ActionNotFound if spec.action_name == "Prepare" => true,
            Reason::PipelineNotFound => later.iter().any(|state| !state.exists),
            Reason::StageNotFound | Reason::ActionNotFound => later.iter().any(|state| {
                let stage = state.stages.iter().find(|(stage, _)| *stage == spec.stage_name);
                stage.is_none_or(|(_, actions)| !actions.contains(&spec.action_name))
            }),
            Reason::ExecutionEnded if spec.action_name == "Prepare" => true,
            Reason::AmbiguousRevision => implied(reason) || seems_ambiguous,
            Reason::ExecutionEnded => spec.pipeline_execution_id.is_some() && execution_is(reason),
            Reason::PipelineExecutionNotFound => implied(reason),
            Reason::Expired => is_expired,
            Reason::Suspended => spec.suspend,
            Reason::ValidationFailed => false,
            Reason::Throttled
            | Reason::AccessDenied
            | Reason::CredentialsUnavailable
            | Reason::ServiceUnavailable
            | Reason::Waiting
            | Reason::Submitting
            | Reason::Unconfirmed => true,
        };
        if is_true {
            return Ok(());
        }
        let completion = request.map(|request| &request.completion);
        Err(format!("not true (CodePipeline accepted its result: {is_ours}; its request: {completion:?})"))
    }

    /// A result is about to be submitted to a request that the operator resolved. If several requests were visible as pending,
    /// the choice is a guess.
    pub(super) fn check_choice(&mut self, replica: Replica, reconciliation: &Reconciliation) -> Checked {
        let spec = &reconciliation.decision().spec;
        let offset = self.clock(replica).duration_since(self.now());
        let Some(pipeline) = reconciliation.observed().pipeline else { return Ok(()) };
        let [_, start, ..] = self.scenario.lags;
        let visible = pipeline.poll.started_at - offset - SignedDuration::from_millis(start);
        let Some(newest) = self.aws().newest() else { return Ok(()) };
        let pending = newest.requests.iter().filter(|request| {
            request.completion.is_none() && request.opened_at <= visible && newest.names(spec, request)
        });
        if pending.count() > 1 {
            return Err("an intent was decided although it is ambiguous which request the decision names".to_owned());
        }
        Ok(())
    }

    /// Whether several executions had a pending request at the same time, within the time that history may lag. If history
    /// shows a cancellation later than that, the canceled request seems to be pending beside later ones.
    fn seems_ambiguous(&mut self, spec: &ApprovalDecisionSpec, since: Timestamp) -> bool {
        let [.., cancellation] = self.scenario.lags;
        let cancellation = SignedDuration::from_millis(cancellation);
        let is_parallel = self.scenario.mode == ExecutionMode::Parallel;
        let aws = self.aws();
        let first = |lag| aws.timeline.iter().rposition(|state| state.at <= since - lag).unwrap_or(0);
        let pending = |state: &ActualState| {
            let open = |request: &&Request| request.completion.is_none() && state.names(spec, request);
            state.requests.iter().filter(open).map(|request| request.execution.clone()).collect::<HashSet<_>>()
        };
        let at_once = aws.timeline.iter().skip(first(HISTORY_LAG)).any(|state| pending(state).len() > 1);
        let one_by_one: HashSet<_> = aws.timeline.iter().skip(first(cancellation)).flat_map(pending).collect();
        is_parallel && (at_once || cancellation > HISTORY_LAG && one_by_one.len() > 1)
    }

    /// In the end, every decision has reported its outcome, and none still waits without a cause.
    pub(super) fn check_final_state(&mut self) -> Result<Vec<Option<Reason>>, String> {
        self.aws().record_state();
        let clock = self.now() + SignedDuration::from_secs(5);
        let Some(end) = self.aws().newest().cloned() else { return Ok(Vec::new()) };
        let mut reasons = Vec::new();
        for (number, stored) in self.decisions.iter().enumerate() {
            let Some(decision) = stored.live() else {
                reasons.push(None);
                continue;
            };
            let reason = check_final_decision(stored, decision, &end, clock);
            reasons.push(Some(reason.map_err(|why| format!("decision {number} in the end: {why}"))?));
        }
        Ok(reasons)
    }
}

fn check_final_decision(
    stored: &StoredDecision,
    decision: &ApprovalDecision,
    end: &ActualState,
    clock: Timestamp,
) -> Result<Reason, String> {
    let is_settled =
        |decision| current_reason(decision).is_some_and(|reason| reason.ready_class() == ReadyClass::Settled);
    if stored.versions.windows(2).any(|two| uid(&two[0]) == uid(&two[1]) && is_settled(&two[0]) && !is_settled(&two[1]))
    {
        return Err("Ready did not stay True".to_owned());
    }
    let (reason, spec) = (current_reason(decision).ok_or("it has no reason")?, &decision.spec);
    let (name, class) = (reason.as_str(), reason.ready_class());
    if matches!(class, ReadyClass::Retrying | ReadyClass::InFlight) {
        return Err(format!("{name} did not end"));
    }
    if !status_is_current(decision) && class != ReadyClass::Settled {
        return Err(format!("{name} stayed although someone changed the decision"));
    }
    if spec.suspend && !matches!(class, ReadyClass::Suspended | ReadyClass::Settled) {
        // No result can have been in flight when the decision was suspended, because the spec is locked then.
        return Err(format!("{name} although the decision is suspended"));
    }
    if class != ReadyClass::Waiting {
        return Ok(reason);
    }
    let not_after = spec.not_after.as_ref().and_then(|time| time.0.parse::<Timestamp>().ok());
    if not_after.is_some_and(|time| time < clock - SignedDuration::from_mins(2)) {
        return Err(format!("{name} after notAfter"));
    }
    match spec.binding() {
        Ok(Binding::Execution(_)) if spec.action_name == "Prepare" => Ok(reason),
        Ok(Binding::Execution(binding)) => match end.implied(spec, binding) {
            None => Err(format!("{name} although its request is pending")),
            Some(Reason::Waiting) => Ok(reason),
            Some(implied) => Err(format!("{name} although the timeline implies {}", implied.as_str())),
        },
        Ok(Binding::Token(_)) | Err(_) => Err(format!("{name} although it does not name an execution")),
    }
}

/// Whether an outcome says that another one is possible.
fn is_unproven(reason: Reason, outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Refused { record, .. } => reason == Reason::ApprovalAlreadyCompleted && record.is_none(),
        Outcome::Expired { caveat, .. } => caveat.is_some(),
        Outcome::Unconfirmed { .. } | Outcome::Submitting(_) => true,
        _ => false,
    }
}
