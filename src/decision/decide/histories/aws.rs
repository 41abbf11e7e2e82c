//! CodePipeline as it is: the model with its clock, the answers that are on their way to it, and the chronicle of what it
//! did, which no view of the operator's is part of.

use super::oracle::{Request, Run, Snapshot};
use super::{Deed, Setting, Shape, Ship, Words, seconds};
use crate::api::v1alpha1::{ApprovalDecisionSpec, ApprovalStatus, SourceRevision, Token};
use crate::codepipeline::CallError;
use crate::decision::fixtures::{self, SUMMARY};
use jiff::{SignedDuration, Timestamp};
use local_codepipeline::api::{self, PutApprovalResultInput};
use local_codepipeline::model::{
    Account, ActionDefinition, Behaviour, Category, Lags, Name, PipelineDefinition, PipelineExecutionId, RetryMode,
    Service, StageDefinition, StopMode, Takes,
};
use std::collections::HashMap;

pub const PIPELINE: &str = "shop";
pub const STAGE: &str = "Production";
pub const APPROVAL: &str = "Approve";
pub const SOURCES: [&str; 2] = ["Git", "Image"];
/// What may be under way, and where.
const WORK: [(&str, &str); 4] = [("Build", "Compile"), (STAGE, "Check"), (STAGE, "Ship"), ("Ship", "Ship")];

pub fn revision(number: usize) -> String {
    format!("revision-{}", number % 3)
}

pub fn summary(words: Words) -> &'static str {
    match words {
        Words::Ours => SUMMARY,
        Words::Others => "looks good to me",
        Words::None => "",
    }
}

/// An answer on its way, and what the decision was when it left.
#[derive(Clone)]
pub struct Letter {
    pub uid: String,
    pub spec: ApprovalDecisionSpec,
    pub token: Token,
}

pub struct Aws {
    pub now: Timestamp,
    pub service: Service,
    setting: Setting,
    /// Answers on their way, and when they arrive.
    slow: Vec<(Timestamp, Letter)>,
    /// What was so, the newest last.
    pub chronicle: Vec<Snapshot>,
    /// The tokens of action executions, as far as they were pending when anybody looked.
    tokens: HashMap<String, String>,
    pub diary: Vec<String>,
    /// What must not happen and did.
    pub wrong: Option<String>,
}

fn millis(number: i64) -> SignedDuration {
    SignedDuration::from_millis(number)
}

fn action(name: &str) -> ActionDefinition {
    ActionDefinition::new(name, Category::Build).expect("a name").takes(Takes::UntilTold)
}

fn definition(setting: &Setting, shape: Shape) -> PipelineDefinition {
    let stage = |name: &str, actions| StageDefinition::new(name, actions).expect("a name");
    let sources = SOURCES.map(|name| {
        let takes = Takes::For(SignedDuration::from_secs(setting.source));
        ActionDefinition::new(name, Category::Source).expect("a name").takes(takes)
    });
    let mut stages = vec![stage("Source", sources.to_vec())];
    if setting.build {
        stages.push(stage("Build", vec![action("Compile")]));
    }
    let approval = ActionDefinition::new(APPROVAL, Category::Approval).expect("a name");
    let mut approval = approval.timeout_in_minutes(setting.timeout).run_order(2);
    if setting.summary_required {
        approval = approval.summary_required();
    }
    let mut actions = vec![ActionDefinition::new("Prepare", Category::Build).expect("a name")];
    if shape == Shape::Whole {
        actions.push(approval);
    }
    if setting.check {
        actions.push(action("Check").run_order(2));
    }
    if setting.ship == Some(Ship::InTheSameStage) {
        actions.push(action("Ship").run_order(3));
    }
    if shape != Shape::WithoutStage {
        stages.push(stage(STAGE, actions));
    }
    if setting.ship == Some(Ship::InALaterStage) || stages.len() < 2 {
        stages.push(stage("Ship", vec![action("Ship")]));
    }
    PipelineDefinition { name: Name::new(PIPELINE).expect("a name"), execution_mode: setting.mode, stages }
}

impl Aws {
    pub fn new(setting: &Setting) -> Self {
        let [token, start, decision, cancellation] = setting.lags.map(millis);
        let lags = Lags { token, start, decision, cancellation };
        let behaviour = Behaviour { lags, tokens: setting.tokens };
        let now = fixtures::at(0);
        let mut service = Service::new(Account::default(), behaviour, Default::default());
        service.put_pipeline(now, definition(setting, Shape::Whole)).expect("a pipeline");
        Self {
            now,
            service,
            setting: setting.clone(),
            slow: Vec::new(),
            chronicle: Vec::new(),
            tokens: HashMap::new(),
            diary: Vec::new(),
            wrong: None,
        }
    }

    pub fn note(&mut self, text: impl std::fmt::Display) {
        self.diary.push(format!("{:>8} s  {text}", seconds(self.now)));
    }

    /// Lets time pass, and what arrives meanwhile arrive.
    pub fn pass(&mut self, time: SignedDuration) {
        let end = self.now + time;
        while self.slow.first().is_some_and(|(arrival, _)| *arrival <= end) {
            let (arrival, letter) = self.slow.remove(0);
            self.let_be(arrival);
            self.arrive(&letter).ok();
        }
        self.let_be(end);
    }

    /// Lets happen what happens by itself.
    fn let_be(&mut self, until: Timestamp) {
        while let Some(due) = self.service.next_due().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.service.settle(self.now);
            self.write_down();
        }
        self.now = until;
    }

    /// Hands an answer to the service so much later.
    pub fn delay(&mut self, time: i64, letter: Letter) {
        self.slow.push((self.now + millis(time), letter));
        self.slow.sort_by_key(|(arrival, _)| *arrival);
    }

    /// An answer of a decision comes to the service.
    pub fn arrive(&mut self, letter: &Letter) -> Result<Timestamp, CallError> {
        let Letter { uid, spec, token } = letter;
        self.write_down();
        let named = self.newest().and_then(|snapshot| {
            let request = snapshot.requests.iter().find(|request| request.token.as_ref() == Some(&token.0))?;
            Some(snapshot.names(spec, request))
        });
        if named == Some(false) {
            self.wrong.get_or_insert(format!("{uid} answers a request that it does not name"));
        }
        let before = self.service.ledger().iter().any(|entry| entry.caller == *uid && entry.is_accepted());
        let action = (spec.stage_name.as_str(), spec.action_name.as_str());
        let answer = self.put(action, token, spec.result.status, (&spec.result.summary, uid));
        match &answer {
            Err(error) => self.note(format_args!("the service refuses {uid} with {}", error.detail())),
            Ok(_) => {
                let (run, way) = (self.run_of(token), self.way_of(token));
                self.note(format_args!("the service takes {} of {uid} for run {run}{way}", spec.result.status));
                if before {
                    self.wrong.get_or_insert(format!("the service took two answers of {uid}"));
                }
                if named.is_none() {
                    self.wrong.get_or_insert(format!("the service took an answer of {uid} to nobody knows what"));
                }
            }
        }
        answer
    }

    fn run_of(&self, token: &Token) -> String {
        let snapshot = self.newest();
        let request = snapshot
            .and_then(|snapshot| snapshot.requests.iter().find(|request| request.token.as_ref() == Some(&token.0)));
        request.map(|request| short(&request.run)).unwrap_or_default()
    }

    /// What makes the request of a token one of several.
    fn way_of(&self, token: &Token) -> &'static str {
        let requests = self.newest().map(|snapshot| snapshot.requests.as_slice()).unwrap_or_default();
        let Some(answered) = requests.iter().find(|request| request.token.as_ref() == Some(&token.0)) else {
            return "";
        };
        let is_other = |request: &&Request| request.token != answered.token;
        if requests.iter().filter(is_other).any(|request| request.run == answered.run) {
            ", which its run has opened anew"
        } else if requests.iter().filter(is_other).any(|request| request.end.is_none()) {
            ", beside another request that is pending"
        } else {
            ""
        }
    }

    fn put(
        &mut self,
        place: (&str, &str),
        token: &Token,
        result: ApprovalStatus,
        (summary, by): (&str, &str),
    ) -> Result<Timestamp, CallError> {
        let answer = put(&mut self.service, self.now, place, token, result, (summary, by));
        self.write_down();
        answer
    }

    /// Starts a run; no two begin at the same time.
    pub fn start(&mut self, revisions: [usize; 2]) {
        self.pass(millis(1));
        let revisions = [0, 1].map(|source| local_codepipeline::model::SourceRevision {
            action_name: Name::new(SOURCES[source]).expect("a name"),
            revision_id: revision(revisions[source]),
        });
        if let Ok(run) = self.service.start_execution(self.now, PIPELINE, &revisions) {
            let [git, image] = revisions.map(|revision| revision.revision_id);
            self.note(format_args!("run {} starts with {git} and {image}", short(&run.to_string())));
        }
    }

    /// Somebody does something to the pipeline, if it can be done.
    pub fn perform(&mut self, deed: &Deed) {
        self.write_down();
        let now = self.now;
        let done = match *deed {
            Deed::Start(revisions) => {
                self.start(revisions);
                None
            }
            Deed::Complete { run, succeeded } => self.run(run).and_then(|run| {
                let work = WORK
                    .iter()
                    .find(|work| self.service.complete_action(now, PIPELINE, run, **work, succeeded).is_ok())?;
                Some(format!("{} of run {} succeeds: {succeeded}", work.1, short(&run.to_string())))
            }),
            Deed::Retry { run, all } => self.run(run).and_then(|run| {
                let mode = if all { RetryMode::AllActions } else { RetryMode::FailedActions };
                let stages = ["Build", STAGE, "Ship"];
                let stage =
                    stages.iter().find(|stage| self.service.retry_stage(now, PIPELINE, stage, run, mode).is_ok())?;
                Some(format!("the stage {stage} of run {} is retried", short(&run.to_string())))
            }),
            Deed::Stop { run, abandon } => self.run(run).and_then(|run| {
                let mode = if abandon { StopMode::Abandon } else { StopMode::Wait };
                self.service.stop_execution(now, PIPELINE, run, mode, "no more").ok()?;
                Some(format!("run {} is stopped ({mode:?})", short(&run.to_string())))
            }),
            Deed::Answer { request, result, words } => self.pending(request).and_then(|token| {
                self.put((STAGE, APPROVAL), &token, result, (summary(words), "ada")).ok()?;
                Some(format!("somebody answers {result} in {words:?} words to run {}", self.run_of(&token)))
            }),
            Deed::Save => self.service.edit_pipeline(now, PIPELINE).ok().map(|()| "the pipeline is saved".to_owned()),
            Deed::Redefine(shape) => self.service.edit_pipeline(now, PIPELINE).ok().map(|()| {
                self.service.put_pipeline(now, definition(&self.setting, shape)).expect("a pipeline");
                format!("the pipeline is defined {shape:?}")
            }),
            Deed::Vanish => {
                self.service.delete_pipeline(now, PIPELINE).ok().map(|()| "the pipeline is deleted".to_owned())
            }
        };
        if let Some(what) = done {
            self.note(what);
        }
        self.write_down();
    }

    /// The run of this number, the newest first.
    pub fn run(&mut self, number: usize) -> Option<PipelineExecutionId> {
        self.write_down();
        let runs = &self.newest()?.runs;
        runs.get(number % runs.len().max(1))?.id.parse().ok()
    }

    /// The token of a request that waits.
    pub fn pending(&mut self, number: usize) -> Option<Token> {
        let pending = self.service.pending_approvals(self.now, PIPELINE).ok()?;
        Some(Token(pending.get(number % pending.len().max(1))?.approval.token.to_string()))
    }

    pub fn newest(&self) -> Option<&Snapshot> {
        self.chronicle.last()
    }

    /// Writes down what is so, if it is not as it was.
    pub fn write_down(&mut self) {
        let behaviour = self.service.behaviour().clone();
        let none = SignedDuration::ZERO;
        let lags = Lags { token: none, start: none, decision: none, cancellation: none };
        self.service.set_behaviour(Behaviour { lags, tokens: behaviour.tokens });
        let snapshot = self.snapshot();
        self.service.set_behaviour(behaviour);
        let snapshot = snapshot.unwrap_or_else(|| Snapshot { exists: false, ..Snapshot::empty(self.now) });
        if self.newest().is_none_or(|newest| !newest.is_as(&snapshot)) {
            self.chronicle.push(snapshot);
        }
    }

    fn snapshot(&mut self) -> Option<Snapshot> {
        let now = self.now;
        for pending in self.service.pending_approvals(now, PIPELINE).ok()? {
            let approval = pending.approval;
            self.tokens.insert(approval.action_execution_id.to_string(), approval.token.to_string());
        }
        let pipeline_name = Some(PIPELINE.to_owned());
        let name = pipeline_name.clone();
        let state = self.service.get_pipeline_state(now, &api::GetPipelineStateInput { name }).ok()?;
        let stages = state.stage_states.into_iter();
        let stages = stages.map(|stage| {
            let actions = stage.action_states.iter().map(|action| action.action_name.to_string()).collect();
            (stage.stage_name.to_string(), actions)
        });
        let input = api::ListPipelineExecutionsInput { pipeline_name: pipeline_name.clone(), ..Default::default() };
        let runs = self.service.list_pipeline_executions(now, &input).ok()?.pipeline_execution_summaries;
        let input = api::ListActionExecutionsInput { pipeline_name, ..Default::default() };
        let entries = self.service.list_action_executions(now, &input).ok()?.action_execution_details;
        Some(Snapshot {
            at: now,
            exists: true,
            stages: stages.collect(),
            runs: runs.into_iter().map(Run::of).collect(),
            requests: entries
                .into_iter()
                .filter(|entry| entry.input.action_type_id.category == Category::Approval)
                .map(|entry| {
                    let id = entry.action_execution_id.to_string();
                    let token = entry.output.execution_result.external_execution_id.clone();
                    if let Some(token) = token {
                        self.tokens.insert(id.clone(), token);
                    }
                    Request::of(&entry, self.tokens.get(&id).cloned())
                })
                .collect(),
        })
    }
}

/// Somebody answers a request of the pipeline.
pub fn put(
    service: &mut Service,
    now: Timestamp,
    (stage, action): (&str, &str),
    token: &Token,
    result: ApprovalStatus,
    (summary, by): (&str, &str),
) -> Result<Timestamp, CallError> {
    let status = match result {
        ApprovalStatus::Approved => api::ApprovalStatus::Approved,
        ApprovalStatus::Rejected => api::ApprovalStatus::Rejected,
    };
    let input = PutApprovalResultInput::new(PIPELINE, stage, action, &token.0, status, summary);
    let answer = service.put_approval_result(now, by, &input);
    answer.map(|answer| answer.approved_at.0).map_err(|exception| super::reads::call_error(&exception))
}

pub fn revisions_of(views: Vec<api::SourceRevisionView>) -> Vec<SourceRevision> {
    let views = views.into_iter();
    views
        .map(|view| SourceRevision { revision_id: view.revision_id, action_name: Some(view.action_name.to_string()) })
        .collect()
}

/// Enough of an id to tell it from others in a diary.
pub fn short(id: &str) -> String {
    id.chars().take(6).collect()
}
