//! Attempts to bypass the policy by a user who has every permission in a namespace except to approve and reject. No attempt reaches
//! CodePipeline. targets.rs makes the same attempts with a target.

use super::{Developer, Rule, cluster_with_policy, decision, grant, user};
use approval_operator::api::v1alpha1::{ApprovalDecisionSpec, ApprovalStatus, Reason, TargetRef, UserTime};
use jiff::{SignedDuration, Timestamp};
use local_codepipeline::api::Operation;
use local_codepipeline::model::OpenApproval;
use serde_json::{Value, json};
use test_support::chart::{CommandResult, apply};
use test_support::{TestEnv, for_execution, pipeline_with_build, spec};

const MAY_NOT_APPROVE: &str = "developer may not approve web/Prod/Approve";
const MAY_NOT_REJECT: &str = "developer may not reject web/Prod/Approve";
const MAY_NOT_RECORD: &str = "developer may not write the status of decisions in the namespace";
const NOT_HELD: &str = "is attempting to grant RBAC permissions not currently held";
const REQUESTED_AT: &str = "codepipeline.approvals.dev/requestedAt";
pub const CREATE: [&str; 2] = ["create", "--filename=-"];
pub const STATUS: &str = "--subresource=status";

/// What was attempted, its result, and the expected refusal.
pub type Attempt = (&'static str, CommandResult, &'static str);

/// The decisions that the attempts are about: with or without a target.
pub struct Scope {
    target: Option<&'static str>,
    /// The virtual resource on which the policy requires the verb, and its name for the pipeline.
    rights: (&'static str, &'static str),
}

const WITHOUT_TARGET: Scope = Scope { target: None, rights: ("pipelines", "web") };
pub const WITH_TARGET: Scope = Scope { target: Some("prod"), rights: ("targetpipelines", "prod/web") };

impl Scope {
    fn apply_to(&self, spec: ApprovalDecisionSpec) -> ApprovalDecisionSpec {
        let target_ref = self.target.map(|name| TargetRef { name: name.to_owned(), account_id: None, region: None });
        ApprovalDecisionSpec { target_ref, ..spec }
    }

    #[track_caller]
    pub fn assert_refused(&self, attempts: &[Attempt]) {
        let target = self.target.map_or(String::new(), |target| format!(" of the target {target}"));
        for (what, CommandResult { succeeded, output }, refusal) in attempts {
            let expected = match *refusal {
                MAY_NOT_APPROVE | MAY_NOT_REJECT => format!("{refusal}{target} in the namespace"),
                other => other.to_owned(),
            };
            assert!(!succeeded && output.contains(&expected), "{what}: expected the refusal {expected:?}:\n{output}");
        }
        println!("{} attempts", attempts.len());
    }
}

/// Someone whom the developer can try to impersonate.
pub fn approver(env: &TestEnv) -> Vec<Value> {
    let rule: Rule = (&["pipelines", "targetpipelines"], &[], &["approve", "reject"]);
    grant(&env.namespace, "approver", &[rule], &[user("approver")])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_may_not_approve_cannot_bypass_the_policy() {
    let env = TestEnv::in_cluster(cluster_with_policy()).await;
    let developer = Developer::as_namespace_admin(&env.namespace);
    apply(cluster_with_policy(), &approver(&env));
    let _operator = env.operator().start();
    // The token is not a secret: anyone who can read the pipeline has it.
    let approval = env.open_approval("web");
    create_decisions_of_others(&env, &WITHOUT_TARGET, &approval).await;
    let expected = [
        ("held", Reason::Suspended),
        ("spare", Reason::Suspended),
        ("rejection", Reason::Suspended),
        ("expired", Reason::Expired),
        ("waiting", Reason::Waiting),
    ];
    for (name, reason) in expected {
        env.wait_for_reason(name, reason).await;
    }
    let submissions = env.codepipeline.request_count(Operation::PutApprovalResult);

    WITHOUT_TARGET.assert_refused(&attempts(&env, &developer, &WITHOUT_TARGET, &approval).await);

    // Anyone with access to the object may make changes that the operator does not act on.
    for harmless in [["label", "apd", "expired", "team=web"], ["annotate", "apd", "expired", "note=seen"]] {
        developer.kubectl(&harmless, &Value::Null).expect_success();
    }
    developer.kubectl(&["delete", "apd", "rejection"], &Value::Null).expect_success();

    // This decision is delivered last, so the operator has seen all changes that were admitted before it.
    let last = env.open_approval("last");
    env.create("last", spec("last", &last)).await;
    env.wait_for_reason("last", Reason::Delivered).await;
    assert_eq!(env.codepipeline.request_count(Operation::PutApprovalResult), submissions + 1);
    assert_eq!((env.accepted_count("web"), env.pending_approvals("web").len()), (0, 1));
}

pub async fn attempts(
    env: &TestEnv,
    developer: &Developer<'_>,
    scope: &Scope,
    approval: &OpenApproval,
) -> Vec<Attempt> {
    let mut valid = decision(&env.namespace, "new");
    valid["spec"]["token"] = json!(approval.token.to_string());
    if let Some(target) = scope.target {
        valid["spec"]["targetRef"] = json!({ "name": target });
    }
    let mut attempts = new_decisions(developer, &valid, approval);
    attempts.extend(edits(env, developer, &valid, approval).await);
    attempts.extend(status_writes(env, developer, approval).await);
    attempts.extend(detours(env, developer, scope, &valid));
    attempts
}

/// Decisions in each state from which an edit, or the annotation requestedAt, would cause a submission.
pub async fn create_decisions_of_others(env: &TestEnv, scope: &Scope, approval: &OpenApproval) {
    let mut held = scope.apply_to(spec("web", approval));
    held.suspend = true;
    env.create("held", held.clone()).await;
    env.create("spare", held.clone()).await;
    held.result.status = ApprovalStatus::Rejected;
    env.create("rejection", held).await;
    let mut expired = scope.apply_to(spec("web", approval));
    expired.not_after = Some(UserTime((Timestamp::now() - SignedDuration::from_mins(1)).to_string()));
    env.create("expired", expired).await;
    env.put_pipeline(pipeline_with_build("later"));
    let waiting = for_execution("later", env.start_execution("later", "r1"));
    env.create("waiting", scope.apply_to(waiting)).await;
}

fn with(manifest: &Value, change: impl FnOnce(&mut Value)) -> Value {
    let mut manifest = manifest.clone();
    change(&mut manifest);
    manifest
}

fn new_decisions(developer: &Developer<'_>, valid: &Value, approval: &OpenApproval) -> Vec<Attempt> {
    let generated = with(valid, |it| it["metadata"] = json!({ "generateName": "new-" }));
    let suspended = with(valid, |it| it["spec"]["suspend"] = json!(true));
    let forged = with(valid, |it| it["status"] = in_flight(approval));
    let for_execution = with(valid, |it| {
        it["spec"].as_object_mut().unwrap().remove("token");
        it["spec"]["pipelineExecutionId"] = json!(approval.pipeline_execution_id.to_string());
    });
    let rejection = with(valid, |it| it["spec"]["result"]["status"] = json!("Rejected"));
    let replacement = with(valid, |it| it["metadata"]["name"] = json!("spare"));
    let with_slash = with(valid, |it| it["spec"]["pipelineName"] = json!("web/Prod"));
    let attempts: [(_, &[&str], _, _); 12] = [
        ("a new decision", &CREATE, valid, MAY_NOT_APPROVE),
        ("kubectl apply", &["apply", "--filename=-"], valid, MAY_NOT_APPROVE),
        ("server-side apply", &["apply", "--server-side", "--filename=-"], valid, MAY_NOT_APPROVE),
        ("without validation by the client", &["create", "--validate=false", "--filename=-"], valid, MAY_NOT_APPROVE),
        (
            "a dry run, which shows what would be admitted",
            &["create", "--dry-run=server", "--filename=-"],
            valid,
            MAY_NOT_APPROVE,
        ),
        ("a name that the server generates", &CREATE, &generated, MAY_NOT_APPROVE),
        ("a suspended decision", &CREATE, &suspended, MAY_NOT_APPROVE),
        ("a decision with the status of a submission in flight", &CREATE, &forged, MAY_NOT_APPROVE),
        ("a decision that names an execution", &CREATE, &for_execution, MAY_NOT_APPROVE),
        ("a rejection", &CREATE, &rejection, MAY_NOT_REJECT),
        ("deleted and created again", &["replace", "--force", "--filename=-"], &replacement, MAY_NOT_APPROVE),
        ("a pipeline name that looks like a stage", &CREATE, &with_slash, "spec.pipelineName"),
    ];
    attempts.map(|(what, arguments, input, refusal)| (what, developer.kubectl(arguments, input), refusal)).into()
}

async fn edits(env: &TestEnv, developer: &Developer<'_>, valid: &Value, approval: &OpenApproval) -> Vec<Attempt> {
    let merge = |name: &str, patch: Value| {
        developer.kubectl(&["patch", "apd", name, "--type=merge", &format!("--patch={patch}")], &Value::Null)
    };
    let json_patch = r#"--patch=[{"op":"remove","path":"/spec/suspend"}]"#;
    let unexpired = with(&live(env, "expired").await, |it| {
        it["spec"].as_object_mut().unwrap().remove("notAfter");
    });
    let applied = with(valid, |it| it["metadata"]["name"] = json!("expired"));
    let server_side = ["apply", "--server-side", "--force-conflicts", "--filename=-"];
    let execution = approval.pipeline_execution_id.to_string();
    let request = |value: &str| {
        developer.kubectl(&["annotate", "apd", "expired", &format!("{REQUESTED_AT}={value}")], &Value::Null)
    };
    vec![
        ("resumed", merge("held", json!({ "spec": { "suspend": false } })), MAY_NOT_APPROVE),
        (
            "resumed with a JSON patch",
            developer.kubectl(&["patch", "apd", "held", "--type=json", json_patch], &Value::Null),
            MAY_NOT_APPROVE,
        ),
        (
            "resumed with the other result",
            merge("rejection", json!({ "spec": { "suspend": false, "result": { "status": "Approved" } } })),
            MAY_NOT_APPROVE,
        ),
        (
            "a later expiry",
            merge("expired", json!({ "spec": { "notAfter": "2999-01-01T00:00:00Z" } })),
            MAY_NOT_APPROVE,
        ),
        ("no expiry, with PUT", developer.kubectl(&["replace", "--filename=-"], &unexpired), MAY_NOT_APPROVE),
        ("no expiry, with server-side apply", developer.kubectl(&server_side, &applied), MAY_NOT_APPROVE),
        (
            "another execution",
            merge("waiting", json!({ "spec": { "pipelineName": "web", "pipelineExecutionId": execution } })),
            MAY_NOT_APPROVE,
        ),
        ("another evaluation requested", request("now"), MAY_NOT_APPROVE),
        ("another evaluation requested with an empty value", request(""), MAY_NOT_APPROVE),
    ]
}

async fn status_writes(env: &TestEnv, developer: &Developer<'_>, approval: &OpenApproval) -> Vec<Attempt> {
    let retrying = json!({ "conditions": ready("False", "Throttled") });
    let merge = |name: &str, patch: Value| {
        developer.kubectl(&["patch", "apd", name, STATUS, "--type=merge", &format!("--patch={patch}")], &Value::Null)
    };
    let json_patch = r#"--patch=[{"op":"remove","path":"/status"}]"#;
    let put = with(&live(env, "expired").await, |it| it["status"]["conditions"] = ready("False", "Throttled"));
    let applied = with(&decision(&env.namespace, "expired"), |it| {
        it.as_object_mut().unwrap().remove("spec");
        it["status"] = retrying.clone();
    });
    let server_side = ["apply", "--server-side", "--force-conflicts", STATUS, "--filename=-"];
    vec![
        ("a status that is not final", merge("expired", json!({ "status": retrying })), MAY_NOT_RECORD),
        ("a status with a token", merge("waiting", json!({ "status": in_flight(approval) })), MAY_NOT_RECORD),
        ("no status", merge("expired", json!({ "status": null })), MAY_NOT_RECORD),
        (
            "no status, with a JSON patch",
            developer.kubectl(&["patch", "apd", "expired", STATUS, "--type=json", json_patch], &Value::Null),
            MAY_NOT_RECORD,
        ),
        ("a status with PUT", developer.kubectl(&["replace", STATUS, "--filename=-"], &put), MAY_NOT_RECORD),
        ("a status with server-side apply", developer.kubectl(&server_side, &applied), MAY_NOT_RECORD),
        (
            "a spec together with a status",
            merge("held", json!({ "spec": { "suspend": false }, "status": retrying })),
            MAY_NOT_RECORD,
        ),
    ]
}

/// As someone else, with self-granted permissions, in another namespace, and without the policy.
fn detours(env: &TestEnv, developer: &Developer<'_>, scope: &Scope, valid: &Value) -> Vec<Attempt> {
    let namespace = env.namespace.as_str();
    let (resource, name) = scope.rights;
    let account = format!("--as=system:serviceaccount:{namespace}:default");
    let role = &grant(namespace, "own", &[(&[resource], &[name], &["approve"])], &[])[0];
    let other_namespace = with(valid, |it| it["metadata"]["namespace"] = json!("default"));
    let attempts: [(_, &[&str], _, _); 13] = [
        (
            "as the approver",
            &["create", "--as=approver", "--validate=false", "--filename=-"],
            valid,
            "cannot impersonate",
        ),
        (
            "as an administrator",
            &["create", "--as=developer", "--as-group=system:masters", "--validate=false", "--filename=-"],
            valid,
            "cannot impersonate",
        ),
        (
            "as the operator",
            &["patch", "apd", "expired", STATUS, "--as=operator", "--type=merge", r#"--patch={"status":null}"#],
            &Value::Null,
            "cannot impersonate",
        ),
        (
            "as the namespace's ServiceAccount",
            &["create", &account, "--validate=false", "--filename=-"],
            valid,
            r#"cannot create resource "approvaldecisions""#,
        ),
        ("a self-made Role", &CREATE, role, NOT_HELD),
        (
            "the approver's Role",
            &["create", "rolebinding", "own", "--role=approver", "--user=developer"],
            &Value::Null,
            NOT_HELD,
        ),
        (
            "a ClusterRole with all verbs",
            &["create", "rolebinding", "own", "--clusterrole=cluster-admin", "--user=developer"],
            &Value::Null,
            NOT_HELD,
        ),
        ("more permissions with kubectl auth reconcile", &["auth", "reconcile", "--filename=-"], role, NOT_HELD),
        (
            "another namespace",
            &["create", "--namespace=default", "--filename=-"],
            &other_namespace,
            r#"cannot create resource "approvaldecisions""#,
        ),
        (
            "without the policy",
            &["delete", "validatingadmissionpolicy", "--all"],
            &Value::Null,
            "validatingadmissionpolicies",
        ),
        (
            "without its binding",
            &["delete", "validatingadmissionpolicybinding", "--all"],
            &Value::Null,
            "validatingadmissionpolicybindings",
        ),
        (
            "another CRD",
            &["patch", "crd", "approvaldecisions.codepipeline.approvals.dev", "--type=merge", "--patch={}"],
            &Value::Null,
            "customresourcedefinitions",
        ),
        ("a label of the namespace", &["label", "namespace", namespace, "policy=off"], &Value::Null, "namespaces"),
    ];
    attempts.map(|(what, arguments, input, refusal)| (what, developer.kubectl(arguments, input), refusal)).into()
}

/// The current object.
async fn live(env: &TestEnv, name: &str) -> Value {
    serde_json::to_value(env.decisions.get(name).await.unwrap()).unwrap()
}

fn in_flight(approval: &OpenApproval) -> Value {
    let past = "2026-01-01T00:00:00Z";
    let token = approval.token.to_string();
    json!({
        "conditions": ready("Unknown", "Unconfirmed"),
        "submission": {
            "accountId": "123456789012", "region": "eu-west-1",
            "pipelineName": "web", "stageName": "Prod", "actionName": "Approve",
            "result": { "status": "Approved", "summary": "" },
            "attempts": 1, "startTime": past, "deadline": past, "token": token,
        },
    })
}

pub fn ready(status: &str, reason: &str) -> Value {
    let past = "2026-01-01T00:00:00Z";
    json!([{ "type": "Ready", "status": status, "reason": reason, "message": "", "lastTransitionTime": past }])
}
