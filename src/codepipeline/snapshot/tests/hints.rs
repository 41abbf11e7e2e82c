//! What a snapshot shows besides, for messages.

use super::*;

fn similar(snapshot: &PipelineSnapshot, query: &Query) -> Option<String> {
    let ExecutionSelector::SourceRevisions(entries) = &query.executions else { return None };
    snapshot.hints.similar(entries).map(|similar| similar.execution.clone())
}

/// An abbreviation of the revisions 20 to 29.
fn abbreviated() -> Query {
    query(ExecutionSelector::SourceRevisions(vec![wanted(None, Some("revision-2"))]))
}

#[test]
fn an_abbreviated_revision_wakes_its_subscriber_and_is_kept_once_it_is_on_later_pages() {
    let mut pipeline = LongPipeline::new(0..2);
    let first = pipeline.snapshot(LATE, &[abbreviated()], None);
    assert_eq!(similar(&first, &abbreviated()), None);
    pipeline.executions.insert(0, execution(20, SUCCEEDED));
    let second = pipeline.snapshot(LATE + 15, &[abbreviated()], Some(&first));
    assert_eq!(similar(&second, &abbreviated()).as_deref(), Some("execution-20"));
    assert!(!second.is_equivalent(&first), "what the decision waits for may never come");
    pipeline.executions.splice(0..0, (30..50).rev().map(|number| execution(number, SUCCEEDED)));
    let third = pipeline.snapshot(LATE + 30, &[abbreviated()], Some(&second));
    assert_eq!(similar(&third, &abbreviated()).as_deref(), Some("execution-20"));
    assert!(third.is_equivalent(&second));
    let other = pipeline.snapshot(LATE + 45, &[by_revision(99)], Some(&third));
    assert_eq!(similar(&other, &abbreviated()), None, "no one asks");
}

#[test]
fn the_first_executions_show_the_source_actions_and_others_add_to_them() {
    let mut pipeline = LongPipeline::new(0..0);
    let first = pipeline.snapshot(LATE, &[by_revision(99)], None);
    assert_eq!(first.hints.source_actions().count(), 0);
    pipeline.executions.push(execution(1, SUCCEEDED));
    let second = pipeline.snapshot(LATE + 15, &[by_revision(99)], Some(&first));
    assert!(second.hints.source_actions().eq(["Source"]) && !second.is_equivalent(&first));
    pipeline.executions =
        vec![PipelineExecution { source_revisions: vec![revision("Image", "I1")], ..execution(2, SUCCEEDED) }];
    let third = pipeline.snapshot(LATE + 30, &[by_revision(99)], Some(&second));
    assert!(third.hints.source_actions().eq(["Image", "Source"]), "an edit of the pipeline");
}

#[test]
fn the_newest_entry_says_what_an_action_is() {
    let mut pipeline = LongPipeline::new(0..2);
    pipeline.set_status(ExecutionStatus::InProgress);
    pipeline.entries[1].category = "Build".to_owned();
    let snapshot = pipeline.snapshot(LATE, &[Query { action: "Other".to_owned(), ..by_id(0) }, by_id(1)], None);
    assert_eq!(snapshot.hints.category("Production", "Approve"), Some("Approval"));
    assert_eq!(snapshot.hints.category("Production", "Other"), None);
}
