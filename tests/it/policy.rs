//! Who may decide: the chart's admission policy asks RBAC for `approve` and `reject` on the pipeline, its stage or its action,
//! and lets nobody but the operator write a status.

mod tries;

use crate::support::chart::{Ran, apply, kubectl, rendered, service_account};
use crate::support::{Case, Cluster, install_crds};
use control_plane::User;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// A control plane with the policy in force.
pub fn policed() -> &'static Cluster {
    static POLICED: OnceLock<Cluster> = OnceLock::new();
    POLICED.get_or_init(|| {
        let cluster = Cluster::start_empty();
        install_crds(&cluster.control_plane);
        apply(&cluster, &rendered("approvals", &["validatingadmissionpolicy"], &[]));
        // Whoever may write decisions and not decide: the API server takes a moment to heed a new policy.
        apply(
            &cluster,
            &[grant("default", "probe", &[(&["approvaldecisions"], &[], &["create"])], &[user("probe")])].concat(),
        );
        let begun = Instant::now();
        let arguments = ["create", "--dry-run=server", "--filename=-", "--as=probe"];
        while kubectl(&cluster, User::Admin, &arguments, &decision("default", "probe")).is_done {
            assert!(begun.elapsed() < Duration::from_secs(30), "the policy is not in force");
        }
        cluster
    })
}

/// What a rule of the operator's group has: resources, names, verbs.
type Rule<'a> = (&'a [&'a str], &'a [&'a str], &'a [&'a str]);

/// A Role with these rules, and its binding.
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

/// An approval of web/Prod/Approve by a token of nothing.
fn decision(namespace: &str, name: &str) -> Value {
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

/// All that one can do to decisions as far as RBAC is asked.
const WRITES: Rule = (
    &["approvaldecisions", "approvaldecisions/status"],
    &[],
    &["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"],
);

/// Somebody who runs kubectl in a namespace.
struct Developer<'a> {
    namespace: &'a str,
}

impl<'a> Developer<'a> {
    /// With the rights of a namespace's administrator, and all on decisions.
    fn who_administers(namespace: &'a str) -> Self {
        apply(policed(), &grant(namespace, "writes", &[WRITES], &[user("developer")]));
        // What the ClusterRole admin is put together from, by a controller that does not run here.
        for name in ["admin", "edit", "view"] {
            let role = format!("--clusterrole=system:aggregate-to-{name}");
            let create = ["create", "rolebinding", name, &role, "--user=developer", "--namespace", namespace];
            kubectl(policed(), User::Admin, &create, &Value::Null).done();
        }
        Self { namespace }
    }

    fn runs(&self, arguments: &[&str], input: &Value) -> Ran {
        let arguments = [&["--namespace", self.namespace], arguments].concat();
        kubectl(policed(), User::Developer, &arguments, input)
    }
}

#[test]
fn names_that_are_nearly_the_right_one_grant_nothing() {
    let namespace = "nearly";
    kubectl(policed(), User::Admin, &["create", "namespace", namespace], &Value::Null).done();
    let developer = Developer { namespace };
    let near = [
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
        WRITES,
        (&["pipelines"], &near, &["*"]),
        // Other verbs, the other answer, and other resources.
        (&["pipelines"], &["web"], &["get", "create", "update", "patch", "delete", "Approve", "reject", "record"]),
        (&["pipelines/web", "pipelines/approve", "approvaldecisions", "pipeline"], &[], &["approve"]),
    ];
    apply(policed(), &grant(namespace, "near", &rules, &[user("developer")]));
    // The right one in another namespace.
    let elsewhere: Rule = (&["pipelines"], &["web"], &["approve"]);
    apply(policed(), &grant("default", "elsewhere", &[elsewhere], &[user("developer")]));
    let create = ["create", "--dry-run=server", "--filename=-"];
    let ran = developer.runs(&create, &decision(namespace, "near"));
    assert!(!ran.is_done && ran.text.contains("developer may not approve web/Prod/Approve"), "{}", ran.text);

    // The rule that the message quotes is enough.
    let rule: Value = serde_saphyr::from_str(ran.text.split_once("with the rule ").unwrap().1.trim()).unwrap();
    let mut roles = grant(namespace, "as-told", &[], &[user("developer")]);
    roles[0]["rules"] = json!([rule]);
    apply(policed(), &roles);
    let begun = Instant::now();
    while !developer.runs(&create, &decision(namespace, "near")).is_done {
        assert!(begun.elapsed() < Duration::from_secs(30), "not admitted with {rule}");
    }
}

#[test]
fn where_labels_say_which_account_answers_they_take_the_right_too() {
    let cluster = Cluster::start_empty();
    install_crds(&cluster.control_plane);
    let label = ["label", "apd", "web", "shard=prod", "--overwrite", "--as=joe"];
    let objects = grant("default", "writes", &[WRITES], &[user("joe")]);
    apply(&cluster, &[&objects[..], &[decision("default", "web")]].concat());
    kubectl(&cluster, User::Admin, &label, &Value::Null).done();
    apply(&cluster, &rendered("staging", &["validatingadmissionpolicy"], &["watchLabelSelector=shard=staging"]));
    let begun = Instant::now();
    let ran = loop {
        kubectl(&cluster, User::Admin, &["label", "apd", "web", "shard=staging", "--overwrite"], &Value::Null).done();
        let ran = kubectl(&cluster, User::Admin, &label, &Value::Null);
        if !ran.is_done || begun.elapsed() > Duration::from_secs(30) {
            break ran;
        }
    };
    assert!(!ran.is_done && ran.text.contains("joe may not approve web/Prod/Approve"), "{}", ran.text);
    let note = ["annotate", "apd", "web", "note=seen", "--as=joe"];
    kubectl(&cluster, User::Admin, &note, &Value::Null).done();
}

#[test]
fn an_account_that_may_approve_lends_its_right_to_the_editors_of_its_namespace() {
    // Why docs/security.md says where such accounts belong: Kubernetes lets editors be the accounts of their namespace.
    let namespace = "lending";
    kubectl(policed(), User::Admin, &["create", "namespace", namespace], &Value::Null).done();
    let developer = Developer::who_administers(namespace);
    kubectl(policed(), User::Admin, &["create", "serviceaccount", "team", "--namespace", namespace], &Value::Null)
        .done();
    let team = json!({ "kind": "ServiceAccount", "name": "team", "namespace": namespace });
    let rules: [Rule; 2] = [WRITES, (&["pipelines"], &["web"], &["approve"])];
    apply(policed(), &grant(namespace, "team", &rules, &[team]));
    let refused = developer.runs(&["create", "--filename=-"], &decision(namespace, "own"));
    assert!(!refused.is_done && refused.text.contains("developer may not approve"), "{}", refused.text);
    let token = developer.runs(&["create", "token", "team"], &Value::Null).done();
    let by_token = format!("--token={}", token.trim());
    developer.runs(&["create", "--filename=-", &by_token], &decision(namespace, "lent")).done();
}

#[test]
fn the_example_for_flux_applies_decisions_about_its_pipeline_and_no_other() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/gitops");
    let read = |file: &str| std::fs::read_to_string(examples.join(file)).unwrap();
    let mut objects: Vec<Value> = serde_saphyr::from_multiple(&read("flux-kustomization.yaml")).unwrap();
    objects.retain(|object| ["ServiceAccount", "Role", "RoleBinding"].map(Value::from).contains(&object["kind"]));
    assert_eq!(objects.len(), 3);
    let namespace = "release-decisions";
    kubectl(policed(), User::Admin, &["create", "namespace", namespace], &Value::Null).done();
    apply(policed(), &objects);
    let flux = format!("--as=system:serviceaccount:{namespace}:{namespace}");
    let arguments = ["apply", "--server-side", "--namespace", namespace, "--filename=-", &flux];
    let mut manifest: Value = serde_saphyr::from_str(&read("decisions/checkout/4f1a9c2e.yaml")).unwrap();
    kubectl(policed(), User::Admin, &arguments, &manifest).done();
    manifest["spec"]["pipelineName"] = json!("payments");
    let ran = kubectl(policed(), User::Admin, &arguments, &manifest);
    assert!(!ran.is_done && ran.text.contains("release-decisions may not approve payments/"), "{}", ran.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn people_groups_and_accounts_decide_what_they_may_by_any_client() {
    let case = Case::on(policed()).await;
    let namespace = case.namespace.as_str();
    let folder = tempfile::tempdir().unwrap();
    let account = |name: &str| json!({ "kind": "ServiceAccount", "name": name, "namespace": namespace });
    // What reconciles Git acts as a team's account: Flux by serviceAccountName, Argo CD by its sync impersonation.
    let reconciler = service_account(policed(), namespace, "reconciler", folder.path());
    let team = service_account(policed(), namespace, "team", folder.path());
    let everybody = [user("ann"), user("bob"), account("team"), account("other-team")];
    let mut objects = grant(namespace, "writes", &[WRITES], &everybody);
    let may = |name: &str, of: &str, verbs: &[&str], who: Value| {
        grant(namespace, name, &[(&["pipelines"], &[of], verbs)], &[who])
    };
    objects.extend(may("by-action", "web/Prod/Approve", &["approve"], user("ann")));
    objects.extend(may("by-stage", "web/Prod", &["approve"], group("approvers")));
    objects.extend(may("by-pipeline", "web", &["approve", "reject"], account("team")));
    let mut impersonation = grant(namespace, "impersonation", &[], &[account("reconciler")]);
    impersonation[0]["rules"] =
        json!([{ "apiGroups": [""], "resources": ["serviceaccounts"], "verbs": ["impersonate"] }]);
    objects.extend(impersonation);
    apply(policed(), &objects);

    let approval = decision(namespace, "web");
    let mut rejection = approval.clone();
    rejection["spec"]["result"]["status"] = json!("Rejected");
    let as_account = |name: &str| format!("--as=system:serviceaccount:{namespace}:{name}");
    let (as_team, as_other) = (as_account("team"), as_account("other-team"));
    let by = |path: &Path| format!("--kubeconfig={}", path.display());
    let (by_team, by_reconciler) = (by(&team), by(&reconciler));
    let rows: [(&[&str], &Value, Option<&str>); 11] = [
        (&["--as=ann"], &approval, None),
        (&["--as=ann"], &rejection, Some("ann may not reject web/Prod/Approve")),
        (&["--as=bob"], &approval, Some("bob may not approve web/Prod/Approve")),
        (&["--as=bob", "--as-group=approvers"], &approval, None),
        (&["--as=bob", "--as-group=people"], &approval, Some("bob may not approve web/Prod/Approve")),
        (&[&by_team], &approval, None),
        (&[&by_team], &rejection, None),
        (&[&by_reconciler, &as_team], &approval, None),
        (&[&by_reconciler, &as_team], &rejection, None),
        (&[&by_reconciler, &as_other], &approval, Some("other-team may not approve web/Prod/Approve")),
        (&[&by_reconciler], &approval, Some(r#"resource "approvaldecisions""#)),
    ];
    let ways: [&[&str]; 4] = [
        &["create", "--filename=-"],
        &["apply", "--filename=-"],
        &["apply", "--server-side", "--field-manager=gitops", "--filename=-"],
        &["create", "--dry-run=server", "--filename=-"],
    ];
    for (who, manifest, refusal) in rows {
        for way in ways {
            let ran = kubectl(policed(), User::Admin, &[who, way].concat(), manifest);
            let as_expected = refusal.map_or(ran.is_done, |refusal| !ran.is_done && ran.text.contains(refusal));
            assert!(as_expected, "{who:?} {way:?}: {}", ran.text);
            let delete = ["delete", "apd", "web", "--ignore-not-found", "--namespace", namespace];
            kubectl(policed(), User::Admin, &delete, &Value::Null).done();
        }
    }
}
