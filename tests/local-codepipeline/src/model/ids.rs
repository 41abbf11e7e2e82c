//! The identifiers that the service hands out. They come from a counter, not from chance, so that two models that are
//! told the same things give the same answers; on the wire they are lower-case UUIDs as the service's are.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use uuid::Uuid;

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.as_hyphenated().fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
            }
        }
    };
}

identifier!(
    /// One run of a pipeline, `pipelineExecutionId` on the wire.
    PipelineExecutionId
);
identifier!(
    /// One attempt at an action within a run, `actionExecutionId` on the wire.
    ActionExecutionId
);
identifier!(
    /// What stands for one approval request, `token` on the wire.
    Token
);

/// The counter behind every identifier of one service.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Ids {
    namespace: Uuid,
    issued: u64,
}

impl Ids {
    pub(super) fn new(namespace: Uuid) -> Self {
        Self { namespace, issued: 0 }
    }

    fn next(&mut self) -> Uuid {
        self.issued += 1;
        Uuid::new_v5(&self.namespace, &self.issued.to_be_bytes())
    }

    pub(super) fn pipeline_execution(&mut self) -> PipelineExecutionId {
        PipelineExecutionId(self.next())
    }

    pub(super) fn action_execution(&mut self) -> ActionExecutionId {
        ActionExecutionId(self.next())
    }

    pub(super) fn token(&mut self, rule: TokenRule, action: ActionExecutionId) -> Token {
        match rule {
            TokenRule::ActionExecutionId => Token(action.0),
            TokenRule::OfItsOwn => Token(self.next()),
        }
    }

    /// A made-up commit: forty hexadecimal digits.
    pub(super) fn revision(&mut self) -> String {
        let (first, second) = (self.next().simple().to_string(), self.next().simple().to_string());
        first.chars().chain(second.chars()).take(40).collect()
    }
}

/// Where a new approval's token comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum TokenRule {
    /// The token equals the action execution id, as it was seen to on the live service.
    #[default]
    ActionExecutionId,
    /// The token differs, which nothing that the service documents rules out: for clients that must not rely on it.
    OfItsOwn,
}
