//! Source revisions: which executions they name, and several executions of them.

use super::*;
use crate::codepipeline::SimilarRevision;

/// An execution with these sources asks.
fn asking(sources: &[(&str, Option<&str>)]) -> TestPipeline {
    let execution = pipeline().execution("execution", RUNNING).with_sources(sources);
    execution.entry("a", "execution", IN_PROGRESS).shows("a", Some(token()), IN_PROGRESS)
}

fn no_execution(newest: &[(&str, Option<&str>)]) -> Expected {
    no_execution_but(newest, None)
}

fn no_execution_but(newest: &[(&str, Option<&str>)], hint: Option<RevisionHint>) -> Expected {
    let newest = newest.iter().map(|(action, revision)| source(action, *revision)).collect();
    waiting(ExecutionWait::NoExecution { newest, hint }, None)
}

fn unknown_source(action: &str, known: &[&str]) -> Option<RevisionHint> {
    Some(RevisionHint::UnknownSource { action: action.to_owned(), known: names(known) })
}

fn not_covered(source: ExecutionRevision) -> Expected {
    Resolution::Ambiguous(Ambiguity::NotCovered { execution: "execution".to_owned(), source }).into()
}

#[test]
fn an_execution_matches_if_every_source_is_covered_and_every_entry_covers_one() {
    let found = || pending(token(), "execution", "a");
    let (app, image) = (("App", Some("A")), ("Image", Some("I1")));
    let two = || asking(&[app, image]);
    let both = |image| by(&[(Some("App"), Some("A")), (Some("Image"), Some(image))]);
    rows! {
        "one commit id is enough for one source": asking(&[app]), by(&[(None, Some("A"))]), LATE => found();
        "… with the name of the source action": asking(&[app]), by(&[(Some("App"), Some("A"))]), LATE => found();
        "… but not with another name":
            asking(&[app]), by(&[(Some("Image"), Some("A"))]), LATE
            => no_execution_but(&[app], unknown_source("Image", &["App"]));
        "… or another id": asking(&[app]), by(&[(None, Some("B"))]), LATE => no_execution(&[app]);
        "a part of an id names nothing": asking(&[("App", Some("AB"))]), by(&[(None, Some("A"))]), LATE
            => no_execution(&[("App", Some("AB"))]);
        "two sources, both named": two(), both("I1"), LATE => found();
        "(A, I1) is pending, and the decision says (A, I2)": two(), both("I2"), LATE => no_execution(&[app, image]);
        "an entry without an id stands for any revision of its source":
            two(), by(&[(None, Some("A")), (Some("Image"), None)]), LATE => found();
        "an uncovered source is ambiguous and is named":
            two(), by(&[(None, Some("A"))]), LATE => not_covered(source("Image", Some("I1")));
        "an entry that covers nothing does not match":
            asking(&[app]), by(&[(None, Some("A")), (Some("Image"), None)]), LATE
            => no_execution_but(&[app], unknown_source("Image", &["App"]));
        "both sources have the same revision":
            asking(&[("App", Some("A")), ("Docs", Some("A"))]), by(&[(None, Some("A"))]), LATE => found();
        "a source without an id is covered only by an entry without one":
            asking(&[app, ("Bucket", None)]), by(&[(None, Some("A")), (Some("Bucket"), None)]), LATE => found();
        "… and not by an entry with one":
            asking(&[app, ("Bucket", None)]), by(&[(None, Some("A"))]), LATE => not_covered(source("Bucket", None));
    }
}

#[test]
fn an_entry_that_means_a_revision_and_does_not_name_it_is_explained() {
    let sources = [("App", Some("4f1a9c2e")), ("Docs", Some("7d20b1c4"))];
    let similar = |(action, revision)| {
        let similar = SimilarRevision { execution: "execution".to_owned(), revision: source(action, revision) };
        no_execution_but(&sources, Some(RevisionHint::Similar(similar)))
    };
    let [app, docs] = sources;
    rows! {
        "an abbreviated id": asking(&sources), by(&[(None, Some("4f1a"))]), LATE => similar(app);
        "… in capital letters": asking(&sources), by(&[(None, Some("4F1A9C2E"))]), LATE => similar(app);
        "an id that is too long": asking(&sources), by(&[(None, Some("7d20b1c4f00"))]), LATE => similar(docs);
        "an abbreviation that may mean anything":
            asking(&sources), by(&[(None, Some("4f1"))]), LATE => no_execution(&sources);
        "the id of another source": asking(&sources), by(&[(Some("App"), docs.1)]), LATE => similar(docs);
        "an abbreviated id beside one in full":
            asking(&sources), by(&[(None, app.1), (Some("Docs"), Some("7d20"))]), LATE => similar(docs);
        "a rollback is not meant":
            asking(&sources).with_execution(|execution| execution.execution_type = ExecutionType::Rollback),
            by(&[(None, Some("4f1a"))]), LATE => no_execution(&sources);
    }
}

#[test]
fn an_uncovered_source_is_named_before_the_approval_is_pending() {
    let (app, image) = (("App", Some("A")), ("Image", Some("I1")));
    let on_its_way = pipeline().execution("execution", RUNNING).with_sources(&[app, image]);
    let wait = ExecutionWait::NotCovered { execution: "execution".to_owned(), source: source("Image", Some("I1")) };
    rows! {
        "the execution has not reached the approval": on_its_way, by(&[(None, Some("A"))]), LATE => waiting(wait, None);
    }
}

#[test]
fn a_rollback_is_named_by_its_execution_only() {
    let rollback = || {
        asking(&[("Git", Some("main"))]).with_execution(|execution| execution.execution_type = ExecutionType::Rollback)
    };
    rows! {
        "by the revision that it rolls back to":
            rollback(), by_revision(), LATE => no_execution(&[("Git", Some("main"))]);
        "by its execution": rollback(), by_id(), LATE => pending(token(), "execution", "a");
    }
}

#[test]
fn the_one_pending_request_of_the_executions_of_a_revision_counts() {
    let several =
        |seconds: i64| waiting(ExecutionWait::Several(vec!["new".to_owned(), "old".to_owned()]), Some(seconds));
    let ambiguous = || {
        let executions = vec!["new".to_owned(), "old".to_owned()];
        Expected::from(Resolution::Ambiguous(Ambiguity::SeveralRequests(executions)))
    };
    let later = |end| waiting(ExecutionWait::LaterExecution { execution: "new".to_owned(), end }, None);
    let two = |newest, oldest| pipeline().execution("new", newest).execution("old", oldest);
    let in_parallel = || two(RUNNING, RUNNING).parallel().entry("b", "new", IN_PROGRESS).with_token(token());
    rows! {
        "no execution has it": pipeline(), by_revision(), LATE => no_execution(&[]);
        "the older one is pending, and the newer one has not reached the approval":
            two(RUNNING, RUNNING).entry("a", "old", IN_PROGRESS).shows("a", Some(token()), IN_PROGRESS),
            by_revision(), LATE => pending(token(), "old", "a");
        "two are pending":
            in_parallel().entry("a", "old", IN_PROGRESS).with_token(other_token()), by_revision(), LATE
            => ambiguous();
        "two are pending, if history does not lag":
            in_parallel().entry("a", "old", IN_PROGRESS).with_token(other_token()), by_revision(), 5 => several(10);
        "two are at the approval, and the token of one is not visible yet":
            in_parallel().entry("a", "old", IN_PROGRESS), by_revision(), 5 => several(10);
        "the newest ended without a response, and an older one waits":
            two(FAILED, RUNNING).entry("a", "old", IN_PROGRESS).shows("a", Some(token()), IN_PROGRESS),
            by_revision(), LATE => pending(token(), "old", "a");
        "all ended without a response": two(FAILED, SUCCEEDED), by_revision(), LATE => later(ExecutionEnd::Failed);
    }
}
