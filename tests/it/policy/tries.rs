//! What somebody may try who may do everything in a namespace but decide. Nothing of it reaches the service.

use super::{Developer, decision, grant, policed, user};
use crate::support::chart::{Ran, apply};
use crate::support::{Case, for_run, reason, spec, with_build};
use approval_operator::api::v1alpha1::{ApprovalStatus, NotAfter, Reason};
use jiff::{SignedDuration, Timestamp};
use local_codepipeline::api::Operation;
use local_codepipeline::model::OpenApproval;
use serde_json::{Value, json};

const MAY_NOT_APPROVE: &str = "developer may not approve web/Prod/Approve in the namespace";
const MAY_NOT_REJECT: &str = "developer may not reject web/Prod/Approve in the namespace";
const MAY_NOT_RECORD: &str = "developer may not write the status of decisions in the namespace";
const NOT_HELD: &str = "is attempting to grant RBAC permissions not currently held";
const REQUESTED_AT: &str = "codepipeline.approvals.dev/requestedAt";
const CREATE: [&str; 2] = ["create", "--filename=-"];
const STATUS: &str = "--subresource=status";

/// What was tried, what became of it, and what the refusal says.
type Try = (&'static str, Ran, &'static str);

#[tokio::test(flavor = "multi_thread")]
async fn whoever_may_not_approve_finds_no_way_to() {
    let case = Case::on(policed()).await;
    let developer = Developer::who_administers(&case.namespace);
    // Somebody to pass oneself off as.
    let approver: super::Rule = (&["pipelines"], &[], &["approve", "reject"]);
    apply(policed(), &grant(&case.namespace, "approver", &[approver], &[user("approver")]));
    let _operator = case.operator().start();
    // The token is no secret: whoever reads the pipeline has it.
    let approval = case.open("web");
    those_who_may_decide_leave(&case, &approval).await;
    let asked = case.service.requests(Operation::PutApprovalResult);

    let right = with_token(&case, &approval);
    let mut tries = new_decisions(&developer, &right, &approval);
    tries.extend(edits(&case, &developer, &right, &approval).await);
    tries.extend(statuses(&case, &developer, &approval).await);
    tries.extend(detours(&case, &developer, &right));
    for (what, ran, refusal) in &tries {
        assert!(!ran.is_done && ran.text.contains(refusal), "{what} was to be refused with {refusal:?}:\n{}", ran.text);
    }
    println!("{} tries", tries.len());

    // What the operator does not act on is anybody's to change.
    for harmless in [["label", "apd", "expired", "team=web"], ["annotate", "apd", "expired", "note=seen"]] {
        developer.runs(&harmless, &Value::Null).done();
    }
    developer.runs(&["delete", "apd", "rejection"], &Value::Null).done();

    // It is answered last, so the operator has seen all that was let through before.
    let last = case.open("last");
    case.create("last", spec("last", &last)).await;
    case.until_reason("last", Reason::Delivered).await;
    assert_eq!(case.service.requests(Operation::PutApprovalResult), asked + 1);
    assert_eq!((case.accepted("web"), case.pending("web").len()), (0, 1));
}

/// Decisions of each kind that an edit, or a word to the operator, would set off.
async fn those_who_may_decide_leave(case: &Case, approval: &OpenApproval) {
    let mut held = spec("web", approval);
    held.suspend = true;
    case.create("held", held.clone()).await;
    case.create("spare", held.clone()).await;
    held.result.status = ApprovalStatus::Rejected;
    case.create("rejection", held).await;
    let mut expired = spec("web", approval);
    expired.not_after = Some(NotAfter((Timestamp::now() - SignedDuration::from_mins(1)).to_string()));
    case.create("expired", expired).await;
    case.put(with_build("later"));
    case.create("waiting", for_run("later", case.start("later", "r1"))).await;
    let left = [
        ("held", Reason::Suspended),
        ("spare", Reason::Suspended),
        ("rejection", Reason::Suspended),
        ("expired", Reason::Expired),
        ("waiting", Reason::Waiting),
    ];
    for (name, reason) in left {
        case.until_reason(name, reason).await;
    }
}

/// A manifest that would be answered.
fn with_token(case: &Case, approval: &OpenApproval) -> Value {
    let mut manifest = decision(&case.namespace, "new");
    manifest["spec"]["token"] = json!(approval.token.to_string());
    manifest
}

fn with(manifest: &Value, change: impl FnOnce(&mut Value)) -> Value {
    let mut manifest = manifest.clone();
    change(&mut manifest);
    manifest
}

fn new_decisions(developer: &Developer<'_>, right: &Value, approval: &OpenApproval) -> Vec<Try> {
    let generated = with(right, |it| it["metadata"] = json!({ "generateName": "new-" }));
    let suspended = with(right, |it| it["spec"]["suspend"] = json!(true));
    let forged = with(right, |it| it["status"] = under_way(approval));
    let for_run = with(right, |it| {
        it["spec"].as_object_mut().unwrap().remove("token");
        it["spec"]["pipelineExecutionId"] = json!(approval.pipeline_execution_id.to_string());
    });
    let rejection = with(right, |it| it["spec"]["result"]["status"] = json!("Rejected"));
    let gone = with(right, |it| it["metadata"]["name"] = json!("spare"));
    let of_two_names = with(right, |it| it["spec"]["pipelineName"] = json!("web/Prod"));
    let tries: [(_, &[&str], _, _); 12] = [
        ("a new one", &CREATE, right, MAY_NOT_APPROVE),
        ("kubectl apply", &["apply", "--filename=-"], right, MAY_NOT_APPROVE),
        ("server-side apply", &["apply", "--server-side", "--filename=-"], right, MAY_NOT_APPROVE),
        ("unchecked by the client", &["create", "--validate=false", "--filename=-"], right, MAY_NOT_APPROVE),
        (
            "a dry run, which says what would be",
            &["create", "--dry-run=server", "--filename=-"],
            right,
            MAY_NOT_APPROVE,
        ),
        ("a name that the server makes", &CREATE, &generated, MAY_NOT_APPROVE),
        ("suspended for now", &CREATE, &suspended, MAY_NOT_APPROVE),
        ("with the status of an answer under way", &CREATE, &forged, MAY_NOT_APPROVE),
        ("bound to a run", &CREATE, &for_run, MAY_NOT_APPROVE),
        ("a rejection", &CREATE, &rejection, MAY_NOT_REJECT),
        ("deleted and made anew", &["replace", "--force", "--filename=-"], &gone, MAY_NOT_APPROVE),
        ("a pipeline that reads like a stage", &CREATE, &of_two_names, "spec.pipelineName"),
    ];
    tries.map(|(what, arguments, input, refusal)| (what, developer.runs(arguments, input), refusal)).into()
}

async fn edits(case: &Case, developer: &Developer<'_>, right: &Value, approval: &OpenApproval) -> Vec<Try> {
    let merge = |name: &str, patch: Value| {
        developer.runs(&["patch", "apd", name, "--type=merge", &format!("--patch={patch}")], &Value::Null)
    };
    let json_patch = r#"--patch=[{"op":"remove","path":"/spec/suspend"}]"#;
    let unexpired = with(&live(case, "expired").await, |it| {
        it["spec"].as_object_mut().unwrap().remove("notAfter");
    });
    let applied = with(right, |it| it["metadata"]["name"] = json!("expired"));
    let server_side = ["apply", "--server-side", "--force-conflicts", "--filename=-"];
    let run = approval.pipeline_execution_id.to_string();
    let word =
        |value: &str| developer.runs(&["annotate", "apd", "expired", &format!("{REQUESTED_AT}={value}")], &Value::Null);
    vec![
        ("let go", merge("held", json!({ "spec": { "suspend": false } })), MAY_NOT_APPROVE),
        (
            "the same by a JSON patch",
            developer.runs(&["patch", "apd", "held", "--type=json", json_patch], &Value::Null),
            MAY_NOT_APPROVE,
        ),
        (
            "turned",
            merge("rejection", json!({ "spec": { "suspend": false, "result": { "status": "Approved" } } })),
            MAY_NOT_APPROVE,
        ),
        (
            "a later expiry",
            merge("expired", json!({ "spec": { "notAfter": "2999-01-01T00:00:00Z" } })),
            MAY_NOT_APPROVE,
        ),
        ("none, by PUT", developer.runs(&["replace", "--filename=-"], &unexpired), MAY_NOT_APPROVE),
        ("by server-side apply", developer.runs(&server_side, &applied), MAY_NOT_APPROVE),
        (
            "another run",
            merge("waiting", json!({ "spec": { "pipelineName": "web", "pipelineExecutionId": run } })),
            MAY_NOT_APPROVE,
        ),
        ("tried afresh", word("now"), MAY_NOT_APPROVE),
        ("tried afresh by an empty word", word(""), MAY_NOT_APPROVE),
    ]
}

async fn statuses(case: &Case, developer: &Developer<'_>, approval: &OpenApproval) -> Vec<Try> {
    let unlocked = json!({ "conditions": ready("False", "Throttled") });
    let merge = |name: &str, patch: Value| {
        developer.runs(&["patch", "apd", name, STATUS, "--type=merge", &format!("--patch={patch}")], &Value::Null)
    };
    let json_patch = r#"--patch=[{"op":"remove","path":"/status"}]"#;
    let put = with(&live(case, "expired").await, |it| it["status"]["conditions"] = ready("False", "Throttled"));
    let applied = with(&decision(&case.namespace, "expired"), |it| {
        it.as_object_mut().unwrap().remove("spec");
        it["status"] = unlocked.clone();
    });
    let server_side = ["apply", "--server-side", "--force-conflicts", STATUS, "--filename=-"];
    vec![
        ("a status that unlocks", merge("expired", json!({ "status": unlocked })), MAY_NOT_RECORD),
        ("a status with a token", merge("waiting", json!({ "status": under_way(approval) })), MAY_NOT_RECORD),
        ("no status", merge("expired", json!({ "status": null })), MAY_NOT_RECORD),
        (
            "none by a JSON patch",
            developer.runs(&["patch", "apd", "expired", STATUS, "--type=json", json_patch], &Value::Null),
            MAY_NOT_RECORD,
        ),
        ("a status by PUT", developer.runs(&["replace", STATUS, "--filename=-"], &put), MAY_NOT_RECORD),
        ("a status by server-side apply", developer.runs(&server_side, &applied), MAY_NOT_RECORD),
        (
            "a spec beside a status",
            merge("held", json!({ "spec": { "suspend": false }, "status": unlocked })),
            MAY_NOT_RECORD,
        ),
    ]
}

/// As somebody else, by rights of one's own making, from elsewhere, and without the policy.
fn detours(case: &Case, developer: &Developer<'_>, right: &Value) -> Vec<Try> {
    let namespace = case.namespace.as_str();
    let account = format!("--as=system:serviceaccount:{namespace}:default");
    let role = &grant(namespace, "mine", &[(&["pipelines"], &["web"], &["approve"])], &[])[0];
    let elsewhere = with(right, |it| it["metadata"]["namespace"] = json!("default"));
    let tries: [(_, &[&str], _, _); 13] = [
        (
            "as the approver",
            &["create", "--as=approver", "--validate=false", "--filename=-"],
            right,
            "cannot impersonate",
        ),
        (
            "as an administrator",
            &["create", "--as=developer", "--as-group=system:masters", "--validate=false", "--filename=-"],
            right,
            "cannot impersonate",
        ),
        (
            "as the operator",
            &["patch", "apd", "expired", STATUS, "--as=operator", "--type=merge", r#"--patch={"status":null}"#],
            &Value::Null,
            "cannot impersonate",
        ),
        (
            "as the namespace's account",
            &["create", &account, "--validate=false", "--filename=-"],
            right,
            r#"cannot create resource "approvaldecisions""#,
        ),
        ("a Role of one's own", &CREATE, role, NOT_HELD),
        (
            "the approver's Role",
            &["create", "rolebinding", "mine", "--role=approver", "--user=developer"],
            &Value::Null,
            NOT_HELD,
        ),
        (
            "a Role of all verbs",
            &["create", "rolebinding", "mine", "--clusterrole=cluster-admin", "--user=developer"],
            &Value::Null,
            NOT_HELD,
        ),
        ("more rights for oneself", &["auth", "reconcile", "--filename=-"], role, NOT_HELD),
        (
            "another namespace",
            &["create", "--namespace=default", "--filename=-"],
            &elsewhere,
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
    tries.map(|(what, arguments, input, refusal)| (what, developer.runs(arguments, input), refusal)).into()
}

/// The object as it is.
async fn live(case: &Case, name: &str) -> Value {
    let decision = case.decisions.get(name).await.unwrap();
    assert!(reason(&decision).is_some(), "{name} has a status");
    serde_json::to_value(decision).unwrap()
}

fn under_way(approval: &OpenApproval) -> Value {
    let past = "2026-01-01T00:00:00Z";
    let token = approval.token.to_string();
    json!({
        "conditions": ready("Unknown", "Unconfirmed"),
        "submission": { "attempts": 1, "startTime": past, "deadline": past, "token": token },
    })
}

fn ready(status: &str, reason: &str) -> Value {
    let past = "2026-01-01T00:00:00Z";
    json!([{ "type": "Ready", "status": status, "reason": reason, "message": "", "lastTransitionTime": past }])
}
