//! ListActionExecutions, ListPipelineExecutions and GetPipelineExecution: what has been, the newest first. History knows
//! which run an action execution belongs to, and it learns of a decision later than the state view does.

use jiff::{SignedDuration, Timestamp};

use super::{
    Exception, ExecutionMode, Lags, PipelineExecutionId, Service,
    commands::no_such_run,
    declaration::action_type_id,
    paging::{Page, page},
    pipeline::Pipeline,
    run::{ActionEnd, ActionRun, How, Place, Run, RunEnd},
    state::{CANCELLED, status_of},
};
use crate::api::{
    ActionExecutionDetail, ActionExecutionInput, ActionExecutionOutput, ActionExecutionQuery, ActionExecutionResult,
    ActionExecutionStatus, ArtifactRevision, ExecutionStatus, ExecutionTrigger, GetPipelineExecutionInput,
    GetPipelineExecutionOutput, ListActionExecutionsInput, ListActionExecutionsOutput, ListPipelineExecutionsInput,
    ListPipelineExecutionsOutput, PipelineExecution, PipelineExecutionSummary, SourceRevisionView,
    StopExecutionTrigger,
};

const STARTED_BY_REQUEST: ExecutionTrigger = ExecutionTrigger { trigger_type: "StartPipelineExecution" };

impl Service {
    /// Action executions of all runs or of one.
    pub fn list_action_executions(
        &mut self,
        now: Timestamp,
        input: &ListActionExecutionsInput,
    ) -> Result<ListActionExecutionsOutput, Exception> {
        let ActionExecutionQuery { pipeline, execution, newest_only, page: wanted } = input.read()?;
        let lags = self.behaviour.lags.clone();
        let pipeline = self.pipeline(pipeline, now)?;
        let runs: Vec<&Run> = match execution {
            Some(id) => vec![pipeline.visible_run(id, now, &lags)?],
            None => pipeline.runs.iter().collect(),
        };
        let mut attempts: Vec<(&Run, &ActionRun)> = runs
            .into_iter()
            .flat_map(|run| run.actions.iter().map(move |attempt| (run, attempt)))
            .filter(|(_, attempt)| is_past(attempt.started, lags.start, now))
            .filter(|(run, attempt)| {
                let newest = || run.latest(&attempt.stage, &attempt.definition.name).map(|newest| newest.id);
                !newest_only || newest() == Some(attempt.id)
            })
            .collect();
        // Stable, so of those that started together the one begun later comes first.
        attempts.reverse();
        attempts.sort_by_key(|(_, attempt)| std::cmp::Reverse(attempt.started));
        let question = format!("actions of {} {execution:?} {newest_only}", pipeline.definition.name);
        let key = |(_, attempt): &(&Run, &ActionRun)| attempt.id.to_string();
        let Page { items, next_token } = page(attempts, &question, key, wanted)?;
        Ok(ListActionExecutionsOutput {
            action_execution_details: items
                .into_iter()
                .map(|(run, attempt)| detail(run, attempt, now, &lags))
                .collect(),
            next_token,
        })
    }

    /// The runs of a pipeline.
    pub fn list_pipeline_executions(
        &mut self,
        now: Timestamp,
        input: &ListPipelineExecutionsInput,
    ) -> Result<ListPipelineExecutionsOutput, Exception> {
        let (name, wanted) = input.read()?;
        let start_lag = self.behaviour.lags.start;
        let pipeline = self.pipeline(name, now)?;
        let runs: Vec<&Run> = pipeline.runs.iter().rev().filter(|run| is_past(run.started, start_lag, now)).collect();
        let question = format!("runs of {}", pipeline.definition.name);
        let Page { items, next_token } = page(runs, &question, |run| run.id.to_string(), wanted)?;
        Ok(ListPipelineExecutionsOutput {
            pipeline_execution_summaries: items.into_iter().map(summary).collect(),
            next_token,
        })
    }

    /// One run of a pipeline.
    pub fn get_pipeline_execution(
        &mut self,
        now: Timestamp,
        input: &GetPipelineExecutionInput,
    ) -> Result<GetPipelineExecutionOutput, Exception> {
        let (pipeline, execution) = input.read()?;
        let lags = self.behaviour.lags.clone();
        let pipeline = self.pipeline(pipeline, now)?;
        let run = pipeline.visible_run(execution, now, &lags)?;
        let revisions = run
            .known_revisions()
            .map(|revision| ArtifactRevision { name: revision.action_name, revision_id: revision.revision_id });
        Ok(GetPipelineExecutionOutput {
            pipeline_execution: PipelineExecution {
                pipeline_name: pipeline.definition.name.clone(),
                pipeline_version: run.version,
                pipeline_execution_id: run.id,
                status: run.status(),
                artifact_revisions: revisions.collect(),
                trigger: STARTED_BY_REQUEST,
                execution_mode: run.mode,
                execution_type: "STANDARD",
            },
        })
    }
}

fn is_past(event: Timestamp, lag: SignedDuration, now: Timestamp) -> bool {
    now.duration_since(event) >= lag
}

impl Pipeline {
    fn visible_run(&self, id: PipelineExecutionId, now: Timestamp, lags: &Lags) -> Result<&Run, Exception> {
        let found = self.runs.iter().find(|run| run.id == id);
        let visible = found.filter(|run| is_past(run.started, lags.start, now));
        visible.ok_or_else(|| no_such_run(&self.definition.name, id))
    }
}

impl Run {
    fn status(&self) -> ExecutionStatus {
        match self.place {
            Place::Ended(_, RunEnd::Succeeded) => ExecutionStatus::Succeeded,
            Place::Ended(_, RunEnd::Failed) => ExecutionStatus::Failed,
            Place::Ended(_, RunEnd::Stopped) => ExecutionStatus::Stopped,
            Place::Ended(_, RunEnd::Superseded) => ExecutionStatus::Superseded,
            Place::Waiting(_) | Place::In(_) if self.stop_reason.is_some() => ExecutionStatus::Stopping,
            Place::Waiting(_) | Place::In(_) => ExecutionStatus::InProgress,
        }
    }

    /// A revision is known once its source action has succeeded.
    fn known_revisions(&self) -> impl Iterator<Item = SourceRevisionView> {
        let known = self.revisions.iter().filter(|revision| {
            let ends = self.actions.iter().filter(|attempt| attempt.definition.name == revision.action_name);
            ends.filter_map(|attempt| attempt.end.as_ref()).any(|end| end.how == How::Succeeded)
        });
        known.map(|revision| SourceRevisionView {
            action_name: revision.action_name.clone(),
            revision_id: revision.revision_id.clone(),
        })
    }
}

fn summary(run: &Run) -> PipelineExecutionSummary {
    PipelineExecutionSummary {
        pipeline_execution_id: run.id,
        status: run.status(),
        start_time: run.started.into(),
        last_update_time: run.updated.into(),
        source_revisions: run.known_revisions().collect(),
        trigger: STARTED_BY_REQUEST,
        stop_trigger: run.stop_reason.clone().map(|reason| StopExecutionTrigger { reason }),
        execution_mode: run.mode,
        execution_type: "STANDARD",
    }
}

fn detail(run: &Run, attempt: &ActionRun, now: Timestamp, lags: &Lags) -> ActionExecutionDetail {
    let lag = |end: &ActionEnd| match (attempt.token, end.how) {
        (None, _) => SignedDuration::ZERO,
        (Some(_), How::Cancelled) => lags.cancellation,
        (Some(_), How::Succeeded | How::Failed | How::TimedOut | How::Abandoned) => lags.decision,
    };
    let end = attempt.end.as_ref().filter(|end| is_past(end.at, lag(end), now));
    let pending_in_parallel = run.mode == ExecutionMode::Parallel && is_past(attempt.started, lags.token, now);
    let token = attempt.token.filter(|_| end.is_some() || pending_in_parallel);
    let words = match end {
        Some(ActionEnd { how: How::Cancelled, .. }) => Some(CANCELLED.to_owned()),
        Some(end) => end.summary.clone(),
        None => None,
    };
    ActionExecutionDetail {
        pipeline_execution_id: run.id,
        action_execution_id: attempt.id,
        pipeline_version: run.version,
        stage_name: attempt.stage.clone(),
        action_name: attempt.definition.name.clone(),
        start_time: attempt.started.into(),
        last_update_time: end.map_or(attempt.started, |end| end.at).into(),
        updated_by: end.and_then(|end| end.by.clone()),
        status: end.map_or(ActionExecutionStatus::InProgress, |end| status_of(end.how)),
        input: ActionExecutionInput {
            action_type_id: action_type_id(attempt.definition.category),
            configuration: attempt.definition.configuration.clone(),
        },
        output: ActionExecutionOutput {
            execution_result: ActionExecutionResult {
                external_execution_id: token.map(|token| token.to_string()),
                external_execution_summary: words,
            },
        },
    }
}
