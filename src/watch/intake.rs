//! What is done about each event of a watch: the cache is kept, whoever there is news of is woken, and nobody waits for what is gone.
//! Decisions of the first list are taken up as its pages come in, so that the first answer does not wait for the last page.

use super::{is_news, wake_up};
use crate::api::v1alpha1::{ApprovalDecision, Lean};
use crate::decision::{Context, forget_if_answered};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::reflector::store::Writer;
use kube::runtime::watcher::Event;
use tokio::sync::watch;

/// Takes the events of one watch.
pub(super) struct Intake {
    writer: Writer<ApprovalDecision>,
    context: Context,
    /// The one namespace, if it is one.
    namespace: Option<String>,
    has_listed: watch::Sender<bool>,
    first: FirstList,
}

enum FirstList {
    NotBegun,
    UnderWay,
    /// It came to its end, or broke off: then the next is as any other.
    Over,
}

impl Intake {
    pub(super) const fn new(
        writer: Writer<ApprovalDecision>,
        context: Context,
        namespace: Option<String>,
        has_listed: watch::Sender<bool>,
    ) -> Self {
        Self { writer, context, namespace, has_listed, first: FirstList::NotBegun }
    }

    pub(super) fn take(&mut self, event: Event<Lean>) {
        match (event, &self.first) {
            (Event::Init, FirstList::NotBegun) => {
                // To whoever asks the store, it holds all that there is, and whatever comes now comes in later.
                self.writer.apply_watcher_event(&Event::Init);
                self.writer.apply_watcher_event(&Event::InitDone);
                self.first = FirstList::UnderWay;
            }
            (Event::Init, FirstList::UnderWay | FirstList::Over) => {
                self.writer.apply_watcher_event(&Event::Init);
                self.first = FirstList::Over;
            }
            (Event::InitApply(decision), FirstList::UnderWay) | (Event::Apply(decision), _) => self.apply(decision),
            (Event::InitApply(decision), FirstList::NotBegun | FirstList::Over) => {
                self.writer.apply_watcher_event(&Event::InitApply(kept(decision)));
            }
            (Event::InitDone, FirstList::UnderWay) => {
                self.first = FirstList::Over;
                self.has_listed.send_replace(true);
            }
            (Event::InitDone, FirstList::NotBegun | FirstList::Over) => self.end_list(),
            (Event::Delete(Lean(decision)), _) => {
                // Nobody waits any more for the run of a decision that is gone.
                self.context.views.forget(&ObjectRef::from_obj(&decision));
                self.writer.apply_watcher_event(&Event::Delete(decision));
            }
        }
    }

    /// Whoever is woken is found in the store.
    fn apply(&mut self, decision: Lean) {
        let decision = kept(decision);
        let woken = is_news(&self.context.decisions, &decision).then(|| ObjectRef::from_obj(&decision));
        self.writer.apply_watcher_event(&Event::Apply(decision));
        woken.into_iter().for_each(|decision| wake_up(&self.context, decision));
    }

    /// What happened while there was no watch is not to be told apart.
    fn end_list(&mut self) {
        self.writer.apply_watcher_event(&Event::InitDone);
        let Context { views, decisions, .. } = &self.context;
        views.retain(|decision| {
            self.namespace.as_ref().is_some_and(|name| decision.namespace.as_ref() != Some(name))
                || decisions.get(decision).is_some()
        });
        decisions.state().iter().for_each(|decision| wake_up(&self.context, ObjectRef::from_obj(&**decision)));
        self.has_listed.send_replace(true);
    }
}

fn kept(Lean(mut decision): Lean) -> ApprovalDecision {
    forget_if_answered(&mut decision);
    decision
}
