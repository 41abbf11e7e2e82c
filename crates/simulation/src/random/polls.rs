//! The polls that the decisions of one replica share. The product's schedule says when they are due and whom they wake; a move
//! performs one, and may publish it later.

use super::aws::short;
use super::reader::Calls;
use super::{PollPlan, Replica, World};
use crate::fixtures::{self, SETTINGS};
use approval_operator::api::v1alpha1::SourceRevision;
use approval_operator::codepipeline::{
    ActionProgress, CallError, Moment, PipelineSnapshot, Poll, PollSchedule, read_snapshot,
};
use futures::FutureExt;
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;

/// The polls of one replica.
#[derive(Default)]
pub struct Polls {
    pub schedule: PollSchedule<usize>,
    /// A poll that completed and is not published yet, and when it started.
    completed: Option<(Duration, Poll)>,
}

/// The zero of the monotonic clocks: earlier than the start of any world, by any replica's clock.
fn epoch() -> Timestamp {
    fixtures::at(-3_600)
}

pub fn moment(wall: Timestamp) -> Moment {
    Moment { wall, elapsed: Duration::try_from(wall.duration_since(epoch())).expect("a time after the epoch") }
}

impl Polls {
    /// When the next poll is due, by the replica's clock.
    pub fn next_poll_at(&self) -> Option<Timestamp> {
        (!self.schedule.is_empty()).then(|| epoch() + self.schedule.next_poll_at())
    }
}

impl World {
    /// A replica polls the pipeline, if there are subscribers.
    pub(super) fn poll(&mut self, replica: Replica, plan: &PollPlan) {
        self.publish(replica);
        let started = moment(self.clock(replica));
        let polls = &mut self.operator(replica).polls;
        if polls.schedule.is_empty() {
            *polls = Polls::default();
            return;
        }
        let (queries, previous) = polls.schedule.start_poll();
        self.note(format_args!("{replica:?} starts a poll"));
        let calls = Calls::new(&self.aws, self.scenario.page_size, plan.clone());
        let result = read_snapshot(&calls, started.wall, queries, previous.as_deref()).now_or_never();
        let Some(result) = result else { return };
        self.note(format_args!("{replica:?} has read {}", describe(&result)));
        self.operator(replica).polls.completed = Some((started.elapsed, Poll::new(started.wall, result)));
        if !plan.published_later {
            self.publish(replica);
        }
    }

    pub(super) fn publish(&mut self, replica: Replica) {
        let interval = self.poll_interval();
        let operator = self.operator(replica);
        let Some((started, poll)) = operator.polls.completed.take() else { return };
        for number in operator.polls.schedule.publish(started, interval, poll) {
            operator.wake(number);
        }
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
        let is_due = self.operator(replica).polls.next_poll_at().is_some_and(|due| due <= now);
        if is_due {
            let plan = PollPlan { call_milliseconds: 50, failing_call: None, change: None, published_later: false };
            self.poll(replica, &plan);
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
            let found: Vec<&str> = revisions.map(|SourceRevision { revision_id, .. }| revision_id.as_str()).collect();
            format!("{} {:?} {}", short(&execution.id), execution.status, found.join("+"))
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
