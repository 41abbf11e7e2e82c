//! The examples of installing the operator with Argo CD and Flux: they install both charts, with values that the operator's chart
//! accepts, and the project of Argo CD allows every object that they contain.

use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use test_support::chart::render_chart_with;

fn read(path: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    serde_saphyr::from_multiple(&text).unwrap()
}

fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

/// The objects of a chart with these values, and without hooks, which Argo CD does not apply.
fn rendered(chart: &str, values: &Value) -> Vec<Value> {
    let file = tempfile::NamedTempFile::with_suffix(".yaml").unwrap();
    serde_json::to_writer(&file, values).unwrap();
    render_chart_with(chart, "approvals", &["--values", file.path().to_str().unwrap(), "--no-hooks"])
}

/// The role of the operator, which the values of both examples set.
fn role(objects: &[Value]) -> &Value {
    &of_kind(objects, "ServiceAccount")[0]["metadata"]["annotations"]["eks.amazonaws.com/role-arn"]
}

#[test]
fn the_flux_example_installs_the_definitions_and_then_the_operator() {
    let objects = read("examples/install/flux.yaml");
    let [definitions, operator] = of_kind(&objects, "HelmRelease").try_into().unwrap();
    let namespace = &of_kind(&objects, "Namespace")[0]["metadata"]["name"];
    for release in [definitions, operator] {
        let (name, chart) = (&release["metadata"]["name"], &release["spec"]["chart"]["spec"]);
        assert_eq!(&release["spec"]["releaseName"], name);
        assert_eq!(chart["chart"], format!("./charts/{}", name.as_str().unwrap()));
        let source = of_kind(&objects, "GitRepository").into_iter().find(|object| &object["metadata"]["name"] == name);
        assert_eq!(chart["sourceRef"], json!({ "kind": source.unwrap()["kind"], "name": name }));
        assert!([release, source.unwrap()].iter().all(|object| &object["metadata"]["namespace"] == namespace));
    }
    assert_eq!(operator["spec"]["dependsOn"], json!([{ "name": definitions["metadata"]["name"] }]));
    let values = &operator["spec"]["values"];
    let objects = rendered("approval-operator", values);
    assert_eq!(role(&objects), &values["serviceAccount"]["annotations"]["eks.amazonaws.com/role-arn"]);
}

#[test]
fn the_argo_cd_example_installs_both_charts_and_its_project_allows_their_objects() {
    let objects = read("examples/install/argocd.yaml");
    let [project] = of_kind(&objects, "AppProject").try_into().unwrap();
    let [application] = of_kind(&objects, "Application").try_into().unwrap();
    assert_eq!(application["spec"]["project"], project["metadata"]["name"]);
    assert_eq!(application["spec"]["destination"], project["spec"]["destinations"][0]);
    let mut in_cluster = BTreeSet::from([":Namespace".to_owned()]);
    let mut releases = Vec::new();
    for source in application["spec"]["sources"].as_array().unwrap() {
        assert_eq!(source["repoURL"], project["spec"]["sourceRepos"][0]);
        let (name, values) = (source["helm"]["releaseName"].as_str().unwrap(), &source["helm"]["valuesObject"]);
        assert_eq!(source["path"], format!("charts/{name}"));
        releases.push(name);
        for object in rendered(name, values) {
            if object["metadata"]["namespace"].is_null() {
                let version = object["apiVersion"].as_str().unwrap();
                let group = version.split_once('/').map_or("", |(group, _)| group);
                in_cluster.insert(format!("{group}:{}", object["kind"].as_str().unwrap()));
            } else {
                assert_eq!(object["metadata"]["namespace"], project["spec"]["destinations"][0]["namespace"]);
            }
        }
    }
    assert_eq!(releases, ["approval-operator-crds", "approval-operator"]);
    let allowed = project["spec"]["clusterResourceWhitelist"].as_array().unwrap().iter();
    let allowed = allowed.map(|kind| format!("{}:{}", kind["group"].as_str().unwrap(), kind["kind"].as_str().unwrap()));
    assert_eq!(allowed.collect::<BTreeSet<_>>(), in_cluster);
}
