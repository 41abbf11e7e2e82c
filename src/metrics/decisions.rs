//! What `/metrics` tells of the decisions that the cluster has now. It is counted anew at each scrape, from the cache of the
//! watch, so it is right from the first scrape after a start, and the same on every replica.
//!
//! No label names a decision: there may be any number of them, and `kubectl get apd` names those that a reason counts.

use super::ReasonLabel;
use crate::api::v1alpha1::{ApprovalDecision, Reason, Standing};
use crate::decision::{Settings, current_reason, expiry};
use jiff::Timestamp;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// A Unix time in seconds, as Prometheus has them.
type Seconds = Gauge<f64, AtomicU64>;

/// The decisions, counted.
#[derive(Default)]
pub(super) struct Decisions {
    counts: HashMap<&'static str, i64>,
    /// When the newest of the Stalled became so, by reason.
    stalled: HashMap<&'static str, Timestamp>,
    /// When the oldest answer was sent whose result is not known.
    unconfirmed: Option<Timestamp>,
    /// When the first of those expires that may still be answered.
    expiry: Option<Timestamp>,
}

impl Decisions {
    pub(super) fn count(
        decisions: impl Iterator<Item = Arc<ApprovalDecision>>,
        settings: &Settings,
        now: Timestamp,
    ) -> Self {
        let mut counted = Self::default();
        // Of one that is being deleted, nothing is expected any more.
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
        let is_open = match reason.map(Reason::standing) {
            Some(Standing::Settled | Standing::Suspended) => false,
            Some(Standing::Stalled) => {
                let newest = self.stalled.entry(label).or_default();
                *newest = since(decision, "Stalled").map_or(*newest, |since| since.max(*newest));
                false
            }
            Some(Standing::UnderWay) => {
                let submission = decision.status.as_ref().and_then(|status| status.submission.as_ref());
                let sent = submission.map(|submission| submission.start_time);
                self.unconfirmed = self.unconfirmed.into_iter().chain(sent).min();
                true
            }
            Some(Standing::Retrying | Standing::Waiting) => true,
            None => !decision.spec.suspend,
        };
        if is_open {
            let expiry = expiry(decision, settings, now).ok().map(|expiry| expiry.at());
            self.expiry = self.expiry.into_iter().chain(expiry).min();
        }
    }

    /// As metrics. What there is no time of is absent.
    pub(super) fn registry(&self) -> Registry {
        let mut registry = Registry::with_prefix(super::PREFIX);
        let counts = Family::<ReasonLabel, Gauge>::default();
        for reason in Reason::ALL.iter().map(|reason| reason.as_str()).chain(["Unobserved"]) {
            counts.get_or_create(&ReasonLabel { reason }).set(self.counts.get(reason).copied().unwrap_or_default());
        }
        registry.register(
            "decisions",
            "Decisions in the cluster now that are not being deleted, by the reason of their Ready condition; Unobserved \
             is the queue: created or edited, and not taken up yet",
            counts,
        );
        let stalled = Family::<ReasonLabel, Seconds>::default();
        for (reason, time) in &self.stalled {
            stalled.get_or_create(&ReasonLabel { reason }).set(seconds(*time));
        }
        registry.register_with_unit(
            "decision_stalled_timestamp",
            "When the newest of the Stalled decisions became so, by reason; absent where there is none",
            Unit::Seconds,
            stalled,
        );
        for (name, help, time) in [
            (
                "decision_unconfirmed_timestamp",
                "When the oldest answer was sent of which it is not known whether CodePipeline took it (Submitting, \
                 Unconfirmed); absent where there is none",
                self.unconfirmed,
            ),
            (
                "decision_expiry_timestamp",
                "When the first of the decisions expires that may still be answered, by its notAfter or by \
                 --waiting-limit; absent where there is none",
                self.expiry,
            ),
        ] {
            if let Some(time) = time {
                let gauge = Seconds::default();
                gauge.set(seconds(time));
                registry.register_with_unit(name, help, Unit::Seconds, gauge);
            }
        }
        registry
    }
}

fn since(decision: &ApprovalDecision, r#type: &str) -> Option<Timestamp> {
    let conditions = decision.status.as_ref().map(|status| status.conditions.iter()).into_iter().flatten();
    conditions.filter(|condition| condition.r#type == r#type).map(|condition| condition.last_transition_time).next()
}

fn seconds(time: Timestamp) -> f64 {
    time.as_duration().as_secs_f64()
}
