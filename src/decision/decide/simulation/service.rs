//! CodePipeline as the operator sees it: two approval requests, the first answer to each counts, and a record of them that
//! lags where a new run has taken a request's place in the state view.

use super::{Checked, Which, World, token, uid};
use crate::api::v1alpha1::{ApprovalDecision, ApprovalStatus, Token};
use crate::codepipeline::{CallError, ExecutionIds, Finished, Record, Refusal};
use crate::decision::fixtures;
use jiff::{SignedDuration, Timestamp};

#[derive(Default)]
pub struct Service {
    pub requests: [Request; 2],
    pub vanished: bool,
    /// Answers on their way, and when they arrive.
    slow: Vec<(Timestamp, ApprovalDecision)>,
    /// The uids of the decisions whose answers were taken.
    pub taken: Vec<String>,
}

#[derive(Default)]
pub struct Request {
    pub state: State,
    /// Whether a new run has taken its place in the state view.
    superseded: bool,
}

#[derive(Clone, Debug, Default)]
pub enum State {
    #[default]
    Pending,
    /// The pipeline was edited.
    Cancelled,
    Finished(Finished),
}

fn ids(number: usize) -> ExecutionIds {
    ExecutionIds { pipeline: Some(format!("run {number}")), action: Some(format!("action {number}")) }
}

impl Service {
    pub fn find(&self, wanted: &Token) -> Option<usize> {
        [Which::First, Which::Second].into_iter().position(|which| token(which) == *wanted)
    }
}

impl World {
    fn ended(&self, number: usize, result: Option<ApprovalStatus>, summary: &str, by: Option<&str>) -> Finished {
        Finished {
            result,
            summary: Some(summary.to_owned()),
            at: Some(self.now),
            by: by.map(str::to_owned),
            ids: ids(number),
        }
    }

    pub(super) fn time_out(&mut self, which: Which) {
        let finished = self.ended(which as usize, None, "", None);
        self.end(which, "times out", State::Finished(finished));
    }

    pub(super) fn cancel(&mut self, which: Which) {
        self.end(which, "is cancelled", State::Cancelled);
    }

    fn end(&mut self, which: Which, how: &str, state: State) {
        if let Some(request) = self.service.requests.get_mut(which as usize)
            && matches!(request.state, State::Pending)
        {
            request.state = state;
            self.note(format_args!("the {which:?} request {how}"));
        }
    }

    pub(super) fn new_run(&mut self, which: Which) {
        if let Some(request) = self.service.requests.get_mut(which as usize)
            && !matches!(request.state, State::Pending)
        {
            request.superseded = true;
            self.note(format_args!("a new run takes the place of the {which:?} request"));
        }
    }

    pub(super) fn put(
        &mut self,
        token: &Token,
        result: ApprovalStatus,
        summary: &str,
        by: &str,
    ) -> Result<Timestamp, CallError> {
        if self.service.vanished {
            return Err(fixtures::refusal(Refusal::PipelineNotFound));
        }
        let Some(number) = self.service.find(token) else {
            return Err(fixtures::refusal(Refusal::InvalidApprovalToken));
        };
        match &self.service.requests[number].state {
            State::Cancelled => Err(fixtures::refusal(Refusal::InvalidApprovalToken)),
            State::Finished(_) => Err(fixtures::refusal(Refusal::ApprovalAlreadyCompleted)),
            State::Pending => {
                let words = if summary.is_empty() { "the service's words" } else { summary };
                let finished = self.ended(number, Some(result), words, Some(by));
                self.service.requests[number].state = State::Finished(finished);
                Ok(self.now)
            }
        }
    }

    /// Hands an answer to the service so much later.
    pub(super) fn delay(&mut self, milliseconds: i64, sender: ApprovalDecision) {
        let arrival = self.now + SignedDuration::from_millis(milliseconds);
        self.service.slow.push((arrival, sender));
        self.service.slow.sort_by_key(|(arrival, _)| *arrival);
    }

    /// Lets time pass, and what arrives meanwhile arrive.
    pub(super) fn pass(&mut self, time: SignedDuration) -> Checked {
        let end = self.now + time;
        while self.service.slow.first().is_some_and(|(arrival, _)| *arrival <= end) {
            let (arrival, sender) = self.service.slow.remove(0);
            self.now = arrival;
            self.arrive(&sender)?.ok();
        }
        self.now = end;
        Ok(())
    }

    /// An answer of a decision comes to the service.
    pub(super) fn arrive(&mut self, sender: &ApprovalDecision) -> Result<Result<Timestamp, CallError>, String> {
        let (spec, uid) = (&sender.spec, uid(sender));
        let token = spec.token.as_ref().ok_or("a decision without a token")?;
        let answer = self.put(token, spec.result.status, &spec.result.summary, &uid);
        match &answer {
            Err(error) => self.note(format_args!("the service refuses with {}", error.detail())),
            Ok(_) => {
                self.note(format_args!("the service takes {} for {:?}", spec.result.status, token.0));
                let live = self.live().filter(|live| super::uid(live) == uid);
                if live.is_some_and(|live| (&live.spec.token, &live.spec.result) != (&spec.token, &spec.result)) {
                    return Err("the service took an answer that the decision does not name any more".to_owned());
                }
                if self.service.taken.contains(&uid) {
                    return Err("the service took two answers of one decision".to_owned());
                }
                self.service.taken.push(uid);
            }
        }
        Ok(answer)
    }

    pub(super) fn record(&self, token: &Token, known: &ExecutionIds) -> Record {
        if self.service.vanished {
            return Record::PipelineNotFound(fixtures::exception("PipelineNotFound"));
        }
        let named = self.service.find(token);
        let Some(number) = (0..2).find(|number| named == Some(*number) || known.action == ids(*number).action) else {
            return Record::Unseen;
        };
        let Request { state, superseded } = &self.service.requests[number];
        let lag = SignedDuration::from_millis(self.setting.lag);
        match state {
            State::Pending => Record::Pending(ids(number)),
            State::Finished(finished) if !superseded || finished.at.is_some_and(|at| at + lag <= self.now) => {
                Record::Finished(finished.clone())
            }
            State::Cancelled if !superseded => {
                Record::Finished(Finished { at: None, ..self.ended(number, None, "", None) })
            }
            State::Finished(_) if self.setting.unseen => Record::Unseen,
            // History goes on calling a cancelled request pending.
            State::Finished(_) | State::Cancelled => Record::Lagging(ids(number)),
        }
    }
}
