//! Somebody who sees all decisions of a test as they are, by one watch of their own.

use crate::support::Case;
use approval_operator::api::v1alpha1::ApprovalDecision;
use futures::StreamExt;
use kube::ResourceExt;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{Config, Event, watcher};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::timeout;

type Decisions = BTreeMap<String, ApprovalDecision>;

pub struct Onlooker {
    seen: watch::Receiver<Decisions>,
    watching: AbortHandle,
}

impl Onlooker {
    pub fn of(case: &Case) -> Self {
        let (sender, seen) = watch::channel(Decisions::new());
        let mut events = Box::pin(watcher(case.decisions.clone(), Config::default()).default_backoff());
        let watching = tokio::spawn(async move {
            while let Some(event) = events.next().await {
                sender.send_modify(|decisions| match event {
                    Ok(Event::Apply(decision) | Event::InitApply(decision)) => {
                        decisions.insert(decision.name_any(), decision);
                    }
                    Ok(Event::Delete(decision)) => {
                        decisions.remove(&decision.name_any());
                    }
                    Ok(Event::Init) => decisions.clear(),
                    Ok(Event::InitDone) | Err(_) => {}
                });
            }
        });
        Self { seen, watching: watching.abort_handle() }
    }

    /// A decision as it is, if it is there.
    pub fn now(&self, name: &str) -> Option<ApprovalDecision> {
        self.seen.borrow().get(name).cloned()
    }

    /// Waits until a decision is as asked for.
    ///
    /// # Errors
    /// What it is instead, when the time is over.
    pub async fn until(
        &self,
        name: &str,
        within: Duration,
        is_so: impl Fn(&ApprovalDecision) -> bool,
    ) -> Result<ApprovalDecision, String> {
        let mut seen = self.seen.clone();
        let found = seen.wait_for(|decisions| decisions.get(name).is_some_and(&is_so));
        if let Ok(Ok(decisions)) = timeout(within, found).await {
            return Ok(decisions[name].clone());
        }
        let now = self.now(name).and_then(|decision| decision.status);
        Err(format!("{name} was not settled within {within:?}; it is {now:#?}"))
    }
}

impl Drop for Onlooker {
    fn drop(&mut self) {
        self.watching.abort();
    }
}
