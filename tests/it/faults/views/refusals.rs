//! Writes that are refused although nobody else wrote, or since somebody else writes all the time; that are put off; and that are
//! applied while whoever wrote is told that the time is over.

use super::lies::{conflict, timed_out};
use crate::faults::books::{Books, Wired, intended};
use crate::support::wire::{Passing, Script, status};
use crate::support::{Case, is_settled, reason, scale};
use approval_operator::api::v1alpha1::{ApprovalDecision, Reason};
use futures::future::{join_all, select};
use serde_json::json;
use std::collections::HashMap;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::time::interval;

/// What two requests that were put off may be early by, for clocks and their grain.
const GRAIN: Duration = Duration::from_millis(20);

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum Write {
    Intent,
    Result,
}

#[derive(Clone, Copy, Debug)]
enum Wrongly {
    /// As if somebody else had written.
    Refused,
    /// For so many seconds.
    PutOff(u32),
    /// It is applied, and the time is over.
    Unheard,
}

#[derive(Clone, Copy, Debug)]
enum Lasts {
    Times(usize),
    /// Since the first.
    For(Duration),
}

/// What goes wrong with the decision of this name.
#[derive(Clone, Copy, Debug)]
struct Trouble {
    decision: &'static str,
    write: Write,
    wrongly: Wrongly,
    lasts: Lasts,
}

/// When the status of a decision was written.
type Writes = HashMap<(String, Write), Vec<Instant>>;

/// Makes trouble, and knows when what was written.
#[derive(Clone)]
struct Troublemaker {
    troubles: &'static [Trouble],
    books: Arc<Books>,
    writes: Arc<Mutex<Writes>>,
}

impl Troublemaker {
    fn new(troubles: &'static [Trouble]) -> Self {
        Self { troubles, books: Books::open(), writes: Arc::default() }
    }

    fn script(&self) -> impl Script {
        let maker = self.clone();
        move |passing| {
            let maker = maker.clone();
            Box::pin(async move {
                match maker.trouble(&passing) {
                    None => maker.books.pass(passing).await,
                    Some(Wrongly::Refused) => Some(conflict()),
                    Some(Wrongly::PutOff(seconds)) => Some(put_off(seconds)),
                    Some(Wrongly::Unheard) => {
                        let answer = maker.books.pass(passing).await?;
                        Some(if answer.status().is_success() { timed_out() } else { answer })
                    }
                }
            })
        }
    }

    fn trouble(&self, passing: &Passing) -> Option<Wrongly> {
        if passing.name.kind != "PUT approvaldecisions/status" {
            return None;
        }
        let decision = passing.path().rsplit('/').nth(1)?;
        let write = if intended(&passing.body).is_some() { Write::Intent } else { Write::Result };
        let mut writes = self.writes.lock().unwrap();
        let writes = writes.entry((decision.to_owned(), write)).or_default();
        writes.push(Instant::now());
        let trouble = self.troubles.iter().find(|trouble| trouble.decision == decision && trouble.write == write)?;
        let goes_on = match trouble.lasts {
            Lasts::Times(times) => writes.len() <= times,
            Lasts::For(time) => writes[0].elapsed() < time,
        };
        goes_on.then_some(trouble.wrongly)
    }

    fn writes(&self, decision: &str, write: Write) -> Vec<Instant> {
        self.writes.lock().unwrap().get(&(decision.to_owned(), write)).cloned().unwrap_or_default()
    }

    /// Creates the decisions, and waits until each was delivered, which takes one answer.
    async fn survived(&self, case: &Case) -> HashMap<&'static str, ApprovalDecision> {
        let Wired { settings, .. } = &self.books.wired(case, self.script()).await;
        let operator = settings.start();
        operator.until_ready().await;
        let begun = Instant::now();
        let decisions = join_all(self.troubles.iter().map(|trouble| async move {
            let name = trouble.decision;
            case.approve(name).await;
            let decision = case.until_reason(name, Reason::Delivered).await;
            (name, (decision, begun.elapsed()))
        }));
        let decisions = decisions.await.into_iter();
        // Whatever it takes to write it, it is one change of reason.
        join_all(self.troubles.iter().map(|trouble| case.until_events(trouble.decision, &["Delivered"]))).await;
        let check = |(name, (decision, took)): (&'static str, (ApprovalDecision, Duration))| {
            let (intents, results) = (self.writes(name, Write::Intent).len(), self.writes(name, Write::Result).len());
            println!("{name}: {took:?}, {intents} writes of intents, {results} of results");
            assert_eq!(case.tells_the_truth(&decision), Ok(()), "{name}\n{}", operator.log());
            assert_eq!(case.service.ledger_of(name).len(), 1, "{name}\n{}", operator.log());
            (name, decision)
        };
        let decisions = decisions.map(check).collect();
        assert_eq!(self.books.wrong(), [""; 0]);
        decisions
    }
}

/// Too many requests: to be asked again after so many seconds.
fn put_off(seconds: u32) -> crate::support::wire::Answer {
    let mut answer = status(429, "TooManyRequests", "The server has received too many requests.");
    answer.headers_mut().insert("retry-after", seconds.into());
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_refused_though_nobody_wrote_is_neither_lost_nor_hammered() {
    const LASTS: Duration = Duration::from_secs(8);
    const REFUSED: &[Trouble] = &[
        refused("intent-once", Write::Intent, Lasts::Times(1)),
        refused("intent-twice", Write::Intent, Lasts::Times(2)),
        refused("intent-long", Write::Intent, Lasts::For(LASTS)),
        refused("result-once", Write::Result, Lasts::Times(1)),
        refused("result-often", Write::Result, Lasts::Times(5)),
        refused("result-long", Write::Result, Lasts::For(LASTS)),
    ];
    const fn refused(decision: &'static str, write: Write, lasts: Lasts) -> Trouble {
        Trouble { decision, write, wrongly: Wrongly::Refused, lasts }
    }
    let (case, maker) = (Case::new().await, Troublemaker::new(REFUSED));
    maker.survived(&case).await;
    for (name, write) in [("intent-long", Write::Intent), ("result-long", Write::Result)] {
        let writes = maker.writes(name, write);
        assert!(writes.len() <= 10, "{name}: {} writes in {LASTS:?}", writes.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_put_off_is_written_in_time_or_anew_and_a_result_in_the_end() {
    const PUT_OFF: &[Trouble] = &[
        put_off("intent-a-little", Write::Intent, 1, 2),
        put_off("intent-too-long", Write::Intent, 3, 3),
        put_off("result-a-little", Write::Result, 2, 2),
    ];
    const LONG: &[Trouble] = &[
        PUT_OFF[0],
        PUT_OFF[1],
        PUT_OFF[2],
        put_off("intent-very-long", Write::Intent, 5, 10),
        put_off("result-very-long", Write::Result, 5, 10),
    ];
    const fn put_off(decision: &'static str, write: Write, seconds: u32, times: usize) -> Trouble {
        Trouble { decision, write, wrongly: Wrongly::PutOff(seconds), lasts: Lasts::Times(times) }
    }
    let (case, maker) = (Case::new().await, Troublemaker::new(scale(PUT_OFF, LONG)));
    let decisions = maker.survived(&case).await;
    for Trouble { decision, write, wrongly, lasts } in maker.troubles {
        let (Wrongly::PutOff(seconds), Lasts::Times(times)) = (wrongly, lasts) else { unreachable!("they are") };
        let writes = maker.writes(decision, *write);
        let pauses: Vec<Duration> = writes.windows(2).take(*times).map(|pair| pair[1] - pair[0]).collect();
        let asked_for = Duration::from_secs(u64::from(*seconds)) - GRAIN;
        // A write is given up after some time, and begun anew.
        let early = pauses.iter().filter(|pause| **pause < asked_for).count();
        assert!(early <= times * usize::try_from(*seconds).unwrap() / 30, "{decision}: {pauses:?}");
        let submission = decisions[decision].status.as_ref().unwrap().submission.clone().unwrap();
        let at = case.service.ledger_of(decision)[0].at;
        assert!(submission.start_time <= at && at < submission.deadline, "{decision}: {at} by {submission:?}");
        assert_eq!(submission.attempts, 1, "{decision}: nothing was sent before");
    }
    assert!(maker.writes("intent-too-long", Write::Intent).len() > 4, "it was not made anew");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_applied_without_a_word_is_found_to_be_there() {
    const UNHEARD: &[Trouble] = &[
        unheard("intent-once", Write::Intent, Lasts::Times(1)),
        unheard("result-once", Write::Result, Lasts::Times(1)),
        // Where it was applied at first, asking again is told of a conflict.
        unheard("result-once-more", Write::Result, Lasts::Times(3)),
    ];
    const LONG: &[Trouble] = &[
        UNHEARD[0],
        UNHEARD[1],
        UNHEARD[2],
        unheard("intent-twice", Write::Intent, Lasts::For(Duration::from_secs(14))),
        unheard("intent-often", Write::Intent, Lasts::For(Duration::from_secs(40))),
    ];
    const fn unheard(decision: &'static str, write: Write, lasts: Lasts) -> Trouble {
        Trouble { decision, write, wrongly: Wrongly::Unheard, lasts }
    }
    let (case, maker) = (Case::new().await, Troublemaker::new(scale(UNHEARD, LONG)));
    maker.survived(&case).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn decisions_that_others_write_to_all_the_time_are_answered() {
    let (case, maker) = (Case::new().await, Troublemaker::new(&[]));
    let wired = maker.books.wired(&case, maker.script()).await;
    let operator = wired.settings.start();
    operator.until_ready().await;
    let begun = Instant::now();
    let others = &AtomicUsize::new(0);
    let decisions = (0..scale(3, 20)).map(|number| {
        let (case, operator) = (&case, &operator);
        async move {
            let name = format!("p{number}");
            case.approve(&name).await;
            let write = async {
                let mut pace = interval(Duration::from_millis(100));
                for count in 0.. {
                    pace.tick().await;
                    others.fetch_add(1, Relaxed);
                    let patch = json!({ "metadata": { "labels": { "count": format!("{count}") } } });
                    case.patch(&name, patch).await.unwrap();
                }
            };
            let settled = case.until(&name, "settled", is_settled);
            select(pin!(write), pin!(settled)).await;
            let decision = case.decisions.get(&name).await.unwrap();
            assert_eq!(reason(&decision), Some(Reason::Delivered), "{}", operator.log());
            assert_eq!(case.tells_the_truth(&decision), Ok(()), "{name}");
            assert_eq!(case.service.ledger_of(&name).len(), 1, "{name}");
        }
    });
    let decisions = join_all(decisions).await;
    let writes = maker.books.requests("PUT approvaldecisions/status");
    let (count, others) = (decisions.len(), others.load(Relaxed));
    println!("{count} decisions in {:?}, {writes} writes of ours and {others} of others", begun.elapsed());
    assert!(writes > 2 * count, "nobody was in the way");
    // Each but those two was refused for a write of somebody else's.
    assert!(writes <= 2 * count + others, "{writes} writes against {others}");
    assert_eq!(maker.books.wrong(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_request_that_is_put_off_is_made_again_when_it_is_time() {
    const TIMES: usize = 2;
    let case = Case::new().await;
    let books = Books::open();
    let arrivals: Arc<Mutex<HashMap<String, Vec<Instant>>>> = Arc::default();
    let script = {
        let (books, arrivals) = (books.clone(), arrivals.clone());
        move |passing: Passing| -> futures::future::BoxFuture<'static, _> {
            arrivals.lock().unwrap().entry(passing.name.kind.clone()).or_default().push(Instant::now());
            let books = books.clone();
            Box::pin(
                async move { if passing.name.number <= TIMES { Some(put_off(1)) } else { books.pass(passing).await } },
            )
        }
    };
    let wired = books.wired(&case, script).await;
    let operator = wired.settings.replica("only", &case.namespace).start();
    case.approve("web").await;
    let decision = case.until_reason("web", Reason::Delivered).await;
    assert_eq!(case.tells_the_truth(&decision), Ok(()));
    case.until_events("web", &["Delivered"]).await;
    let arrivals = arrivals.lock().unwrap().clone();
    for kind in [
        "LIST approvaldecisions",
        "WATCH approvaldecisions",
        "PUT approvaldecisions/status",
        "POST events",
        "GET leases",
        "POST leases",
        "PUT leases",
    ] {
        let of_kind = arrivals.get(kind).unwrap_or_else(|| panic!("no {kind}: {:?}", arrivals.keys()));
        let pauses: Vec<Duration> = of_kind.windows(2).take(TIMES).map(|pair| pair[1] - pair[0]).collect();
        println!("{kind} was put off: {pauses:?}");
        let in_time = pauses.iter().all(|pause| *pause >= Duration::from_secs(1) - GRAIN);
        assert!(pauses.len() == TIMES && in_time, "{kind}: {pauses:?}\n{}", operator.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_are_put_off_for_ever_hold_no_answer_up() {
    let case = Case::new().await;
    let books = Books::open();
    let script = {
        let books = books.clone();
        move |passing: Passing| -> futures::future::BoxFuture<'static, _> {
            let books = books.clone();
            Box::pin(async move {
                // As an API server does that limits the rate of Events.
                if passing.name.kind == "POST events" { Some(put_off(1)) } else { books.pass(passing).await }
            })
        }
    };
    let wired = books.wired(&case, script).await;
    let _operator = wired.settings.argument("--concurrency=1").start();
    let begun = Instant::now();
    let decisions = (0..4).map(|number| format!("p{number}"));
    join_all(decisions.map(async |name: String| {
        case.approve(&name).await;
        case.until_reason(&name, Reason::Delivered).await;
    }))
    .await;
    println!("4 decisions one by one, whose Events are put off: {:?}", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
}
