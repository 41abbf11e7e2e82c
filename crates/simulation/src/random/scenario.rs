//! What differs between worlds, and the pipeline that follows from it.

use super::NewDecision;
use super::moves::Shape;
use jiff::SignedDuration;
use local_codepipeline::model::{
    ActionDefinition, ActionDuration, Category, EntryCondition, EntryResult, ExecutionMode, Name, OnFailure,
    ParallelState, PipelineDefinition, StageDefinition, TokenRule,
};

pub const PIPELINE: &str = "shop";
pub const STAGE: &str = "Production";
pub const APPROVAL: &str = "Approve";
pub const SECOND_APPROVAL: &str = "Confirm";
pub const SOURCES: [&str; 2] = ["Git", "Image"];
/// The actions other than the approval that may be in progress, and their stages.
pub const OTHER_ACTIONS: [(&str, &str); 4] =
    [("Build", "Compile"), (STAGE, "Check"), (STAGE, "Ship"), ("Ship", "Ship")];

pub fn revision(number: usize) -> String {
    format!("revision-{}", number % 3)
}

/// What differs between worlds.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub mode: ExecutionMode,
    pub parallel_state: ParallelState,
    /// Whether there is a stage before that of the approval.
    pub build: bool,
    /// Whether there is an action in parallel to the approval.
    pub check: bool,
    /// The action after the approval.
    pub ship: Option<ShipAction>,
    /// Whether there is a second source.
    pub has_second_source: bool,
    /// How long the source actions take.
    pub source_seconds: i64,
    /// Another approval.
    pub second_approval: Option<SecondApproval>,
    /// Whether executions pass the stage of the approval without entering it.
    pub skips: bool,
    /// What happens when the stage of the approval fails.
    pub on_failure: Option<OnFailure>,
    /// The timeout of the approvals.
    pub timeout_minutes: u32,
    pub summary_required: bool,
    /// In milliseconds: of tokens, starts, decisions and cancellations.
    pub lags: [i64; 4],
    pub tokens: TokenRule,
    /// Entries per page of a list.
    pub page_size: i64,
    /// By how many milliseconds the clock of each replica is ahead of CodePipeline's.
    pub clock_offsets: [i64; 2],
    /// Whether there is a second replica.
    pub has_second_replica: bool,
    /// Whether there are targets, and whether the first one is where the pipeline is.
    pub target: Option<bool>,
    /// The decisions at the start.
    pub decisions: Vec<NewDecision>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ShipAction {
    InTheSameStage,
    InALaterStage,
}

/// Where the second approval is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SecondApproval {
    InAnEarlierStage,
    BesideTheFirst,
}

fn action(name: &str) -> ActionDefinition {
    ActionDefinition::new(name, Category::Build).expect("a name").duration(ActionDuration::UntilCompleted)
}

impl Scenario {
    /// A source, and an approval that asks at once. Nothing lags.
    pub fn plain(decisions: Vec<NewDecision>) -> Self {
        Self {
            mode: ExecutionMode::Superseded,
            parallel_state: ParallelState::WithoutTokens,
            build: false,
            check: false,
            ship: None,
            has_second_source: false,
            source_seconds: 0,
            second_approval: None,
            skips: false,
            on_failure: None,
            timeout_minutes: 10_080,
            summary_required: false,
            lags: [0; 4],
            tokens: TokenRule::ActionExecutionId,
            page_size: 100,
            clock_offsets: [0; 2],
            has_second_replica: false,
            target: None,
            decisions,
        }
    }

    pub fn sources(&self) -> &'static [&'static str] {
        if self.has_second_source { &SOURCES } else { &SOURCES[..1] }
    }

    /// The stage of the second approval.
    pub fn second_stage(&self) -> &'static str {
        match self.second_approval {
            Some(SecondApproval::InAnEarlierStage) => "Staging",
            Some(SecondApproval::BesideTheFirst) | None => STAGE,
        }
    }

    /// The pipeline.
    pub fn definition(&self, shape: Shape) -> PipelineDefinition {
        let stage = |name: &str, actions| StageDefinition::new(name, actions).expect("a name");
        let sources = self.sources().iter().map(|name| {
            let duration = ActionDuration::Fixed(SignedDuration::from_secs(self.source_seconds));
            ActionDefinition::new(name, Category::Source).expect("a name").duration(duration)
        });
        let mut stages = vec![stage("Source", sources.collect())];
        if self.build {
            stages.push(stage("Build", vec![action("Compile")]));
        }
        let approval = |name| {
            let approval = ActionDefinition::new(name, Category::Approval).expect("a name");
            let approval = approval.timeout_in_minutes(self.timeout_minutes).run_order(2);
            if self.summary_required { approval.summary_required() } else { approval }
        };
        if self.second_approval == Some(SecondApproval::InAnEarlierStage) {
            stages.push(stage("Staging", vec![approval(SECOND_APPROVAL)]));
        }
        let mut actions = vec![ActionDefinition::new("Prepare", Category::Build).expect("a name")];
        if shape == Shape::Whole {
            actions.push(approval(APPROVAL));
        }
        if self.second_approval == Some(SecondApproval::BesideTheFirst) {
            actions.push(approval(SECOND_APPROVAL));
        }
        if self.check {
            actions.push(action("Check").run_order(2));
        }
        if self.ship == Some(ShipAction::InTheSameStage) {
            actions.push(action("Ship").run_order(3));
        }
        if shape != Shape::WithoutStage {
            let before_entry = self.skips.then_some(EntryCondition { result: EntryResult::Skip });
            stages.push(StageDefinition { before_entry, on_failure: self.on_failure(), ..stage(STAGE, actions) });
        }
        if self.ship == Some(ShipAction::InALaterStage) || stages.len() < 2 {
            stages.push(stage("Ship", vec![action("Ship")]));
        }
        PipelineDefinition { name: Name::new(PIPELINE).expect("a name"), execution_mode: self.mode, stages }
    }

    /// A pipeline in PARALLEL mode cannot roll back.
    fn on_failure(&self) -> Option<OnFailure> {
        self.on_failure.filter(|on_failure| match on_failure {
            OnFailure::Retry(_) => true,
            OnFailure::Rollback => self.mode != ExecutionMode::Parallel,
        })
    }
}
