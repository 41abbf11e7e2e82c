//! The chart's rights of the operator are enough for all that it does, and each of them is needed: without it, the log names it.

use crate::policy::policed;
use crate::support::chart::{apply, rendered, service_account};
use crate::support::{Case, Operator, for_revision, reason, with_build};
use approval_operator::api::v1alpha1::Reason;
use futures::future::join_all;
use local_codepipeline::faults::Fault;
use serde_json::{Value, json};
use std::time::Duration;
use tempfile::TempDir;

/// A rule of one verb on one resource.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Right {
    group: String,
    resource: String,
    verb: String,
    /// The names that it is bounded to.
    names: Value,
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|value| value.as_str().unwrap().to_owned()).collect()
}

/// All rights in some Roles, one by one.
fn rights(roles: &[Value]) -> Vec<Right> {
    let rules = roles.iter().filter_map(|role| role["rules"].as_array()).flatten();
    rules
        .flat_map(|rule| {
            let (groups, resources, verbs) =
                (strings(&rule["apiGroups"]), strings(&rule["resources"]), strings(&rule["verbs"]));
            assert_eq!((groups.len(), resources.len()), (1, 1), "{rule}");
            let right = move |verb| Right {
                group: groups[0].clone(),
                resource: resources[0].clone(),
                verb,
                names: rule["resourceNames"].clone(),
            };
            verbs.into_iter().map(right)
        })
        .collect()
}

impl Case {
    /// An operator that runs as a ServiceAccount with these rights in this namespace and no others.
    fn operator_with(&self, rights: &[Right]) -> (Operator, TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let kubeconfig = service_account(policed(), &self.namespace, "approval-operator", folder.path());
        let rules: Vec<_> = rights
            .iter()
            .map(|right| {
                json!({ "apiGroups": [right.group], "resources": [right.resource], "verbs": [right.verb], "resourceNames": right.names })
            })
            .collect();
        let metadata = json!({ "name": "approval-operator", "namespace": self.namespace });
        let (api, subject) = (
            "rbac.authorization.k8s.io",
            json!({ "kind": "ServiceAccount", "name": "approval-operator", "namespace": self.namespace }),
        );
        apply(
            policed(),
            &[
                json!({ "apiVersion": format!("{api}/v1"), "kind": "Role", "metadata": metadata, "rules": rules }),
                json!({ "apiVersion": format!("{api}/v1"), "kind": "RoleBinding", "metadata": metadata, "subjects": [subject],
                    "roleRef": { "apiGroup": api, "kind": "Role", "name": "approval-operator" } }),
            ],
        );
        (self.operator_by(&kubeconfig).replica("pod", &self.namespace).start(), folder)
    }

    /// Has the operator do all that it does.
    async fn story(&self) {
        // A label that is put on while the answer is under way makes the write of its result conflict.
        self.service.fault(Fault::late().delay_after(Duration::from_millis(500)).pipeline("web"));
        self.approve("web").await;
        self.until_asked("web", 1).await;
        self.patch("web", json!({ "metadata": { "labels": { "touched": "yes" } } })).await.unwrap();
        self.until_reason("web", Reason::Delivered).await;
        self.put(with_build("later"));
        self.create("later", for_revision("later", "r1")).await;
        for suspend in [true, false, true] {
            self.patch("later", json!({ "spec": { "suspend": suspend } })).await.unwrap();
            let expected = if suspend { Reason::Suspended } else { Reason::Waiting };
            self.until_reason("later", expected).await;
        }
    }
}

fn roles(namespace: &str) -> Vec<Value> {
    let mut roles = rendered(namespace, &["rbac"], &[&format!("watchNamespaces={{{namespace}}}")]);
    assert!(roles.iter().all(|object| object["kind"] == "Role" || object["kind"] == "RoleBinding"), "{roles:#?}");
    roles.retain(|object| object["kind"] == "Role");
    roles
}

#[tokio::test(flavor = "multi_thread")]
async fn the_charts_rights_are_enough_in_chosen_namespaces_and_the_same_for_all() {
    let case = Case::on(policed()).await;
    let rights_here = rights(&roles(&case.namespace));
    let (operator, _folder) = case.operator_with(&rights_here);
    case.story().await;
    assert_eq!(case.accepted("web"), 1);
    case.until_events("web", &["Delivered"]).await;
    let log = operator.log();
    assert!(!log.contains("forbidden") && !log.contains("not permitted"), "{log}");

    let mut everywhere = rendered(&case.namespace, &["rbac"], &[]);
    everywhere.retain(|object| object["kind"] == "ClusterRole" || object["kind"] == "Role");
    assert_eq!(rights(&everywhere), rights_here);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_any_one_of_its_rights_the_operator_fails_and_names_it() {
    let all = rights(&roles("some"));
    assert!(all.len() >= 9, "{all:#?}");
    // A few at a time: each has an operator of its own.
    for some in all.chunks(4) {
        join_all(some.iter().map(|right| without(right, &all))).await;
    }
}

async fn without(right: &Right, all: &[Right]) {
    let case = Case::on(policed()).await;
    let rest: Vec<_> = all.iter().filter(|other| *other != right).cloned().collect();
    let (operator, _folder) = case.operator_with(&rest);
    let Right { resource, verb, .. } = right;
    let complaint = match resource.as_str() {
        "pipelines" => "may not write the status of decisions in the namespace".to_owned(),
        _ => format!("cannot {verb} resource {resource:?}"),
    };
    // Escaped, where the line has the message as a field.
    let named = async || operator.log().replace('\\', "").contains(&complaint);
    tokio::select! {
        () = operator.eventually(&complaint, named) => {}
        () = async { case.story().await; std::future::pending().await } => {}
    }
    match (resource.as_str(), verb.as_str()) {
        // A line of `kubectl describe` is lost, and no more.
        ("events", _) => drop(case.until_reason("web", Reason::Delivered).await),
        ("leases", "update") => operator.until_log("no longer leading").await,
        _ => {
            let web = case.decisions.get_opt("web").await.unwrap();
            assert_ne!(
                web.and_then(|web| reason(&web)),
                Some(Reason::Delivered),
                "{verb} {resource}: {}",
                operator.log()
            );
        }
    }
}
