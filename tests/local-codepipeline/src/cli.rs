//! The commands and their flags. What a script needs of a command goes to stdout, alone; what a person may like to know
//! beside it goes to stderr.

use std::{error::Error, net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};
use jiff::Timestamp;
use local_codepipeline::{
    LocalCodePipeline,
    api::{ApprovalStatus, Operation, PutApprovalResultInput},
    client::{Client, ClientError},
    model::{
        Account, ActionDefinition, Behaviour, Category, ExceptionKind, Lags, LedgerEntry, OpenApproval, Outcome,
        PendingApproval, PipelineDefinition, PipelineExecutionId, Service, StageDefinition, Takes,
    },
    seed,
};
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

/// An AWS CodePipeline on this machine, as far as manual approvals go.
#[derive(Debug, Parser)]
#[command(version, about)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run an endpoint until it is interrupted
    ///
    /// Prints its URL as the only line on stdout once it answers. Give the URL to an AWS SDK or to the AWS CLI as
    /// AWS_ENDPOINT_URL, with any region and any credentials: who signs with the access key `alice` is taken for
    /// the user alice. Signatures are not verified, so let nobody else reach the address.
    Serve(Serve),
    /// Start a run that gets to an approval at once, and print the approval's token
    ///
    /// The pipeline is created if there is none of that name. What stands before the approval succeeds.
    OpenApproval(Open),
    /// Start a run that gets to an approval when it is built, and print the run's id
    ///
    /// The pipeline is created if there is none of that name: a source, a build that takes so long, and the approval.
    StartRun(Start),
    /// Answer an approval as somebody else would
    Answer(Answer),
    /// Show every answer that reached the endpoint, and what became of it
    Ledger(Ledger),
}

#[derive(Debug, Args)]
struct Serve {
    /// Where to listen; port 0 takes any free one
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:4580")]
    address: SocketAddr,
    /// Pipelines and runs to start with, in YAML
    #[arg(long, value_name = "FILE")]
    seed: Option<PathBuf>,
    /// How far the views lag behind the truth, unless the seed file says
    #[arg(long, value_enum, default_value_t = LagPreset::Lifelike)]
    lags: LagPreset,
    /// Hand out the same identifiers at each start with this number [default: new ones]
    #[arg(long, value_name = "NUMBER")]
    id_seed: Option<u64>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LagPreset {
    /// As on the live service: a token shows after 7 s, history learns of a decision after 30 s
    Lifelike,
    /// At once
    None,
}

impl From<LagPreset> for Behaviour {
    fn from(preset: LagPreset) -> Self {
        let lags = match preset {
            LagPreset::Lifelike => Lags::lifelike(),
            LagPreset::None => Lags::default(),
        };
        Self { lags, ..Self::default() }
    }
}

#[derive(Debug, Args)]
struct Endpoint {
    /// The endpoint's URL, as `serve` prints it
    #[arg(long, value_name = "URL", env = "AWS_ENDPOINT_URL", default_value = "http://127.0.0.1:4580")]
    endpoint: String,
}

/// Which approval.
#[derive(Debug, Args)]
struct Approval {
    /// The pipeline's name
    pipeline: String,
    /// The stage's name
    stage: String,
    /// The approval action's name
    action: String,
}

/// A run to start.
#[derive(Debug, Args)]
struct NewRun {
    #[command(flatten)]
    endpoint: Endpoint,
    #[command(flatten)]
    approval: Approval,
    /// What the run's source action comes upon, as ACTION=REVISION [default: made up]
    #[arg(long, value_name = "ACTION=REVISION", value_parser = revision)]
    revision: Vec<(String, String)>,
}

#[derive(Debug, Args)]
struct Open {
    #[command(flatten)]
    run: NewRun,
    /// Print the run and the action execution too, as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Start {
    #[command(flatten)]
    run: NewRun,
    /// How long runs of a pipeline that is created build: a time, or `untilTold`
    #[arg(long, value_name = "TIME", default_value = "30s")]
    build_takes: Takes,
}

fn revision(text: &str) -> Result<(String, String), String> {
    let (action, revision) = text.split_once('=').ok_or("write it as ACTION=REVISION, such as Source=4f2e1d0c")?;
    Ok((action.to_owned(), revision.to_owned()))
}

#[derive(Debug, Args)]
struct Answer {
    #[command(flatten)]
    endpoint: Endpoint,
    #[command(flatten)]
    approval: Approval,
    /// What to answer
    #[arg(long, value_enum)]
    status: Status,
    /// Why
    #[arg(long, default_value = "")]
    summary: String,
    /// Which request [default: the one that is pending]
    #[arg(long)]
    token: Option<String>,
    /// Who answers
    #[arg(long = "as", value_name = "USER", default_value = "somebody-else")]
    user: String,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "PascalCase")]
enum Status {
    Approved,
    Rejected,
}

#[derive(Debug, Args)]
struct Ledger {
    #[command(flatten)]
    endpoint: Endpoint,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

type Outcomes = Result<(), Box<dyn Error>>;

pub(crate) async fn run(cli: Cli) -> Outcomes {
    match cli.command {
        Command::Serve(serve) => serve.run().await,
        Command::OpenApproval(open) => open.run().await,
        Command::StartRun(start) => start.run().await,
        Command::Answer(answer) => answer.run().await,
        Command::Ledger(ledger) => ledger.run().await,
    }
}

impl Serve {
    async fn run(self) -> Outcomes {
        let id_seed = self.id_seed.map_or_else(Uuid::new_v4, |seed| Uuid::from_u64_pair(0, seed));
        let behaviour = self.lags.into();
        let service = match &self.seed {
            None => Service::new(Account::default(), behaviour, id_seed),
            Some(file) => {
                let text = std::fs::read_to_string(file)
                    .map_err(|error| format!("the seed file {} cannot be read: {error}", file.display()))?;
                seed::service(&text, file, Timestamp::now(), behaviour, id_seed)?
            }
        };
        let endpoint = LocalCodePipeline::serve(self.address, service).await.map_err(|error| {
            format!("cannot listen on {}: {error}; take another with --address, port 0 is any free one", self.address)
        })?;
        println!("{}", endpoint.url());
        tokio::signal::ctrl_c().await?;
        Ok(())
    }
}

impl Open {
    async fn run(self) -> Outcomes {
        let NewRun { endpoint, approval: Approval { pipeline, stage, action }, revision } = &self.run;
        let command = json!({
            "command": "openApproval",
            "pipelineName": pipeline,
            "stageName": stage,
            "actionName": action,
            "sourceRevisions": source_revisions(revision),
        });
        let opened = Client::new(&endpoint.endpoint)?.command(&command).await?;
        if self.json {
            println!("{opened:#}");
        } else {
            println!("{}", serde_json::from_value::<OpenApproval>(opened)?.token);
        }
        Ok(())
    }
}

impl Start {
    async fn run(self) -> Outcomes {
        let NewRun { endpoint, approval: Approval { pipeline, stage, action }, revision } = &self.run;
        let client = Client::new(&endpoint.endpoint)?;
        let start = json!({
            "command": "startExecution",
            "pipelineName": pipeline,
            "sourceRevisions": source_revisions(revision),
        });
        let started = match client.command(&start).await {
            Err(ClientError::Refused { kind, .. }) if kind == ExceptionKind::PipelineNotFound.name() => {
                let mut definition = PipelineDefinition::with_approval(pipeline, stage, action)?;
                let build = ActionDefinition::new("Build", Category::Build)?.takes(self.build_takes);
                definition.stages.insert(1, StageDefinition::new("Build", vec![build])?);
                client.command(&json!({ "command": "putPipeline", "definition": definition })).await?;
                client.command(&start).await?
            }
            started => started?,
        };
        println!("{}", serde_json::from_value::<Started>(started)?.pipeline_execution_id);
        Ok(())
    }
}

/// A run as its start tells it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Started {
    pipeline_execution_id: PipelineExecutionId,
}

fn source_revisions(revisions: &[(String, String)]) -> serde_json::Value {
    let entry = |(action, revision): &(_, _)| json!({ "actionName": action, "revisionId": revision });
    revisions.iter().map(entry).collect()
}

impl Answer {
    async fn run(self) -> Outcomes {
        let client = Client::new(&self.endpoint.endpoint)?;
        let Approval { pipeline, stage, action } = &self.approval;
        let token = match &self.token {
            Some(token) => token.clone(),
            None => only_pending(&client, &self.approval).await?,
        };
        let status = match self.status {
            Status::Approved => ApprovalStatus::Approved,
            Status::Rejected => ApprovalStatus::Rejected,
        };
        let input = PutApprovalResultInput::new(pipeline, stage, action, token, status, self.summary);
        client.operation(&self.user, Operation::PutApprovalResult, &input).await?;
        eprintln!("{} by {}", status.as_str(), self.user);
        Ok(())
    }
}

/// The token of the request that can only be meant.
async fn only_pending(client: &Client, approval: &Approval) -> Result<String, Box<dyn Error>> {
    let Approval { pipeline, stage, action } = approval;
    let command = json!({ "command": "listPendingApprovals", "pipelineName": pipeline });
    let mut pending: Vec<PendingApproval> = serde_json::from_value(client.command(&command).await?)?;
    pending.retain(|pending| *pending.stage_name == **stage && *pending.action_name == **action);
    match pending.as_slice() {
        [one] => Ok(one.approval.token.to_string()),
        [] => Err(format!("approval {pipeline}/{stage}/{action} waits for no answer").into()),
        several => {
            Err(format!("{} runs wait at {pipeline}/{stage}/{action}: say which with --token", several.len()).into())
        }
    }
}

impl Ledger {
    async fn run(self) -> Outcomes {
        let entries: Vec<LedgerEntry> = Client::new(&self.endpoint.endpoint)?.get("/local/ledger").await?;
        if self.json {
            println!("{}", serde_json::to_string_pretty(&entries)?);
            return Ok(());
        }
        let heading = ["AT", "APPROVAL", "STATUS", "CALLER", "OUTCOME", "FAULT", "SUMMARY"].map(str::to_owned);
        let rows: Vec<_> = std::iter::once(heading).chain(entries.into_iter().map(row)).collect();
        let widths: Vec<usize> = (0..7)
            .map(|column| {
                rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
            })
            .collect();
        for row in rows {
            let cells: Vec<String> =
                row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}", width = *width)).collect();
            println!("{}", cells.join("  ").trim_end());
        }
        Ok(())
    }
}

fn row(entry: LedgerEntry) -> [String; 7] {
    let user = entry.caller.rsplit_once('/').map_or(entry.caller.as_str(), |(_, user)| user).to_owned();
    let outcome = match entry.outcome {
        Outcome::Accepted { .. } => "accepted".to_owned(),
        Outcome::Refused(exception) => exception.kind.name().to_owned(),
        Outcome::NotApplied => "not applied".to_owned(),
    };
    [
        entry.at.strftime("%H:%M:%S%.3f").to_string(),
        format!("{}/{}/{}", entry.pipeline_name, entry.stage_name, entry.action_name),
        entry.status,
        user,
        outcome,
        entry.fault.unwrap_or_default(),
        entry.summary,
    ]
}
