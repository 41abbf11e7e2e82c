//! What all connections share: the service, the faults, the counts and the clock, behind one lock that is never held
//! across an await. Whoever lets go of the lock wakes those who wait for something to happen.

use std::{
    collections::BTreeMap,
    ops::{Deref, DerefMut},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use tokio::sync::watch;

use crate::{api::Operation, faults::Faults, model::Service};

/// Views change with time alone where they lag, so those who wait look again at least this often.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    changed: watch::Sender<()>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) service: Service,
    pub(super) faults: Faults,
    pub(super) requests: RequestCounts,
    ahead: SignedDuration,
}

impl State {
    /// The time here, to the millisecond: what callers see of it then equals what the ledger says.
    pub(super) fn now(&self) -> Timestamp {
        let now = Timestamp::now().saturating_add(self.ahead).unwrap_or(Timestamp::MAX);
        Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
    }

    pub(super) fn advance(&mut self, by: Duration) {
        let by = SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX);
        self.ahead = self.ahead.saturating_add(by);
        let now = self.now();
        self.service.settle(now);
    }
}

impl Shared {
    pub(super) fn new(service: Service) -> Self {
        let state = State {
            service,
            faults: Faults::default(),
            requests: RequestCounts::default(),
            ahead: SignedDuration::ZERO,
        };
        Self { state: Mutex::new(state), changed: watch::Sender::new(()) }
    }

    pub(super) fn lock(&self) -> Locked<'_> {
        // A test that panics in a closure of its own leaves the state as whole as any other.
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        Locked { state, _wake: Wake(&self.changed) }
    }

    pub(super) async fn wait_until(&self, mut condition: impl FnMut(&mut State, Timestamp) -> bool) {
        let mut changed = self.changed.subscribe();
        loop {
            let met = {
                // Not by `lock`, whose end would wake this very loop.
                let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                let now = state.now();
                state.service.settle(now);
                condition(&mut state, now)
            };
            if met {
                return;
            }
            // Either way it is time to look again.
            let _ = tokio::time::timeout(LOOK_AGAIN, changed.changed()).await;
        }
    }
}

/// The lock while it is held. Fields are dropped in their order: the lock is free before anybody wakes.
pub(super) struct Locked<'a> {
    state: MutexGuard<'a, State>,
    _wake: Wake<'a>,
}

struct Wake<'a>(&'a watch::Sender<()>);

impl Drop for Wake<'_> {
    fn drop(&mut self) {
        self.0.send_replace(());
    }
}

impl Deref for Locked<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        &self.state
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut State {
        &mut self.state
    }
}

/// How many requests have come in.
#[derive(Clone, Debug, Default)]
pub(super) struct RequestCounts(BTreeMap<(Operation, Option<String>), u64>);

/// One of the counts, as the control routes show it.
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

    /// Of an operation, for one pipeline or in all.
    pub(super) fn of(&self, operation: Operation, pipeline: Option<&str>) -> u64 {
        let of_operation = self.0.iter().filter(|((counted, _), _)| *counted == operation);
        let wanted = of_operation.filter(|((_, named), _)| pipeline.is_none() || named.as_deref() == pipeline);
        wanted.map(|(_, requests)| requests).sum()
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
