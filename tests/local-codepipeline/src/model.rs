//! The service as a deterministic model: no I/O, no clock, no chance. Every method is told the time, so tests and model
//! checkers can drive it directly, clone it, compare it and hash it; the server in front of it adds the wire.

mod approval;
mod behaviour;
mod commands;
mod declaration;
mod definition;
mod exception;
mod history;
mod ids;
mod ledger;
mod name;
mod open_approval;
mod paging;
mod pipeline;
mod run;
mod state;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use behaviour::{Behaviour, Lags};
pub use commands::{RetryMode, StopMode};
pub use definition::{ActionDefinition, Category, ExecutionMode, PipelineDefinition, StageDefinition, Takes};
pub use exception::{Exception, ExceptionKind};
pub use ids::{ActionExecutionId, PipelineExecutionId, Token, TokenRule};
pub use ledger::{LedgerEntry, Outcome};
pub(crate) use name::is_name_character;
pub use name::{Name, NameError};
pub use open_approval::{OpenApproval, PendingApproval};
pub use run::SourceRevision;

use ids::Ids;
use pipeline::Pipeline;

/// The account and region that the service says it is in.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Account {
    /// Twelve digits.
    pub id: String,
    /// For example `eu-central-1`.
    pub region: String,
}

impl Default for Account {
    fn default() -> Self {
        Self { id: "123456789012".to_owned(), region: "us-east-1".to_owned() }
    }
}

impl Account {
    /// The ARN of a user of the account: whoever signs with an access key is taken for the user of that name.
    #[must_use]
    pub fn user(&self, name: &str) -> String {
        format!("arn:aws:iam::{}:user/{name}", self.id)
    }
}

/// The whole service: its pipelines, their runs, and the ledger of what callers answered.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Service {
    account: Account,
    behaviour: Behaviour,
    pipelines: BTreeMap<Name, Pipeline>,
    ledger: Vec<LedgerEntry>,
    ids: Ids,
}

impl Service {
    /// A service without pipelines. Two of one `seed` hand out the same identifiers in the same order.
    #[must_use]
    pub fn new(account: Account, behaviour: Behaviour, seed: Uuid) -> Self {
        Self { account, behaviour, pipelines: BTreeMap::new(), ledger: Vec::new(), ids: Ids::new(seed) }
    }

    /// The account that it says it is in.
    #[must_use]
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// How far its views lag, and where its tokens come from.
    #[must_use]
    pub fn behaviour(&self) -> &Behaviour {
        &self.behaviour
    }

    /// Changes that, from now on.
    pub fn set_behaviour(&mut self, behaviour: Behaviour) {
        self.behaviour = behaviour;
    }

    /// Every PutApprovalResult that reached it, the oldest first.
    #[must_use]
    pub fn ledger(&self) -> &[LedgerEntry] {
        &self.ledger
    }

    /// Brings everything to where it is at `now`. Each operation does so for its own pipeline.
    pub fn settle(&mut self, now: Timestamp) {
        for pipeline in self.pipelines.values_mut() {
            pipeline.settle(now, self.behaviour.tokens, &mut self.ids);
        }
    }

    /// When something next happens by itself: an action that ends, an approval that times out.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        self.pipelines.values().filter_map(Pipeline::next_due).min()
    }

    /// A pipeline as it is at `now`.
    fn pipeline(&mut self, name: &str, now: Timestamp) -> Result<&mut Pipeline, Exception> {
        self.pipeline_and_ids(name, now).map(|(pipeline, _)| pipeline)
    }

    fn pipeline_and_ids(&mut self, name: &str, now: Timestamp) -> Result<(&mut Pipeline, &mut Ids), Exception> {
        let Some(pipeline) = self.pipelines.get_mut(name) else {
            let account = &self.account.id;
            let message = format!("The account with id '{account}' does not include a pipeline with the name '{name}'");
            return Err(Exception::new(ExceptionKind::PipelineNotFound, message));
        };
        pipeline.settle(now, self.behaviour.tokens, &mut self.ids);
        Ok((pipeline, &mut self.ids))
    }
}

#[cfg(test)]
mod tests;
