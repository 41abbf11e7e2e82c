//! The ARNs that the docs and the chart print can be used in every partition of AWS: a placeholder or a real partition in each, in
//! agreement with the region beside it. The IAM policies have exactly what the operator calls.

use approval_operator::codepipeline::{Operation, SessionName};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs::read_to_string;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What users read and apply.
fn files() -> Vec<PathBuf> {
    let (mut found, mut folders) = (vec![root().join("README.md")], Vec::new());
    folders.extend(["docs", "charts", "examples"].map(|folder| root().join(folder)));
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            let is_text = path.extension().is_some_and(|extension| extension != "svg");
            match path.is_dir() {
                true => folders.push(path),
                false if is_text => found.push(path),
                false => {}
            }
        }
    }
    found
}

/// The ARNs of a text, each as its six parts.
fn arns(text: &str) -> Vec<Vec<&str>> {
    let ends = |c: char| c.is_whitespace() || "\"'`<>(),;{}|".contains(c);
    text.match_indices("arn:")
        .filter(|(at, _)| !text[..*at].ends_with(|before: char| before.is_alphanumeric() || before == '-'))
        // CloudFormation inserts the partition, and a schema has the pattern of an ARN.
        .filter(|(at, _)| {
            !["arn:${AWS::Partition}:", "arn:[a-z-]+:"].iter().any(|start| text[*at..].starts_with(start))
        })
        .map(|(at, _)| {
            let arn = text[at..].split(ends).next().unwrap().trim_end_matches('.');
            arn.splitn(6, ':').collect()
        })
        .collect()
}

fn partition(region: &str) -> &'static str {
    match region {
        _ if region.starts_with("us-gov-") => "aws-us-gov",
        _ if region.starts_with("cn-") => "aws-cn",
        _ => "aws",
    }
}

#[test]
fn every_arn_has_a_partition_and_placeholders_are_never_mixed_with_an_example() {
    let mut count = 0;
    for file in files() {
        let text = read_to_string(&file).unwrap();
        for arn in arns(&text) {
            let [_, partition, service, region, account, resource] = *arn.as_slice() else {
                panic!("{}: {arn:?} is not an ARN", file.display());
            };
            let is_placeholder = partition == "PARTITION";
            let is_real = ["aws", "aws-us-gov", "aws-cn"].contains(&partition);
            let is_account = account.len() == 12 && account.bytes().all(|digit| digit.is_ascii_digit());
            let has_region = match service {
                "iam" => region.is_empty(),
                "codepipeline" => region == "REGION" || self::partition(region) == partition,
                other => panic!("{}: {other} is a new service", file.display()),
            };
            assert!(has_region && !resource.is_empty(), "{}: {arn:?}", file.display());
            // With an account of the reader, the partition is the reader's too.
            let is_of_reader = ["ACCOUNT", "TARGET_ACCOUNT"].contains(&account);
            let is_consistent = if is_placeholder { is_of_reader } else { is_real && is_account };
            assert!(is_consistent, "{}: {arn:?}", file.display());
            count += 1;
        }
    }
    assert!(count >= 8, "{count}");
}

#[test]
fn the_values_of_a_region_have_arns_of_its_partition() {
    let mut partitions = BTreeSet::new();
    for file in files().iter().filter(|file| file.ends_with("values.yaml") || file.parent().unwrap().ends_with("ci")) {
        let text = read_to_string(file).unwrap();
        let values: Value = serde_saphyr::from_str(&text).unwrap();
        let Some(region) = values["aws"]["region"].as_str().filter(|region| !region.is_empty()) else { continue };
        for arn in arns(&text) {
            assert_eq!(arn[1], partition(region), "{}: {arn:?}", file.display());
            partitions.insert(arn[1].to_owned());
        }
    }
    assert_eq!(partitions, BTreeSet::from(["aws".to_owned(), "aws-us-gov".to_owned()]));
}

/// The IAM policies in the code blocks of a page, in their order.
fn policies(page: &str) -> Vec<Value> {
    let text = read_to_string(root().join(page)).unwrap();
    let blocks = text.split("```json\n").skip(1).map(|block| block.split("```").next().unwrap());
    blocks.filter(|block| block.contains("\"Statement\"")).map(|block| serde_json::from_str(block).unwrap()).collect()
}

/// A list, or the only element of one.
fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_else(|| vec![value.clone()])
}

/// Each action that a policy allows, with its resource.
fn allowed(policy: &Value) -> BTreeSet<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut allowed = BTreeSet::new();
    for statement in list(&policy["Statement"]) {
        assert_eq!(statement["Effect"], "Allow");
        for resource in list(&statement["Resource"]) {
            let resource = text(resource.get("Fn::Sub").unwrap_or(&resource));
            allowed.extend(list(&statement["Action"]).iter().map(|action| (text(action), resource.clone())));
        }
    }
    allowed
}

/// What the operator calls, with the resources of these pipelines and approvals.
fn called(pipelines: &str, approvals: &str) -> BTreeSet<(String, String)> {
    let called = Operation::ALL.iter().map(|operation| {
        let resource = match operation {
            Operation::PutApprovalResult => approvals,
            Operation::GetPipelineState
            | Operation::GetPipelineExecution
            | Operation::ListPipelineExecutions
            | Operation::ListActionExecutions => pipelines,
        };
        (format!("codepipeline:{}", operation.as_str()), resource.to_owned())
    });
    called.collect()
}

#[test]
fn the_iam_policy_allows_exactly_what_the_operator_calls() {
    let pipeline = "arn:PARTITION:codepipeline:REGION:ACCOUNT:PIPELINE";
    assert_eq!(allowed(&policies("README.md")[0]), called(pipeline, &format!("{pipeline}/STAGE/ACTION")));
}

/// EKS Pod Identity passes its session tags on to the role of a target, which needs sts:TagSession.
#[test]
fn the_policies_for_targets_allow_to_assume_their_roles_and_trust_only_the_operator() {
    let [trust, own] = policies("docs/targets.md").try_into().unwrap();
    let assume = json!(["sts:AssumeRole", "sts:TagSession"]);
    let role = "arn:PARTITION:iam::TARGET_ACCOUNT:role/approvals".to_owned();
    let expected = ["sts:AssumeRole", "sts:TagSession"].map(|action| (action.to_owned(), role.clone()));
    assert_eq!(allowed(&own), BTreeSet::from(expected));
    let trust = &trust["Statement"];
    assert_eq!(trust["Action"], assume);
    let principal = trust["Principal"]["AWS"].as_str().unwrap();
    assert!(principal.ends_with(":role/approval-operator"), "{principal}");
    assert!(trust["Condition"]["StringEquals"]["sts:ExternalId"].is_string());

    // The optional condition: the session of reads, and those of the decisions of a namespace.
    let sessions = &trust["Condition"]["StringLike"]["sts:RoleSessionName"];
    assert_eq!(*sessions, json!(["approval-operator", "NAMESPACE.*"]));
    let session = SessionName::of("NAMESPACE", "release", "uid");
    assert!(session.as_str().starts_with("NAMESPACE."), "{session}");

    let page = read_to_string(root().join("docs/targets.md")).unwrap();
    let module = page.split("```hcl\n").nth(1).unwrap();
    assert!(module.contains(&format!("Action    = {}", serde_json::to_string(&assume).unwrap().replace(',', ", "))));
    assert!(module.contains(r#"StringEquals = { "sts:ExternalId" = var.external_id }"#));
}

#[test]
fn the_role_for_cloudformation_is_that_of_the_docs() {
    let template: Value =
        serde_saphyr::from_str(&read_to_string(root().join("examples/targets/role.yaml")).unwrap()).unwrap();
    let role = &template["Resources"]["Role"]["Properties"];
    let pipelines = "arn:${AWS::Partition}:codepipeline:*:${AWS::AccountId}:*";
    let policy = &role["Policies"][0]["PolicyDocument"];
    assert_eq!(allowed(policy), called(pipelines, &format!("{pipelines}/*/*")));
    let mut trust = policies("docs/targets.md").remove(0);
    // The parameters of the template in place of the page's placeholders.
    trust["Statement"]["Principal"] = json!({ "AWS": { "Ref": "OperatorRoleArn" } });
    trust["Statement"]["Condition"] = json!({ "StringEquals": { "sts:ExternalId": { "Ref": "ExternalId" } } });
    assert_eq!(role["AssumeRolePolicyDocument"], trust);
    let parameters: Vec<_> = template["Parameters"].as_object().unwrap().keys().collect();
    assert_eq!(parameters, ["ExternalId", "OperatorRoleArn"]);
}
