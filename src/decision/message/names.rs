//! The wording of names that a pipeline does not have, with those that it has.

use super::details::{capitalized, raised};
use crate::api::v1alpha1::{ApprovalDecisionSpec, Exception, Location};
use crate::decision::resolve::{Candidates, Missing};

/// The most names that are shown.
const MAX_NAMES: usize = 10;

/// Names, separated by commas.
pub fn list(names: &[String]) -> String {
    let more = (names.len() > MAX_NAMES).then_some("…");
    names.iter().take(MAX_NAMES).map(String::as_str).chain(more).collect::<Vec<_>>().join(", ")
}

/// The pipeline does not exist, or has no such approval, which may change.
pub fn missing(spec: &ApprovalDecisionSpec, missing: &Missing) -> String {
    format!("{}; the operator continues when that changes", capitalized(lacking(spec, missing)))
}

/// What there is not, and what the decision may mean, as a clause.
pub fn lacking(spec: &ApprovalDecisionSpec, missing: &Missing) -> String {
    let ApprovalDecisionSpec { pipeline_name, stage_name, action_name, .. } = spec;
    match missing {
        Missing::Pipeline { exception, location } => raised_in(spec, exception, location.as_ref()),
        Missing::Stage { stages } => {
            let stages = if stages.is_empty() { String::new() } else { format!("; its stages are {}", list(stages)) };
            format!("pipeline {pipeline_name} has no stage {stage_name:?}{stages}")
        }
        Missing::Action { candidates, stages } => {
            let stages = match stages.as_slice() {
                [] => String::new(),
                [stage] => format!("; stage {stage} has one"),
                several => format!("; stages {} have one", list(several)),
            };
            let has_no = format!("stage {stage_name} of pipeline {pipeline_name} has no action {action_name:?}");
            format!("{has_no}{stages}; {}", self::candidates(candidates))
        }
        Missing::NotAnApproval { category, candidates } => {
            let is_no = format!("action {action_name} of pipeline {pipeline_name} is not an approval");
            format!("{is_no}: its category is {category}; in this stage, {}", self::candidates(candidates))
        }
    }
}

/// An exception that CodePipeline raised because it does not know a name, and where the operator looked for it.
pub fn raised_in(spec: &ApprovalDecisionSpec, exception: &Exception, location: Option<&Location>) -> String {
    let raised = raised(exception);
    match (location, &spec.target_ref) {
        (None, _) => raised,
        (Some(location), Some(target)) => format!("{raised}; ApprovalTarget {:?} has {location}", target.name),
        (Some(location), None) => format!("{raised}; the operator reads {location}"),
    }
}

/// The pipeline has the names that CodePipeline refused, as a clause.
pub fn found(spec: &ApprovalDecisionSpec) -> String {
    let ApprovalDecisionSpec { pipeline_name, stage_name, action_name, .. } = spec;
    format!("stage {stage_name} of pipeline {pipeline_name} has an action {action_name:?} now")
}

/// The actions that a decision may mean.
fn candidates(Candidates { approvals, others }: &Candidates) -> String {
    let approvals = match approvals.as_slice() {
        [] => None,
        [approval] => Some(format!("the approval is {approval}")),
        several => Some(format!("the approvals are {}", list(several))),
    };
    let others = match others.as_slice() {
        [] => None,
        [other] => Some(format!("action {other} may be an approval")),
        several => Some(format!("these actions may be approvals: {}", list(several))),
    };
    match (approvals, others) {
        (None, None) => "no other action can be an approval".to_owned(),
        (Some(actions), None) | (None, Some(actions)) => actions,
        (Some(approvals), Some(others)) => format!("{approvals}, and {others}"),
    }
}
