//! A leader that is stopped amid one of its requests, and outlived by the other replica, which settles the decision.

use crate::faults::books::{Books, intended};
use crate::support::wire::{Passing, Script};
use crate::support::{Case, Settings, ensure, is_settled};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::time::timeout;

const LEADING: &str = "leading: decisions are taken up";
const NO_LONGER_LEADING: &str = "no longer leading";

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Request {
    Intent,
    Answer,
    Result,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Point {
    BeforeItGetsThere,
    AfterItWasTaken,
}

/// When what was held goes on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LetGo {
    /// While the leader sleeps, before anybody else leads.
    Early,
    /// While the leader sleeps, once the other replica has settled the decision.
    Late,
    /// Once it is awake.
    Awake,
}

/// What is held, and until when.
#[derive(Clone, Copy, Debug)]
pub struct Held(pub Request, pub Point, pub LetGo);

impl Held {
    pub const ALL: &[Self] = &[
        Self(Request::Intent, Point::BeforeItGetsThere, LetGo::Early),
        Self(Request::Intent, Point::BeforeItGetsThere, LetGo::Late),
        Self(Request::Intent, Point::BeforeItGetsThere, LetGo::Awake),
        Self(Request::Intent, Point::AfterItWasTaken, LetGo::Awake),
        Self(Request::Answer, Point::BeforeItGetsThere, LetGo::Awake),
        Self(Request::Answer, Point::BeforeItGetsThere, LetGo::Early),
        Self(Request::Answer, Point::AfterItWasTaken, LetGo::Awake),
        Self(Request::Answer, Point::BeforeItGetsThere, LetGo::Late),
        Self(Request::Result, Point::BeforeItGetsThere, LetGo::Awake),
        Self(Request::Answer, Point::AfterItWasTaken, LetGo::Late),
        Self(Request::Result, Point::BeforeItGetsThere, LetGo::Early),
        Self(Request::Result, Point::BeforeItGetsThere, LetGo::Late),
        Self(Request::Result, Point::AfterItWasTaken, LetGo::Awake),
    ];

    /// Whether it is this request.
    fn is(self, passing: &Passing) -> bool {
        match passing.name.kind.as_str() {
            "PutApprovalResult" => self.0 == Request::Answer,
            "PUT approvaldecisions/status" => {
                let request = if intended(&passing.body).is_some() { Request::Intent } else { Request::Result };
                self.0 == request
            }
            _ => false,
        }
    }
}

/// How far the request has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stage {
    NotYet,
    Held,
    LetGo,
    /// The server has dealt with it.
    Through,
}

/// Holds the first of the leader's requests that it is for.
#[derive(Clone)]
struct Holder {
    held: Held,
    books: Arc<Books>,
    stage: Arc<watch::Sender<Stage>>,
}

impl Holder {
    fn script(&self) -> impl Script {
        let holder = self.clone();
        move |passing| {
            let holder = holder.clone();
            Box::pin(async move {
                let Holder { held, books, stage } = holder;
                let is_it = held.is(&passing)
                    && stage.send_if_modified(|stage| {
                        let is_first = *stage == Stage::NotYet;
                        if is_first {
                            *stage = Stage::Held;
                        }
                        is_first
                    });
                if !is_it {
                    return books.pass(passing).await;
                }
                let mut stages = stage.subscribe();
                let let_go = async move { drop(stages.wait_for(|stage| *stage == Stage::LetGo).await) };
                // What has left goes on, though the one who sent it gives up.
                let passed = tokio::spawn(async move {
                    let answer = match held.1 {
                        Point::BeforeItGetsThere => {
                            let_go.await;
                            books.pass(passing).await
                        }
                        Point::AfterItWasTaken => {
                            let answer = books.pass(passing).await;
                            let_go.await;
                            answer
                        }
                    };
                    stage.send_replace(Stage::Through);
                    answer
                });
                passed.await.unwrap()
            })
        }
    }

    async fn until(&self, stage: Stage) -> Result<(), String> {
        let mut stages = self.stage.subscribe();
        let reached = timeout(Duration::from_secs(60), stages.wait_for(|now| *now == stage)).await.is_ok();
        ensure(reached, format!("it was never {stage:?}"))
    }

    async fn let_go(&self) -> Result<(), String> {
        self.stage.send_replace(Stage::LetGo);
        self.until(Stage::Through).await
    }
}

/// How long it took, or what is wrong.
pub async fn outlived(held: Held) -> Result<Duration, String> {
    let begun = Instant::now();
    let case = Case::new().await;
    let books = Books::open();
    let holder = Holder { held, books: books.clone(), stage: Arc::new(watch::Sender::new(Stage::NotYet)) };
    let ways =
        [books.wired_by(&case, holder.script(), holder.script()).await, books.wired(&case, books.honest()).await];
    let replica = |settings: Settings, identity: &str| settings.replica(identity, &case.namespace).start();
    let [one, other] = ways;
    let sleeper = replica(one.settings, "sleeper");
    sleeper.until_log(LEADING).await;
    let successor = replica(other.settings, "successor");
    successor.until_ready().await;
    case.approve("web").await;
    holder.until(Stage::Held).await?;
    sleeper.signal("STOP");
    let Held(_, _, when) = held;
    if when == LetGo::Early {
        holder.let_go().await?;
    }
    successor.until_log(LEADING).await;
    let settled = case.until("web", "settled", is_settled).await;
    if when == LetGo::Late {
        holder.let_go().await?;
    }
    sleeper.signal("CONT");
    sleeper.until_log(NO_LONGER_LEADING).await;
    if when == LetGo::Awake {
        holder.let_go().await?;
    }
    let in_progress = "approval_operator_reconciles_in_progress";
    sleeper.eventually("its round is over", async || sleeper.metric(in_progress).await < 1.0).await;
    let last = case.decisions.get("web").await.unwrap();
    let log = || format!("\n{}\n{}", sleeper.log(), successor.log());
    case.tells_the_truth(&last).map_err(|why| why + &log())?;
    ensure(case.accepted("web") == 1, "it was not accepted once")?;
    ensure(books.wrong().is_empty(), books.wrong().join("\n"))?;
    let is_left_alone = last.status == settled.status;
    ensure(is_left_alone, format!("overwritten: {:#?}\nwith {:#?}{}", settled.status, last.status, log()))?;
    Ok(begun.elapsed())
}
