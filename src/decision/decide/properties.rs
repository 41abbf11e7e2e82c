//! What holds of [`decide`] for whatever it may be shown, a forged status too.

use super::{Attempt, Observed, RecordReading, Settings, Step, decide};
use crate::api::conditions::{Condition, ConditionStatus, MAX_MESSAGE};
use crate::api::v1alpha1::{
    ApprovalDecision, ApprovalDecisionStatus, ApprovalStatus, Exception, NotAfter, PipelineExecutionId, Reason,
    Submission, Token,
};
use crate::codepipeline::{CallError, Cause, ExecutionIds, Finished, Record, Refusal};
use crate::decision::fixtures::{Given, SUMMARY, at, fresh};
use crate::decision::outcome::{Earlier, Intent, Outcome};
use crate::decision::status::{event, status};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

fn result() -> impl Strategy<Value = ApprovalStatus> {
    prop_oneof![3 => Just(ApprovalStatus::Approved), 1 => Just(ApprovalStatus::Rejected)]
}

fn instant() -> impl Strategy<Value = Timestamp> {
    let edges = vec![Timestamp::MIN, Timestamp::UNIX_EPOCH, at(0), at(60), Timestamp::MAX];
    prop_oneof![2 => select(edges), 1 => (-100..100_i64).prop_map(at)]
}

fn duration() -> impl Strategy<Value = SignedDuration> {
    let edges = [i64::MIN, -1, 0, 1, 10, 3600, i64::MAX];
    select(edges.map(SignedDuration::from_secs).to_vec())
}

fn text() -> BoxedStrategy<String> {
    prop_oneof![Just(SUMMARY.to_owned()), Just(String::new()), ".{0,8}", Just("é".repeat(5000))].boxed()
}

fn submissions() -> BoxedStrategy<Submission> {
    let attempts = select(vec![i64::MIN, -1, 0, 1, 2, 16, 17, 62, 63, 64, i64::MAX]);
    (attempts, instant(), instant(), text())
        .prop_map(|(attempts, start_time, deadline, token)| Submission {
            attempts,
            start_time,
            deadline,
            token: Token(token),
        })
        .boxed()
}

fn raised() -> BoxedStrategy<Exception> {
    (text(), text()).prop_map(|(r#type, message)| Exception { r#type, message }).boxed()
}

fn execution() -> BoxedStrategy<ExecutionIds> {
    (option::of(text()), option::of(text())).prop_map(|(pipeline, action)| ExecutionIds { pipeline, action }).boxed()
}

fn failure() -> BoxedStrategy<CallError> {
    let refused = |refusal| raised().prop_map(move |exception| CallError::Refused { refusal, exception });
    prop_oneof![
        refused(Refusal::InvalidApprovalToken),
        refused(Refusal::ApprovalAlreadyCompleted),
        text().prop_map(|detail| CallError::Lost { detail }),
        (option::of(raised()), text()).prop_map(|(exception, detail)| CallError::NotTaken {
            cause: Cause::Throttled,
            exception,
            detail,
        }),
    ]
    .boxed()
}

fn record() -> BoxedStrategy<Record> {
    let finished = (option::of(result()), option::of(text()), option::of(instant()), option::of(text()), execution());
    prop_oneof![
        raised().prop_map(Record::PipelineNotFound),
        execution().prop_map(Record::Pending),
        execution().prop_map(Record::Lagging),
        Just(Record::Unseen),
        finished.prop_map(|(result, summary, at, by, ids)| Record::Finished(Finished { result, summary, at, by, ids })),
    ]
    .boxed()
}

fn reading() -> BoxedStrategy<RecordReading> {
    let result = prop_oneof![3 => record().prop_map(Ok), 1 => failure().prop_map(Err)];
    (instant(), result).prop_map(|(begun, result)| RecordReading { begun, result }).boxed()
}

fn attempt() -> BoxedStrategy<Attempt> {
    let earlier = select(vec![Earlier::NotTaken, Earlier::InDoubt]);
    let intent = (submissions(), execution(), earlier)
        .prop_map(|(submission, ids, earlier)| Intent { submission, ids, earlier })
        .boxed();
    let answer = prop_oneof![option::of(instant()).prop_map(Ok), failure().prop_map(Err)];
    prop_oneof![
        2 => Just(Attempt::None),
        1 => intent.clone().prop_map(Attempt::Intended),
        1 => (intent, answer).prop_map(|(intent, answer)| Attempt::Answered(intent, answer)),
    ]
    .boxed()
}

/// A decision with a status that nobody but a forger would write.
fn forged() -> BoxedStrategy<ApprovalDecision> {
    let reason = prop_oneof![8 => select(Reason::ALL).prop_map(|reason| reason.as_str().to_owned()), 1 => text()];
    let ready = select(vec![ConditionStatus::True, ConditionStatus::False, ConditionStatus::Unknown]);
    let condition = (reason, ready, instant()).prop_map(|(reason, status, last_transition_time)| Condition {
        r#type: "Ready".to_owned(),
        status,
        observed_generation: None,
        last_transition_time,
        reason,
        message: String::new(),
    });
    let generation = select(vec![None, Some(-1), Some(1), Some(i64::MAX)]);
    let status =
        (generation, option::of(condition), option::of(raised()), option::of(submissions()), option::of(text()));
    let status = status.prop_map(|(observed_generation, ready, exception, submission, last_handled_requested_at)| {
        ApprovalDecisionStatus {
            observed_generation,
            conditions: ready.into_iter().collect(),
            exception,
            submission,
            last_handled_requested_at,
            ..ApprovalDecisionStatus::default()
        }
    });
    let not_after = prop_oneof![instant().prop_map(|time| time.to_string()), text()];
    let spec = (option::of(not_after), any::<bool>(), option::of(instant()), result(), text());
    let run = option::of(text().prop_map(PipelineExecutionId));
    (option::of(status), spec, run)
        .prop_map(|(status, (not_after, suspend, created, result, summary), run)| {
            fresh().answering(result, &summary).with(|decision| {
                decision.status = status;
                decision.spec.not_after = not_after.map(NotAfter);
                decision.spec.suspend = suspend;
                decision.spec.token = decision.spec.token.take().filter(|_| run.is_none());
                decision.spec.pipeline_execution_id = run;
                decision.metadata.creation_timestamp = created.map(Time);
            })
        })
        .boxed()
}

/// Whether an answer may leave at all.
fn may_send(decision: &ApprovalDecision, now: Timestamp) -> bool {
    let not_after = decision.spec.not_after.as_ref().map(|time| time.0.parse::<Timestamp>());
    !decision.spec.suspend && not_after.is_none_or(|time| time.is_ok_and(|time| now < time))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn whatever_is_shown_there_is_a_next_step_and_it_is_safe(
        decision in forged(),
        attempt in attempt(),
        record in option::of(reading()),
        (aws_timeout, waiting_limit, poll_interval) in (duration(), duration(), duration()),
        now in instant(),
    ) {
        // No flag lets it be shorter.
        let poll_interval = poll_interval.max(SignedDuration::from_millis(100));
        let settings = Settings { aws_timeout, waiting_limit, poll_interval };
        let seen = Observed { decision: &decision, attempt: &attempt, record: record.as_ref(), sight: None };
        let ready = decision.status.as_ref().and_then(|status| status.conditions.first());
        let same_result = record.as_ref().is_some_and(|reading| matches!(
            &reading.result,
            Ok(Record::Finished(finished)) if finished.result == Some(decision.spec.result.status)
        ));
        match decide(&seen, &settings, now) {
            Step::Rest => prop_assert!(ready.is_some(), "a decision that came to nothing is left alone"),
            Step::WaitUntil(time) => prop_assert!(now < time),
            Step::Look(_) => prop_assert!(decision.spec.token.is_none(), "a token is not looked for"),
            Step::WaitForNews { .. } => prop_assert!(false, "nothing was seen"),
            Step::ReadRecord(_) => prop_assert!(record.is_none(), "what was read is read again at once"),
            Step::Send { intent, latest } => {
                let before = latest - SignedDuration::from_nanos(1);
                prop_assert!(now < latest && may_send(&decision, before));
                prop_assert_eq!(&attempt, &Attempt::Intended(intent));
                prop_assert!(may_send(&decision, now));
            }
            Step::Intend(intent) => {
                prop_assert!(may_send(&decision, now));
                prop_assert!(attempt != Attempt::None || ready.is_none_or(|ready| ready.status != ConditionStatus::True));
                let written = status(&decision, &Outcome::Submitting(intent.clone()), now);
                prop_assert_eq!(written.submission, Some(intent.submission));
            }
            Step::Settle(outcome) => {
                match &outcome {
                    Outcome::Delivered { .. } => {
                        prop_assert!(same_result || matches!(attempt, Attempt::Answered(_, Ok(_))));
                    }
                    Outcome::AlreadyDecided { .. } => prop_assert!(same_result),
                    _ => {}
                }
                let status = status(&decision, &outcome, now);
                prop_assert!(status.conditions.iter().all(|condition| condition.message.chars().count() <= MAX_MESSAGE));
                let told = event(&decision, &outcome, None).and_then(|event| event.note);
                prop_assert!(told.is_none_or(|note| note.len() <= 1024), "the API server takes no longer note");
            }
        }
    }
}
