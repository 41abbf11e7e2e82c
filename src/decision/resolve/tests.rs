//! Everything that a snapshot can show, and the request that it resolves to.

use super::*;
use crate::api::v1alpha1::ApprovalStatus::{Approved, Rejected};
use crate::api::v1alpha1::{ApprovalStatus, PipelineExecutionId, Token};
use crate::codepipeline::{
    ActionProgress, CompletedApproval, CompletionStatus, DisabledTransition, ExecutionEnd, ExecutionRevision,
    ExecutionType, Query, UnknownExecution,
};
use crate::decision::test_fixtures::pipeline::*;
use crate::decision::test_fixtures::{at, entry, exception, ids_of, other_token, token};
use ExecutionPosition::{AtApproval, BeyondHistory, PastApproval, PreviousRequest};

mod ends;
mod histories;
mod sources;

/// What a decision names.
#[derive(Clone)]
struct TestBinding {
    /// The execution. Without one, it is the source revisions.
    execution: Option<&'static str>,
    entries: Vec<SourceRevision>,
    stage: &'static str,
    action: &'static str,
    ignore_responses_before: Option<i64>,
    refused_as_completed: Option<Token>,
}

/// It names the execution `execution`.
fn by_id() -> TestBinding {
    TestBinding {
        execution: Some("execution"),
        entries: Vec::new(),
        stage: "Production",
        action: "Approve",
        ignore_responses_before: None,
        refused_as_completed: None,
    }
}

/// It names these source revisions.
fn by(entries: &[(Option<&str>, Option<&str>)]) -> TestBinding {
    let entries = entries.iter().map(|(action, revision)| entry(*action, *revision)).collect();
    TestBinding { execution: None, entries, ..by_id() }
}

/// It names the revision `main` of the only source.
fn by_revision() -> TestBinding {
    by(&[(None, Some("main"))])
}

impl TestBinding {
    fn ignoring_responses_before(self, seconds: i64) -> Self {
        Self { ignore_responses_before: Some(seconds), ..self }
    }
}

/// What a poll that starts then resolves the binding to.
fn resolution_at(pipeline: &TestPipeline, binding: &TestBinding, seconds: i64) -> Resolution {
    let id = binding.execution.map(|id| PipelineExecutionId(id.to_owned()));
    let executions = match &id {
        Some(id) => ExecutionBinding::PipelineExecution(id),
        None => ExecutionBinding::SourceRevisions(&binding.entries),
    };
    let (stage, action) = (binding.stage.to_owned(), binding.action.to_owned());
    let snapshot = pipeline.snapshot_at(seconds, Query { stage, action, executions: executions.into() });
    resolve(&snapshot, named(binding, executions))
}

fn named<'a>(binding: &'a TestBinding, executions: ExecutionBinding<'a>) -> Named<'a> {
    Named {
        stage: binding.stage,
        action: binding.action,
        executions,
        ignore_responses_before: binding.ignore_responses_before.map(at),
        refused_as_completed: binding.refused_as_completed.as_ref(),
    }
}

/// After every lag.
const LATE: i64 = 1000;

/// The request of the action execution is pending, in an execution with the default times and sources of [`TestPipeline::execution`].
fn pending(token: Token, execution: &str, action: &str) -> Expected {
    Expected::Pending(token, execution.to_owned(), action.to_owned())
}

/// What a test expects.
#[derive(Debug, Eq, PartialEq)]
enum Expected {
    /// The execution itself is not compared.
    Pending(Token, String, String),
    Other(Resolution),
}

impl From<Resolution> for Expected {
    fn from(resolution: Resolution) -> Self {
        match resolution {
            Resolution::Pending(PendingRequest { token, action_execution, execution }) => {
                Self::Pending(token, execution.id, action_execution)
            }
            other => Self::Other(other),
        }
    }
}

fn response(result: ApprovalStatus, execution: &str, action: &str, seconds: i64) -> CompletedApproval {
    let (summary, by) = (Some("checked".to_owned()), Some("ada".to_owned()));
    let ids = ids_of(execution, action);
    CompletedApproval { result: Some(result), summary, at: Some(at(seconds)), by, ids, decision: None }
}

/// Settled by a response of ada at second -10, and nothing is open besides.
fn settled(result: ApprovalStatus, execution: &str, action: &str) -> Expected {
    settled_at(-10, result, execution, action)
}

fn settled_at(seconds: i64, result: ApprovalStatus, execution: &str, action: &str) -> Expected {
    let response = response(result, execution, action, seconds);
    Resolution::Settled { response, open: None }.into()
}

/// As [`settled_at`], and this execution asks, or is on its way.
fn used_up(response: CompletedApproval, execution: &str, is_pending: bool) -> Expected {
    let open = Some(OpenRequest { execution: execution.to_owned(), is_pending });
    Resolution::Settled { response, open }.into()
}

fn waiting(wait: ExecutionWait, recheck_at: Option<i64>) -> Expected {
    Resolution::NotYet { wait, recheck_at: recheck_at.map(at) }.into()
}

fn not_yet(execution: &str, position: ExecutionPosition, recheck_at: Option<i64>) -> Expected {
    waiting(ExecutionWait::Execution { execution: execution.to_owned(), position }, recheck_at)
}

fn ended(execution: &str, end: ExecutionEnd) -> Expected {
    Resolution::Ended { execution: execution.to_owned(), end }.into()
}

fn missing(missing: Missing) -> Expected {
    Resolution::Missing(missing).into()
}

macro_rules! rows {
    ($($name:literal: $pipeline:expr, $binding:expr, $seconds:expr => $expected:expr;)+) => {
        $(assert_eq!(Expected::from(resolution_at(&$pipeline, &$binding, $seconds)), $expected, "\n{}\n", $name);)+
    };
}
use rows;

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// History does not show these actions.
fn may_be(others: &[&str]) -> Candidates {
    Candidates { approvals: Vec::new(), others: names(others) }
}

#[test]
fn a_stage_or_approval_that_the_pipeline_does_not_have_is_missing() {
    let execution = || pipeline().execution("execution", RUNNING);
    let with_category = |category: &str| {
        execution().entry("new", "execution", IN_PROGRESS).with_entry(|entry| entry.category = category.to_owned())
    };
    rows! {
        "the pipeline has no such stage": execution(), TestBinding { stage: "Nowhere", ..by_id() }, LATE
            => missing(Missing::Stage { stages: names(&["Build", "Production"]) });
        "the stage has no such action": execution(), TestBinding { action: "Nothing", ..by_id() }, LATE
            => missing(Missing::Action { candidates: may_be(&["Prepare", "Approve"]), stages: Vec::new() });
        "… but another stage has one": execution(), TestBinding { action: "Compile", ..by_id() }, LATE
            => missing(Missing::Action {
                candidates: may_be(&["Prepare", "Approve"]),
                stages: names(&["Build"]),
            });
        "history shows which actions are approvals":
            with_category("Approval"), TestBinding { action: "Nothing", ..by_id() }, LATE
            => missing(Missing::Action {
                candidates: Candidates { approvals: names(&["Approve"]), ..may_be(&["Prepare"]) },
                stages: Vec::new(),
            });
        "… and which are not":
            with_category("Build"), TestBinding { action: "Nothing", ..by_id() }, LATE
            => missing(Missing::Action { candidates: may_be(&["Prepare"]), stages: Vec::new() });
        "in PARALLEL mode, the state view may be that of an older definition":
            execution().parallel(), TestBinding { stage: "Nowhere", ..by_id() }, LATE
            => not_yet("execution", ExecutionPosition::InProgress, None);
        "the action is not an approval": with_category("Build"), by_id(), LATE
            => missing(Missing::NotAnApproval { category: "Build".into(), candidates: may_be(&["Prepare"]) });
        "the action was not an approval before an edit of the pipeline":
            with_category("Approval").shows("new", Some(token()), IN_PROGRESS)
                .entry("old", "execution", completed(CompletionStatus::Succeeded, None, None))
                .with_entry(|entry| entry.category = "Build".to_owned()),
            by_id().ignoring_responses_before(0), LATE
            => pending(token(), "execution", "new");
        "history does not say what the action is": with_category(""), by_id(), LATE
            => not_yet("execution", AtApproval, None);
    }
}

#[test]
fn a_request_is_pending_if_the_state_view_and_history_both_name_it() {
    let execution = || pipeline().execution("execution", RUNNING);
    let entered = || execution().entry("new", "execution", IN_PROGRESS);
    let in_stage =
        |stage: &str| ExecutionPosition::InStage { stage: stage.to_owned(), status: "InProgress".to_owned() };
    rows! {
        "the state view shows a token, and history ties its action execution to the execution":
            entered().shows("new", Some(token()), IN_PROGRESS), by_id(), LATE => pending(token(), "execution", "new");
        "the visible token belongs to another execution, and this one has not reached the approval":
            execution().execution("other", RUNNING).entry("old", "other", IN_PROGRESS)
                .shows("old", Some(token()), IN_PROGRESS)
                .in_stages([Some("execution"), Some("other"), None]),
            by_id(), LATE => not_yet("execution", in_stage("Build"), None);
        "the state view shows an action execution that is not in history yet":
            execution().shows("new", Some(token()), IN_PROGRESS).in_stages([None, Some("execution"), None]),
            by_id(), LATE => not_yet("execution", in_stage("Production"), Some(LATE + 2));
        "the request is in history, and its token is not visible yet":
            entered(), by_id(), LATE => not_yet("execution", AtApproval, None);
        "the state view still shows the previous request, which was rejected":
            execution().execution("other", FAILED).entry("new", "execution", IN_PROGRESS)
                .entry("old", "other", IN_PROGRESS).shows("old", None, completed_by_ada(CompletionStatus::Failed)),
            by_id(), LATE => not_yet("execution", AtApproval, None);
        "in PARALLEL mode history has the token":
            entered().parallel().with_token(token()), by_id(), LATE => pending(token(), "execution", "new");
        "in PARALLEL mode the state view proves nothing":
            entered().parallel().shows("new", Some(other_token()), IN_PROGRESS), by_id(), LATE
            => not_yet("execution", AtApproval, None);
        "in PARALLEL mode the external execution id in history is not a token":
            entered().parallel().with_token(Token("not a token".to_owned())), by_id(), LATE
            => not_yet("execution", AtApproval, None);
        "in another mode the token in history is not that of a pending request":
            entered().with_token(token()), by_id(), LATE => not_yet("execution", AtApproval, None);
        "an execution that is being stopped still asks":
            pipeline().execution("execution", STOPPING).entry("new", "execution", IN_PROGRESS)
                .shows("new", Some(token()), IN_PROGRESS),
            by_id(), LATE => pending(token(), "execution", "new");
    }
}

#[test]
fn a_poll_for_other_queries_says_nothing_about_an_execution() {
    let revision = by_revision();
    let other = ExecutionBinding::SourceRevisions(&revision.entries);
    let (stage, action) = ("Production".to_owned(), "Approve".to_owned());
    let snapshot = pipeline().snapshot_at(LATE, Query { stage, action, executions: other.into() });
    let id = PipelineExecutionId("execution".to_owned());
    let resolution = resolve(&snapshot, named(&by_id(), ExecutionBinding::PipelineExecution(&id)));
    assert_eq!(resolution, Resolution::NotYet { wait: ExecutionWait::UnknownExecution, recheck_at: None });
}
