//! Texts that others wrote, such as the message of an exception. A short one is part of what happened. A long one follows what to do,
//! because the tools that show a message cut its end.

use crate::api::v1alpha1::Exception;
use crate::decision::outcome::{Caveat, Outcome, PriorAttempts, UnconfirmedCause, Wait};
use crate::decision::resolve::Missing;
use crate::decision::target::{TargetProblem, TargetsUnavailable, Unverified, VerifyFailure};
use crate::error_chain::one_line;

/// The most bytes of a text that is part of what happened.
const MAX_INLINE: usize = 100;

/// The most bytes of a text that follows what to do.
const MAX_DETAILS: usize = 512;

/// What is wrong, as one phrase: a short text as it is, and of a long one how it starts.
pub fn brief(text: &str) -> String {
    let text = one_line(text);
    if text.len() <= MAX_INLINE {
        return text;
    }
    // What follows a colon or is in parentheses explains the start.
    let end = [": ", " ("].into_iter().filter_map(|separator| text.find(separator)).min();
    match end.and_then(|end| text.get(..end)) {
        Some(start) if start.len() <= MAX_INLINE => start.to_owned(),
        Some(_) | None => cut(&text, MAX_INLINE),
    }
}

/// An exception that CodePipeline raised.
pub fn raised(Exception { r#type, message }: &Exception) -> String {
    let message = one_line(message);
    if message.is_empty() || message.len() > MAX_INLINE {
        format!("CodePipeline raised {type}")
    } else {
        format!("CodePipeline raised {type}: {}", message.trim_end_matches('.'))
    }
}

/// Cleans the text of others in an outcome, before anything cuts it. Returns it if it is long: then what happened shows only its start.
pub fn details(outcome: &mut Outcome, clean: impl Fn(&str) -> String) -> Option<String> {
    let text = text(outcome)?;
    *text = clean(text);
    (text.len() > MAX_INLINE).then(|| cut(text, MAX_DETAILS))
}

/// At most this many bytes of a text.
pub fn cut(text: &str, bytes: usize) -> String {
    if text.len() <= bytes {
        return text.to_owned();
    }
    let start = text.get(..text.floor_char_boundary(bytes.saturating_sub("…".len()))).unwrap_or_default();
    format!("{start}…")
}

/// A clause, as the start of a sentence.
pub fn capitalized(mut clause: String) -> String {
    if let Some(first) = clause.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    clause
}

/// The text of others in an outcome.
const fn text(outcome: &mut Outcome) -> Option<&mut String> {
    match outcome {
        Outcome::Refused { exception: Some(exception), .. }
        | Outcome::Missing { missing: Missing::Pipeline { exception, .. }, .. }
        | Outcome::PipelineExecutionNotFound { exception, .. } => Some(&mut exception.message),
        Outcome::Retrying { detail, .. }
        | Outcome::Unreadable { detail, .. }
        | Outcome::Waiting { wait: Wait::ReadablePipeline { detail, .. }, .. }
        | Outcome::TargetProblem {
            problem:
                TargetProblem::Unavailable(TargetsUnavailable::Refused(detail))
                | TargetProblem::NotVerified(Unverified::Failed(VerifyFailure { message: detail, .. })),
            ..
        }
        | Outcome::Expired {
            caveat: Some(Caveat::HistoryUnreadable(detail) | Caveat::PipelineUnreadable(detail)),
            ..
        }
        | Outcome::Unconfirmed {
            cause:
                UnconfirmedCause::ResponseLost(detail)
                | UnconfirmedCause::HistoryUnreadable(detail)
                | UnconfirmedCause::RetryFailed(detail)
                | UnconfirmedCause::TargetsUnavailable(TargetsUnavailable::Refused(detail)),
            ..
        } => Some(detail),
        Outcome::Unconfirmed {
            refused: Some((exception, PriorAttempts::NotApplied | PriorAttempts::Refused)), ..
        } => Some(&mut exception.message),
        Outcome::Refused { exception: None, .. }
        | Outcome::Delivered { .. }
        | Outcome::AlreadyDecided { .. }
        | Outcome::Missing { .. }
        | Outcome::ExecutionEnded { .. }
        | Outcome::AmbiguousRevision(_)
        | Outcome::Invalid(_)
        | Outcome::TargetProblem { .. }
        | Outcome::Expired { .. }
        | Outcome::Suspended { .. }
        | Outcome::Waiting { .. }
        | Outcome::Conflicting { .. }
        | Outcome::Submitting(_)
        | Outcome::Unconfirmed { .. } => None,
    }
}
