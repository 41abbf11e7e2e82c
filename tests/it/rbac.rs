//! The permissions that the chart gives the operator are sufficient, and each of them is needed: without it, the log names it, once a
//! minute.

mod targets;
mod users;

use crate::policy::cluster_with_policy;
use approval_operator::api::v1alpha1::Reason;
use futures::future::join_all;
use local_codepipeline::faults::Fault;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use test_support::chart::{apply, create_service_account, render_chart};
use test_support::{Operator, TestEnv, for_revision, pipeline_with_build, reason};

/// One verb on one resource.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Permission {
    group: String,
    resource: String,
    verb: String,
    /// The only names for which it holds, if it is limited.
    names: Value,
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|value| value.as_str().unwrap().to_owned()).collect()
}

/// The permissions in Roles, one by one.
fn permissions(roles: &[Value]) -> Vec<Permission> {
    let rules = roles.iter().filter_map(|role| role["rules"].as_array()).flatten();
    rules
        .flat_map(|rule| {
            let (groups, resources, verbs) =
                (strings(&rule["apiGroups"]), strings(&rule["resources"]), strings(&rule["verbs"]));
            assert_eq!((groups.len(), resources.len()), (1, 1), "{rule}");
            let permission = move |verb| Permission {
                group: groups[0].clone(),
                resource: resources[0].clone(),
                verb,
                names: rule["resourceNames"].clone(),
            };
            verbs.into_iter().map(permission)
        })
        .collect()
}

/// An operator that runs as a ServiceAccount with only these permissions, in this namespace.
fn operator_with(env: &TestEnv, permissions: &[Permission]) -> (Operator, TempDir) {
    let cluster = cluster_with_policy();
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = create_service_account(cluster, &env.namespace, "approval-operator", folder.path());
    let rules: Vec<_> = permissions
        .iter()
        .map(|Permission { group, resource, verb, names }| {
            json!({ "apiGroups": [group], "resources": [resource], "verbs": [verb], "resourceNames": names })
        })
        .collect();
    let metadata = json!({ "name": "approval-operator", "namespace": env.namespace });
    let api = "rbac.authorization.k8s.io";
    let subject = json!({ "kind": "ServiceAccount", "name": "approval-operator", "namespace": env.namespace });
    apply(
        cluster,
        &[
            json!({ "apiVersion": format!("{api}/v1"), "kind": "Role", "metadata": metadata, "rules": rules }),
            json!({ "apiVersion": format!("{api}/v1"), "kind": "RoleBinding", "metadata": metadata, "subjects": [subject],
                "roleRef": { "apiGroup": api, "kind": "Role", "name": "approval-operator" } }),
        ],
    );
    let operator = env.operator_via(&kubeconfig).arg("--aws-timeout=5s").replica("pod", &env.namespace);
    (operator.env("APPROVAL_OPERATOR_APPROVAL_TARGETS", "false").start(), folder)
}

/// Makes the operator use all of its permissions, but those on targets.
async fn use_all_permissions(env: &TestEnv) {
    // Someone sets a label while the submission is in flight, so the operator gets a conflict when it writes the outcome.
    env.codepipeline.inject(Fault::delayed().delay_after(Duration::from_secs(2)).pipeline("web"));
    env.open_and_approve("web").await;
    env.wait_for_submissions("web", 1).await;
    env.patch("web", json!({ "metadata": { "labels": { "touched": "yes" } } })).await.unwrap();
    env.wait_for_reason("web", Reason::Delivered).await;
    env.put_pipeline(pipeline_with_build("later"));
    env.create("later", for_revision("later", "r1")).await;
    for suspend in [true, false, true] {
        env.patch("later", json!({ "spec": { "suspend": suspend } })).await.unwrap();
        let expected = if suspend { Reason::Suspended } else { Reason::Waiting };
        env.wait_for_reason("later", expected).await;
    }
}

/// Without targets, which need a ClusterRole also in chosen namespaces.
const WITHOUT_TARGETS: &str = "approvalTargets.enabled=false";

fn roles(namespace: &str) -> Vec<Value> {
    let namespaces = format!("watchNamespaces={{{namespace}}}");
    let mut roles = render_chart(namespace, &["rbac"], &[&namespaces, WITHOUT_TARGETS]);
    assert!(roles.iter().all(|object| object["kind"] == "Role" || object["kind"] == "RoleBinding"), "{roles:#?}");
    roles.retain(|object| object["kind"] == "Role");
    roles
}

#[tokio::test(flavor = "multi_thread")]
async fn the_permissions_of_the_chart_are_sufficient_in_chosen_namespaces_and_the_same_in_all() {
    let env = TestEnv::in_cluster(cluster_with_policy()).await;
    let in_namespace = permissions(&roles(&env.namespace));
    let (operator, _folder) = operator_with(&env, &in_namespace);
    use_all_permissions(&env).await;
    assert_eq!(env.accepted_count("web"), 1);
    env.wait_for_events("web", &["Delivered"]).await;
    let log = operator.log();
    assert!(!log.contains("forbidden") && !log.contains("not permitted") && !log.contains("not allowed"), "{log}");

    let mut in_all_namespaces = render_chart(&env.namespace, &["rbac"], &[WITHOUT_TARGETS]);
    in_all_namespaces.retain(|object| object["kind"] == "ClusterRole" || object["kind"] == "Role");
    assert_eq!(permissions(&in_all_namespaces), in_namespace);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_any_one_of_its_permissions_the_operator_fails_and_names_it() {
    let all = permissions(&roles("some"));
    assert!(all.len() >= 9, "{all:#?}");
    // A few at a time, because each has an operator of its own.
    for some in all.chunks(4) {
        join_all(some.iter().map(|permission| fails_without(permission, &all))).await;
    }
}

async fn fails_without(permission: &Permission, all: &[Permission]) {
    let env = TestEnv::in_cluster(cluster_with_policy()).await;
    let others: Vec<_> = all.iter().filter(|other| *other != permission).cloned().collect();
    let started = Instant::now();
    let (operator, _folder) = operator_with(&env, &others);
    let Permission { resource, verb, .. } = permission;
    let error = match resource.as_str() {
        "pipelines" => "may not write the status of decisions in the namespace".to_owned(),
        _ => format!("cannot {verb} resource {resource:?}"),
    };
    // Quotation marks are escaped where the message is a field of the log line.
    let is_logged = async || operator.log().replace('\\', "").contains(&error);
    if (resource.as_str(), verb.as_str()) == ("approvaldecisions", "watch") {
        // A decision of the initial list is delivered without a watch. This one comes after the list.
        operator.eventually(&error, is_logged).await;
        env.open_and_approve("web").await;
        let refused = async || operator.metric("approval_operator_watch_errors_total").await;
        let refused_before = refused().await;
        operator.eventually("two more watches are refused", async || refused().await >= refused_before + 2.0).await;
    } else {
        tokio::select! {
            () = operator.eventually(&error, is_logged) => {}
            () = async { use_all_permissions(&env).await; std::future::pending().await } => {}
        }
    }
    match (resource.as_str(), verb.as_str()) {
        // Only a line of `kubectl describe` is missing.
        ("events", _) => drop(env.wait_for_reason("web", Reason::Delivered).await),
        ("leases", "update") => operator.wait_for_log("this replica is no longer the leader").await,
        _ => {
            let web = env.decisions.get_opt("web").await.unwrap();
            assert_ne!(
                web.and_then(|web| reason(&web)),
                Some(Reason::Delivered),
                "{verb} {resource}: {}",
                operator.log()
            );
        }
    }
    let log = operator.log().replace('\\', "");
    let lines: Vec<_> = log.lines().filter(|line| line.contains(&error)).collect();
    let minutes = started.elapsed().as_secs() / 60;
    assert!(u64::try_from(lines.len()).unwrap() <= 1 + minutes, "in {minutes} minutes: {lines:#?}");
    assert!(lines.iter().all(|line| line.contains("WARN") && !line.contains("Some(")), "{lines:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_permission_is_logged_once_however_many_decisions_need_it() {
    let env = TestEnv::in_cluster(cluster_with_policy()).await;
    let mut permissions = permissions(&roles(&env.namespace));
    permissions.retain(|permission| permission.resource != "approvaldecisions/status");
    for name in ["one", "two", "three"] {
        env.open_and_approve(name).await;
    }
    let started = Instant::now();
    let (operator, _folder) = operator_with(&env, &permissions);
    operator.wait_for_log("cannot update resource").await;
    let failed = async || operator.metric("approval_operator_reconcile_errors_total").await >= 5.0;
    operator.eventually("decisions fail, and fail again", failed).await;
    let log = operator.log();
    let lines: Vec<_> = log.lines().filter(|line| line.contains("cannot update resource")).collect();
    let minutes = started.elapsed().as_secs() / 60;
    assert!((1..=1 + minutes).contains(&u64::try_from(lines.len()).unwrap()), "in {minutes} minutes: {log}");
    assert!(lines.iter().all(|line| line.contains("WARN") && !line.contains("Some(")), "{lines:#?}");
}
