//! AWS as the endpoint plays it: a CodePipeline in each account and region, and one IAM. The default account is what a
//! seed file or a test says nothing about: its pipelines are in every region that has no pipelines of its own.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::{
    iam::{Iam, Role},
    model::{Account, Behaviour, LedgerEntry, Service},
};

/// The services of all accounts and regions.
#[derive(Clone, Debug)]
pub struct Cloud {
    default: Service,
    others: BTreeMap<Account, Service>,
    iam: Iam,
}

impl From<Service> for Cloud {
    /// Only the default account.
    fn from(default: Service) -> Self {
        let iam = Iam::new(default.account().clone(), default.derive_seed("iam"));
        Self { default, others: BTreeMap::new(), iam }
    }
}

impl Cloud {
    /// CodePipeline of the default account.
    pub fn default_service(&mut self) -> &mut Service {
        &mut self.default
    }

    /// CodePipeline in this account and region. It exists from now on, so the default account no longer serves the
    /// region.
    pub fn service(&mut self, account: &Account) -> &mut Service {
        let Self { default, others, .. } = self;
        if account == default.account() {
            return default;
        }
        others.entry(account.clone()).or_insert_with(|| default.empty_in(account.clone()))
    }

    /// Where the pipelines of a caller are: `None` is the default account.
    pub(crate) fn account_of_caller(&self, account_id: &str, region: &str) -> Option<Account> {
        let account = Account { id: account_id.to_owned(), region: region.to_owned() };
        let is_default = account_id == self.default.account().id && !self.others.contains_key(&account);
        (!is_default).then_some(account)
    }

    /// CodePipeline in this account; `None` is the default account.
    pub(crate) fn service_in(&mut self, account: Option<&Account>) -> &mut Service {
        match account {
            None => &mut self.default,
            Some(account) => self.service(account),
        }
    }

    /// Creates a role or replaces it.
    pub fn put_role(&mut self, role: Role) {
        self.iam.put_role(role);
    }

    pub(crate) fn iam(&self) -> &Iam {
        &self.iam
    }

    pub(crate) fn iam_mut(&mut self) -> &mut Iam {
        &mut self.iam
    }

    /// Changes the behaviour of every account, and of those that are used later.
    pub(crate) fn set_behaviour(&mut self, behaviour: &Behaviour) {
        self.services_mut().for_each(|service| service.set_behaviour(behaviour.clone()));
    }

    pub(crate) fn advance_to(&mut self, now: Timestamp) {
        self.services_mut().for_each(|service| service.advance_to(now));
    }

    /// The ledgers of all accounts, oldest entry first. Entries of the same millisecond are ordered by account.
    pub(crate) fn ledger(&self) -> Vec<LedgerEntry> {
        let services = std::iter::once(&self.default).chain(self.others.values());
        let mut entries: Vec<_> = services.flat_map(Service::ledger).cloned().collect();
        // The sort is stable, so the entries of one account keep their order.
        entries.sort_by_key(|entry| entry.at);
        entries
    }

    fn services_mut(&mut self) -> impl Iterator<Item = &mut Service> {
        std::iter::once(&mut self.default).chain(self.others.values_mut())
    }
}
