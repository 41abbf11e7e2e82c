//! The reasons of the `Ready` condition: every state that a decision can be in, what it means, and what a person can do.
//!
//! `docs/reasons.md` is generated from here, and so is the closing sentence of most messages.

use crate::api::conditions::ConditionStatus;

/// How a decision stands, from which its conditions follow.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Standing {
    /// Over, with the result that the decision asked for: Ready is True.
    Settled,
    /// Over, until the decision is edited: Ready is False, Stalled is True.
    Stalled,
    /// Not answered yet, and tried again: Ready is False, Reconciling is True.
    Retrying,
    /// An answer may be with the service: Ready is Unknown, Reconciling is True, and the spec is locked.
    UnderWay,
    /// Nothing is to be answered yet: Ready is Unknown, Reconciling is True.
    Waiting,
    /// Held back by its owner: Ready is False, and nothing else.
    Suspended,
}

impl Standing {
    /// What Ready says.
    #[must_use]
    pub const fn ready(self) -> ConditionStatus {
        match self {
            Self::Settled => ConditionStatus::True,
            Self::Stalled | Self::Retrying | Self::Suspended => ConditionStatus::False,
            Self::UnderWay | Self::Waiting => ConditionStatus::Unknown,
        }
    }

    /// The condition that is True beside Ready.
    #[must_use]
    pub const fn companion(self) -> Option<&'static str> {
        match self {
            Self::Settled | Self::Suspended => None,
            Self::Stalled => Some("Stalled"),
            Self::Retrying | Self::UnderWay | Self::Waiting => Some("Reconciling"),
        }
    }
}

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident: $standing:ident, $remedy:literal;)+) => {
        /// Why Ready is what it is.
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        pub enum Reason {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Reason {
            /// Every reason, in the order of the documentation.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// The word that stands in the condition.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),+ }
            }

            /// How a decision with this reason stands.
            #[must_use]
            pub const fn standing(self) -> Standing {
                match self { $(Self::$name => Standing::$standing),+ }
            }

            /// What happened.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),+)),+ }
            }

            /// What a person can do about it.
            #[must_use]
            pub const fn remedy(self) -> &'static str {
                match self { $(Self::$name => $remedy),+ }
            }
        }
    };
}

reasons! {
    /// CodePipeline took this answer. A Rejected that was delivered is a success too.
    Delivered: Settled, "Nothing is left to do.";

    /// The request had been answered before, and the service's record shows the same result, as it does after a cluster
    /// was restored from Git. `exception` tells if the service was asked and refused.
    AlreadyDecided: Settled, "Nothing is left to do.";

    /// The service does not know the token: it is mistyped, belongs to an earlier request, the pipeline was edited since,
    /// or the action wants a summary and none was given.
    InvalidApprovalToken: Stalled,
        "Name the request that is pending, and give a spec.result.summary if the action requires one.";

    /// The request was finished before this answer came, and its record shows another result, nobody's answer (a time-out,
    /// a cancellation), or nothing that proves what the result was.
    ApprovalAlreadyCompleted: Stalled,
        "Look at the pipeline's history; a retried stage has a new token, for a new decision.";

    /// The account and region that the operator works in have no pipeline of this name.
    PipelineNotFound: Stalled, "Correct spec.pipelineName, or the region and account that the operator runs with.";

    /// The pipeline has no stage of this name.
    StageNotFound: Stalled, "Correct spec.stageName: the pipeline has no such stage.";

    /// The stage has no action of this name.
    ActionNotFound: Stalled, "Correct spec.actionName: the stage has no such action.";

    /// The run that the decision is bound to ended, was stopped or was superseded before its approval was answered.
    ExecutionEnded: Stalled,
        "Create a decision for the run that takes its place; if the run is retried, set the annotation \
         codepipeline.approvals.dev/requestedAt to a new value.";

    /// The service still does not know the run that the decision is bound to, a minute after it was first looked for.
    PipelineExecutionNotFound: Stalled,
        "Correct spec.pipelineExecutionId, or the region and account that the operator runs with.";

    /// More than one run of the source revision waits for this approval, so that the decision does not say which to answer.
    AmbiguousRevision: Stalled,
        "Bind the decision to one of the runs with spec.pipelineExecutionId in place of spec.sourceRevision.";

    /// The service, or the operator, found a field that cannot be right.
    ValidationFailed: Stalled, "Correct the field that the message names.";

    /// `spec.notAfter`, or the operator's `--waiting-limit` counted from the decision's creation, passed before an answer
    /// was taken. Nothing is sent after it.
    Expired: Stalled, "If the answer is still wanted, create a new decision with a later notAfter or none.";

    /// The service asked to be called less often. Nothing was taken, and it is tried again.
    Throttled: Retrying, "Nothing has to be done; if it lasts, raise the account's CodePipeline request quota.";

    /// The operator's AWS identity may not answer, or not read the pipeline. Nothing was taken, and it is tried again.
    AccessDenied: Retrying, "Allow it in the IAM policy of the operator's role; the answer is then sent by itself.";

    /// The operator has no AWS region or no valid credentials. Nothing was taken, and it is tried again.
    CredentialsUnavailable: Retrying,
        "Give the operator a region and credentials (IRSA, EKS Pod Identity or AWS_* variables); the answer is then sent by itself.";

    /// The service cannot be reached, or refused in a way that is not the decision's fault. Nothing was taken, and it is
    /// tried again.
    ServiceUnavailable: Retrying,
        "Check the network between the operator and CodePipeline, and that its CA bundle (SSL_CERT_FILE) has the certificate's authority; the answer is sent by itself.";

    /// The approval that the decision is for is not pending yet. The message says what is waited for.
    Waiting: Waiting, "The answer is sent by itself when the approval is pending.";

    /// The intent to answer is recorded and the request is under way. The spec cannot change meanwhile.
    Submitting: UnderWay, "Wait: this takes a moment.";

    /// An answer was sent and what became of it is not known yet: the service's record is being read. The spec cannot
    /// change meanwhile.
    Unconfirmed: UnderWay, "Wait: this settles by itself once the service's record can be read.";

    /// `spec.suspend` is true: nothing is sent.
    Suspended: Suspended, "Set spec.suspend to false to have the answer sent.";
}

impl std::str::FromStr for Reason {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.iter().copied().find(|reason| reason.as_str() == text).ok_or(())
    }
}
