//! What the operator counts, for `/metrics`. Every label's values are a closed set, and every unit stands in the name.

mod decisions;

use crate::api::v1alpha1::{ApprovalDecision, Reason};
use crate::codepipeline::{CallError, Cause, Operation};
use crate::decision::{Outcome, Settings};
use crate::leadership::Role;
use decisions::Decisions;
use jiff::Timestamp;
use kube::ResourceExt;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What every name begins with.
const PREFIX: &str = "approval_operator";

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct RequestLabels {
    operation: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct OperationLabel {
    operation: &'static str,
}

/// The operator's metrics. Clones count into the same.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Registry>,
    leader: Gauge,
    outcomes: Family<ReasonLabel, Counter>,
    delivery_seconds: Histogram,
    aws_requests: Family<RequestLabels, Counter>,
    aws_request_seconds: Family<OperationLabel, Histogram>,
    reconciles_in_progress: Gauge,
    reconcile_seconds: Histogram,
    reconcile_errors: Counter,
    watch_errors: Counter,
}

/// From 1 ms to some half a minute.
fn call_seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 16))
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix(PREFIX);
        let metrics = Self {
            registry: Arc::default(),
            leader: Gauge::default(),
            outcomes: Family::default(),
            // From 10 ms to some three days: a decision can wait for its retries.
            delivery_seconds: Histogram::new(exponential_buckets(0.01, 4.0, 13)),
            aws_requests: Family::default(),
            aws_request_seconds: Family::new_with_constructor(call_seconds as fn() -> Histogram),
            reconciles_in_progress: Gauge::default(),
            reconcile_seconds: call_seconds(),
            reconcile_errors: Counter::default(),
            watch_errors: Counter::default(),
        };
        metrics.expect();
        registry.register(
            "leader",
            "Whether this replica takes up decisions: 1 if it does, 0 if it is a standby or stops",
            metrics.leader.clone(),
        );
        registry.register("outcomes", "Changes of a decision's reason, by the new one", metrics.outcomes.clone());
        registry.register_with_unit(
            "delivery_duration",
            "From a decision's creation to its delivery, for decisions that were not edited",
            Unit::Seconds,
            metrics.delivery_seconds.clone(),
        );
        registry.register(
            "aws_requests",
            "Calls to CodePipeline, by operation and outcome (OK, Lost, or the reason of a refusal)",
            metrics.aws_requests.clone(),
        );
        registry.register_with_unit(
            "aws_request_duration",
            "The time that calls to CodePipeline took, by operation",
            Unit::Seconds,
            metrics.aws_request_seconds.clone(),
        );
        registry.register(
            "reconciles_in_progress",
            "Rounds over a decision that run now; those that read the record do not count against --concurrency",
            metrics.reconciles_in_progress.clone(),
        );
        registry.register_with_unit(
            "reconcile_duration",
            "The time that rounds over a decision took",
            Unit::Seconds,
            metrics.reconcile_seconds.clone(),
        );
        registry.register(
            "reconcile_errors",
            "Rounds that ended because the API server could not be read or written",
            metrics.reconcile_errors.clone(),
        );
        registry.register(
            "watch_errors",
            "Errors of the watch on decisions; each is followed by a new try",
            metrics.watch_errors.clone(),
        );
        Self { registry: Arc::new(registry), ..metrics }
    }
}

impl Metrics {
    /// Shows what can be counted before there is any. A counter that appears with its first count looks as if it had never
    /// been less, and Prometheus sees no increase.
    fn expect(&self) {
        for reason in Reason::ALL {
            let _ = self.outcomes.get_or_create(&ReasonLabel { reason: reason.as_str() });
        }
        for operation in Operation::ALL.iter().map(|operation| operation.as_str()) {
            let causes = Cause::ALL.iter().map(|cause| Reason::from(*cause).as_str());
            for outcome in [OK, LOST].into_iter().chain(causes) {
                let _ = self.aws_requests.get_or_create(&RequestLabels { operation, outcome });
            }
            let _ = self.aws_request_seconds.get_or_create(&OperationLabel { operation });
        }
    }

    /// Counts a call to the service.
    pub fn aws_request(&self, operation: Operation, error: Option<&CallError>, took: Duration) {
        let operation = operation.as_str();
        let outcome = outcome(error);
        self.aws_requests.get_or_create(&RequestLabels { operation, outcome }).inc();
        self.aws_request_seconds.get_or_create(&OperationLabel { operation }).observe(took.as_secs_f64());
    }

    /// Counts a change of reason.
    pub fn outcome(&self, decision: &ApprovalDecision, outcome: &Outcome) {
        self.outcomes.get_or_create(&ReasonLabel { reason: outcome.reason().as_str() }).inc();
        if let (Outcome::Delivered { .. }, Some(1)) = (outcome, decision.metadata.generation)
            && let Some(created) = decision.creation_timestamp()
        {
            // A creation time is cut to its second.
            self.delivery_seconds.observe(Timestamp::now().duration_since(created.0).as_secs_f64().max(0.0));
        }
    }

    /// Times a round until what it returns is dropped.
    #[must_use]
    pub fn reconcile(&self) -> impl Drop + use<> {
        self.reconciles_in_progress.inc();
        RunningReconcile { begun: Instant::now(), metrics: self.clone() }
    }

    /// Counts a round that failed.
    pub fn reconcile_error(&self) {
        self.reconcile_errors.inc();
    }

    /// Counts an error of the watch.
    pub fn watch_error(&self) {
        self.watch_errors.inc();
    }

    /// All metrics in the OpenMetrics text format, over the decisions that the cluster has now.
    ///
    /// # Errors
    /// When formatting fails, which writing to a string does not.
    pub fn encode(
        &self,
        decisions: impl Iterator<Item = Arc<ApprovalDecision>>,
        settings: &Settings,
        role: Role,
    ) -> Result<String, std::fmt::Error> {
        self.leader.set(match role {
            Role::Leader => 1,
            Role::Standby | Role::Stopping => 0,
        });
        let mut text = String::new();
        encode_registry(&mut text, &self.registry)?;
        encode_registry(&mut text, &Decisions::count(decisions, settings, Timestamp::now()).registry())?;
        encode_eof(&mut text)?;
        Ok(text)
    }
}

/// The outcomes of a call that are no reason of a decision.
const OK: &str = "OK";
const LOST: &str = "Lost";

/// What came of a call, in one word.
#[must_use]
pub fn outcome(error: Option<&CallError>) -> &'static str {
    error.map_or(OK, |error| error.reason().map_or(LOST, Reason::as_str))
}

struct RunningReconcile {
    begun: Instant,
    metrics: Metrics,
}

impl Drop for RunningReconcile {
    fn drop(&mut self) {
        self.metrics.reconciles_in_progress.dec();
        self.metrics.reconcile_seconds.observe(self.begun.elapsed().as_secs_f64());
    }
}
