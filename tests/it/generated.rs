//! The generated files are up to date. `make generate` writes them.

use approval_operator::api::conditions::ConditionStatus;
use approval_operator::api::v1alpha1::{ApprovalDecision, ReadyClass, Reason, TargetReason, crds};
use approval_operator::cli::Cli;
use approval_operator::codepipeline::CallMetrics;
use approval_operator::decision::Settings;
use approval_operator::leader_election::LeaderState;
use approval_operator::metrics::Metrics;
use clap::CommandFactory;
use jiff::SignedDuration;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{CustomResourceDefinition, JSONSchemaProps};
use serde_json::json;
use std::fmt::Write;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

fn check(file: &str, generated: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if std::env::var_os("GENERATE").is_some() {
        std::fs::write(&path, generated).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == generated, "{file} is stale: run `make generate` and commit the changes");
}

#[test]
fn the_crds_match_the_types_and_the_output_of_the_program() {
    let output = Command::new(env!("CARGO_BIN_EXE_approval-operator")).arg("crd").output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let documents: Vec<_> = printed.split("---\n").filter(|document| !document.is_empty()).collect();
    assert_eq!(documents.len(), crds().len());
    for (document, crd) in documents.into_iter().zip(crds()) {
        // With the line that starts a document, the files one after the other are what the program prints.
        check(&format!("crds/{}_{}.yaml", crd.spec.group, crd.spec.names.plural), &format!("---\n{document}"));
        let read: CustomResourceDefinition = serde_saphyr::from_str(document).unwrap();
        assert_eq!(read, crd);
    }
}

/// Uninstalling the chart must not delete the CRDs, and with them every decision.
#[test]
fn the_chart_contains_the_crds_of_the_program_and_keeps_them() {
    let charts = Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/approval-operator-crds/templates");
    let generated = crds().into_iter().map(|mut crd| {
        let file = format!("{}_{}.yaml", crd.spec.group, crd.spec.names.plural);
        let keep = ("helm.sh/resource-policy".to_owned(), "keep".to_owned());
        crd.metadata.annotations.get_or_insert_default().extend([keep]);
        // Helm must not interpret braces in the CRD as templates.
        let text = serde_saphyr::to_string(&crd).unwrap().replace("{{", r#"{{ "{{" }}"#);
        check(
            &format!("charts/approval-operator-crds/templates/{file}"),
            &format!("# Generated from the code by `make generate`.\n{}\n", text.trim_end()),
        );
        file
    });
    let mut generated: Vec<_> = generated.collect();
    let found = std::fs::read_dir(charts).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut found: Vec<_> = found.collect();
    generated.sort();
    found.sort();
    assert_eq!(found, generated, "this folder contains only the CRDs of the program");
}

#[test]
fn the_charts_have_the_version_of_the_program() {
    for chart in ["approval-operator", "approval-operator-crds"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("charts").join(chart).join("Chart.yaml");
        let text = std::fs::read_to_string(path).unwrap();
        for key in ["version", "appVersion"] {
            let line = format!("{key}: {}", env!("CARGO_PKG_VERSION"));
            assert!(text.lines().any(|found| found == line), "charts/{chart}/Chart.yaml should say {line}");
        }
    }
}

/// The chart's README is generated from values.yaml, so a value that is only in the schema would not be documented. A value that
/// the schema does not list must be refused, because it may be misspelt.
#[test]
fn the_chart_accepts_exactly_the_documented_values() {
    let read = |file: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/approval-operator").join(file);
        serde_saphyr::from_str::<serde_json::Value>(&std::fs::read_to_string(path).unwrap()).unwrap()
    };
    fn compare(path: &str, schema: &serde_json::Value, values: &serde_json::Value) {
        assert_eq!(schema["additionalProperties"], false, "values.schema.json accepts any value in {path:?}");
        let accepted = schema["properties"].as_object().unwrap().iter().filter(|(name, _)| *name != "global");
        for (name, schema) in accepted {
            let path = format!("{path}.{name}");
            let value =
                values.get(name).unwrap_or_else(|| panic!("values.schema.json has {path}, and values.yaml does not"));
            // A value with a description is documented as a whole.
            if schema.get("properties").is_some() && schema.get("description").is_none() {
                compare(&path, schema, value);
            }
        }
    }
    compare("", &read("values.schema.json"), &read("values.yaml"));
}

/// How to find out, in the documentation of the reasons.
const IS_AN_OPERATOR_RUNNING: &str = r#"
While an operator runs with leader election, it renews its Lease every second. The Lease is in the operator's namespace, and the chart's
role `approval-operator-lease-viewer` allows reading it:

```sh
kubectl --namespace approvals get lease approval-operator \
  --output jsonpath='{.spec.holderIdentity} {.spec.renewTime}{"\n"}'
```

Without an operator, an edited decision keeps its earlier reason: its `status.observedGeneration` is not its `metadata.generation`.
"#;

#[test]
fn every_reason_is_documented() {
    let mut page = String::from(
        "# Reasons\n\n\
         <!-- Generated from src/api/v1alpha1/reason.rs by `make generate`. -->\n\n\
         The `reason` of the `Ready` condition shows the state of a decision. For each change of reason, the operator writes a \
         log line and a Kubernetes Event. `Submitting` lasts only a moment and has neither. `kubectl get apd -o wide` and \
         `kubectl describe apd` show the message of the condition.\n\n\
         The operator restarts a **Stalled** decision when its spec is edited, or when the annotation \
         `codepipeline.approvals.dev/requestedAt` gets a new value:\n\n\
         ```sh\n\
         kubectl annotate apd NAME --overwrite codepipeline.approvals.dev/requestedAt=\"$(date)\"\n\
         ```\n\n\
         `TargetForbidden` and `TargetRequired` also end when a change of the targets, or of the labels of the namespace, allows the \
         decision.\n",
    );
    let mut classes: Vec<ReadyClass> = Vec::new();
    for class in Reason::ALL.iter().map(|reason| reason.ready_class()) {
        if !classes.contains(&class) {
            classes.push(class);
        }
    }
    for class in classes {
        let title = match class {
            ReadyClass::Settled => "Settled (Ready is True)",
            ReadyClass::Stalled => "Stalled (Ready is False, Stalled is True)",
            ReadyClass::Retrying => "Retrying (Ready is False, Reconciling is True)",
            ReadyClass::Pending => "Pending (Ready is Unknown)",
            ReadyClass::Waiting => "Waiting (Ready is Unknown, Reconciling is True)",
            ReadyClass::InFlight => "In flight (Ready is Unknown, Reconciling is True)",
            ReadyClass::Suspended => "Suspended (Ready is False)",
        };
        write!(page, "\n## {title}\n\n| Reason | Meaning | What to do |\n|---|---|---|\n").unwrap();
        for reason in Reason::ALL.iter().filter(|reason| reason.ready_class() == class) {
            let meaning = reason.meaning().lines().map(str::trim).collect::<Vec<_>>().join(" ");
            writeln!(page, "| `{}` | {meaning} | {} |", reason.as_str(), reason.remedy()).unwrap();
        }
        if class == ReadyClass::Pending {
            page.push_str(IS_AN_OPERATOR_RUNNING);
        }
    }
    page.push_str(
        "\n## Reasons of an `ApprovalTarget`\n\n| Ready | Reason | Meaning | What to do |\n|---|---|---|---|\n",
    );
    for reason in TargetReason::ALL {
        let meaning = reason.meaning().lines().map(str::trim).collect::<Vec<_>>().join(" ");
        writeln!(page, "| {:?} | `{}` | {meaning} | {} |", reason.ready(), reason.as_str(), reason.remedy()).unwrap();
    }
    check("docs/reasons.md", &page);
}

#[test]
fn every_flag_field_and_metric_is_documented() {
    let mut page = String::from(
        "# Reference\n\n<!-- Generated from the code by `make generate`. -->\n\n## Flags of `approval-operator run`\n\n",
    );
    page.push_str("| Flag | Environment variable | Default | Description |\n|---|---|---|---|\n");
    let mut cli = Cli::command();
    cli.build();
    let run = cli.find_subcommand("run").unwrap();
    for flag in run.get_arguments().filter(|flag| flag.get_env().is_some()) {
        let default: Vec<_> = flag.get_default_values().iter().filter_map(|value| value.to_str()).collect();
        let values: Vec<_> = flag.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
        let values = if values.is_empty() { String::new() } else { format!(" ({})", values.join(", ")) };
        let environment = flag.get_env().and_then(|name| name.to_str()).unwrap();
        let (name, help) = (flag.get_long().unwrap(), flag.get_help().unwrap());
        writeln!(page, "| `--{name}` | `{environment}` | {} | {help}{values} |", default.join(", ")).unwrap();
    }
    for crd in crds() {
        let kind = crd.spec.names.kind;
        write!(page, "\n## Fields of `{kind}`\n\n| Field | Type | Limits | Description |\n|---|---|---|---|\n")
            .unwrap();
        let root = crd.spec.versions[0].schema.as_ref().unwrap().open_api_v3_schema.as_ref().unwrap();
        fields(&mut page, "", root);
        page.push_str("\nThe API server also checks these rules:\n\n");
        for rule in root.x_kubernetes_validations.iter().flatten() {
            writeln!(page, "- {}", rule.message.as_deref().unwrap()).unwrap();
        }
    }
    page.push_str("\n## Metrics\n\nThe operator serves them at `/metrics` on `--http-address`, in the OpenMetrics text format.\n\n");
    page.push_str("| Metric | Type | Description |\n|---|---|---|\n");
    let settings = Settings {
        aws_timeout: SignedDuration::from_secs(10),
        waiting_limit: SignedDuration::from_hours(24),
        poll_interval: SignedDuration::from_secs(15),
    };
    let text = Metrics::new(&CallMetrics::default())
        .encode(example_decisions().into_iter(), &[("production".to_owned(), true)], &settings, LeaderState::Leader)
        .unwrap();
    for time in ["stalled", "unconfirmed", "expiry"] {
        assert!(text.contains(&format!("approval_operator_decision_{time}_timestamp_seconds{{")), "{time}: {text}");
    }
    let mut help = "";
    for line in text.lines() {
        let words: Vec<_> = line.splitn(4, ' ').collect();
        match words.as_slice() {
            ["#", "HELP", _, meaning] => help = meaning,
            ["#", "TYPE", name, kind] => {
                let suffix = match *kind {
                    "counter" => "_total",
                    "info" => "_info",
                    _ => "",
                };
                writeln!(page, "| `{name}{suffix}` | {kind} | {} |", help.trim_end_matches('.')).unwrap();
            }
            _ => {}
        }
    }
    check("docs/reference.md", &page);
}

/// Decisions that cause every metric about decisions to appear.
fn example_decisions() -> Vec<Arc<ApprovalDecision>> {
    let decision = |reason: Reason, secondary_condition: &str| {
        let condition = |kind: &str, status: ConditionStatus| {
            json!({
                "type": kind, "status": status, "reason": reason.as_str(), "message": "",
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            })
        };
        let submission = json!({
            "accountId": "123456789012", "region": "us-east-1",
            "pipelineName": "web", "stageName": "Prod", "actionName": "Approve",
            "result": { "status": "Approved", "summary": "" },
            "attempts": 1, "startTime": "2026-01-01T00:00:00Z", "deadline": "2026-01-01T00:00:00Z", "token": "",
        });
        let decision = json!({
            "apiVersion": "codepipeline.approvals.dev/v1alpha1",
            "kind": "ApprovalDecision",
            "metadata": { "name": "one", "generation": 1 },
            "spec": {
                "pipelineName": "web", "stageName": "Prod", "actionName": "Approve",
                "result": { "status": "Approved", "summary": "" },
                "token": "0a1b2c3d-0000-4000-8000-00000000000a",
            },
            "status": {
                "observedGeneration": 1, "submission": submission,
                "conditions": [
                    condition("Ready", reason.ready_class().ready()),
                    condition(secondary_condition, ConditionStatus::True),
                ],
            },
        });
        Arc::new(serde_json::from_value(decision).unwrap())
    };
    vec![decision(Reason::Unconfirmed, "Reconciling"), decision(Reason::Expired, "Stalled")]
}

fn fields(page: &mut String, path: &str, schema: &JSONSchemaProps) {
    for (name, field) in schema.properties.iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let (schema, path) = match field.items.as_ref() {
            Some(
                k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaPropsOrArray::Schema(
                    items,
                ),
            ) => (items.as_ref(), format!("{path}[]")),
            _ => (field, path),
        };
        let mut limits = Vec::new();
        let list = |values: &[k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSON]| {
            values.iter().filter_map(|value| value.0.as_str()).collect::<Vec<_>>().join(", ")
        };
        limits.extend(field.enum_.as_deref().map(list));
        limits.extend(match (field.min_length, field.max_length) {
            (Some(min), Some(max)) if min == max => Some(format!("{max} characters")),
            (min, Some(max)) => Some(format!("{} to {max} characters", min.unwrap_or(0))),
            _ => None,
        });
        limits.extend(field.pattern.as_ref().map(|pattern| format!("`{pattern}`")));
        limits.extend(field.x_kubernetes_validations.iter().flatten().filter_map(|rule| rule.message.clone()));
        let kind = field.format.clone().or_else(|| field.type_.clone()).unwrap();
        let description = field.description.clone().unwrap_or_default();
        writeln!(page, "| `{path}` | {kind} | {} | {description} |", limits.join("; ")).unwrap();
        fields(page, &path, schema);
    }
}
