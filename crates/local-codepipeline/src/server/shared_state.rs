//! The state that all connections share: the services, the faults, the request counts and the clock, behind one lock
//! that is never held across an await. Releasing the lock wakes the tasks in `wait_until`.

use std::{
    collections::BTreeMap,
    ops::{Deref, DerefMut},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp, fmt::rfc2822::DateTimePrinter};
use serde::Serialize;
use tokio::sync::watch;

use crate::{api::Operation, cloud::Cloud, faults::ActiveFaults, model::Account};

/// Lagging reads change without any call, so `wait_until` checks its condition at least this often.
const RECHECK_INTERVAL: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    changed: watch::Sender<()>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) cloud: Cloud,
    pub(super) faults: ActiveFaults,
    pub(super) requests: RequestCounts,
    clock_offset: SignedDuration,
    /// How far the `Date` header is ahead of the clock of the machine.
    pub(super) date_offset: SignedDuration,
}

impl State {
    /// The current time of the endpoint, in whole milliseconds, so that the wire protocol and the ledger have equal
    /// times.
    pub(super) fn now(&self) -> Timestamp {
        let now = Timestamp::now().saturating_add(self.clock_offset).unwrap_or(Timestamp::MAX);
        Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
    }

    pub(super) fn advance_clock(&mut self, by: Duration) {
        let by = SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX);
        self.clock_offset = self.clock_offset.saturating_add(by);
        let now = self.now();
        self.cloud.advance_to(now);
    }

    /// The time of the `Date` header, which sessions expire by. It does not follow `advance_clock`, which lets time pass for
    /// pipelines: a caller would take the difference for a wrong clock.
    pub(super) fn date(&self) -> Timestamp {
        let end = if self.date_offset.is_negative() { Timestamp::MIN } else { Timestamp::MAX };
        Timestamp::now().saturating_add(self.date_offset).unwrap_or(end)
    }

    /// The `Date` header of a response of AWS; none outside the years that a header can have.
    pub(super) fn date_header(&self) -> Option<String> {
        DateTimePrinter::new().timestamp_to_rfc9110_string(&self.date()).ok()
    }
}

impl Shared {
    pub(super) fn new(cloud: Cloud) -> Self {
        let state = State {
            cloud,
            faults: ActiveFaults::default(),
            requests: RequestCounts::default(),
            clock_offset: SignedDuration::ZERO,
            date_offset: SignedDuration::ZERO,
        };
        Self { state: Mutex::new(state), changed: watch::Sender::new(()) }
    }

    pub(super) fn lock(&self) -> StateGuard<'_> {
        // A panic in a test's closure does not corrupt the state.
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        StateGuard { state, _notify: NotifyOnDrop(&self.changed) }
    }

    pub(super) async fn wait_until(&self, mut condition: impl FnMut(&mut State, Timestamp) -> bool) {
        let mut changed = self.changed.subscribe();
        loop {
            let met = {
                // Not `lock`: releasing it would wake this loop.
                let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                let now = state.now();
                state.cloud.advance_to(now);
                condition(&mut state, now)
            };
            if met {
                return;
            }
            // Check again after a change and after a timeout.
            let _ = tokio::time::timeout(RECHECK_INTERVAL, changed.changed()).await;
        }
    }
}

/// The held lock. Fields are dropped in order, so the lock is released before tasks wake.
pub(super) struct StateGuard<'a> {
    state: MutexGuard<'a, State>,
    _notify: NotifyOnDrop<'a>,
}

struct NotifyOnDrop<'a>(&'a watch::Sender<()>);

impl Drop for NotifyOnDrop<'_> {
    fn drop(&mut self) {
        self.0.send_replace(());
    }
}

impl Deref for StateGuard<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        &self.state
    }
}

impl DerefMut for StateGuard<'_> {
    fn deref_mut(&mut self) -> &mut State {
        &mut self.state
    }
}

/// The number of received requests.
#[derive(Clone, Debug, Default)]
pub(super) struct RequestCounts(BTreeMap<RequestKey, u64>);

/// What requests are counted by. No account is the default account.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct RequestKey {
    account: Option<Account>,
    operation: Operation,
    pipeline: Option<String>,
}

/// One count, as the control routes return it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RequestCount {
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<Account>,
    operation: Operation,
    pipeline_name: Option<String>,
    requests: u64,
}

impl RequestCounts {
    pub(super) fn add(&mut self, account: Option<Account>, operation: Operation, pipeline: Option<String>) {
        *self.0.entry(RequestKey { account, operation, pipeline }).or_default() += 1;
    }

    /// The number of requests of an operation in all accounts, for one pipeline or in total.
    pub(super) fn count(&self, operation: Operation, pipeline: Option<&str>) -> u64 {
        self.sum(operation, pipeline, |_| true)
    }

    /// The number of requests of an operation in one account and region.
    pub(super) fn count_in(&self, account: Option<&Account>, operation: Operation, pipeline: Option<&str>) -> u64 {
        self.sum(operation, pipeline, |counted| counted == account)
    }

    fn sum(&self, operation: Operation, pipeline: Option<&str>, of: impl Fn(Option<&Account>) -> bool) -> u64 {
        let of_operation = self.0.iter().filter(|(key, _)| key.operation == operation && of(key.account.as_ref()));
        let matching = of_operation.filter(|(key, _)| pipeline.is_none() || key.pipeline.as_deref() == pipeline);
        matching.map(|(_, requests)| requests).sum()
    }

    pub(super) fn list(&self) -> Vec<RequestCount> {
        let counts = self.0.iter();
        counts
            .map(|(key, requests)| RequestCount {
                account: key.account.clone(),
                operation: key.operation,
                pipeline_name: key.pipeline.clone(),
                requests: *requests,
            })
            .collect()
    }
}
