use super::*;
use crate::api::v1alpha1::{ApprovalDecision, Reason};
use crate::codepipeline::{CallMetrics, ClientSettings, Operation};
use crate::controller::{ConnectionSettings, NamespaceWatch, Readiness};
use crate::decision::test_fixtures::targets::{elsewhere, here, target};
use crate::decision::test_fixtures::{DecisionExt, fresh};
use crate::decision::{AmbientCredentials, TargetObservation};
use crate::proxy::ProxySettings;
use axum::http::{Request, Response};
use kube::client::Body;
use kube::core::Status;
use kube::runtime::reflector::Store;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use std::convert::Infallible;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tower::service_fn;

/// The names of decisions that no change of a target concerns.
const FINAL: [&str; 2] = ["delivered", "refused"];

/// The names of the others.
const OPEN: [&str; 7] = ["forbidden", "in doubt", "missing", "new", "not ready", "required", "waiting"];

fn decisions() -> Vec<ApprovalDecision> {
    let decisions = [
        ("delivered", fresh().with_reason(Reason::Delivered)),
        ("refused", fresh().with_reason(Reason::InvalidApprovalToken)),
        ("forbidden", fresh().with_reason(Reason::TargetForbidden)),
        ("in doubt", fresh().in_doubt().edited()),
        ("missing", fresh().with_reason(Reason::TargetNotFound)),
        ("new", fresh()),
        ("not ready", fresh().with_reason(Reason::TargetNotReady)),
        ("required", fresh().with_reason(Reason::TargetRequired)),
        ("waiting", fresh().with_reason(Reason::Waiting)),
    ];
    let named = |(name, decision): (&str, ApprovalDecision)| {
        decision.with(|decision| decision.metadata.name = Some(name.to_owned()))
    };
    decisions.into_iter().map(named).collect()
}

/// The watch on targets beside one on decisions, with these in its cache.
struct Watched {
    handler: EventHandler,
    woken: UnboundedReceiver<ObjectRef<ApprovalDecision>>,
    /// The targets to verify.
    due: UnboundedReceiver<ObjectRef<WireTarget>>,
}

impl Watched {
    fn new() -> Self {
        let (decisions, wake, woken) = cache();
        let (verify, due) = unbounded_channel();
        let watches = DecisionWatches::default();
        watches.add(None, decisions, wake, WatchHealth::new(Duration::ZERO));
        let context = TargetContext {
            api: Api::all(no_api_server()),
            targets: no_targets(verify),
            watches,
            writer: StatusWriter::new("test"),
            events: EventRecorder::new(no_api_server(), oneshot::channel().1).0,
            leader: watch::channel(LeaderState::Leader).1,
        };
        let handler = EventHandler {
            store: store().1,
            context,
            health: WatchHealth::new(Duration::ZERO),
            listed: Vec::new(),
            log: WatchErrorLog::new(String::new(), String::new(), String::new(), metrics()),
        };
        Self { handler, woken, due }
    }

    /// The names of the decisions that this event wakes.
    fn handle(&mut self, event: watcher::Result<Event<WireTarget>>) -> Vec<String> {
        self.handler.handle(event);
        let mut names: Vec<String> = std::iter::from_fn(|| self.woken.try_recv().ok()).map(|key| key.name).collect();
        names.sort_unstable();
        names
    }

    /// The names of the decisions that the end of a list of these targets wakes.
    fn list(&mut self, targets: &[ApprovalTarget]) -> Vec<String> {
        self.handle(Ok(Event::Init));
        for target in targets {
            self.handle(Ok(Event::InitApply(WireTarget(target.clone()))));
        }
        self.handle(Ok(Event::InitDone))
    }

    /// The targets whose verification was asked for.
    fn due(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.due.try_recv().ok()).map(|target| target.name).collect()
    }

    /// The watch fails for too long.
    fn break_off(&mut self) {
        assert_eq!(self.handle(Err(watcher::Error::NoResourceVersion)), [""; 0]);
        std::thread::sleep(Duration::from_millis(2));
        assert_eq!(self.handler.context.targets.readiness(), Readiness::WatchBroken);
    }

    /// The metrics of the calls to the target.
    fn calls(&self) -> CallMetrics {
        self.handler.context.targets.connection(Some("prod")).unwrap().client.metrics().clone()
    }

    fn observe(&self) -> TargetObservation {
        self.handler.context.targets.observe("team", Some("prod"))
    }
}

/// An API server that never responds.
fn no_api_server() -> kube::Client {
    let never = |_: Request<Body>| std::future::pending::<Result<Response<Body>, Infallible>>();
    kube::Client::new(service_fn(never), "default")
}

fn cache() -> (
    Store<ApprovalDecision>,
    UnboundedSender<ObjectRef<ApprovalDecision>>,
    UnboundedReceiver<ObjectRef<ApprovalDecision>>,
) {
    let (cache, mut writer) = store();
    writer.apply_watcher_event(&Event::Init);
    decisions().into_iter().for_each(|decision| writer.apply_watcher_event(&Event::InitApply(decision)));
    writer.apply_watcher_event(&Event::InitDone);
    let (wake, woken) = unbounded_channel();
    (cache, wake, woken)
}

fn metrics() -> Metrics {
    Metrics::new(&CallMetrics::default())
}

fn no_targets(verify: UnboundedSender<ObjectRef<WireTarget>>) -> Targets {
    let second = Duration::from_secs(1);
    let client = ClientSettings::new(second, None, None, &ProxySettings::from_env().unwrap());
    let calls = CallMetrics::default();
    let settings =
        ConnectionSettings { client, requests_per_second: 5.0, poll_interval: second, concurrency: 8, calls };
    let namespaces = NamespaceWatch {
        kubernetes: no_api_server(),
        api_server: String::new(),
        broken_after: second,
        metrics: metrics(),
    };
    Targets::new(settings, AmbientCredentials::Enabled, Some(namespaces.run(|_| {}).1), verify)
}

#[tokio::test]
async fn the_first_list_wakes_every_decision_and_later_ones_only_those_that_are_not_final() {
    let mut watched = Watched::new();
    let everything: Vec<&str> = {
        let mut names: Vec<&str> = FINAL.into_iter().chain(OPEN).collect();
        names.sort_unstable();
        names
    };
    assert_eq!(watched.list(&[target(here())]), everything, "none is reconciled before");
    assert_eq!(watched.list(&[target(here())]), OPEN);
}

#[tokio::test]
async fn the_end_of_a_list_after_a_broken_watch_wakes_all_that_a_missed_change_may_concern() {
    let mut other = target(here());
    other.metadata.name = Some("other".to_owned());
    for (name, listed) in [("deleted", None), ("moved", Some(target(elsewhere()))), ("unchanged", Some(target(here())))]
    {
        let mut watched = Watched::new();
        watched.list(&[other.clone(), target(here())]);
        watched.break_off();
        assert!(matches!(watched.observe(), TargetObservation::Unavailable(_)), "{name}");
        // The first target of the list shows that the watch works again, and those who are woken then may see the state before the break.
        let targets: Vec<ApprovalTarget> = std::iter::once(other.clone()).chain(listed.clone()).collect();
        assert_eq!(watched.list(&targets), OPEN, "{name}");
        let observation = watched.observe();
        let found = if let TargetObservation::Found { target, .. } = &observation { Some(&**target) } else { None };
        assert_eq!(found, listed.as_ref(), "{name}: {observation:?}");
    }
}

#[tokio::test]
async fn targets_that_are_listed_after_a_refusal_wake_their_decisions() {
    let mut watched = Watched::new();
    let forbidden = Status { code: 403, ..Status::failure("", "Forbidden") }.boxed();
    let refused = watcher::Error::InitialListFailed(kube::Error::Api(forbidden));
    assert_eq!(watched.handle(Err(refused)).len(), FINAL.len() + OPEN.len());
    let woken = watched.list(&[target(here())]);
    assert!(OPEN.iter().all(|name| woken.iter().any(|woken| woken == name)), "{woken:?}");
}

/// The Controller looks for a target in the store, which shows a list as a whole. It drops what was asked for before.
#[tokio::test]
async fn a_target_that_a_later_list_shows_first_is_verified_once_the_list_is_complete() {
    let mut watched = Watched::new();
    watched.list(&[]);
    watched.handle(Ok(Event::Init));
    watched.handle(Ok(Event::InitApply(WireTarget(target(here())))));
    watched.due();
    watched.handle(Ok(Event::InitDone));
    assert_eq!(watched.due(), ["prod"]);
}

#[tokio::test]
async fn a_call_from_before_a_target_moved_is_not_counted_after_the_target_was_deleted() {
    let mut watched = Watched::new();
    watched.list(&[target(here())]);
    let in_flight = watched.calls();
    watched.list(&[target(elsewhere())]);
    let series = || {
        let (mut registry, mut text) = (Registry::default(), String::new());
        in_flight.register(&mut registry);
        encode(&mut text, &registry).unwrap();
        text.matches(r#"target="prod""#).count()
    };
    assert_ne!(series(), 0);
    watched.list(&[]);
    in_flight.record(Operation::PutApprovalResult, None, Duration::ZERO);
    assert_eq!(series(), 0);
}
