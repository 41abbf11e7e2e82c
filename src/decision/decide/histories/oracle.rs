//! What a decision has to come to, from the chronicle of what the service did: neither what anybody saw of it nor how the
//! operator goes about it matters here.

use super::aws::revisions_of;
use super::operator::Round;
use super::{Checked, Kept, Who, World, uid};
use crate::api::v1alpha1::{ApprovalDecision, ApprovalDecisionSpec, ApprovalStatus, Binding, Reason, RunBinding};
use crate::api::v1alpha1::{SourceRevision, Standing};
use crate::decision::decide::Attempt;
use crate::decision::fixtures::SETTINGS;
use crate::decision::limits::{MARGIN, RECORD_LAG};
use crate::decision::outcome::Outcome;
use crate::decision::progress::stands;
use crate::decision::status::current_reason;
use jiff::{SignedDuration, Timestamp};
use local_codepipeline::api;
use local_codepipeline::model::ExecutionMode;
use std::collections::HashSet;

/// What was so at a time, and until the next is written down.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub at: Timestamp,
    /// Whether there is the pipeline.
    pub exists: bool,
    /// The stages and their actions.
    pub stages: Vec<(String, Vec<String>)>,
    /// The newest first.
    pub runs: Vec<Run>,
    /// The newest first.
    pub requests: Vec<Request>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Run {
    pub id: String,
    pub is_over: bool,
    pub revisions: Vec<SourceRevision>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Request {
    pub run: String,
    pub stage: String,
    pub action: String,
    pub token: Option<String>,
    pub opened: Timestamp,
    /// How it ended, if it did.
    pub end: Option<End>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct End {
    /// None where nobody answered.
    pub result: Option<ApprovalStatus>,
    pub at: Timestamp,
    pub summary: Option<String>,
}

impl Run {
    pub fn of(run: api::PipelineExecutionSummary) -> Self {
        let is_over = !matches!(run.status, api::ExecutionStatus::InProgress | api::ExecutionStatus::Stopping);
        Self { id: run.pipeline_execution_id.to_string(), is_over, revisions: revisions_of(run.source_revisions) }
    }

    fn has(&self, wanted: &SourceRevision) -> bool {
        let by = |found: &SourceRevision| wanted.action_name.is_none() || wanted.action_name == found.action_name;
        self.revisions.iter().any(|found| found.revision_id == wanted.revision_id && by(found))
    }
}

impl Request {
    pub fn of(entry: &api::ActionExecutionDetail, token: Option<String>) -> Self {
        let result = match (entry.status, &entry.updated_by) {
            (api::ActionExecutionStatus::Succeeded, _) => Some(ApprovalStatus::Approved),
            (api::ActionExecutionStatus::Failed, Some(_)) => Some(ApprovalStatus::Rejected),
            _ => None,
        };
        let summary = entry.output.execution_result.external_execution_summary.clone();
        let end = End { result, at: entry.last_update_time.0, summary };
        Self {
            run: entry.pipeline_execution_id.to_string(),
            stage: entry.stage_name.to_string(),
            action: entry.action_name.to_string(),
            token,
            opened: entry.start_time.0,
            end: (entry.status != api::ActionExecutionStatus::InProgress).then_some(end),
        }
    }

    fn is_at(&self, spec: &ApprovalDecisionSpec) -> bool {
        self.stage == spec.stage_name && self.action == spec.action_name
    }

    fn result(&self) -> Option<ApprovalStatus> {
        self.end.as_ref().and_then(|end| end.result)
    }
}

impl Snapshot {
    pub fn empty(at: Timestamp) -> Self {
        Self { at, exists: true, stages: Vec::new(), runs: Vec::new(), requests: Vec::new() }
    }

    pub fn is_as(&self, other: &Self) -> bool {
        (self.exists, &self.stages, &self.runs, &self.requests)
            == (other.exists, &other.stages, &other.runs, &other.requests)
    }

    /// Whether a decision may answer a request.
    pub fn names(&self, spec: &ApprovalDecisionSpec, request: &Request) -> bool {
        let run = self.runs.iter().find(|run| run.id == request.run);
        match spec.binding() {
            Ok(Binding::Token(token)) => request.token.as_ref() == Some(&token.0),
            Ok(Binding::Run(RunBinding::PipelineExecution(id))) => request.is_at(spec) && request.run == id.0,
            Ok(Binding::Run(RunBinding::SourceRevision(revision))) => {
                request.is_at(spec) && run.is_some_and(|run| run.has(revision))
            }
            Err(_) => false,
        }
    }

    fn newest_request(&self, spec: &ApprovalDecisionSpec, run: &Run) -> Option<&Request> {
        self.requests.iter().find(|request| request.run == run.id && request.is_at(spec))
    }

    fn request_of(&self, token: &str) -> Option<&Request> {
        self.requests.iter().find(|request| request.token.as_deref() == Some(token))
    }

    /// What a decision that is bound to a run has to be told if everything is as it is now; nothing where its one request is
    /// pending, so that it has to be answered.
    fn implied(&self, spec: &ApprovalDecisionSpec, run: RunBinding<'_>) -> Option<Reason> {
        if !self.exists {
            return Some(Reason::PipelineNotFound);
        }
        let Some((_, actions)) = self.stages.iter().find(|(stage, _)| *stage == spec.stage_name) else {
            return Some(Reason::StageNotFound);
        };
        if !actions.contains(&spec.action_name) {
            return Some(Reason::ActionNotFound);
        }
        match run {
            RunBinding::PipelineExecution(id) => match self.runs.iter().find(|run| run.id == id.0) {
                None => Some(Reason::PipelineExecutionNotFound),
                Some(run) => self.of_run(spec, run),
            },
            RunBinding::SourceRevision(revision) => {
                let runs = || self.runs.iter().filter(|run| run.has(revision));
                let is_pending = |run: &&Run| self.newest_request(spec, run).is_some_and(|found| found.end.is_none());
                match (runs().filter(is_pending).count(), runs().next()) {
                    (1, _) => None,
                    (0, Some(newest)) => match self.of_run(spec, newest) {
                        // Another run of the revision may come.
                        Some(Reason::ExecutionEnded) => Some(Reason::Waiting),
                        reason => reason,
                    },
                    (0, None) => Some(Reason::Waiting),
                    (_, _) => Some(Reason::AmbiguousRevision),
                }
            }
        }
    }

    fn of_run(&self, spec: &ApprovalDecisionSpec, run: &Run) -> Option<Reason> {
        match self.newest_request(spec, run) {
            Some(Request { end: None, .. }) => None,
            // What failed may be retried, and other actions of the stage come to their end first.
            Some(request) if !run.is_over && request.result() != Some(ApprovalStatus::Approved) => {
                Some(Reason::Waiting)
            }
            Some(request) if request.result().is_some() => Some(match request.result() {
                Some(result) if result == spec.result.status => Reason::AlreadyDecided,
                _ => Reason::ApprovalAlreadyCompleted,
            }),
            Some(_) | None if run.is_over => Some(Reason::ExecutionEnded),
            Some(_) | None => Some(Reason::Waiting),
        }
    }
}

impl World {
    /// What a status is about to tell has to have been so at some time since what was seen began to be looked at.
    pub(super) fn check_claim(&mut self, who: Who, number: usize, round: &Round, outcome: &Outcome) -> Checked {
        let (decision, reason) = (&round.decision, outcome.reason());
        // What is known to be outdated at the API server is told to nobody.
        let live = self.decisions[number].live();
        if live.is_none_or(|live| live.metadata.resource_version != decision.metadata.resource_version) {
            return Ok(());
        }
        self.aws().write_down();
        let (now, clock) = (self.now(), self.clock(who));
        let ahead = clock.duration_since(now);
        let seen = round.sight.as_ref().map(|sight| sight.reading.begun);
        let sent = match &round.attempt {
            Attempt::Answered(intent, _) => Some(intent.submission.start_time),
            Attempt::None | Attempt::NotPrepared(..) | Attempt::Intended(_) => None,
        };
        let since =
            sent.or(seen).or(round.record.as_ref().map(|record| record.begun)).map_or(now, |begun| begun - ahead);
        // What has just begun is not to be seen yet.
        let since = since - SignedDuration::from_millis(self.setting.lags[1]);
        self.claim(decision, outcome, since, clock)
            .map_err(|why| format!("decision {number} was told {}: {why}", reason.as_str()))
    }

    fn claim(&mut self, decision: &ApprovalDecision, outcome: &Outcome, since: Timestamp, clock: Timestamp) -> Checked {
        let (spec, uid, reason) = (&decision.spec, uid(decision), outcome.reason());
        let seems_ambiguous = self.seems_ambiguous(spec, since);
        let summary_required = self.setting.summary_required;
        let is_ours = self.aws().service.ledger().iter().any(|entry| entry.caller == uid && entry.is_accepted());
        let later: Vec<&Snapshot> = {
            let chronicle = &self.aws().chronicle;
            let first = chronicle.iter().rposition(|snapshot| snapshot.at <= since).unwrap_or(0);
            chronicle.iter().skip(first).collect()
        };
        let newest = later.last().ok_or("there is no chronicle")?;
        let submission = decision.status.as_ref().and_then(|status| status.submission.as_ref());
        // The request that it was about to answer, or was bound to; the pipeline may be deleted meanwhile.
        let token = submission.map(|submission| &submission.token).or(spec.token.as_ref());
        let request = token.and_then(|token| later.iter().rev().find_map(|then| then.request_of(&token.0)));
        let request = request.filter(|request| request.is_at(spec));
        let result = request.and_then(Request::result);
        let is_same = result == Some(spec.result.status);
        let twin = request.and_then(|request| request.end.as_ref()).zip(submission).is_some_and(|(end, submission)| {
            let in_time = submission.start_time - MARGIN <= end.at && end.at <= submission.deadline;
            let words = spec.result.summary.is_empty() || end.summary.as_ref() == Some(&spec.result.summary);
            in_time && words && is_same
        });
        let implied = |wanted: Reason| match spec.binding() {
            Ok(Binding::Run(run)) => later.iter().any(|snapshot| snapshot.implied(spec, run) == Some(wanted)),
            Ok(Binding::Token(_)) | Err(_) => false,
        };
        // What is true of the run alone, be it the newest of its revision that could be seen. Where runs do not meet, the
        // request of an older one may be pending whose token is not to be seen yet; and a look may see a stage or an action
        // that is taken out of the pipeline meanwhile.
        let candidates: HashSet<&str> = later
            .iter()
            .filter_map(|snapshot| match spec.binding() {
                Ok(Binding::Run(RunBinding::PipelineExecution(id))) => snapshot.runs.iter().find(|run| run.id == id.0),
                Ok(Binding::Run(RunBinding::SourceRevision(revision))) => {
                    snapshot.runs.iter().find(|run| run.has(revision))
                }
                Ok(Binding::Token(_)) | Err(_) => None,
            })
            .map(|run| run.id.as_str())
            .collect();
        let run_is = |wanted: Reason| {
            let is_one = |run: &&Run| candidates.contains(run.id.as_str());
            later.iter().any(|snapshot| {
                snapshot.runs.iter().filter(is_one).any(|run| snapshot.of_run(spec, run) == Some(wanted))
            })
        };
        let not_after = spec.not_after.as_ref().and_then(|time| time.0.parse::<Timestamp>().ok());
        let created = decision.metadata.creation_timestamp.as_ref().map_or(Timestamp::MIN, |time| time.0);
        let is_over = not_after.is_some_and(|time| time <= clock) || created + SETTINGS.waiting_limit <= clock;
        let is_true = match reason {
            Reason::Delivered => is_ours || twin,
            // What becomes of a decision is unproven if the record cannot tell.
            _ if is_ours && newest.exists && !may_be_unproven(reason, outcome) => false,
            Reason::AlreadyDecided => is_same || implied(reason) || run_is(reason),
            Reason::ApprovalAlreadyCompleted => {
                request.is_some_and(|request| request.end.is_some() && !is_same)
                    || implied(reason)
                    || run_is(reason)
                    || may_be_unproven(reason, outcome)
            }
            Reason::InvalidApprovalToken => match request {
                None => matches!(spec.binding(), Ok(Binding::Token(_))),
                Some(Request { end: None, .. }) => summary_required && spec.result.summary.is_empty(),
                Some(_) => true,
            },
            Reason::ActionNotFound if spec.action_name == "Prepare" => true,
            Reason::PipelineNotFound => later.iter().any(|snapshot| !snapshot.exists),
            Reason::StageNotFound | Reason::ActionNotFound => later.iter().any(|snapshot| {
                let stage = snapshot.stages.iter().find(|(stage, _)| *stage == spec.stage_name);
                stage.is_none_or(|(_, actions)| !actions.contains(&spec.action_name))
            }),
            Reason::ExecutionEnded if spec.action_name == "Prepare" => true,
            Reason::AmbiguousRevision => implied(reason) || seems_ambiguous,
            Reason::ExecutionEnded => spec.pipeline_execution_id.is_some() && run_is(reason),
            Reason::PipelineExecutionNotFound => implied(reason),
            Reason::Expired => is_over,
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
        let now: Vec<&Option<End>> = request.iter().map(|request| &request.end).collect();
        Err(format!("that is not true (its answer was taken: {is_ours}, its request: {now:?})"))
    }

    /// An answer is about to be sent to a request that was found: where several could be seen to be pending, it is a guess.
    pub(super) fn check_choice(&mut self, who: Who, round: &Round) -> Checked {
        let spec = &round.decision.spec;
        let ahead = self.clock(who).duration_since(self.now());
        let Some(sight) = &round.sight else { return Ok(()) };
        let [_, start, ..] = self.setting.lags;
        let opened = sight.reading.begun - ahead - SignedDuration::from_millis(start);
        let Some(newest) = self.aws().newest() else { return Ok(()) };
        let pending = newest
            .requests
            .iter()
            .filter(|request| request.end.is_none() && request.opened <= opened && newest.names(spec, request));
        if pending.count() > 1 {
            return Err("an answer was intended though it is ambiguous which request the decision names".to_owned());
        }
        Ok(())
    }

    /// Whether several runs had a request pending at once, within the time that history may lag behind. A cancellation that
    /// it learns of later than that makes a request seem pending beside those that came after it.
    fn seems_ambiguous(&mut self, spec: &ApprovalDecisionSpec, since: Timestamp) -> bool {
        let [.., cancellation] = self.setting.lags;
        let cancellation = SignedDuration::from_millis(cancellation);
        let parallel = self.setting.mode == ExecutionMode::Parallel;
        let aws = self.aws();
        let first = |lag| aws.chronicle.iter().rposition(|snapshot| snapshot.at <= since - lag).unwrap_or(0);
        let pending = |snapshot: &Snapshot| {
            let open = |request: &&Request| request.end.is_none() && snapshot.names(spec, request);
            snapshot.requests.iter().filter(open).map(|request| request.run.clone()).collect::<HashSet<_>>()
        };
        let at_once = aws.chronicle.iter().skip(first(RECORD_LAG)).any(|snapshot| pending(snapshot).len() > 1);
        let one_by_one: HashSet<_> = aws.chronicle.iter().skip(first(cancellation)).flat_map(pending).collect();
        parallel && (at_once || cancellation > RECORD_LAG && one_by_one.len() > 1)
    }

    /// In the end, every decision was told what became of it, and none waits for what is there.
    pub(super) fn judge(&mut self) -> Result<Vec<Option<Reason>>, String> {
        self.aws().write_down();
        let clock = self.now() + SignedDuration::from_secs(5);
        let Some(end) = self.aws().newest().cloned() else { return Ok(Vec::new()) };
        let mut reasons = Vec::new();
        for (number, kept) in self.decisions.iter().enumerate() {
            let Some(decision) = kept.live() else {
                reasons.push(None);
                continue;
            };
            let reason =
                judge_one(kept, decision, &end, clock).map_err(|why| format!("decision {number} in the end: {why}"))?;
            reasons.push(Some(reason));
        }
        Ok(reasons)
    }
}

fn judge_one(kept: &Kept, decision: &ApprovalDecision, end: &Snapshot, clock: Timestamp) -> Result<Reason, String> {
    let settled = |decision| current_reason(decision).is_some_and(|reason| reason.standing() == Standing::Settled);
    if kept.versions.windows(2).any(|two| uid(&two[0]) == uid(&two[1]) && settled(&two[0]) && !settled(&two[1])) {
        return Err("Ready did not stay True".to_owned());
    }
    let (reason, spec) = (current_reason(decision).ok_or("it came to nothing")?, &decision.spec);
    let (name, standing) = (reason.as_str(), reason.standing());
    if matches!(standing, Standing::Retrying | Standing::UnderWay) {
        return Err(format!("{name} did not end"));
    }
    if !stands(decision) && standing != Standing::Settled {
        return Err(format!("{name} stayed though somebody touched the decision"));
    }
    if spec.suspend && !matches!(standing, Standing::Suspended | Standing::Settled) {
        // An answer that was under way when somebody suspended the decision cannot be: the spec is locked then.
        return Err(format!("{name} though the decision is suspended"));
    }
    if standing != Standing::Waiting {
        return Ok(reason);
    }
    let not_after = spec.not_after.as_ref().and_then(|time| time.0.parse::<Timestamp>().ok());
    if not_after.is_some_and(|time| time < clock - SignedDuration::from_mins(2)) {
        return Err(format!("{name} after the time was over"));
    }
    match spec.binding() {
        Ok(Binding::Run(_)) if spec.action_name == "Prepare" => Ok(reason),
        Ok(Binding::Run(run)) => match end.implied(spec, run) {
            None => Err(format!("{name} though its request is pending")),
            Some(Reason::Waiting) => Ok(reason),
            Some(implied) => Err(format!("{name} though the history implies {}", implied.as_str())),
        },
        Ok(Binding::Token(_)) | Err(_) => Err(format!("{name} though it is bound to no run")),
    }
}

/// Whether an outcome says itself that it may be otherwise.
fn may_be_unproven(reason: Reason, outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Refused { record, .. } => reason == Reason::ApprovalAlreadyCompleted && record.is_none(),
        Outcome::Expired { unproven, .. } => unproven.is_some(),
        Outcome::Unconfirmed { .. } | Outcome::Submitting(_) => true,
        _ => false,
    }
}
