//! When the next poll is due, and whom a poll wakes. Times are in seconds since the start of the schedule.

mod locations;

use super::*;
use crate::api::v1alpha1::{Exception, SourceRevision};
use crate::codepipeline::{
    ActionExecution, ExecutionSelector, Page, PipelineExecution, PipelineReader, PipelineState, RetryCause, StageState,
    read_snapshot,
};
use futures::FutureExt;
use jiff::SignedDuration;

const INTERVAL: Duration = Duration::from_secs(15);

fn wall(seconds: u64) -> Timestamp {
    let start: Timestamp = "2026-07-01T12:00:00Z".parse().expect("a time");
    start + SignedDuration::try_from(elapsed(seconds)).expect("a duration")
}

const fn elapsed(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn moment(seconds: u64) -> Moment {
    Moment { wall: wall(seconds), elapsed: elapsed(seconds) }
}

/// A pipeline without executions. The name of its only stage distinguishes one state from another.
struct Stage(&'static str);

impl PipelineReader for Stage {
    async fn pipeline_state(&self) -> Result<PipelineState, CallError> {
        Ok(PipelineState { stages: vec![StageState { name: self.0.to_owned(), ..StageState::default() }] })
    }

    async fn pipeline_executions(&self, _page: Option<String>) -> Result<Page<PipelineExecution>, CallError> {
        Ok(Page { items: Vec::new(), next: None })
    }

    async fn pipeline_execution(&self, _id: &str) -> Result<PipelineExecution, CallError> {
        Err(unreachable())
    }

    async fn action_executions(
        &self,
        _execution: Option<&str>,
        _page: Option<String>,
    ) -> Result<Page<ActionExecution>, CallError> {
        Ok(Page { items: Vec::new(), next: None })
    }
}

fn unreachable() -> CallError {
    CallError::Indeterminate { detail: "the connection broke".to_owned() }
}

fn throttled() -> CallError {
    CallError::NotApplied { cause: RetryCause::Throttled, exception: None, detail: "not now".to_owned() }
}

fn pipeline_not_found() -> CallError {
    let exception = Exception { r#type: "PipelineNotFoundException".to_owned(), message: String::new() };
    CallError::Refused { refusal: Refusal::PipelineNotFound, exception }
}

fn query(revision: &str) -> Query {
    let entry = SourceRevision { revision_id: Some(revision.to_owned()), action_name: None };
    let executions = ExecutionSelector::SourceRevisions(vec![entry]);
    Query { stage: "Production".to_owned(), action: "Approve".to_owned(), executions }
}

fn newer_than(known: &Arc<Poll>, recheck_at: Option<u64>) -> WakeCondition {
    WakeCondition::NewerThan { known: known.clone(), recheck_at: recheck_at.map(wall) }
}

type Schedule = PollSchedule<&'static str>;

/// Subscribes with the first generation. The revision of the query is the name of the subscriber.
fn subscribe(
    schedule: &mut Schedule,
    key: &'static str,
    seconds: u64,
    wake: WakeCondition,
) -> Option<PipelineObservation> {
    schedule.subscribe(key, 1, query(key), wake, moment(seconds))
}

/// Reads a snapshot of what the schedule wants now.
fn read(schedule: &Schedule, seconds: u64, stage: &'static str) -> Poll {
    let (queries, previous) = schedule.start_poll(None);
    let stage = Stage(stage);
    let snapshot = read_snapshot(&stage, wall(seconds), queries, previous.as_deref());
    Poll::new(wall(seconds), None, snapshot.now_or_never().expect("a result at once"))
}

/// A poll that starts then and finds this stage. Returns whom it wakes.
fn poll(schedule: &mut Schedule, seconds: u64, stage: &'static str) -> Vec<&'static str> {
    let poll = read(schedule, seconds, stage);
    schedule.publish(elapsed(seconds), INTERVAL, poll)
}

fn fail(schedule: &mut Schedule, seconds: u64, error: CallError) -> Vec<&'static str> {
    schedule.publish(elapsed(seconds), INTERVAL, Poll::new(wall(seconds), None, Err(error)))
}

/// A result is submitted to the action of [`query`].
fn invalidate(schedule: &mut Schedule, seconds: u64) {
    schedule.invalidate("Production", "Approve", moment(seconds));
}

/// `ada` waits for a poll that differs from one that started at 0 and found the stage `A`.
fn waiting(recheck_at: Option<u64>) -> (Schedule, Arc<Poll>) {
    let mut schedule = Schedule::default();
    subscribe(&mut schedule, "ada", 0, WakeCondition::Any);
    assert_eq!(poll(&mut schedule, 0, "A"), ["ada"]);
    let known = subscribe(&mut schedule, "ada", 0, WakeCondition::Any).expect("a poll").poll;
    assert!(subscribe(&mut schedule, "ada", 0, newer_than(&known, recheck_at)).is_none());
    (schedule, known)
}

#[test]
fn the_first_poll_is_due_at_once() {
    let mut schedule = Schedule::default();
    let result = subscribe(&mut schedule, "ada", 7, WakeCondition::Any);
    assert!(result.is_none());
    assert!(schedule.is_first_poll());
    assert_eq!(schedule.next_poll_at(), Duration::ZERO);
    assert_eq!(poll(&mut schedule, 7, "A"), ["ada"]);
    assert!(!schedule.is_first_poll());
}

#[test]
fn the_next_poll_is_due_after_the_interval() {
    let (mut schedule, known) = waiting(None);
    assert_eq!(schedule.next_poll_at(), elapsed(15));
    assert_eq!(poll(&mut schedule, 16, "A"), [""; 0]);
    assert_eq!(schedule.next_poll_at(), elapsed(31), "counted from the start of the poll");
    let short = read(&schedule, 31, "A");
    schedule.publish(elapsed(31), elapsed(4), short);
    assert_eq!(schedule.next_poll_at(), elapsed(35), "each poll has its own interval");
    drop(known);
}

#[test]
fn a_new_subscriber_makes_the_next_poll_due_a_second_after_the_last() {
    let (mut schedule, _) = waiting(None);
    poll(&mut schedule, 20, "A");
    let result = schedule.subscribe("bob", 1, query("ada"), WakeCondition::Any, moment(21));
    assert!(result.is_none(), "the poll started before the subscription, though it covers the query");
    assert_eq!(schedule.next_poll_at(), elapsed(21));
    assert_eq!(poll(&mut schedule, 21, "A"), ["bob"]);
    assert_eq!(schedule.next_poll_at(), elapsed(36), "then the interval is regular again");
}

#[test]
fn an_interval_of_less_than_a_second_is_not_extended() {
    let (mut schedule, _) = waiting(None);
    let short = read(&schedule, 20, "A");
    schedule.publish(elapsed(20), Duration::from_millis(500), short);
    assert_eq!(schedule.next_poll_at(), Duration::from_millis(20_500));
    subscribe(&mut schedule, "bob", 20, WakeCondition::Any);
    assert_eq!(schedule.next_poll_at(), Duration::from_millis(20_500));
}

#[test]
fn another_generation_is_a_new_subscription() {
    let (mut schedule, known) = waiting(None);
    assert!(subscribe(&mut schedule, "ada", 9, newer_than(&known, None)).is_none());
    assert_eq!(schedule.next_poll_at(), elapsed(15));
    let same = subscribe(&mut schedule, "ada", 9, WakeCondition::Any).expect("the newest poll");
    assert_eq!(same.subscribed_at, wall(0), "the same generation keeps its subscription");
    let mut again = |seconds| schedule.subscribe("ada", 2, query("other"), WakeCondition::Any, moment(seconds));
    assert!(again(9).is_none());
    assert_eq!(schedule.next_poll_at(), elapsed(1));
    assert_eq!(schedule.start_poll(None).0, [query("other")].into());
    poll(&mut schedule, 10, "A");
    let new = schedule.subscribe("ada", 2, query("other"), WakeCondition::Any, moment(11)).expect("the newest poll");
    assert_eq!(new.subscribed_at, wall(9), "the new generation subscribed then");
}

#[test]
fn a_poll_that_does_not_cover_the_query_wakes_no_one() {
    let mut schedule = Schedule::default();
    subscribe(&mut schedule, "ada", 0, WakeCondition::Any);
    let without_bob = read(&schedule, 5, "A");
    // By the monotonic clock, both happen at the same moment.
    subscribe(&mut schedule, "bob", 5, WakeCondition::Any);
    assert_eq!(schedule.publish(elapsed(5), INTERVAL, without_bob), ["ada"]);
    assert_eq!(schedule.next_poll_at(), elapsed(6));
    assert_eq!(poll(&mut schedule, 6, "A"), ["bob"]);
}

#[test]
fn an_invalidation_makes_earlier_polls_out_of_date() {
    let (mut schedule, _) = waiting(None);
    invalidate(&mut schedule, 10);
    assert_eq!(schedule.next_poll_at(), elapsed(1));
    assert!(subscribe(&mut schedule, "ada", 10, WakeCondition::Any).is_none());
    assert_eq!(poll(&mut schedule, 9, "B"), [""; 0], "it started before the invalidation");
    assert_eq!(schedule.next_poll_at(), elapsed(10));
    assert_eq!(poll(&mut schedule, 10, "B"), ["ada"]);
    assert_eq!(schedule.next_poll_at(), elapsed(25));
    assert!(subscribe(&mut schedule, "ada", 11, WakeCondition::Any).is_some());
    invalidate(&mut schedule, 12);
    assert_eq!(schedule.next_poll_at(), elapsed(25), "the subscriber is awake, and waits for no poll");
    assert!(subscribe(&mut schedule, "ada", 12, WakeCondition::Any).is_none());
    assert_eq!(schedule.next_poll_at(), elapsed(11));
}

#[test]
fn a_submission_to_one_action_neither_discards_nor_hastens_the_polls_of_another() {
    let confirm = |stage: &str, action: &str| Query { stage: stage.into(), action: action.into(), ..query("bob") };
    for other in [confirm("Production", "Confirm"), confirm("Staging", "Approve")] {
        let (mut schedule, known) = waiting(None);
        schedule.subscribe("bob", 1, other.clone(), WakeCondition::Any, moment(1));
        assert_eq!(poll(&mut schedule, 1, "A"), ["bob"]);
        schedule.unsubscribe(&"ada");
        let wait = |schedule: &mut Schedule, known: &Arc<Poll>| {
            schedule.subscribe("bob", 1, other.clone(), newer_than(known, None), moment(2))
        };
        let known = wait(&mut schedule, &known).map_or(known, |newest| newest.poll);
        assert!(wait(&mut schedule, &known).is_none());
        // Someone submits a result to the first action every second, and a poll takes longer than that.
        for seconds in 2..=20 {
            invalidate(&mut schedule, seconds);
        }
        assert_eq!(schedule.next_poll_at(), elapsed(16), "no one waits for the first action");
        assert_eq!(poll(&mut schedule, 16, "B"), ["bob"], "it started before the last submission");
    }
}

#[test]
fn a_failed_poll_reaches_subscribers_even_if_it_started_before_an_invalidation_or_a_subscription() {
    let (mut schedule, _) = waiting(None);
    invalidate(&mut schedule, 10);
    subscribe(&mut schedule, "bob", 11, WakeCondition::Any);
    let mut woken = fail(&mut schedule, 9, unreachable());
    woken.sort_unstable();
    assert_eq!(woken, ["ada", "bob"]);
    let result = subscribe(&mut schedule, "eve", 12, WakeCondition::Any);
    assert!(result.is_some_and(|observation| observation.poll.failure().is_some()));
    for key in ["ada", "bob"] {
        schedule.unsubscribe(&key);
    }
    assert_eq!(poll(&mut schedule, 11, "B"), [""; 0]);
    assert_eq!(schedule.next_poll_at(), elapsed(26), "eve is awake, and waits for no poll");
}

#[test]
fn failed_polls_back_off_from_a_second_to_a_minute() {
    let (mut schedule, _) = waiting(None);
    let mut at = 15;
    for delay in [1, 2, 4, 8, 16, 32, 60, 60] {
        fail(&mut schedule, at, unreachable());
        assert_eq!(schedule.next_poll_at(), elapsed(at + delay));
        invalidate(&mut schedule, at + 1);
        subscribe(&mut schedule, "bob", at + 1, WakeCondition::Any);
        assert_eq!(schedule.next_poll_at(), elapsed(at + delay), "neither subscribers nor invalidations shorten it");
        at += delay;
    }
    poll(&mut schedule, at, "A");
    assert_eq!(schedule.next_poll_at(), elapsed(at) + INTERVAL);
    fail(&mut schedule, at + 15, unreachable());
    assert_eq!(schedule.next_poll_at(), elapsed(at + 16), "a success resets the back-off");
}

#[test]
fn failing_since_is_kept_until_a_poll_succeeds() {
    let (mut schedule, _) = waiting(None);
    let since = |schedule: &mut Schedule| {
        let newest = schedule.subscribe("eve", 1, query("eve"), WakeCondition::Any, moment(0));
        newest.expect("a poll").poll.failing_since
    };
    fail(&mut schedule, 15, unreachable());
    assert_eq!(since(&mut schedule), Some(wall(15)));
    fail(&mut schedule, 16, throttled());
    assert_eq!(since(&mut schedule), Some(wall(15)));
    poll(&mut schedule, 18, "A");
    assert_eq!(since(&mut schedule), None);
    fail(&mut schedule, 33, unreachable());
    assert_eq!(since(&mut schedule), Some(wall(33)));
}

#[test]
fn a_missing_pipeline_is_a_finding_and_not_a_failure() {
    let (mut schedule, _) = waiting(None);
    assert_eq!(fail(&mut schedule, 15, pipeline_not_found()), ["ada"]);
    assert_eq!(schedule.next_poll_at(), elapsed(30));
    let newest = subscribe(&mut schedule, "ada", 15, WakeCondition::Any).expect("a poll").poll;
    assert!(newest.failure().is_none() && newest.failing_since.is_none());
    assert!(schedule.start_poll(None).1.is_none(), "the next poll does not build on what a deleted pipeline had");
    invalidate(&mut schedule, 20);
    subscribe(&mut schedule, "ada", 20, newer_than(&newest, None));
    assert_eq!(fail(&mut schedule, 19, pipeline_not_found()), [""; 0], "an invalidation makes it out of date");
}

#[test]
fn a_subscriber_is_woken_by_any_poll_or_by_one_that_differs() {
    let (mut schedule, known) = waiting(None);
    subscribe(&mut schedule, "bob", 1, WakeCondition::Any);
    assert_eq!(poll(&mut schedule, 15, "A"), ["bob"], "the poll shows the same as the known one");
    assert_eq!(poll(&mut schedule, 30, "B"), ["ada"], "the poll differs, and bob is awake");
    assert_eq!(poll(&mut schedule, 45, "C"), [""; 0], "both are awake");
    let result = subscribe(&mut schedule, "ada", 45, newer_than(&known, None));
    let newest = result.expect("a poll that differs is returned at once").poll;
    assert_eq!(newest.started_at, wall(45));
    assert_eq!(poll(&mut schedule, 60, "D"), [""; 0], "ada is awake");
    let newest = subscribe(&mut schedule, "ada", 60, newer_than(&newest, None)).expect("a poll").poll;
    assert!(subscribe(&mut schedule, "ada", 60, newer_than(&newest, None)).is_none());
}

#[test]
fn a_failed_poll_wakes_a_subscriber_that_knows_another_reason() {
    let (mut schedule, _) = waiting(None);
    assert_eq!(fail(&mut schedule, 15, unreachable()), ["ada"]);
    let known = subscribe(&mut schedule, "ada", 15, WakeCondition::Any).expect("a poll").poll;
    subscribe(&mut schedule, "ada", 15, newer_than(&known, Some(16)));
    assert_eq!(fail(&mut schedule, 16, unreachable()), [""; 0], "the same reason, which is no newer snapshot either");
    assert_eq!(fail(&mut schedule, 18, throttled()), ["ada"]);
    let newest = subscribe(&mut schedule, "ada", 18, newer_than(&known, None)).expect("a poll").poll;
    subscribe(&mut schedule, "ada", 18, newer_than(&newest, None));
    assert_eq!(poll(&mut schedule, 22, "A"), ["ada"]);
}

#[test]
fn a_recheck_wakes_a_subscriber_even_if_the_poll_shows_the_same() {
    let (mut schedule, known) = waiting(Some(4));
    assert_eq!(schedule.next_poll_at(), elapsed(4));
    assert_eq!(poll(&mut schedule, 3, "A"), [""; 0]);
    assert_eq!(schedule.next_poll_at(), elapsed(4));
    assert_eq!(poll(&mut schedule, 4, "A"), ["ada"]);
    let newest = subscribe(&mut schedule, "ada", 4, newer_than(&known, Some(4))).expect("a poll").poll;
    let result = subscribe(&mut schedule, "ada", 4, newer_than(&newest, Some(4)));
    assert!(result.is_none(), "the subscriber knows this very poll");
    assert_eq!(schedule.next_poll_at(), elapsed(19), "a recheck that is over needs no poll");
}

#[test]
fn a_recheck_is_neither_sooner_than_a_second_nor_later_than_the_interval() {
    let due = |recheck_at| {
        let (mut schedule, known) = waiting(None);
        poll(&mut schedule, 20, "A");
        subscribe(&mut schedule, "ada", 20, newer_than(&known, Some(recheck_at)));
        schedule.next_poll_at()
    };
    let millisecond = SignedDuration::from_millis(1);
    let (mut schedule, known) = waiting(None);
    poll(&mut schedule, 20, "A");
    let wake = WakeCondition::NewerThan { known, recheck_at: Some(wall(20) + millisecond) };
    subscribe(&mut schedule, "ada", 20, wake);
    assert_eq!(schedule.next_poll_at(), elapsed(21));
    assert_eq!(due(23), elapsed(23));
    assert_eq!(due(60), elapsed(35));
}

#[test]
fn an_equal_poll_replaces_the_known_one_and_wakes_no_one() {
    let (mut schedule, known) = waiting(None);
    let first = Arc::downgrade(&known);
    drop(known);
    assert!(first.upgrade().is_some());
    assert_eq!(poll(&mut schedule, 15, "A"), [""; 0]);
    assert!(first.upgrade().is_none(), "the first poll is still in memory");
    assert_eq!(poll(&mut schedule, 30, "B"), ["ada"]);
}

#[test]
fn a_poll_covers_every_query_and_builds_on_the_last_one_that_succeeded() {
    let (mut schedule, known) = waiting(None);
    subscribe(&mut schedule, "bob", 1, WakeCondition::Any);
    fail(&mut schedule, 15, unreachable());
    let (queries, previous) = schedule.start_poll(None);
    assert_eq!(queries, [query("ada"), query("bob")].into());
    assert_eq!(previous.as_ref(), known.result.as_ref().ok());
}

#[test]
fn a_subscription_ends() {
    let (mut schedule, _) = waiting(Some(4));
    subscribe(&mut schedule, "bob", 1, WakeCondition::Any);
    schedule.unsubscribe(&"bob");
    assert_eq!(schedule.next_poll_at(), elapsed(4), "only ada waits");
    schedule.unsubscribe(&"ada");
    assert!(schedule.is_empty());
    assert_eq!(schedule.next_poll_at(), elapsed(15));
    assert_eq!(poll(&mut schedule, 15, "B"), [""; 0]);
}
