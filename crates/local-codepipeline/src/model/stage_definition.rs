//! The definition of a stage: its actions, who enters it, and what happens when it fails. `definition` has the pipeline around it. AWS's
//! API model has more in a stage; here is what decides which approvals an execution asks for.

use serde::{Deserialize, Serialize};

use super::{ActionDefinition, Name, NameError, RetryMode};

/// The quota of AWS for a stage.
const MAX_ACTIONS: usize = 100;

/// The definition of a stage.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StageDefinition {
    /// The name.
    pub name: Name,
    /// The actions.
    pub actions: Vec<ActionDefinition>,
    /// A condition for entering the stage that is never met; if absent, executions enter the stage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before_entry: Option<EntryCondition>,
    /// What happens when the stage fails; if absent, the execution fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<OnFailure>,
}

/// An entry condition without rules: only the command `overrideStageCondition` lets an execution enter the stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EntryCondition {
    /// What happens because the condition is not met.
    pub result: EntryResult,
}

/// The result of an entry condition that is not met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum EntryResult {
    /// The execution passes the stage without running its actions.
    Skip,
    /// The stage fails.
    Fail,
}

/// What happens when a stage fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "FailureConditions", into = "FailureConditions")]
pub enum OnFailure {
    /// The stage is retried, once per execution.
    Retry(RetryMode),
    /// The stage is rolled back to the last execution that succeeded in it.
    Rollback,
}

/// The wire form of `OnFailure`, as in AWS's API model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(missing_docs, reason = "the names are those of the CodePipeline API")]
pub struct FailureConditions {
    pub result: FailureResult,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_configuration: Option<RetryConfiguration>,
}

/// The result of a failed stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[allow(missing_docs, reason = "the names are those of the CodePipeline API")]
pub enum FailureResult {
    Retry,
    Rollback,
}

/// Which actions an automatic retry repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(missing_docs, reason = "the names are those of the CodePipeline API")]
pub struct RetryConfiguration {
    // Assumed: the mode of a retry without one is that of the command.
    #[serde(default)]
    pub retry_mode: RetryMode,
}

impl TryFrom<FailureConditions> for OnFailure {
    type Error = &'static str;

    fn try_from(conditions: FailureConditions) -> Result<Self, Self::Error> {
        match (conditions.result, conditions.retry_configuration) {
            (FailureResult::Retry, configuration) => {
                Ok(Self::Retry(configuration.map(|configuration| configuration.retry_mode).unwrap_or_default()))
            }
            (FailureResult::Rollback, None) => Ok(Self::Rollback),
            (FailureResult::Rollback, Some(_)) => Err("`retryConfiguration` is for the result RETRY: remove it"),
        }
    }
}

impl From<OnFailure> for FailureConditions {
    fn from(on_failure: OnFailure) -> Self {
        match on_failure {
            OnFailure::Retry(retry_mode) => {
                Self { result: FailureResult::Retry, retry_configuration: Some(RetryConfiguration { retry_mode }) }
            }
            OnFailure::Rollback => Self { result: FailureResult::Rollback, retry_configuration: None },
        }
    }
}

impl StageDefinition {
    /// A stage with these actions.
    pub fn new(name: &str, actions: Vec<ActionDefinition>) -> Result<Self, NameError> {
        Ok(Self { name: Name::new(name)?, actions, before_entry: None, on_failure: None })
    }

    /// Sets an entry condition with this result.
    #[must_use]
    pub fn before_entry(mut self, result: EntryResult) -> Self {
        self.before_entry = Some(EntryCondition { result });
        self
    }

    /// Sets what happens when the stage fails.
    #[must_use]
    pub fn on_failure(mut self, on_failure: OnFailure) -> Self {
        self.on_failure = Some(on_failure);
        self
    }

    pub(super) fn action_named(&self, name: &str) -> Option<&ActionDefinition> {
        self.actions.iter().find(|action| &action.name == name)
    }

    /// The run orders, lowest first.
    pub(super) fn run_orders(&self) -> Vec<u16> {
        let mut orders: Vec<u16> = self.actions.iter().map(|action| action.run_order).collect();
        orders.sort_unstable();
        orders.dedup();
        orders
    }

    pub(super) fn check(&self) -> Result<(), String> {
        let name = &self.name;
        if self.actions.is_empty() {
            return Err(format!("stage `{name}` has no actions: define at least one"));
        }
        let count = self.actions.len();
        if count > MAX_ACTIONS {
            return Err(format!("stage `{name}` has {count} actions: define at most {MAX_ACTIONS}"));
        }
        for (index, action) in self.actions.iter().enumerate() {
            if self.actions.iter().skip(index + 1).any(|other| other.name == action.name) {
                return Err(format!("stage `{name}` has two actions named `{}`: rename one", action.name));
            }
            action.check()?;
        }
        Ok(())
    }
}
