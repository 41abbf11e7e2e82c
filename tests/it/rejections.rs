//! A rejection goes first: an approval of the same request waits while it stands, also if the rejection itself is stalled. And what the
//! operator does if it cannot know all rejections.

use approval_operator::api::v1alpha1::{ApprovalDecision, ApprovalDecisionSpec, ApprovalStatus, Reason};
use futures::future::BoxFuture;
use kube::api::{Api, PostParams};
use local_codepipeline::api::Operation;
use local_codepipeline::model::{OpenApproval, PipelineDefinition};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use test_support::proxy::{ProxiedKubeconfig, ProxiedRequest, Proxy, Response, status_response};
use test_support::{TestEnv, for_execution, for_revision, message, pipeline_with_build, scale, spec};

fn rejecting(spec: ApprovalDecisionSpec) -> ApprovalDecisionSpec {
    let mut spec = spec;
    spec.result.status = ApprovalStatus::Rejected;
    spec
}

/// Waits until the decision, which names this request by its token, is delivered.
async fn wait_until_delivered(env: &TestEnv, name: &str, pipeline: &str, approval: &OpenApproval) {
    env.wait_for_reason(name, Reason::Delivered).await;
    let accepted: Vec<_> = env.accepted_submissions(pipeline).into_iter().map(|entry| entry.token).collect();
    assert_eq!(accepted, [approval.token.to_string()], "{name}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_contradictory_decisions_the_rejection_is_delivered() {
    let env = TestEnv::new().await;
    for number in 0..8 {
        let pipeline = format!("p{number}");
        let pipeline = pipeline.as_str();
        env.put_pipeline(pipeline_with_build(pipeline));
        let execution = env.start_execution(pipeline, "v1");
        env.complete_build(pipeline, execution, true);
        let approval = env.pending_approvals(pipeline)[0];
        // Each names the request in another way.
        let specs = [for_execution(pipeline, execution), for_revision(pipeline, "v1"), spec(pipeline, &approval)];
        env.create(&format!("approve-{pipeline}"), specs[number % 3].clone()).await;
        env.create(&format!("reject-{pipeline}"), rejecting(specs[(number + 1) % 3].clone())).await;
    }
    let operator = env.operator().start();
    for number in 0..8 {
        let pipeline = format!("p{number}");
        env.wait_for_reason(&format!("reject-{pipeline}"), Reason::Delivered).await;
        env.wait_for_reason(&format!("approve-{pipeline}"), Reason::ApprovalAlreadyCompleted).await;
        let accepted: Vec<_> = env.accepted_submissions(&pipeline).into_iter().map(|entry| entry.status).collect();
        assert_eq!(accepted, ["Rejected"], "{pipeline}\n{}", operator.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejection_that_lacks_a_required_summary_holds_back_an_approval_until_it_is_deleted() {
    let env = TestEnv::new().await;
    let _operator = env.operator().start();
    let approval = env.codepipeline.with_service(|service, now| {
        let mut pipeline = PipelineDefinition::with_approval("web", "Prod", "Approve").unwrap();
        let action = &mut pipeline.stages[1].actions[0];
        action.configuration.insert("IsSummaryRequired".to_owned(), "true".to_owned());
        service.put_pipeline(now, pipeline).unwrap();
        service.open_approval(now, ("web", "Prod", "Approve"), &[]).unwrap()
    });
    let mut rejection = rejecting(spec("web", &approval));
    rejection.result.summary = String::new();
    env.create("reject", rejection).await;
    let refused = env.wait_for_reason("reject", Reason::InvalidApprovalToken).await;
    let expected = "the action may require a summary, and spec.result.summary is empty. Set spec.result.summary";
    assert!(message(&refused).contains(expected), "{}", message(&refused));
    env.create("by-token", spec("web", &approval)).await;
    env.create("by-execution", for_execution("web", approval.pipeline_execution_id)).await;
    for name in ["by-token", "by-execution"] {
        let held = env.wait_for_reason(name, Reason::ConflictingDecision).await;
        assert!(message(&held).starts_with("Decision reject of this namespace rejects"), "{}", message(&held));
    }
    assert_eq!(env.accepted_count("web"), 0);
    env.patch("by-execution", json!({ "spec": { "suspend": true } })).await.unwrap();
    env.delete("reject").await;
    wait_until_delivered(&env, "by-token", "web", &approval).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejection_in_another_namespace_goes_first_and_is_not_named() {
    let [env, other] = [TestEnv::new().await, TestEnv::new().await];
    let operator = env.operator().namespace(&other.namespace).start();
    env.put_pipeline(pipeline_with_build("web"));
    let execution = env.start_execution("web", "v1");
    other.create("veto", rejecting(for_revision("web", "v1"))).await;
    other.wait_for_reason("veto", Reason::Waiting).await;
    // The rejection waits for a source revision that the execution has as well.
    env.create("approve", for_execution("web", execution)).await;
    env.wait_for_reason("approve", Reason::Waiting).await;
    env.complete_build("web", execution, true);
    other.wait_for_reason("veto", Reason::Delivered).await;
    let refused = env.wait_for_reason("approve", Reason::ApprovalAlreadyCompleted).await;
    assert!(!message(&refused).contains("veto"), "{}\n{}", message(&refused), operator.log());
    let next = env.start_execution("web", "v2");
    env.complete_build("web", next, true);
    let approval = env.pending_approvals("web")[0];
    let mut held = rejecting(for_revision("web", "v2"));
    held.suspend = true;
    other.create("suspended", held).await;
    other.wait_for_reason("suspended", Reason::Suspended).await;
    env.create("next", for_execution("web", next)).await;
    env.wait_for_reason("next", Reason::Delivered).await;
    assert_eq!(env.accepted_submissions("web").last().unwrap().token, approval.token.to_string());
}

/// A proxy that responds to the lists of decisions of one namespace with this status, as long as it is not 200.
async fn without_list(env: &TestEnv, namespace: &str, status: Arc<AtomicU16>) -> (Proxy, ProxiedKubeconfig) {
    let path = format!("/namespaces/{namespace}/");
    let handler = move |request: ProxiedRequest| -> BoxFuture<'static, Option<Response>> {
        let status = status.load(Ordering::Relaxed);
        let is_list = request.name.kind == "LIST approvaldecisions" && request.path().contains(&path);
        let is_refused = is_list && status != 200;
        Box::pin(async move {
            if is_refused {
                return Some(status_response(status, "Refused", "not now"));
            }
            request.forward().await
        })
    };
    Proxy::to_api_server(&env.kubeconfig, handler).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_that_may_not_be_listed_does_not_keep_the_operator_from_the_others() {
    let [env, other] = [TestEnv::new().await, TestEnv::new().await];
    let (_proxy, kubeconfig) = without_list(&env, &other.namespace, Arc::new(AtomicU16::new(403))).await;
    let operator =
        env.operator_via(kubeconfig.path()).namespace(&other.namespace).replica("one", &env.namespace).start();
    let approval = env.open_and_approve("web").await;
    wait_until_delivered(&env, "web", "web", &approval).await;
    assert_eq!(operator.metric("approval_operator_namespaces_not_listed").await, 1.0);
    assert_eq!(operator.get("/readyz").await.map(|(status, _)| status), Some(200));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_waits_for_a_namespace_whose_list_fails_for_now_and_a_rejection_does_not() {
    let [env, other] = [TestEnv::new().await, TestEnv::new().await];
    let status = Arc::new(AtomicU16::new(500));
    let (_proxy, kubeconfig) = without_list(&env, &other.namespace, status.clone()).await;
    let operator = env.operator_via(kubeconfig.path()).namespace(&other.namespace).start();
    let approval = env.open_and_approve("web").await;
    let rejected = env.open_approval("api");
    env.create("api", rejecting(spec("api", &rejected))).await;
    wait_until_delivered(&env, "api", "api", &rejected).await;
    assert_eq!(env.codepipeline.request_count_for(Operation::PutApprovalResult, "web"), 0, "{}", operator.log());
    status.store(200, Ordering::Relaxed);
    wait_until_delivered(&env, "web", "web", &approval).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_expired_decisions_with_tokens_share_reads_and_do_not_delay_a_new_one() {
    let env = TestEnv::new().await;
    let past = approval_operator::api::v1alpha1::UserTime("2026-01-01T00:00:00Z".to_owned());
    let pipelines = ["first", "second"];
    let decisions = scale(100, 1000);
    let mut expired = Vec::new();
    for pipeline in pipelines {
        let approval = env.open_approval(pipeline);
        let at = (pipeline, "Prod", "Approve");
        let approved = local_codepipeline::api::ApprovalStatus::Approved;
        env.codepipeline.respond_as(test_support::BOB, at, approval.token, approved, "yes").unwrap();
        for number in 0..decisions {
            let mut spec = spec(pipeline, &approval);
            spec.not_after = Some(past.clone());
            expired.push(ApprovalDecision::new(&format!("{pipeline}-{number}"), spec));
        }
    }
    let create = |decision: ApprovalDecision| {
        let api: Api<ApprovalDecision> = env.decisions.clone();
        async move { drop(api.create(&PostParams::default(), &decision).await.unwrap()) }
    };
    futures::StreamExt::for_each_concurrent(futures::stream::iter(expired), 16, create).await;
    // No read responds until the new decision is delivered.
    let reads = Operation::ALL.iter().filter(|operation| **operation != Operation::PutApprovalResult);
    for read in reads.clone() {
        let hang = std::time::Duration::from_secs(120);
        env.codepipeline.inject(local_codepipeline::faults::Fault::delayed().on(*read).delay_before(hang).always());
    }
    let operator = env.operator().arg("--aws-timeout=2s").start();
    operator.eventually("a poll hangs", async || env.codepipeline.request_count(Operation::GetPipelineState) > 0).await;
    let new = env.open_and_approve("new").await;
    wait_until_delivered(&env, "new", "new", &new).await;
    env.codepipeline.clear_faults();
    let before: u64 = reads.clone().map(|read| env.codepipeline.request_count(*read)).sum();
    for pipeline in pipelines {
        for number in [0, decisions / 2, decisions - 1] {
            env.wait_for_reason(&format!("{pipeline}-{number}"), Reason::AlreadyDecided).await;
        }
    }
    let read: u64 = reads.map(|read| env.codepipeline.request_count(*read)).sum::<u64>() - before;
    // A read for each would be two calls or more.
    assert!(read < 2 * decisions, "{read} reads for {} decisions of two pipelines", 2 * decisions);
}
