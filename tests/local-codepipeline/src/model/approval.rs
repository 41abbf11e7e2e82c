//! PutApprovalResult: the one operation that decides something. The order of its checks is the order in which a caller
//! hears of what is wrong; each call leaves an entry in the ledger, whatever becomes of it.

use jiff::Timestamp;

use super::{
    ActionExecutionId, Exception, ExceptionKind, ExecutionMode, LedgerEntry, Outcome, PipelineExecutionId, Service,
    Token,
    pipeline::Pipeline,
    run::{ActionEnd, ActionRun, How},
};
use crate::api::{ApprovalStatus, Decision, PutApprovalResultInput, PutApprovalResultOutput};

impl Service {
    /// Answers an approval on behalf of the caller with this ARN.
    pub fn put_approval_result(
        &mut self,
        now: Timestamp,
        caller: &str,
        input: &PutApprovalResultInput,
    ) -> Result<PutApprovalResultOutput, Exception> {
        let decided = self.decide(now, caller, input);
        let outcome = match &decided {
            Err(exception) => Outcome::Refused(exception.clone()),
            Ok((pipeline_execution_id, action_execution_id)) => Outcome::Accepted {
                approved_at: now,
                pipeline_execution_id: *pipeline_execution_id,
                action_execution_id: *action_execution_id,
            },
        };
        self.record(now, caller, input, outcome);
        decided.map(|_| PutApprovalResultOutput { approved_at: now.into() })
    }

    /// Notes a PutApprovalResult that a fault kept from the service.
    pub(crate) fn record_not_applied(&mut self, now: Timestamp, caller: &str, input: &PutApprovalResultInput) {
        self.record(now, caller, input, Outcome::NotApplied);
    }

    /// Notes which fault was in force when the newest entry was made.
    pub(crate) fn note_fault(&mut self, fault: &str) {
        if let Some(entry) = self.ledger.last_mut() {
            entry.fault = Some(fault.to_owned());
        }
    }

    fn record(&mut self, now: Timestamp, caller: &str, input: &PutApprovalResultInput, outcome: Outcome) {
        let text = |member: Option<&String>| member.cloned().unwrap_or_default();
        let result = input.result.as_ref();
        self.ledger.push(LedgerEntry {
            at: now,
            caller: caller.to_owned(),
            pipeline_name: text(input.pipeline_name.as_ref()),
            stage_name: text(input.stage_name.as_ref()),
            action_name: text(input.action_name.as_ref()),
            token: text(input.token.as_ref()),
            status: text(result.and_then(|result| result.status.as_ref())),
            summary: text(result.and_then(|result| result.summary.as_ref())),
            outcome,
            fault: None,
        });
    }

    fn decide(&mut self, now: Timestamp, caller: &str, input: &PutApprovalResultInput) -> Result<Decided, Exception> {
        let Decision { pipeline, stage, action, status, summary, token } = input.read()?;
        let (execution, attempt) = self.pipeline(pipeline, now)?.pending(stage, action, token)?;
        if summary.trim().is_empty() && attempt.definition.requires_summary() {
            let message = format!(
                "Action '{action}' in stage '{stage}' requires a summary. Provide a summary in the approval result and \
                 try again."
            );
            return Err(Exception::new(ExceptionKind::InvalidApprovalToken, message));
        }
        let summary = match summary {
            "" => format!("{} by {caller}", status.as_str()),
            words => words.to_owned(),
        };
        let how = match status {
            ApprovalStatus::Approved => How::Succeeded,
            ApprovalStatus::Rejected => How::Failed,
        };
        attempt.end = Some(ActionEnd { at: now, how, summary: Some(summary), by: Some(caller.to_owned()) });
        let decided = (execution, attempt.id);
        self.pipeline(pipeline, now)?;
        Ok(decided)
    }
}

type Decided = (PipelineExecutionId, ActionExecutionId);

impl Pipeline {
    /// The attempt that the token stands for, and its run, if it waits for an answer.
    fn pending(
        &mut self,
        stage: &str,
        action: &str,
        token: Token,
    ) -> Result<(PipelineExecutionId, &mut ActionRun), Exception> {
        let refuse = |kind, message: String| Err(Exception::new(kind, message));
        let name = &self.definition.name;
        let Some(declared) = self.definition.stage_named(stage) else {
            let message = format!("The pipeline '{name}' does not include a stage with the name '{stage}'");
            return refuse(ExceptionKind::StageNotFound, message);
        };
        if declared.action_named(action).is_none() {
            let message = format!("The stage '{stage}' does not include an action with the name '{action}'");
            return refuse(ExceptionKind::ActionNotFound, message);
        }
        let unknown = format!("The approval token is not valid for action '{action}' in stage '{stage}'.");
        let newest = self.latest_attempt(stage, action).map(|attempt| attempt.id);
        let found = self.runs.iter_mut().rev().find_map(|run| {
            // Where runs do not meet, an attempt is out of date only if its own run has made another.
            let newest = match run.mode {
                ExecutionMode::Parallel => run.latest(stage, action).map(|attempt| attempt.id),
                ExecutionMode::Superseded | ExecutionMode::Queued => newest,
            };
            let mut attempts = run.actions.iter_mut().filter(|attempt| attempt.is_of(stage, action));
            let attempt = attempts.find(|attempt| attempt.token == Some(token))?;
            Some((run.id, newest == Some(attempt.id), attempt))
        });
        let Some((execution, is_newest, attempt)) = found else {
            return refuse(ExceptionKind::InvalidApprovalToken, unknown);
        };
        match attempt.end.as_ref().map(|end| end.how) {
            None => Ok((execution, attempt)),
            Some(_) if !is_newest => refuse(ExceptionKind::InvalidApprovalToken, unknown),
            Some(How::Cancelled) => {
                let name = &self.definition.name;
                let message = format!(
                    "The pipeline {name} has been updated, and the approval request you responded to is now out of date."
                );
                refuse(ExceptionKind::InvalidApprovalToken, message)
            }
            Some(How::Succeeded | How::Failed | How::TimedOut | How::Abandoned) => {
                let message = "The approval request that you responded to is already complete or has expired.";
                refuse(ExceptionKind::ApprovalAlreadyCompleted, message.to_owned())
            }
        }
    }
}
