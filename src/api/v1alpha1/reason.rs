//! The reasons of the `Ready` condition: every state that a decision can be in, what it means, and what a person can do.
//!
//! `docs/reasons.md` is generated from here: the doc comment of a reason is its meaning, the strum message its remedy. The
//! remedy is also the last sentence of the condition's message.

use crate::api::conditions::ConditionStatus;
use strum::{EnumMessage, EnumString, IntoStaticStr, VariantArray};

/// The kind of state that a reason belongs to. The conditions follow from it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ReadyClass {
    /// Final, with the result that the decision asked for: Ready is True.
    Settled,
    /// Final until the decision is edited: Ready is False, Stalled is True.
    Stalled,
    /// Not applied, and retried: Ready is False, Reconciling is True.
    Retrying,
    /// CodePipeline may have received a submission: Ready is Unknown, Reconciling is True, and the spec is locked.
    InFlight,
    /// There is no request to respond to yet: Ready is Unknown, Reconciling is True.
    Waiting,
    /// Held back by its owner: Ready is False, and there is no other condition.
    Suspended,
}

impl ReadyClass {
    /// The status of the Ready condition.
    #[must_use]
    pub const fn ready(self) -> ConditionStatus {
        match self {
            Self::Settled => ConditionStatus::True,
            Self::Stalled | Self::Retrying | Self::Suspended => ConditionStatus::False,
            Self::InFlight | Self::Waiting => ConditionStatus::Unknown,
        }
    }

    /// The type of the condition that is True beside Ready.
    #[must_use]
    pub const fn secondary_condition(self) -> Option<&'static str> {
        match self {
            Self::Settled | Self::Suspended => None,
            Self::Stalled => Some("Stalled"),
            Self::Retrying | Self::InFlight | Self::Waiting => Some("Reconciling"),
        }
    }
}

/// Why Ready is what it is. The order is that of the documentation.
#[derive(Clone, Copy, Debug, EnumMessage, EnumString, Eq, Hash, IntoStaticStr, PartialEq, VariantArray)]
pub enum Reason {
    /// CodePipeline accepted this result. A delivered Rejected is a success too.
    #[strum(message = "No action needed.")]
    Delivered,
    /// The approval had already received a response, and CodePipeline's history shows the same result. This happens after a
    /// cluster is restored from Git. `exception` is set if the operator submitted a result and CodePipeline refused it.
    #[strum(message = "No action needed.")]
    AlreadyDecided,
    /// CodePipeline does not know the token: it is mistyped, belongs to an earlier request, the pipeline was edited since,
    /// or the action requires a summary and the decision has none.
    #[strum(message = "Name the request that is pending, and set spec.result.summary if the action requires one.")]
    InvalidApprovalToken,
    /// The request was completed before this result arrived, and CodePipeline's history shows another result, no response (a
    /// time-out, a cancellation), or nothing that proves which result it was.
    #[strum(message = "Check the pipeline's history; a retried stage has a new token, which needs a new decision.")]
    ApprovalAlreadyCompleted,
    /// The operator's AWS account and region have no pipeline of this name.
    #[strum(message = "Correct spec.pipelineName, or the operator's AWS account and region.")]
    PipelineNotFound,
    /// The pipeline has no stage of this name.
    #[strum(message = "Correct spec.stageName.")]
    StageNotFound,
    /// The stage has no approval action of this name.
    #[strum(message = "Correct spec.actionName: it must name an approval action of the stage.")]
    ActionNotFound,
    /// The execution that the decision names ended, was stopped or was superseded before its approval received a response.
    #[strum(
        message = "Create a decision for the execution that replaces it; if you retry this execution, set the annotation \
                       codepipeline.approvals.dev/requestedAt to a new value."
    )]
    ExecutionEnded,
    /// CodePipeline still does not know the execution that the decision names, a minute after the operator first asked.
    #[strum(message = "Correct spec.pipelineExecutionId, or the operator's AWS account and region.")]
    PipelineExecutionNotFound,
    /// Several executions of the source revision are waiting for this approval, so the decision does not say which one it
    /// means.
    #[strum(message = "Name one of the executions with spec.pipelineExecutionId instead of spec.sourceRevision.")]
    AmbiguousRevision,
    /// CodePipeline or the operator found a field with an invalid value.
    #[strum(message = "Correct the field that the message names.")]
    ValidationFailed,
    /// `spec.notAfter`, or the operator's `--waiting-limit` counted from the creation of the decision, passed before
    /// CodePipeline accepted a result. Nothing is sent after that.
    #[strum(
        message = "If the result is still wanted, create a new decision with a later spec.notAfter, or without one."
    )]
    Expired,
    /// CodePipeline throttles requests. Nothing was applied, and the operator retries.
    #[strum(message = "No action needed; if this continues, request a higher CodePipeline quota for the account.")]
    Throttled,
    /// The operator's AWS identity is not allowed to submit the result, or to read the pipeline. Nothing was applied, and the
    /// operator retries.
    #[strum(message = "Allow it in the IAM policy of the operator's role; the operator retries automatically.")]
    AccessDenied,
    /// The operator has no AWS region or no valid credentials. Nothing was applied, and the operator retries.
    #[strum(
        message = "Give the operator a region and credentials (IRSA, EKS Pod Identity or AWS_* variables); the operator \
                       retries automatically."
    )]
    CredentialsUnavailable,
    /// CodePipeline cannot be reached, or refused for a reason that the decision did not cause. Nothing was applied, and the
    /// operator retries.
    #[strum(message = "Check the network between the operator and CodePipeline, and that the operator's CA bundle \
                       (SSL_CERT_FILE) contains the issuer of the certificate; the operator retries automatically.")]
    ServiceUnavailable,
    /// The approval that the decision names is not pending yet. The message says what the decision waits for.
    #[strum(message = "The operator submits the result automatically when the approval is pending.")]
    Waiting,
    /// The intent is recorded and the submission is in flight. The spec is locked until it completes.
    #[strum(message = "Wait: this takes a moment.")]
    Submitting,
    /// The operator sent a submission and does not know its outcome yet. It reads CodePipeline's history to find out. The spec is
    /// locked until then.
    #[strum(message = "Wait: the operator settles this automatically once it can read CodePipeline's history.")]
    Unconfirmed,
    /// `spec.suspend` is true: nothing is sent.
    #[strum(message = "Set spec.suspend to false to submit the result.")]
    Suspended,
}

impl Reason {
    /// Every reason, in the order of the documentation.
    pub const ALL: &[Self] = Self::VARIANTS;

    /// The word in the condition.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// The kind of state that it belongs to.
    #[must_use]
    pub const fn ready_class(self) -> ReadyClass {
        match self {
            Self::Delivered | Self::AlreadyDecided => ReadyClass::Settled,
            Self::InvalidApprovalToken
            | Self::ApprovalAlreadyCompleted
            | Self::PipelineNotFound
            | Self::StageNotFound
            | Self::ActionNotFound
            | Self::ExecutionEnded
            | Self::PipelineExecutionNotFound
            | Self::AmbiguousRevision
            | Self::ValidationFailed
            | Self::Expired => ReadyClass::Stalled,
            Self::Throttled | Self::AccessDenied | Self::CredentialsUnavailable | Self::ServiceUnavailable => {
                ReadyClass::Retrying
            }
            Self::Waiting => ReadyClass::Waiting,
            Self::Submitting | Self::Unconfirmed => ReadyClass::InFlight,
            Self::Suspended => ReadyClass::Suspended,
        }
    }

    /// What happened.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        self.get_documentation().unwrap_or_default()
    }

    /// What a person can do about it.
    #[must_use]
    pub fn remedy(self) -> &'static str {
        self.get_message().unwrap_or_default()
    }
}
