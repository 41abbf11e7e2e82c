//! The requests that decisions send to CodePipeline, judged by its true state when they arrive.

use super::actual_state::{ActualState, Request};
use super::aws::{Aws, PIPELINE, short};
use super::reader;
use super::rules::{response_that_counts, user_time};
use approval_operator::api::v1alpha1::{ApprovalDecisionSpec, ApprovalStatus, Binding, Submission, Token};
use approval_operator::codepipeline::{CallError, ExecutionStatus};
use jiff::{SignedDuration, Timestamp};

/// A PutApprovalResult request on its way to CodePipeline, and the decision as it was when its intent was written.
#[derive(Clone)]
pub struct InFlightRequest {
    pub uid: String,
    pub generation: Option<i64>,
    pub spec: ApprovalDecisionSpec,
    pub submission: Submission,
    /// As whom CodePipeline sees the sender.
    pub caller: String,
    /// When the poll started from which the request was resolved, by CodePipeline's clock.
    pub polled_at: Option<Timestamp>,
    /// The decision that rejected the request when the intent was written, and still does.
    pub rejected_by: Option<usize>,
}

/// A result that CodePipeline accepted.
#[derive(Clone, Debug)]
pub struct Acceptance {
    pub uid: String,
    pub generation: Option<i64>,
    pub submission: Submission,
}

impl Aws {
    /// A request of a decision arrives.
    pub fn receive(&mut self, request: &InFlightRequest) -> Result<Timestamp, CallError> {
        let InFlightRequest { uid, generation, submission, caller, .. } = request;
        self.callers.insert(caller.clone(), uid.clone());
        self.record_state();
        if submission.pipeline_name != PIPELINE {
            self.note(format_args!("CodePipeline refuses {uid}, because there is no such pipeline"));
            return Err(reader::no_pipeline());
        }
        let violation = self.judge(request);
        let action = (submission.stage_name.as_str(), submission.action_name.as_str());
        let (result, token) = (&submission.result, &submission.token);
        let (execution, beside) = (self.execution_of(token), self.other_requests(token));
        let response = self.put_approval_result(action, token, result.status, (&result.summary, caller));
        match &response {
            Err(error) => self.note(format_args!("CodePipeline refuses {uid} with {}", error.detail())),
            Ok(_) => {
                self.note(format_args!(
                    "CodePipeline accepts {} of {uid} for execution {execution}{beside}",
                    result.status
                ));
                if let Err(violation) = violation {
                    self.report_violation(format!("CodePipeline accepted a result of {uid} {violation}"));
                }
                let (uid, generation, submission) = (uid.clone(), *generation, submission.clone());
                self.accepted.push(Acceptance { uid, generation, submission });
            }
        }
        response
    }

    /// Whether CodePipeline may accept a result that arrives now.
    fn judge(&self, sent: &InFlightRequest) -> Result<(), String> {
        let InFlightRequest { uid, generation, spec, submission, polled_at, rejected_by, .. } = sent;
        let state = self.newest().ok_or("without a pipeline")?;
        let Some(request) = state.request_of(&submission.token.0) else {
            return Err("for an unknown request".to_owned());
        };
        if !state.names(spec, request) {
            return Err("for a request that it does not name".to_owned());
        }
        if self.accepted.iter().any(|earlier| (&earlier.uid, &earlier.generation) == (uid, generation)) {
            return Err("after another one of the same spec".to_owned());
        }
        let is_approval = submission.result.status == ApprovalStatus::Approved;
        if let Some(number) = rejected_by.filter(|_| is_approval) {
            return Err(format!("although decision {number} rejects the request"));
        }
        if !matches!(spec.binding(), Some(Binding::Execution(_))) {
            return Ok(());
        }
        let polled_at = polled_at.ok_or("that was resolved without a poll")?;
        if let Some(used_up_by) = self.used_up_by(state, spec, request, polled_at) {
            let execution = short(&used_up_by.execution);
            return Err(format!("that a response to a request of execution {execution} had used up"));
        }
        let then = self.timeline.iter().rev().find(|then| then.at <= polled_at);
        let is_stopping = |state: &ActualState| {
            let execution = state.executions.iter().find(|execution| execution.id == request.execution);
            execution.is_some_and(|execution| execution.status == ExecutionStatus::Stopping)
        };
        if is_approval && then.is_some_and(is_stopping) && is_stopping(state) {
            return Err("for an execution that is being stopped".to_owned());
        }
        Ok(())
    }

    /// Another request that the decision names and whose response counts: one that was opened earlier, or one that the poll could show.
    fn used_up_by<'a>(
        &self,
        state: &'a ActualState,
        spec: &ApprovalDecisionSpec,
        request: &Request,
        polled_at: Timestamp,
    ) -> Option<&'a Request> {
        let [_, start, ..] = self.scenario.lags;
        let ignored_before = user_time(spec.ignore_responses_before.as_ref());
        state.requests.iter().filter(|other| other.token != request.token && state.names(spec, other)).find(|other| {
            let Some(at) = response_that_counts(other, ignored_before) else { return false };
            let is_shown = other.opened_at + SignedDuration::from_millis(start) <= polled_at && at <= polled_at;
            other.opened_at <= request.opened_at || is_shown
        })
    }

    fn report_violation(&mut self, text: String) {
        self.violation.get_or_insert(text);
    }

    pub fn execution_of(&self, token: &Token) -> String {
        let request = self.newest().and_then(|state| state.request_of(&token.0));
        request.map(|request| short(&request.execution)).unwrap_or_default()
    }

    /// Says which other requests the request of a token could be confused with.
    fn other_requests(&self, token: &Token) -> &'static str {
        let requests = self.newest().map(|state| state.requests.as_slice()).unwrap_or_default();
        let Some(accepted) = requests.iter().find(|request| request.token.as_ref() == Some(&token.0)) else {
            return "";
        };
        let is_other = |request: &&Request| request.token != accepted.token;
        if requests.iter().filter(is_other).any(|request| request.execution == accepted.execution) {
            ", which opened more than one request"
        } else if requests.iter().filter(is_other).any(|request| request.completion.is_none()) {
            " while another request is pending"
        } else {
            ""
        }
    }
}
