//! Who may do what with targets: the operator reads them and writes their status, and only cluster administrators write them.

use super::users::{helm, run};
use crate::policy::cluster_with_policy;
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};
use test_control_plane::User;
use test_support::TestEnv;
use test_support::chart::{CommandResult, apply, kubectl};

/// A target in an account that no operator of these tests can reach.
fn target(name: &str) -> Value {
    let access = json!([{ "namespaces": { "names": ["other"] }, "pipelines": ["web"] }]);
    json!({
        "apiVersion": "codepipeline.approvals.dev/v1alpha1", "kind": "ApprovalTarget", "metadata": { "name": name },
        "spec": { "accountId": "111122223333", "region": "eu-west-1", "access": access },
    })
}

/// Whether the API server's authorizer allows this in the whole cluster.
async fn is_allowed(env: &TestEnv, user: &str, verb: &str, group: &str, resource: &str) -> bool {
    is_allowed_in(env, "", user, verb, group, resource).await
}

/// Whether the API server's authorizer allows this in a namespace.
async fn is_allowed_in(env: &TestEnv, namespace: &str, user: &str, verb: &str, group: &str, resource: &str) -> bool {
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    let attributes = json!({
        "namespace": namespace, "verb": verb, "group": group, "resource": resource, "subresource": subresource,
    });
    let review = json!({ "metadata": {}, "spec": { "user": user, "resourceAttributes": attributes } });
    let review = serde_json::from_value(review).unwrap();
    let reviews: Api<SubjectAccessReview> = Api::all(env.client.clone());
    reviews.create(&PostParams::default(), &review).await.unwrap().status.unwrap().allowed
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_reads_targets_and_namespaces_and_writes_only_the_status_of_targets() {
    const API: &str = "codepipeline.approvals.dev";
    let env = TestEnv::in_cluster(cluster_with_policy()).await;
    let namespace = env.namespace.as_str();
    let release = format!("gate-{namespace}");
    let account = format!("system:serviceaccount:{namespace}:{release}-approval-operator");
    let watched = format!("watchNamespaces={{{namespace}}}");
    let (read, write) = (["get", "list", "watch"], ["create", "update", "patch", "delete", "deletecollection"]);
    let all = || read.into_iter().chain(write);
    for (number, (values, with_targets)) in [
        (vec![watched.as_str()], true),
        (vec![watched.as_str(), "approvalTargets.enabled=false"], false),
        (vec![], true),
    ]
    .into_iter()
    .enumerate()
    {
        let mut arguments = vec![
            if number == 0 { "install" } else { "upgrade" },
            &release,
            "charts/approval-operator",
            "--namespace",
            namespace,
        ];
        // The cluster has the policy already.
        for value in values.iter().chain(&["admissionPolicy.enabled=false"]) {
            arguments.extend(["--set", value]);
        }
        helm(&arguments);
        let expect_in = async |namespace: &str, verb: &str, group: &str, resource: &str, expected: bool| {
            // New rights take effect after a moment.
            for _ in 0..100 {
                if is_allowed_in(&env, namespace, &account, verb, group, resource).await == expected {
                    return;
                }
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
            panic!("{verb} {resource} in {namespace:?} with {values:?} should be {expected}");
        };
        let expect = async |verb: &str, group: &str, resource: &str, expected: bool| {
            expect_in("", verb, group, resource, expected).await;
        };
        for verb in all() {
            let watches = with_targets && ["list", "watch"].contains(&verb);
            expect(verb, API, "approvaltargets", watches).await;
            expect(verb, API, "approvaltargets/status", with_targets && verb == "patch").await;
            expect(verb, "", "namespaces", watches).await;
            expect(verb, "", "secrets", false).await;
            expect(verb, API, "approvaldecisions", values.is_empty() && read.contains(&verb)).await;
        }
        // Events about targets are in the namespace default.
        let is_cluster_wide = values.is_empty();
        for verb in all() {
            let creates = verb == "create";
            expect_in("default", verb, "events.k8s.io", "events", creates && with_targets).await;
            expect_in("kube-system", verb, "events.k8s.io", "events", creates && is_cluster_wide).await;
        }
        for resource in ["events", "secrets", "configmaps"] {
            expect_in("default", "create", "", resource, false).await;
        }
        for verb in ["approve", "reject"] {
            expect(verb, API, "targetpipelines", false).await;
        }
    }
    helm(&["uninstall", &release, "--namespace", namespace]);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_cluster_administrators_write_targets_and_viewers_read_them() {
    let env = TestEnv::in_cluster(cluster_with_policy()).await;
    let namespace = env.namespace.as_str();
    let release = format!("gate-{namespace}");
    helm(&[
        "install",
        &release,
        "charts/approval-operator",
        "--namespace",
        namespace,
        "--set=admissionPolicy.enabled=false",
    ]);
    apply(cluster_with_policy(), &[target(namespace)]);
    let role = |name: &str| format!("{release}-approval-operator-{name}");
    let bind = |kind: &str, user: &str, role: &str| {
        let name = format!("{namespace}-{user}-{}", role.replace(':', "-"));
        let (role, user) = (format!("--clusterrole={role}"), format!("--user={user}"));
        run(&["--namespace", namespace, "create", kind, &name, &role, &user]);
    };
    // The first three are what admin, edit and view consist of: the controller that aggregates the chart's roles to them does not run
    // here.
    let aggregated = ["admin", "edit", "view"].map(|name| format!("system:aggregate-to-{name}"));
    for role in aggregated.iter().chain(&[role("author"), role("viewer")]) {
        bind("clusterrolebinding", "everything", role);
    }
    bind("clusterrolebinding", "viewer", &role("target-viewer"));
    bind("rolebinding", "only-here", &role("target-viewer"));

    let as_user = |user: &str, arguments: &[&str], input: &Value| {
        let user = format!("--as={user}");
        kubectl(cluster_with_policy(), User::Admin, &[arguments, &[&user]].concat(), input)
    };
    // A RoleBinding grants nothing that is cluster-scoped.
    let read = ["get", "apt", namespace];
    let started_at = std::time::Instant::now();
    while !as_user("viewer", &read, &Value::Null).succeeded {
        assert!(started_at.elapsed().as_secs() < 30, "the viewer cannot read targets");
    }
    for user in ["only-here", "everything"] {
        let CommandResult { succeeded, output } = as_user(user, &read, &Value::Null);
        assert!(!succeeded && output.contains(r#"cannot get resource "approvaltargets""#), "{user}: {output}");
    }
    for user in ["viewer", "everything"] {
        for (verb, resource) in [
            ("create", "approvaltargets"),
            ("update", "approvaltargets"),
            ("patch", "approvaltargets"),
            ("delete", "approvaltargets"),
            ("deletecollection", "approvaltargets"),
            ("update", "approvaltargets/status"),
            ("patch", "approvaltargets/status"),
        ] {
            assert!(
                !is_allowed(&env, user, verb, "codepipeline.approvals.dev", resource).await,
                "{user} may {verb} {resource}"
            );
        }
    }
    for (arguments, verb) in [(["create", "--filename=-"], "create"), (["apply", "--filename=-"], "create")] {
        let CommandResult { succeeded, output } = as_user("viewer", &arguments, &target("another"));
        let refusal = format!(r#"cannot {verb} resource "approvaltargets""#);
        assert!(!succeeded && output.contains(&refusal), "{output}");
    }
    let patch = r#"--patch={"spec":{"access":[{"namespaces":{"names":["mine"]},"pipelines":["*"]}]}}"#;
    let CommandResult { succeeded, output } =
        as_user("viewer", &["patch", "apt", namespace, "--type=merge", patch], &Value::Null);
    assert!(!succeeded && output.contains(r#"cannot patch resource "approvaltargets""#), "{output}");
    run(&["delete", "apt", namespace]);
    helm(&["uninstall", &release, "--namespace", namespace]);
}

#[test]
fn no_role_that_kubernetes_aggregates_grants_more_on_targets_than_reading() {
    let objects = test_support::chart::render_chart("approvals", &["rbac", "users", "leaseviewer"], &[]);
    let labels = |object: &Value| object["metadata"]["labels"].as_object().cloned().unwrap_or_default();
    let is_aggregated = |object: &&Value| labels(object).keys().any(|name| name.contains("aggregate-to-"));
    let mut readers = 0;
    for object in objects.iter().filter(is_aggregated) {
        for rule in object["rules"].as_array().unwrap() {
            let is_for_targets = rule["resources"]
                .as_array()
                .unwrap()
                .iter()
                .any(|it| it.as_str().is_some_and(|name| name == "*" || name.starts_with("approvaltargets")));
            assert!(!is_for_targets || rule["verbs"] == json!(["get", "list", "watch"]), "{rule}");
            readers += u32::from(is_for_targets);
        }
    }
    assert_eq!(readers, 1);
}
