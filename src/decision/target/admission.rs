//! Whom a target admits to what: one entry of its `access` must admit namespace, pipeline and result together. What cannot be read, or
//! is not known, admits nothing.

use crate::api::v1alpha1::{
    Access, ApprovalStatus, ApprovalTarget, LabelOperator, LabelRequirement, NamespaceSelector, Namespaces,
};
use std::collections::BTreeMap;

/// Whether a target admits that a namespace submits a result to a pipeline. `labels` are those of the namespace, if they can be read.
#[must_use]
pub fn admits(
    target: &ApprovalTarget,
    namespace: &str,
    labels: Option<&BTreeMap<String, String>>,
    pipeline: &str,
    result: ApprovalStatus,
) -> bool {
    let admits = |Access { namespaces, pipelines, results }: &Access| {
        results.contains(&result)
            && pipelines.iter().any(|glob| matches_glob(glob, pipeline))
            && contains(namespaces, namespace, labels)
    };
    target.spec.unsupported.is_none() && target.spec.access.iter().any(admits)
}

/// Whether these namespaces contain this one. The API server admits either names or a selector; both must match where there are both.
fn contains(
    Namespaces { names, selector }: &Namespaces,
    namespace: &str,
    labels: Option<&BTreeMap<String, String>>,
) -> bool {
    let is_named = || names.iter().any(|name| name == namespace);
    let is_selected = |selector| labels.is_some_and(|labels| selects(selector, labels));
    match selector {
        None => is_named(),
        Some(selector) => (names.is_empty() || is_named()) && is_selected(selector),
    }
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
