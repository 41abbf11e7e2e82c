//! What the operator checks of a spec: what the schema cannot express, and what a newer schema may contain.

use super::approval_decision::{ApprovalDecisionSpec, Unsupported, UserTime};
use super::binding::{Binding, ExecutionBinding};
use jiff::Timestamp;

/// A spec that the operator cannot act on although the API server admitted it.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum InvalidSpec {
    /// It does not name the request in exactly one way.
    Binding,
    /// A field is not a time.
    NotATime {
        /// Its name.
        field: &'static str,
        /// What was found.
        found: String,
    },
    /// `ignoreResponsesBefore` is in the future. This is what was found.
    FutureTime(Timestamp),
    /// The object has something that this version does not know.
    Unsupported(Unsupported),
}

/// A spec that the operator can act on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ValidSpec<'a> {
    /// How the decision names its request.
    pub binding: Binding<'a>,
    /// `ignoreResponsesBefore`
    pub ignore_responses_before: Option<Timestamp>,
    /// `notAfter`
    pub not_after: Option<Timestamp>,
}

impl ApprovalDecisionSpec {
    /// How the decision names its request; none if it names none or more than one, which the API server does not admit.
    #[must_use]
    pub fn binding(&self) -> Option<Binding<'_>> {
        match (&self.token, &self.pipeline_execution_id, self.source_revisions.as_slice()) {
            (Some(token), None, []) => Some(Binding::Token(token)),
            (None, Some(id), []) => Some(Binding::Execution(ExecutionBinding::PipelineExecution(id))),
            (None, None, entries @ [_, ..]) => Some(Binding::Execution(ExecutionBinding::SourceRevisions(entries))),
            _ => None,
        }
    }

    /// Checks what the API server cannot, or does not in a version that is newer than this one.
    ///
    /// # Errors
    /// When the operator cannot act on the spec.
    pub fn validate(&self, now: Timestamp) -> Result<ValidSpec<'_>, InvalidSpec> {
        if let Some(unsupported) = &self.unsupported {
            return Err(InvalidSpec::Unsupported(unsupported.clone()));
        }
        let binding = self.binding().ok_or(InvalidSpec::Binding)?;
        let time = |field, written: &Option<UserTime>| match written {
            None => Ok(None),
            Some(UserTime(text)) => {
                text.parse().map(Some).map_err(|_| InvalidSpec::NotATime { field, found: text.clone() })
            }
        };
        let ignore_responses_before = time("ignoreResponsesBefore", &self.ignore_responses_before)?;
        if let Some(future) = ignore_responses_before.filter(|time| now < *time) {
            return Err(InvalidSpec::FutureTime(future));
        }
        Ok(ValidSpec { binding, ignore_responses_before, not_after: time("notAfter", &self.not_after)? })
    }
}
