//! `ApprovalTarget`: an AWS account and region with pipelines, which identity the operator uses there, and who may use it. Only
//! administrators write targets.
//!
//! Every limit is in the schema, so that the API server refuses invalid values. What a newer schema admits is in `unsupported`, and such
//! a target admits nothing.

use super::approval_result::ApprovalStatus;
use crate::api::conditions::{Condition, integral_option};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Where pipelines are, which identity the operator uses there, and who may use it.
#[derive(Clone, CustomResource, Debug, Deserialize, Eq, Hash, KubeSchema, PartialEq, Serialize)]
#[kube(
    group = "codepipeline.approvals.dev",
    version = "v1alpha1",
    kind = "ApprovalTarget",
    status = "ApprovalTargetStatus",
    derive = "PartialEq",
    shortname = "apt",
    category = "approvals",
    doc = "An ApprovalTarget is an AWS account and region with pipelines. It says which identity the operator uses there, and \
           which namespaces may decide on which pipelines. Cluster administrators write it; an ApprovalDecision names it in \
           spec.targetRef.",
    validation = Rule::new(
        "!has(self.spec.roleArn) || self.spec.roleArn.contains(':iam::' + self.spec.accountId + ':role/')"
    )
    .message("spec.roleArn must be a role of the account spec.accountId, such as arn:aws:iam::111122223333:role/approvals")
    .field_path(".spec.roleArn"),
    validation = Rule::new("!has(self.spec.externalId) || has(self.spec.roleArn)")
        .message("spec.externalId is for spec.roleArn, which is not set")
        .field_path(".spec.externalId"),
    validation = Rule::new("size(self.metadata.name) <= 63")
        .message("metadata.name must be no longer than 63 characters: it is a label of metrics"),
    printcolumn(name = "Account", type_ = "string", json_path = ".spec.accountId"),
    printcolumn(name = "Region", type_ = "string", json_path = ".spec.region"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Pipelines", type_ = "integer", json_path = ".status.pipelines", priority = 1),
    printcolumn(name = "Pending", type_ = "integer", json_path = ".status.pendingRequests", priority = 1),
    printcolumn(name = "Role", type_ = "string", json_path = ".spec.roleArn", priority = 1),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].message"#,
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalTargetSpec {
    /// The AWS account of the pipelines: 12 digits, in quotes. STS must confirm it before anything else happens. It cannot be changed.
    #[schemars(regex(pattern = "^[0-9]{12}$"), length(equal = 12))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("accountId cannot be changed: create another ApprovalTarget"))]
    pub account_id: String,
    /// The AWS region of the pipelines, such as eu-west-1. STS does not confirm it. It cannot be changed.
    #[schemars(regex(pattern = "^[a-z]{2,}(-[a-z]+)+-[0-9]+$"), length(max = 32))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("region cannot be changed: create another ApprovalTarget"))]
    pub region: String,
    /// The ARN of the role that the operator assumes, such as arn:aws:iam::111122223333:role/approvals. It must be in this account.
    /// Without it, the operator uses its own identity, which must be in this account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048), regex(pattern = "^arn:[a-z-]+:iam::[0-9]{12}:role/[A-Za-z0-9+=,.@_/-]+$"))]
    pub role_arn: Option<String>,
    /// The external ID that the role's trust policy asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 1224), regex(pattern = "^[A-Za-z0-9+=,.@:/_-]+$"))]
    pub external_id: Option<String>,
    /// Who may use the target for what. One entry must admit the namespace, the pipeline and the result together.
    #[schemars(length(min = 1, max = 64))]
    pub access: Vec<Access>,
    /// What this version of the operator does not know in the object. Such a target admits nothing.
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    #[schemars(skip)]
    pub unsupported: Option<String>,
}

/// Namespaces, and what they may decide on.
#[derive(Clone, Debug, Deserialize, Eq, Hash, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Access {
    /// The namespaces.
    pub namespaces: Namespaces,
    /// The pipelines, by name. A `*` stands for any run of characters; nothing else is special. Upper and lower case differ.
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 100), regex(pattern = "^[A-Za-z0-9.@_*-]+$")))]
    pub pipelines: Vec<String>,
    /// The results that may be submitted: Approved, Rejected or both. Both, if it is not set.
    // Not a default of the schema, because Argo CD and kubectl apply would see a difference in a list that the author did not write.
    #[serde(default = "both_results", skip_serializing_if = "are_both_results")]
    #[schemars(length(min = 1, max = 2))]
    pub results: Vec<ApprovalStatus>,
}

fn both_results() -> Vec<ApprovalStatus> {
    vec![ApprovalStatus::Approved, ApprovalStatus::Rejected]
}

fn are_both_results(results: &[ApprovalStatus]) -> bool {
    results == both_results()
}

/// Namespaces: by their names or by their labels.
#[derive(Clone, Debug, Deserialize, Eq, Hash, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.names) != has(self.selector)")
    .message("namespaces must have exactly one of names and selector"))]
pub struct Namespaces {
    /// The names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(min = 1, max = 256),
        inner(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"))
    )]
    pub names: Vec<String>,
    /// The labels. Anyone who can label a namespace can then use the target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<NamespaceSelector>,
}

/// The labels of namespaces. All of it must match.
#[derive(Clone, Debug, Deserialize, Eq, Hash, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(
    "(has(self.matchLabels) && size(self.matchLabels) > 0) || (has(self.matchExpressions) && size(self.matchExpressions) > 0)"
).message("an empty selector would match every namespace: set matchLabels or matchExpressions"))]
pub struct NamespaceSelector {
    /// Labels with their values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub match_labels: BTreeMap<String, String>,
    /// Further conditions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub match_expressions: Vec<LabelRequirement>,
}

/// A condition for one label.
#[derive(Clone, Debug, Deserialize, Eq, Hash, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(self.operator == 'In') == (has(self.values) && size(self.values) > 0)")
    .message("operator In needs values, and Exists has none"))]
pub struct LabelRequirement {
    /// The label's name.
    #[schemars(length(min = 1, max = 317))]
    pub key: String,
    /// In: the value is one of values. Exists: the label exists.
    pub operator: LabelOperator,
    /// The values for In.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 63)))]
    pub values: Vec<String>,
}

/// How a label is compared. The operators that match a namespace without labels are left out, because labels that cannot be read must
/// admit nothing.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
pub enum LabelOperator {
    /// The value is one of the values.
    In,
    /// The label exists.
    Exists,
}

/// What the operator found out about the target.
#[derive(Clone, Debug, Default, Deserialize, Eq, Hash, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalTargetStatus {
    /// The metadata.generation that this status describes.
    #[serde(default, deserialize_with = "integral_option", skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready: whether STS confirmed that the operator can access the account.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// The ARN that the operator has in the account, according to STS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub caller_arn: Option<String>,
    /// The number of pipelines that the operator polls through the target, because decisions wait for something in them. The operator
    /// updates both numbers at most once in 10 s.
    #[serde(default, deserialize_with = "integral_option", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub pipelines: Option<i64>,
    /// The number of approval requests that were pending in these pipelines at the last successful poll of each, whether a decision names
    /// them or not. Of pipelines in PARALLEL mode, only requests of actions and executions that a waiting decision names are counted,
    /// because the state of such a pipeline does not show the others.
    #[serde(default, deserialize_with = "integral_option", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub pending_requests: Option<i64>,
}
