//! What holds whatever happens: of [`decide`] alone for whatever it may be shown, and of operators that do as it says.

use super::simulation::{Edit, Fault, Move, Setting, Which, Who, Words, World};
use super::{Attempt, Observed, RecordReading, Settings, Step, decide};
use crate::api::conditions::{Condition, ConditionStatus, MAX_MESSAGE};
use crate::api::v1alpha1::{
    ApprovalDecision, ApprovalDecisionStatus, ApprovalStatus, Exception, NotAfter, Reason, Submission, Token,
};
use crate::codepipeline::{CallError, Cause, ExecutionIds, Finished, Record, Refusal};
use crate::decision::fixtures::{Given, SUMMARY, at, fresh};
use crate::decision::outcome::{Earlier, Intent, Outcome};
use crate::decision::status::{event, status};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use std::collections::HashSet;

fn who() -> impl Strategy<Value = Who> {
    prop_oneof![3 => Just(Who::A), 2 => Just(Who::B)]
}

fn which() -> impl Strategy<Value = Which> {
    prop_oneof![6 => Just(Which::First), 3 => Just(Which::Second), 1 => Just(Which::Unknown)]
}

fn result() -> impl Strategy<Value = ApprovalStatus> {
    prop_oneof![3 => Just(ApprovalStatus::Approved), 1 => Just(ApprovalStatus::Rejected)]
}

fn words() -> impl Strategy<Value = Words> {
    prop_oneof![2 => Just(Words::Ours), 2 => Just(Words::Others), 1 => Just(Words::None)]
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        10 => Just(Fault::None),
        1 => Just(Fault::NotTaken),
        1 => Just(Fault::Lost),
        2 => Just(Fault::AnswerLost),
        2 => (0..=10_000_i64).prop_map(Fault::Slow),
    ]
}

fn milliseconds() -> impl Strategy<Value = i64> {
    prop_oneof![
        6 => 1..=7_000_i64,
        4 => 1..=30_000_i64,
        2 => 1..=100_000_i64,
        1 => 1..=900_000_i64,
        1 => Just(8 * 24 * 3_600_000),
    ]
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        2 => which().prop_map(Edit::Token),
        2 => (result(), words()).prop_map(|(result, words)| Edit::Answer(result, words)),
        2 => any::<bool>().prop_map(Edit::Suspend),
        1 => Just(Edit::NoNotAfter),
        3 => (0..=120_i64).prop_map(Edit::NotAfter),
        1 => Just(Edit::NotAfterInNoCalendar),
    ]
}

fn happening() -> impl Strategy<Value = Move> {
    prop_oneof![
        50 => (who(), fault()).prop_map(|(who, fault)| Move::Step(who, fault)),
        5 => (who(), 1..4_usize).prop_map(|(who, age)| Move::StepFromOldView(who, age)),
        5 => who().prop_map(Move::Crash),
        20 => milliseconds().prop_map(Move::Pass),
        3 => (which(), result(), words()).prop_map(|(which, result, words)| Move::SomebodyAnswers(which, result, words)),
        1 => which().prop_map(Move::TimeOut),
        1 => which().prop_map(Move::Cancel),
        3 => which().prop_map(Move::NewRun),
        6 => edit().prop_map(Move::Edit),
        3 => select(vec![Move::Annotate, Move::Annotate, Move::Restore, Move::Delete, Move::PipelineVanishes]),
    ]
}

/// Clocks differ by 5 s at most, which is what the operator allows for.
fn setting() -> impl Strategy<Value = Setting> {
    let clocks = (-5_000..=0_i64, 0..=5_000_i64, 0..=5_000_i64);
    (clocks, 0..=60_000_i64, any::<bool>()).prop_map(|((slowest, a, b), lag, unseen)| Setting {
        clocks: [slowest + a, slowest + b],
        lag,
        unseen,
    })
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
    (option::of(status), spec)
        .prop_map(|(status, (not_after, suspend, created, result, summary))| {
            fresh().answering(result, &summary).with(|decision| {
                decision.status = status;
                decision.spec.not_after = not_after.map(NotAfter);
                decision.spec.suspend = suspend;
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
            Step::Look(_) | Step::WaitForNews { .. } => prop_assert!(false, "a token is not looked for"),
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

    #[test]
    fn the_service_takes_one_answer_at_most_and_the_status_comes_to_tell_the_truth(
        setting in setting(),
        moves in vec(happening(), 0..80),
    ) {
        World::new(setting).live_through(&moves).map_err(TestCaseError::fail)?;
    }
}

/// Or else the property above would hold for want of anything happening.
#[test]
fn worlds_come_to_every_end_and_by_every_way() {
    let mut runner = TestRunner::deterministic();
    let mut missing: Vec<&str> = vec![
        "settles Unconfirmed",
        "settles Throttled",
        "settles CredentialsUnavailable",
        "was lost, but CodePipeline's record shows",
        "says that the request is completed, and how is not known",
        "intends attempt 3",
        "somebody else wrote first",
        "the service refuses with ApprovalAlreadyCompleted",
    ];
    let mut unreached: HashSet<Option<Reason>> = [
        None,
        Some(Reason::Delivered),
        Some(Reason::AlreadyDecided),
        Some(Reason::ApprovalAlreadyCompleted),
        Some(Reason::InvalidApprovalToken),
        Some(Reason::PipelineNotFound),
        Some(Reason::Expired),
        Some(Reason::ValidationFailed),
        Some(Reason::Suspended),
    ]
    .into();
    for _ in 0..1500 {
        let (setting, moves) = (setting(), vec(happening(), 0..80)).new_tree(&mut runner).expect("a world").current();
        let mut world = World::new(setting);
        unreached.remove(&world.live_through(&moves).expect("a true end"));
        missing.retain(|words| !world.tells(words));
    }
    assert!(missing.is_empty() && unreached.is_empty(), "never seen: {missing:?}, {unreached:?}");
}
