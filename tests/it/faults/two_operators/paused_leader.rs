//! A leader that is paused during one of its requests. The other replica takes over and settles the decision.

use crate::faults::request_log::{RequestLog, intent_token};
use std::sync::Arc;
use std::time::{Duration, Instant};
use test_support::proxy::{Handler, ProxiedRequest};
use test_support::{OperatorCommand, TestEnv, ensure, is_settled};
use tokio::sync::watch;
use tokio::time::timeout;

const BECAME_LEADER: &str = "became leader, starting to reconcile";
const NO_LONGER_LEADER: &str = "this replica is no longer the leader";

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Request {
    Intent,
    Submission,
    Outcome,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Point {
    BeforeForwarding,
    AfterForwarding,
}

/// When the held request continues.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Release {
    /// While the leader is paused, before the other replica becomes the leader.
    BeforeTakeover,
    /// While the leader is paused, after the other replica has settled the decision.
    AfterTakeover,
    /// After the leader has resumed.
    AfterResume,
}

/// Which request is held, where and until when.
#[derive(Clone, Copy, Debug)]
pub struct HeldRequest(pub Request, pub Point, pub Release);

impl HeldRequest {
    pub const ALL: &[Self] = &[
        Self(Request::Intent, Point::BeforeForwarding, Release::BeforeTakeover),
        Self(Request::Intent, Point::BeforeForwarding, Release::AfterTakeover),
        Self(Request::Intent, Point::BeforeForwarding, Release::AfterResume),
        Self(Request::Intent, Point::AfterForwarding, Release::AfterResume),
        Self(Request::Submission, Point::BeforeForwarding, Release::AfterResume),
        Self(Request::Submission, Point::BeforeForwarding, Release::BeforeTakeover),
        Self(Request::Submission, Point::AfterForwarding, Release::AfterResume),
        Self(Request::Submission, Point::BeforeForwarding, Release::AfterTakeover),
        Self(Request::Outcome, Point::BeforeForwarding, Release::AfterResume),
        Self(Request::Submission, Point::AfterForwarding, Release::AfterTakeover),
        Self(Request::Outcome, Point::BeforeForwarding, Release::BeforeTakeover),
        Self(Request::Outcome, Point::BeforeForwarding, Release::AfterTakeover),
        Self(Request::Outcome, Point::AfterForwarding, Release::AfterResume),
    ];

    fn matches(self, request: &ProxiedRequest) -> bool {
        match request.name.kind.as_str() {
            "PutApprovalResult" => self.0 == Request::Submission,
            "PUT approvaldecisions/status" => {
                let kind = if intent_token(&request.body).is_some() { Request::Intent } else { Request::Outcome };
                self.0 == kind
            }
            _ => false,
        }
    }
}

/// The state of the held request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stage {
    NotSeen,
    Held,
    Released,
    /// The server has responded.
    Done,
}

/// Holds the first matching request of the leader.
#[derive(Clone)]
struct Holder {
    held: HeldRequest,
    log: Arc<RequestLog>,
    stage: Arc<watch::Sender<Stage>>,
}

impl Holder {
    fn handler(&self) -> impl Handler {
        let holder = self.clone();
        move |request| {
            let holder = holder.clone();
            Box::pin(async move {
                let Holder { held, log, stage } = holder;
                let is_held = held.matches(&request)
                    && stage.send_if_modified(|stage| {
                        let is_first = *stage == Stage::NotSeen;
                        if is_first {
                            *stage = Stage::Held;
                        }
                        is_first
                    });
                if !is_held {
                    return log.forward(request).await;
                }
                let mut stages = stage.subscribe();
                let released = async move { drop(stages.wait_for(|stage| *stage == Stage::Released).await) };
                // A request that has left arrives even if its sender gives up.
                let response = tokio::spawn(async move {
                    let response = match held.1 {
                        Point::BeforeForwarding => {
                            released.await;
                            log.forward(request).await
                        }
                        Point::AfterForwarding => {
                            let response = log.forward(request).await;
                            released.await;
                            response
                        }
                    };
                    stage.send_replace(Stage::Done);
                    response
                });
                response.await.unwrap()
            })
        }
    }

    async fn wait_for(&self, stage: Stage) -> Result<(), String> {
        let mut stages = self.stage.subscribe();
        let reached = timeout(Duration::from_secs(60), stages.wait_for(|now| *now == stage)).await.is_ok();
        ensure(reached, format!("the request was never {stage:?}"))
    }

    async fn release(&self) -> Result<(), String> {
        self.stage.send_replace(Stage::Released);
        self.wait_for(Stage::Done).await
    }
}

/// How long it took, or what is wrong.
pub async fn take_over_from_paused_leader(held: HeldRequest) -> Result<Duration, String> {
    let started_at = Instant::now();
    let env = TestEnv::new().await;
    let log = RequestLog::new();
    let holder = Holder { held, log: log.clone(), stage: Arc::new(watch::Sender::new(Stage::NotSeen)) };
    let one = log.proxied_operator_with(&env, holder.handler(), holder.handler()).await;
    let other = log.proxied_operator(&env, log.forward_all()).await;
    let replica = |command: OperatorCommand, identity: &str| command.replica(identity, &env.namespace).start();
    let paused = replica(one.command, "paused");
    paused.wait_for_log(BECAME_LEADER).await;
    let successor = replica(other.command, "successor");
    successor.wait_until_ready().await;
    env.open_and_approve("web").await;
    holder.wait_for(Stage::Held).await?;
    paused.signal("STOP");
    let HeldRequest(_, _, release) = held;
    if release == Release::BeforeTakeover {
        holder.release().await?;
    }
    successor.wait_for_log(BECAME_LEADER).await;
    let settled = env.wait_until("web", "settled", is_settled).await;
    if release == Release::AfterTakeover {
        holder.release().await?;
    }
    paused.signal("CONT");
    paused.wait_for_log(NO_LONGER_LEADER).await;
    if release == Release::AfterResume {
        holder.release().await?;
    }
    let in_progress = "approval_operator_reconciles_in_progress";
    paused.eventually("its reconcile completes", async || paused.metric(in_progress).await < 1.0).await;
    let last = env.decisions.get("web").await.unwrap();
    let logs = || format!("\n{}\n{}", paused.log(), successor.log());
    env.check_status_matches_ledger(&last).map_err(|error| error + &logs())?;
    ensure(env.accepted_count("web") == 1, "CodePipeline did not accept exactly one result")?;
    ensure(log.violations().is_empty(), log.violations().join("\n"))?;
    let is_unchanged = last.status == settled.status;
    ensure(is_unchanged, format!("overwritten: {:#?}\nwith {:#?}{}", settled.status, last.status, logs()))?;
    Ok(started_at.elapsed())
}
