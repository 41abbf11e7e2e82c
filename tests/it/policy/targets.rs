//! The policy for decisions with a target: rights on `pipelines` grant nothing there, and a decision cannot be moved to a target without
//! rights on it.

use super::bypass::{Attempt, CREATE, STATUS, WITH_TARGET, approver, attempts, create_decisions_of_others, ready};
use super::{ALL_ON_DECISIONS, Developer, Rule, cluster_with_policy, decision, grant, user};
use approval_operator::api::v1alpha1::ApprovalTarget;
use kube::Api;
use kube::api::ListParams;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use test_control_plane::User;
use test_support::TestEnv;
use test_support::chart::{CommandResult, apply, kubectl};

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_may_approve_without_a_target_cannot_bypass_the_policy_for_one() {
    let env = TestEnv::in_cluster(cluster_with_policy()).await;
    let developer = Developer::as_namespace_admin(&env.namespace);
    let rules: [Rule; 2] = [
        // Every pipeline of the operator's own account, and one whose name resembles the target's.
        (&["pipelines"], &[], &["approve", "reject"]),
        (&["targetpipelines"], &["staging", "prod/we", "pro"], &["approve", "reject"]),
    ];
    let own = grant(&env.namespace, "own-account", &rules, &[user("developer")]);
    apply(cluster_with_policy(), &[approver(&env), own, readers_of_targets(&env.namespace), vec![target()]].concat());
    let approval = env.open_approval("web");
    create_decisions_of_others(&env, &WITH_TARGET, &approval).await;
    let before = versions(&env).await;

    let mut attempts = attempts(&env, &developer, &WITH_TARGET, &approval).await;
    attempts.extend(target_writes(&developer));
    WITH_TARGET.assert_refused(&attempts);
    let mut expected = before;
    expected.remove("spare").expect("the attempt to replace it deletes it");
    assert_eq!(versions(&env).await, expected, "an attempt changed an object");
}

/// The version of each decision in the namespace, and the generation of the target.
async fn versions(env: &TestEnv) -> BTreeMap<String, String> {
    let targets: Api<ApprovalTarget> = Api::all(env.client.clone());
    let target = targets.get("prod").await.unwrap().metadata;
    // Operators of other tests may write its status.
    let target = ("prod".to_owned(), target.generation.unwrap().to_string());
    let decisions = env.decisions.list(&ListParams::default()).await.unwrap().items;
    let decisions = decisions.into_iter().map(|decision| decision.metadata);
    decisions.map(|it| (it.name.unwrap(), it.resource_version.unwrap())).chain([target]).collect()
}

/// In an account that no operator of these tests can reach.
fn target() -> Value {
    let access = json!([{ "namespaces": { "names": ["other"] }, "pipelines": ["web"] }]);
    json!({
        "apiVersion": "codepipeline.approvals.dev/v1alpha1", "kind": "ApprovalTarget", "metadata": { "name": "prod" },
        "spec": { "accountId": "111122223333", "region": "eu-west-1", "access": access },
    })
}

/// Permission for the developer to read targets, because kubectl reads before it writes.
fn readers_of_targets(name: &str) -> Vec<Value> {
    let rule: Rule = (&["approvaltargets", "approvaltargets/status"], &[], &["get", "list", "watch"]);
    let mut objects = grant("unused", name, &[rule], &[user("developer")]);
    for object in &mut objects {
        object["metadata"].as_object_mut().unwrap().remove("namespace");
    }
    objects[0]["kind"] = json!("ClusterRole");
    objects[1]["kind"] = json!("ClusterRoleBinding");
    objects[1]["roleRef"]["kind"] = json!("ClusterRole");
    objects
}

/// A target says who may use it, so it must not be written by those who use it.
fn target_writes(developer: &Developer<'_>) -> Vec<Attempt> {
    const MAY_NOT_PATCH: &str = r#"cannot patch resource "approvaltargets""#;
    let mut wider = target();
    wider["spec"]["access"][0]["namespaces"]["names"] = json!([developer.namespace]);
    let mut another = wider.clone();
    another["metadata"]["name"] = json!("another");
    let patch = format!("--patch={}", json!({ "spec": wider["spec"] }));
    let status = format!("--patch={}", json!({ "status": { "conditions": ready("True", "Verified") } }));
    let attempts: [(_, &[&str], _, _); 7] = [
        ("another target", &CREATE, &another, r#"cannot create resource "approvaltargets""#),
        ("wider access", &["patch", "apt", "prod", "--type=merge", &patch], &Value::Null, MAY_NOT_PATCH),
        (
            "wider access, with server-side apply",
            &["apply", "--server-side", "--force-conflicts", "--filename=-"],
            &wider,
            MAY_NOT_PATCH,
        ),
        ("a target label", &["label", "apt", "prod", "team=web"], &Value::Null, MAY_NOT_PATCH),
        (
            "a target that looks verified",
            &["patch", "apt", "prod", STATUS, "--type=merge", &status],
            &Value::Null,
            r#"cannot patch resource "approvaltargets/status""#,
        ),
        ("no target", &["delete", "apt", "prod"], &Value::Null, r#"cannot delete resource "approvaltargets""#),
        ("no targets", &["delete", "apt", "--all"], &Value::Null, r#"cannot delete resource "approvaltargets""#),
    ];
    attempts.map(|(what, arguments, input, refusal)| (what, developer.kubectl(arguments, input), refusal)).into()
}

/// New rights take effect after a moment.
fn wait_until_admitted(attempt: impl Fn() -> CommandResult) {
    let started_at = Instant::now();
    while let CommandResult { succeeded: false, output } = attempt() {
        assert!(started_at.elapsed() < Duration::from_secs(30), "{output}");
    }
}

fn as_user(namespace: &str, name: &str, arguments: &[&str], input: &Value) -> CommandResult {
    let (namespace, name) = (format!("--namespace={namespace}"), format!("--as={name}"));
    kubectl(cluster_with_policy(), User::Admin, &[&[namespace.as_str(), name.as_str()], arguments].concat(), input)
}

fn with_target(namespace: &str, name: &str, target_ref: &Value) -> Value {
    let mut manifest = decision(namespace, name);
    if !target_ref.is_null() {
        manifest["spec"]["targetRef"] = target_ref.clone();
    }
    manifest
}

#[test]
fn a_decision_is_moved_to_a_target_or_away_only_with_rights_on_where_it_goes() {
    let namespace = "moves";
    kubectl(cluster_with_policy(), User::Admin, &["create", "namespace", namespace], &Value::Null).expect_success();
    // Ann may approve without a target, and Stan in the target staging.
    let mut objects = grant(namespace, "all-on-decisions", &[ALL_ON_DECISIONS], &[user("ann"), user("stan")]);
    objects.extend(grant(namespace, "ann", &[(&["pipelines"], &[], &["approve", "reject"])], &[user("ann")]));
    objects.extend(grant(
        namespace,
        "stan",
        &[(&["targetpipelines"], &["staging/web"], &["approve"])],
        &[user("stan")],
    ));
    apply(cluster_with_policy(), &objects);
    let dry_run = ["create", "--dry-run=server", "--filename=-"];
    let probe = |target_ref| with_target(namespace, "probe", &target_ref);
    wait_until_admitted(|| as_user(namespace, "ann", &dry_run, &probe(Value::Null)));
    wait_until_admitted(|| as_user(namespace, "stan", &dry_run, &probe(json!({ "name": "staging" }))));
    let (none, staging, prod) = (Value::Null, json!({ "name": "staging" }), json!({ "name": "prod" }));
    let guarded = json!({ "name": "staging", "accountId": "111122223333", "region": "eu-west-1" });
    let without_target = "may not approve web/Prod/Approve in the namespace";
    let of_staging = "may not approve web/Prod/Approve of the target staging in";
    let of_prod = "may not approve web/Prod/Approve of the target prod in";
    let rows = [
        // What, the reference before and after, and what ann and stan get.
        ("changed", &staging, &prod, Some(of_prod), Some(of_prod)),
        ("changed to one's own", &prod, &staging, Some(of_staging), None),
        ("added", &none, &staging, Some(of_staging), None),
        ("another added", &none, &prod, Some(of_prod), Some(of_prod)),
        ("removed", &staging, &none, None, Some(without_target)),
        ("another removed", &prod, &none, None, Some(without_target)),
        ("guards added", &staging, &guarded, Some(of_staging), None),
        ("guards removed", &guarded, &staging, Some(of_staging), None),
    ];
    for (what, before, after, for_ann, for_stan) in rows {
        for (name, refusal) in [("ann", for_ann), ("stan", for_stan)] {
            let before = with_target(namespace, "web", before);
            let after_manifest = with_target(namespace, "web", after);
            let mut merge = json!({ "spec": { "targetRef": after } });
            // A merge patch keeps what it does not name.
            if let (Some(fields), Some(old)) =
                (merge["spec"]["targetRef"].as_object_mut(), before["spec"]["targetRef"].as_object())
            {
                for field in old.keys() {
                    fields.entry(field.as_str()).or_insert(Value::Null);
                }
            }
            let merge = merge.to_string();
            let operation = if after.is_null() { "remove" } else { "add" };
            let json_patch = json!([{ "op": operation, "path": "/spec/targetRef", "value": after }]).to_string();
            let edits: [(&[&str], &Value); 4] = [
                (&["patch", "apd", "web", "--type=merge", "--patch", &merge], &Value::Null),
                (&["patch", "apd", "web", "--type=json", "--patch", &json_patch], &Value::Null),
                (&["replace", "--filename=-"], &after_manifest),
                (&["apply", "--filename=-"], &after_manifest),
            ];
            for (arguments, input) in edits {
                let reset = ["apply", "--namespace", namespace, "--filename=-"];
                kubectl(cluster_with_policy(), User::Admin, &reset, &before).expect_success();
                let CommandResult { succeeded, output } = as_user(namespace, name, arguments, input);
                let is_expected = refusal.map_or(succeeded, |refusal| !succeeded && output.contains(refusal));
                assert!(is_expected, "{what} by {name} with {arguments:?}: {output}");
            }
        }
    }
}

#[test]
fn the_right_for_a_target_a_pipeline_a_stage_or_an_action_of_it_admits_nothing_else() {
    let namespace = "target-names";
    kubectl(cluster_with_policy(), User::Admin, &["create", "namespace", namespace], &Value::Null).expect_success();
    let (prod, staging) = (json!({ "name": "prod" }), json!({ "name": "staging" }));
    let admitted = [
        ("by-target", "targetpipelines", "prod"),
        ("by-pipeline", "targetpipelines", "prod/web"),
        ("by-stage", "targetpipelines", "prod/web/Prod"),
        ("by-action", "targetpipelines", "prod/web/Prod/Approve"),
    ];
    // The same names as pipelines, and similar ones.
    let similar = [
        "pro",
        "PROD",
        "prod/",
        "prod/we",
        "prod/web/",
        "prod/web/prod",
        "prod/web/Prod/",
        "prod/web/Prod/Approve/",
        "*",
        "prod*",
        "prod/*",
        "web",
        "web/Prod",
        "web/Prod/Approve",
        "staging/web",
        "/prod/web",
        "//web",
        "prod//web",
    ];
    let all = ["prod", "prod/web", "prod/web/Prod", "prod/web/Prod/Approve", "web", "web/Prod", "web/Prod/Approve"];
    let mut objects = Vec::new();
    for (name, resource, resource_name) in admitted {
        objects.extend(grant(namespace, name, &[(&[resource], &[resource_name], &["approve"])], &[user(name)]));
    }
    let rules: [Rule; 5] = [
        (&["targetpipelines"], &similar, &["*"]),
        (&["targetpipelines"], &["prod"], &["get", "update", "reject", "record", "Approve"]),
        (&["pipelines"], &all, &["*"]),
        (&["pipelines"], &[], &["approve", "reject", "record"]),
        (&["approvaltargets", "targetpipeline", "pipelines/prod", "targetpipelines/web", "targets"], &[], &["approve"]),
    ];
    objects.extend(grant(namespace, "similar", &rules, &[user("similar")]));
    let users = ["by-target", "by-pipeline", "by-stage", "by-action", "similar"].map(user);
    objects.extend(grant(namespace, "all-on-decisions", &[ALL_ON_DECISIONS], &users));
    // The right names in another namespace.
    objects.extend(grant("default", "target-names", &[(&["targetpipelines"], &all, &["approve"])], &[user("similar")]));
    apply(cluster_with_policy(), &objects);

    let create = ["create", "--dry-run=server", "--filename=-"];
    let tries =
        |name: &str, target_ref: &Value| as_user(namespace, name, &create, &with_target(namespace, "web", target_ref));
    for (name, ..) in admitted {
        wait_until_admitted(|| tries(name, &prod));
        for (target_ref, refusal) in
            [(&staging, "of the target staging in the namespace"), (&Value::Null, "/Approve in the namespace")]
        {
            let CommandResult { succeeded, output } = tries(name, target_ref);
            assert!(!succeeded && output.contains(refusal), "{name}: {output}");
        }
    }
    wait_until_admitted(|| tries("similar", &Value::Null));
    let CommandResult { succeeded, output } = tries("similar", &prod);
    let missing = "similar may not approve web/Prod/Approve of the target prod in the namespace target-names: this requires the verb \
                   approve on targetpipelines.codepipeline.approvals.dev with the name prod, prod/web, prod/web/Prod or \
                   prod/web/Prod/Approve.";
    assert!(!succeeded && output.contains(missing), "{output}");

    // The rule in the message is sufficient.
    let rule: Value = serde_saphyr::from_str(output.split_once("with the rule ").unwrap().1.trim()).unwrap();
    let mut roles = grant(namespace, "rule-in-message", &[], &[user("similar")]);
    roles[0]["rules"] = json!([rule]);
    apply(cluster_with_policy(), &roles);
    wait_until_admitted(|| tries("similar", &prod));
}
