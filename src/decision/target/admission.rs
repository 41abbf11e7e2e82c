//! Whom a target admits to what: one entry of its `access` must admit namespace, pipeline and result together. What cannot be read, or
//! is not known, admits nothing.

use crate::api::v1alpha1::{
    Access, ApprovalStatus, ApprovalTarget, LabelOperator, LabelRequirement, NamespaceSelector, Namespaces,
};
use std::collections::BTreeMap;

/// Whether a target admits something. Where several entries of its `access` say something about it, the greatest counts.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Admission {
    /// No entry admits it.
    Refused,
    /// This depends on what is not known. It is not admitted, but a rejection that may be admitted holds approvals back.
    Unknown(UnknownAccess),
    /// An entry admits it.
    Admitted,
}

/// What is not known of who may use a target.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum UnknownAccess {
    /// An entry selects namespaces by labels, and those of the namespace cannot be read.
    NamespaceLabels,
    /// This version of the operator does not know all of the target.
    Target,
}

/// Whether a target admits that a namespace submits a result to a pipeline. `labels` are those of the namespace, if they can be read.
#[must_use]
pub fn admission(
    target: &ApprovalTarget,
    namespace: &str,
    labels: Option<&BTreeMap<String, String>>,
    pipeline: &str,
    result: ApprovalStatus,
) -> Admission {
    if target.spec.unsupported.is_some() {
        return Admission::Unknown(UnknownAccess::Target);
    }
    let entries = target.spec.access.iter().filter(|Access { pipelines, results, .. }| {
        results.contains(&result) && pipelines.iter().any(|glob| matches_glob(glob, pipeline))
    });
    entries.map(|entry| membership(&entry.namespaces, namespace, labels)).max().unwrap_or(Admission::Refused)
}

/// Whether these namespaces contain this one. The API server admits either names or a selector; both must match where there are both.
fn membership(
    Namespaces { names, selector }: &Namespaces,
    namespace: &str,
    labels: Option<&BTreeMap<String, String>>,
) -> Admission {
    let is_named = names.iter().any(|name| name == namespace);
    let is_member = match (selector, labels) {
        (None, _) => is_named,
        (Some(_), _) if !is_named && !names.is_empty() => false,
        (Some(_), None) => return Admission::Unknown(UnknownAccess::NamespaceLabels),
        (Some(selector), Some(labels)) => selects(selector, labels),
    };
    if is_member { Admission::Admitted } else { Admission::Refused }
}

/// Whether a selector matches labels. An empty one, which the API server does not admit, matches nothing.
fn selects(
    NamespaceSelector { match_labels, match_expressions }: &NamespaceSelector,
    labels: &BTreeMap<String, String>,
) -> bool {
    let meets = |LabelRequirement { key, operator, values }: &LabelRequirement| match (operator, labels.get(key)) {
        (LabelOperator::In, Some(value)) => values.contains(value),
        (LabelOperator::Exists, value) => value.is_some() && values.is_empty(),
        (LabelOperator::In, None) => false,
    };
    (!match_labels.is_empty() || !match_expressions.is_empty())
        && match_labels.iter().all(|(key, value)| labels.get(key) == Some(value))
        && match_expressions.iter().all(meets)
}

/// Whether a name matches a glob, in which only `*` is special: it stands for any run of characters. It takes time in proportion to both
/// lengths: a part between two asterisks is searched once, because the first place where it fits leaves the most for what follows.
fn matches_glob(glob: &str, name: &str) -> bool {
    let Some((start, rest)) = glob.split_once('*') else { return glob == name };
    let Some(name) = name.strip_prefix(start) else { return false };
    let (middle, end) = rest.rsplit_once('*').unwrap_or(("", rest));
    let Some(name) = name.strip_suffix(end) else { return false };
    let mut rest = name;
    for part in middle.split('*') {
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests;
