//! What Argo CD and Flux make of decisions, by the health checks of `examples/gitops` and the evaluators of these tools,
//! which `tests/health-checks` holds.

use crate::support::Cluster;
use approval_operator::api::conditions::{Condition, ConditionStatus};
use approval_operator::api::v1alpha1::{ApprovalDecisionStatus, Reason, Standing};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/gitops");

/// What is shown for an object: by Argo CD, by Flux, and by Flux without the expressions.
type Shown = [&'static str; 3];

const IN_PROGRESS: Shown = ["Progressing", "InProgress", "InProgress"];

fn expected(standing: Standing) -> Shown {
    match standing {
        Standing::Settled => ["Healthy", "Current", "Current"],
        Standing::Stalled => ["Degraded", "Failed", "Failed"],
        Standing::Retrying | Standing::UnderWay => IN_PROGRESS,
        Standing::Waiting | Standing::Suspended => ["Suspended", "Current", "InProgress"],
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

/// The status of an object whose generation 2 the operator has seen.
fn status(reason: Reason) -> Value {
    let condition = |r#type: &str, status| Condition {
        r#type: r#type.to_owned(),
        status,
        observed_generation: Some(2),
        last_transition_time: Timestamp::UNIX_EPOCH,
        reason: reason.as_str().to_owned(),
        message: format!("It is {}", reason.as_str()),
    };
    let companion = reason.standing().companion().map(|r#type| condition(r#type, ConditionStatus::True));
    let conditions = std::iter::once(condition("Ready", reason.standing().ready())).chain(companion).collect();
    json!(ApprovalDecisionStatus { observed_generation: Some(2), conditions, ..ApprovalDecisionStatus::default() })
}

fn shown(objects: &[Value]) -> Vec<Value> {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/health-checks/bin/health-checks");
    assert!(program.is_file(), "no {}: run `make health-checks`, which builds it", program.display());
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
    let shown: Vec<_> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(shown.len(), objects.len());
    shown
}

#[test]
fn argo_cd_and_flux_show_how_a_decision_of_every_reason_stands() {
    let objects: Vec<_> = Reason::ALL.iter().map(|reason| object(2, &status(*reason))).collect();
    for (reason, shown) in Reason::ALL.iter().zip(shown(&objects)) {
        let [argo, flux, kstatus] = expected(reason.standing());
        let argo = json!({ "status": argo, "message": format!("It is {}", reason.as_str()) });
        assert_eq!(shown, json!({ "argo": argo, "flux": flux, "kstatus": kstatus }), "{reason:?}");
    }
}

#[test]
fn argo_cd_and_flux_wait_for_the_operator_to_see_a_decision_and_every_edit_of_it() {
    let fresh = object(1, &json!({ "observedGeneration": -1 }));
    let edited = Reason::ALL.iter().map(|reason| object(3, &status(*reason)));
    let objects: Vec<_> = std::iter::once(fresh).chain(edited).collect();
    for (object, shown) in objects.iter().zip(shown(&objects)) {
        let statuses = [&shown["argo"]["status"], &shown["flux"], &shown["kstatus"]];
        assert_eq!(statuses, IN_PROGRESS, "{object}");
        assert_eq!(shown["argo"]["message"], "The operator has not taken up this version yet");
    }
}

#[test]
fn the_api_server_takes_the_decisions_of_the_examples() {
    let kubectl = |arguments: &[&str]| {
        let output = Cluster::shared().control_plane.kubectl().args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let folder = format!("{EXAMPLES}/decisions");
    let taken =
        kubectl(&["apply", "--dry-run=server", "--validate=strict", "--output=name", "--recursive", "-f", &folder]);
    assert!(taken.starts_with("approvaldecision.codepipeline.approvals.dev/"), "{taken}");
}
