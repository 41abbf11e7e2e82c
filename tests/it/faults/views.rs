//! A view that is stale or lies: watch events that come late, twice or never, watches and lists that have expired, an API server that
//! lags behind another, and writes that are refused, put off or applied without a word. Whatever the operator is told, each
//! decision ends as the ledger says.

mod lagging;
mod lies;
mod outage;
mod refusals;

use super::books::Books;
use super::load::play;
use crate::support::wire::{Answer, Passing, Script};
use crate::support::{Case, scale};
use futures::StreamExt;
use futures::future::{BoxFuture, select};
use futures::stream::iter;
use lies::{Liar, Lie};
use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio::time::sleep;

/// After so long all decisions are settled, whatever the operator was told.
const SETTLED_WITHIN: Duration = Duration::from_secs(120);

/// Who is told lies.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Who {
    /// The one operator that there is.
    TheOnly,
    /// One that is killed amid the work, and started again.
    Restarted,
    /// The same, beside another to which all is told as it is, and which is slow.
    OneOfTwo,
}

/// What lies were told, and what is wrong with what came of it.
async fn lied_to(who: Who, seed: u64, lies: &[Lie], count: usize) -> (BTreeMap<Lie, usize>, Vec<String>) {
    let begun = Instant::now();
    let case = Case::new().await;
    let books = Books::open();
    let liar = Liar::new(seed, lies, &books);
    let [lied_to, honest] = [books.wired(&case, liar.script()).await, books.wired(&case, slow(&books)).await];
    let mut operators = vec![lied_to.settings.start()];
    if who == Who::OneOfTwo {
        operators.push(honest.settings.start());
    }
    let (are_settled, are_stopped) = (Notify::new(), Notify::new());
    let life = async {
        let answered = case.service.wait_for(|service, _| service.ledger().len() >= count / 4);
        select(pin!(answered), pin!(are_settled.notified())).await;
        if who != Who::TheOnly {
            operators.swap_remove(0).kill();
            operators.push(lied_to.settings.start());
        }
        are_settled.notified().await;
        for operator in &mut operators {
            operator.signal("TERM");
            operator.ended().await;
        }
        are_stopped.notify_one();
        operators.iter().map(|operator| operator.log()).collect::<Vec<_>>()
    };
    let stop = async {
        are_settled.notify_one();
        are_settled.notify_one();
        are_stopped.notified().await;
    };
    let (mut wrong, logs) = tokio::join!(play(&case, count, SETTLED_WITHIN, stop), life);
    wrong.extend(books.wrong());
    let told = liar.told();
    println!("seed {seed}, {who:?}: {count} decisions in {:?}, told {told:?}", begun.elapsed());
    if !wrong.is_empty() {
        wrong.push(format!("seed {seed}, {who:?}\n{}", logs.join("\n")));
    }
    (told, wrong)
}

/// Passes everything on, but lets writes wait: whoever is told lies is to have a turn.
fn slow(books: &Arc<Books>) -> impl Script + use<> {
    let books = books.clone();
    move |passing: Passing| -> BoxFuture<'static, Option<Answer>> {
        let books = books.clone();
        Box::pin(async move {
            if passing.name.kind == "PUT approvaldecisions/status" {
                sleep(Duration::from_millis(500)).await;
            }
            books.pass(passing).await
        })
    }
}

async fn only(seed: u64, lies: &[Lie]) {
    let (told, wrong) = lied_to(Who::TheOnly, seed, lies, scale(10, 60)).await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(told.contains_key(&lies[0]), "seed {seed}: nothing was {:?}", lies[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_come_late_and_past_each_other_change_no_outcome() {
    only(1, &[Lie::Delayed]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_come_again_and_take_the_view_back_in_time_change_no_outcome() {
    only(2, &[Lie::Repeated]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_never_come_until_the_watch_begins_anew_change_no_outcome() {
    only(3, &[Lie::Dropped]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_is_refused_as_too_old_changes_no_outcome() {
    only(4, &[Lie::ExpiredWatch, Lie::Dropped]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_expires_between_two_of_its_pages_changes_no_outcome() {
    only(5, &[Lie::ExpiredPage, Lie::Dropped]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lies_of_all_kinds_at_random_change_no_outcome_for_operators_that_are_killed_or_two() {
    let (seeds, at_once, count) = scale((10..12, 2, 10), (100..116, 4, 30));
    let all = iter(seeds).map(|seed| async move {
        let who = if seed % 2 == 0 { Who::Restarted } else { Who::OneOfTwo };
        lied_to(who, seed, &Lie::ALL, count).await
    });
    let all: Vec<_> = all.buffer_unordered(at_once).collect().await;
    let mut told: BTreeMap<Lie, usize> = BTreeMap::new();
    let mut wrong = Vec::new();
    for (lies, more) in all {
        lies.into_iter().for_each(|(lie, times)| *told.entry(lie).or_default() += times);
        wrong.extend(more);
    }
    println!("FIGURE lies told in all: {told:?}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // A few events are not occasion enough for each of them.
    assert!(told.len() >= scale(5, Lie::ALL.len()), "{told:?}");
}
