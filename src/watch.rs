//! The watch on decisions, and which of its events are worth a round: a decision is taken up when it is new, edited or told to
//! start afresh, and all of them are when the watch had to begin anew, or this replica begins to act. What a watch fails by is
//! told here, once a minute.

mod intake;

use crate::api::GROUP;
use crate::api::v1alpha1::{ApprovalDecision, Lean, Reason, Standing};
use crate::causes::with_causes;
use crate::decision::{Context, Error as ReconcileError, acted_on, current_reason, name, reconcile, stands};
use crate::leadership::Role;
use crate::metrics::Metrics;
use futures::future::ready;
use futures::stream::{poll_fn, unfold};
use futures::{Stream, StreamExt};
use intake::Intake;
use kube::Resource;
use kube::api::Api;
use kube::runtime::controller::{Action, Config, Error as ControllerError};
use kube::runtime::reflector::{ObjectRef, Store, store};
use kube::runtime::utils::Backoff;
use kube::runtime::{Controller, WatchStreamExt, watcher};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::watch;

/// The pause before a failed watch is tried again.
const WATCH_PAUSE: Duration = Duration::from_secs(1);

/// How long a watch lasts, in seconds, before it is begun anew where it was. A connection that was lost without a word is
/// noticed no sooner: until then, new decisions are not seen.
pub const WATCH_SECONDS: u32 = 30;

/// How many rounds of a watch may read the record beside those that count against `--concurrency`. kube-runtime goes through all
/// that have begun whenever one of them moves, so those that only wait to begin must not be among them: there are as many as
/// decisions.
const READING: u16 = 256;

/// The pause before a failed round is begun again.
const ROUND_PAUSE: Duration = Duration::from_secs(5);

/// How long a complaint that does not change is kept to oneself before it is repeated.
const COMPLAINT_PAUSE: Duration = Duration::from_secs(60);

/// The decisions of a watch.
#[derive(Clone)]
pub struct Cache {
    /// Those that there are.
    pub decisions: Store<ApprovalDecision>,
    /// Whether they have all been listed. The store's own word for this reaches only the last of those who wait for it.
    listed: watch::Receiver<bool>,
}

impl Cache {
    /// Whether it holds the decisions that there are.
    #[must_use]
    pub fn is_filled(&self) -> bool {
        *self.listed.borrow()
    }

    /// Waits until it does, or the watch has ended.
    pub async fn filled(mut self) {
        let _ = self.listed.wait_for(|is_listed| *is_listed).await;
    }
}

/// The watch on the decisions of one namespace, or of all.
pub struct Watch {
    /// Where it watches.
    pub api: Api<Lean>,
    /// The one namespace, if it is one.
    pub namespace: Option<String>,
    /// Which decisions.
    pub label_selector: Option<String>,
    /// The API server's URL, for what is told.
    pub api_server: String,
}

impl Watch {
    /// Begins to watch. The future runs the rounds until `stop`.
    pub fn control(
        self,
        context: impl FnOnce(Store<ApprovalDecision>, UnboundedSender<ObjectRef<ApprovalDecision>>) -> Context,
        stop: impl Future<Output = ()> + Send + Sync + 'static,
    ) -> (impl Future<Output = ()>, Cache) {
        let (reader, writer) = store();
        let (has_listed, listed) = watch::channel(false);
        let (wake, mut woken) = unbounded_channel();
        let context = context(reader.clone(), wake);
        let label_selector = self.label_selector.clone();
        let config = watcher::Config { label_selector, timeout: Some(WATCH_SECONDS), ..watcher::Config::default() };
        let decisions = events(self.api.clone(), config).backoff(Every(WATCH_PAUSE));
        let mut intake = Intake::new(writer, context.clone(), self.namespace.clone(), has_listed);
        let errors = decisions.filter_map(move |event| ready(event.map(|event| intake.take(event)).err().map(Err)));
        let at_a_time = u16::try_from(context.concurrency.available_permits()).unwrap_or(u16::MAX);
        let rounds = Controller::for_stream(errors, reader.clone())
            .with_config(Config::default().concurrency(at_a_time.saturating_add(READING)))
            // The watch has its own pauses, and its errors must not hold back those who are woken.
            .trigger_backoff(Every(Duration::ZERO))
            .reconcile_on(poll_fn(move |task| woken.poll_recv(task)))
            .reconcile_all_on(unfold(context.role.clone(), turn))
            .graceful_shutdown_on(stop)
            .run(reconcile, failed_round, Arc::new(context.clone()));
        (self.report(rounds, context.metrics), Cache { decisions: reader, listed })
    }

    /// The stream of rounds carries the watch's errors too: they are all that is to be told here.
    async fn report<T, Q>(
        self,
        rounds: impl Stream<Item = Result<T, ControllerError<ReconcileError, Q>>>,
        metrics: Metrics,
    ) where
        Q: std::error::Error + 'static,
    {
        let mut said: Option<(String, Instant)> = None;
        let mut rounds = std::pin::pin!(rounds);
        while let Some(round) = rounds.next().await {
            let Err(ControllerError::QueueError(error)) = round else {
                continue;
            };
            metrics.watch_error();
            let complaint = self.complaint(&error);
            let repeated = said.as_ref().is_some_and(|(text, at)| *text == complaint && at.elapsed() < COMPLAINT_PAUSE);
            if !repeated {
                tracing::warn!("{complaint}");
                said = Some((complaint, Instant::now()));
            }
        }
    }

    fn complaint(&self, error: &(dyn std::error::Error + 'static)) -> String {
        let scope = self.namespace.as_ref().map_or("all namespaces".to_owned(), |name| format!("namespace {name}"));
        let plural = ApprovalDecision::plural(&());
        let mut causes = std::iter::successors(Some(error), |error| error.source());
        let code = causes.find_map(|error| match error.downcast_ref() {
            Some(kube::Error::Api(status)) => Some(status.code),
            _ => None,
        });
        match code {
            Some(404) => format!(
                "the CustomResourceDefinition {plural}.{GROUP} is not installed; waiting for it. Install it with: \
                 approval-operator crd | kubectl apply --server-side -f -"
            ),
            Some(400) if self.label_selector.is_some() => format!(
                "--watch-label-selector is not a label selector ({}); write one such as shard=a or team in (web,data)",
                with_causes(error)
            ),
            Some(403) => format!(
                "not allowed to list and watch {plural}.{GROUP} in {scope}; waiting for the right ({})",
                with_causes(error)
            ),
            Some(401) => format!(
                "the API server at {} does not accept the operator's credentials; trying again",
                self.api_server
            ),
            _ => format!("waiting for the API server at {} ({})", self.api_server, with_causes(error)),
        }
    }
}

/// The events of a watch, which begins anew with a list when it is told that it is too old. A watcher does so by itself where it
/// is told amid the watch; where the request is refused so, it would ask for the same for ever.
fn events(api: Api<Lean>, config: watcher::Config) -> impl Stream<Item = watcher::Result<watcher::Event<Lean>>> {
    unfold(None, move |begun| {
        let mut events = begun.unwrap_or_else(|| watcher(api.clone(), config.clone()).boxed());
        async move {
            let event = events.next().await?;
            let is_too_old = matches!(
                &event,
                Err(watcher::Error::WatchStartFailed(kube::Error::Api(status))) if status.code == 410
            );
            Some((event, (!is_too_old).then_some(events)))
        }
    })
}

/// Waits until this replica begins to act.
async fn turn(mut role: watch::Receiver<Role>) -> Option<((), watch::Receiver<Role>)> {
    loop {
        role.changed().await.ok()?;
        if *role.borrow_and_update() == Role::Leader {
            return Some(((), role));
        }
    }
}

/// Whether the operator has not acted on it as it is.
fn is_news(known: &Store<ApprovalDecision>, decision: &ApprovalDecision) -> bool {
    let known = known.get(&ObjectRef::from_obj(decision));
    known.is_none_or(|known| acted_on(&known) != acted_on(decision) || is_anothers(&known, decision))
}

/// Whether somebody else may have written the status, where it would stand until something else happens. The operator leaves
/// none without a reason, changes none that is over, and where it begins an answer, one more round after it costs nothing. That
/// round may be told of the answer before it is told of what came of it, and go to rest until the answer's deadline: so what comes
/// of it is news as well, if it is to go on before that.
fn is_anothers(known: &ApprovalDecision, decision: &ApprovalDecision) -> bool {
    let standing = |decision| current_reason(decision).map(Reason::standing);
    known.status != decision.status
        && match (standing(known), standing(decision)) {
            (_, None) => true,
            (Some(Standing::Settled), Some(_)) => true,
            (Some(Standing::Stalled | Standing::Suspended), Some(_)) => stands(known),
            (Some(Standing::Waiting | Standing::Retrying), Some(now)) => now == Standing::UnderWay,
            (Some(Standing::UnderWay), Some(now)) => matches!(now, Standing::Waiting | Standing::Retrying),
            (None, Some(_)) => false,
        }
}

fn wake_up(context: &Context, decision: ObjectRef<ApprovalDecision>) {
    // There is no receiver on the way down.
    let _ = context.wake.send(decision);
}

fn failed_round(decision: Arc<ApprovalDecision>, error: &ReconcileError, context: Arc<Context>) -> Action {
    if !matches!(error, ReconcileError::NotLeading) {
        context.metrics.reconcile_error();
        tracing::warn!(decision = %name(&decision), "{}; trying again in {ROUND_PAUSE:?}", with_causes(error));
    }
    Action::requeue(ROUND_PAUSE)
}

/// The same pause each time: the start, and a CRD that was just installed, are not to be waited for.
struct Every(Duration);

impl Iterator for Every {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(self.0)
    }
}

impl Backoff for Every {
    fn reset(&mut self) {}
}
