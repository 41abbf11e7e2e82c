//! The rules in the chart's file, as they are and as the chart renders them, and their runbooks.

use serde_json::Value;
use std::path::{Path, PathBuf};
use test_support::chart::render_chart;

/// A file of the chart for Prometheus and Grafana.
pub fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/approval-operator/files").join(path)
}

/// The rules in the file, in its order.
pub fn rules() -> Vec<Value> {
    let rules: Value = serde_saphyr::from_str(&std::fs::read_to_string(file("alerts.yaml")).unwrap()).unwrap();
    let groups = rules["groups"].as_array().unwrap().iter();
    groups.flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
}

/// The rules as the chart renders them, with a link to the runbook of each alert.
pub fn rendered_rules() -> tempfile::NamedTempFile {
    let prefix = "monitoring.prometheusRule";
    let values = [format!("{prefix}.enabled=true"), format!("{prefix}.runbookURL=https://wiki.example.com/alerts.md")];
    let rendered = render_chart("approvals", &["prometheusrule"], &values.each_ref().map(String::as_str));
    let mut expected = rules();
    for rule in &mut expected {
        let annotations = rule["annotations"].as_object_mut().unwrap();
        let path = text(&annotations.remove("runbook").unwrap());
        let url = path.replace("docs/", "https://wiki.example.com/");
        annotations.insert("runbook_url".to_owned(), url.into());
    }
    let groups = rendered[0]["spec"]["groups"].as_array().unwrap().iter();
    assert_eq!(groups.flat_map(|group| group["rules"].as_array().unwrap().clone()).collect::<Vec<_>>(), expected);
    let file = tempfile::NamedTempFile::with_suffix(".yaml").unwrap();
    serde_json::to_writer(&file, &rendered[0]["spec"]).unwrap();
    file
}

pub fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

#[test]
fn every_alert_has_a_runbook_and_every_runbook_an_alert() {
    let runbooks = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/alerts.md")).unwrap();
    let sections: Vec<_> = runbooks.lines().filter_map(|line| line.strip_prefix("## Approval")).collect();
    let mut alerts = Vec::new();
    for rule in rules() {
        let alert = text(&rule["alert"]);
        let anchor = format!("docs/alerts.md#{}", alert.to_lowercase());
        assert_eq!(text(&rule["annotations"]["runbook"]), anchor);
        for annotation in ["summary", "description"] {
            assert!(text(&rule["annotations"][annotation]).ends_with('.'), "{alert}: {annotation}");
        }
        assert!(["warning", "critical"].contains(&text(&rule["labels"]["severity"]).as_str()), "{alert}");
        alerts.push(alert);
    }
    assert_eq!(sections.iter().map(|name| format!("Approval{name}")).collect::<Vec<_>>(), alerts);
}
