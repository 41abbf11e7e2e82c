//! PutApprovalResult, the only operation that changes anything. The order of its checks decides which error a caller
//! receives first. Every call adds an entry to the ledger.

use jiff::Timestamp;

use super::{
    ActionExecutionId, Exception, ExceptionKind, ExecutionMode, LedgerEntry, Outcome, PipelineExecutionId, Service,
    Token,
    execution::{ActionAttempt, ActionEnd, ActionOutcome},
    pipeline::Pipeline,
};
use crate::api::{ApprovalStatus, PutApprovalResultInput, PutApprovalResultOutput, ValidatedResult};

impl Service {
    /// Approves or rejects an approval on behalf of the caller with this ARN.
    pub fn put_approval_result(
        &mut self,
        now: Timestamp,
        caller: &str,
        input: &PutApprovalResultInput,
    ) -> Result<PutApprovalResultOutput, Exception> {
        let applied = self.apply_result(now, caller, input);
        let outcome = match &applied {
            Err(exception) => Outcome::Refused(exception.clone()),
            Ok((pipeline_execution_id, action_execution_id)) => Outcome::Accepted {
                approved_at: now,
                pipeline_execution_id: *pipeline_execution_id,
                action_execution_id: *action_execution_id,
            },
        };
        self.record(now, caller, input, outcome);
        applied.map(|_| PutApprovalResultOutput { approved_at: now.into() })
    }

    /// Adds a ledger entry for a call that a fault dropped.
    pub(crate) fn record_not_applied(&mut self, now: Timestamp, caller: &str, input: &PutApprovalResultInput) {
        self.record(now, caller, input, Outcome::NotApplied);
    }

    /// Adds the fault that affected the call to the newest ledger entry.
    pub(crate) fn record_fault(&mut self, fault: &str) {
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

    fn apply_result(
        &mut self,
        now: Timestamp,
        caller: &str,
        input: &PutApprovalResultInput,
    ) -> Result<(PipelineExecutionId, ActionExecutionId), Exception> {
        let ValidatedResult { pipeline, stage, action, status, summary, token } = input.validate()?;
        let (execution_id, attempt) = self.pipeline(pipeline, now)?.pending_attempt(stage, action, token)?;
        if summary.trim().is_empty() && attempt.definition.requires_summary() {
            let message = format!(
                "Action '{action}' in stage '{stage}' requires a summary. Provide a summary in the approval result and \
                 try again."
            );
            return Err(Exception::new(ExceptionKind::InvalidApprovalToken, message));
        }
        let summary = match summary {
            "" => format!("{} by {caller}", status.as_str()),
            summary => summary.to_owned(),
        };
        let outcome = match status {
            ApprovalStatus::Approved => ActionOutcome::Succeeded,
            ApprovalStatus::Rejected => ActionOutcome::Failed,
        };
        attempt.end = Some(ActionEnd { at: now, outcome, summary: Some(summary), updated_by: Some(caller.to_owned()) });
        let ids = (execution_id, attempt.id);
        self.pipeline(pipeline, now)?;
        Ok(ids)
    }
}

impl Pipeline {
    /// The pending attempt with this token, and the id of its execution.
    fn pending_attempt(
        &mut self,
        stage: &str,
        action: &str,
        token: Token,
    ) -> Result<(PipelineExecutionId, &mut ActionAttempt), Exception> {
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
        let found = self.executions.iter_mut().rev().find_map(|execution| {
            // In PARALLEL mode only a newer attempt of the same execution makes an attempt out of date.
            let newest = match execution.mode {
                ExecutionMode::Parallel => execution.latest_attempt(stage, action).map(|attempt| attempt.id),
                ExecutionMode::Superseded | ExecutionMode::Queued => newest,
            };
            let mut attempts = execution.attempts.iter_mut().filter(|attempt| attempt.is_of(stage, action));
            let attempt = attempts.find(|attempt| attempt.token == Some(token))?;
            Some((execution.id, newest == Some(attempt.id), attempt))
        });
        let Some((execution_id, is_newest, attempt)) = found else {
            return refuse(ExceptionKind::InvalidApprovalToken, unknown);
        };
        match attempt.end.as_ref().map(|end| end.outcome) {
            None => Ok((execution_id, attempt)),
            Some(_) if !is_newest => refuse(ExceptionKind::InvalidApprovalToken, unknown),
            Some(ActionOutcome::Cancelled) => {
                let name = &self.definition.name;
                let message = format!(
                    "The pipeline {name} has been updated, and the approval request you responded to is now out of date."
                );
                refuse(ExceptionKind::InvalidApprovalToken, message)
            }
            Some(
                ActionOutcome::Succeeded | ActionOutcome::Failed | ActionOutcome::TimedOut | ActionOutcome::Abandoned,
            ) => {
                let message = "The approval request that you responded to is already complete or has expired.";
                refuse(ExceptionKind::ApprovalAlreadyCompleted, message.to_owned())
            }
        }
    }
}
