//! The definition of a pipeline. Its names are those of a CodePipeline declaration, so that a seed file reads like the
//! JSON of `aws codepipeline get-pipeline`. Only `duration` is specific to this endpoint, which does not run actions.

use std::{collections::BTreeMap, fmt, ops::RangeInclusive, str::FromStr};

use jiff::SignedDuration;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::{Exception, ExceptionKind, Name, NameError, OnFailure, StageDefinition};

/// How concurrent executions of one pipeline behave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ExecutionMode {
    /// A newer execution replaces an older one that waits to enter the same stage.
    #[default]
    Superseded,
    /// Executions enter a stage in the order in which they started.
    Queued,
    /// Executions are independent of each other.
    Parallel,
}

/// The category of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names are those of the CodePipeline API")]
pub enum Category {
    Source,
    Build,
    Test,
    Deploy,
    Approval,
    Invoke,
    Compute,
}

/// The duration of an action that is not an approval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ActionDuration {
    /// It succeeds automatically after this time.
    Fixed(SignedDuration),
    /// It runs until the `completeAction` command ends it; `untilCompleted` in a seed file.
    UntilCompleted,
}

/// The definition of a pipeline.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PipelineDefinition {
    /// The name.
    pub name: Name,
    /// How concurrent executions behave.
    #[serde(default)]
    pub execution_mode: ExecutionMode,
    /// The stages, in order.
    pub stages: Vec<StageDefinition>,
}

/// The definition of an action.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ActionDefinition {
    /// The name.
    pub name: Name,
    /// The category.
    pub category: Category,
    /// Actions with the same order start together, after all actions with a lower order have succeeded.
    #[serde(default = "default_run_order", deserialize_with = "run_order")]
    pub run_order: u16,
    /// How long the action runs. An approval has no duration: it runs until someone responds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<ActionDuration>,
    /// When an approval without a response fails; 7 days if absent.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "timeout_in_minutes")]
    pub timeout_in_minutes: Option<u32>,
    /// Free-form settings. Only `IsSummaryRequired: "true"` of an approval has an effect.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub configuration: BTreeMap<String, String>,
}

fn default_run_order() -> u16 {
    1
}

fn run_order<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
    let order = u16::deserialize(deserializer).ok().filter(|order| (1..=999).contains(order));
    order.ok_or_else(|| D::Error::custom("runOrder must be a whole number from 1 to 999"))
}

fn timeout_in_minutes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    let minutes = u32::deserialize(deserializer).ok().filter(|minutes| TIMEOUT_IN_MINUTES.contains(minutes));
    minutes.map(Some).ok_or_else(|| D::Error::custom("timeoutInMinutes must be a whole number from 5 to 86400"))
}

impl PipelineDefinition {
    /// A minimal pipeline with this approval: a stage `Source` with an action `Source`, then the stage of the approval.
    pub fn with_approval(pipeline: &str, stage: &str, action: &str) -> Result<Self, NameError> {
        Ok(Self {
            name: Name::new(pipeline)?,
            execution_mode: ExecutionMode::default(),
            stages: vec![
                StageDefinition::new("Source", vec![ActionDefinition::new("Source", Category::Source)?])?,
                StageDefinition::new(stage, vec![ActionDefinition::new(action, Category::Approval)?])?,
            ],
        })
    }

    /// Sets the execution mode.
    #[must_use]
    pub fn mode(mut self, mode: ExecutionMode) -> Self {
        self.execution_mode = mode;
        self
    }

    /// Adds a stage at the end.
    #[must_use]
    pub fn stage(mut self, stage: StageDefinition) -> Self {
        self.stages.push(stage);
        self
    }

    pub(super) fn stage_named(&self, name: &str) -> Option<&StageDefinition> {
        self.stages.iter().find(|stage| &stage.name == name)
    }

    /// Checks the rules that span several fields. The types check single fields.
    pub(crate) fn check(&self) -> Result<(), Exception> {
        let invalid = |message: String| Err(Exception::new(ExceptionKind::InvalidStructure, message));
        let pipeline = &self.name;
        let (Some(first), true) = (self.stages.first(), self.stages.len() >= 2) else {
            return invalid(format!("pipeline `{pipeline}` has {} stages: define at least two", self.stages.len()));
        };
        if !first.actions.iter().all(|action| action.category == Category::Source) {
            return invalid(format!("the first stage of pipeline `{pipeline}` may contain only Source actions"));
        }
        for (index, stage) in self.stages.iter().enumerate() {
            let name = &stage.name;
            if self.stages.iter().skip(index + 1).any(|other| other.name == *name) {
                return invalid(format!("pipeline `{pipeline}` has two stages named `{name}`: rename one"));
            }
            stage.check().or_else(invalid)?;
        }
        let actions: usize = self.stages.iter().map(|stage| stage.actions.len()).sum();
        if actions > MAX_ACTIONS {
            return invalid(format!("pipeline `{pipeline}` has {actions} actions: define at most {MAX_ACTIONS}"));
        }
        if first.on_failure == Some(OnFailure::Rollback) {
            return invalid(format!("the first stage of pipeline `{pipeline}` cannot roll back: remove its onFailure"));
        }
        // Assumed: as the source stage cannot be rolled back, it cannot be skipped.
        if first.before_entry.is_some() {
            return invalid(format!("the first stage of pipeline `{pipeline}` has beforeEntry: remove it"));
        }
        let rolls_back = |stage: &&StageDefinition| stage.on_failure == Some(OnFailure::Rollback);
        if let (ExecutionMode::Parallel, Some(stage)) = (self.execution_mode, self.stages.iter().find(rolls_back)) {
            let name = &stage.name;
            return invalid(format!("stage `{name}` cannot roll back in PARALLEL mode: remove its onFailure"));
        }
        if self.stages.iter().skip(1).flat_map(|stage| &stage.actions).any(|a| a.category == Category::Source) {
            return invalid(format!(
                "pipeline `{pipeline}` has Source actions after its first stage: move them to the first stage"
            ));
        }
        Ok(())
    }
}

impl ActionDefinition {
    /// An action of run order 1 that succeeds immediately, or waits for a response if it is an approval.
    pub fn new(name: &str, category: Category) -> Result<Self, NameError> {
        Ok(Self {
            name: Name::new(name)?,
            category,
            run_order: default_run_order(),
            duration: None,
            timeout_in_minutes: None,
            configuration: BTreeMap::new(),
        })
    }

    /// Sets the duration.
    #[must_use]
    pub fn duration(mut self, duration: ActionDuration) -> Self {
        self.duration = Some(duration);
        self
    }

    /// Sets the run order.
    #[must_use]
    pub fn run_order(mut self, order: u16) -> Self {
        self.run_order = order;
        self
    }

    /// Sets the timeout of an approval.
    #[must_use]
    pub fn timeout_in_minutes(mut self, minutes: u32) -> Self {
        self.timeout_in_minutes = Some(minutes);
        self
    }

    /// Makes an approval require a summary.
    #[must_use]
    pub fn summary_required(mut self) -> Self {
        self.configuration.insert(SUMMARY_REQUIRED.to_owned(), "true".to_owned());
        self
    }

    /// Whether the action is an approval.
    #[must_use]
    pub fn is_approval(&self) -> bool {
        self.category == Category::Approval
    }

    pub(super) fn requires_summary(&self) -> bool {
        self.configuration.get(SUMMARY_REQUIRED).is_some_and(|value| value == "true")
    }

    /// The time from the start to the automatic end.
    pub(super) fn ends_after(&self) -> Option<SignedDuration> {
        if self.is_approval() {
            let minutes = self.timeout_in_minutes.unwrap_or(7 * 24 * 60);
            return Some(SignedDuration::from_mins(minutes.into()));
        }
        match self.duration {
            None => Some(SignedDuration::ZERO),
            Some(ActionDuration::Fixed(time)) => Some(time),
            Some(ActionDuration::UntilCompleted) => None,
        }
    }

    pub(super) fn check(&self) -> Result<(), String> {
        let name = &self.name;
        match (self.is_approval(), self.duration, self.timeout_in_minutes) {
            (true, Some(_), _) => {
                Err(format!("approval `{name}` has `duration`: remove it, an approval runs until someone responds"))
            }
            (false, _, Some(_)) => {
                Err(format!("`{name}` has `timeoutInMinutes`, which only approvals have: use `duration`"))
            }
            (true, _, Some(minutes)) if !TIMEOUT_IN_MINUTES.contains(&minutes) => {
                Err(format!("approval `{name}` has timeoutInMinutes: {minutes}: use 5 to 86400"))
            }
            _ => Ok(()),
        }
    }
}

/// The quota of AWS for a pipeline.
const MAX_ACTIONS: usize = 1000;
const TIMEOUT_IN_MINUTES: RangeInclusive<u32> = 5..=86_400;
const SUMMARY_REQUIRED: &str = "IsSummaryRequired";
const UNTIL_COMPLETED: &str = "untilCompleted";

impl fmt::Display for ActionDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(time) => write!(f, "{time:#}"),
            Self::UntilCompleted => f.write_str(UNTIL_COMPLETED),
        }
    }
}

impl FromStr for ActionDuration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse::<SignedDuration>() {
            _ if text == UNTIL_COMPLETED => Ok(Self::UntilCompleted),
            Ok(time) if !time.is_negative() => Ok(Self::Fixed(time)),
            _ => Err(format!("`{text}` is not a duration: write `30s`, `2m 30s` or `{UNTIL_COMPLETED}`")),
        }
    }
}

impl Serialize for ActionDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ActionDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}
