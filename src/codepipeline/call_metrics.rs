//! Metrics about the calls to CodePipeline.

use super::error::{CallError, RetryCause};
use super::operation::Operation;
use crate::api::v1alpha1::Reason;
use jiff::SignedDuration;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// The outcomes of a call that are not a reason of a decision.
const OK: &str = "OK";
const INDETERMINATE: &str = "Indeterminate";

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct RequestLabels {
    operation: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct OperationLabel {
    operation: &'static str,
}

/// Counts and times the calls to CodePipeline. Clones share their values.
#[derive(Clone, Debug)]
pub struct CallMetrics {
    requests: Family<RequestLabels, Counter>,
    request_seconds: Family<OperationLabel, Histogram>,
    clock_skew_seconds: Gauge<f64, AtomicU64>,
}

/// From 1 ms to about half a minute.
fn call_seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 16))
}

impl Default for CallMetrics {
    /// Creates every series at zero. If a counter appeared with its first count, Prometheus would see no increase.
    fn default() -> Self {
        let metrics = Self {
            requests: Family::default(),
            request_seconds: Family::new_with_constructor(call_seconds as fn() -> Histogram),
            clock_skew_seconds: Gauge::default(),
        };
        for operation in Operation::ALL.iter().map(|operation| operation.as_str()) {
            let causes = RetryCause::ALL.iter().map(|cause| Reason::from(*cause).as_str());
            for outcome in [OK, INDETERMINATE].into_iter().chain(causes) {
                let _ = metrics.requests.get_or_create(&RequestLabels { operation, outcome });
            }
            let _ = metrics.request_seconds.get_or_create(&OperationLabel { operation });
        }
        metrics
    }
}

impl CallMetrics {
    /// Adds the metrics to a registry.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "aws_requests",
            "CodePipeline calls, by operation and outcome: OK, Indeterminate, or the reason for the failure",
            self.requests.clone(),
        );
        registry.register_with_unit(
            "aws_request_duration",
            "Duration of CodePipeline calls, by operation",
            Unit::Seconds,
            self.request_seconds.clone(),
        );
        registry.register_with_unit(
            "clock_skew",
            "How far AWS's clock was ahead of the operator's at the last response of AWS; beyond 10 s in either direction, the operator \
             submits nothing",
            Unit::Seconds,
            self.clock_skew_seconds.clone(),
        );
    }

    /// Shows how far AWS's clock is ahead of the operator's.
    pub fn set_clock_skew(&self, skew: SignedDuration) {
        self.clock_skew_seconds.set(skew.as_secs_f64());
    }

    /// Counts and times a call; `error` is none if it succeeded.
    pub fn record(&self, operation: Operation, error: Option<&CallError>, elapsed: Duration) {
        let (operation, outcome) = (operation.as_str(), outcome(error));
        self.requests.get_or_create(&RequestLabels { operation, outcome }).inc();
        self.request_seconds.get_or_create(&OperationLabel { operation }).observe(elapsed.as_secs_f64());
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
}
