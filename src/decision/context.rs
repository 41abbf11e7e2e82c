//! What rounds share: the neighbours that they speak to, what they depend on, and whether it is their replica's turn.

use super::limits::Settings;
use crate::api::v1alpha1::ApprovalDecision;
use crate::codepipeline::{Client, Views};
use crate::events::Events;
use crate::leadership::Role;
use crate::metrics::Metrics;
use kube::runtime::reflector::{ObjectRef, Store};
use std::sync::Arc;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{Semaphore, watch};

/// What rounds share.
#[derive(Clone)]
pub struct Context {
    /// The Kubernetes API.
    pub kubernetes: kube::Client,
    /// The service.
    pub codepipeline: Client,
    /// The looks at pipelines that decisions share.
    pub views: Views<ObjectRef<ApprovalDecision>>,
    /// The decisions that there are.
    pub decisions: Store<ApprovalDecision>,
    /// Takes the names of those for whom there is something new to see.
    pub wake: UnboundedSender<ObjectRef<ApprovalDecision>>,
    /// What decisions depend on.
    pub settings: Settings,
    /// Where rounds are counted.
    pub metrics: Metrics,
    /// Where Events go.
    pub events: Events,
    /// How many rounds may run at a time, over all watched namespaces.
    pub concurrency: Arc<Semaphore>,
    /// Whether it is this replica that acts. One that begins to act has each decision looked at.
    pub role: watch::Receiver<Role>,
}

impl Context {
    pub(super) fn is_leading(&self) -> bool {
        *self.role.borrow() == Role::Leader
    }
}
