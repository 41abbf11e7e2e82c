//! The number of requests per decision, counted by the servers.

use approval_operator::api::v1alpha1::Reason;
use local_codepipeline::api::Operation;
use std::collections::BTreeMap;
use test_control_plane::ControlPlane;
use test_support::{Cluster, TestEnv, spec};

/// The number of requests to the API server, by verb and resource.
pub fn requests(control_plane: &ControlPlane) -> BTreeMap<String, u64> {
    let output = control_plane.kubectl().args(["get", "--raw", "/metrics"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut counts = BTreeMap::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("apiserver_request_total{")) {
        let (labels, count) = line.split_once("} ").unwrap();
        let label = |name: &str| {
            labels
                .split(',')
                .find_map(|label| label.strip_prefix(name)?.strip_prefix("=\"")?.strip_suffix('"'))
                .unwrap()
        };
        let key = format!("{} {}/{}", label("verb"), label("resource"), label("subresource"));
        *counts.entry(key).or_default() += count.parse::<f64>().unwrap() as u64;
    }
    counts
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivered_decision_costs_one_call_two_status_writes_and_one_event() {
    let cluster = Cluster::start();
    let env = TestEnv::in_cluster(&cluster).await;
    let operator = env.operator().start();
    operator.wait_until_ready().await;
    let before = requests(&cluster.control_plane);
    for pipeline in ["one", "two", "three"] {
        env.open_and_approve(pipeline).await;
    }
    for pipeline in ["one", "two", "three"] {
        env.wait_for_reason(pipeline, Reason::Delivered).await;
        env.wait_for_events(pipeline, &["Delivered"]).await;
    }
    // Neither a label nor a restart causes further requests.
    env.patch("one", serde_json::json!({ "metadata": { "labels": { "team": "web" } } })).await.unwrap();
    drop(operator);
    let operator = env.operator().start();
    operator.wait_until_ready().await;
    env.open_and_approve("last").await;
    env.wait_for_reason("last", Reason::Delivered).await;
    env.wait_for_events("last", &["Delivered"]).await;
    let after = requests(&cluster.control_plane);
    let since = |key: &str| after.get(key).unwrap_or(&0) - before.get(key).unwrap_or(&0);
    assert_eq!(since("PUT approvaldecisions/status"), 2 * 4, "{after:#?}");
    assert_eq!(since("POST events/"), 4);
    for other in ["PATCH approvaldecisions/status", "PUT approvaldecisions/", "GET approvaldecisions/", "PATCH events/"]
    {
        assert_eq!(since(other), 0, "{other}");
    }
    assert_eq!(env.codepipeline.request_count(Operation::PutApprovalResult), 4);
    assert_eq!(env.codepipeline.request_count(Operation::GetPipelineState), 0);
    assert_eq!(env.codepipeline.request_count(Operation::ListActionExecutions), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_write_does_not_change_labels_annotations_or_finalizers() {
    let env = TestEnv::new().await;
    let approval = env.open_approval("web");
    let mut decision = approval_operator::api::v1alpha1::ApprovalDecision::new("web", spec("web", &approval));
    decision.metadata.labels = Some(BTreeMap::from([("team".to_owned(), "web".to_owned())]));
    decision.metadata.annotations = Some(BTreeMap::from([("note".to_owned(), "keep".to_owned())]));
    decision.metadata.finalizers = Some(vec!["example.com/keep".to_owned()]);
    env.decisions.create(&kube::api::PostParams::default(), &decision).await.unwrap();
    let operator = env.operator().start();
    let after = env.wait_for_reason("web", Reason::Delivered).await;
    assert_eq!(after.metadata.labels, decision.metadata.labels);
    assert_eq!(after.metadata.annotations, decision.metadata.annotations);
    assert_eq!(after.metadata.finalizers, decision.metadata.finalizers);
    let managers: Vec<_> =
        after.metadata.managed_fields.into_iter().flatten().filter_map(|field| field.subresource).collect();
    assert_eq!(managers, ["status"], "{}", operator.log());
}
