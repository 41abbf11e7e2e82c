//! Whom a target admits, for every access list.

use super::*;
use crate::api::v1alpha1::ApprovalTargetSpec;
use ApprovalStatus::{Approved, Rejected};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

fn target(access: Vec<Access>) -> ApprovalTarget {
    let spec = ApprovalTargetSpec {
        account_id: "111122223333".to_owned(),
        region: "eu-west-1".to_owned(),
        role_arn: None,
        external_id: None,
        access,
        unsupported: None,
    };
    ApprovalTarget::new("prod", spec)
}

fn named(names: &[&str]) -> Namespaces {
    Namespaces { names: names.iter().map(|name| (*name).to_owned()).collect(), selector: None }
}

fn entry(namespaces: Namespaces, pipelines: &[&str], results: &[ApprovalStatus]) -> Access {
    let pipelines = pipelines.iter().map(|glob| (*glob).to_owned()).collect();
    Access { namespaces, pipelines, results: results.to_vec() }
}

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// The definition: a backtracking match, one character at a time.
fn matches_by_definition(glob: &[u8], name: &[u8]) -> bool {
    match (glob, name) {
        ([], []) => true,
        ([b'*', rest @ ..], _) => {
            matches_by_definition(rest, name) || !name.is_empty() && matches_by_definition(glob, &name[1..])
        }
        ([first, glob @ ..], [found, name @ ..]) => first == found && matches_by_definition(glob, name),
        ([], _) | (_, []) => false,
    }
}

#[test]
fn only_an_asterisk_is_special_in_a_glob() {
    for (glob, name, expected) in [
        ("shop", "shop", true),
        ("shop", "shop-eu", false),
        ("shop", "my-shop", false),
        ("shop", "Shop", false),
        ("*", "", true),
        ("*", "anything", true),
        ("shop-*", "shop-", true),
        ("shop-*", "shop", false),
        ("*-prod", "shop-prod", true),
        ("*-prod", "shop-prod-eu", false),
        ("s*p", "sp", true),
        ("s*s", "s", false),
        ("a.c", "abc", false),
        ("a?c", "abc", false),
        ("[ab]", "a", false),
        ("*ab*ab*", "ab", false),
        ("*ab*ab*", "xabyabz", true),
        ("**", "x", true),
    ] {
        assert_eq!(matches_glob(glob, name), expected, "{glob} {name}");
    }
}

#[test]
fn one_entry_must_admit_namespace_pipeline_and_result_together() {
    let target = target(vec![
        entry(named(&["team"]), &["shop-*"], &[Rejected]),
        entry(named(&["ops"]), &["*"], &[Approved, Rejected]),
    ]);
    let admits =
        |namespace, pipeline, result| admission(&target, namespace, None, pipeline, result) == Admission::Admitted;
    assert!(admits("team", "shop-eu", Rejected));
    assert!(!admits("team", "shop-eu", Approved), "the entry of another namespace does not add to it");
    assert!(!admits("team", "billing", Rejected));
    assert!(admits("ops", "billing", Approved));
    assert!(!admits("", "billing", Approved));
}

#[test]
fn a_selector_admits_the_namespaces_whose_labels_it_matches() {
    let selector = |match_labels: &[(&str, &str)], match_expressions| NamespaceSelector {
        match_labels: labels(match_labels),
        match_expressions,
    };
    let payments = labels(&[("unit", "payments"), ("stage", "prod")]);
    let admitted = |selector| {
        let namespaces = Namespaces { names: Vec::new(), selector: Some(selector) };
        let target = target(vec![entry(namespaces, &["*"], &[Approved])]);
        match admission(&target, "team", Some(&payments), "shop", Approved) {
            Admission::Admitted => true,
            Admission::Refused => false,
            Admission::Unknown(_) => panic!("the labels are known"),
        }
    };
    assert!(admitted(selector(&[("unit", "payments")], Vec::new())));
    assert!(!admitted(selector(&[("unit", "payments"), ("tier", "1")], Vec::new())));
    assert!(!admitted(selector(&[], Vec::new())));
    let requires = |key: &str, operator, values: &[&str]| {
        let values = values.iter().map(|value| (*value).to_owned()).collect();
        selector(&[], vec![LabelRequirement { key: key.to_owned(), operator, values }])
    };
    assert!(admitted(requires("stage", LabelOperator::In, &["prod", "qa"])));
    assert!(!admitted(requires("stage", LabelOperator::In, &["qa"])));
    assert!(!admitted(requires("stage", LabelOperator::In, &[])));
    assert!(admitted(requires("stage", LabelOperator::Exists, &[])));
    assert!(!admitted(requires("tier", LabelOperator::Exists, &[])));
}

#[test]
fn labels_that_cannot_be_read_and_what_this_version_does_not_know_leave_the_admission_open() {
    use UnknownAccess::NamespaceLabels;
    let match_labels = labels(&[("unit", "payments")]);
    let selector = NamespaceSelector { match_labels, match_expressions: Vec::new() };
    let selected = |names: &[&str]| Namespaces { selector: Some(selector.clone()), ..named(names) };
    let by_labels = || entry(selected(&[]), &["shop"], &[Approved]);
    for (entries, expected) in [
        (vec![by_labels()], Admission::Unknown(NamespaceLabels)),
        (vec![entry(selected(&["team"]), &["shop"], &[Approved])], Admission::Unknown(NamespaceLabels)),
        (vec![by_labels(), entry(named(&["team"]), &["*"], &[Approved])], Admission::Admitted),
        (vec![entry(selected(&["ops"]), &["shop"], &[Approved])], Admission::Refused),
        (vec![entry(selected(&[]), &["billing"], &[Approved])], Admission::Refused),
        (vec![entry(selected(&[]), &["shop"], &[Rejected])], Admission::Refused),
    ] {
        assert_eq!(admission(&target(entries.clone()), "team", None, "shop", Approved), expected, "{entries:?}");
    }
    let mut target = target(vec![entry(named(&["team"]), &["*"], &[Approved])]);
    target.spec.unsupported = Some("spec.access[0].stages".to_owned());
    let found = admission(&target, "team", None, "shop", Approved);
    assert_eq!(found, Admission::Unknown(UnknownAccess::Target));
}

#[test]
fn a_hostile_glob_takes_no_longer_than_others() {
    let glob = "*a".repeat(50);
    let name = format!("{}b", "a".repeat(100));
    let start = std::time::Instant::now();
    for _ in 0..1_000 {
        assert!(!matches_glob(&glob, &name));
    }
    assert!(start.elapsed() < std::time::Duration::from_secs(5), "{:?}", start.elapsed());
}

fn namespaces() -> impl Strategy<Value = Namespaces> {
    let names = || vec(select(vec!["team", "ops"]).prop_map(str::to_owned), 0..3);
    let pair = || {
        btree_map(select(vec!["a", "b"]).prop_map(str::to_owned), select(vec!["1", "2"]).prop_map(str::to_owned), 0..3)
    };
    let values = vec(select(vec!["1", "2"]).prop_map(str::to_owned), 0..3);
    let operator = select(vec![LabelOperator::In, LabelOperator::Exists]);
    let expression = (select(vec!["a", "b"]), operator, values).prop_map(|(key, operator, values)| LabelRequirement {
        key: key.to_owned(),
        operator,
        values,
    });
    let selector = (pair(), vec(expression, 0..3))
        .prop_map(|(match_labels, match_expressions)| NamespaceSelector { match_labels, match_expressions });
    (names(), option::of(selector)).prop_map(|(names, selector)| Namespaces { names, selector })
}

fn access() -> impl Strategy<Value = Access> {
    (namespaces(), vec("[ab*]{0,3}", 0..3), subsequence(vec![Approved, Rejected], 0..=2))
        .prop_map(|(namespaces, pipelines, results)| Access { namespaces, pipelines, results })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn a_glob_matches_what_its_definition_says(glob in "[abAé*]{0,8}", name in "[abAé]{0,10}") {
        prop_assert_eq!(matches_glob(&glob, &name), matches_by_definition(glob.as_bytes(), name.as_bytes()));
    }

    #[test]
    fn a_target_admits_what_one_of_its_entries_admits(
        entries in vec(access(), 0..4),
        namespace in select(vec!["team", "ops", ""]),
        found in btree_map("[ab]", "[12]", 0..3),
        pipeline in "[ab]{1,3}",
        result in select(vec![Approved, Rejected]),
    ) {
        let with = |entries: Vec<Access>, labels| admission(&target(entries), namespace, labels, &pipeline, result);
        let is_admitted = |entries| with(entries, Some(&found)) == Admission::Admitted;
        let by_one = entries.iter().any(|entry| is_admitted(vec![entry.clone()]));
        prop_assert_eq!(is_admitted(entries.clone()), by_one);
        for entry in entries.iter().filter(|entry| is_admitted(vec![(*entry).clone()])) {
            let Access { namespaces, pipelines, results } = entry;
            prop_assert!(results.contains(&result) && pipelines.iter().any(|glob| matches_glob(glob, &pipeline)));
            prop_assert!(namespaces.selector.is_some() || namespaces.names.iter().any(|name| name == namespace));
        }
        // Without the labels, nothing else is said than with some: that it is open is all that is added.
        match with(entries.clone(), None) {
            Admission::Unknown(_) => {}
            known => prop_assert_eq!(known, with(entries, Some(&found))),
        }
    }
}
