//! Metrics of the decisions in the cluster now. They are computed from the cache of the watch at each scrape, so they are right
//! from the first scrape after a start, and the same on every replica.
//!
//! No label names a decision, because the number of decisions has no limit. `kubectl get apd` lists them by reason. The times have the
//! namespace of the decisions, so that an alert reaches the team that can act. The counts have none: they are for those who run the
//! operator, and would be a series per namespace and reason.

use crate::api::v1alpha1::{ApprovalDecision, ReadyClass, Reason};
use crate::decision::{Settings, current_class, current_reason, expiry};
use jiff::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// A Unix time in seconds, which is how Prometheus represents times.
type Seconds = Gauge<f64, AtomicU64>;

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(super) struct ReasonLabel {
    pub reason: &'static str,
}

/// The namespace of decisions. Prometheus gives the label `namespace` to the pod that it scrapes.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct NamespaceLabel {
    decision_namespace: String,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct StalledLabel {
    decision_namespace: String,
    reason: &'static str,
}

/// The counts and times of all decisions.
#[derive(Default)]
pub(super) struct Decisions {
    counts: HashMap<&'static str, i64>,
    /// When the decision that stalled last did so, by namespace and reason.
    stalled: HashMap<StalledLabel, Timestamp>,
    /// The start of the oldest submission whose outcome is unknown, by namespace.
    unconfirmed: HashMap<NamespaceLabel, Timestamp>,
    /// When the next open decision expires, by namespace.
    expiry: HashMap<NamespaceLabel, Timestamp>,
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
        let is_observed = |reason: &Reason| observed == decision.metadata.generation && is_reported(*reason);
        let reason = current_reason(decision).filter(is_observed);
        let label = reason.map_or("Unobserved", Reason::as_str);
        *self.counts.entry(label).or_default() += 1;
        let decision_namespace = || decision.metadata.namespace.clone().unwrap_or_default();
        let namespace = || NamespaceLabel { decision_namespace: decision_namespace() };
        let is_open = match reason.and_then(|_| current_class(decision)) {
            Some(ReadyClass::Settled | ReadyClass::Suspended) => false,
            Some(ReadyClass::Stalled) => {
                let label = StalledLabel { decision_namespace: decision_namespace(), reason: label };
                let newest = self.stalled.entry(label).or_default();
                *newest = since(decision, "Stalled").map_or(*newest, |since| since.max(*newest));
                false
            }
            Some(ReadyClass::InFlight) => {
                let submission = decision.status.as_ref().and_then(|status| status.submission.as_ref());
                if let Some(submission) = submission {
                    keep_first(&mut self.unconfirmed, namespace(), submission.start_time);
                }
                true
            }
            Some(ReadyClass::Retrying | ReadyClass::Waiting) => true,
            Some(ReadyClass::Pending) | None => !decision.spec.suspend,
        };
        if is_open && let Ok(valid) = decision.spec.validate(now) {
            keep_first(&mut self.expiry, namespace(), expiry(decision, valid.not_after, settings, now).at());
        }
    }

    /// Registers the metrics. A time that does not exist is absent.
    pub(super) fn register(&self, registry: &mut Registry) {
        let counts = Family::<ReasonLabel, Gauge>::default();
        let reasons = Reason::ALL.iter().filter(|reason| is_reported(**reason)).map(|reason| reason.as_str());
        for reason in reasons.chain(["Unobserved"]) {
            counts.get_or_create(&ReasonLabel { reason }).set(self.counts.get(reason).copied().unwrap_or_default());
        }
        registry.register(
            "decisions",
            "Number of decisions that are not being deleted, by the reason of their Ready condition; Unobserved is the \
             queue: created or edited, and not reconciled yet",
            counts,
        );
        registry.register_with_unit(
            "decision_stalled_timestamp",
            "Time at which the newest Stalled decision stalled, by namespace and reason; absent if there is none",
            Unit::Seconds,
            family(&self.stalled),
        );
        for (name, help, times) in [
            (
                "decision_unconfirmed_timestamp",
                "Start time of the oldest submission whose outcome is unknown (Submitting, Unconfirmed), by namespace; absent \
                 if there is none",
                &self.unconfirmed,
            ),
            (
                "decision_expiry_timestamp",
                "Time at which the next open decision expires, because of its notAfter or --waiting-limit, by namespace; absent \
                 if no decision is open",
                &self.expiry,
            ),
        ] {
            registry.register_with_unit(name, help, Unit::Seconds, family(times));
        }
    }
}

fn keep_first(times: &mut HashMap<NamespaceLabel, Timestamp>, namespace: NamespaceLabel, time: Timestamp) {
    times.entry(namespace).and_modify(|first| *first = time.min(*first)).or_insert(time);
}

fn family<L: Clone + Eq + Hash>(times: &HashMap<L, Timestamp>) -> Family<L, Seconds> {
    let family = Family::<L, Seconds>::default();
    for (label, time) in times {
        family.get_or_create(label).set(seconds(*time));
    }
    family
}

/// Whether an operator reports it, rather than the schema.
fn is_reported(reason: Reason) -> bool {
    reason.ready_class() != ReadyClass::Pending
}

fn since(decision: &ApprovalDecision, r#type: &str) -> Option<Timestamp> {
    let mut conditions = decision.status.as_ref().map(|status| status.conditions.iter()).into_iter().flatten();
    conditions.find(|condition| condition.r#type == r#type).map(|condition| condition.last_transition_time)
}

fn seconds(time: Timestamp) -> f64 {
    time.as_duration().as_secs_f64()
}
