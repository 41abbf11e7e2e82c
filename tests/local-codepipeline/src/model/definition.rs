//! What a pipeline consists of, in the words of the service's own pipeline declaration where it has them, so that a seed
//! file reads like the JSON of `aws codepipeline get-pipeline`. One word is ours: `takes`, since nothing runs here.

use std::{collections::BTreeMap, fmt, ops::RangeInclusive, str::FromStr};

use jiff::SignedDuration;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::{Exception, ExceptionKind, Name, NameError};

/// How runs of one pipeline meet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ExecutionMode {
    /// A newer run replaces an older one that waits in front of a stage.
    #[default]
    Superseded,
    /// Runs wait in front of a stage in their order.
    Queued,
    /// Runs do not meet.
    Parallel,
}

/// What kind of work an action does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the service's own words")]
pub enum Category {
    Source,
    Build,
    Test,
    Deploy,
    Approval,
    Invoke,
    Compute,
}

/// How long an action that is not an approval runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Takes {
    /// It succeeds by itself after this time; at once is zero.
    For(SignedDuration),
    /// It runs until it is told to end, `untilTold` in a seed file.
    UntilTold,
}

/// A pipeline as it is declared.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PipelineDefinition {
    /// Its name.
    pub name: Name,
    /// How its runs meet.
    #[serde(default)]
    pub execution_mode: ExecutionMode,
    /// Its stages, in order.
    pub stages: Vec<StageDefinition>,
}

/// A stage as it is declared.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StageDefinition {
    /// Its name.
    pub name: Name,
    /// Its actions.
    pub actions: Vec<ActionDefinition>,
}

/// An action as it is declared.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ActionDefinition {
    /// Its name.
    pub name: Name,
    /// What it does.
    pub category: Category,
    /// Actions of one order start together, those of a higher one when all of the lower have succeeded.
    #[serde(default = "first", deserialize_with = "run_order")]
    pub run_order: u16,
    /// How long it runs. An approval ends by an answer, so it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub takes: Option<Takes>,
    /// After how long an approval that nobody answers fails; 7 days if absent.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "timeout_in_minutes")]
    pub timeout_in_minutes: Option<u32>,
    /// Free settings; `IsSummaryRequired: "true"` of an approval means something here.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub configuration: BTreeMap<String, String>,
}

fn first() -> u16 {
    1
}

fn run_order<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
    let order = u16::deserialize(deserializer).ok().filter(|order| (1..=999).contains(order));
    order.ok_or_else(|| D::Error::custom("runOrder takes a whole number from 1 to 999"))
}

fn timeout_in_minutes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    let minutes = u32::deserialize(deserializer).ok().filter(|minutes| TIMEOUT_IN_MINUTES.contains(minutes));
    minutes.map(Some).ok_or_else(|| D::Error::custom("timeoutInMinutes takes a whole number from 5 to 86400"))
}

impl PipelineDefinition {
    /// The smallest pipeline with that approval: a stage named `Source` with an action `Source`, then the approval's.
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

    /// The same with another execution mode.
    #[must_use]
    pub fn mode(mut self, mode: ExecutionMode) -> Self {
        self.execution_mode = mode;
        self
    }

    /// The same with one more stage at the end.
    #[must_use]
    pub fn stage(mut self, stage: StageDefinition) -> Self {
        self.stages.push(stage);
        self
    }

    pub(super) fn stage_named(&self, name: &str) -> Option<&StageDefinition> {
        self.stages.iter().find(|stage| &stage.name == name)
    }

    /// The rules that span several fields; those of one field are its type's.
    pub(crate) fn check(&self) -> Result<(), Exception> {
        let wrong = |what: String| Err(Exception::new(ExceptionKind::InvalidStructure, what));
        let pipeline = &self.name;
        let (Some(first), true) = (self.stages.first(), self.stages.len() >= 2) else {
            return wrong(format!("pipeline `{pipeline}` has {} stages: give it two or more", self.stages.len()));
        };
        if !first.actions.iter().all(|action| action.category == Category::Source) {
            return wrong(format!("the first stage of pipeline `{pipeline}` may hold Source actions only"));
        }
        for (index, stage) in self.stages.iter().enumerate() {
            let name = &stage.name;
            if self.stages.iter().skip(index + 1).any(|other| other.name == *name) {
                return wrong(format!("pipeline `{pipeline}` has two stages named `{name}`: rename one"));
            }
            if stage.actions.is_empty() {
                return wrong(format!("stage `{name}` of pipeline `{pipeline}` has no actions: give it one or more"));
            }
            for (index, action) in stage.actions.iter().enumerate() {
                if stage.actions.iter().skip(index + 1).any(|other| other.name == action.name) {
                    return wrong(format!("stage `{name}` has two actions named `{}`: rename one", action.name));
                }
                action.check().or_else(wrong)?;
            }
        }
        if self.stages.iter().skip(1).flat_map(|stage| &stage.actions).any(|a| a.category == Category::Source) {
            return wrong(format!("pipeline `{pipeline}` has Source actions behind its first stage: move them there"));
        }
        Ok(())
    }
}

impl StageDefinition {
    /// A stage of these actions.
    pub fn new(name: &str, actions: Vec<ActionDefinition>) -> Result<Self, NameError> {
        Ok(Self { name: Name::new(name)?, actions })
    }

    pub(super) fn action_named(&self, name: &str) -> Option<&ActionDefinition> {
        self.actions.iter().find(|action| &action.name == name)
    }

    /// Its run orders, lowest first.
    pub(super) fn run_orders(&self) -> Vec<u16> {
        let mut orders: Vec<u16> = self.actions.iter().map(|action| action.run_order).collect();
        orders.sort_unstable();
        orders.dedup();
        orders
    }
}

impl ActionDefinition {
    /// An action of run order 1 that succeeds at once, or waits for an answer if it is an approval.
    pub fn new(name: &str, category: Category) -> Result<Self, NameError> {
        Ok(Self {
            name: Name::new(name)?,
            category,
            run_order: first(),
            takes: None,
            timeout_in_minutes: None,
            configuration: BTreeMap::new(),
        })
    }

    /// The same that runs so long.
    #[must_use]
    pub fn takes(mut self, takes: Takes) -> Self {
        self.takes = Some(takes);
        self
    }

    /// The same at another place in its stage.
    #[must_use]
    pub fn run_order(mut self, order: u16) -> Self {
        self.run_order = order;
        self
    }

    /// The same, failing after so many minutes without an answer.
    #[must_use]
    pub fn timeout_in_minutes(mut self, minutes: u32) -> Self {
        self.timeout_in_minutes = Some(minutes);
        self
    }

    /// The same approval, taking no answer without a summary.
    #[must_use]
    pub fn summary_required(mut self) -> Self {
        self.configuration.insert(SUMMARY_REQUIRED.to_owned(), "true".to_owned());
        self
    }

    /// Whether it is an approval.
    #[must_use]
    pub fn is_approval(&self) -> bool {
        self.category == Category::Approval
    }

    pub(super) fn requires_summary(&self) -> bool {
        self.configuration.get(SUMMARY_REQUIRED).is_some_and(|value| value == "true")
    }

    /// When it ends if nobody does anything, counted from its start.
    pub(super) fn ends_after(&self) -> Option<SignedDuration> {
        if self.is_approval() {
            let minutes = self.timeout_in_minutes.unwrap_or(7 * 24 * 60);
            return Some(SignedDuration::from_mins(minutes.into()));
        }
        match self.takes {
            None => Some(SignedDuration::ZERO),
            Some(Takes::For(time)) => Some(time),
            Some(Takes::UntilTold) => None,
        }
    }

    fn check(&self) -> Result<(), String> {
        let name = &self.name;
        match (self.is_approval(), self.takes, self.timeout_in_minutes) {
            (true, Some(_), _) => Err(format!("approval `{name}` has `takes`: remove it, an answer ends an approval")),
            (false, _, Some(_)) => Err(format!("`{name}` has `timeoutInMinutes`, which is for approvals: use `takes`")),
            (true, _, Some(minutes)) if !TIMEOUT_IN_MINUTES.contains(&minutes) => {
                Err(format!("approval `{name}` has timeoutInMinutes: {minutes}: use 5 to 86400"))
            }
            _ => Ok(()),
        }
    }
}

const TIMEOUT_IN_MINUTES: RangeInclusive<u32> = 5..=86_400;
const SUMMARY_REQUIRED: &str = "IsSummaryRequired";
const UNTIL_TOLD: &str = "untilTold";

impl fmt::Display for Takes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::For(time) => write!(f, "{time:#}"),
            Self::UntilTold => f.write_str(UNTIL_TOLD),
        }
    }
}

impl FromStr for Takes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse::<SignedDuration>() {
            _ if text == UNTIL_TOLD => Ok(Self::UntilTold),
            Ok(time) if !time.is_negative() => Ok(Self::For(time)),
            _ => Err(format!("`takes: {text}` is not a time: write `30s`, `2m 30s` or `{UNTIL_TOLD}`")),
        }
    }
}

impl Serialize for Takes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Takes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}
