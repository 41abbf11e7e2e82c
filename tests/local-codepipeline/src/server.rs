//! The endpoint: the model behind HTTP, with the real clock. `LocalCodePipeline` is what a test or the binary holds; the
//! endpoint lives as long as it does.

mod aws;
mod connection;
mod control;
mod shared;
mod signature;

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use tokio::{net::TcpListener, sync::watch, task::AbortHandle};
use uuid::Uuid;

use crate::{
    api::{ApprovalStatus, Operation, PutApprovalResultInput, PutApprovalResultOutput},
    faults::Fault,
    model::{Account, Behaviour, Exception, LedgerEntry, OpenApproval, Service, Token},
};
use shared::Shared;

/// What an endpoint starts with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where it listens; port 0 is any free one.
    pub address: SocketAddr,
    /// The account and region that it says it is in.
    pub account: Account,
    /// How far its views lag, and where its tokens come from.
    pub behaviour: Behaviour,
    /// Endpoints of one seed hand out the same identifiers. Without one each start has its own, so that an answer meant
    /// for an approval of yesterday's endpoint cannot meet one of today's.
    pub id_seed: Option<u64>,
}

impl Default for Settings {
    /// A free port of this machine, no lag.
    fn default() -> Self {
        Self {
            address: (Ipv4Addr::LOCALHOST, 0).into(),
            account: Account::default(),
            behaviour: Behaviour::default(),
            id_seed: None,
        }
    }
}

/// A running endpoint. It stops when this is dropped.
#[derive(Debug)]
pub struct LocalCodePipeline {
    shared: Arc<Shared>,
    address: SocketAddr,
    accepting: AbortHandle,
    /// Dropped with the rest, which ends requests still on their way to the service.
    _running: watch::Sender<()>,
}

impl Drop for LocalCodePipeline {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl LocalCodePipeline {
    /// Starts an endpoint on the current Tokio runtime. It answers as soon as this returns.
    pub async fn start(settings: Settings) -> io::Result<Self> {
        let seed = settings.id_seed.map_or_else(Uuid::new_v4, |seed| Uuid::from_u64_pair(0, seed));
        Self::serve(settings.address, Service::new(settings.account, settings.behaviour, seed)).await
    }

    /// The same with a service that has a past already.
    pub async fn serve(address: SocketAddr, service: Service) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::new(service));
        let (running, stopped) = watch::channel(());
        let accepting = tokio::spawn(connection::accept(listener, Arc::clone(&shared), stopped)).abort_handle();
        Ok(Self { shared, address, accepting, _running: running })
    }

    /// Where it is, for `AWS_ENDPOINT_URL`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The same as an address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What time it is there.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.shared.lock().now()
    }

    /// Sets its clock forward. Whatever that makes happen has happened when this returns.
    pub fn advance(&self, by: Duration) {
        self.shared.lock().advance(by);
    }

    /// Looks at the service or changes it, with the time at hand.
    pub fn service<T>(&self, see: impl FnOnce(&mut Service, Timestamp) -> T) -> T {
        let mut state = self.shared.lock();
        let now = state.now();
        see(&mut state.service, now)
    }

    /// Starts a run that reaches this approval, creating the pipeline if there is none of that name.
    pub fn open_approval(&self, pipeline: &str, stage: &str, action: &str) -> Result<OpenApproval, Exception> {
        self.service(|service, now| service.open_approval(now, (pipeline, stage, action), &[]))
    }

    /// Answers an approval as somebody else would: an entry in the ledger, but no request, so no fault either.
    pub fn answer_as(
        &self,
        caller: &str,
        (pipeline, stage, action): (&str, &str, &str),
        token: Token,
        status: ApprovalStatus,
        summary: &str,
    ) -> Result<PutApprovalResultOutput, Exception> {
        let input = PutApprovalResultInput::new(pipeline, stage, action, token, status, summary);
        self.service(|service, now| service.put_approval_result(now, caller, &input))
    }

    /// Puts a fault in force.
    pub fn fault(&self, fault: Fault) {
        self.shared.lock().faults.add(fault);
    }

    /// Ends all faults.
    pub fn clear_faults(&self) {
        self.shared.lock().faults.clear(None);
    }

    /// Ends the faults that name this pipeline.
    pub fn clear_faults_of(&self, pipeline: &str) {
        self.shared.lock().faults.clear(Some(pipeline));
    }

    /// Every PutApprovalResult that reached the endpoint, the oldest first.
    #[must_use]
    pub fn ledger(&self) -> Vec<LedgerEntry> {
        self.shared.lock().service.ledger().to_vec()
    }

    /// Those of one pipeline.
    #[must_use]
    pub fn ledger_of(&self, pipeline: &str) -> Vec<LedgerEntry> {
        self.ledger().into_iter().filter(|entry| entry.pipeline_name == pipeline).collect()
    }

    /// How many requests of this kind have come in, whatever became of them.
    #[must_use]
    pub fn requests(&self, operation: Operation) -> u64 {
        self.shared.lock().requests.of(operation, None)
    }

    /// How many of them named this pipeline.
    #[must_use]
    pub fn requests_of(&self, operation: Operation, pipeline: &str) -> u64 {
        self.shared.lock().requests.of(operation, Some(pipeline))
    }

    /// Waits until something is so, looking whenever anything has changed. It waits forever if it must: put a
    /// `tokio::time::timeout` around it.
    pub async fn wait_for(&self, mut condition: impl FnMut(&mut Service, Timestamp) -> bool) {
        self.shared.wait_until(|state, now| condition(&mut state.service, now)).await;
    }

    /// Waits until so many requests of this kind that name this pipeline have come in.
    pub async fn wait_for_requests(&self, operation: Operation, pipeline: &str, at_least: u64) {
        self.shared.wait_until(|state, _| state.requests.of(operation, Some(pipeline)) >= at_least).await;
    }
}
