//! The wording of every message that a decision reports, in its conditions, Events and log lines: what happened, then what to do, then
//! details. A message is one line, and what happened is short, so that a tool that cuts it still shows what to do.

mod details;
mod executions;
mod names;
mod remedy;
mod target;

use super::conflict::RejectionMatch;
use super::outcome::{Caveat, Outcome, PriorAttempts, UnconfirmedCause, Wait};
use super::phase::execution_ids;
use super::resolve::{ExecutionWait, RefusedNames};
use super::timing::Expiry;
use crate::api::time::to_second;
use crate::api::v1alpha1::{
    ApprovalDecision, ApprovalDecisionSpec, Exception, InvalidSpec, Submission, SubmissionOutcome, Token, Unsupported,
};
use crate::codepipeline::{CompletedApproval, Refusal};
use crate::error_chain::one_line;
use details::{brief, cut, details, raised};

/// The message of an outcome. It is worded once, and cut to the limits of where it is shown.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Message {
    what_happened: String,
    addition: String,
    remedy: &'static str,
    details: Option<String>,
}

impl Message {
    /// Words the outcome.
    #[must_use]
    pub fn new(decision: &ApprovalDecision, outcome: &Outcome) -> Self {
        // CodePipeline may quote a token that it refuses, and more people can read messages than may respond to approvals.
        let tokens = [decision.spec.token.as_ref(), submission(decision).map(|submission| &submission.token)];
        let hide = |text: String, token: &Token| text.replace(&token.0, "…");
        let clean = |text: &str| tokens.into_iter().flatten().fold(one_line(text), hide);
        let mut outcome = outcome.clone();
        let details = details(&mut outcome, clean);
        Self {
            what_happened: clean(&what_happened(decision, &outcome)),
            addition: addition(&decision.spec, &outcome).map(|text| one_line(&text)).unwrap_or_default(),
            remedy: remedy::remedy(decision, &outcome),
            details,
        }
    }

    /// The text, or the one that is shown already, if it says the same but for the newest execution. On a busy pipeline that would change
    /// often, and a decision that waits writes nothing.
    #[must_use]
    pub fn or_shown(&self, shown: Option<&str>, bytes: usize) -> String {
        let starts = format!("{}{NEWEST_EXECUTION}", self.what_happened);
        let is_same = |shown: &&str| self.addition.starts_with(NEWEST_EXECUTION) && shown.starts_with(&starts);
        shown.filter(is_same).map_or_else(|| self.within(bytes), str::to_owned)
    }

    /// The text in at most this many bytes. Details and what happened are cut, never an addition or what to do.
    #[must_use]
    pub fn within(&self, bytes: usize) -> String {
        let room = bytes.saturating_sub(self.addition.len() + ". ".len() + self.remedy.len());
        let what_happened = cut(&self.what_happened, room);
        let text = format!("{}{}. {}", what_happened.trim_end_matches('.'), self.addition, self.remedy);
        let room = bytes.saturating_sub(text.len() + DETAILS.len());
        match &self.details {
            Some(details) if room > "…".len() => format!("{text}{DETAILS}{}", cut(details, room)),
            Some(_) | None => text,
        }
    }
}

fn submission(decision: &ApprovalDecision) -> Option<&Submission> {
    decision.status.as_ref()?.submission.as_ref()
}

/// Precedes the details.
const DETAILS: &str = " Details: ";

/// Precedes the source revisions of the newest execution.
const NEWEST_EXECUTION: &str = "; the newest execution has ";

/// What follows what happened.
fn addition(spec: &ApprovalDecisionSpec, outcome: &Outcome) -> Option<String> {
    Some(match outcome {
        Outcome::Refused { caveat: Some(caveat), .. } => {
            format!("; an earlier attempt may have been accepted: {}", self::caveat(caveat))
        }
        Outcome::AlreadyDecided { record, open: Some(open), .. }
        | Outcome::Refused { record: Some(record), open: Some(open), .. } => executions::open(record, open),
        Outcome::Waiting { wait: Wait::Execution(ExecutionWait::NoExecution { newest, hint: None }), .. }
            if !newest.is_empty() =>
        {
            let uncovered = executions::uncovered(&spec.source_revisions, newest);
            format!("{NEWEST_EXECUTION}{}{uncovered}", executions::revisions(newest))
        }
        Outcome::Refused { caveat: None, .. }
        | Outcome::Delivered { .. }
        | Outcome::AlreadyDecided { open: None, .. }
        | Outcome::Missing { .. }
        | Outcome::ExecutionEnded { .. }
        | Outcome::PipelineExecutionNotFound { .. }
        | Outcome::AmbiguousRevision(_)
        | Outcome::Invalid(_)
        | Outcome::TargetProblem { .. }
        | Outcome::Expired { .. }
        | Outcome::Suspended { .. }
        | Outcome::Waiting { .. }
        | Outcome::Conflicting { .. }
        | Outcome::Unreadable { .. }
        | Outcome::Submitting(_)
        | Outcome::Unconfirmed { .. }
        | Outcome::Retrying { .. } => return None,
    })
}

fn what_happened(decision: &ApprovalDecision, outcome: &Outcome) -> String {
    let spec = &decision.spec;
    let result = spec.result.status;
    match outcome {
        Outcome::Delivered { approved_at, record } => {
            let at = approved_at.map(|at| format!(" at {at}")).unwrap_or_default();
            match record {
                None => format!("CodePipeline accepted the result {result}{at}"),
                Some(_) => format!(
                    "The response was lost, but CodePipeline's history shows that it accepted the result {result}{at}"
                ),
            }
        }
        Outcome::AlreadyDecided { record, .. } if is_own(decision, record) => {
            let at = record.at.map(|at| format!(" at {at}")).unwrap_or_default();
            format!("CodePipeline accepted the result {result} of this decision{at}, before its last edit")
        }
        Outcome::AlreadyDecided { record, .. } => format!("The {}", already_completed(record)),
        Outcome::Refused { exception: None, record: Some(record), .. } if is_own(decision, record) => {
            let at = record.at.map(|at| format!(" at {at}")).unwrap_or_default();
            let accepted = record.result.map(|accepted| accepted.to_string()).unwrap_or_default();
            format!("{accepted} was accepted{at}; the change to {result} came too late")
        }
        Outcome::Refused { refusal, exception, record, names, .. } => {
            let refused = match exception {
                Some(exception) => raised(exception),
                None => format!("CodePipeline did not accept the result {result} from this decision"),
            };
            match (record, submission(decision)) {
                (Some(record), _) => format!("{refused}; the {}", already_completed(record)),
                (None, submission @ Some(_)) if *refusal == Refusal::PipelineNotFound => {
                    format!("{refused}; the operator sent the result {}", target::sent(submission))
                }
                (None, _) if *refusal == Refusal::InvalidApprovalToken && spec.result.summary.is_empty() => {
                    format!("{refused}; the action may require a summary, and spec.result.summary is empty")
                }
                (None, _) => match (exception, names) {
                    // The exception says the same, and the status has its message.
                    (Some(Exception { r#type, .. }), Some(RefusedNames::Missing(missing))) => {
                        format!("CodePipeline raised {type}: {}", names::lacking(spec, missing))
                    }
                    (Some(_), Some(RefusedNames::Found)) => format!("{refused}; {}", names::found(spec)),
                    (Some(_), None) | (None, _) => refused,
                },
            }
        }
        Outcome::Missing { missing, .. } => names::missing(spec, missing),
        Outcome::ExecutionEnded { execution, end, .. } => executions::ended(execution, *end),
        Outcome::PipelineExecutionNotFound { exception, location } => {
            names::raised_in(spec, exception, location.as_ref())
        }
        Outcome::AmbiguousRevision(ambiguity) => executions::ambiguous(ambiguity),
        Outcome::Invalid(invalid) => self::invalid(invalid),
        Outcome::TargetProblem { problem, .. } => target::what_happened(decision, problem),
        Outcome::Expired { expiry, caveat } => expired(expiry, caveat.as_ref()),
        Outcome::Suspended { .. } => format!("The result {result} is held back because spec.suspend is true"),
        Outcome::Waiting { wait, .. } => waiting(spec, wait),
        Outcome::Conflicting { rejection, found, .. } => conflicting(rejection.as_deref(), *found),
        Outcome::Unreadable { detail, since, .. } => {
            // The time of the next poll changes with each poll, and a decision that waits writes nothing.
            let why = brief(detail);
            format!(
                "The operator has been unable to read the pipeline since {} ({why}); retrying at least once a minute",
                to_second(*since)
            )
        }
        Outcome::Submitting(intent) => {
            format!("Attempt {} to submit {result} is in flight", intent.submission.attempts)
        }
        Outcome::Unconfirmed { cause, refused, .. } => unconfirmed(decision, cause, refused.as_ref()),
        Outcome::Retrying { submission, detail, next, until, .. } => {
            let why = brief(detail);
            let attempts = submission.attempts;
            let failed = format!("Attempt {attempts} to submit {result} failed and was not applied ({why})");
            if next < until {
                format!("{failed}; next attempt at {}", to_second(*next))
            } else {
                format!("{failed}; the decision expires before the next attempt")
            }
        }
    }
}

/// Whether CodePipeline accepted this response from an earlier edit of the decision.
fn is_own(decision: &ApprovalDecision, record: &CompletedApproval) -> bool {
    submission(decision).is_some_and(|submission| {
        submission.outcome == Some(SubmissionOutcome::Accepted)
            && record.result == Some(submission.result.status)
            && record.ids == execution_ids(submission)
    })
}

fn already_completed(record: &CompletedApproval) -> String {
    let how = match record.result {
        Some(result) => format!("been {}", result.to_string().to_lowercase()),
        None => "ended without a response (it timed out or was canceled)".to_owned(),
    };
    let by = match (&record.decision, &record.by) {
        (Some(decision), Some(by)) => format!(" by decision {decision} of this namespace ({by})"),
        (Some(decision), None) => format!(" by decision {decision} of this namespace"),
        (None, Some(by)) => format!(" by {by}"),
        (None, None) => String::new(),
    };
    let at = record.at.map(|at| format!(" at {at}")).unwrap_or_default();
    format!("approval had already {how}{by}{at}")
}

fn invalid(invalid: &InvalidSpec) -> String {
    match invalid {
        InvalidSpec::Binding => {
            "spec does not have exactly one of token, pipelineExecutionId and sourceRevisions".to_owned()
        }
        InvalidSpec::NotATime { field, found } => {
            format!("spec.{field} is {found:?}, which is not a time")
        }
        InvalidSpec::FutureTime(found) => {
            format!("spec.ignoreResponsesBefore is {found}, which is in the future")
        }
        InvalidSpec::Unsupported(unsupported) => {
            let what = match unsupported {
                Unsupported::SpecField(field) => format!("spec.{field} is a field"),
                Unsupported::SpecValue(error) => format!("spec has a value ({error})"),
                Unsupported::Status(error) => format!("status has a value ({error})"),
            };
            format!("{what} that this version of the operator does not know")
        }
    }
}

fn expired(expiry: &Expiry, caveat: Option<&Caveat>) -> String {
    let limit = match expiry {
        Expiry::NotAfter(at) => format!("spec.notAfter ({at}) passed"),
        Expiry::WaitingLimit(at) => {
            format!("The operator's waiting limit, counted from status.waitingSince, passed at {at}")
        }
    };
    match caveat.map(self::caveat) {
        None => format!("{limit} before CodePipeline accepted a result; nothing more is sent"),
        Some(why) => format!("{limit}; nothing more is sent, but an earlier result may have been accepted: {why}"),
    }
}

/// Why an earlier result may have been accepted.
fn caveat(caveat: &Caveat) -> String {
    match caveat {
        Caveat::AttemptInDoubt => "its outcome is unknown".to_owned(),
        Caveat::HistoryUnreadable(detail) => {
            format!("CodePipeline's history of the approval could not be read ({})", brief(detail))
        }
        Caveat::BeyondHistory => {
            "the part of CodePipeline's history that the operator reads does not show the approval".to_owned()
        }
        Caveat::OutcomeNotInHistory { execution } => {
            format!("CodePipeline's history does not show the outcome of the approval of execution {execution}")
        }
        Caveat::PipelineUnreadable(detail) => format!("the pipeline could not be read ({})", brief(detail)),
    }
}

fn conflicting(rejection: Option<&str>, found: RejectionMatch) -> String {
    let rejection = rejection.map(|name| format!("Decision {name} of this namespace"));
    let rejection = rejection.unwrap_or_else(|| "A decision in another namespace".to_owned());
    let (verb, wait) = match found {
        RejectionMatch::Same => ("rejects", ""),
        RejectionMatch::ExecutionUnknown => {
            ("may reject", ", and the operator waits for a poll that shows to which execution the request belongs")
        }
        RejectionMatch::SourcesUnknown => {
            ("may reject", ", and the operator waits for a poll that shows the source revisions of the execution")
        }
        RejectionMatch::Unreadable => {
            ("may reject", ", and this version of the operator cannot tell which request it names")
        }
    };
    format!("{rejection} {verb} the request that this decision approves; a rejection goes first{wait}")
}

fn waiting(spec: &ApprovalDecisionSpec, wait: &Wait) -> String {
    match wait {
        Wait::Execution(wait) => executions::waiting_for(spec, wait),
        Wait::RequestRefused => {
            "CodePipeline refused the result for the request that was pending; the operator reads the pipeline again"
                .to_owned()
        }
        Wait::CurrentSpec => "CodePipeline's history shows that it did not accept the result that was submitted before the last edit; the \
                              operator acts on the edit"
            .to_owned(),
        Wait::ReadablePipeline { detail, since } => {
            format!("Could not read the pipeline at {} ({}); retrying", to_second(*since), brief(detail))
        }
    }
}

fn unconfirmed(
    decision: &ApprovalDecision,
    cause: &UnconfirmedCause,
    refused: Option<&(Exception, PriorAttempts)>,
) -> String {
    let submission = submission(decision);
    let since = submission.map(|submission| format!(" since {}", to_second(submission.start_time))).unwrap_or_default();
    let result = decision.spec.result.status;
    let unknown = match refused {
        None => format!("It has been unknown{since} whether CodePipeline accepted {result}"),
        Some((exception, PriorAttempts::InDoubt)) => format!(
            "It has been unknown{since} whether CodePipeline accepted {result}; the last attempt was refused ({})",
            exception.r#type
        ),
        // This is also reported before history is read.
        Some((exception, PriorAttempts::NotApplied | PriorAttempts::Refused))
            if *cause == UnconfirmedCause::NotInHistory =>
        {
            let refused = raised(exception);
            return format!(
                "{refused}; the operator has not found the outcome of the request in CodePipeline's history yet"
            );
        }
        Some((exception, PriorAttempts::NotApplied | PriorAttempts::Refused)) => {
            let is_name = *cause == UnconfirmedCause::NamesNotRead;
            let what = if is_name { "which names the pipeline has" } else { "how the request was completed" };
            format!("{}; the operator reads {what}", raised(exception))
        }
    };
    match cause {
        UnconfirmedCause::ResponseLost(detail) => format!("{unknown}: the response was lost ({})", brief(detail)),
        UnconfirmedCause::HistoryUnreadable(detail) => {
            format!("{unknown}: CodePipeline's history could not be read ({})", brief(detail))
        }
        UnconfirmedCause::NotInHistory => format!("{unknown}: CodePipeline's history does not show it yet"),
        UnconfirmedCause::NamesNotRead => unknown,
        UnconfirmedCause::RetryFailed(detail) => format!("{unknown}: the next attempt failed ({})", brief(detail)),
        UnconfirmedCause::PipelineNotFound => format!("{unknown}: the pipeline does not exist now"),
        UnconfirmedCause::OtherAccount => {
            let location = submission.map(|submission| submission.location().to_string()).unwrap_or_default();
            format!(
                "{unknown}: it was sent to {location}, and the operator now has credentials for another account or region"
            )
        }
        UnconfirmedCause::TargetsUnavailable(why) => format!("{unknown}: {}", target::unavailable(why)),
        UnconfirmedCause::TargetNotFound => {
            format!("{unknown}: it was sent {}, which does not exist now", target::sent(submission))
        }
        UnconfirmedCause::TargetElsewhere(found) => {
            format!("{unknown}: it was sent {}, which now has {found}", target::sent(submission))
        }
        UnconfirmedCause::NoTrace => format!(
            "{unknown}: CodePipeline's history shows no trace of it, and the decision does not allow the operator to send it again now"
        ),
        UnconfirmedCause::NoTraceAtTarget(problem) => format!(
            "{unknown}: CodePipeline's history shows no trace of it, and the operator may not send it again now: {}",
            target::what_happened(decision, problem)
        ),
        UnconfirmedCause::RetryNotAllowed(problem) => {
            format!("{unknown}: the operator may not send it again now: {}", target::what_happened(decision, problem))
        }
    }
}

#[cfg(test)]
mod tests;
