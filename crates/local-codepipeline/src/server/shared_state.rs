//! The state that all connections share: the service, the faults, the request counts and the clock, behind one lock
//! that is never held across an await. Releasing the lock wakes the tasks in `wait_until`.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::{Deref, DerefMut},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp, fmt::rfc2822::DateTimePrinter};
use serde::Serialize;
use tokio::sync::watch;

use crate::{api::Operation, faults::ActiveFaults, model::Service};

/// Lagging reads change without any call, so `wait_until` checks its condition at least this often.
const RECHECK_INTERVAL: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    changed: watch::Sender<()>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) service: Service,
    pub(super) faults: ActiveFaults,
    pub(super) requests: RequestCounts,
    clock_offset: SignedDuration,
    /// How far the `Date` header is ahead of the clock of the machine.
    pub(super) date_offset: SignedDuration,
    /// The access keys that AWS does not know, such as deleted ones.
    pub(super) refused_access_keys: BTreeSet<String>,
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
        self.service.advance_to(now);
    }

    /// The `Date` header of a response of AWS; none outside the years that a header can have. It does not follow
    /// `advance_clock`, which lets time pass for pipelines: a caller would take the difference for a wrong clock.
    pub(super) fn date(&self) -> Option<String> {
        let date = Timestamp::now().saturating_add(self.date_offset).ok()?;
        DateTimePrinter::new().timestamp_to_rfc9110_string(&date).ok()
    }
}

impl Shared {
    pub(super) fn new(service: Service) -> Self {
        let state = State {
            service,
            faults: ActiveFaults::default(),
            requests: RequestCounts::default(),
            clock_offset: SignedDuration::ZERO,
            date_offset: SignedDuration::ZERO,
            refused_access_keys: BTreeSet::new(),
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
                state.service.advance_to(now);
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
pub(super) struct RequestCounts(BTreeMap<(Operation, Option<String>), u64>);

/// One count, as the control routes return it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RequestCount {
    operation: Operation,
    pipeline_name: Option<String>,
    requests: u64,
}

impl RequestCounts {
    pub(super) fn add(&mut self, operation: Operation, pipeline: Option<String>) {
        *self.0.entry((operation, pipeline)).or_default() += 1;
    }

    /// The number of requests of an operation, for one pipeline or in total.
    pub(super) fn count(&self, operation: Operation, pipeline: Option<&str>) -> u64 {
        let of_operation = self.0.iter().filter(|((counted, _), _)| *counted == operation);
        let matching = of_operation.filter(|((_, named), _)| pipeline.is_none() || named.as_deref() == pipeline);
        matching.map(|(_, requests)| requests).sum()
    }

    pub(super) fn list(&self) -> Vec<RequestCount> {
        let counts = self.0.iter();
        counts
            .map(|((operation, pipeline_name), requests)| RequestCount {
                operation: *operation,
                pipeline_name: pipeline_name.clone(),
                requests: *requests,
            })
            .collect()
    }
}
