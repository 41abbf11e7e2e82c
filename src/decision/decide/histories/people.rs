//! What people do to decisions: create, edit, suspend, annotate, delete and restore them, as far as the CRD's rules let them.

use super::aws::{PIPELINE, SOURCES, STAGE, revision, summary};
use super::{Bind, Change, Kept, Target, Words, World};
use crate::api::v1alpha1::{
    ApprovalDecision, ApprovalDecisionSpec, ApprovalStatus, PipelineExecutionId, SourceRevision, Standing,
};
use crate::decision::fixtures::{self, Given};
use crate::decision::status::current_reason;
use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

const UNKNOWN: &str = "0a1b2c3d-0000-4000-8000-00000000000a";

impl World {
    pub(super) fn start(&mut self, revisions: [usize; 2]) {
        self.aws().start(revisions);
        self.aws().write_down();
    }

    pub(super) fn create(&mut self, number: usize, bind: &Bind, result: ApprovalStatus, words: Words) {
        let created = Time(self.now());
        let decision = fixtures::fresh().answering(result, summary(words)).with(|decision| {
            decision.metadata.name = Some(format!("decision-{number}"));
            decision.metadata.uid = Some(format!("uid-{number}"));
            decision.metadata.creation_timestamp = Some(created);
            decision.spec.pipeline_name = PIPELINE.to_owned();
        });
        self.decisions.push(Kept::default());
        let spec = self.bound(decision.spec.clone(), bind);
        self.note(format_args!("somebody creates decision {number}: {spec:?}"));
        self.store(number, decision.with(|decision| decision.spec = spec));
    }

    /// Writes a version of a decision.
    pub(super) fn store(&mut self, number: usize, mut decision: ApprovalDecision) -> ApprovalDecision {
        let kept = &mut self.decisions[number];
        decision.metadata.resource_version = Some(kept.versions.len().to_string());
        kept.versions.push(decision.clone());
        decision
    }

    fn bound(&mut self, mut spec: ApprovalDecisionSpec, bind: &Bind) -> ApprovalDecisionSpec {
        (spec.token, spec.pipeline_execution_id, spec.source_revision) = (None, None, None);
        match *bind {
            Bind::Run(number) => {
                let run = self.aws().run(number).map_or_else(|| UNKNOWN.to_owned(), |run| run.to_string());
                spec.pipeline_execution_id = Some(PipelineExecutionId(run));
            }
            Bind::UnknownRun => spec.pipeline_execution_id = Some(PipelineExecutionId(UNKNOWN.to_owned())),
            Bind::Revision(number, action) => {
                let action_name = action.map(|action| SOURCES[action % 2].to_owned());
                spec.source_revision = Some(SourceRevision { revision_id: revision(number), action_name });
            }
            Bind::Token(number) => {
                spec.token = Some(self.aws().pending(number).unwrap_or_else(fixtures::token));
            }
        }
        spec
    }

    pub(super) fn change(&mut self, number: usize, change: &Change) {
        let now = self.now();
        let Some(old) = self.decisions[number].live().cloned() else {
            if matches!(change, Change::Restore) {
                self.restore(number);
            }
            return;
        };
        let mut spec = old.spec.clone();
        match change {
            Change::Bind(bind) => spec = self.bound(spec, bind),
            Change::Answer(status, words) => {
                spec.result.status = *status;
                spec.result.summary = summary(*words).to_owned();
            }
            Change::Suspend(suspend) => spec.suspend = *suspend,
            Change::NoNotAfter => spec.not_after = None,
            Change::NotAfter(seconds) => {
                spec = old.clone().not_after(now + SignedDuration::from_secs(*seconds)).spec;
            }
            Change::OtherAction(target) => {
                let (stage, action) = match target {
                    Target::Approval => (STAGE, "Approve"),
                    Target::NoSuchAction => (STAGE, "Nothing"),
                    Target::NoApproval => (STAGE, "Prepare"),
                    Target::NoSuchStage => ("Nowhere", "Approve"),
                };
                (spec.stage_name, spec.action_name) = (stage.to_owned(), action.to_owned());
            }
            Change::Annotate => {
                self.note(format_args!("somebody annotates decision {number}"));
                let value = self.decisions[number].versions.len().to_string();
                self.store(number, old.annotated(&value));
                return self.wake(number);
            }
            Change::Delete => {
                self.note(format_args!("somebody deletes decision {number}"));
                self.decisions[number].deleted = true;
                for operator in &mut self.operators {
                    operator.forget(number);
                }
                return;
            }
            Change::Restore => return self.restore(number),
        }
        let standing = current_reason(&old).map(crate::api::v1alpha1::Reason::standing);
        let locked = matches!(standing, Some(Standing::UnderWay | Standing::Settled));
        if spec != old.spec && !locked {
            self.note(format_args!("somebody edits decision {number}: {spec:?}"));
            self.store(number, old.with(|decision| decision.spec = spec).edited());
            self.wake(number);
        }
    }

    fn restore(&mut self, number: usize) {
        let created = Time(self.now());
        let kept = &mut self.decisions[number];
        kept.deleted = false;
        let (versions, last) = (kept.versions.len(), kept.versions.last().cloned());
        let Some(last) = last else { return };
        self.note(format_args!("somebody restores decision {number}"));
        let restored = last.with(|decision| {
            decision.metadata.uid = Some(format!("uid-{number}-{versions}"));
            decision.metadata.generation = Some(1);
            decision.metadata.creation_timestamp = Some(created);
            decision.status = None;
        });
        self.store(number, restored);
        self.wake(number);
    }

    /// Both operators hear of a change.
    fn wake(&mut self, number: usize) {
        for operator in &mut self.operators {
            operator.wake(number);
        }
    }
}
