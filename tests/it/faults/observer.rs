//! Observes all decisions of a test with a watch of its own, which no fault affects.

use approval_operator::api::v1alpha1::ApprovalDecision;
use futures::StreamExt;
use kube::ResourceExt;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{Config, Event, watcher};
use std::collections::BTreeMap;
use std::time::Duration;
use test_support::TestEnv;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::timeout;

type Decisions = BTreeMap<String, ApprovalDecision>;

pub struct Observer {
    decisions: watch::Receiver<Decisions>,
    watching: AbortHandle,
}

impl Observer {
    pub fn new(env: &TestEnv) -> Self {
        let (sender, decisions) = watch::channel(Decisions::new());
        let mut events = Box::pin(watcher(env.decisions.clone(), Config::default()).default_backoff());
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
        Self { decisions, watching: watching.abort_handle() }
    }

    /// The newest version of a decision, if it exists.
    pub fn latest(&self, name: &str) -> Option<ApprovalDecision> {
        self.decisions.borrow().get(name).cloned()
    }

    /// Waits until a decision meets a condition.
    ///
    /// # Errors
    /// The status of the decision, if it does not meet the condition in time.
    pub async fn wait_for(
        &self,
        name: &str,
        within: Duration,
        condition: impl Fn(&ApprovalDecision) -> bool,
    ) -> Result<ApprovalDecision, String> {
        let mut decisions = self.decisions.clone();
        let found = decisions.wait_for(|decisions| decisions.get(name).is_some_and(&condition));
        if let Ok(Ok(decisions)) = timeout(within, found).await {
            return Ok(decisions[name].clone());
        }
        let status = self.latest(name).and_then(|decision| decision.status);
        Err(format!("{name} did not reach the expected state within {within:?}; its status is {status:#?}"))
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.watching.abort();
    }
}
