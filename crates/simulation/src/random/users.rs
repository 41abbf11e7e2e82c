//! What users do to decisions: create, edit, suspend, annotate, delete and restore them, as far as the CRD's rules permit.

use super::aws::{APPROVAL, PIPELINE, SECOND_APPROVAL, SOURCES, STAGE, revision, second_stage};
use super::{ActionChoice, BindTo, DecisionChange, NewDecision, StoredDecision, World};
use crate::fixtures::{self, Given};
use approval_operator::api::v1alpha1::{
    ApprovalDecision, ApprovalDecisionSpec, PipelineExecutionId, ReadyClass, Reason, SourceRevision,
};
use approval_operator::decision::current_reason;
use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// The id of an execution that does not exist.
const UNKNOWN: &str = "0a1b2c3d-0000-4000-8000-00000000000a";

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
        });
        self.decisions.push(StoredDecision::default());
        let spec = self.bound(decision.spec.clone(), &new.bind_to);
        let spec = self.at_action(spec, new.action);
        self.note(format_args!("someone creates decision {number}: {spec:?}"));
        self.store(number, decision.with(|decision| decision.spec = spec));
    }

    /// Writes a version of a decision.
    pub(super) fn store(&mut self, number: usize, mut decision: ApprovalDecision) -> ApprovalDecision {
        let stored = &mut self.decisions[number];
        decision.metadata.resource_version = Some(stored.versions.len().to_string());
        stored.versions.push(decision.clone());
        decision
    }

    fn bound(&mut self, mut spec: ApprovalDecisionSpec, bind_to: &BindTo) -> ApprovalDecisionSpec {
        (spec.token, spec.pipeline_execution_id, spec.source_revision) = (None, None, None);
        match *bind_to {
            BindTo::Execution(number) => {
                let id = self.aws().execution(number).map_or_else(|| UNKNOWN.to_owned(), |id| id.to_string());
                spec.pipeline_execution_id = Some(PipelineExecutionId(id));
            }
            BindTo::UnknownExecution => spec.pipeline_execution_id = Some(PipelineExecutionId(UNKNOWN.to_owned())),
            BindTo::Revision(number, action) => {
                let action_name = action.map(|action| SOURCES[action % 2].to_owned());
                spec.source_revision = Some(SourceRevision { revision_id: revision(number), action_name });
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
            ActionChoice::SecondApproval => (second_stage(&self.scenario), SECOND_APPROVAL),
            ActionChoice::Unknown => (STAGE, "Nothing"),
            ActionChoice::NotAnApproval => (STAGE, "Prepare"),
            ActionChoice::InUnknownStage => ("Nowhere", APPROVAL),
        };
        ApprovalDecisionSpec { stage_name: stage.to_owned(), action_name: action.to_owned(), ..spec }
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
            DecisionChange::SetAction(choice) => spec = self.at_action(spec, *choice),
            DecisionChange::Annotate => {
                self.note(format_args!("someone annotates decision {number}"));
                let value = self.decisions[number].versions.len().to_string();
                self.store(number, old.annotated(&value));
                return self.wake(number);
            }
            DecisionChange::Delete => {
                self.note(format_args!("someone deletes decision {number}"));
                self.decisions[number].deleted = true;
                for operator in &mut self.operators {
                    operator.forget(number);
                }
                return;
            }
            DecisionChange::Restore => return self.restore(number),
        }
        let class = current_reason(&old).map(Reason::ready_class);
        let is_locked = matches!(class, Some(ReadyClass::InFlight | ReadyClass::Settled));
        if spec != old.spec && !is_locked {
            self.note(format_args!("someone edits decision {number}: {spec:?}"));
            self.store(number, old.with(|decision| decision.spec = spec).edited());
            self.wake(number);
        }
    }

    fn restore(&mut self, number: usize) {
        let created = Time(self.now());
        let stored = &mut self.decisions[number];
        stored.deleted = false;
        let (versions, last) = (stored.versions.len(), stored.versions.last().cloned());
        let Some(last) = last else { return };
        self.note(format_args!("someone restores decision {number}"));
        let restored = last.with(|decision| {
            decision.metadata.uid = Some(format!("uid-{number}-{versions}"));
            decision.metadata.generation = Some(1);
            decision.metadata.creation_timestamp = Some(created);
            decision.status = None;
        });
        self.store(number, restored);
        self.wake(number);
    }

    /// The watches of both replicas deliver a change.
    fn wake(&mut self, number: usize) {
        for operator in &mut self.operators {
            operator.wake(number);
        }
    }
}
