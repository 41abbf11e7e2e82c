//! Metrics about the calls to CodePipeline.

use super::error::{CallError, RetryCause};
use super::operation::Operation;
use crate::api::v1alpha1::Reason;
use jiff::SignedDuration;
use prometheus_client::encoding::{EncodeLabel, EncodeLabelSet, LabelSetEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// The outcomes of a call that are not a reason of a decision.
const OK: &str = "OK";
const INDETERMINATE: &str = "Indeterminate";

/// The name of an `ApprovalTarget`; none for the operator's own account and region, whose series do not have the label.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
struct TargetLabel(Option<Arc<str>>);

impl EncodeLabelSet for TargetLabel {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> std::fmt::Result {
        match &self.0 {
            Some(name) => ("target", &**name).encode(encoder.encode_label()),
            None => Ok(()),
        }
    }
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct RequestLabels {
    operation: &'static str,
    outcome: &'static str,
    #[prometheus(flatten)]
    target: TargetLabel,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct OperationLabels {
    operation: &'static str,
    #[prometheus(flatten)]
    target: TargetLabel,
}

/// Whether the series of a destination are exported.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Series {
    #[default]
    Exported,
    /// The target was deleted. A call that was in flight then must not create its series again.
    Removed,
}

/// Shared by all that records about one target. A record holds the lock, so that none is in progress while the series are removed.
type SharedSeries = Arc<RwLock<Series>>;

/// Counts and times the calls to CodePipeline at one destination. Clones, and those of other destinations, share their values.
#[derive(Clone, Debug)]
pub struct CallMetrics {
    target: TargetLabel,
    /// Whether the series of this target are exported.
    series: SharedSeries,
    requests: Family<RequestLabels, Counter>,
    request_seconds: Family<OperationLabels, Histogram>,
    clock_skew_seconds: Family<TargetLabel, Gauge<f64, AtomicU64>>,
}

/// From 1 ms to about half a minute.
fn call_seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 16))
}

impl Default for CallMetrics {
    /// The metrics of the operator's own account and region.
    fn default() -> Self {
        let metrics = Self {
            target: TargetLabel::default(),
            series: SharedSeries::default(),
            requests: Family::default(),
            request_seconds: Family::new_with_constructor(call_seconds as fn() -> Histogram),
            clock_skew_seconds: Family::default(),
        };
        metrics.create_series();
        metrics
    }
}

impl CallMetrics {
    /// The metrics of a new `ApprovalTarget`, which are exported together with these.
    #[must_use]
    pub fn for_target(&self, name: &str) -> Self {
        let metrics = Self { target: TargetLabel(Some(name.into())), series: SharedSeries::default(), ..self.clone() };
        metrics.create_series();
        metrics
    }

    /// Removes the series, because the `ApprovalTarget` was deleted. Neither these metrics nor their clones record anything after that.
    pub fn remove(&self) {
        let mut series = self.series.write().unwrap_or_else(PoisonError::into_inner);
        *series = Series::Removed;
        // Some outcomes have a series only after the first call that had them.
        let reasons = Reason::ALL.iter().map(|reason| reason.as_str());
        for labels in self.request_labels(&[OK, INDETERMINATE].into_iter().chain(reasons).collect::<Vec<_>>()) {
            self.requests.remove(&labels);
        }
        for labels in self.operation_labels() {
            self.request_seconds.remove(&labels);
        }
        self.clock_skew_seconds.remove(&self.target);
    }

    /// The name of the `ApprovalTarget`; none for the operator's own account and region.
    #[must_use]
    pub fn target(&self) -> Option<&str> {
        self.target.0.as_deref()
    }

    /// Creates every series at zero. If a counter appeared with its first count, Prometheus would see no increase.
    fn create_series(&self) {
        let causes = RetryCause::ALL.iter().map(|cause| Reason::from(*cause).as_str());
        for labels in self.request_labels(&[OK, INDETERMINATE].into_iter().chain(causes).collect::<Vec<_>>()) {
            let _ = self.requests.get_or_create(&labels);
        }
        for labels in self.operation_labels() {
            let _ = self.request_seconds.get_or_create(&labels);
        }
        let _ = self.clock_skew_seconds.get_or_create(&self.target);
    }

    fn operation_labels(&self) -> impl Iterator<Item = OperationLabels> {
        let target = &self.target;
        Operation::ALL.iter().map(|operation| OperationLabels { operation: operation.as_str(), target: target.clone() })
    }

    fn request_labels(&self, outcomes: &[&'static str]) -> Vec<RequestLabels> {
        let labels =
            |operation, target: &TargetLabel, outcome| RequestLabels { operation, outcome, target: target.clone() };
        self.operation_labels()
            .flat_map(|OperationLabels { operation, target }| {
                outcomes.iter().map(move |outcome| labels(operation, &target, outcome))
            })
            .collect()
    }

    /// Adds the metrics to a registry.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "aws_requests",
            "CodePipeline calls, by operation, outcome (OK, Indeterminate, or the reason for the failure) and target",
            self.requests.clone(),
        );
        registry.register_with_unit(
            "aws_request_duration",
            "Duration of CodePipeline calls, by operation and target",
            Unit::Seconds,
            self.request_seconds.clone(),
        );
        registry.register_with_unit(
            "clock_skew",
            "How far AWS's clock was ahead of the operator's at the last response of AWS, by target; beyond 10 s in either direction, the \
             operator submits nothing",
            Unit::Seconds,
            self.clock_skew_seconds.clone(),
        );
    }

    /// Shows how far AWS's clock is ahead of the operator's.
    pub fn set_clock_skew(&self, skew: SignedDuration) {
        self.if_exported(|| {
            self.clock_skew_seconds.get_or_create(&self.target).set(skew.as_secs_f64());
        });
    }

    /// Counts and times a call; `error` is none if it succeeded.
    pub fn record(&self, operation: Operation, error: Option<&CallError>, elapsed: Duration) {
        let (operation, outcome, target) = (operation.as_str(), outcome(error), self.target.clone());
        self.if_exported(|| {
            self.requests.get_or_create(&RequestLabels { operation, outcome, target: target.clone() }).inc();
            self.request_seconds.get_or_create(&OperationLabels { operation, target }).observe(elapsed.as_secs_f64());
        });
    }

    fn if_exported(&self, record: impl FnOnce()) {
        let series = self.series.read().unwrap_or_else(PoisonError::into_inner);
        match *series {
            Series::Exported => record(),
            Series::Removed => {}
        }
    }
}

/// The outcome of a call in one word, for the metrics and the traces.
#[must_use]
pub(super) fn outcome(error: Option<&CallError>) -> &'static str {
    let Some(error) = error else { return OK };
    // CodePipeline is available: it answers that it does not know the execution.
    let unknown_execution = error.unknown_execution().map(|_| Reason::PipelineExecutionNotFound);
    unknown_execution.or_else(|| error.reason()).map_or(INDETERMINATE, Reason::as_str)
}

#[cfg(test)]
mod tests {
    use super::super::error::Refusal;
    use super::*;
    use crate::api::v1alpha1::Exception;
    use prometheus_client::encoding::text::encode;

    fn encoded(metrics: &CallMetrics) -> String {
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        text
    }

    fn sorted(text: &str) -> Vec<&str> {
        let mut lines: Vec<_> = text.lines().collect();
        lines.sort_unstable();
        lines
    }

    #[test]
    fn every_series_exists_before_the_first_call() {
        let text = encoded(&CallMetrics::default());
        let counters = text.lines().filter(|line| line.starts_with("aws_requests_total{") && line.ends_with("} 0"));
        assert_eq!(counters.count(), Operation::ALL.len() * (2 + RetryCause::ALL.len()), "{text}");
    }

    #[test]
    fn an_unknown_execution_does_not_count_as_an_unavailable_service() {
        let not_applied = |name: &str| CallError::NotApplied {
            cause: RetryCause::ServiceUnavailable,
            exception: Some(Exception { r#type: name.to_owned(), message: String::new() }),
            detail: String::new(),
        };
        let unknown = not_applied("PipelineExecutionNotFoundException");
        assert_eq!(outcome(Some(&unknown)), "PipelineExecutionNotFound");
        assert_eq!(outcome(Some(&not_applied("SomethingNewException"))), "ServiceUnavailable");
    }

    #[test]
    fn a_call_is_counted_by_operation_and_outcome() {
        let metrics = CallMetrics::default();
        let error = CallError::Indeterminate { detail: String::new() };
        metrics.record(Operation::PutApprovalResult, Some(&error), Duration::from_millis(3));
        metrics.record(Operation::PutApprovalResult, None, Duration::from_millis(3));
        let text = encoded(&metrics);
        for line in [
            r#"aws_requests_total{operation="PutApprovalResult",outcome="OK"} 1"#,
            r#"aws_requests_total{operation="PutApprovalResult",outcome="Indeterminate"} 1"#,
            r#"aws_request_duration_seconds_count{operation="PutApprovalResult"} 2"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing: {text}");
        }
    }

    #[test]
    fn the_series_of_a_target_have_its_name_and_vanish_with_it() {
        let metrics = CallMetrics::default();
        let before = encoded(&metrics);
        assert!(!before.contains("target="), "{before}");
        let target = metrics.for_target("production");
        target.record(Operation::PutApprovalResult, None, Duration::from_millis(3));
        let unknown = CallError::Refused {
            refusal: Refusal::PipelineNotFound,
            exception: Exception { r#type: "PipelineNotFoundException".to_owned(), message: String::new() },
        };
        target.record(Operation::GetPipelineState, Some(&unknown), Duration::from_millis(3));
        target.set_clock_skew(SignedDuration::from_secs(2));
        let text = encoded(&metrics);
        for line in [
            r#"aws_requests_total{operation="PutApprovalResult",outcome="OK"} 0"#,
            r#"aws_requests_total{operation="PutApprovalResult",outcome="OK",target="production"} 1"#,
            r#"aws_requests_total{operation="PutApprovalResult",outcome="Throttled",target="production"} 0"#,
            r#"aws_requests_total{operation="GetPipelineState",outcome="PipelineNotFound",target="production"} 1"#,
            r#"aws_request_duration_seconds_count{operation="PutApprovalResult",target="production"} 1"#,
            "clock_skew_seconds{} 0.0",
            r#"clock_skew_seconds{target="production"} 2.0"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing: {text}");
        }
        target.remove();
        assert_eq!(sorted(&encoded(&metrics)), sorted(&before));
    }

    #[test]
    fn a_call_that_ends_after_its_target_was_deleted_is_not_counted() {
        let metrics = CallMetrics::default();
        let before = encoded(&metrics);
        let deleted = metrics.for_target("production");
        let in_flight = deleted.clone();
        let end_call = || {
            in_flight.record(Operation::PutApprovalResult, None, Duration::from_millis(3));
            in_flight.set_clock_skew(SignedDuration::from_secs(2));
        };
        deleted.remove();
        end_call();
        assert_eq!(sorted(&encoded(&metrics)), sorted(&before));
        let created_again = metrics.for_target("production");
        end_call();
        created_again.record(Operation::PutApprovalResult, None, Duration::from_millis(3));
        let text = encoded(&metrics);
        for line in [
            r#"aws_requests_total{operation="PutApprovalResult",outcome="OK",target="production"} 1"#,
            r#"clock_skew_seconds{target="production"} 0.0"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing: {text}");
        }
    }
}
