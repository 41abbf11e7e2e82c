//! The polls that the decisions of one replica share. The product's schedule says when they are due and whom they wake; a move
//! performs one, and may publish it later.

use super::aws::short;
use super::reader::Calls;
use super::scenario::{APPROVAL, PIPELINE, SECOND_APPROVAL, STAGE};
use super::{PollPlan, Replica, World};
use crate::fixtures::{self, SETTINGS};
use approval_operator::api::v1alpha1::ApprovalDecision;
use approval_operator::codepipeline::{
    ActionProgress, CallError, Moment, PipelineObservation, PipelineSnapshot, Poll, PollSchedule, Query, RetryCause,
    WakeCondition, read_snapshot,
};
use approval_operator::decision::subscription_generation;
use futures::FutureExt;
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;
use std::time::Duration;

/// A target, if it is not the operator's own identity, and a pipeline.
type Key = (Option<String>, String);

/// The polls of one replica, by pipeline.
#[derive(Default)]
pub struct Polls {
    pipelines: BTreeMap<Key, PolledPipeline>,
}

#[derive(Default)]
struct PolledPipeline {
    schedule: PollSchedule<usize>,
    /// A poll that completed and is not published yet, and when it started.
    completed: Option<(Duration, Poll)>,
}

/// The zero of the monotonic clocks: earlier than the start of any world, by any replica's clock.
fn epoch() -> Timestamp {
    fixtures::at(-3_600)
}

fn moment(wall: Timestamp) -> Moment {
    Moment { wall, elapsed: Duration::try_from(wall.duration_since(epoch())).expect("a time after the epoch") }
}

impl Polls {
    /// When the next poll is due, by the replica's clock.
    pub fn next_poll_at(&self) -> Option<Timestamp> {
        let polled = self.pipelines.values().filter(|polled| !polled.schedule.is_empty());
        polled.map(|polled| epoch() + polled.schedule.next_poll_at()).min()
    }

    pub fn unsubscribe(&mut self, number: usize) {
        self.pipelines.values_mut().for_each(|polled| polled.schedule.unsubscribe(&number));
    }

    pub fn invalidate(&mut self, pipeline: &str, action: (&str, &str), now: Timestamp) {
        for (_, polled) in self.pipelines.iter_mut().filter(|((_, name), _)| name == pipeline) {
            polled.schedule.invalidate(action.0, action.1, moment(now));
        }
    }
}

impl Polls {
    /// The client of a target is another one from now on.
    pub fn drop_target(&mut self, name: &str) {
        self.pipelines.retain(|(target, _), _| target.as_deref() != Some(name));
    }
}

impl World {
    /// Subscribes to the pipeline, and returns the newest poll if it meets the condition.
    pub(super) fn subscribe(
        &mut self,
        replica: Replica,
        number: usize,
        decision: &ApprovalDecision,
        (pipeline, query): (Key, Query),
        condition: WakeCondition,
    ) -> Option<PipelineObservation> {
        let generation = subscription_generation(decision, &query);
        let now = moment(self.clock(replica));
        let location = self.location_of(pipeline.0.as_deref());
        let pipelines = &mut self.operator(replica).polls.pipelines;
        let others = pipelines.iter_mut().filter(|(key, _)| **key != pipeline);
        others.for_each(|(_, polled)| polled.schedule.unsubscribe(&number));
        let polled = pipelines.entry(pipeline).or_default();
        polled.schedule.forget_elsewhere(location.as_ref());
        polled.schedule.subscribe(number, generation, query, condition, now)
    }

    /// A replica polls its pipelines, if there are subscribers.
    pub(super) fn poll(&mut self, replica: Replica, plan: &PollPlan) {
        self.publish(replica);
        self.operator(replica).polls.pipelines.retain(|_, polled| !polled.schedule.is_empty());
        let pipelines: Vec<Key> = self.operator(replica).polls.pipelines.keys().cloned().collect();
        for pipeline in pipelines {
            self.poll_pipeline(replica, &pipeline, plan);
        }
        if !plan.published_later {
            self.publish(replica);
        }
    }

    fn poll_pipeline(&mut self, replica: Replica, key: &Key, plan: &PollPlan) {
        let (target, pipeline) = key;
        let started = moment(self.clock(replica));
        let location = self.location_of(target.as_deref());
        let Some(polled) = self.operator(replica).polls.pipelines.get(key) else { return };
        let (queries, previous) = polled.schedule.start_poll(location.as_ref());
        self.note(format_args!("{replica:?} starts a poll of {pipeline}"));
        let unreadable = plan.unreadable.and_then(|number| self.aws().execution(number)).map(|id| id.to_string());
        let exists = pipeline == PIPELINE && location == Some(fixtures::location());
        let mut calls = Calls::new(&self.aws, self.scenario.page_size, plan.clone());
        (calls.exists, calls.unreadable, calls.shown) = (exists, unreadable, self.subject.shown);
        let result = read_snapshot(&calls, started.wall, queries, previous.as_deref()).now_or_never();
        let Some(result) = result else { return };
        let denied = || fixtures::not_applied(RetryCause::CredentialsUnavailable);
        let result = if location.is_some() { result } else { Err(denied()) };
        self.note(format_args!("{replica:?} has read {}", describe(&result)));
        let poll = Poll::new(started.wall, location, result);
        if let Some(polled) = self.operator(replica).polls.pipelines.get_mut(key) {
            polled.completed = Some((started.elapsed, poll));
        }
    }

    pub(super) fn publish(&mut self, replica: Replica) {
        let interval = self.poll_interval();
        let operator = self.operator(replica);
        let mut woken = Vec::new();
        for polled in operator.polls.pipelines.values_mut() {
            if let Some((started, poll)) = polled.completed.take() {
                woken.extend(polled.schedule.publish(started, interval, poll));
            }
        }
        woken.into_iter().for_each(|number| operator.wake(number));
    }

    /// The operator's interval, and a longer one three minutes after the last move, because fewer polls suffice then.
    fn poll_interval(&mut self) -> Duration {
        let now = self.now();
        let is_long = self.quiet_since.is_some_and(|since| SignedDuration::from_mins(3) <= now.duration_since(since));
        let interval = if is_long { SignedDuration::from_mins(4) } else { SETTINGS.poll_interval };
        interval.unsigned_abs()
    }

    /// Polls if a poll is due. Returns whether it was.
    pub(super) fn poll_if_due(&mut self, replica: Replica) -> bool {
        let now = self.clock(replica);
        let polls = &mut self.operator(replica).polls;
        // A pipeline without subscribers is dropped when its next poll is due.
        let is_kept =
            |polled: &PolledPipeline| !polled.schedule.is_empty() || now < epoch() + polled.schedule.next_poll_at();
        polls.pipelines.retain(|_, polled| is_kept(polled));
        let is_due = polls.next_poll_at().is_some_and(|due| due <= now);
        if is_due {
            self.poll(replica, &PollPlan { call_milliseconds: 50, ..PollPlan::default() });
        }
        is_due
    }

    /// When a replica next has something to do, by CodePipeline's clock.
    pub(super) fn next_due(&mut self, replica: Replica) -> Option<Timestamp> {
        let offset = self.clock(replica).duration_since(self.now());
        let operator = self.operator(replica);
        let poll = operator.polls.next_poll_at();
        poll.into_iter().chain(operator.next_requeue()).min().map(|due| due - offset)
    }
}

fn describe(result: &Result<PipelineSnapshot, CallError>) -> String {
    let snapshot = match result {
        Ok(snapshot) => snapshot,
        Err(error) => return format!("nothing: {}", error.detail()),
    };
    let actions: Vec<String> = snapshot
        .state
        .stages
        .iter()
        .flat_map(|stage| &stage.actions)
        .filter_map(|action| {
            let latest = action.latest_execution.as_ref()?;
            let token = if latest.token.is_some() { " with a token" } else { "" };
            let id = latest.action_execution_id.as_deref().map(short).unwrap_or_default();
            Some(format!("{} {id} {}{token}", action.name, describe_progress(&latest.progress)))
        })
        .collect();
    let executions: Vec<String> = snapshot
        .executions
        .iter()
        .map(|execution| {
            let revisions = execution.source_revisions.iter();
            let found: Vec<&str> = revisions.filter_map(|found| found.revision_id.as_deref()).collect();
            let is_read = |(stage, action)| snapshot.history_read_at(&execution.id, stage, action).is_some();
            let approvals = [(STAGE, APPROVAL), ("Staging", SECOND_APPROVAL), (STAGE, SECOND_APPROVAL)];
            let read = if approvals.into_iter().any(is_read) { "" } else { " (history not read)" };
            format!("{} {:?} {}{read}", short(&execution.id), execution.status, found.join("+"))
        })
        .collect();
    let entries: Vec<String> = snapshot
        .actions
        .iter()
        .map(|entry| {
            let (action, execution) = (short(&entry.action_execution_id), short(&entry.pipeline_execution_id));
            format!("{action} of {execution} {}", describe_progress(&entry.progress))
        })
        .collect();
    let unknown: Vec<String> = snapshot.unknown_executions.keys().map(|id| short(id)).collect();
    format!("state {actions:?}, executions {executions:?}, history {entries:?}, unknown {unknown:?}")
}

fn describe_progress(progress: &ActionProgress) -> String {
    match progress {
        ActionProgress::InProgress => "InProgress".to_owned(),
        ActionProgress::Completed(completion) => format!("{:?} {:?}", completion.status, completion.result()),
    }
}
