//! Each thing that a look at a pipeline may find, and which request it makes a decision's. The views are made by [`look`] of
//! a pipeline that stands still.

use super::*;
use crate::api::v1alpha1::{ApprovalStatus, PipelineExecutionId, SourceRevision};
use crate::codepipeline::{
    ActionState, Ask, AskedRun, CallError, Cause, Ending, Page, PipelineState, Reads, StageExecution, StageState, look,
};
use crate::decision::fixtures::{at, exception, fresh, other_token, token};
use futures::FutureExt;

/// A pipeline that stands still: a stage Build, and a stage Production with the actions Prepare and Approve.
#[derive(Clone, Default)]
struct Scene {
    /// What the state shows of Approve.
    shown: Option<LatestExecution>,
    /// The runs that are in the two stages, and in front of the second.
    within: [Option<&'static str>; 3],
    /// The newest first.
    runs: Vec<PipelineExecution>,
    /// The newest first.
    entries: Vec<ActionExecution>,
}

impl Reads for Scene {
    async fn pipeline_state(&self) -> Result<PipelineState, CallError> {
        let [build, production, inbound] = self.within;
        let within = |run: Option<&str>| {
            run.map(|run| StageExecution { pipeline_execution_id: run.to_owned(), status: "InProgress".to_owned() })
        };
        let action = |name: &str| ActionState { name: name.to_owned(), latest_execution: None };
        let stage = |name: &str, run, actions| StageState {
            name: name.to_owned(),
            latest_execution: within(run),
            inbound_executions: Vec::new(),
            actions,
        };
        let approve = ActionState { latest_execution: self.shown.clone(), ..action("Approve") };
        let mut production = stage("Production", production, vec![action("Prepare"), approve]);
        production.inbound_executions.extend(inbound.map(str::to_owned));
        Ok(PipelineState { stages: vec![stage("Build", build, vec![action("Compile")]), production] })
    }

    async fn pipeline_executions(&self, _page: Option<String>) -> Result<Page<PipelineExecution>, CallError> {
        Ok(Page { items: self.runs.clone(), next: None })
    }

    async fn pipeline_execution(&self, _id: &str) -> Result<PipelineExecution, CallError> {
        let (cause, exception) = (Cause::ServiceUnavailable, Some(exception("PipelineExecutionNotFound")));
        Err(CallError::NotTaken { cause, exception, detail: String::new() })
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

impl Scene {
    fn shows(mut self, id: &str, token: Option<Token>, progress: ActionProgress) -> Self {
        let action_execution_id = Some(id.to_owned());
        self.shown = Some(LatestExecution { action_execution_id, external_execution_id: None, token, progress });
        self
    }

    /// A run that began before those that were named before it, with the revision `main`; it last changed at time 0.
    fn run(mut self, id: &str, status: ExecutionStatus) -> Self {
        let age = i64::try_from(self.runs.len()).unwrap_or_default();
        self.runs.push(PipelineExecution {
            id: id.to_owned(),
            status,
            started: Some(at(-100 - age)),
            updated: Some(at(0)),
            source_revisions: vec![SourceRevision { revision_id: "main".into(), action_name: Some("Git".into()) }],
            mode: ExecutionMode::Serial,
        });
        self
    }

    fn parallel(mut self) -> Self {
        self.runs.iter_mut().for_each(|run| run.mode = ExecutionMode::Parallel);
        self
    }

    /// An execution of Approve, older than those that were named before it.
    fn entry(mut self, id: &str, run: &str, progress: ActionProgress) -> Self {
        let age = i64::try_from(self.entries.len()).unwrap_or_default();
        self.entries.push(ActionExecution {
            pipeline_execution_id: run.to_owned(),
            action_execution_id: id.to_owned(),
            stage_name: "Production".to_owned(),
            action_name: "Approve".to_owned(),
            category: "Approval".to_owned(),
            external_execution_id: None,
            started: Some(at(-50 - age)),
            progress,
        });
        self
    }

    /// The last entry has this token.
    fn with(mut self, token: Token) -> Self {
        self.entries.iter_mut().last().expect("an entry").external_execution_id = Some(token.0);
        self
    }

    fn of_category(mut self, category: &str) -> Self {
        self.entries.iter_mut().last().expect("an entry").category = category.to_owned();
        self
    }

    fn within(mut self, within: [Option<&'static str>; 3]) -> Self {
        self.within = within;
        self
    }

    /// What a decision is told that is bound so, by a look that begins then.
    fn choice_at(&self, bound: &Bound, seconds: i64) -> Choice {
        let mut spec = fresh().spec;
        let asked = bound.asked();
        spec.stage_name = bound.stage.to_owned();
        spec.action_name = bound.action.to_owned();
        let ask = Ask { stage: spec.stage_name.clone(), action: spec.action_name.clone(), run: asked.clone() };
        let view = look(self, at(seconds), [ask].into(), None).now_or_never().expect("an end").expect("a view");
        match &asked {
            AskedRun::PipelineExecution(id) => choose(&view, &spec, RunBinding::PipelineExecution(id)),
            AskedRun::SourceRevision(revision) => choose(&view, &spec, RunBinding::SourceRevision(revision)),
        }
    }
}

#[derive(Clone, Copy)]
struct Bound {
    /// The run; where there is none, the revision `main` of this action.
    run: Option<&'static str>,
    source: Option<&'static str>,
    stage: &'static str,
    action: &'static str,
}

const TO_RUN: Bound = Bound { run: Some("run"), source: None, stage: "Production", action: "Approve" };
const TO_REVISION: Bound = Bound { run: None, ..TO_RUN };

impl Bound {
    fn asked(&self) -> AskedRun {
        match self.run {
            Some(run) => AskedRun::PipelineExecution(PipelineExecutionId(run.to_owned())),
            None => AskedRun::SourceRevision(SourceRevision {
                revision_id: "main".to_owned(),
                action_name: self.source.map(str::to_owned),
            }),
        }
    }
}

/// Long enough for every lag to be over.
const LATE: i64 = 1000;

const GOING: ActionProgress = ActionProgress::InProgress;
const ON: ExecutionStatus = ExecutionStatus::InProgress;
const FAILED: ExecutionStatus = ExecutionStatus::Over(ExecutionEnd::Failed);

fn ending(status: EndStatus, by: Option<&str>) -> Ending {
    Ending { status, summary: Some("words".to_owned()), at: Some(at(-10)), by: by.map(str::to_owned) }
}

fn over(status: EndStatus, by: Option<&str>) -> ActionProgress {
    ActionProgress::Over(ending(status, by))
}

fn ids(run: &str, action: &str) -> ExecutionIds {
    ExecutionIds { pipeline: Some(run.to_owned()), action: Some(action.to_owned()) }
}

fn pending(token: Token, run: &str, action: &str) -> Choice {
    Choice::Pending(Chosen { token, ids: ids(run, action) })
}

fn finished(result: ApprovalStatus, run: &str, action: &str) -> Choice {
    let (summary, by) = (Some("words".to_owned()), Some("ada".to_owned()));
    Choice::Finished(Finished { result: Some(result), summary, at: Some(at(-10)), by, ids: ids(run, action) })
}

fn waits(run: &str, place: Place, again: Option<i64>) -> Choice {
    Choice::NotYet { wait: Wait::Run { execution: run.to_owned(), place }, again: again.map(at) }
}

fn ended(run: &str, end: ExecutionEnd) -> Choice {
    Choice::Ended { execution: run.to_owned(), end }
}

fn scene() -> Scene {
    Scene::default()
}

fn check(rows: Vec<(&str, Scene, Bound, i64, Choice)>) {
    for (row, scene, bound, seconds, expected) in rows {
        assert_eq!(scene.choice_at(&bound, seconds), expected, "{row}");
    }
}

fn by_ada(status: EndStatus) -> ActionProgress {
    over(status, Some("ada"))
}

#[test]
fn what_the_pipeline_does_not_have_is_missing() {
    let run = || scene().run("run", ON);
    let category = run().entry("new", "run", GOING).of_category("Build");
    check(vec![
        ("there is no such stage", run(), Bound { stage: "Nowhere", ..TO_RUN }, LATE, Choice::Missing(Missing::Stage)),
        (
            "the stage has no such action",
            run(),
            Bound { action: "Nothing", ..TO_RUN },
            LATE,
            Choice::Missing(Missing::Action),
        ),
        ("the action is no approval", category, TO_RUN, LATE, Choice::Missing(Missing::Approval("Build".into()))),
        (
            "the action was no approval before it was edited",
            run().entry("new", "run", GOING).entry("old", "run", GOING).of_category("Build").shows(
                "new",
                Some(token()),
                GOING,
            ),
            TO_RUN,
            LATE,
            pending(token(), "run", "new"),
        ),
        (
            "history does not say what the action is",
            run().entry("new", "run", GOING).of_category(""),
            TO_RUN,
            LATE,
            waits("run", Place::AtApproval, None),
        ),
    ]);
}

#[test]
fn a_request_is_pending_where_the_state_and_the_history_name_it() {
    let run = || scene().run("run", ON);
    let in_stage = |stage: &str| Place::In { stage: stage.to_owned(), status: "InProgress".to_owned() };
    check(vec![
        (
            "the state shows a token of an execution that history has of the run",
            run().entry("new", "run", GOING).shows("new", Some(token()), GOING),
            TO_RUN,
            LATE,
            pending(token(), "run", "new"),
        ),
        (
            "the token that is shown is of another run, and this one is on its way",
            run().run("other", ON).entry("old", "other", GOING).shows("old", Some(token()), GOING).within([
                Some("run"),
                Some("other"),
                None,
            ]),
            TO_RUN,
            LATE,
            waits("run", in_stage("Build"), None),
        ),
        (
            "the state shows an execution that history does not have yet",
            run().shows("new", Some(token()), GOING).within([None, Some("run"), None]),
            TO_RUN,
            LATE,
            waits("run", in_stage("Production"), Some(LATE + 2)),
        ),
        (
            "history has the request, and its token is not to be seen yet",
            run().entry("new", "run", GOING),
            TO_RUN,
            LATE,
            waits("run", Place::AtApproval, None),
        ),
        (
            "what was answered before stands in the state while the request is new",
            run().run("other", FAILED).entry("new", "run", GOING).entry("old", "other", GOING).shows(
                "old",
                None,
                by_ada(EndStatus::Failed),
            ),
            TO_RUN,
            LATE,
            waits("run", Place::AtApproval, None),
        ),
        (
            "the stage was retried, and the newest request counts",
            run().entry("new", "run", GOING).entry("old", "run", by_ada(EndStatus::Failed)).shows(
                "new",
                Some(other_token()),
                GOING,
            ),
            TO_RUN,
            LATE,
            pending(other_token(), "run", "new"),
        ),
        (
            "in PARALLEL mode the history has the token",
            run().parallel().entry("new", "run", GOING).with(token()),
            TO_RUN,
            LATE,
            pending(token(), "run", "new"),
        ),
        (
            "in PARALLEL mode the history does not have the token yet",
            run().parallel().entry("new", "run", GOING),
            TO_RUN,
            LATE,
            waits("run", Place::AtApproval, None),
        ),
        (
            "what history has in PARALLEL mode in the token's place is none",
            run().parallel().entry("new", "run", GOING).with(Token("no token".to_owned())),
            TO_RUN,
            LATE,
            waits("run", Place::AtApproval, None),
        ),
        (
            "in another mode what history has is not the token of a pending request",
            run().entry("new", "run", GOING).with(token()),
            TO_RUN,
            LATE,
            waits("run", Place::AtApproval, None),
        ),
    ]);
}

#[path = "tests/ends.rs"]
mod ends;
