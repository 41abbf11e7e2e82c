//! The identifiers of CodePipeline. They are derived from a counter, not from random numbers, so that two models with
//! the same inputs generate the same identifiers. On the wire they are lower-case UUIDs, as in AWS.

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
    /// The id of an execution, `pipelineExecutionId` on the wire.
    PipelineExecutionId
);
identifier!(
    /// The id of one attempt at an action, `actionExecutionId` on the wire.
    ActionExecutionId
);
identifier!(
    /// The token of an approval request, `token` on the wire.
    Token
);

/// The generator of all identifiers of one service.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Ids {
    namespace: Uuid,
    issued: u64,
}

impl Ids {
    pub(super) fn new(namespace: Uuid) -> Self {
        Self { namespace, issued: 0 }
    }

    /// A namespace for the identifiers of something else, the same one for the same purpose.
    pub(super) fn derive(&self, purpose: &str) -> Uuid {
        Uuid::new_v5(&self.namespace, purpose.as_bytes())
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
            TokenRule::Independent => Token(self.next()),
        }
    }

    /// A generated commit id: 40 hexadecimal digits.
    pub(super) fn revision(&mut self) -> String {
        let (first, second) = (self.next().simple().to_string(), self.next().simple().to_string());
        first.chars().chain(second.chars()).take(40).collect()
    }
}

/// How the token of a new approval is generated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum TokenRule {
    /// The token equals the action execution id, as observed in AWS.
    #[default]
    ActionExecutionId,
    /// The token differs from the action execution id, to test that clients do not rely on undocumented behaviour.
    Independent,
}
