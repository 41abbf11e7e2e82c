//! Two operators at once. Without an election between them they race for every decision; with one, the leader is stopped amid a
//! request until another has taken its Lease and its decision, and goes on then as if nothing had been.

mod held;

use super::books::Books;
use super::onlooker::Onlooker;
use crate::support::{Case, is_settled, scale};
use futures::StreamExt;
use futures::future::join_all;
use futures::stream::iter;
use held::{Held, outlived};
use kube::ResourceExt;
use local_codepipeline::faults::Fault;
use std::ops::Range;
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// After so long each decision is settled.
const SETTLED_WITHIN: Duration = Duration::from_secs(240);

/// How many answers an operator has under way at once, each of which is lost where it is killed.
const CONCURRENCY: usize = 32;

async fn create(case: &Case, numbers: Range<usize>) {
    let created = iter(numbers).map(|number| async move { case.approve(&format!("p{number}")).await });
    created.buffer_unordered(8).for_each(async |_| {}).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_operators_race_for_every_decision_and_each_is_answered_once() {
    let count = scale(150, 1000);
    let case = Case::new().await;
    // Slow enough that neither gets far ahead, and that a kill finds answers on both sides of their being taken.
    let slow = Duration::from_millis(30);
    case.service.fault(Fault::late().delay_before(slow).delay_after(slow).always());
    let books = Books::open();
    let [one, other] = [books.wired(&case, books.honest()).await, books.wired(&case, books.honest()).await];
    let answered = async |sixths: usize| {
        let answered = case.service.wait_for(|service, _| service.ledger().len() >= sixths * count / 6);
        assert!(timeout(SETTLED_WITHIN, answered).await.is_ok(), "nothing is answered any more");
    };
    // Half of the decisions are there at the start, and half come while both watch.
    create(&case, 0..count / 2).await;
    let begun = Instant::now();
    let [killed, mut stopped] = [one.settings.start(), other.settings.start()];
    let race = async {
        answered(1).await;
        killed.kill();
        let killed = one.settings.start();
        answered(2).await;
        stopped.signal("TERM");
        stopped.ended().await;
        stopped = other.settings.start();
        // Both at once.
        answered(4).await;
        killed.kill();
        stopped.signal("TERM");
        stopped.ended().await;
        [one.settings.start(), other.settings.start()]
    };
    let (mut operators, ()) = tokio::join!(race, create(&case, count / 2..count));
    let seen = Onlooker::of(&case);
    let settled = join_all((0..count).map(|number| {
        let seen = &seen;
        async move { seen.until(&format!("p{number}"), SETTLED_WITHIN, is_settled).await }
    }));
    let settled: Vec<_> = settled.await.into_iter().collect();
    let took = begun.elapsed();
    for operator in &mut operators {
        operator.signal("TERM");
        operator.ended().await;
    }
    let mut wrong = books.wrong();
    let mut lost = 0;
    for decision in settled {
        let decision = match decision {
            Ok(decision) => decision,
            Err(why) => {
                wrong.push(why);
                continue;
            }
        };
        let (sent, taken) = case.sent_and_taken(&decision);
        // What was settled from the record was in doubt.
        let was_lost = decision.status.as_ref().is_some_and(|status| status.decided_by.is_some());
        lost += usize::from(was_lost);
        if taken.len() != 1 || sent.len() != 1 && !was_lost {
            wrong.push(format!("{}: sent {}, taken {}", decision.name_any(), sent.len(), taken.len()));
        }
        wrong.extend(case.tells_the_truth(&decision).err());
    }
    let collisions = books.collisions();
    println!("FIGURE race: {count} decisions in {took:?}: {collisions} collisions, {lost} answers lost by two kills");
    assert!(wrong.is_empty(), "{}\n{}", wrong.join("\n"), operators[0].log());
    assert!(collisions > count / 10, "they hardly met: {collisions} times");
    assert!(lost <= 2 * CONCURRENCY, "{lost} answers were lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_stopped_amid_a_request_does_no_harm_when_it_goes_on() {
    let cases = scale(Held::ALL.iter().step_by(2), Held::ALL.iter().step_by(1));
    let runs = join_all(cases.map(|held| async move { (held, outlived(*held).await) })).await;
    println!("FIGURE a leader was stopped in {} ways", runs.len());
    let mut wrong = Vec::new();
    for (held, result) in runs {
        println!("{held:?}: {result:?}");
        wrong.extend(result.err().map(|why| format!("{held:?}: {why}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
