//! The endpoint: the model behind HTTP, with the real clock. It runs until its `LocalCodePipeline` is dropped.

mod aws_protocol;
mod connection;
mod control_routes;
mod fault_effects;
mod form;
mod in_account;
mod shared_state;
mod signature;
mod sts;

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use tokio::{net::TcpListener, sync::watch, task::AbortHandle};
use uuid::Uuid;

use crate::{
    api::{ApprovalStatus, Operation, PutApprovalResultInput, PutApprovalResultOutput},
    cloud::Cloud,
    faults::Fault,
    iam::{Revocation, Role, RoleArn, StsCall},
    model::{Account, Behaviour, Exception, LedgerEntry, OpenApproval, Service, Token},
};
pub use in_account::InAccount;
use shared_state::Shared;

/// The settings of an endpoint.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The address to listen on; port 0 selects a free port.
    pub address: SocketAddr,
    /// The default account, whose pipelines are in every region.
    pub account: Account,
    /// How long reads lag behind changes, and how tokens are generated.
    pub behaviour: Behaviour,
    /// Endpoints with the same seed generate the same identifiers. Without a seed they differ at each start, so that a
    /// token of an earlier endpoint never matches an approval of a later one.
    pub id_seed: Option<u64>,
}

impl Default for Settings {
    /// A free port on 127.0.0.1, without lag.
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
    /// Dropping it ends requests that have not been applied yet.
    _running: watch::Sender<()>,
}

impl Drop for LocalCodePipeline {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl LocalCodePipeline {
    /// Starts an endpoint on the current Tokio runtime. It accepts requests when this returns.
    pub async fn start(settings: Settings) -> io::Result<Self> {
        let seed = settings.id_seed.map_or_else(Uuid::new_v4, |seed| Uuid::from_u64_pair(0, seed));
        Self::serve(settings.address, Service::new(settings.account, settings.behaviour, seed)).await
    }

    /// Starts an endpoint with an existing service of the default account, or with the services of several accounts.
    pub async fn serve(address: SocketAddr, cloud: impl Into<Cloud>) -> io::Result<Self> {
        let cloud = cloud.into();
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::new(cloud));
        let (running, stopped) = watch::channel(());
        let accepting = tokio::spawn(connection::accept(listener, Arc::clone(&shared), stopped)).abort_handle();
        Ok(Self { shared, address, accepting, _running: running })
    }

    /// The URL of the endpoint, for `AWS_ENDPOINT_URL`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The address of the endpoint.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The current time of the endpoint.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.shared.lock().now()
    }

    /// Advances the clock of the endpoint. Everything that is due by then has happened when this returns.
    pub fn advance_clock(&self, by: Duration) {
        self.shared.lock().advance_clock(by);
    }

    /// Sets how far the `Date` headers of responses are ahead of the clock of this machine, so that the clock of a caller
    /// seems to be behind. The clock of the endpoint stays as it is.
    pub fn set_date_offset(&self, by: SignedDuration) {
        self.shared.lock().date_offset = by;
    }

    /// Refuses the requests that this access key signs, as AWS does after the key was deleted.
    pub fn refuse_access_key(&self, access_key: impl Into<String>) {
        self.shared.lock().cloud.iam_mut().refuse_access_key(access_key.into());
    }

    /// CodePipeline in another account and region. From now on, the default account does not serve the region.
    #[must_use]
    pub fn in_account(&self, id: &str, region: &str) -> InAccount<'_> {
        let account = Account { id: id.to_owned(), region: region.to_owned() };
        self.shared.lock().cloud.service(&account);
        InAccount::new(&self.shared, account)
    }

    /// Creates a role or replaces it, and so its trust policy. Sessions stay valid.
    pub fn put_role(&self, role: Role) {
        self.shared.lock().cloud.put_role(role);
    }

    /// Deletes a role. AWS no longer knows its sessions.
    pub fn delete_role(&self, arn: &RoleArn) {
        self.shared.lock().cloud.iam_mut().delete_role(arn);
    }

    /// Ends the sessions that a role has now, before their expiration.
    pub fn revoke_sessions(&self, arn: &RoleArn, revocation: Revocation) {
        self.shared.lock().cloud.iam_mut().revoke_sessions(arn, revocation);
    }

    /// Every call of STS that reached the endpoint, oldest first.
    #[must_use]
    pub fn sts_calls(&self) -> Vec<StsCall> {
        self.shared.lock().cloud.iam().calls().to_vec()
    }

    /// Waits until the calls of STS satisfy the condition. It has no timeout.
    pub async fn wait_for_sts_calls(&self, mut condition: impl FnMut(&[StsCall]) -> bool) {
        self.shared.wait_until(|state, _| condition(state.cloud.iam().calls())).await;
    }

    /// Reads or changes the service of the default account, with the current time of the endpoint.
    pub fn with_service<T>(&self, call: impl FnOnce(&mut Service, Timestamp) -> T) -> T {
        let mut state = self.shared.lock();
        let now = state.now();
        call(state.cloud.default_service(), now)
    }

    /// Starts an execution that reaches this approval immediately. Creates the pipeline if it does not exist.
    pub fn open_approval(&self, pipeline: &str, stage: &str, action: &str) -> Result<OpenApproval, Exception> {
        self.with_service(|service, now| service.open_approval(now, (pipeline, stage, action), &[]))
    }

    /// Approves or rejects an approval as another user. It adds a ledger entry, but faults and request counts ignore
    /// it.
    pub fn respond_as(
        &self,
        caller: &str,
        (pipeline, stage, action): (&str, &str, &str),
        token: Token,
        status: ApprovalStatus,
        summary: &str,
    ) -> Result<PutApprovalResultOutput, Exception> {
        let input = PutApprovalResultInput::new(pipeline, stage, action, token, status, summary);
        self.with_service(|service, now| service.put_approval_result(now, caller, &input))
    }

    /// Injects a fault.
    pub fn inject(&self, fault: Fault) {
        self.shared.lock().faults.add(fault);
    }

    /// Removes all faults.
    pub fn clear_faults(&self) {
        self.shared.lock().faults.clear(None);
    }

    /// Removes the faults that name this pipeline.
    pub fn clear_faults_for(&self, pipeline: &str) {
        self.shared.lock().faults.clear(Some(pipeline));
    }

    /// Every PutApprovalResult call that reached the endpoint in any account, oldest first.
    #[must_use]
    pub fn ledger(&self) -> Vec<LedgerEntry> {
        self.shared.lock().cloud.ledger()
    }

    /// The ledger entries of one pipeline.
    #[must_use]
    pub fn ledger_for(&self, pipeline: &str) -> Vec<LedgerEntry> {
        self.ledger().into_iter().filter(|entry| entry.pipeline_name == pipeline).collect()
    }

    /// The number of received requests of this operation, including failed ones.
    #[must_use]
    pub fn request_count(&self, operation: Operation) -> u64 {
        self.shared.lock().requests.count(operation, None)
    }

    /// The number of received requests of this operation that name this pipeline.
    #[must_use]
    pub fn request_count_for(&self, operation: Operation, pipeline: &str) -> u64 {
        self.shared.lock().requests.count(operation, Some(pipeline))
    }

    /// Waits until the condition holds. It has no timeout: wrap it in `tokio::time::timeout`.
    pub async fn wait_for(&self, mut condition: impl FnMut(&mut Service, Timestamp) -> bool) {
        self.shared.wait_until(|state, now| condition(state.cloud.default_service(), now)).await;
    }

    /// Waits until at least this number of requests of the operation that name this pipeline have been received.
    pub async fn wait_for_requests(&self, operation: Operation, pipeline: &str, minimum: u64) {
        self.shared.wait_until(|state, _| state.requests.count(operation, Some(pipeline)) >= minimum).await;
    }
}
