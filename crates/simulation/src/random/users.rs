//! What users do to decisions: create, edit, suspend, annotate, delete and restore them. The API server refuses none of it.

use super::scenario::{APPROVAL, PIPELINE, SECOND_APPROVAL, SOURCES, STAGE, revision};
use super::targets::name_of;
use super::{ActionChoice, BindTo, DecisionChange, NewDecision, StoredDecision, World};
use crate::fixtures::{self, Given};
use approval_operator::api::v1alpha1::{
    ApprovalDecision, ApprovalDecisionSpec, ApprovalDecisionStatus, PipelineExecutionId, SourceRevision, TargetRef,
    UserTime,
};
use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// The id of an execution that does not exist.
const UNKNOWN: &str = "0a1b2c3d-0000-4000-8000-00000000000a";

/// A reason of a newer version.
pub const UNKNOWN_REASON: &str = "ReasonOfANewerVersion";

/// A pipeline that does not exist.
const ELSEWHERE: &str = "elsewhere";

fn reference(target: usize) -> TargetRef {
    TargetRef { name: name_of(target).to_owned(), account_id: None, region: None }
}

impl World {
    pub(super) fn start(&mut self, revisions: [usize; 2]) {
        self.aws().start(revisions);
        self.aws().record_state();
    }

    pub(super) fn create(&mut self, number: usize, new: &NewDecision) {
        let created = Time(self.now());
        let decision = fixtures::fresh().with_result(new.result, new.summary.text()).with(|decision| {
            decision.metadata.name = Some(format!("decision-{number}"));
            decision.metadata.uid = Some(format!("uid-{number}"));
            decision.metadata.creation_timestamp = Some(created);
            decision.spec.pipeline_name = PIPELINE.to_owned();
            decision.status = Some(ApprovalDecisionStatus::pending());
        });
        self.decisions.push(StoredDecision::default());
        let spec = self.bound(decision.spec.clone(), &new.bind_to);
        let mut spec = self.at_action(spec, new.action);
        if self.scenario.target.is_some() {
            spec.target_ref = new.target.map(reference);
        }
        self.note(format_args!("someone creates decision {number}: {spec:?}"));
        self.store(number, decision.with(|decision| decision.spec = spec), true);
    }

    /// Writes a version of a decision. `is_external` is whether no replica wrote it.
    pub(super) fn store(
        &mut self,
        number: usize,
        mut decision: ApprovalDecision,
        is_external: bool,
    ) -> ApprovalDecision {
        let stored = &mut self.decisions[number];
        decision.metadata.resource_version = Some(stored.versions.len().to_string());
        stored.versions.push(decision.clone());
        self.deliver_to_all(number, is_external);
        decision
    }

    fn bound(&mut self, mut spec: ApprovalDecisionSpec, bind_to: &BindTo) -> ApprovalDecisionSpec {
        (spec.token, spec.pipeline_execution_id, spec.source_revisions) = (None, None, Vec::new());
        let entry = |action: Option<usize>, number: Option<usize>| SourceRevision {
            action_name: action.map(|action| SOURCES[action % 2].to_owned()),
            revision_id: number.map(revision),
        };
        match *bind_to {
            BindTo::Execution(number) => {
                let id = self.aws().execution(number).map_or_else(|| UNKNOWN.to_owned(), |id| id.to_string());
                spec.pipeline_execution_id = Some(PipelineExecutionId(id));
            }
            BindTo::UnknownExecution => spec.pipeline_execution_id = Some(PipelineExecutionId(UNKNOWN.to_owned())),
            BindTo::Revision(number, action) => spec.source_revisions = vec![entry(action, Some(number))],
            BindTo::Revisions(git, image) => {
                spec.source_revisions = vec![entry(Some(0), Some(git)), entry(Some(1), image)];
            }
            BindTo::Token(number) => {
                spec.token = Some(self.aws().pending(number).unwrap_or_else(fixtures::token));
            }
        }
        spec
    }

    fn at_action(&self, spec: ApprovalDecisionSpec, choice: ActionChoice) -> ApprovalDecisionSpec {
        let (stage, action) = match choice {
            ActionChoice::Approval => (STAGE, APPROVAL),
            ActionChoice::SecondApproval => (self.scenario.second_stage(), SECOND_APPROVAL),
            ActionChoice::Unknown => (STAGE, "Nothing"),
            ActionChoice::NotAnApproval => (STAGE, "Prepare"),
            ActionChoice::InUnknownStage => ("Nowhere", APPROVAL),
            ActionChoice::InUnknownPipeline => (STAGE, APPROVAL),
        };
        let pipeline_name = match choice {
            ActionChoice::InUnknownPipeline => ELSEWHERE,
            ActionChoice::Approval
            | ActionChoice::SecondApproval
            | ActionChoice::Unknown
            | ActionChoice::NotAnApproval
            | ActionChoice::InUnknownStage => PIPELINE,
        };
        ApprovalDecisionSpec {
            pipeline_name: pipeline_name.to_owned(),
            stage_name: stage.to_owned(),
            action_name: action.to_owned(),
            ..spec
        }
    }

    pub(super) fn change(&mut self, number: usize, change: &DecisionChange) {
        let now = self.now();
        let Some(old) = self.decisions[number].live().cloned() else {
            if matches!(change, DecisionChange::Restore) {
                self.restore(number);
            }
            return;
        };
        let mut spec = old.spec.clone();
        match change {
            DecisionChange::Bind(bind_to) => spec = self.bound(spec, bind_to),
            DecisionChange::SetResult(status, summary) => {
                spec.result.status = *status;
                spec.result.summary = summary.text().to_owned();
            }
            DecisionChange::Suspend(suspend) => spec.suspend = *suspend,
            DecisionChange::ClearNotAfter => spec.not_after = None,
            DecisionChange::SetNotAfter(seconds) => {
                spec = old.clone().not_after(now + SignedDuration::from_secs(*seconds)).spec;
            }
            DecisionChange::ClearIgnoreResponsesBefore => spec.ignore_responses_before = None,
            DecisionChange::SetIgnoreResponsesBefore(seconds) => {
                let time = now - SignedDuration::from_secs(*seconds);
                spec.ignore_responses_before = Some(UserTime(time.to_string()));
            }
            DecisionChange::SetAction(choice) => spec = self.at_action(spec, *choice),
            DecisionChange::SetTarget(target) if self.scenario.target.is_some() => {
                spec.target_ref = target.map(reference);
            }
            DecisionChange::SetTarget(_) => return,
            DecisionChange::Annotate => {
                self.note(format_args!("someone annotates decision {number}"));
                let value = self.decisions[number].versions.len().to_string();
                self.store(number, old.annotated(&value), true);
                return;
            }
            DecisionChange::ReplaceReason => {
                let Some(status) = &old.status else { return };
                self.note(format_args!("another version of the operator replaces the reason of decision {number}"));
                let mut status = status.clone();
                status.conditions.iter_mut().for_each(|condition| condition.reason = UNKNOWN_REASON.to_owned());
                self.store(number, old.with(|decision| decision.status = Some(status)), true);
                return;
            }
            DecisionChange::Delete => {
                self.note(format_args!("someone deletes decision {number}"));
                self.decisions[number].deleted = true;
                self.deliver_to_all(number, true);
                return;
            }
            DecisionChange::Restore => return self.restore(number),
        }
        if spec != old.spec {
            self.note(format_args!("someone edits decision {number}: {spec:?}"));
            self.store(number, old.with(|decision| decision.spec = spec).edited(), true);
        }
    }

    /// Someone deletes a decision, if it exists, and creates it again.
    fn restore(&mut self, number: usize) {
        let created = Time(self.now());
        self.decisions[number].deleted = true;
        self.deliver_to_all(number, true);
        let stored = &mut self.decisions[number];
        stored.deleted = false;
        let (versions, last) = (stored.versions.len(), stored.versions.last().cloned());
        let Some(last) = last else { return };
        self.note(format_args!("someone restores decision {number}"));
        let restored = last.with(|decision| {
            decision.metadata.uid = Some(format!("uid-{number}-{versions}"));
            decision.metadata.generation = Some(1);
            decision.metadata.creation_timestamp = Some(created);
            decision.status = Some(ApprovalDecisionStatus::pending());
        });
        self.store(number, restored, true);
    }
}
