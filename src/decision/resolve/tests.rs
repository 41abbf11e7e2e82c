//! Everything that a snapshot can show, and the request that it resolves to. [`read_snapshot`] reads the snapshots from a
//! pipeline that does not change.

use super::*;
use crate::api::v1alpha1::{ApprovalStatus, PipelineExecutionId, SourceRevision};
use crate::codepipeline::{
    ActionCompletion, ActionState, CallError, DisabledTransition, ExecutionSelector, Page, PipelineReader,
    PipelineState, Query, RetryCause, StageExecution, StageState, read_snapshot,
};
use crate::decision::test_fixtures::{at, exception, fresh, other_token, token};
use futures::FutureExt;

mod ends;

/// A pipeline that does not change: a stage Build, and a stage Production with the actions Prepare and Approve.
#[derive(Clone, Default)]
struct StaticPipeline {
    /// What the state view shows of Approve.
    latest: Option<LatestExecution>,
    /// The executions in the two stages, and the one that waits to enter the second.
    stage_executions: [Option<&'static str>; 3],
    /// The transition into both stages.
    disabled_transition: Option<DisabledTransition>,
    /// Newest first.
    executions: Vec<PipelineExecution>,
    /// Newest first.
    entries: Vec<ActionExecution>,
}

impl PipelineReader for StaticPipeline {
    async fn pipeline_state(&self) -> Result<PipelineState, CallError> {
        let [build, production, inbound] = self.stage_executions;
        let in_stage = |execution: Option<&str>| {
            execution.map(|id| StageExecution { pipeline_execution_id: id.to_owned(), status: "InProgress".to_owned() })
        };
        let action = |name: &str| ActionState { name: name.to_owned(), latest_execution: None };
        let stage = |name: &str, execution, actions| StageState {
            name: name.to_owned(),
            latest_execution: in_stage(execution),
            inbound_executions: Vec::new(),
            disabled_transition: self.disabled_transition.clone(),
            actions,
        };
        let approve = ActionState { latest_execution: self.latest.clone(), ..action("Approve") };
        let mut production = stage("Production", production, vec![action("Prepare"), approve]);
        production.inbound_executions.extend(inbound.map(str::to_owned));
        Ok(PipelineState { stages: vec![stage("Build", build, vec![action("Compile")]), production] })
    }

    async fn pipeline_executions(&self, _page: Option<String>) -> Result<Page<PipelineExecution>, CallError> {
        Ok(Page { items: self.executions.clone(), next: None })
    }

    async fn pipeline_execution(&self, _id: &str) -> Result<PipelineExecution, CallError> {
        let (cause, exception) = (RetryCause::ServiceUnavailable, Some(exception("PipelineExecutionNotFound")));
        Err(CallError::NotApplied { cause, exception, detail: String::new() })
    }

    async fn action_executions(
        &self,
        execution: Option<&str>,
        _page: Option<String>,
    ) -> Result<Page<ActionExecution>, CallError> {
        let is_of = |entry: &&ActionExecution| execution.is_none_or(|id| id == entry.pipeline_execution_id);
        Ok(Page { items: self.entries.iter().filter(is_of).cloned().collect(), next: None })
    }
}

impl StaticPipeline {
    fn shows(mut self, id: &str, token: Option<Token>, progress: ActionProgress) -> Self {
        let action_execution_id = Some(id.to_owned());
        self.latest = Some(LatestExecution { action_execution_id, external_execution_id: None, token, progress });
        self
    }

    /// Another execution, which started before the others. Its revision is `main`, and it last changed at time 0.
    fn execution(mut self, id: &str, status: ExecutionStatus) -> Self {
        let age = i64::try_from(self.executions.len()).unwrap_or_default();
        self.executions.push(PipelineExecution {
            id: id.to_owned(),
            status,
            started_at: Some(at(-100 - age)),
            updated_at: Some(at(0)),
            source_revisions: vec![SourceRevision { revision_id: "main".into(), action_name: Some("Git".into()) }],
            mode: ExecutionMode::Serial,
        });
        self
    }

    fn parallel(mut self) -> Self {
        self.executions.iter_mut().for_each(|execution| execution.mode = ExecutionMode::Parallel);
        self
    }

    /// Another action execution of Approve, which started before the others.
    fn entry(mut self, id: &str, execution: &str, progress: ActionProgress) -> Self {
        let age = i64::try_from(self.entries.len()).unwrap_or_default();
        self.entries.push(ActionExecution {
            pipeline_execution_id: execution.to_owned(),
            action_execution_id: id.to_owned(),
            stage_name: "Production".to_owned(),
            action_name: "Approve".to_owned(),
            category: "Approval".to_owned(),
            external_execution_id: None,
            started_at: Some(at(-50 - age)),
            progress,
        });
        self
    }

    /// The last entry has this token.
    fn with_token(mut self, token: Token) -> Self {
        self.entries.iter_mut().last().expect("an entry").external_execution_id = Some(token.0);
        self
    }

    fn with_category(mut self, category: &str) -> Self {
        self.entries.iter_mut().last().expect("an entry").category = category.to_owned();
        self
    }

    fn in_stages(mut self, executions: [Option<&'static str>; 3]) -> Self {
        self.stage_executions = executions;
        self
    }

    /// What a poll that starts then resolves the binding to.
    fn resolution_at(&self, binding: TestBinding, seconds: i64) -> Resolution {
        let mut spec = fresh().spec;
        spec.stage_name = binding.stage.to_owned();
        spec.action_name = binding.action.to_owned();
        let executions = binding.executions();
        let (stage, action) = (spec.stage_name.clone(), spec.action_name.clone());
        let snapshot = self.snapshot_at(seconds, Query { stage, action, executions: executions.clone() });
        match &executions {
            ExecutionSelector::PipelineExecution(id) => {
                resolve(&snapshot, &spec, ExecutionBinding::PipelineExecution(id))
            }
            ExecutionSelector::SourceRevision(revision) => {
                resolve(&snapshot, &spec, ExecutionBinding::SourceRevision(revision))
            }
        }
    }

    fn snapshot_at(&self, seconds: i64, query: Query) -> PipelineSnapshot {
        let snapshot = read_snapshot(self, at(seconds), [query].into(), None);
        snapshot.now_or_never().expect("a result at once").expect("a snapshot")
    }
}

/// What a decision names.
#[derive(Clone, Copy)]
struct TestBinding {
    /// The execution. Without one, it is the revision `main` of the source action.
    execution: Option<&'static str>,
    source: Option<&'static str>,
    stage: &'static str,
    action: &'static str,
}

const BY_ID: TestBinding =
    TestBinding { execution: Some("execution"), source: None, stage: "Production", action: "Approve" };
const BY_REVISION: TestBinding = TestBinding { execution: None, ..BY_ID };

impl TestBinding {
    fn executions(&self) -> ExecutionSelector {
        match self.execution {
            Some(id) => ExecutionSelector::PipelineExecution(PipelineExecutionId(id.to_owned())),
            None => ExecutionSelector::SourceRevision(SourceRevision {
                revision_id: "main".to_owned(),
                action_name: self.source.map(str::to_owned),
            }),
        }
    }
}

/// After every lag.
const LATE: i64 = 1000;

const IN_PROGRESS: ActionProgress = ActionProgress::InProgress;
const RUNNING: ExecutionStatus = ExecutionStatus::InProgress;
const FAILED: ExecutionStatus = ExecutionStatus::Ended(ExecutionEnd::Failed);

fn completed(status: CompletionStatus, summary: Option<&str>, by: Option<&str>) -> ActionProgress {
    let (summary, by) = (summary.map(str::to_owned), by.map(str::to_owned));
    ActionProgress::Completed(ActionCompletion { status, summary, at: Some(at(-10)), by })
}

fn completed_by_ada(status: CompletionStatus) -> ActionProgress {
    completed(status, Some("checked"), Some("ada"))
}

fn ids(execution: &str, action: &str) -> ExecutionIds {
    ExecutionIds { pipeline: Some(execution.to_owned()), action: Some(action.to_owned()) }
}

fn pending(token: Token, execution: &str, action: &str) -> Resolution {
    Resolution::Pending(PendingRequest { token, ids: ids(execution, action) })
}

fn already_completed(result: ApprovalStatus, execution: &str, action: &str) -> Resolution {
    let (summary, by) = (Some("checked".to_owned()), Some("ada".to_owned()));
    let ids = ids(execution, action);
    Resolution::Completed(CompletedApproval { result: Some(result), summary, at: Some(at(-10)), by, ids })
}

fn not_yet(execution: &str, position: ExecutionPosition, recheck_at: Option<i64>) -> Resolution {
    let wait = ExecutionWait::Execution { execution: execution.to_owned(), position };
    Resolution::NotYet { wait, recheck_at: recheck_at.map(at) }
}

fn ended(execution: &str, end: ExecutionEnd) -> Resolution {
    Resolution::Ended { execution: execution.to_owned(), end }
}

fn pipeline() -> StaticPipeline {
    StaticPipeline::default()
}

fn check(rows: Vec<(&str, StaticPipeline, TestBinding, i64, Resolution)>) {
    for (row, pipeline, binding, seconds, expected) in rows {
        assert_eq!(pipeline.resolution_at(binding, seconds), expected, "{row}");
    }
}

#[test]
fn a_stage_or_approval_that_the_pipeline_does_not_have_is_missing() {
    let execution = || pipeline().execution("execution", RUNNING);
    let category = execution().entry("new", "execution", IN_PROGRESS).with_category("Build");
    check(vec![
        (
            "the pipeline has no such stage",
            execution(),
            TestBinding { stage: "Nowhere", ..BY_ID },
            LATE,
            Resolution::Missing(Missing::Stage),
        ),
        (
            "the stage has no such action",
            execution(),
            TestBinding { action: "Nothing", ..BY_ID },
            LATE,
            Resolution::Missing(Missing::Action),
        ),
        (
            "the action is not an approval",
            category,
            BY_ID,
            LATE,
            Resolution::Missing(Missing::NotAnApproval { category: "Build".into() }),
        ),
        (
            "the action was not an approval before an edit of the pipeline",
            execution()
                .entry("new", "execution", IN_PROGRESS)
                .entry("old", "execution", IN_PROGRESS)
                .with_category("Build")
                .shows("new", Some(token()), IN_PROGRESS),
            BY_ID,
            LATE,
            pending(token(), "execution", "new"),
        ),
        (
            "history does not say what the action is",
            execution().entry("new", "execution", IN_PROGRESS).with_category(""),
            BY_ID,
            LATE,
            not_yet("execution", ExecutionPosition::AtApproval, None),
        ),
    ]);
}

#[test]
fn a_request_is_pending_if_the_state_view_and_history_both_name_it() {
    let execution = || pipeline().execution("execution", RUNNING);
    let in_stage =
        |stage: &str| ExecutionPosition::InStage { stage: stage.to_owned(), status: "InProgress".to_owned() };
    check(vec![
        (
            "the state view shows a token, and history ties its action execution to the execution",
            execution().entry("new", "execution", IN_PROGRESS).shows("new", Some(token()), IN_PROGRESS),
            BY_ID,
            LATE,
            pending(token(), "execution", "new"),
        ),
        (
            "the visible token belongs to another execution, and this one has not reached the approval",
            execution()
                .execution("other", RUNNING)
                .entry("old", "other", IN_PROGRESS)
                .shows("old", Some(token()), IN_PROGRESS)
                .in_stages([Some("execution"), Some("other"), None]),
            BY_ID,
            LATE,
            not_yet("execution", in_stage("Build"), None),
        ),
        (
            "the state view shows an action execution that is not in history yet",
            execution().shows("new", Some(token()), IN_PROGRESS).in_stages([None, Some("execution"), None]),
            BY_ID,
            LATE,
            not_yet("execution", in_stage("Production"), Some(LATE + 2)),
        ),
        (
            "the request is in history, and its token is not visible yet",
            execution().entry("new", "execution", IN_PROGRESS),
            BY_ID,
            LATE,
            not_yet("execution", ExecutionPosition::AtApproval, None),
        ),
        (
            "the state view still shows the previous request, which was rejected",
            execution()
                .execution("other", FAILED)
                .entry("new", "execution", IN_PROGRESS)
                .entry("old", "other", IN_PROGRESS)
                .shows("old", None, completed_by_ada(CompletionStatus::Failed)),
            BY_ID,
            LATE,
            not_yet("execution", ExecutionPosition::AtApproval, None),
        ),
        (
            "the stage was retried, and the newest request counts",
            execution()
                .entry("new", "execution", IN_PROGRESS)
                .entry("old", "execution", completed_by_ada(CompletionStatus::Failed))
                .shows("new", Some(other_token()), IN_PROGRESS),
            BY_ID,
            LATE,
            pending(other_token(), "execution", "new"),
        ),
        (
            "in PARALLEL mode history has the token",
            execution().parallel().entry("new", "execution", IN_PROGRESS).with_token(token()),
            BY_ID,
            LATE,
            pending(token(), "execution", "new"),
        ),
        (
            "in PARALLEL mode history does not have the token yet",
            execution().parallel().entry("new", "execution", IN_PROGRESS),
            BY_ID,
            LATE,
            not_yet("execution", ExecutionPosition::AtApproval, None),
        ),
        (
            "in PARALLEL mode the external execution id in history is not a token",
            execution().parallel().entry("new", "execution", IN_PROGRESS).with_token(Token("not a token".to_owned())),
            BY_ID,
            LATE,
            not_yet("execution", ExecutionPosition::AtApproval, None),
        ),
        (
            "in another mode the token in history is not that of a pending request",
            execution().entry("new", "execution", IN_PROGRESS).with_token(token()),
            BY_ID,
            LATE,
            not_yet("execution", ExecutionPosition::AtApproval, None),
        ),
    ]);
}
