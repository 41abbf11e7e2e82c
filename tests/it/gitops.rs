//! The health of decisions in Argo CD and Flux: `hack/health-checks` evaluates the health checks of `examples/gitops` with the
//! code of these tools.

use approval_operator::api::conditions::{Condition, ConditionStatus};
use approval_operator::api::v1alpha1::{ApprovalDecisionStatus, ReadyClass, Reason};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use test_support::Cluster;

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/gitops");

/// The health of an object in Argo CD, in Flux, and in Flux without the expressions.
type Health = [&'static str; 3];

const IN_PROGRESS: Health = ["Progressing", "InProgress", "InProgress"];

fn expected(class: ReadyClass) -> Health {
    match class {
        ReadyClass::Settled => ["Healthy", "Current", "Current"],
        ReadyClass::Stalled => ["Degraded", "Failed", "Failed"],
        ReadyClass::Retrying | ReadyClass::Pending => IN_PROGRESS,
        ReadyClass::InFlight => ["Progressing", "Current", "InProgress"],
        ReadyClass::Waiting | ReadyClass::Suspended => ["Suspended", "Current", "InProgress"],
    }
}

fn object(generation: i64, status: &Value) -> Value {
    json!({
        "apiVersion": "codepipeline.approvals.dev/v1alpha1",
        "kind": "ApprovalDecision",
        "metadata": { "name": "decision", "generation": generation },
        "status": status,
    })
}

/// The status of an object of which the operator has observed generation 2.
fn status(reason: Reason) -> Value {
    let condition = |r#type: &str, status| Condition {
        r#type: r#type.to_owned(),
        status,
        observed_generation: Some(2),
        last_transition_time: Timestamp::UNIX_EPOCH,
        reason: reason.as_str().to_owned(),
        message: format!("It is {}", reason.as_str()),
    };
    let secondary_condition =
        reason.ready_class().secondary_condition().map(|r#type| condition(r#type, ConditionStatus::True));
    let conditions =
        std::iter::once(condition("Ready", reason.ready_class().ready())).chain(secondary_condition).collect();
    json!(ApprovalDecisionStatus { observed_generation: Some(2), conditions, ..ApprovalDecisionStatus::default() })
}

fn evaluate(objects: &[Value]) -> Vec<Value> {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("hack/health-checks/bin/health-checks");
    assert!(program.is_file(), "{} is missing; build it with `make health-checks`", program.display());
    let mut process = Command::new(program)
        .args([format!("{EXAMPLES}/argocd-cm.yaml"), format!("{EXAMPLES}/flux-kustomization.yaml")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = process.stdin.take().unwrap();
    for object in objects {
        writeln!(input, "{object}").unwrap();
    }
    drop(input);
    let output = process.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", output.status);
    let text = String::from_utf8(output.stdout).unwrap();
    let results: Vec<_> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(results.len(), objects.len());
    results
}

#[test]
fn argo_cd_and_flux_show_the_health_of_every_reason() {
    let objects: Vec<_> = Reason::ALL.iter().map(|reason| object(2, &status(*reason))).collect();
    for (reason, health) in Reason::ALL.iter().zip(evaluate(&objects)) {
        let [argo, flux, kstatus] = expected(reason.ready_class());
        let argo = json!({ "status": argo, "message": format!("It is {}", reason.as_str()) });
        assert_eq!(health, json!({ "argo": argo, "flux": flux, "kstatus": kstatus }), "{reason:?}");
    }
}

#[test]
fn argo_cd_and_flux_wait_until_the_operator_observes_a_new_or_edited_decision() {
    let new = object(1, &json!(ApprovalDecisionStatus::pending()));
    let without_conditions = object(1, &json!({ "observedGeneration": -1 }));
    let reported = Reason::ALL.iter().filter(|reason| reason.ready_class() != ReadyClass::Pending);
    let edited = reported.map(|reason| object(3, &status(*reason)));
    let objects: Vec<_> = [new, without_conditions].into_iter().chain(edited).collect();
    for (number, (object, health)) in objects.iter().zip(evaluate(&objects)).enumerate() {
        let statuses = [&health["argo"]["status"], &health["flux"], &health["kstatus"]];
        assert_eq!(statuses, IN_PROGRESS, "{object}");
        let expected = match number {
            0 => "No operator has seen this decision yet",
            _ => "The operator has not observed this generation yet",
        };
        let message = health["argo"]["message"].as_str().unwrap();
        assert!(message.starts_with(expected), "{message}");
    }
}

#[test]
fn the_api_server_admits_the_example_decisions() {
    let kubectl = |arguments: &[&str]| {
        let output = Cluster::shared().control_plane.kubectl().args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let folder = format!("{EXAMPLES}/decisions");
    let admitted =
        kubectl(&["apply", "--dry-run=server", "--validate=strict", "--output=name", "--recursive", "-f", &folder]);
    assert!(admitted.starts_with("approvaldecision.codepipeline.approvals.dev/"), "{admitted}");
}
