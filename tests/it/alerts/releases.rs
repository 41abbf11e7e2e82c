//! Releases of the operator as one Prometheus sees them, made of what running operators showed: trouble that lasts, that has
//! passed, that only a standby still shows.

use super::promtool::{MINUTES, Phase, Scrape, series};
use approval_operator::api::v1alpha1::Reason;
use serde_json::Value;

/// An operator in trouble, or in none, and the alerts that are to ring, each with its reason if it has one.
#[derive(Clone)]
pub struct Scene {
    pub name: &'static str,
    pub before: Scrape,
    pub now: Scrape,
    pub alerts: Vec<(&'static str, Option<Reason>)>,
}

/// What the replicas of a release show, and the alerts that are to ring.
pub struct Release {
    pub name: String,
    pub replicas: Vec<Vec<Phase>>,
    pub alerts: Vec<(&'static str, Option<Reason>)>,
}

impl Scene {
    /// The same decisions, on a replica that does nothing.
    fn standby(&self) -> Scrape {
        self.now.clone().with("approval_operator_leader", 0.0)
    }

    pub fn lasts(&self) -> Release {
        let replicas =
            vec![vec![Phase::growing(&self.before, &self.now, MINUTES)], vec![Phase::still(&self.standby(), MINUTES)]];
        Release { name: self.name.to_owned(), replicas, alerts: self.alerts.clone() }
    }

    /// Two minutes of it, on all replicas that there are.
    pub fn passes(&self, well: &Scrape) -> Release {
        let trouble = Phase::growing(&self.before, &self.now, 2);
        let phases = vec![Phase::still(well, 10), trouble, Phase::still(well, MINUTES - 12)];
        Release { name: format!("{}-has-passed", self.name), replicas: vec![phases], alerts: vec![] }
    }

    /// A standby was cut off from the API server then, and still shows it. The leader does not.
    pub fn is_old_news(&self, well: &Scrape) -> Release {
        let replicas = vec![vec![Phase::still(well, MINUTES)], vec![Phase::still(&self.standby(), MINUTES)]];
        Release { name: format!("{}-is-old-news", self.name), replicas, alerts: vec![] }
    }

    /// The time of what expires is up, and the decision is still there.
    pub fn is_overdue(&self) -> Release {
        let mut later = self.now.clone();
        later.at += 2.0 * 3600.0;
        let replicas = vec![vec![Phase::still(&later, MINUTES)]];
        Release { name: format!("{}-is-overdue", self.name), replicas, alerts: vec![] }
    }

    /// Nothing is mended by another replica's taking over, with a scrape in between that finds no leader.
    pub fn outlasts_its_leader(&self, alert: &'static str) -> Release {
        let standby = self.standby();
        let replicas = vec![
            vec![Phase::still(&self.now, 20), Phase::still(&standby, MINUTES - 20)],
            vec![Phase::still(&standby, 21), Phase::still(&self.now, MINUTES - 21)],
        ];
        Release { name: format!("{}-outlasts-its-leader", self.name), replicas, alerts: vec![(alert, None)] }
    }
}

impl Release {
    /// All its replicas end.
    pub fn gone(well: &Scrape) -> Self {
        let replicas = vec![vec![Phase::still(well, 10)]; 2];
        Self { name: "gone".to_owned(), replicas, alerts: vec![("ApprovalOperatorDown", None)] }
    }

    pub fn series(&self) -> Vec<Value> {
        let replicas = self.replicas.iter().enumerate();
        replicas.flat_map(|(index, phases)| series(phases, &self.name, &format!("replica-{index}"))).collect()
    }

    pub fn ringing(&self) -> impl Iterator<Item = String> {
        self.alerts.iter().map(|(alert, reason)| {
            let reason = reason.map_or(String::new(), |reason| format!(r#", reason="{}""#, reason.as_str()));
            format!(r#"{{alertname="{alert}", job="{}"{reason}}}"#, self.name)
        })
    }
}
