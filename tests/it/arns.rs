//! The ARNs that the docs and the chart print can be used in every partition of AWS: a placeholder or a real partition in each, in
//! agreement with the region beside it. The IAM policy in the README has exactly what the operator calls.

use approval_operator::codepipeline::Operation;
use serde_json::Value;
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
        // `^arn:` starts a pattern of the schema.
        .filter(|(at, _)| !text[..*at].ends_with(|before: char| before.is_alphanumeric() || "-^".contains(before)))
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
            let is_consistent = if is_placeholder { account == "ACCOUNT" } else { is_real && is_account };
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

#[test]
fn the_iam_policy_allows_exactly_what_the_operator_calls() {
    let readme = read_to_string(root().join("README.md")).unwrap();
    let policy = readme.split("```json\n").skip(1).find(|block| block.contains("\"Statement\"")).unwrap();
    let policy: Value = serde_json::from_str(policy.split("```").next().unwrap()).unwrap();
    let mut allowed = BTreeSet::new();
    for statement in policy["Statement"].as_array().unwrap() {
        let actions = match &statement["Action"] {
            Value::Array(actions) => actions.clone(),
            action => vec![action.clone()],
        };
        for action in actions {
            let resource = statement["Resource"].as_str().unwrap();
            allowed.insert((action.as_str().unwrap().to_owned(), resource.to_owned()));
        }
    }
    let called = Operation::ALL.iter().map(|operation| {
        let pipeline = "arn:PARTITION:codepipeline:REGION:ACCOUNT:PIPELINE";
        let resource = match operation {
            Operation::PutApprovalResult => format!("{pipeline}/STAGE/ACTION"),
            Operation::GetPipelineState
            | Operation::GetPipelineExecution
            | Operation::ListPipelineExecutions
            | Operation::ListActionExecutions => pipeline.to_owned(),
        };
        (format!("codepipeline:{}", operation.as_str()), resource)
    });
    assert_eq!(allowed, called.collect());
}
