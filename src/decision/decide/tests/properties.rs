//! Properties of [`decide`] for every observation, including a forged status, and edits at any time.

use super::super::{Settings, decide};
use crate::api::conditions::{Condition, MAX_MESSAGE};
use crate::api::v1alpha1::{ApprovalDecision, ApprovalStatus, Submission, SubmissionOutcome};
use crate::codepipeline::{ActionProgress, PipelineObservation};
use crate::decision::conflict::{RejectedRequests, Rejections};
use crate::decision::outcome::Outcome;
use crate::decision::phase::Phase;
use crate::decision::status::{Report, status};
use crate::decision::step::{Attempt, Observed, Step};
use crate::decision::subject::query_of;
use crate::decision::subject::subject;
use crate::decision::target::check;
use crate::decision::test_fixtures::pipeline::TestPipeline;
use crate::decision::test_fixtures::targets::own;
use crate::decision::test_fixtures::{DETAILS, DecisionExt, SETTINGS, at, fresh};
use crate::decision::timing::ignore_forged_times;
use arbitrary::{attempt, decision, duration, forged, instant, pipeline, rejections, target};
use jiff::{SignedDuration, Timestamp};
use proptest::option;
use proptest::prelude::*;

mod arbitrary;

/// Whether a result may be sent at all.
fn may_send(decision: &ApprovalDecision, now: Timestamp) -> bool {
    let not_after = decision.spec.not_after.as_ref().map(|time| time.0.parse::<Timestamp>());
    !decision.spec.suspend && not_after.is_none_or(|time| time.is_ok_and(|time| now < time))
}

/// Whether no rejection is known that names the request of this submission by its token.
fn is_not_rejected(submission: &Submission, rejections: Option<&Rejections>, now: Timestamp) -> bool {
    let is_about = |requests: &RejectedRequests| match requests {
        RejectedRequests::Token(token) => *token == submission.token,
        RejectedRequests::Any => true,
        RejectedRequests::PipelineExecution(_) | RejectedRequests::SourceRevisions(_) => false,
    };
    submission.result.status == ApprovalStatus::Rejected
        || match rejections {
            Some(Rejections::Listed(rejections)) => rejections.iter().all(|rejection| {
                !is_about(&rejection.requests) || rejection.not_after.is_some_and(|not_after| not_after <= now)
            }),
            Some(Rejections::NotListed) | None => false,
        }
}

/// The results with which the pipeline shows requests as completed.
fn results(pipeline: Option<&TestPipeline>) -> Vec<ApprovalStatus> {
    let Some(pipeline) = pipeline else { return Vec::new() };
    let entries = pipeline.entries.iter().map(|entry| &entry.progress);
    let progress = entries.chain(pipeline.latest.iter().map(|latest| &latest.progress));
    let completed = progress.filter_map(|progress| match progress {
        ActionProgress::Completed(completion) => completion.result(),
        ActionProgress::InProgress => None,
    });
    completed.collect()
}

fn observation(pipeline: &TestPipeline, seconds: i64, decision: &ApprovalDecision) -> Option<PipelineObservation> {
    query_of(decision).map(|_| pipeline.poll_at(seconds, decision))
}

/// The submission of the status, if its outcome is unknown.
fn submission_in_doubt(decision: &ApprovalDecision) -> Option<Submission> {
    let submission = decision.status.as_ref()?.submission.clone()?;
    submission.outcome.is_none().then_some(submission)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn every_observation_has_a_next_step_and_it_is_safe(
        decision in forged(),
        attempt in attempt(),
        pipeline in option::of((pipeline(), -100..100_i64)),
        (rejections, target) in (rejections(), target()),
        (aws_timeout, waiting_limit, poll_interval) in (duration(), duration(), duration()),
        now in instant(),
    ) {
        // The flag does not allow a shorter one.
        let poll_interval = poll_interval.max(SignedDuration::from_millis(100));
        let settings = Settings { aws_timeout, waiting_limit, poll_interval };
        let poll = pipeline.as_ref().and_then(|(pipeline, seconds)| observation(pipeline, *seconds, &decision));
        let (pipeline, rejections) = (pipeline.as_ref().map(|(pipeline, _)| pipeline), rejections.as_ref());
        let observed = Observed { decision: &decision, attempt: &attempt, target: Some(&target), pipeline: poll.as_ref(), rejections };
        let phase = Phase::of(&decision);
        let polled = poll.as_ref().and_then(|observation| observation.poll.location.as_ref());
        let may_use = check(&decision, &target, polled).is_ok();
        let is_recovery = matches!(phase, Phase::InDoubt(_) | Phase::Unexplained(..));
        match decide(&observed, &settings, now) {
            Step::AwaitChange => {
                let is_held = rejections == Some(&Rejections::NotListed);
                prop_assert!(phase == Phase::Done || is_held, "it is not reconciled again: {:?}", phase);
            }
            // After doubt, the next reconcile recovers at once if the deadline of a recorded intent has passed.
            Step::WaitUntil(time) => prop_assert!(now < time || matches!(attempt, Attempt::IntentRecorded(_))),
            Step::FindTarget => prop_assert!(false, "the target is known"),
            Step::ReadPipeline(_) => {
                prop_assert!(poll.is_none(), "the pipeline is read twice in a row");
                prop_assert!(may_use || is_recovery, "the target does not admit the decision");
            }
            Step::AwaitSnapshot { until, .. } => {
                prop_assert!(poll.is_some() && (now < until || now == Timestamp::MAX));
            }
            Step::ListRejections => {
                prop_assert!(rejections.is_none() && decision.spec.result.status == ApprovalStatus::Approved);
            }
            Step::Send { intent, send_deadline } => {
                prop_assert!(may_use, "the target does not admit the decision");
                let before = send_deadline - SignedDuration::from_nanos(1);
                prop_assert!(now < send_deadline && may_send(&decision, before) && may_send(&decision, now));
                let result = decision.spec.result.status;
                prop_assert!(result == ApprovalStatus::Rejected || matches!(rejections, Some(Rejections::Listed(_))));
                prop_assert_eq!(&attempt, &Attempt::IntentRecorded(intent));
            }
            Step::RecordIntent(intent) => {
                prop_assert!(may_use, "the target does not admit the decision");
                prop_assert!(may_send(&decision, now) && decision.spec.unsupported.is_none());
                let is_renewed = matches!(attempt, Attempt::IntentRecorded(_));
                prop_assert!(is_renewed || phase != Phase::Done);
                prop_assert!(is_renewed || is_not_rejected(&intent.submission, rejections, now));
                let written = status(&decision, &Outcome::Submitting(intent.clone()), now);
                prop_assert_eq!(written.submission, Some(intent.submission));
            }
            Step::WriteStatus(outcome) => {
                let asked = subject(&decision).spec.result.status;
                let is_shown = results(pipeline).contains(&asked);
                match &outcome {
                    Outcome::Delivered { .. } => {
                        let submission = decision.status.as_ref().and_then(|status| status.submission.as_ref());
                        let is_known = submission
                            .is_some_and(|submission| submission.outcome == Some(SubmissionOutcome::Accepted));
                        prop_assert!(is_shown || is_known || matches!(attempt, Attempt::Submitted(_, Ok(_))));
                    }
                    Outcome::AlreadyDecided { .. } => prop_assert!(is_shown),
                    _ => {}
                }
                let status = status(&decision, &outcome, now);
                let mut messages = status.conditions.iter().map(|condition| condition.message.chars().count());
                prop_assert!(messages.all(|length| length <= MAX_MESSAGE));
                let is_one_line = |condition: &Condition| !condition.message.contains(char::is_control);
                prop_assert!(status.conditions.iter().all(is_one_line), "a table cuts it at a line break");
                prop_assert!(status.history.len() <= 5);
                let announcement = Report::new(&decision, &outcome, DETAILS, None, now).announcement;
                let note = announcement.map(|announcement| announcement.note);
                prop_assert!(note.is_none_or(|note| note.len() <= 1024), "the API server admits no longer note");
            }
        }
    }

    #[test]
    fn doubt_is_never_dropped(
        decision in forged(),
        (pipeline, seconds) in (pipeline(), -100..1000_i64),
        rejections in rejections(),
        now in -100..1000_i64,
    ) {
        let Some(submission) = submission_in_doubt(&decision) else { return Ok(()) };
        if Phase::of(&decision) == Phase::Done {
            return Ok(());
        }
        let poll = observation(&pipeline, seconds, &decision);
        let rejections = rejections.as_ref();
        let observed = Observed { decision: &decision, attempt: &Attempt::None, target: Some(&own()), pipeline: poll.as_ref(), rejections };
        let step = decide(&observed, &SETTINGS, at(now));
        let (outcome, is_written) = match step {
            Step::WriteStatus(outcome) => (outcome, true),
            // The same request is answered again, or history shows that this one was not.
            Step::RecordIntent(intent) => (Outcome::Submitting(intent), false),
            _ => return Ok(()),
        };
        let subject = subject(&decision);
        let written = status(&subject, &outcome, at(now)).submission.expect("a submission");
        if is_written {
            prop_assert_eq!(&Submission { outcome: None, ..written.clone() }, &submission, "nothing else changes");
            let is_unconfirmed = matches!(outcome, Outcome::Unconfirmed { .. });
            prop_assert!(written.outcome.is_some() || is_unconfirmed);
        }
        if is_written && written.outcome.is_none() {
            return Ok(());
        }
        // Something was concluded: from a poll of the same account that started once the request could no longer arrive.
        let poll = poll.expect("nothing is concluded without a poll").poll;
        let is_refused = matches!(Phase::of(&decision), Phase::Unexplained(..));
        prop_assert!(is_refused || ignore_forged_times(&submission, at(now)).deadline <= poll.started_at);
        prop_assert!(is_refused || poll.result.is_ok());
        let account = poll.location.as_ref().map(|location| &location.account_id);
        prop_assert!(is_refused || account.is_none_or(|account| *account == submission.account_id));
        if written.outcome == Some(SubmissionOutcome::Accepted) {
            prop_assert!(results(Some(&pipeline)).contains(&submission.result.status));
        }
    }

    #[test]
    fn what_becomes_of_a_submission_in_doubt_does_not_depend_on_an_edit(
        (one, other) in (decision(), decision()),
        (pipeline, seconds) in (pipeline(), -100..1000_i64),
        now in -100..1000_i64,
    ) {
        let finished = |edit: ApprovalDecision| {
            let edited = fresh().in_doubt().edited().with(|decision| decision.spec = edit.spec);
            let poll = observation(&pipeline, seconds, &edited);
            let rejections = Rejections::Listed(Vec::new());
            let (pipeline, rejections) = (poll.as_ref(), Some(&rejections));
            let observed = Observed { decision: &edited, attempt: &Attempt::None, target: Some(&own()), pipeline, rejections };
            match decide(&observed, &SETTINGS, at(now)) {
                Step::WriteStatus(outcome) => (Some(status(&subject(&edited), &outcome, at(now))), None),
                step => (None, Some(step)),
            }
        };
        prop_assert_eq!(finished(one), finished(other));
    }
}
