//! One account and region of an endpoint, for tests. It has the methods of the endpoint itself, which are for the default
//! account.

use jiff::Timestamp;

use super::shared_state::Shared;
use crate::{
    api::{ApprovalStatus, Operation, PutApprovalResultInput, PutApprovalResultOutput},
    faults::Fault,
    model::{Account, Exception, LedgerEntry, OpenApproval, Service, Token},
};

/// CodePipeline in one account and region.
#[derive(Clone, Debug)]
pub struct InAccount<'a> {
    shared: &'a Shared,
    account: Account,
}

impl<'a> InAccount<'a> {
    pub(super) fn new(shared: &'a Shared, account: Account) -> Self {
        Self { shared, account }
    }

    /// Reads or changes the service, with the current time of the endpoint.
    pub fn with_service<T>(&self, call: impl FnOnce(&mut Service, Timestamp) -> T) -> T {
        let mut state = self.shared.lock();
        let now = state.now();
        call(state.cloud.service(&self.account), now)
    }

    /// Starts an execution that reaches this approval immediately. Creates the pipeline if it does not exist.
    pub fn open_approval(&self, pipeline: &str, stage: &str, action: &str) -> Result<OpenApproval, Exception> {
        self.with_service(|service, now| service.open_approval(now, (pipeline, stage, action), &[]))
    }

    /// Approves or rejects an approval as another caller.
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

    /// Injects a fault that affects only this account and region. A fault of STS affects the account in all regions, because
    /// a caller may use the STS of any region.
    pub fn inject(&self, fault: Fault) {
        let fault = fault.account(&self.account.id);
        let fault = if fault.is_of_sts() { fault } else { fault.region(&self.account.region) };
        self.shared.lock().faults.add(fault);
    }

    /// Removes the faults that are only for this account, in this region or in all of them.
    pub fn clear_faults(&self) {
        self.shared.lock().faults.clear_account(&self.account);
    }

    /// Every PutApprovalResult call that reached this account and region, oldest first.
    #[must_use]
    pub fn ledger(&self) -> Vec<LedgerEntry> {
        self.with_service(|service, _| service.ledger().to_vec())
    }

    /// The number of received requests of this operation, including failed ones.
    #[must_use]
    pub fn request_count(&self, operation: Operation) -> u64 {
        self.count(operation, None)
    }

    /// The number of received requests of this operation that name this pipeline.
    #[must_use]
    pub fn request_count_for(&self, operation: Operation, pipeline: &str) -> u64 {
        self.count(operation, Some(pipeline))
    }

    fn count(&self, operation: Operation, pipeline: Option<&str>) -> u64 {
        let state = self.shared.lock();
        let account = state.cloud.account_of_caller(&self.account.id, &self.account.region);
        state.requests.count_in(account.as_ref(), operation, pipeline)
    }

    /// Waits until the condition holds. It has no timeout.
    pub async fn wait_for(&self, mut condition: impl FnMut(&mut Service, Timestamp) -> bool) {
        self.shared.wait_until(|state, now| condition(state.cloud.service(&self.account), now)).await;
    }
}
