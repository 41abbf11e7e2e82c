//! The chart's admission policy: it requires the verb `approve` or `reject` on the pipeline, its stage or its action, and only
//! lets the operator write a status.

mod bypass;
mod targets;

use serde_json::{Value, json};
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use test_control_plane::User;
use test_support::chart::{CommandResult, apply, create_service_account, kubectl, render_chart};
use test_support::{Cluster, TestEnv};

/// A control plane on which the policy is in effect.
pub fn cluster_with_policy() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        let cluster = Cluster::start();
        apply(&cluster, &render_chart("approvals", &["validatingadmissionpolicy"], &[]));
        // A user who may write decisions but not approve. A new policy takes effect after a moment.
        apply(
            &cluster,
            &[grant("default", "probe", &[(&["approvaldecisions"], &[], &["create"])], &[user("probe")])].concat(),
        );
        let started_at = Instant::now();
        let arguments = ["create", "--dry-run=server", "--filename=-", "--as=probe"];
        while kubectl(&cluster, User::Admin, &arguments, &decision("default", "probe")).succeeded {
            assert!(started_at.elapsed() < Duration::from_secs(30), "the policy is not in effect");
        }
        cluster
    })
}

/// A rule for the operator's API group: resources, resource names and verbs.
type Rule<'a> = (&'a [&'a str], &'a [&'a str], &'a [&'a str]);

/// A Role with these rules, and a RoleBinding.
fn grant(namespace: &str, name: &str, rules: &[Rule], subjects: &[Value]) -> Vec<Value> {
    let api = "rbac.authorization.k8s.io";
    let rules: Vec<_> = rules
        .iter()
        .map(|(resources, names, verbs)| {
            json!({ "apiGroups": ["codepipeline.approvals.dev"], "resources": resources, "resourceNames": names, "verbs": verbs })
        })
        .collect();
    let metadata = json!({ "name": name, "namespace": namespace });
    vec![
        json!({ "apiVersion": format!("{api}/v1"), "kind": "Role", "metadata": metadata, "rules": rules }),
        json!({ "apiVersion": format!("{api}/v1"), "kind": "RoleBinding", "metadata": metadata, "subjects": subjects,
            "roleRef": { "apiGroup": api, "kind": "Role", "name": name } }),
    ]
}

fn user(name: &str) -> Value {
    json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name })
}

fn group(name: &str) -> Value {
    json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": name })
}

/// A decision to approve web/Prod/Approve, with a token that belongs to no request.
pub fn decision(namespace: &str, name: &str) -> Value {
    json!({
        "apiVersion": "codepipeline.approvals.dev/v1alpha1",
        "kind": "ApprovalDecision",
        "metadata": { "name": name, "namespace": namespace },
        "spec": {
            "pipelineName": "web",
            "stageName": "Prod",
            "actionName": "Approve",
            "token": "11111111-2222-4333-8444-555555555555",
            "result": { "status": "Approved", "summary": "ok" },
        },
    })
}

/// Every permission on decisions, but none on pipelines.
const ALL_ON_DECISIONS: Rule = (
    &["approvaldecisions", "approvaldecisions/status"],
    &[],
    &["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"],
);

/// A user who runs kubectl in a namespace.
struct Developer<'a> {
    namespace: &'a str,
}

impl<'a> Developer<'a> {
    /// With the permissions of a namespace administrator, and every permission on decisions.
    fn as_namespace_admin(namespace: &'a str) -> Self {
        apply(cluster_with_policy(), &grant(namespace, "all-on-decisions", &[ALL_ON_DECISIONS], &[user("developer")]));
        // The ClusterRole admin aggregates these. The controller that does so does not run here.
        for name in ["admin", "edit", "view"] {
            let role = format!("--clusterrole=system:aggregate-to-{name}");
            let create = ["create", "rolebinding", name, &role, "--user=developer", "--namespace", namespace];
            kubectl(cluster_with_policy(), User::Admin, &create, &Value::Null).expect_success();
        }
        Self { namespace }
    }

    fn kubectl(&self, arguments: &[&str], input: &Value) -> CommandResult {
        let arguments = [&["--namespace", self.namespace], arguments].concat();
        kubectl(cluster_with_policy(), User::Developer, &arguments, input)
    }
}

#[test]
fn names_similar_to_that_of_the_pipeline_grant_nothing() {
    let namespace = "similar";
    kubectl(cluster_with_policy(), User::Admin, &["create", "namespace", namespace], &Value::Null).expect_success();
    let developer = Developer { namespace };
    let similar = [
        "we",
        "WEB",
        "web/",
        "web/Pro",
        "web/prod",
        "web/Prod/",
        "web/Prod/Approv",
        "web/Prod/Approve/",
        "*",
        "web*",
        "web/*",
        "Prod",
        "Approve",
    ];
    let rules: [Rule; 4] = [
        ALL_ON_DECISIONS,
        (&["pipelines"], &similar, &["*"]),
        // Other verbs, among them that for the other result, and other resources.
        (&["pipelines"], &["web"], &["get", "create", "update", "patch", "delete", "Approve", "reject", "record"]),
        (&["pipelines/web", "pipelines/approve", "approvaldecisions", "pipeline"], &[], &["approve"]),
    ];
    apply(cluster_with_policy(), &grant(namespace, "similar", &rules, &[user("developer")]));
    // The right name in another namespace.
    let other_namespace: Rule = (&["pipelines"], &["web"], &["approve"]);
    apply(cluster_with_policy(), &grant("default", "other-namespace", &[other_namespace], &[user("developer")]));
    let create = ["create", "--dry-run=server", "--filename=-"];
    let result = developer.kubectl(&create, &decision(namespace, "similar"));
    let output = &result.output;
    assert!(!result.succeeded && output.contains("developer may not approve web/Prod/Approve"), "{output}");

    // The rule in the message is sufficient.
    let rule: Value = serde_saphyr::from_str(output.split_once("with the rule ").unwrap().1.trim()).unwrap();
    let mut roles = grant(namespace, "rule-in-message", &[], &[user("developer")]);
    roles[0]["rules"] = json!([rule]);
    apply(cluster_with_policy(), &roles);
    let started_at = Instant::now();
    while !developer.kubectl(&create, &decision(namespace, "similar")).succeeded {
        assert!(started_at.elapsed() < Duration::from_secs(30), "not admitted with {rule}");
    }
}

#[test]
fn editors_of_a_namespace_can_use_the_permissions_of_its_service_accounts() {
    // Kubernetes lets editors act as the ServiceAccounts of their namespace. So docs/security.md says where such accounts belong.
    let namespace = "editors";
    kubectl(cluster_with_policy(), User::Admin, &["create", "namespace", namespace], &Value::Null).expect_success();
    let developer = Developer::as_namespace_admin(namespace);
    kubectl(
        cluster_with_policy(),
        User::Admin,
        &["create", "serviceaccount", "team", "--namespace", namespace],
        &Value::Null,
    )
    .expect_success();
    let team = json!({ "kind": "ServiceAccount", "name": "team", "namespace": namespace });
    let rules: [Rule; 2] = [ALL_ON_DECISIONS, (&["pipelines"], &["web"], &["approve"])];
    apply(cluster_with_policy(), &grant(namespace, "team", &rules, &[team]));
    let refused = developer.kubectl(&["create", "--filename=-"], &decision(namespace, "as-developer"));
    assert!(!refused.succeeded && refused.output.contains("developer may not approve"), "{}", refused.output);
    let token = developer.kubectl(&["create", "token", "team"], &Value::Null).expect_success();
    let as_team = format!("--token={}", token.trim());
    developer.kubectl(&["create", "--filename=-", &as_team], &decision(namespace, "as-team")).expect_success();
}

#[test]
fn the_example_account_may_apply_decisions_for_its_own_pipeline_only() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/gitops");
    let read = |file: &str| std::fs::read_to_string(examples.join(file)).unwrap();
    let objects: Vec<Value> = serde_saphyr::from_multiple(&read("team-account.yaml")).unwrap();
    let namespace = "release-decisions";
    kubectl(cluster_with_policy(), User::Admin, &["create", "namespace", namespace], &Value::Null).expect_success();
    apply(cluster_with_policy(), &objects);
    let account = format!("--as=system:serviceaccount:{namespace}:checkout");
    let arguments = ["apply", "--server-side", "--namespace", namespace, "--filename=-", &account];
    let mut manifest: Value = serde_saphyr::from_str(&read("decisions/checkout/production.yaml")).unwrap();
    kubectl(cluster_with_policy(), User::Admin, &arguments, &manifest).expect_success();
    manifest["spec"]["pipelineName"] = json!("payments");
    let result = kubectl(cluster_with_policy(), User::Admin, &arguments, &manifest);
    let output = result.output;
    assert!(!result.succeeded && output.contains("release-decisions:checkout may not approve payments/"), "{output}");
}

#[tokio::test(flavor = "multi_thread")]
async fn users_groups_and_service_accounts_may_do_what_rbac_grants_with_any_client() {
    let env = TestEnv::in_cluster(cluster_with_policy()).await;
    let namespace = env.namespace.as_str();
    let folder = tempfile::tempdir().unwrap();
    let account = |name: &str| json!({ "kind": "ServiceAccount", "name": name, "namespace": namespace });
    // GitOps controllers impersonate a team's ServiceAccount: Flux with serviceAccountName, Argo CD with sync impersonation.
    let reconciler = create_service_account(cluster_with_policy(), namespace, "reconciler", folder.path());
    let team = create_service_account(cluster_with_policy(), namespace, "team", folder.path());
    let subjects = [user("ann"), user("bob"), account("team"), account("other-team")];
    let mut objects = grant(namespace, "all-on-decisions", &[ALL_ON_DECISIONS], &subjects);
    let grant_on = |name: &str, resource_name: &str, verbs: &[&str], subject: Value| {
        grant(namespace, name, &[(&["pipelines"], &[resource_name], verbs)], &[subject])
    };
    objects.extend(grant_on("by-action", "web/Prod/Approve", &["approve"], user("ann")));
    objects.extend(grant_on("by-stage", "web/Prod", &["approve"], group("approvers")));
    objects.extend(grant_on("by-pipeline", "web", &["approve", "reject"], account("team")));
    let mut impersonation = grant(namespace, "impersonation", &[], &[account("reconciler")]);
    impersonation[0]["rules"] =
        json!([{ "apiGroups": [""], "resources": ["serviceaccounts"], "verbs": ["impersonate"] }]);
    objects.extend(impersonation);
    apply(cluster_with_policy(), &objects);

    let approval = decision(namespace, "web");
    let mut rejection = approval.clone();
    rejection["spec"]["result"]["status"] = json!("Rejected");
    let as_account = |name: &str| format!("--as=system:serviceaccount:{namespace}:{name}");
    let (as_team, as_other) = (as_account("team"), as_account("other-team"));
    let with_kubeconfig = |path: &Path| format!("--kubeconfig={}", path.display());
    let (team, reconciler) = (with_kubeconfig(&team), with_kubeconfig(&reconciler));
    let rows: [(&[&str], &Value, Option<&str>); 11] = [
        (&["--as=ann"], &approval, None),
        (&["--as=ann"], &rejection, Some("ann may not reject web/Prod/Approve")),
        (&["--as=bob"], &approval, Some("bob may not approve web/Prod/Approve")),
        (&["--as=bob", "--as-group=approvers"], &approval, None),
        (&["--as=bob", "--as-group=users"], &approval, Some("bob may not approve web/Prod/Approve")),
        (&[&team], &approval, None),
        (&[&team], &rejection, None),
        (&[&reconciler, &as_team], &approval, None),
        (&[&reconciler, &as_team], &rejection, None),
        (&[&reconciler, &as_other], &approval, Some("other-team may not approve web/Prod/Approve")),
        (&[&reconciler], &approval, Some(r#"resource "approvaldecisions""#)),
    ];
    let commands: [&[&str]; 4] = [
        &["create", "--filename=-"],
        &["apply", "--filename=-"],
        &["apply", "--server-side", "--field-manager=gitops", "--filename=-"],
        &["create", "--dry-run=server", "--filename=-"],
    ];
    for (user, manifest, refusal) in rows {
        for command in commands {
            let CommandResult { succeeded, output } =
                kubectl(cluster_with_policy(), User::Admin, &[user, command].concat(), manifest);
            let is_expected = refusal.map_or(succeeded, |refusal| !succeeded && output.contains(refusal));
            assert!(is_expected, "{user:?} {command:?}: {output}");
            let delete = ["delete", "apd", "web", "--ignore-not-found", "--namespace", namespace];
            kubectl(cluster_with_policy(), User::Admin, &delete, &Value::Null).expect_success();
        }
    }
}
