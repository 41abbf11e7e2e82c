//! A state of the search. States are small and compared by digests. A state does not depend on the path that led to it: versions
//! are renumbered in each state, and operators whose clocks agree are interchangeable.

use super::codepipeline::CodePipeline;
use super::targets::{Place, TargetState, is_by};
use approval_operator::api::v1alpha1::{ApprovalDecision, Submission};
use approval_operator::codepipeline::{Poll, Query};
use approval_operator::decision::{Reconciliation, reconcile_key};
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

/// An immutable value that is compared by its digest, which is computed once.
#[derive(Debug)]
pub struct Digested<T> {
    value: Arc<T>,
    digest: u64,
}

pub fn digest(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

impl<T> Digested<T> {
    /// `identity` is everything that distinguishes the value from others.
    pub fn new(value: T, identity: &impl Hash) -> Self {
        Self { value: Arc::new(value), digest: digest(identity) }
    }
}

impl<T: Clone> Digested<T> {
    pub fn into_value(self) -> T {
        Arc::unwrap_or_clone(self.value)
    }
}

impl<T> Clone for Digested<T> {
    fn clone(&self) -> Self {
        Self { value: Arc::clone(&self.value), digest: self.digest }
    }
}

impl<T> Deref for Digested<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> PartialEq for Digested<T> {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl<T> Hash for Digested<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.digest.hash(state);
    }
}

impl From<ApprovalDecision> for Digested<ApprovalDecision> {
    fn from(decision: ApprovalDecision) -> Self {
        let metadata = &decision.metadata;
        let times = [&metadata.creation_timestamp, &metadata.deletion_timestamp].map(|time| time.as_ref().map(|t| t.0));
        let identity = digest(&(reconcile_key(&decision), times, &decision.spec, &decision.status));
        Self::new(decision, &identity)
    }
}

/// A version of the decision at the API server.
#[derive(Clone, Debug, Hash, PartialEq)]
pub struct Version {
    /// Its resourceVersion.
    pub number: usize,
    pub decision: Digested<ApprovalDecision>,
}

impl Version {
    pub fn uid(&self) -> &str {
        self.decision.metadata.uid.as_deref().unwrap_or_default()
    }

    pub fn submission(&self) -> Option<&Submission> {
        self.decision.status.as_ref()?.submission.as_ref()
    }
}

/// Whether both are attempts of one submission. The first attempt of another one starts later.
pub fn is_same_submission(one: &Submission, other: &Submission) -> bool {
    (&one.token, one.start_time) == (&other.token, other.start_time)
}

/// A request in flight.
#[derive(Clone, Debug, Hash, PartialEq)]
pub struct InFlightRequest {
    /// The decision as the write of the intent returned it.
    pub version: Version,
    pub submission: Submission,
    /// It arrives by then or never.
    pub arrives_by: Timestamp,
}

/// A poll of the pipeline.
#[derive(Clone, Debug)]
pub struct ObservedPoll {
    /// The account and region that it read.
    pub place: Place,
    /// CodePipeline during the poll; none if the poll failed.
    pub codepipeline: Option<CodePipeline>,
    /// The result, which follows from the other fields and the query.
    pub poll: Arc<Poll>,
}

impl ObservedPoll {
    fn identity(&self) -> (Place, &Option<CodePipeline>, Timestamp, Option<Timestamp>) {
        (self.place, &self.codepipeline, self.poll.started_at, self.poll.failing_since)
    }
}

impl PartialEq for ObservedPoll {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}

impl Hash for ObservedPoll {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity().hash(state);
    }
}

/// An operator's subscription to the pipeline, and the newest poll.
#[derive(Clone, Debug, Hash, PartialEq)]
pub struct Subscription {
    /// Identifies the edit of the decision that subscribed.
    pub generation: u64,
    pub query: Query,
    pub subscribed_at: Timestamp,
    pub newest: Option<ObservedPoll>,
}

/// A reconcile in progress.
#[derive(Clone, Debug, Hash, PartialEq)]
pub struct Reconcile {
    /// Compared without the reasons that it announced, which `decide` does not see.
    pub reconciliation: Digested<Reconciliation>,
    /// The version that it knows.
    pub known: Version,
    /// The target that it observed.
    pub target: Option<TargetState>,
    /// The poll that it observed.
    pub poll: Option<ObservedPoll>,
    /// The request whose response it waits for.
    pub in_flight: Option<InFlightRequest>,
}

impl Reconcile {
    pub fn start(known: Version) -> Self {
        Self::new(Reconciliation::new(ApprovalDecision::clone(&known.decision)), known, None, None)
    }

    pub fn new(
        reconciliation: Reconciliation,
        known: Version,
        target: Option<TargetState>,
        poll: Option<ObservedPoll>,
    ) -> Self {
        let observed = reconciliation.observed();
        let subscribed_at = observed.pipeline.map(|pipeline| pipeline.subscribed_at);
        let poll = poll.filter(|_| subscribed_at.is_some());
        let target = target.filter(|_| observed.target.is_some());
        let identity = digest(&(observed.attempt, observed.rejections, subscribed_at, reconciliation.stage()));
        Self { reconciliation: Digested::new(reconciliation, &identity), known, target, poll, in_flight: None }
    }
}

/// What an operator has in memory.
#[derive(Clone, Debug, Default, Hash, PartialEq)]
pub struct Operator {
    pub reconcile: Option<Reconcile>,
    pub subscription: Option<Subscription>,
}

/// How often each kind of disturbance may still happen.
#[derive(Clone, Copy, Debug, Default, Hash, PartialEq)]
pub struct Budget {
    /// An operator loses everything in its memory.
    pub crashes: u8,
    /// A call is refused, does not arrive, or its response is lost.
    pub faults: u8,
    /// A reconcile starts from an older version of the decision.
    pub old_views: u8,
    /// The owner of the decision does something.
    pub edits: u8,
    /// Someone else completes an approval.
    pub other_results: u8,
    /// An administrator changes the target.
    pub target_changes: u8,
    /// Someone retries a stage, or stops an execution.
    pub pipeline_changes: u8,
    /// Time passes.
    pub time_jumps: u8,
}

/// A broken property.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Violation {
    Binding,
    Accuracy,
    Doubt,
    Permission,
    Place,
    Attribution,
    Settlement,
}

#[derive(Clone, Debug, Hash, PartialEq)]
pub struct State {
    /// By CodePipeline's clock.
    pub now: Timestamp,
    pub codepipeline: CodePipeline,
    /// CodePipeline in the other account.
    pub elsewhere: CodePipeline,
    pub target: TargetState,
    pub live: Option<Version>,
    /// The decision of the other cluster.
    pub other_live: Option<Version>,
    /// The earlier versions that a watch may still show, newest first.
    pub past: Vec<Version>,
    /// Another decision, which rejects. No operator of the model acts on it: a user decides when its result is submitted.
    pub rejection: Option<Digested<ApprovalDecision>>,
    /// How many objects with this name have existed.
    pub incarnations: u8,
    pub operators: [Operator; 2],
    /// Requests in flight whose senders no longer wait for a response.
    pub abandoned: Vec<InFlightRequest>,
    /// The versions whose intent a request was sent under.
    pub sent: BTreeSet<usize>,
    pub left: Budget,
    pub violation: Option<Violation>,
}

impl State {
    /// Stores a new version.
    pub fn store(&mut self, decision: ApprovalDecision) -> Version {
        let version =
            Version { number: self.numbers().max().map_or(0, |number| number + 1), decision: decision.into() };
        self.past.splice(0..0, self.live.replace(version.clone()));
        version
    }

    /// Whether CodePipeline accepted a submission of the object with this uid.
    pub fn is_accepted(&self, uid: &str, submission: &Submission) -> bool {
        self.codepipeline_in(Place::of(submission)).responses().iter().any(|response| {
            is_by(&response.by, uid)
                && response.request.token == submission.token
                && submission.start_time <= response.at
        })
    }

    /// Whether a request of a submission is on its way to CodePipeline.
    pub fn is_in_flight(&self, uid: &str, submission: &Submission) -> bool {
        let reconciles = self.operators.iter().filter_map(|operator| operator.reconcile.as_ref());
        let in_flight = reconciles.filter_map(|reconcile| reconcile.in_flight.as_ref()).chain(&self.abandoned);
        let mut of_object = in_flight.filter(|request| request.version.uid() == uid);
        of_object.any(|request| is_same_submission(&request.submission, submission))
    }

    /// The decisions of all clusters.
    pub fn decisions(&self) -> impl Iterator<Item = &Version> {
        self.live.iter().chain(&self.other_live)
    }

    fn versions(&mut self) -> impl Iterator<Item = &mut Version> {
        let reconciles = self.operators.iter_mut().filter_map(|operator| operator.reconcile.as_mut());
        let known = reconciles.flat_map(|reconcile| {
            let in_flight = reconcile.in_flight.iter_mut().map(|request| &mut request.version);
            std::iter::once(&mut reconcile.known).chain(in_flight)
        });
        let abandoned = self.abandoned.iter_mut().map(|request| &mut request.version);
        self.live.iter_mut().chain(&mut self.other_live).chain(&mut self.past).chain(known).chain(abandoned)
    }

    fn numbers(&mut self) -> impl Iterator<Item = usize> {
        self.versions().map(|version| version.number)
    }

    /// Drops what depends on the path that led here.
    pub fn canonical(mut self, past_versions: usize, clocks_agree: bool) -> Self {
        self.past.truncate(if self.left.old_views > 0 { past_versions } else { 0 });
        let numbers: BTreeSet<usize> = self.numbers().collect();
        let renumbered = |number: usize| numbers.iter().position(|known| *known == number);
        self.sent = self.sent.iter().filter_map(|number| renumbered(*number)).collect();
        for version in self.versions() {
            version.number = renumbered(version.number).unwrap_or_default();
        }
        if clocks_agree {
            self.operators.sort_by_key(digest);
        }
        self.abandoned.sort_by_key(digest);
        self
    }
}
