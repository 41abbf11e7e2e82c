//! The looks that the decisions of one operator share, as `codepipeline/views.rs` has them, without tasks and real time: a
//! look is made by a move, and what it saw may come to those who asked later than other things.

use super::reads::Calls;
use super::{Glance, Who, World};
use crate::api::v1alpha1::SourceRevision;
use crate::codepipeline::{Ask, Reading, View, Want, look};
use crate::decision::fixtures::SETTINGS;
use futures::FutureExt;
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// What tells a question from another of the same decision: its uid, generation and annotation.
pub type Question = (String, Option<i64>, Option<String>);

#[derive(Default)]
pub struct Looks {
    askers: BTreeMap<usize, Asker>,
    newest: Option<Arc<Reading>>,
    /// The newest look that succeeded.
    view: Option<Arc<View>>,
    /// A look that began before is out of date.
    outdated: Option<Timestamp>,
    failures: u32,
    /// A look that is over, and of which nobody has heard.
    late: Option<Reading>,
}

struct Asker {
    question: Question,
    asked: Timestamp,
    ask: Ask,
    want: Option<Want>,
}

const PAUSE: SignedDuration = SignedDuration::from_secs(1);

impl Looks {
    /// The newest look, if it is as wanted, and when the question was first asked.
    pub fn ask(
        &mut self,
        number: usize,
        question: Question,
        ask: Ask,
        want: Want,
        now: Timestamp,
    ) -> (Timestamp, Option<Arc<Reading>>) {
        if self.askers.get(&number).is_none_or(|asker| asker.question != question) {
            self.askers.insert(number, Asker { question, asked: now, ask, want: None });
        }
        let Some(asker) = self.askers.get_mut(&number) else { return (now, None) };
        let is_as_wanted = |reading: &&Arc<Reading>| {
            self.outdated.is_none_or(|outdated| outdated <= reading.begun)
                && answers(reading, &asker.ask, asker.asked)
                && want.is_met_by(reading)
        };
        let reading = self.newest.as_ref().filter(is_as_wanted).cloned();
        asker.want = reading.is_none().then_some(want);
        (asker.asked, reading)
    }

    pub fn forget(&mut self, number: usize) {
        self.askers.remove(&number);
    }

    /// An answer was sent.
    pub fn outdate(&mut self, now: Timestamp) {
        self.outdated = Some(now);
    }

    /// When the next look is due, if the routine is one an interval.
    fn next_look(&self, interval: SignedDuration, now: Timestamp) -> Option<Timestamp> {
        if self.askers.is_empty() {
            return None;
        }
        let Some(newest) = &self.newest else { return Some(now) };
        let (begun, soonest) = (newest.begun, newest.begun + PAUSE);
        if self.failures > 0 {
            return Some(begun + PAUSE * 2_i32.pow((self.failures - 1).min(8)));
        }
        if self.outdated.is_some_and(|outdated| begun < outdated) {
            return Some(soonest);
        }
        let wanted = self.askers.values().filter_map(|asker| match asker.want.as_ref()? {
            _ if !answers(newest, &asker.ask, asker.asked) => Some(soonest),
            Want::Any => None,
            Want::NewTo(_, late) => late.filter(|late| begun < *late),
        });
        let routine = begun + interval;
        Some(wanted.min().map_or(routine, |wanted| routine.min(wanted.max(soonest))))
    }

    /// What a look saw comes to those who asked; returns whom it wakes.
    fn publish(&mut self) -> Vec<usize> {
        let Some(mut reading) = self.late.take() else { return Vec::new() };
        if reading.failure().is_some() {
            self.failures += 1;
            let before = self.newest.as_ref().and_then(|newest| newest.failing_since);
            reading.failing_since = before.or(Some(reading.begun));
        } else {
            self.failures = 0;
            self.view = reading.result.as_ref().ok().cloned();
        }
        let reading = Arc::new(reading);
        self.newest = Some(reading.clone());
        if self.outdated.is_some_and(|outdated| reading.begun < outdated) {
            return Vec::new();
        }
        let mut woken = Vec::new();
        for (number, asker) in &mut self.askers {
            let is_as_wanted = |want: &mut Want| answers(&reading, &asker.ask, asker.asked) && want.is_met_by(&reading);
            if asker.want.take_if(is_as_wanted).is_some() {
                woken.push(*number);
            }
        }
        woken
    }
}

impl World {
    /// An operator looks at the pipeline, if anybody asks about it.
    pub(super) fn look_at_pipeline(&mut self, who: Who, glance: &Glance) {
        self.publish(who);
        let begun = self.clock(who);
        let looks = &mut self.operators[who as usize].looks;
        if looks.askers.is_empty() {
            *looks = Looks::default();
            return;
        }
        let asks: HashSet<Ask> = looks.askers.values().map(|asker| asker.ask.clone()).collect();
        let before = looks.view.clone();
        self.note(format_args!("{who:?} looks"));
        let calls = Calls::new(&self.aws, self.setting.page, glance.clone());
        let seen = look(&calls, begun, asks, before.as_deref()).now_or_never();
        let Some(result) = seen else { return };
        self.note(format_args!("{who:?} has seen {}", in_short(&result)));
        let result = result.map(Arc::new);
        self.operators[who as usize].looks.late = Some(Reading { begun, result, failing_since: None });
        if !glance.late {
            self.publish(who);
        }
    }

    pub(super) fn publish(&mut self, who: Who) {
        for number in self.operators[who as usize].looks.publish() {
            self.operators[who as usize].wake(number);
        }
    }

    /// The routine in peace: as the operator's own at first, and then sparser, for nothing moves any more.
    fn interval(&mut self, begin: Timestamp) -> SignedDuration {
        let so_far = self.now().duration_since(begin);
        if so_far < SignedDuration::from_mins(3) { SETTINGS.poll_interval } else { SignedDuration::from_mins(4) }
    }

    /// Looks if it is time to.
    pub(super) fn look_if_due(&mut self, who: Who, begin: Timestamp) -> bool {
        let (now, interval) = (self.clock(who), self.interval(begin));
        let is_due = self.operators[who as usize].looks.next_look(interval, now).is_some_and(|due| due <= now);
        if is_due {
            self.look_at_pipeline(who, &Glance { pace: 50, fails: None, meanwhile: None, late: false });
        }
        is_due
    }

    /// When an operator next has something to do, by the service's clock.
    pub(super) fn next_due(&mut self, who: Who, begin: Timestamp) -> Option<Timestamp> {
        let (now, interval) = (self.clock(who), self.interval(begin));
        let ahead = now.duration_since(self.now());
        let operator = &self.operators[who as usize];
        let look = operator.looks.next_look(interval, now);
        look.into_iter().chain(operator.next_wake()).min().map(|due| due - ahead)
    }
}

fn in_short(result: &Result<View, crate::codepipeline::CallError>) -> String {
    let view = match result {
        Ok(view) => view,
        Err(error) => return format!("nothing: {}", error.detail()),
    };
    let id = super::aws::short;
    let shown: Vec<String> = view
        .state
        .stages
        .iter()
        .flat_map(|stage| &stage.actions)
        .filter_map(|action| {
            let latest = action.latest_execution.as_ref()?;
            let token = if latest.token.is_some() { " with a token" } else { "" };
            let which = latest.action_execution_id.as_deref().map(id).unwrap_or_default();
            Some(format!("{} {which} {}{token}", action.name, standing(&latest.progress)))
        })
        .collect();
    let runs: Vec<String> = view
        .executions
        .iter()
        .map(|run| {
            let found: Vec<&str> =
                run.source_revisions.iter().map(|SourceRevision { revision_id, .. }| revision_id.as_str()).collect();
            format!("{} {:?} {}", id(&run.id), run.status, found.join("+"))
        })
        .collect();
    let entries: Vec<String> = view
        .actions
        .iter()
        .map(|entry| {
            let (action, run) = (id(&entry.action_execution_id), id(&entry.pipeline_execution_id));
            format!("{action} of {run} {}", standing(&entry.progress))
        })
        .collect();
    let unknown: Vec<String> = view.unknown.keys().map(|run| id(run)).collect();
    format!("state {shown:?}, runs {runs:?}, history {entries:?}, unknown {unknown:?}")
}

fn standing(progress: &crate::codepipeline::ActionProgress) -> String {
    match progress {
        crate::codepipeline::ActionProgress::InProgress => "InProgress".to_owned(),
        crate::codepipeline::ActionProgress::Over(ending) => format!("{:?} {:?}", ending.status, ending.result()),
    }
}

/// Whether a look can answer a question that was asked then.
fn answers(reading: &Reading, ask: &Ask, asked: Timestamp) -> bool {
    reading.failure().is_some() || asked <= reading.begun && reading.knows(ask)
}
