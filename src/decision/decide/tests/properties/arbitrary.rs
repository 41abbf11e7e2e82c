//! Arbitrary decisions, pipelines and rejections. Few values of each, so that they often mean the same.

use crate::api::conditions::{Condition, ConditionStatus};
use crate::api::v1alpha1::{
    ApprovalDecision, ApprovalDecisionStatus, ApprovalResult, ApprovalStatus, Exception, Location, PipelineExecutionId,
    Reason, SourceRevision, Submission, SubmissionOutcome, Token, Unsupported, UserTime,
};
use crate::codepipeline::{
    ActionCompletion, ActionProgress, CallError, CompletionStatus, ExecutionStatus, ExecutionType, Refusal, RetryCause,
};
use crate::decision::conflict::{RejectedRequests, Rejection, Rejections};
use crate::decision::outcome::{Intent, PriorAttempts};
use crate::decision::step::Attempt;
use crate::decision::target::{RejectionLocation, TargetObservation, TargetsUnavailable, Unverified, Verification};
use crate::decision::test_fixtures::pipeline::{FAILED, RUNNING, STOPPING, SUCCEEDED, TestPipeline};
use crate::decision::test_fixtures::targets::{self, elsewhere, found_as, here, own_as};
use crate::decision::test_fixtures::{
    DecisionExt, SUMMARY, at, entry, fresh, indeterminate, other_token, refusal, submission, token,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

const EXECUTIONS: [&str; 2] = ["E1", "E2"];

fn result() -> impl Strategy<Value = ApprovalStatus> {
    prop_oneof![3 => Just(ApprovalStatus::Approved), 1 => Just(ApprovalStatus::Rejected)]
}

fn locations() -> impl Strategy<Value = Option<Location>> {
    select(vec![None, Some(here()), Some(elsewhere())])
}

/// What is observed of the target.
pub fn target() -> impl Strategy<Value = TargetObservation> {
    let pending = Verification::Unverified(Unverified::Pending);
    let verification = select(vec![Verification::Verified, Verification::Verified, pending]);
    let found = (any::<bool>(), any::<bool>(), verification).prop_map(|(is_here, admits, verification)| {
        let mut target = targets::target(if is_here { here() } else { elsewhere() });
        target.spec.access.retain(|_| admits);
        found_as(target, verification)
    });
    prop_oneof![
        3 => (locations(), locations()).prop_map(|(own, target)| own_as(own, target.as_slice())),
        4 => found,
        1 => Just(TargetObservation::NotFound),
        1 => Just(TargetObservation::Unavailable(TargetsUnavailable::WatchBroken)),
    ]
}

pub fn instant() -> impl Strategy<Value = Timestamp> {
    let edges = vec![Timestamp::MIN, Timestamp::UNIX_EPOCH, at(0), at(60), Timestamp::MAX];
    prop_oneof![2 => select(edges), 1 => (-100..100_i64).prop_map(at)]
}

pub fn duration() -> impl Strategy<Value = SignedDuration> {
    let edges = [i64::MIN, -1, 0, 1, 10, 3600, i64::MAX];
    select(edges.map(SignedDuration::from_secs).to_vec())
}

fn text() -> BoxedStrategy<String> {
    prop_oneof![Just(SUMMARY.to_owned()), Just(String::new()), ".{0,8}", Just("é".repeat(5000))].boxed()
}

fn tokens() -> BoxedStrategy<Token> {
    prop_oneof![4 => Just(token()), 2 => Just(other_token()), 1 => text().prop_map(Token)].boxed()
}

fn approval_result() -> impl Strategy<Value = ApprovalResult> {
    (result(), text()).prop_map(|(status, summary)| ApprovalResult { status, summary })
}

fn submissions() -> BoxedStrategy<Submission> {
    let attempts = select(vec![i64::MIN, -1, 0, 1, 2, 16, 17, 62, 63, 64, i64::MAX]);
    let outcome = select(vec![None, Some(SubmissionOutcome::Accepted), Some(SubmissionOutcome::NotAccepted)]);
    let ids = (option::of(select(&EXECUTIONS)), option::of(select(&["A1", "A2"])));
    (attempts, instant(), instant(), tokens(), approval_result(), outcome, ids)
        .prop_map(|(attempts, start_time, deadline, token, result, outcome, (execution, action))| Submission {
            attempts,
            start_time,
            deadline,
            token,
            result,
            outcome,
            pipeline_execution_id: execution.map(str::to_owned),
            action_execution_id: action.map(str::to_owned),
            ..submission(1, 0, 25)
        })
        .boxed()
}

fn raised() -> BoxedStrategy<Exception> {
    let name = prop_oneof![
        2 => select(&["InvalidApprovalTokenException", "ApprovalAlreadyCompletedException"][..]).prop_map(str::to_owned),
        1 => text(),
    ];
    (name, text()).prop_map(|(r#type, message)| Exception { r#type, message }).boxed()
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

pub fn attempt() -> BoxedStrategy<Attempt> {
    let prior = select(vec![PriorAttempts::NotApplied, PriorAttempts::Refused, PriorAttempts::InDoubt]);
    let intent = (submissions(), prior)
        .prop_map(|(submission, prior)| Intent {
            submission: Submission { outcome: None, ..submission },
            execution: None,
            prior,
        })
        .boxed();
    let response = prop_oneof![option::of(instant()).prop_map(Ok), failure().prop_map(Err)];
    prop_oneof![
        2 => Just(Attempt::None),
        1 => intent.clone().prop_map(Attempt::IntentRecorded),
        1 => (intent.clone(), failure()).prop_map(|(intent, error)| Attempt::NotPrepared(intent, error)),
        1 => (intent, response).prop_map(|(intent, response)| Attempt::Submitted(intent, response)),
    ]
    .boxed()
}

fn entries() -> impl Strategy<Value = Vec<SourceRevision>> {
    let revision = option::of(select(&["main", "other"]));
    let one = (option::of(select(&["Git", "Image"])), revision).prop_map(|(action, revision)| entry(action, revision));
    vec(one, 1..3)
}

/// A decision without a status, as anyone may write or edit it.
pub fn decision() -> BoxedStrategy<ApprovalDecision> {
    let times = || option::of(prop_oneof![instant().prop_map(|time| time.to_string()), text()].prop_map(UserTime));
    let naming = prop_oneof![
        3 => tokens().prop_map(|token| fresh().naming_token(token)),
        2 => select(&EXECUTIONS).prop_map(|execution| fresh().naming_execution(execution)),
        2 => entries().prop_map(|entries| fresh().naming_revisions(entries)),
        1 => Just(fresh().naming_nothing()),
    ];
    let unsupported = select(vec![None, None, None, Some(Unsupported::SpecField("new".to_owned()))]);
    (naming, times(), times(), any::<bool>(), approval_result(), unsupported)
        .prop_map(|(decision, not_after, ignored_before, suspend, result, unsupported)| {
            decision.with(|decision| {
                let spec = &mut decision.spec;
                (spec.not_after, spec.ignore_responses_before) = (not_after, ignored_before);
                (spec.suspend, spec.result, spec.unsupported) = (suspend, result, unsupported);
                if let Some(PipelineExecutionId(id)) = &mut spec.pipeline_execution_id {
                    id.truncate(100);
                }
            })
        })
        .boxed()
}

/// A decision with a status that only a forger would write.
pub fn forged() -> BoxedStrategy<ApprovalDecision> {
    let reason = prop_oneof![8 => select(Reason::ALL).prop_map(|reason| reason.as_str().to_owned()), 1 => text()];
    let statuses = || select(vec![ConditionStatus::True, ConditionStatus::False, ConditionStatus::Unknown]);
    let conditions = (reason, statuses(), option::of(select(&["Stalled", "Reconciling"])), instant());
    let conditions = conditions.prop_map(|(reason, status, secondary, last_transition_time)| {
        let condition = |r#type: &str, status| Condition {
            r#type: r#type.to_owned(),
            status,
            observed_generation: None,
            last_transition_time,
            reason: reason.clone(),
            message: String::new(),
        };
        let secondary = secondary.map(|r#type| condition(r#type, ConditionStatus::True));
        std::iter::once(condition("Ready", status)).chain(secondary).collect::<Vec<_>>()
    });
    let generation = select(vec![None, Some(-1), Some(1), Some(1), Some(1), Some(i64::MAX)]);
    let known = (generation, option::of(conditions), option::of(raised()), option::of(submissions()));
    let status = (known, option::of(text()), option::of(instant()));
    let status = status.prop_map(|(known, last_handled_requested_at, waiting_since)| {
        let (observed_generation, conditions, exception, submission) = known;
        ApprovalDecisionStatus {
            observed_generation,
            conditions: conditions.unwrap_or_default(),
            exception,
            submission,
            last_handled_requested_at,
            waiting_since,
            ..ApprovalDecisionStatus::default()
        }
    });
    (option::weighted(0.8, status), decision(), option::of(instant()))
        .prop_map(|(status, decision, created)| {
            decision.with(|decision| {
                decision.status = status;
                decision.metadata.creation_timestamp = created.map(Time);
            })
        })
        .boxed()
}

fn progress() -> BoxedStrategy<ActionProgress> {
    let status = select(vec![CompletionStatus::Succeeded, CompletionStatus::Failed, CompletionStatus::Abandoned]);
    let completed = (status, option::of(text()), option::of(instant()), option::of(text()))
        .prop_map(|(status, summary, at, by)| ActionProgress::Completed(ActionCompletion { status, summary, at, by }));
    prop_oneof![1 => Just(ActionProgress::InProgress), 1 => completed].boxed()
}

/// What CodePipeline shows: two executions at most, and two requests at most.
pub fn pipeline() -> BoxedStrategy<TestPipeline> {
    let status = || select(vec![RUNNING, RUNNING, STOPPING, FAILED, SUCCEEDED]);
    let executions = vec((status(), any::<bool>(), select(&["main", "other"])), 0..3);
    let requests = vec((select(&EXECUTIONS), progress(), option::of(tokens()), -200..100_i64), 0..3);
    let latest = option::of((select(&["A1", "A2"]), option::of(tokens()), progress()));
    let errors = prop_oneof![
        8 => Just((None, None)),
        1 => Just((Some(indeterminate()), None)),
        1 => Just((Some(refusal(Refusal::PipelineNotFound)), None)),
        1 => Just((None, Some(indeterminate()))),
    ];
    let views = (executions, requests, latest, errors);
    (views, any::<bool>(), any::<bool>(), locations())
        .prop_map(|((executions, requests, latest, errors), is_parallel, has_endless_history, location)| {
            let mut pipeline = TestPipeline::default();
            for ((status, is_rollback, revision), id) in executions.into_iter().zip(EXECUTIONS) {
                pipeline = with_execution(pipeline, id, status, is_rollback, revision);
            }
            for ((execution, progress, token, started), id) in requests.into_iter().zip(["A2", "A1"]) {
                pipeline = pipeline.entry(id, execution, progress).started(started);
                pipeline = token.into_iter().fold(pipeline, TestPipeline::with_token);
            }
            if let Some((id, token, progress)) = latest {
                pipeline = pipeline.shows(id, token, progress);
            }
            if is_parallel {
                pipeline = pipeline.parallel();
            }
            let (state_error, history_error) = errors;
            TestPipeline { state_error, history_error, has_endless_history, location, ..pipeline }
        })
        .boxed()
}

fn with_execution(
    pipeline: TestPipeline,
    id: &str,
    status: ExecutionStatus,
    is_rollback: bool,
    revision: &str,
) -> TestPipeline {
    pipeline.execution(id, status).with_sources(&[("Git", Some(revision))]).with_execution(|execution| {
        if is_rollback {
            execution.execution_type = ExecutionType::Rollback;
        }
    })
}

pub fn rejections() -> BoxedStrategy<Option<Rejections>> {
    let requests = prop_oneof![
        tokens().prop_map(RejectedRequests::Token),
        select(&EXECUTIONS).prop_map(|id| RejectedRequests::PipelineExecution(PipelineExecutionId(id.to_owned()))),
        entries().prop_map(RejectedRequests::SourceRevisions),
        Just(RejectedRequests::Any),
    ];
    let rejection =
        (requests, option::of(instant()), select(&["team", "other"])).prop_map(|(requests, not_after, namespace)| {
            Rejection {
                namespace: namespace.to_owned(),
                name: "stop".to_owned(),
                requests,
                not_after,
                location: RejectionLocation::Unknown,
            }
        });
    prop_oneof![
        1 => Just(None),
        1 => Just(Some(Rejections::NotListed)),
        4 => vec(rejection, 0..3).prop_map(|rejections| Some(Rejections::Listed(rejections))),
    ]
    .boxed()
}
