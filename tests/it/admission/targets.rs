//! Admission of targets: the schema refuses what would admit too much or could not work, and says why.

use serde_json::{Value, json};
use std::sync::OnceLock;
use test_control_plane::User;
use test_support::Cluster;
use test_support::chart::{CommandResult, kubectl};

/// A valid target in an account that no operator of these tests can reach.
fn target(name: &str) -> Value {
    json!({
        "apiVersion": "codepipeline.approvals.dev/v1alpha1",
        "kind": "ApprovalTarget",
        "metadata": { "name": name },
        "spec": {
            "accountId": "111122223333",
            "region": "eu-west-1",
            "roleArn": "arn:aws:iam::111122223333:role/approvals/operator",
            "externalId": "approvals-1",
            "access": [{ "namespaces": { "names": ["team-a"] }, "pipelines": ["web-*"] }],
        },
    })
}

/// A valid target with another value in its spec.
fn with(pointer: &str, value: Value) -> Value {
    let mut target = target("candidate");
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = target.pointer_mut(&format!("/spec{parent}")).unwrap();
    match name.parse::<usize>() {
        Ok(index) => parent[index] = value,
        Err(_) => parent[name] = value,
    }
    target
}

fn without(field: &str) -> Value {
    let mut target = target("candidate");
    target["spec"].as_object_mut().unwrap().remove(field);
    target
}

/// With these namespaces in its only entry.
fn for_namespaces(namespaces: Value) -> Value {
    with("/access/0/namespaces", namespaces)
}

fn with_expression(operator: &str, values: Value) -> Value {
    let mut expression = json!({ "key": "team", "operator": operator });
    if !values.is_null() {
        expression["values"] = values;
    }
    for_namespaces(json!({ "selector": { "matchExpressions": [expression] } }))
}

fn repeat(count: usize, value: &Value) -> Value {
    Value::from(vec![value.clone(); count])
}

fn labels(count: usize) -> Value {
    (0..count).map(|number| (format!("label-{number}"), json!("a"))).collect::<serde_json::Map<_, _>>().into()
}

/// Every operator in a cluster verifies its targets, and other tests count the calls of theirs. No operator runs in this one.
fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(Cluster::start)
}

fn run(arguments: &[&str], input: &Value) -> CommandResult {
    kubectl(cluster(), User::Admin, arguments, input)
}

const DRY_RUN: [&str; 3] = ["create", "--dry-run=server", "--filename=-"];

#[test]
fn the_api_server_refuses_invalid_targets_and_explains_each_refusal() {
    const EMPTY: &str = "an empty selector would match every namespace: set matchLabels or matchExpressions";
    const ONE_OF: &str = "namespaces must have exactly one of names and selector";
    const OPERATOR: &str = "operator In needs values, and Exists has none";
    const OTHER_ACCOUNT: &str =
        "spec.roleArn: Invalid value: spec.roleArn must be a role of the account spec.accountId, such as arn:aws:iam::";
    const ROLE: &str = "spec.roleArn in body should match";
    const PIPELINE: &str = "spec.access[0].pipelines[0] in body should match";
    let entry = target("")["spec"]["access"][0].clone();
    let expression = json!({ "key": "team", "operator": "Exists" });
    let mut long_name = target(&"n".repeat(64));
    long_name["spec"]["roleArn"] = json!("arn:aws:iam::111122223333:role/a");
    let rows = [
        // Where it is, and which identity the operator uses there.
        (without("accountId"), "spec.accountId: Required value"),
        (with("/accountId", json!("11112222333")), "spec.accountId"),
        (with("/accountId", json!("1111-2222-3333")), "spec.accountId"),
        (with("/accountId", json!("11112222333a")), "spec.accountId in body should match"),
        (with("/accountId", json!(111_122_223_333_i64)), "spec.accountId in body must be of type string"),
        (without("region"), "spec.region: Required value"),
        (with("/region", json!("EU-WEST-1")), "spec.region in body should match"),
        (with("/region", json!("eu-west")), "spec.region in body should match"),
        (with("/region", json!("eu-west-1.example.com/")), "spec.region in body should match"),
        (with("/region", json!(format!("eu-{}-1", "w".repeat(30)))), "spec.region: Too long"),
        (with("/accountId", json!("111122223334")), OTHER_ACCOUNT),
        (with("/roleArn", json!("arn:aws:iam::111122223334:role/operator")), OTHER_ACCOUNT),
        (with("/roleArn", json!("arn:aws:iam::111122223333:user/operator")), ROLE),
        (with("/roleArn", json!("arn:aws:sts::111122223333:assumed-role/operator/session")), ROLE),
        (with("/roleArn", json!("arn:aws:iam::111122223333:role/")), ROLE),
        (with("/roleArn", json!("arn:aws:iam::111122223333:role/*")), ROLE),
        (with("/roleArn", json!("operator")), ROLE),
        (with("/roleArn", json!("operator")), OTHER_ACCOUNT),
        (with("/roleArn", json!("")), ROLE),
        (with("/externalId", json!("a")), "spec.externalId in body should be at least 2 chars long"),
        (with("/externalId", json!("with space")), "spec.externalId in body should match"),
        (with("/externalId", json!("a".repeat(1225))), "spec.externalId: Too long"),
        (without("roleArn"), "spec.externalId: Invalid value: spec.externalId is for spec.roleArn, which is not set"),
        (long_name, "metadata.name must be no longer than 63 characters: it is a label of metrics"),
        // Who may use it.
        (without("access"), "spec.access: Required value"),
        (with("/access", json!([])), "spec.access in body should have at least 1 items"),
        (with("/access", repeat(65, &entry)), "spec.access: Too many: 65: must have at most 64 items"),
        (with("/access/0", json!({ "pipelines": ["web"] })), "spec.access[0].namespaces: Required value"),
        (with("/access/0", json!({ "namespaces": { "names": ["a"] } })), "spec.access[0].pipelines: Required value"),
        (for_namespaces(json!({})), ONE_OF),
        (for_namespaces(json!({ "names": ["a"], "selector": { "matchLabels": { "a": "b" } } })), ONE_OF),
        (for_namespaces(json!({ "names": [] })), "names in body should have at least 1 items"),
        (for_namespaces(json!({ "names": [""] })), "names[0] in body should be at least 1 chars long"),
        // Names are not globs. Such a target would admit nothing, and say nothing.
        (for_namespaces(json!({ "names": ["*"] })), "names[0] in body should match"),
        (for_namespaces(json!({ "names": ["team-*"] })), "names[0] in body should match"),
        (for_namespaces(json!({ "names": ["Team"] })), "names[0] in body should match"),
        (for_namespaces(json!({ "names": ["n".repeat(64)] })), "names[0]: Too long"),
        (for_namespaces(json!({ "names": repeat(257, &json!("a")) })), "names: Too many"),
        (for_namespaces(json!({ "selector": {} })), EMPTY),
        (for_namespaces(json!({ "selector": { "matchLabels": {} } })), EMPTY),
        (for_namespaces(json!({ "selector": { "matchExpressions": [] } })), EMPTY),
        (for_namespaces(json!({ "selector": { "matchLabels": {}, "matchExpressions": [] } })), EMPTY),
        (for_namespaces(json!({ "selector": { "matchLabels": labels(17) } })), "matchLabels: Too many"),
        (
            for_namespaces(json!({ "selector": { "matchExpressions": repeat(17, &expression) } })),
            "matchExpressions: Too many",
        ),
        (with_expression("In", Value::Null), OPERATOR),
        (with_expression("In", json!([])), OPERATOR),
        (with_expression("Exists", json!(["a"])), OPERATOR),
        // These match a namespace without labels.
        (with_expression("NotIn", json!(["a"])), r#"operator: Unsupported value: "NotIn""#),
        (with_expression("DoesNotExist", Value::Null), r#"operator: Unsupported value: "DoesNotExist""#),
        (with_expression("In", repeat(65, &json!("a"))), "values: Too many"),
        (with("/access/0/pipelines", json!([])), "spec.access[0].pipelines in body should have at least 1 items"),
        (with("/access/0/pipelines", json!(["web-?"])), PIPELINE),
        (with("/access/0/pipelines", json!(["web/Prod"])), PIPELINE),
        (with("/access/0/pipelines", json!(["web-[ab]"])), PIPELINE),
        (with("/access/0/pipelines", json!(["web\n"])), PIPELINE),
        (with("/access/0/pipelines", json!([""])), "spec.access[0].pipelines[0]"),
        (with("/access/0/pipelines", json!(["w".repeat(101)])), "spec.access[0].pipelines[0]: Too long"),
        (with("/access/0/pipelines", repeat(65, &json!("web"))), "spec.access[0].pipelines: Too many"),
        (with("/access/0/results", json!([])), "spec.access[0].results in body should have at least 1 items"),
        (with("/access/0/results", json!(["approved"])), r#"supported values: "Approved", "Rejected""#),
        (with("/access/0/results", repeat(3, &json!("Approved"))), "spec.access[0].results: Too many"),
        // A misspelled restriction must not be left out silently.
        (with("/access/0/result", json!(["Rejected"])), r#"unknown field "spec.access[0].result""#),
        (with("/access/0/namespaces/name", json!(["a"])), r#"unknown field "spec.access[0].namespaces.name""#),
    ];
    for (manifest, expected) in rows {
        let CommandResult { succeeded, output } = run(&DRY_RUN, &manifest);
        assert!(!succeeded && output.contains(expected), "expected {expected:?} for {manifest}:\n{output}");
    }
}

#[test]
fn the_api_server_accepts_targets_up_to_their_limits() {
    let entry = target("")["spec"]["access"][0].clone();
    let expression = json!({ "key": "team", "operator": "In", "values": repeat(64, &json!("a".repeat(63))) });
    let everything = json!({
        "namespaces": { "selector": { "matchLabels": labels(16), "matchExpressions": repeat(16, &expression) } },
        "pipelines": repeat(64, &json!("*".repeat(100))),
        "results": ["Rejected"],
    });
    let mut ambient = without("roleArn");
    ambient["spec"].as_object_mut().unwrap().remove("externalId");
    let govcloud = json!({ "accountId": "111122223333", "region": "us-gov-west-1", "access": [entry],
        "roleArn": "arn:aws-us-gov:iam::111122223333:role/operator" });
    let mut in_govcloud = target("candidate");
    in_govcloud["spec"] = govcloud;
    let rows = [
        target(&"n".repeat(63)),
        target("with.dots-and-1"),
        ambient,
        without("externalId"),
        in_govcloud,
        with("/region", json!("cn-northwest-1")),
        with("/region", json!("us-isob-east-1")),
        with("/region", json!("ap-southeast-10")),
        with("/region", json!("eusc-de-east-1")),
        with("/externalId", json!("a".repeat(1224))),
        with("/access", repeat(64, &entry)),
        with("/access", repeat(64, &json!({ "namespaces": { "names": ["a"] }, "pipelines": repeat(64, &json!("*")) }))),
        with("/access/0", everything),
        for_namespaces(json!({ "names": repeat(256, &json!("n".repeat(63))) })),
        for_namespaces(json!({ "selector": { "matchLabels": { "team": "" }, "matchExpressions": [] } })),
        with_expression("Exists", Value::Null),
        with_expression("In", json!([""])),
    ];
    for manifest in rows {
        let CommandResult { succeeded, output } = run(&DRY_RUN, &manifest);
        let text: String = manifest.to_string().chars().take(600).collect();
        assert!(succeeded, "{text}: {output}");
    }
}

#[test]
fn the_account_and_the_region_of_a_target_cannot_be_changed() {
    let name = "immutable";
    run(&["create", "--filename=-"], &target(name)).expect_success();
    let patch = |patch: Value| run(&["patch", "apt", name, "--type=merge", &format!("--patch={patch}")], &Value::Null);
    let account = "111122223334";
    let rows = [
        (json!({ "region": "eu-west-2" }), Some("region cannot be changed: create another ApprovalTarget")),
        (
            json!({ "accountId": account, "roleArn": format!("arn:aws:iam::{account}:role/operator") }),
            Some("accountId cannot be changed: create another ApprovalTarget"),
        ),
        (json!({ "accountId": account, "roleArn": null, "externalId": null }), Some("accountId cannot be changed")),
        (json!({ "accountId": null }), Some("spec.accountId: Required value")),
        (json!({ "roleArn": format!("arn:aws:iam::{account}:role/operator") }), Some("spec.roleArn must be a role of")),
        (json!({ "roleArn": "arn:aws:iam::111122223333:role/another" }), None),
        (json!({ "externalId": null }), None),
        (json!({ "roleArn": null }), None),
        (json!({ "access": [{ "namespaces": { "names": ["team-b"] }, "pipelines": ["*"] }] }), None),
    ];
    for (spec, refusal) in rows {
        let CommandResult { succeeded, output } = patch(json!({ "spec": spec }));
        let is_expected = refusal.map_or(succeeded, |refusal| !succeeded && output.contains(refusal));
        assert!(is_expected, "{spec}: {output}");
    }
    // The status is a subresource: someone who may edit only the spec cannot make the target look verified.
    let forged = json!({ "status": { "callerArn": "arn:aws:iam::111122223333:user/mallory" } });
    patch(forged).expect_success();
    let read = ["get", "apt", name, "--output=jsonpath={.status.callerArn}"];
    assert!(!run(&read, &Value::Null).expect_success().contains("mallory"));
    run(&["delete", "apt", name], &Value::Null).expect_success();
}

#[test]
fn applying_a_target_again_changes_nothing() {
    let name = "applied";
    let mut manifest = target(name);
    let selector =
        json!({ "matchLabels": { "team": "b" }, "matchExpressions": [{ "key": "stage", "operator": "Exists" }] });
    let by_labels = json!({ "namespaces": { "selector": selector }, "pipelines": ["*"], "results": ["Rejected"] });
    manifest["spec"]["access"].as_array_mut().unwrap().push(by_labels);
    let read = |path: &str| {
        run(&["get", "apt", name, &format!("--output=jsonpath={{{path}}}")], &Value::Null).expect_success()
    };
    let commands: [&[&str]; 3] = [
        &["apply", "--server-side", "--field-manager=gitops", "--filename=-"],
        &["apply", "--server-side", "--field-manager=gitops", "--filename=-"],
        &["diff", "--server-side", "--field-manager=gitops", "--filename=-"],
    ];
    let mut versions = Vec::new();
    for command in commands {
        let output = run(command, &manifest).expect_success();
        assert!(command[0] == "apply" || output.is_empty(), "{output}");
        versions.push(format!("{} {}", read(".metadata.generation"), read(".spec")));
    }
    assert!(versions.iter().all(|version| version == &versions[0]), "{versions:#?}");
    // A default in a list would be a difference from the manifest for client-side apply and Argo CD.
    assert_eq!(read(".spec.access[*].results"), r#"["Rejected"]"#);
    run(&["apply", "--filename=-"], &manifest).expect_success();
    assert!(run(&["apply", "--filename=-"], &manifest).expect_success().contains("unchanged"));
    run(&["delete", "apt", name], &Value::Null).expect_success();
}

#[test]
fn kubectl_explains_the_fields_of_targets_and_shows_their_columns() {
    let name = "explained";
    run(&["create", "--filename=-"], &target(name)).expect_success();
    let read = |arguments: &[&str]| run(arguments, &Value::Null).expect_success();
    let explained = read(&["explain", "apt", "--recursive"]);
    for field in ["accountId", "roleArn", "externalId", "namespaces", "selector", "callerArn", "pendingRequests"] {
        assert!(explained.contains(field), "{explained}");
    }
    assert!(read(&["explain", "apt.spec.access.pipelines"]).contains("any run of characters"));
    assert!(read(&["explain", "apd.spec.targetRef.name"]).contains("The name of the ApprovalTarget"));
    assert!(read(&["api-resources", "--categories=approvals"]).contains("approvaltargets"));
    let columns = |arguments: &[&str]| -> Vec<String> {
        let table = read(&[&["get", "apt", name], arguments].concat());
        table.lines().next().unwrap().split_whitespace().map(str::to_owned).collect()
    };
    let narrow = ["NAME", "ACCOUNT", "REGION", "READY", "REASON", "AGE"];
    assert_eq!(columns(&[]), narrow);
    assert_eq!(columns(&["--output=wide"]), [narrow.as_slice(), &["PIPELINES", "PENDING", "ROLE", "MESSAGE"]].concat());
    run(&["delete", "apt", name], &Value::Null).expect_success();
}
