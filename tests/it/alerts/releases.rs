//! Releases of the operator, as Prometheus scrapes them, composed from the metrics of running operators: problems that last, problems
//! that have ended, and problems that only a standby still reports.

use super::promtool::{MINUTES, OPERATOR_NAMESPACE, Phase, Scrape, series};
use approval_operator::api::v1alpha1::Reason;
use serde_json::Value;

/// The alerts that Alertmanager sends to the team that owns the decisions, by their namespace.
const ALERTS_OF_TEAMS: [&str; 3] =
    ["ApprovalDecisionStalled", "ApprovalDecisionExpiresSoon", "ApprovalDecisionUnconfirmed"];

/// The target of the alert that names one.
pub const TARGET: &str = "prod";

/// The metrics of an operator with or without a problem, and the alerts that must fire, with their reason if they have one.
#[derive(Clone)]
pub struct Scenario {
    pub name: &'static str,
    /// The namespace of the decisions.
    pub namespace: String,
    pub before: Scrape,
    pub now: Scrape,
    pub alerts: Vec<(&'static str, Option<Reason>)>,
}

/// What the replicas of a release report, and the alerts that must fire.
pub struct Release {
    pub name: String,
    /// The namespace of the decisions.
    pub namespace: String,
    pub replicas: Vec<Vec<Phase>>,
    pub alerts: Vec<(&'static str, Option<Reason>)>,
}

impl Scenario {
    /// The same decisions on a replica that is not the leader.
    fn standby(&self) -> Scrape {
        self.now.clone().with("approval_operator_leader", 0.0)
    }

    pub fn lasting(&self) -> Release {
        let replicas = vec![
            vec![Phase::growing(&self.before, &self.now, MINUTES)],
            vec![Phase::constant(&self.standby(), MINUTES)],
        ];
        Release { name: self.name.to_owned(), namespace: self.namespace.clone(), replicas, alerts: self.alerts.clone() }
    }

    /// The problem lasts two minutes, on the only replica.
    pub fn ended(&self, healthy: &Scrape) -> Release {
        let problem = Phase::growing(&self.before, &self.now, 2);
        let phases = vec![Phase::constant(healthy, 10), problem, Phase::constant(healthy, MINUTES - 12)];
        Release {
            name: format!("{}-ended", self.name),
            namespace: self.namespace.clone(),
            replicas: vec![phases],
            alerts: vec![],
        }
    }

    /// Only a standby still reports the problem, because it lost its connection to the API server.
    pub fn stale(&self, healthy: &Scrape) -> Release {
        let replicas = vec![vec![Phase::constant(healthy, MINUTES)], vec![Phase::constant(&self.standby(), MINUTES)]];
        Release { name: format!("{}-stale", self.name), namespace: self.namespace.clone(), replicas, alerts: vec![] }
    }

    /// The decision has expired, and still exists.
    pub fn overdue(&self) -> Release {
        let mut later = self.now.clone();
        later.at += 2.0 * 3600.0;
        let replicas = vec![vec![Phase::constant(&later, MINUTES)]];
        Release { name: format!("{}-overdue", self.name), namespace: self.namespace.clone(), replicas, alerts: vec![] }
    }

    /// Another replica takes over, which does not fix the problem. One scrape finds no leader.
    pub fn across_takeover(&self, alert: &'static str) -> Release {
        let standby = self.standby();
        let replicas = vec![
            vec![Phase::constant(&self.now, 20), Phase::constant(&standby, MINUTES - 20)],
            vec![Phase::constant(&standby, 21), Phase::constant(&self.now, MINUTES - 21)],
        ];
        Release {
            name: format!("{}-across-takeover", self.name),
            namespace: self.namespace.clone(),
            replicas,
            alerts: vec![(alert, None)],
        }
    }
}

impl Release {
    /// All replicas stop.
    pub fn stopped(healthy: &Scrape) -> Self {
        let replicas = vec![vec![Phase::constant(healthy, 10)]; 2];
        let alerts = vec![("ApprovalOperatorDown", None)];
        Self { name: "stopped".to_owned(), namespace: String::new(), replicas, alerts }
    }

    pub fn series(&self) -> Vec<Value> {
        let replicas = self.replicas.iter().enumerate();
        replicas.flat_map(|(index, phases)| series(phases, &self.name, &format!("replica-{index}"))).collect()
    }

    /// The labels of the alerts that must fire.
    pub fn firing(&self) -> impl Iterator<Item = String> {
        self.alerts.iter().map(|(alert, reason)| {
            let reason = reason.map_or(String::new(), |reason| format!(r#", reason="{}""#, reason.as_str()));
            let (job, namespace) = (&self.name, &self.namespace);
            let namespaces = if ALERTS_OF_TEAMS.contains(alert) {
                format!(r#"namespace="{namespace}", operator_namespace="{OPERATOR_NAMESPACE}""#)
            } else {
                format!(r#"namespace="{OPERATOR_NAMESPACE}""#)
            };
            let target = match *alert {
                "ApprovalTargetNotReady" => format!(r#", target="{TARGET}""#),
                _ => String::new(),
            };
            format!(r#"{{alertname="{alert}", job="{job}", {namespaces}{reason}{target}}}"#)
        })
    }
}
