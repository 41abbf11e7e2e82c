//! The reasons of the `Ready` condition: every state that a decision can be in, what it means, and what a person can do.
//!
//! `docs/reasons.md` is generated from here: the doc comment of a reason is its meaning, the strum message its remedy. The
//! remedy is also the second sentence of the condition's message, unless more is known than the reason.

use crate::api::conditions::ConditionStatus;
use strum::{EnumMessage, EnumString, IntoStaticStr, VariantArray};

/// The kind of state that a reason belongs to. The conditions follow from it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ReadyClass {
    /// Final, with the result that the decision asked for: Ready is True.
    Settled,
    /// Final until the decision is edited, or, with a reason about targets, until these change: Ready is False, Stalled is True.
    Stalled,
    /// Not applied, and the operator goes on: Ready is False, Reconciling is True.
    Retrying,
    /// CodePipeline may have received a submission: Ready is Unknown, Reconciling is True.
    InFlight,
    /// No operator has reported anything yet: Ready is Unknown, and there is no other condition.
    Pending,
    /// There is no request to respond to yet, or something holds the result back: Ready is Unknown, Reconciling is True.
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
            Self::InFlight | Self::Pending | Self::Waiting => ConditionStatus::Unknown,
        }
    }

    /// The type of the condition that is True beside Ready.
    #[must_use]
    pub const fn secondary_condition(self) -> Option<&'static str> {
        match self {
            Self::Settled | Self::Pending | Self::Suspended => None,
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
    #[strum(
        message = "Check the pipeline's history; to answer a request that a retried stage opened, set spec.ignoreResponsesBefore."
    )]
    ApprovalAlreadyCompleted,
    /// The AWS account and region of the target, or the operator's own, have no pipeline of this name. Final if CodePipeline refused a
    /// result for it; otherwise the operator continues when the pipeline appears.
    #[strum(message = "Correct spec.pipelineName or spec.targetRef, or the operator's AWS account and region.")]
    PipelineNotFound,
    /// The pipeline has no stage of this name. Final if CodePipeline refused a result for it; otherwise the operator continues
    /// when the stage appears.
    #[strum(message = "Correct spec.stageName.")]
    StageNotFound,
    /// The stage has no approval action of this name. Final if CodePipeline refused a result for it; otherwise the operator
    /// continues when the action appears.
    #[strum(message = "Correct spec.actionName: it must name an approval action of the stage.")]
    ActionNotFound,
    /// The execution that the decision names ended, was superseded, or went on without this approval before the approval received
    /// a response. Final unless the execution failed or was stopped: then its stage can be retried, and the operator continues.
    #[strum(message = "Name another execution, or retry the stage of this one if it can be retried.")]
    ExecutionEnded,
    /// CodePipeline still does not know the execution that the decision names, a minute after the operator first asked.
    #[strum(message = "Correct spec.pipelineExecutionId or spec.targetRef, or the operator's AWS account and region.")]
    PipelineExecutionNotFound,
    /// Several requests with the source revisions are pending, so the decision does not say which one it means; or one is pending
    /// whose execution has a source that no entry of spec.sourceRevisions covers.
    #[strum(
        message = "Name one execution with spec.pipelineExecutionId, or cover every source in spec.sourceRevisions."
    )]
    AmbiguousRevision,
    /// CodePipeline or the operator found a field with an invalid value, or one that this version of the operator does not know.
    #[strum(message = "Correct the field that the message names.")]
    ValidationFailed,
    /// `spec.notAfter` passed, or, without it, the operator's `--waiting-limit` counted from `status.waitingSince`, before
    /// CodePipeline accepted a result. Nothing is sent after that.
    #[strum(
        message = "If the result is still wanted, set spec.notAfter to a later time; it replaces the waiting limit."
    )]
    Expired,
    /// There is no ApprovalTarget with the name in `spec.targetRef`. The operator continues when there is one.
    #[strum(message = "Correct spec.targetRef.name, or create the ApprovalTarget.")]
    TargetNotFound,
    /// STS has not confirmed that the operator can access the account of the target, or the operator cannot read the targets. The
    /// operator continues when it can. `kubectl get apt` shows the reason of the target.
    #[strum(message = "Fix the ApprovalTarget; the operator continues automatically.")]
    TargetNotReady,
    /// The target does not admit the namespace, the pipeline and the result together; it has another account or region than
    /// `spec.targetRef` says; or the request was first resolved in another account or region. Nothing is read there. Evaluated again
    /// when the target or the labels of the namespace change.
    #[strum(message = "Correct spec.targetRef, or ask an administrator for an access entry in the ApprovalTarget.")]
    TargetForbidden,
    /// The decision has no `spec.targetRef`, and an ApprovalTarget has the operator's own account and region, or the operator runs with
    /// `--ambient-credentials=false`. Evaluated again when the targets change.
    #[strum(message = "Set spec.targetRef.name to an ApprovalTarget.")]
    TargetRequired,
    /// CodePipeline throttles requests. Nothing was applied, and the operator retries.
    #[strum(message = "No action needed; if this continues, request a higher CodePipeline quota for the account.")]
    Throttled,
    /// The operator's AWS identity is not allowed to submit the result, or to read the pipeline; or the trust policy of the target's
    /// role refuses the session of the decision. Nothing was applied, and the operator retries.
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
    #[strum(
        message = "Check the AWS region, the network between the operator and CodePipeline, and that the operator's CA bundle \
                       (SSL_CERT_FILE) contains the issuer of the certificate; the operator retries automatically."
    )]
    ServiceUnavailable,
    /// The operator's clock, which deadlines and `spec.notAfter` depend on, differs from AWS's by more than 10 s. Nothing was applied,
    /// and the operator retries.
    #[strum(message = "Synchronize the clock of the operator's node (NTP); the operator retries automatically.")]
    ClockSkew,
    /// No operator has reported on the decision since it was created, and nothing was sent: none runs, none watches the namespace,
    /// one has seen it and has not read the pipeline yet, or its target is not verified yet. This is the default of a new decision.
    #[strum(message = "If this lasts longer than a minute, check that an operator runs and watches this namespace: \
                       its Lease, in the operator's namespace, has a recent spec.renewTime.")]
    Pending,
    /// The approval that the decision names is not pending yet. The message says what the decision waits for.
    #[strum(message = "The operator submits the result automatically when the approval is pending.")]
    Waiting,
    /// Another decision rejects, or may reject, the request that this decision approves. The rejection goes first.
    #[strum(message = "Delete, suspend or correct one of the two decisions.")]
    ConflictingDecision,
    /// The intent is recorded and the submission is in flight. An edit is acted on after that.
    #[strum(message = "Wait: this takes a moment.")]
    Submitting,
    /// The operator sent a submission and does not know its outcome yet. It reads CodePipeline's history to find out. An
    /// edit is acted on after that.
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

    /// The kind of state that it belongs to, unless its outcome says otherwise.
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
            | Self::Expired
            | Self::TargetForbidden
            | Self::TargetRequired => ReadyClass::Stalled,
            Self::TargetNotFound
            | Self::TargetNotReady
            | Self::Throttled
            | Self::AccessDenied
            | Self::CredentialsUnavailable
            | Self::ServiceUnavailable
            | Self::ClockSkew => ReadyClass::Retrying,
            Self::Pending => ReadyClass::Pending,
            Self::Waiting | Self::ConflictingDecision => ReadyClass::Waiting,
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
