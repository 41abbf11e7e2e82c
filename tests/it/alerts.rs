//! The alerts and the dashboard of the chart, over what running operators show: each trouble rings the alerts that are meant
//! for it and no other, trouble that has passed rings nothing, no panel is empty, and those that count decisions count right. So
//! a metric, a label or a reason that they name wrongly fails here.

mod promtool;
mod releases;

use crate::support::{Case, Cluster, Operator, for_run, spec, with_build};
use approval_operator::api::v1alpha1::{ApprovalDecision, ApprovalDecisionSpec, NotAfter, Reason, Standing};
use control_plane::User;
use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::Api;
use kube::api::PostParams;
use local_codepipeline::api::Operation;
use local_codepipeline::faults::Fault;
use promtool::{Expectation, Scrape};
use releases::{Release, Scene};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn decisions(reason: Reason) -> String {
    format!(r#"approval_operator_decisions{{reason="{}"}}"#, reason.as_str())
}

/// Waits until an operator shows as much of a sample, and tells all that it shows then.
async fn until(operator: &Operator, sample: &str, value: f64) -> Scrape {
    let mut found = None;
    let shows = async || {
        let at = Timestamp::now().as_duration().as_secs_f64();
        let Some((200, text)) = operator.get("/metrics").await else { return false };
        let scrape = Scrape::read(&text, at);
        let is_shown = scrape.value(sample) >= value;
        found = is_shown.then_some(scrape);
        is_shown
    };
    operator.eventually(&format!("{sample} is {value}"), shows).await;
    found.unwrap()
}

/// Nothing is wrong: one decision was delivered, one waits, one is held back.
async fn well() -> Scene {
    let case = Case::new().await;
    let operator = case.operator().start();
    operator.until_ready().await;
    let before = until(&operator, "approval_operator_leader", 1.0).await;
    case.approve("web").await;
    case.put(with_build("shop"));
    case.create("shop", for_run("shop", case.start("shop", "rev"))).await;
    let mut held = spec("held", &case.open("held"));
    held.suspend = true;
    held.not_after = Some(NotAfter((Timestamp::now() + SignedDuration::from_mins(45)).to_string()));
    case.create("held", held).await;
    // Deleted, and held by a finalizer: nobody is to do anything about it any more.
    let mut going = ApprovalDecision::new("going", spec("none", &case.open("going")));
    going.metadata.finalizers = Some(vec!["approvals.dev/held".to_owned()]);
    case.decisions.create(&PostParams::default(), &going).await.unwrap();
    until(&operator, &decisions(Reason::PipelineNotFound), 1.0).await;
    case.delete("going").await;
    let is_left_out = async || operator.metric(&decisions(Reason::PipelineNotFound)).await < 1.0;
    operator.eventually("it is left out", is_left_out).await;
    case.until_reason("web", Reason::Delivered).await;
    case.until_reason("held", Reason::Suspended).await;
    until(&operator, &decisions(Reason::Suspended), 1.0).await;
    until(&operator, &decisions(Reason::Delivered), 1.0).await;
    let now = until(&operator, &decisions(Reason::Waiting), 1.0).await;
    Scene { name: "well", before, now, alerts: vec![] }
}

/// What a decision comes to where every call to CodePipeline fails like this.
async fn failing(name: &'static str, faults: Vec<Fault>, reason: Reason, alert: &'static str) -> Scene {
    let case = Case::new().await;
    faults.into_iter().for_each(|fault| case.service.fault(fault.always()));
    let operator = case.operator().start();
    case.approve("web").await;
    // No counter grows from here on: it is the decision that rings.
    let now = until(&operator, &decisions(reason), 1.0).await;
    Scene { name, before: now.clone(), now, alerts: vec![(alert, None)] }
}

async fn stalled() -> Scene {
    let case = Case::new().await;
    let operator = case.operator().start();
    case.create("web", spec("none", &case.open("web"))).await;
    let now = until(&operator, &decisions(Reason::PipelineNotFound), 1.0).await;
    let alerts = vec![("ApprovalDecisionStalled", Some(Reason::PipelineNotFound))];
    Scene { name: "stalled", before: now.clone(), now, alerts }
}

/// A decision that waits for its run, which may take longer than the decision may wait.
async fn expiring() -> Scene {
    let case = Case::new().await;
    let operator = case.operator().start();
    case.put(with_build("shop"));
    let not_after = Timestamp::now() + SignedDuration::from_mins(45);
    let run = for_run("shop", case.start("shop", "rev"));
    let spec = ApprovalDecisionSpec { not_after: Some(NotAfter(not_after.to_string())), ..run.clone() };
    case.create("soon", spec).await;
    case.create("later", run).await;
    let now = until(&operator, &decisions(Reason::Waiting), 2.0).await;
    Scene { name: "expiring", before: now.clone(), now, alerts: vec![("ApprovalDecisionExpiresSoon", None)] }
}

/// Reads are throttled for less than a minute, which no decision tells of.
async fn slowed_down() -> Scene {
    let case = Case::new().await;
    let operator = case.operator().start();
    case.put(with_build("shop"));
    case.create("shop", for_run("shop", case.start("shop", "rev"))).await;
    let before = until(&operator, &decisions(Reason::Waiting), 1.0).await;
    case.service.fault(Fault::throttled().on(Operation::GetPipelineState).always());
    let throttled = r#"approval_operator_aws_requests_total{operation="GetPipelineState",outcome="Throttled"}"#;
    let now = until(&operator, throttled, 2.0).await;
    assert_eq!(now.value(&decisions(Reason::Waiting)), 1.0, "the decision does not tell of it yet");
    Scene { name: "slowed-down", before, now, alerts: vec![("ApprovalOperatorThrottledByAWS", None)] }
}

async fn without_credentials() -> Scene {
    let case = Case::new().await;
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config");
    std::fs::write(&config, "[default]\nregion = eu-west-1\n").unwrap();
    let operator = case.operator().configured_by(&config).start();
    case.approve("web").await;
    let now = until(&operator, &decisions(Reason::CredentialsUnavailable), 1.0).await;
    let alerts = vec![("ApprovalOperatorCredentialsUnavailable", None)];
    Scene { name: "without-credentials", before: now.clone(), now, alerts }
}

/// The API server lets it see decisions, and write nothing.
async fn read_only() -> Scene {
    let case = Case::new().await;
    let rule = json!({ "apiGroups": ["codepipeline.approvals.dev"], "resources": ["approvaldecisions"], "verbs": ["get", "list", "watch"] });
    let role: Role = serde_json::from_value(json!({ "metadata": { "name": "reader" }, "rules": [rule] })).unwrap();
    let binding: RoleBinding = serde_json::from_value(json!({
        "metadata": { "name": "reader" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader" },
        "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": User::Developer.name() }],
    }))
    .unwrap();
    let (roles, bindings) = (
        Api::<Role>::namespaced(case.client.clone(), &case.namespace),
        Api::<RoleBinding>::namespaced(case.client.clone(), &case.namespace),
    );
    roles.create(&PostParams::default(), &role).await.unwrap();
    bindings.create(&PostParams::default(), &binding).await.unwrap();
    let operator = as_developer(&case);
    case.approve("web").await;
    let errors = "approval_operator_reconcile_errors_total";
    let before = until(&operator, errors, 1.0).await;
    let now = until(&operator, errors, 2.0).await;
    let alerts = vec![("ApprovalOperatorReconcileErrors", None), ("ApprovalDecisionNotTakenUp", None)];
    Scene { name: "read-only", before, now, alerts }
}

/// The API server lets it see nothing.
async fn blind() -> Scene {
    let case = Case::new().await;
    let operator = as_developer(&case);
    let errors = "approval_operator_watch_errors_total";
    let before = until(&operator, errors, 1.0).await;
    let now = until(&operator, errors, 3.0).await;
    Scene { name: "blind", before, now, alerts: vec![("ApprovalOperatorWatchErrors", None)] }
}

/// The replica that leads is not to be seen, nor does another follow it.
async fn leaderless() -> Scene {
    let case = Case::new().await;
    let leader = case.operator().replica("first", &case.namespace).start();
    until(&leader, "approval_operator_leader", 1.0).await;
    let standby = case.operator().replica("second", &case.namespace).start();
    standby.until_ready().await;
    let now = until(&standby, &decisions(Reason::Waiting), 0.0).await;
    assert_eq!(now.value("approval_operator_leader"), 0.0);
    Scene { name: "leaderless", before: now.clone(), now, alerts: vec![("ApprovalOperatorNoLeader", None)] }
}

fn as_developer(case: &Case) -> Operator {
    let kubeconfig = Cluster::shared().control_plane.kubeconfig(User::Developer);
    case.operator().set("KUBECONFIG", &kubeconfig.display().to_string()).start()
}

async fn scenes() -> Vec<Scene> {
    let cut = |operation| Fault::cut_before_applying().on(operation);
    let lost = vec![cut(Operation::PutApprovalResult), cut(Operation::GetPipelineState)];
    join_all([
        Box::pin(well()) as std::pin::Pin<Box<dyn Future<Output = Scene>>>,
        Box::pin(stalled()),
        Box::pin(expiring()),
        Box::pin(failing("unconfirmed", lost, Reason::Unconfirmed, "ApprovalDecisionUnconfirmed")),
        Box::pin(failing("denied", vec![Fault::access_denied()], Reason::AccessDenied, "ApprovalOperatorAccessDenied")),
        Box::pin(failing("throttled", vec![Fault::throttled()], Reason::Throttled, "ApprovalOperatorThrottledByAWS")),
        Box::pin(failing(
            "unavailable",
            vec![Fault::error(400, "SomethingNewException", "new")],
            Reason::ServiceUnavailable,
            "ApprovalOperatorAWSUnavailable",
        )),
        Box::pin(slowed_down()),
        Box::pin(without_credentials()),
        Box::pin(read_only()),
        Box::pin(blind()),
        Box::pin(leaderless()),
    ])
    .await
}

fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/approval-operator/files").join(path)
}

/// The queries of the dashboard, with what Grafana would put in place of its variables.
fn queries() -> Vec<String> {
    let dashboard: Value = serde_json::from_slice(&std::fs::read(file("dashboard.json")).unwrap()).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let queries = targets.map(|target| target["expr"].as_str().unwrap());
    queries
        .map(|query| query.replace("$__rate_interval", "5m").replace("$namespace", ".*").replace("$job", ".*"))
        .collect()
}

/// The names of the operator's metrics that a text has.
fn metrics(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("approval_operator_")).collect()
}

/// The reasons that an expression selects.
fn reasons(expression: &str) -> Vec<String> {
    let selectors = expression.split("reason=").skip(1);
    let values = selectors.map(|selector| selector.trim_start_matches('~').split('"').nth(1).unwrap());
    values.flat_map(|values| values.split('|')).map(str::to_owned).collect()
}

/// What a query that counts decisions is to show over all scenes: the sum of what the operators showed, once for each release.
fn totals(query: &str, scenes: &[Scene]) -> Vec<(String, f64)> {
    let mut counted = reasons(query);
    if query.contains("stalled_timestamp") {
        let is_stalled = |reason: &Reason| reason.standing() == Standing::Stalled;
        counted.extend(Reason::ALL.iter().filter(|reason| is_stalled(reason)).map(|reason| reason.as_str().to_owned()));
    }
    let total = |reason: &String| {
        let sample = format!(r#"approval_operator_decisions{{reason="{reason}"}}"#);
        scenes.iter().map(|scene| scene.now.value(&sample)).sum::<f64>()
    };
    if query.starts_with("sum by (reason)") {
        let totals = counted.iter().map(|reason| (format!(r#"{{reason="{reason}"}}"#), total(reason)));
        totals.filter(|(_, total)| *total > 0.0).collect()
    } else {
        vec![("{}".to_owned(), counted.iter().map(total).sum())]
    }
}

/// What the dashboard is to show of the scenes.
fn panels(scenes: &[Scene]) -> Vec<Expectation> {
    let panel = |query: String| {
        if query.contains("approval_operator_decisions") {
            Expectation { shown: totals(&query, scenes), expression: query }
        } else {
            Expectation { expression: format!("group({query})"), shown: vec![("{}".to_owned(), 1.0)] }
        }
    };
    queries().into_iter().map(panel).collect()
}

/// The alerts that ring after half an hour, and that ever rang until then.
fn alerts(ringing: impl Iterator<Item = String>) -> Vec<Expectation> {
    let shown: Vec<_> = ringing.map(|labels| (labels, 1.0)).collect();
    let firing = r#"ALERTS{alertstate="firing"}"#;
    let expression = |alerts: &str| format!("group by (alertname, job, reason) ({alerts})");
    let now = Expectation { expression: expression(firing), shown: shown.clone() };
    [now, Expectation { expression: expression(&format!("present_over_time({firing}[30m])")), shown }].into()
}

/// Releases that one Prometheus scrapes, and the alerts that are to ring.
fn scraped(releases: &[Release]) -> (Vec<Value>, Vec<Expectation>) {
    (releases.iter().flat_map(Release::series).collect(), alerts(releases.iter().flat_map(Release::ringing)))
}

#[tokio::test(flavor = "multi_thread")]
async fn each_trouble_rings_its_alerts_while_it_lasts_and_panels_show_it() {
    promtool::check(&file("alerts.yaml"));
    let mut scenes = scenes().await;
    // So that each panel that counts decisions has two releases to count.
    let read_only = scenes.iter().find(|scene| scene.name == "read-only").unwrap();
    scenes.push(Scene { name: "read-only-too", ..read_only.clone() });
    let shown: BTreeSet<&str> = scenes.iter().flat_map(|scene| scene.now.names()).collect();
    let files = ["alerts.yaml", "dashboard.json"].map(|name| std::fs::read_to_string(file(name)).unwrap());
    for text in &files {
        let unknown: Vec<_> = metrics(text).difference(&shown).copied().collect();
        assert!(unknown.is_empty(), "no operator shows {unknown:?}");
    }
    let expressions = rules().into_iter().map(|rule| text(&rule["expr"])).chain(queries());
    for reason in expressions.flat_map(|expression| reasons(&expression)) {
        assert!(reason == "Unobserved" || reason.parse::<Reason>().is_ok(), "{reason} is no reason");
    }
    let scene = |name| scenes.iter().find(|scene| scene.name == name).unwrap();
    let well = &scene("well").now;
    let (series, alerts_of_scenes) = scraped(&scenes.iter().map(Scene::lasts).collect::<Vec<_>>());
    let lasting = (series, alerts_of_scenes.into_iter().chain(panels(&scenes)).collect());
    // One that is Stalled is told of at once.
    let passing = scenes.iter().filter(|scene| scene.name != "stalled").map(|scene| scene.passes(well));
    let old = scenes.iter().map(|scene| scene.is_old_news(well));
    let handed_over = scene("read-only").outlasts_its_leader("ApprovalDecisionNotTakenUp");
    let more = [handed_over, scene("expiring").is_overdue(), Release::gone(well)];
    let over = scraped(&passing.chain(old).chain(more).collect::<Vec<_>>());
    let gone = scraped(&[Release::gone(well)]);
    let never_there = (vec![], alerts([r#"{alertname="ApprovalOperatorDown"}"#.to_owned()].into_iter()));
    promtool::test(&file("alerts.yaml"), &[lasting, over, gone, never_there]);
    let rung = scenes.iter().flat_map(|scene| scene.alerts.iter().map(|(alert, _)| *alert));
    let rung: BTreeSet<_> = rung.chain(["ApprovalOperatorDown"]).map(str::to_owned).collect();
    assert_eq!(rung, rules().into_iter().map(|rule| text(&rule["alert"])).collect(), "each alert has its scene");
}

fn rules() -> Vec<Value> {
    let rules: Value = serde_saphyr::from_str(&std::fs::read_to_string(file("alerts.yaml")).unwrap()).unwrap();
    let groups = rules["groups"].as_array().unwrap().iter();
    groups.flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
}

fn text(value: &Value) -> String {
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
