//! Properties of [`decide`] for every observation, including a forged status.

use super::super::{Settings, decide};
use crate::api::conditions::{Condition, ConditionStatus, MAX_MESSAGE};
use crate::api::v1alpha1::{
    ApprovalDecision, ApprovalDecisionStatus, ApprovalStatus, Exception, NotAfter, PipelineExecutionId, Reason,
    Submission, Token,
};
use crate::codepipeline::{ApprovalRecord, CallError, CompletedApproval, ExecutionIds, Refusal, RetryCause};
use crate::decision::outcome::{Intent, Outcome, PriorAttempts};
use crate::decision::status::{Report, status};
use crate::decision::step::{Attempt, Observed, RecordObservation, Step};
use crate::decision::test_fixtures::{DecisionExt, SUMMARY, at, fresh};
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

fn ids() -> BoxedStrategy<ExecutionIds> {
    (option::of(text()), option::of(text())).prop_map(|(pipeline, action)| ExecutionIds { pipeline, action }).boxed()
}

fn failure() -> BoxedStrategy<CallError> {
    let refused = |refusal| raised().prop_map(move |exception| CallError::Refused { refusal, exception });
    prop_oneof![
        refused(Refusal::InvalidApprovalToken),
        refused(Refusal::ApprovalAlreadyCompleted),
        text().prop_map(|detail| CallError::Indeterminate { detail }),
        (option::of(raised()), text()).prop_map(|(exception, detail)| CallError::NotApplied {
            cause: RetryCause::Throttled,
            exception,
            detail,
        }),
    ]
    .boxed()
}

fn record() -> BoxedStrategy<ApprovalRecord> {
    let completed = (option::of(result()), option::of(text()), option::of(instant()), option::of(text()), ids());
    prop_oneof![
        raised().prop_map(ApprovalRecord::PipelineNotFound),
        ids().prop_map(ApprovalRecord::Pending),
        ids().prop_map(ApprovalRecord::Lagging),
        Just(ApprovalRecord::NotVisible),
        Just(ApprovalRecord::BeyondHistory),
        completed.prop_map(|(result, summary, at, by, ids)| {
            ApprovalRecord::Completed(CompletedApproval { result, summary, at, by, ids })
        }),
    ]
    .boxed()
}

fn observation() -> BoxedStrategy<RecordObservation> {
    let result = prop_oneof![3 => record().prop_map(Ok), 1 => failure().prop_map(Err)];
    (instant(), result).prop_map(|(started_at, result)| RecordObservation { started_at, result }).boxed()
}

fn attempt() -> BoxedStrategy<Attempt> {
    let prior = select(vec![PriorAttempts::NotApplied, PriorAttempts::Refused, PriorAttempts::InDoubt]);
    let intent =
        (submissions(), ids(), prior).prop_map(|(submission, ids, prior)| Intent { submission, ids, prior }).boxed();
    let response = prop_oneof![option::of(instant()).prop_map(Ok), failure().prop_map(Err)];
    prop_oneof![
        2 => Just(Attempt::None),
        1 => intent.clone().prop_map(Attempt::IntentRecorded),
        1 => (intent.clone(), failure()).prop_map(|(intent, error)| Attempt::NotPrepared(intent, error)),
        1 => (intent, response).prop_map(|(intent, response)| Attempt::Submitted(intent, response)),
    ]
    .boxed()
}

/// A decision with a status that only a forger would write.
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
    let execution = option::of(text().prop_map(PipelineExecutionId));
    (option::of(status), spec, execution)
        .prop_map(|(status, (not_after, suspend, created, result, summary), execution)| {
            fresh().with_result(result, &summary).with(|decision| {
                decision.status = status;
                decision.spec.not_after = not_after.map(NotAfter);
                decision.spec.suspend = suspend;
                decision.spec.token = decision.spec.token.take().filter(|_| execution.is_none());
                decision.spec.pipeline_execution_id = execution;
                decision.metadata.creation_timestamp = created.map(Time);
            })
        })
        .boxed()
}

/// Whether a result may be sent at all.
fn may_send(decision: &ApprovalDecision, now: Timestamp) -> bool {
    let not_after = decision.spec.not_after.as_ref().map(|time| time.0.parse::<Timestamp>());
    !decision.spec.suspend && not_after.is_none_or(|time| time.is_ok_and(|time| now < time))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn every_observation_has_a_next_step_and_it_is_safe(
        decision in forged(),
        attempt in attempt(),
        record in option::of(observation()),
        (aws_timeout, waiting_limit, poll_interval) in (duration(), duration(), duration()),
        now in instant(),
    ) {
        // The flag does not allow a shorter one.
        let poll_interval = poll_interval.max(SignedDuration::from_millis(100));
        let settings = Settings { aws_timeout, waiting_limit, poll_interval };
        let observed = Observed { decision: &decision, attempt: &attempt, record: record.as_ref(), pipeline: None };
        let ready = decision.status.as_ref().and_then(|status| status.conditions.first());
        let same_result = record.as_ref().is_some_and(|observation| matches!(
            &observation.result,
            Ok(ApprovalRecord::Completed(completed)) if completed.result == Some(decision.spec.result.status)
        ));
        match decide(&observed, &settings, now) {
            Step::AwaitChange => prop_assert!(ready.is_some(), "a decision without an outcome is not reconciled again"),
            Step::WaitUntil(time) => prop_assert!(now < time),
            Step::ReadPipeline(_) => prop_assert!(decision.spec.token.is_none(), "a token needs no snapshot"),
            Step::AwaitSnapshot { .. } => prop_assert!(false, "there is no snapshot to wait for a newer one"),
            Step::ReadRecord(_) => prop_assert!(record.is_none(), "the history is read twice in a row"),
            Step::Send { intent, send_deadline } => {
                let before = send_deadline - SignedDuration::from_nanos(1);
                prop_assert!(now < send_deadline && may_send(&decision, before));
                prop_assert_eq!(&attempt, &Attempt::IntentRecorded(intent));
                prop_assert!(may_send(&decision, now));
            }
            Step::RecordIntent(intent) => {
                prop_assert!(may_send(&decision, now));
                let is_settled = ready.is_some_and(|ready| ready.status == ConditionStatus::True);
                prop_assert!(attempt != Attempt::None || !is_settled);
                let written = status(&decision, &Outcome::Submitting(intent.clone()), now);
                prop_assert_eq!(written.submission, Some(intent.submission));
            }
            Step::WriteStatus(outcome) => {
                match &outcome {
                    Outcome::Delivered { .. } => {
                        prop_assert!(same_result || matches!(attempt, Attempt::Submitted(_, Ok(_))));
                    }
                    Outcome::AlreadyDecided { .. } => prop_assert!(same_result),
                    _ => {}
                }
                let status = status(&decision, &outcome, now);
                let mut messages = status.conditions.iter().map(|condition| condition.message.chars().count());
                prop_assert!(messages.all(|length| length <= MAX_MESSAGE));
                let announcement = Report::new(&decision, &outcome, None, now).announcement;
                let note = announcement.map(|announcement| announcement.note);
                prop_assert!(note.is_none_or(|note| note.len() <= 1024), "the API server admits no longer note");
            }
        }
    }
}
