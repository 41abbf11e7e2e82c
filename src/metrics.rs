//! The metrics of the operator, for `/metrics`. The values of each label are a closed set, and each name contains its unit.

mod decisions;

use crate::api::v1alpha1::{ApprovalDecision, Reason};
use crate::codepipeline::CallMetrics;
use crate::decision::Settings;
use crate::leader_election::LeaderState;
use decisions::{Decisions, ReasonLabel};
use jiff::Timestamp;
use kube::ResourceExt;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use std::sync::Arc;
use std::time::Instant;

/// The prefix of every name.
const PREFIX: &str = "approval_operator";

/// The commit that the program was built from, if the build knows it.
const REVISION: Option<&str> = option_env!("SOURCE_REVISION");

/// The metrics of the operator. Clones share the same counters.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Registry>,
    leader: Gauge,
    outcomes: Family<ReasonLabel, Counter>,
    delivery_seconds: Histogram,
    reconciles_in_progress: Gauge,
    reconcile_seconds: Histogram,
    reconcile_errors: Counter,
    watch_errors: Counter,
    namespaces_not_listed: Gauge,
}

impl Metrics {
    /// Metrics that start at zero, exported together with those of the calls to CodePipeline.
    #[must_use]
    pub fn new(calls: &CallMetrics) -> Self {
        let mut registry = Registry::with_prefix(PREFIX);
        let metrics = Self {
            registry: Arc::default(),
            leader: Gauge::default(),
            outcomes: Family::default(),
            // From 10 ms to about two days: a decision can wait for its retries.
            delivery_seconds: Histogram::new(exponential_buckets(0.01, 4.0, 13)),
            reconciles_in_progress: Gauge::default(),
            // From 1 ms to about half a minute.
            reconcile_seconds: Histogram::new(exponential_buckets(0.001, 2.0, 16)),
            reconcile_errors: Counter::default(),
            watch_errors: Counter::default(),
            namespaces_not_listed: Gauge::default(),
        };
        // A counter that appears with its first event seems to have always had that value, and Prometheus sees no increase.
        for reason in Reason::ALL {
            let _ = metrics.outcomes.get_or_create(&ReasonLabel { reason: reason.as_str() });
        }
        let revision = REVISION.filter(|revision| !revision.is_empty()).map(|revision| ("revision", revision));
        registry.register(
            "build",
            "The version of the program, and the commit that it was built from, if the build knows it; always 1",
            Info::new([("version", env!("CARGO_PKG_VERSION"))].into_iter().chain(revision).collect::<Vec<_>>()),
        );
        registry.register(
            "leader",
            "Whether this replica is the leader: 1 if it is, 0 if it is a standby or is shutting down",
            metrics.leader.clone(),
        );
        registry.register(
            "outcomes",
            "Number of times that the reason of a decision changed, by new reason",
            metrics.outcomes.clone(),
        );
        registry.register_with_unit(
            "delivery_duration",
            "Time from the creation of a decision to its delivery, for decisions that were not edited",
            Unit::Seconds,
            metrics.delivery_seconds.clone(),
        );
        calls.register(&mut registry);
        registry.register(
            "reconciles_in_progress",
            "Number of reconciles in progress",
            metrics.reconciles_in_progress.clone(),
        );
        registry.register_with_unit(
            "reconcile_duration",
            "Duration of reconciles",
            Unit::Seconds,
            metrics.reconcile_seconds.clone(),
        );
        registry.register(
            "reconcile_errors",
            "Number of reconciles that failed because the API server could not be read or written",
            metrics.reconcile_errors.clone(),
        );
        registry.register(
            "watch_errors",
            "Number of errors of the watches on decisions, targets and namespaces; the operator retries after each",
            metrics.watch_errors.clone(),
        );
        registry.register(
            "namespaces_not_listed",
            "Number of namespaces of --namespace whose decisions the operator is not allowed to list: they are not reconciled, and \
             their rejections hold back no approval",
            metrics.namespaces_not_listed.clone(),
        );
        Self { registry: Arc::new(registry), ..metrics }
    }

    /// Counts a change of reason.
    pub fn reason_changed(&self, decision: &ApprovalDecision, reason: Reason) {
        self.outcomes.get_or_create(&ReasonLabel { reason: reason.as_str() }).inc();
        if reason == Reason::Delivered
            && decision.metadata.generation == Some(1)
            && let Some(created) = decision.creation_timestamp()
        {
            // The creation time has no fraction, so clocks that differ slightly can make the difference negative.
            self.delivery_seconds.observe(Timestamp::now().duration_since(created.0).as_secs_f64().max(0.0));
        }
    }

    /// Counts and times a reconcile until the guard is dropped.
    #[must_use]
    pub fn reconcile_started(&self) -> impl Drop + use<> {
        self.reconciles_in_progress.inc();
        ReconcileInProgress { started_at: Instant::now(), metrics: self.clone() }
    }

    /// Counts a reconcile that failed.
    pub fn reconcile_failed(&self) {
        self.reconcile_errors.inc();
    }

    /// Counts an error of the watch.
    pub fn watch_failed(&self) {
        self.watch_errors.inc();
    }

    /// Counts a namespace that the operator is not allowed to list.
    pub fn namespace_refused(&self) {
        self.namespaces_not_listed.inc();
    }

    /// A namespace that the operator was not allowed to list is listed after all.
    pub fn namespace_listed(&self) {
        self.namespaces_not_listed.dec();
    }

    /// All metrics in the OpenMetrics text format, including those of the decisions in the cluster now.
    ///
    /// # Errors
    /// When formatting fails, which cannot happen when writing to a string.
    pub fn encode(
        &self,
        decisions: impl Iterator<Item = Arc<ApprovalDecision>>,
        targets: &[(String, bool)],
        settings: &Settings,
        leader: LeaderState,
    ) -> Result<String, std::fmt::Error> {
        self.leader.set(match leader {
            LeaderState::Leader => 1,
            LeaderState::Standby | LeaderState::Stopping => 0,
        });
        let mut text = String::new();
        encode_registry(&mut text, &self.registry)?;
        let mut registry = Registry::with_prefix(PREFIX);
        Decisions::count(decisions, settings, Timestamp::now()).register(&mut registry);
        register_targets(targets, &mut registry);
        encode_registry(&mut text, &registry)?;
        encode_eof(&mut text)?;
        Ok(text)
    }
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct TargetLabel {
    target: String,
}

fn register_targets(targets: &[(String, bool)], registry: &mut Registry) {
    let ready = Family::<TargetLabel, Gauge>::default();
    for (target, is_ready) in targets {
        ready.get_or_create(&TargetLabel { target: target.clone() }).set((*is_ready).into());
    }
    let meaning =
        "Whether an ApprovalTarget is Ready: 1 if STS confirmed its account, 0 if not. Only the leader asks STS";
    registry.register("target_ready", meaning, ready);
}

struct ReconcileInProgress {
    started_at: Instant,
    metrics: Metrics,
}

impl Drop for ReconcileInProgress {
    fn drop(&mut self) {
        self.metrics.reconciles_in_progress.dec();
        self.metrics.reconcile_seconds.observe(self.started_at.elapsed().as_secs_f64());
    }
}
