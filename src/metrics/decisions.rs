//! Metrics of the decisions in the cluster now. They are computed from the cache of the watch at each scrape, so they are right
//! from the first scrape after a start, and the same on every replica.
//!
//! No label names a decision, because the number of decisions has no limit. `kubectl get apd` lists them by reason.

use crate::api::v1alpha1::{ApprovalDecision, ReadyClass, Reason};
use crate::decision::{Settings, current_class, current_reason, expiry};
use jiff::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// A Unix time in seconds, which is how Prometheus represents times.
type Seconds = Gauge<f64, AtomicU64>;

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(super) struct ReasonLabel {
    pub reason: &'static str,
}

/// The counts and times of all decisions.
#[derive(Default)]
pub(super) struct Decisions {
    counts: HashMap<&'static str, i64>,
    /// When the decision that stalled last did so, by reason.
    stalled: HashMap<&'static str, Timestamp>,
    /// The start of the oldest submission whose outcome is unknown.
    unconfirmed: Option<Timestamp>,
    /// When the next open decision expires.
    expiry: Option<Timestamp>,
}

impl Decisions {
    pub(super) fn count(
        decisions: impl Iterator<Item = Arc<ApprovalDecision>>,
        settings: &Settings,
        now: Timestamp,
    ) -> Self {
        let mut counted = Self::default();
        for decision in decisions.filter(|decision| decision.metadata.deletion_timestamp.is_none()) {
            counted.add(&decision, settings, now);
        }
        counted
    }

    fn add(&mut self, decision: &ApprovalDecision, settings: &Settings, now: Timestamp) {
        let observed = decision.status.as_ref().and_then(|status| status.observed_generation);
        let reason = current_reason(decision).filter(|_| observed == decision.metadata.generation);
        let label = reason.map_or("Unobserved", Reason::as_str);
        *self.counts.entry(label).or_default() += 1;
        let is_open = match reason.and_then(|_| current_class(decision)) {
            Some(ReadyClass::Settled | ReadyClass::Suspended) => false,
            Some(ReadyClass::Stalled) => {
                let newest = self.stalled.entry(label).or_default();
                *newest = since(decision, "Stalled").map_or(*newest, |since| since.max(*newest));
                false
            }
            Some(ReadyClass::InFlight) => {
                let submission = decision.status.as_ref().and_then(|status| status.submission.as_ref());
                let started = submission.map(|submission| submission.start_time);
                self.unconfirmed = self.unconfirmed.into_iter().chain(started).min();
                true
            }
            Some(ReadyClass::Retrying | ReadyClass::Waiting) => true,
            None => !decision.spec.suspend,
        };
        if is_open {
            let valid = decision.spec.validate(now).ok();
            let expiry = valid.map(|valid| expiry(decision, valid.not_after, settings, now).at());
            self.expiry = self.expiry.into_iter().chain(expiry).min();
        }
    }

    /// Registers the metrics. A time that does not exist is absent.
    pub(super) fn register(&self, registry: &mut Registry) {
        let counts = Family::<ReasonLabel, Gauge>::default();
        for reason in Reason::ALL.iter().map(|reason| reason.as_str()).chain(["Unobserved"]) {
            counts.get_or_create(&ReasonLabel { reason }).set(self.counts.get(reason).copied().unwrap_or_default());
        }
        registry.register(
            "decisions",
            "Number of decisions that are not being deleted, by the reason of their Ready condition; Unobserved is the \
             queue: created or edited, and not reconciled yet",
            counts,
        );
        let stalled = Family::<ReasonLabel, Seconds>::default();
        for (reason, time) in &self.stalled {
            stalled.get_or_create(&ReasonLabel { reason }).set(seconds(*time));
        }
        registry.register_with_unit(
            "decision_stalled_timestamp",
            "Time at which the newest Stalled decision stalled, by reason; absent if there is none",
            Unit::Seconds,
            stalled,
        );
        for (name, help, time) in [
            (
                "decision_unconfirmed_timestamp",
                "Start time of the oldest submission whose outcome is unknown (Submitting, Unconfirmed); absent if there \
                 is none",
                self.unconfirmed,
            ),
            (
                "decision_expiry_timestamp",
                "Time at which the next open decision expires, by its notAfter or --waiting-limit; absent if no decision \
                 is open",
                self.expiry,
            ),
        ] {
            if let Some(time) = time {
                let gauge = Seconds::default();
                gauge.set(seconds(time));
                registry.register_with_unit(name, help, Unit::Seconds, gauge);
            }
        }
    }
}

fn since(decision: &ApprovalDecision, r#type: &str) -> Option<Timestamp> {
    let mut conditions = decision.status.as_ref().map(|status| status.conditions.iter()).into_iter().flatten();
    conditions.find(|condition| condition.r#type == r#type).map(|condition| condition.last_transition_time)
}

fn seconds(time: Timestamp) -> f64 {
    time.as_duration().as_secs_f64()
}
