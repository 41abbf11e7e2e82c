//! What a state of the search consists of. It is small, is compared by digests, and has nothing in it that says how it was
//! come to: versions are numbered anew in each state, and operators whose clocks agree are not told apart.

use super::service::CodePipeline;
use crate::api::v1alpha1::ApprovalDecision;
use crate::codepipeline::Reading;
use crate::decision::decide::{Attempt, RecordReading, Sight};
use crate::decision::outcome::Intent;
use crate::decision::progress::acted_on;
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

/// A value that never changes: its digest, made once, stands for it.
#[derive(Debug)]
pub struct Kept<T> {
    value: Arc<T>,
    digest: u64,
}

pub fn digest(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

impl<T> Kept<T> {
    /// `identity` is all of the value that tells it from others.
    pub fn new(value: T, identity: u64) -> Self {
        Self { value: Arc::new(value), digest: identity }
    }
}

impl<T> Clone for Kept<T> {
    fn clone(&self) -> Self {
        Self { value: Arc::clone(&self.value), digest: self.digest }
    }
}

impl<T> Deref for Kept<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> PartialEq for Kept<T> {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl<T> Hash for Kept<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.digest.hash(state);
    }
}

impl From<ApprovalDecision> for Kept<ApprovalDecision> {
    fn from(decision: ApprovalDecision) -> Self {
        let metadata = &decision.metadata;
        let times = [&metadata.creation_timestamp, &metadata.deletion_timestamp].map(|time| time.as_ref().map(|t| t.0));
        let identity = digest(&(acted_on(&decision), times, &decision.spec, &decision.status));
        Self::new(decision, identity)
    }
}

/// A version of the decision at the API server.
#[derive(Clone, Debug, Hash, PartialEq)]
pub struct Version {
    /// Its resourceVersion.
    pub number: usize,
    pub decision: Kept<ApprovalDecision>,
}

impl Version {
    pub fn uid(&self) -> &str {
        self.decision.metadata.uid.as_deref().unwrap_or_default()
    }
}

/// A request on its way.
#[derive(Clone, Debug, Hash, PartialEq)]
pub struct Letter {
    /// What was sent: the decision as the write of the intent returned it.
    pub of: Version,
    pub intent: Intent,
    /// It arrives by then or never.
    pub arrives_by: Timestamp,
}

/// A look at the pipeline.
#[derive(Clone, Debug)]
pub struct Seen {
    /// What there was to see; nothing where the look failed.
    pub service: Option<CodePipeline>,
    /// What the look made of it, which follows from the rest and the question.
    pub reading: Arc<Reading>,
}

impl Seen {
    fn identity(&self) -> (&Option<CodePipeline>, Timestamp, Option<Timestamp>) {
        (&self.service, self.reading.begun, self.reading.failing_since)
    }
}

impl PartialEq for Seen {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}

impl Hash for Seen {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity().hash(state);
    }
}

/// What an operator has been asked about the pipeline, and the newest look.
#[derive(Clone, Debug, Hash, PartialEq)]
pub struct Question {
    /// Stands for the edit of the decision that asks.
    pub by: u64,
    pub asked: Timestamp,
    pub newest: Option<Seen>,
}

/// What an operator has in memory about the decision while it works at it.
#[derive(Clone, Debug, Hash, PartialEq)]
pub struct Round {
    pub known: Version,
    pub attempt: Attempt,
    pub record: Option<RecordReading>,
    pub sight: Option<(Timestamp, Seen)>,
    /// The request whose answer it waits for.
    pub waits_for: Option<Letter>,
}

impl Round {
    pub fn new(known: Version) -> Self {
        Self { known, attempt: Attempt::None, record: None, sight: None, waits_for: None }
    }

    /// What was seen before is seen no more.
    pub fn blink(&mut self) {
        (self.record, self.sight) = (None, None);
    }

    pub fn seen(&self) -> Option<Sight> {
        let (asked, seen) = self.sight.as_ref()?;
        Some(Sight { asked: *asked, reading: Arc::clone(&seen.reading) })
    }
}

/// What an operator has in memory.
#[derive(Clone, Debug, Default, Hash, PartialEq)]
pub struct Operator {
    pub round: Option<Round>,
    pub question: Option<Question>,
}

/// How often things may still happen.
#[derive(Clone, Copy, Debug, Default, Hash, PartialEq)]
pub struct Budget {
    /// An operator loses all that it has in memory.
    pub crashes: u8,
    /// A call is refused, or does not arrive, or its answer is lost.
    pub faults: u8,
    /// A round begins from an older version of the decision.
    pub old_views: u8,
    /// The user does something.
    pub edits: u8,
    /// Somebody else answers.
    pub answers: u8,
    /// Time passes.
    pub passes: u8,
}

/// What must not be, by the property that it breaks.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Wrong {
    Run,
    Truth,
    Open,
    Unsettled,
}

#[derive(Clone, Debug, Hash, PartialEq)]
pub struct State {
    /// By the service's clock.
    pub now: Timestamp,
    pub service: CodePipeline,
    pub live: Option<Version>,
    /// Earlier versions, the newest first, as far as a watch may still show them.
    pub past: Vec<Version>,
    /// How many objects of its name there have been.
    pub lives: u8,
    pub operators: [Operator; 2],
    /// Requests on their way whose senders do not wait any more.
    pub adrift: Vec<Letter>,
    /// The versions that are intents under which a request left.
    pub posted: BTreeSet<usize>,
    pub left: Budget,
    pub wrong: Option<Wrong>,
}

impl State {
    /// Writes a version.
    pub fn store(&mut self, decision: ApprovalDecision) -> Version {
        let version =
            Version { number: self.numbers().max().map_or(0, |number| number + 1), decision: decision.into() };
        self.past.splice(0..0, self.live.replace(version.clone()));
        version
    }

    fn versions(&mut self) -> impl Iterator<Item = &mut Version> {
        let rounds = self.operators.iter_mut().filter_map(|operator| operator.round.as_mut());
        let known = rounds.flat_map(|round| {
            std::iter::once(&mut round.known).chain(round.waits_for.iter_mut().map(|letter| &mut letter.of))
        });
        self.live
            .iter_mut()
            .chain(&mut self.past)
            .chain(known)
            .chain(self.adrift.iter_mut().map(|letter| &mut letter.of))
    }

    fn numbers(&mut self) -> impl Iterator<Item = usize> {
        self.versions().map(|version| version.number)
    }

    /// Forgets how it was come to.
    pub fn canonical(mut self, memory: usize, alike: bool) -> Self {
        self.past.truncate(if self.left.old_views > 0 { memory } else { 0 });
        let numbers: BTreeSet<usize> = self.numbers().collect();
        let anew = |number: usize| numbers.iter().position(|known| *known == number);
        self.posted = self.posted.iter().filter_map(|number| anew(*number)).collect();
        for version in self.versions() {
            version.number = anew(version.number).unwrap_or_default();
        }
        if alike {
            self.operators.sort_by_key(digest);
        }
        self.adrift.sort_by_key(digest);
        self
    }
}
