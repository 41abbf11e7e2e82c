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

/// The AWS account and region of the endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
