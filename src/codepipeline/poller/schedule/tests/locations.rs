//! The account or region that the operator reads may change, and pipelines of the same name in two of them have nothing in common.

use super::*;
use crate::decision::test_fixtures::targets::{elsewhere, here};

fn read_in(location: Location, poll: Poll) -> Poll {
    Poll { location: Some(location), ..poll }
}

#[test]
fn a_poll_of_another_account_is_forgotten_also_if_it_failed() {
    let mut schedule = Schedule::default();
    for poll in [read(&schedule, 0, "Build"), Poll::new(wall(0), None, Err(pipeline_not_found()))] {
        schedule.publish(elapsed(0), INTERVAL, read_in(elsewhere(), poll));
        assert!(!schedule.forget_elsewhere(None), "it is not known where the operator is");
        assert!(!schedule.forget_elsewhere(Some(&elsewhere())));
        assert!(schedule.forget_elsewhere(Some(&here())));
        assert_eq!(schedule.next_poll_at(), Duration::ZERO);
    }
}

#[test]
fn a_poll_builds_only_on_one_of_the_same_account_whatever_failed_since() {
    let mut schedule = Schedule::default();
    let poll = read_in(here(), read(&schedule, 0, "Build"));
    let snapshot = poll.result.clone().ok();
    schedule.publish(elapsed(0), INTERVAL, poll);
    for failed_in in [None, Some(here()), Some(elsewhere())] {
        schedule.publish(elapsed(15), INTERVAL, Poll::new(wall(15), failed_in, Err(unreachable())));
        assert_eq!(schedule.start_poll(Some(&here())).1, snapshot);
        assert_eq!(schedule.start_poll(Some(&elsewhere())).1, None);
        assert_eq!(schedule.start_poll(None).1, None, "it may turn out to be another one");
    }
}
