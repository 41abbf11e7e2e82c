//! The alerts and the dashboard of the chart, evaluated over the metrics of running operators. Each problem must fire exactly its
//! alerts, a problem that has ended must fire none, no panel may be empty, and panels that count decisions must show the right
//! counts. So a wrong name of a metric, a label or a reason fails here.

mod promtool;
mod releases;
mod rules;

use approval_operator::api::v1alpha1::{ApprovalDecision, ApprovalDecisionSpec, ReadyClass, Reason, UserTime};
use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::Api;
use kube::api::PostParams;
use local_codepipeline::api::Operation;
use local_codepipeline::faults::Fault;
use promtool::{Expectation, Scrape};
use releases::{Release, Scenario, TARGET};
use rules::{file, rendered_rules, rules, text};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use test_control_plane::User;
use test_support::{Cluster, Operator, TestEnv, for_execution, pipeline_with_build, spec};

fn decisions(reason: Reason) -> String {
    format!(r#"approval_operator_decisions{{reason="{}"}}"#, reason.as_str())
}

/// Waits until a sample of an operator has at least this value, and returns all metrics of that time.
async fn wait_for_metric(operator: &Operator, sample: &str, value: f64) -> Scrape {
    let mut found = None;
    let has_value = async || {
        let at = Timestamp::now().as_duration().as_secs_f64();
        let Some((200, text)) = operator.get("/metrics").await else { return false };
        let scrape = Scrape::read(&text, at);
        let is_reached = scrape.value(sample) >= value;
        found = is_reached.then_some(scrape);
        is_reached
    };
    operator.eventually(&format!("{sample} is {value}"), has_value).await;
    found.unwrap()
}

/// There is no problem: one decision was delivered, one waits, and one is suspended.
async fn healthy() -> Scenario {
    let env = TestEnv::new().await;
    let operator = env.operator().start();
    operator.wait_until_ready().await;
    let before = wait_for_metric(&operator, "approval_operator_leader", 1.0).await;
    env.open_and_approve("web").await;
    env.put_pipeline(pipeline_with_build("shop"));
    env.create("shop", for_execution("shop", env.start_execution("shop", "rev"))).await;
    let mut suspended = spec("suspended", &env.open_approval("suspended"));
    suspended.suspend = true;
    suspended.not_after = Some(UserTime((Timestamp::now() + SignedDuration::from_mins(45)).to_string()));
    env.create("suspended", suspended).await;
    // Being deleted, but a finalizer keeps it: nobody needs to act on it.
    let mut deleted = ApprovalDecision::new("deleted", spec("none", &env.open_approval("deleted")));
    deleted.metadata.finalizers = Some(vec!["approvals.dev/test".to_owned()]);
    env.decisions.create(&PostParams::default(), &deleted).await.unwrap();
    wait_for_metric(&operator, &decisions(Reason::PipelineNotFound), 1.0).await;
    env.delete("deleted").await;
    let is_not_counted = async || operator.metric(&decisions(Reason::PipelineNotFound)).await < 1.0;
    operator.eventually("a decision being deleted is not counted", is_not_counted).await;
    env.wait_for_reason("web", Reason::Delivered).await;
    env.wait_for_reason("suspended", Reason::Suspended).await;
    wait_for_metric(&operator, &decisions(Reason::Suspended), 1.0).await;
    wait_for_metric(&operator, &decisions(Reason::Delivered), 1.0).await;
    let now = wait_for_metric(&operator, &decisions(Reason::Waiting), 1.0).await;
    Scenario { namespace: env.namespace.clone(), name: "healthy", before, now, alerts: vec![] }
}

/// Every call to CodePipeline fails with these faults.
async fn failing(name: &'static str, faults: Vec<Fault>, reason: Reason, alert: &'static str) -> Scenario {
    let env = TestEnv::new().await;
    faults.into_iter().for_each(|fault| env.codepipeline.inject(fault.always()));
    let operator = env.operator().start();
    env.open_and_approve("web").await;
    // No counter grows after this, so the alert is caused by the decision.
    let now = wait_for_metric(&operator, &decisions(reason), 1.0).await;
    Scenario { namespace: env.namespace.clone(), name, before: now.clone(), now, alerts: vec![(alert, None)] }
}

async fn stalled() -> Scenario {
    let env = TestEnv::new().await;
    let operator = env.operator().start();
    env.create("web", spec("none", &env.open_approval("web"))).await;
    let now = wait_for_metric(&operator, &decisions(Reason::PipelineNotFound), 1.0).await;
    let alerts = vec![("ApprovalDecisionStalled", Some(Reason::PipelineNotFound))];
    Scenario { namespace: env.namespace.clone(), name: "stalled", before: now.clone(), now, alerts }
}

/// A decision that expires before its execution reaches the approval.
async fn expiring() -> Scenario {
    let env = TestEnv::new().await;
    let operator = env.operator().start();
    env.put_pipeline(pipeline_with_build("shop"));
    let not_after = Timestamp::now() + SignedDuration::from_mins(45);
    let by_execution = for_execution("shop", env.start_execution("shop", "rev"));
    let spec = ApprovalDecisionSpec { not_after: Some(UserTime(not_after.to_string())), ..by_execution.clone() };
    env.create("soon", spec).await;
    env.create("later", by_execution).await;
    let now = wait_for_metric(&operator, &decisions(Reason::Waiting), 2.0).await;
    Scenario {
        namespace: env.namespace.clone(),
        name: "expiring",
        before: now.clone(),
        now,
        alerts: vec![("ApprovalDecisionExpiresSoon", None)],
    }
}

/// Reads are throttled for less than a minute, so no decision reports it.
async fn reads_throttled() -> Scenario {
    let env = TestEnv::new().await;
    let operator = env.operator().start();
    env.put_pipeline(pipeline_with_build("shop"));
    env.create("shop", for_execution("shop", env.start_execution("shop", "rev"))).await;
    let before = wait_for_metric(&operator, &decisions(Reason::Waiting), 1.0).await;
    env.codepipeline.inject(Fault::throttled().on(Operation::GetPipelineState).always());
    let throttled = r#"approval_operator_aws_requests_total{operation="GetPipelineState",outcome="Throttled"}"#;
    let now = wait_for_metric(&operator, throttled, 2.0).await;
    assert_eq!(now.value(&decisions(Reason::Waiting)), 1.0, "the decision already reports it");
    Scenario {
        namespace: env.namespace.clone(),
        name: "reads-throttled",
        before,
        now,
        alerts: vec![("ApprovalOperatorThrottledByAWS", None)],
    }
}

async fn without_credentials() -> Scenario {
    let env = TestEnv::new().await;
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config");
    std::fs::write(&config, "[default]\nregion = eu-west-1\n").unwrap();
    let operator = env.operator().aws_config_file(&config).start();
    env.open_and_approve("web").await;
    let now = wait_for_metric(&operator, &decisions(Reason::CredentialsUnavailable), 1.0).await;
    let alerts = vec![("ApprovalOperatorCredentialsUnavailable", None)];
    Scenario { namespace: env.namespace.clone(), name: "without-credentials", before: now.clone(), now, alerts }
}

async fn with_a_wrong_clock() -> Scenario {
    let env = TestEnv::new().await;
    env.codepipeline.set_date_offset(SignedDuration::from_mins(1));
    let operator = env.operator().start();
    env.open_and_approve("web").await;
    let now = wait_for_metric(&operator, &decisions(Reason::ClockSkew), 1.0).await;
    Scenario {
        namespace: env.namespace.clone(),
        name: "wrong-clock",
        before: now.clone(),
        now,
        alerts: vec![("ApprovalOperatorClockSkew", None)],
    }
}

/// The operator cannot access the account of a target.
async fn target_not_ready() -> Scenario {
    let env = TestEnv::new().await;
    let operator = env.operator().start();
    let mut now = wait_for_metric(&operator, &decisions(Reason::Waiting), 0.0).await;
    now.samples.insert(format!(r#"approval_operator_target_ready{{target="{TARGET}"}}"#), 0.0);
    now.samples.insert(r#"approval_operator_target_ready{target="staging"}"#.to_owned(), 1.0);
    let alerts = vec![("ApprovalTargetNotReady", None)];
    Scenario { namespace: env.namespace.clone(), name: "target-not-ready", before: now.clone(), now, alerts }
}

/// The operator may read decisions, but not write their status.
async fn read_only() -> Scenario {
    let env = TestEnv::new().await;
    let rule = json!({ "apiGroups": ["codepipeline.approvals.dev"], "resources": ["approvaldecisions"], "verbs": ["get", "list", "watch"] });
    let role: Role = serde_json::from_value(json!({ "metadata": { "name": "reader" }, "rules": [rule] })).unwrap();
    let binding: RoleBinding = serde_json::from_value(json!({
        "metadata": { "name": "reader" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader" },
        "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": User::Developer.name() }],
    }))
    .unwrap();
    let (roles, bindings) = (
        Api::<Role>::namespaced(env.client.clone(), &env.namespace),
        Api::<RoleBinding>::namespaced(env.client.clone(), &env.namespace),
    );
    roles.create(&PostParams::default(), &role).await.unwrap();
    bindings.create(&PostParams::default(), &binding).await.unwrap();
    let operator = as_developer(&env);
    env.open_and_approve("web").await;
    let errors = "approval_operator_reconcile_errors_total";
    let before = wait_for_metric(&operator, errors, 1.0).await;
    let now = wait_for_metric(&operator, errors, 2.0).await;
    let alerts = vec![("ApprovalOperatorReconcileErrors", None), ("ApprovalDecisionNotTakenUp", None)];
    Scenario { namespace: env.namespace.clone(), name: "read-only", before, now, alerts }
}

/// The operator may not read decisions.
async fn cannot_watch() -> Scenario {
    let env = TestEnv::new().await;
    let operator = as_developer(&env);
    let errors = "approval_operator_watch_errors_total";
    let before = wait_for_metric(&operator, errors, 1.0).await;
    let now = wait_for_metric(&operator, errors, 3.0).await;
    Scenario {
        namespace: env.namespace.clone(),
        name: "cannot-watch",
        before,
        now,
        alerts: vec![("ApprovalOperatorWatchErrors", None)],
    }
}

/// Prometheus does not scrape the leader, and no other replica takes over.
async fn leaderless() -> Scenario {
    let env = TestEnv::new().await;
    let leader = env.operator().replica("first", &env.namespace).start();
    wait_for_metric(&leader, "approval_operator_leader", 1.0).await;
    let standby = env.operator().replica("second", &env.namespace).start();
    standby.wait_until_ready().await;
    let now = wait_for_metric(&standby, &decisions(Reason::Waiting), 0.0).await;
    assert_eq!(now.value("approval_operator_leader"), 0.0);
    Scenario {
        namespace: env.namespace.clone(),
        name: "leaderless",
        before: now.clone(),
        now,
        alerts: vec![("ApprovalOperatorNoLeader", None)],
    }
}

fn as_developer(env: &TestEnv) -> Operator {
    let kubeconfig = Cluster::shared().control_plane.kubeconfig(User::Developer);
    // It may not read targets either, which is not what these scenarios are about.
    env.operator().env("KUBECONFIG", &kubeconfig.display().to_string()).arg("--approval-targets=false").start()
}

async fn scenarios() -> Vec<Scenario> {
    let disconnect = |operation| Fault::disconnect_before_applying().on(operation);
    let disconnects = vec![disconnect(Operation::PutApprovalResult), disconnect(Operation::GetPipelineState)];
    join_all([
        Box::pin(healthy()) as std::pin::Pin<Box<dyn Future<Output = Scenario>>>,
        Box::pin(stalled()),
        Box::pin(expiring()),
        Box::pin(failing("unconfirmed", disconnects, Reason::Unconfirmed, "ApprovalDecisionUnconfirmed")),
        Box::pin(failing("denied", vec![Fault::access_denied()], Reason::AccessDenied, "ApprovalOperatorAccessDenied")),
        Box::pin(failing("throttled", vec![Fault::throttled()], Reason::Throttled, "ApprovalOperatorThrottledByAWS")),
        Box::pin(failing(
            "unavailable",
            vec![Fault::error(400, "SomethingNewException", "new")],
            Reason::ServiceUnavailable,
            "ApprovalOperatorAWSUnavailable",
        )),
        Box::pin(reads_throttled()),
        Box::pin(without_credentials()),
        Box::pin(with_a_wrong_clock()),
        Box::pin(target_not_ready()),
        Box::pin(read_only()),
        Box::pin(cannot_watch()),
        Box::pin(leaderless()),
    ])
    .await
}

/// The queries of the dashboard, with values for Grafana's variables.
fn queries() -> Vec<String> {
    let dashboard: Value = serde_json::from_slice(&std::fs::read(file("dashboard.json")).unwrap()).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let queries = targets.map(|target| target["expr"].as_str().unwrap());
    queries
        .map(|query| query.replace("$__rate_interval", "5m").replace("$namespace", ".*").replace("$job", ".*"))
        .collect()
}

/// The names of the operator's metrics in a text.
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

/// The expected result of a query that counts decisions of all scenarios: each release counts once.
fn totals(query: &str, scenarios: &[Scenario]) -> Vec<(String, f64)> {
    let mut counted = reasons(query);
    if query.contains("stalled_timestamp") {
        let is_stalled = |reason: &Reason| reason.ready_class() == ReadyClass::Stalled;
        counted.extend(Reason::ALL.iter().filter(|reason| is_stalled(reason)).map(|reason| reason.as_str().to_owned()));
    }
    let total = |reason: &String| {
        let sample = format!(r#"approval_operator_decisions{{reason="{reason}"}}"#);
        scenarios.iter().map(|scenario| scenario.now.value(&sample)).sum::<f64>()
    };
    if query.starts_with("sum by (reason)") {
        let totals = counted.iter().map(|reason| (format!(r#"{{reason="{reason}"}}"#), total(reason)));
        totals.filter(|(_, total)| *total > 0.0).collect()
    } else {
        vec![("{}".to_owned(), counted.iter().map(total).sum())]
    }
}

/// What the dashboard must show for the scenarios.
fn panels(scenarios: &[Scenario]) -> Vec<Expectation> {
    let panel = |query: String| {
        if query.contains("approval_operator_decisions") {
            Expectation { samples: totals(&query, scenarios), expression: query }
        } else {
            Expectation { expression: format!("group({query})"), samples: vec![("{}".to_owned(), 1.0)] }
        }
    };
    queries().into_iter().map(panel).collect()
}

/// The alerts that must fire after half an hour. No others may have fired before.
fn alerts(expected: impl Iterator<Item = String>) -> Vec<Expectation> {
    let samples: Vec<_> = expected.map(|labels| (labels, 1.0)).collect();
    let firing = r#"ALERTS{alertstate="firing"}"#;
    let expression =
        |alerts: &str| format!("group by (alertname, job, namespace, operator_namespace, reason, target) ({alerts})");
    let now = Expectation { expression: expression(firing), samples: samples.clone() };
    [now, Expectation { expression: expression(&format!("present_over_time({firing}[30m])")), samples }].into()
}

/// The series of several releases, and the alerts that must fire.
fn scraped(releases: &[Release]) -> (Vec<Value>, Vec<Expectation>) {
    (releases.iter().flat_map(Release::series).collect(), alerts(releases.iter().flat_map(Release::firing)))
}

#[tokio::test(flavor = "multi_thread")]
async fn each_problem_fires_its_alerts_while_it_lasts_and_panels_show_it() {
    promtool::check(&file("alerts.yaml"));
    promtool::check(rendered_rules().path());
    let mut scenarios = scenarios().await;
    // So that panels that count decisions must add two releases.
    let read_only = scenarios.iter().find(|scenario| scenario.name == "read-only").unwrap();
    scenarios.push(Scenario { name: "read-only-too", ..read_only.clone() });
    let known: BTreeSet<&str> = scenarios.iter().flat_map(|scenario| scenario.now.names()).collect();
    let files = ["alerts.yaml", "dashboard.json"].map(|name| std::fs::read_to_string(file(name)).unwrap());
    for text in &files {
        let unknown: Vec<_> = metrics(text).difference(&known).copied().collect();
        assert!(unknown.is_empty(), "no operator has the metrics {unknown:?}");
    }
    let expressions = rules().into_iter().map(|rule| text(&rule["expr"])).chain(queries());
    for reason in expressions.flat_map(|expression| reasons(&expression)) {
        assert!(reason == "Unobserved" || reason.parse::<Reason>().is_ok(), "{reason} is not a reason");
    }
    let scenario = |name| scenarios.iter().find(|scenario| scenario.name == name).unwrap();
    let healthy = &scenario("healthy").now;
    let (series, alerts_of_scenarios) = scraped(&scenarios.iter().map(Scenario::lasting).collect::<Vec<_>>());
    let lasting = (series, alerts_of_scenarios.into_iter().chain(panels(&scenarios)).collect());
    // The alert about a Stalled decision fires immediately.
    let ended = scenarios.iter().filter(|scenario| scenario.name != "stalled").map(|scenario| scenario.ended(healthy));
    let stale = scenarios.iter().map(|scenario| scenario.stale(healthy));
    let across_takeover = scenario("read-only").across_takeover("ApprovalDecisionNotTakenUp");
    let more = [across_takeover, scenario("expiring").overdue(), Release::stopped(healthy)];
    let not_lasting = scraped(&ended.chain(stale).chain(more).collect::<Vec<_>>());
    let stopped = scraped(&[Release::stopped(healthy)]);
    let never_existed = (vec![], alerts([r#"{alertname="ApprovalOperatorDown"}"#.to_owned()].into_iter()));
    promtool::test(&file("alerts.yaml"), &[lasting, not_lasting, stopped, never_existed]);
    let fired = scenarios.iter().flat_map(|scenario| scenario.alerts.iter().map(|(alert, _)| *alert));
    let fired: BTreeSet<_> = fired.chain(["ApprovalOperatorDown"]).map(str::to_owned).collect();
    assert_eq!(fired, rules().into_iter().map(|rule| text(&rule["alert"])).collect(), "alerts without a scenario");
}
