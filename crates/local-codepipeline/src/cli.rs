//! The commands and their flags. stdout has only what scripts need; messages for people go to stderr.

use std::{error::Error, net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};
use jiff::Timestamp;
use local_codepipeline::{
    LocalCodePipeline,
    api::{ApprovalStatus, Operation, PutApprovalResultInput},
    client::{Client, ClientError, Signer},
    cloud::Cloud,
    model::{
        Account, AccountError, ActionDefinition, ActionDuration, Behaviour, Category, ExceptionKind, Lags, LedgerEntry,
        OpenApproval, Outcome, PendingApproval, PipelineDefinition, PipelineExecutionId, Service, StageDefinition,
    },
    seed,
};
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

/// A local AWS CodePipeline endpoint for manual approvals.
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
    /// Prints its URL as the only line on stdout once it accepts requests. Pass the URL to an AWS SDK or to the AWS CLI
    /// as AWS_ENDPOINT_URL, with any region and any credentials: a caller with the access key `alice` is the user
    /// alice, and `alice@210987654321` is alice in another account. The endpoint does not verify signatures, so do not
    /// expose it to untrusted networks.
    Serve(ServeArgs),
    /// Start an execution that reaches an approval immediately, and print the approval's token
    ///
    /// Creates the pipeline if it does not exist. All actions before the approval succeed.
    OpenApproval(OpenApprovalArgs),
    /// Start an execution that reaches an approval after its build, and print the execution's id
    ///
    /// If the pipeline does not exist, creates it with a source, a build of the given duration, and the approval.
    StartExecution(StartExecutionArgs),
    /// Approve or reject an approval as another user
    Respond(RespondArgs),
    /// List every PutApprovalResult call that reached the endpoint, with its outcome
    Ledger(LedgerArgs),
}

#[derive(Debug, Args)]
struct ServeArgs {
    /// The address to listen on; port 0 selects a free port
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:4580")]
    address: SocketAddr,
    /// A YAML file with the initial pipelines and executions
    #[arg(long, value_name = "FILE")]
    seed: Option<PathBuf>,
    /// How long reads lag behind changes, unless the seed file sets it
    #[arg(long, value_enum, default_value_t = LagPreset::Realistic)]
    lags: LagPreset,
    /// Generate the same identifiers at each start with this number [default: new identifiers]
    #[arg(long, value_name = "NUMBER")]
    id_seed: Option<u64>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LagPreset {
    /// As in AWS: a token is visible after 7 s, and the history shows a result after 30 s
    Realistic,
    /// No lag
    None,
}

impl From<LagPreset> for Behaviour {
    fn from(preset: LagPreset) -> Self {
        let lags = match preset {
            LagPreset::Realistic => Lags::realistic(),
            LagPreset::None => Lags::default(),
        };
        Self { lags, ..Self::default() }
    }
}

#[derive(Debug, Args)]
struct EndpointArgs {
    /// The URL of the endpoint, as `serve` prints it
    #[arg(long, value_name = "URL", env = "AWS_ENDPOINT_URL", default_value = "http://127.0.0.1:4580")]
    endpoint: String,
    /// Another account than the default one
    #[arg(long, value_name = "ID", requires = "region")]
    account: Option<String>,
    /// The region in this account
    #[arg(long, value_name = "REGION", requires = "account")]
    region: Option<String>,
}

impl EndpointArgs {
    fn client(&self) -> Result<Client, ClientError> {
        Client::new(&self.endpoint)
    }

    /// The selected account; `None` is the default account.
    fn account(&self) -> Result<Option<Account>, AccountError> {
        let (Some(id), Some(region)) = (self.account.clone(), self.region.clone()) else { return Ok(None) };
        let account = Account { id, region };
        account.check()?;
        Ok(Some(account))
    }

    async fn command(&self, command: &serde_json::Value) -> Result<serde_json::Value, Box<dyn Error>> {
        let client = self.client()?;
        Ok(match self.account()? {
            None => client.command(command).await?,
            Some(account) => client.command_in(&account, command).await?,
        })
    }
}

/// Selects an approval.
#[derive(Debug, Args)]
struct ApprovalArgs {
    /// The name of the pipeline
    pipeline: String,
    /// The name of the stage
    stage: String,
    /// The name of the approval action
    action: String,
}

/// The execution to start.
#[derive(Debug, Args)]
struct NewExecutionArgs {
    #[command(flatten)]
    endpoint: EndpointArgs,
    #[command(flatten)]
    approval: ApprovalArgs,
    /// The source revision of a source action, as ACTION=REVISION [default: generated; if another action has one, the
    /// newest known]
    #[arg(long, value_name = "ACTION=REVISION", value_parser = revision)]
    revision: Vec<(String, String)>,
}

#[derive(Debug, Args)]
struct OpenApprovalArgs {
    #[command(flatten)]
    execution: NewExecutionArgs,
    /// Print the token and the ids of both executions as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct StartExecutionArgs {
    #[command(flatten)]
    execution: NewExecutionArgs,
    /// The duration of the build if the pipeline is created: a time, or `untilCompleted`
    #[arg(long, value_name = "DURATION", default_value = "30s")]
    build_duration: ActionDuration,
}

fn revision(text: &str) -> Result<(String, String), String> {
    let (action, revision) = text.split_once('=').ok_or("write it as ACTION=REVISION, such as Source=4f2e1d0c")?;
    Ok((action.to_owned(), revision.to_owned()))
}

#[derive(Debug, Args)]
struct RespondArgs {
    #[command(flatten)]
    endpoint: EndpointArgs,
    #[command(flatten)]
    approval: ApprovalArgs,
    /// The status of the result
    #[arg(long, value_enum)]
    status: Status,
    /// The summary of the result
    #[arg(long, default_value = "")]
    summary: String,
    /// The token of the approval request [default: the only pending one]
    #[arg(long)]
    token: Option<String>,
    /// The user who responds
    #[arg(long = "as", value_name = "USER", default_value = "another-user")]
    user: String,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "PascalCase")]
enum Status {
    Approved,
    Rejected,
}

#[derive(Debug, Args)]
struct LedgerArgs {
    #[command(flatten)]
    endpoint: EndpointArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

type CommandResult = Result<(), Box<dyn Error>>;

pub(crate) async fn run(cli: Cli) -> CommandResult {
    match cli.command {
        Command::Serve(args) => args.run().await,
        Command::OpenApproval(args) => args.run().await,
        Command::StartExecution(args) => args.run().await,
        Command::Respond(args) => args.run().await,
        Command::Ledger(args) => args.run().await,
    }
}

impl ServeArgs {
    async fn run(self) -> CommandResult {
        let id_seed = self.id_seed.map_or_else(Uuid::new_v4, |seed| Uuid::from_u64_pair(0, seed));
        let behaviour = self.lags.into();
        let cloud = match &self.seed {
            None => Cloud::from(Service::new(Account::default(), behaviour, id_seed)),
            Some(file) => {
                let text = std::fs::read_to_string(file)
                    .map_err(|error| format!("cannot read the seed file {}: {error}", file.display()))?;
                seed::load(&text, file, Timestamp::now(), behaviour, id_seed)?
            }
        };
        let endpoint = LocalCodePipeline::serve(self.address, cloud).await.map_err(|error| {
            format!(
                "cannot listen on {}: {error}; set another address with --address (port 0 selects a free port)",
                self.address
            )
        })?;
        println!("{}", endpoint.url());
        tokio::signal::ctrl_c().await?;
        Ok(())
    }
}

impl OpenApprovalArgs {
    async fn run(self) -> CommandResult {
        let NewExecutionArgs { endpoint, approval: ApprovalArgs { pipeline, stage, action }, revision } =
            &self.execution;
        let command = json!({
            "command": "openApproval",
            "pipelineName": pipeline,
            "stageName": stage,
            "actionName": action,
            "sourceRevisions": source_revisions(revision),
        });
        let opened = endpoint.command(&command).await?;
        if self.json {
            println!("{opened:#}");
        } else {
            println!("{}", serde_json::from_value::<OpenApproval>(opened)?.token);
        }
        Ok(())
    }
}

impl StartExecutionArgs {
    async fn run(self) -> CommandResult {
        let NewExecutionArgs { endpoint, approval: ApprovalArgs { pipeline, stage, action }, revision } =
            &self.execution;
        let start = json!({
            "command": "startExecution",
            "pipelineName": pipeline,
            "sourceRevisions": source_revisions(revision),
        });
        let started = match endpoint.command(&start).await {
            Err(error) if is_pipeline_not_found(&*error) => {
                let mut definition = PipelineDefinition::with_approval(pipeline, stage, action)?;
                let build = ActionDefinition::new("Build", Category::Build)?.duration(self.build_duration);
                definition.stages.insert(1, StageDefinition::new("Build", vec![build])?);
                endpoint.command(&json!({ "command": "putPipeline", "definition": definition })).await?;
                endpoint.command(&start).await?
            }
            started => started?,
        };
        println!("{}", serde_json::from_value::<StartedExecution>(started)?.pipeline_execution_id);
        Ok(())
    }
}

fn is_pipeline_not_found(error: &(dyn Error + 'static)) -> bool {
    match error.downcast_ref() {
        Some(ClientError::Refused { kind, .. }) => kind == ExceptionKind::PipelineNotFound.name(),
        _ => false,
    }
}

/// The response to `startExecution`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StartedExecution {
    pipeline_execution_id: PipelineExecutionId,
}

fn source_revisions(revisions: &[(String, String)]) -> serde_json::Value {
    let entry = |(action, revision): &(_, _)| json!({ "actionName": action, "revisionId": revision });
    revisions.iter().map(entry).collect()
}

impl RespondArgs {
    async fn run(self) -> CommandResult {
        let ApprovalArgs { pipeline, stage, action } = &self.approval;
        let token = match &self.token {
            Some(token) => token.clone(),
            None => single_pending_token(&self.endpoint, &self.approval).await?,
        };
        let status = match self.status {
            Status::Approved => ApprovalStatus::Approved,
            Status::Rejected => ApprovalStatus::Rejected,
        };
        let input = PutApprovalResultInput::new(pipeline, stage, action, token, status, self.summary);
        let signer = match self.endpoint.account()? {
            None => Signer::from(self.user.as_str()),
            Some(Account { id, region }) => {
                Signer { access_key: format!("{}@{id}", self.user), region, session_token: None }
            }
        };
        self.endpoint.client()?.operation(signer, Operation::PutApprovalResult, &input).await?;
        eprintln!("{} by {}", status.as_str(), self.user);
        Ok(())
    }
}

/// Returns the token of the approval's pending request, unless several are pending.
async fn single_pending_token(endpoint: &EndpointArgs, approval: &ApprovalArgs) -> Result<String, Box<dyn Error>> {
    let ApprovalArgs { pipeline, stage, action } = approval;
    let command = json!({ "command": "listPendingApprovals", "pipelineName": pipeline });
    let mut pending: Vec<PendingApproval> = serde_json::from_value(endpoint.command(&command).await?)?;
    pending.retain(|pending| *pending.stage_name == **stage && *pending.action_name == **action);
    match pending.as_slice() {
        [one] => Ok(one.approval.token.to_string()),
        [] => Err(format!("approval {pipeline}/{stage}/{action} is not pending").into()),
        several => {
            let count = several.len();
            Err(format!("approval {pipeline}/{stage}/{action} has {count} pending requests: select one with --token")
                .into())
        }
    }
}

impl LedgerArgs {
    async fn run(self) -> CommandResult {
        let path = match self.endpoint.account()? {
            None => "/local/ledger".to_owned(),
            Some(Account { id, region }) => format!("/local/accounts/{id}/{region}/ledger"),
        };
        let entries: Vec<LedgerEntry> = self.endpoint.client()?.get(&path).await?;
        if self.json {
            println!("{}", serde_json::to_string_pretty(&entries)?);
            return Ok(());
        }
        let heading =
            ["TIME", "ACCOUNT", "APPROVAL", "STATUS", "CALLER", "OUTCOME", "FAULT", "SUMMARY"].map(str::to_owned);
        let rows: Vec<_> = std::iter::once(heading).chain(entries.into_iter().map(row)).collect();
        let widths: Vec<usize> = (0..8)
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

fn row(entry: LedgerEntry) -> [String; 8] {
    let user = entry.caller.rsplit_once('/').map_or(entry.caller.as_str(), |(_, user)| user).to_owned();
    let account = entry.caller.split(':').nth(4).unwrap_or_default().to_owned();
    let outcome = match entry.outcome {
        Outcome::Accepted { .. } => "accepted".to_owned(),
        Outcome::Refused(exception) => exception.kind.name().to_owned(),
        Outcome::NotApplied => "not applied".to_owned(),
    };
    [
        entry.at.strftime("%H:%M:%S%.3f").to_string(),
        account,
        format!("{}/{}/{}", entry.pipeline_name, entry.stage_name, entry.action_name),
        entry.status,
        user,
        outcome,
        entry.fault.unwrap_or_default(),
        entry.summary,
    ]
}
