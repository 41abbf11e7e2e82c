//! CodePipeline as a deterministic model: no I/O, no clock, no randomness. Every method takes the current time, so
//! tests and model checkers can drive it directly, clone it, compare it and hash it. The server adds the wire protocol.

mod behaviour;
mod commands;
mod definition;
mod exception;
mod execution;
mod get_pipeline;
mod get_pipeline_state;
mod history;
mod ids;
mod ledger;
mod name;
mod open_approval;
mod pagination;
mod pipeline;
mod put_approval_result;
mod rollback;
mod stage_commands;
mod stage_definition;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use behaviour::{Behaviour, Lags, ParallelState};
pub use commands::StopMode;
pub use definition::{ActionDefinition, ActionDuration, Category, ExecutionMode, PipelineDefinition};
pub use exception::{Exception, ExceptionKind};
pub use execution::{RetryTrigger, SourceRevision};
pub use ids::{ActionExecutionId, PipelineExecutionId, Token, TokenRule};
pub use ledger::{LedgerEntry, Outcome};
pub(crate) use name::is_name_character;
pub use name::{Name, NameError};
pub use open_approval::{OpenApproval, PendingApproval};
pub use stage_commands::RetryMode;
pub use stage_definition::{
    EntryCondition, EntryResult, FailureConditions, FailureResult, OnFailure, RetryConfiguration, StageDefinition,
};

use ids::Ids;
use pipeline::Pipeline;

/// An AWS account and region.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Account {
    /// The account id: twelve digits.
    pub id: String,
    /// The region, for example `eu-central-1`.
    pub region: String,
}

impl Default for Account {
    fn default() -> Self {
        Self { id: "123456789012".to_owned(), region: "us-east-1".to_owned() }
    }
}

impl Account {
    /// The ARN of a user of the account. A caller is the user whose name equals the access key.
    #[must_use]
    pub fn user(&self, name: &str) -> String {
        format!("arn:aws:iam::{}:user/{name}", self.id)
    }

    /// Checks the account id and the form of the region, because a typing error would hide every pipeline.
    pub fn check(&self) -> Result<(), AccountError> {
        if !is_account_id(&self.id) {
            return Err(AccountError::Id(self.id.clone()));
        }
        let parts: Vec<_> = self.region.split('-').collect();
        let is_word = |part: &&str| !part.is_empty() && part.chars().all(|c| c.is_ascii_lowercase());
        match parts.as_slice() {
            [words @ .., number]
                if words.len() >= 2 && words.iter().all(is_word) && number.parse::<u8>().is_ok_and(|n| n > 0) =>
            {
                Ok(())
            }
            _ => Err(AccountError::Region(self.region.clone())),
        }
    }
}

/// An account id or a region that AWS cannot have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages describe the variants")]
pub enum AccountError {
    #[error("`{0}` is not an account id: write twelve digits, in quotes in YAML")]
    Id(String),
    #[error("`{0}` is not a region: write one such as eu-central-1")]
    Region(String),
}

/// Whether the text is an account id: twelve digits.
pub(crate) fn is_account_id(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// CodePipeline: its pipelines, their executions, and the ledger of PutApprovalResult calls.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Service {
    account: Account,
    behaviour: Behaviour,
    pipelines: BTreeMap<Name, Pipeline>,
    ledger: Vec<LedgerEntry>,
    ids: Ids,
}

impl Service {
    /// A service without pipelines. Two services with the same `seed` generate the same identifiers in the same order.
    #[must_use]
    pub fn new(account: Account, behaviour: Behaviour, seed: Uuid) -> Self {
        Self { account, behaviour, pipelines: BTreeMap::new(), ledger: Vec::new(), ids: Ids::new(seed) }
    }

    /// A service without pipelines in another account or region, with the same behaviour and with other identifiers.
    pub(crate) fn empty_in(&self, account: Account) -> Self {
        let seed = self.ids.derive(&format!("{}/{}", account.id, account.region));
        Self::new(account, self.behaviour.clone(), seed)
    }

    /// A seed for identifiers that this service does not generate.
    pub(crate) fn derive_seed(&self, purpose: &str) -> Uuid {
        self.ids.derive(purpose)
    }

    /// The AWS account and region.
    #[must_use]
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// How long reads lag behind changes, and how tokens are generated.
    #[must_use]
    pub fn behaviour(&self) -> &Behaviour {
        &self.behaviour
    }

    /// Changes the behaviour of later calls.
    pub fn set_behaviour(&mut self, behaviour: Behaviour) {
        self.behaviour = behaviour;
    }

    /// Every PutApprovalResult call, oldest first.
    #[must_use]
    pub fn ledger(&self) -> &[LedgerEntry] {
        &self.ledger
    }

    /// Advances every pipeline to `now`. Each operation advances its own pipeline.
    pub fn advance_to(&mut self, now: Timestamp) {
        for pipeline in self.pipelines.values_mut() {
            pipeline.advance_to(now, self.behaviour.tokens, &mut self.ids);
        }
    }

    /// When the next automatic event is due: an action completes, or an approval times out.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        self.pipelines.values().filter_map(Pipeline::next_due).min()
    }

    /// A pipeline, advanced to `now`.
    fn pipeline(&mut self, name: &str, now: Timestamp) -> Result<&mut Pipeline, Exception> {
        self.pipeline_and_ids(name, now).map(|(pipeline, _)| pipeline)
    }

    fn pipeline_and_ids(&mut self, name: &str, now: Timestamp) -> Result<(&mut Pipeline, &mut Ids), Exception> {
        let Some(pipeline) = self.pipelines.get_mut(name) else {
            let account = &self.account.id;
            let message = format!("The account with id '{account}' does not include a pipeline with the name '{name}'");
            return Err(Exception::new(ExceptionKind::PipelineNotFound, message));
        };
        pipeline.advance_to(now, self.behaviour.tokens, &mut self.ids);
        Ok((pipeline, &mut self.ids))
    }
}

#[cfg(test)]
mod tests;
