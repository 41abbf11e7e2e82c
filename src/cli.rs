//! The command line: flags, environment variables, defaults and validation.

use crate::decision::MAX_AWS_TIMEOUT;
use crate::telemetry::LogFormat;
use axum::http::Uri;
use clap::error::ErrorKind;
use clap::{ArgAction, Args, CommandFactory, Parser, Subcommand};
use jiff::SignedDuration;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Responds to AWS CodePipeline manual approvals from Kubernetes resources.
#[derive(Debug, Parser)]
#[command(name = "approval-operator", version)]
pub struct Cli {
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Watch ApprovalDecisions and submit their results to CodePipeline
    ///
    /// The operator finds the Kubernetes API through KUBECONFIG or the ServiceAccount of its pod. It finds AWS through the
    /// standard chain: AWS_REGION, AWS_ACCESS_KEY_ID and so on, the shared configuration and credentials files, a web identity
    /// (IRSA), EKS Pod Identity, and instance metadata. AWS_ENDPOINT_URL_CODEPIPELINE and AWS_ENDPOINT_URL_STS set other
    /// endpoints. HTTPS_PROXY, HTTP_PROXY and NO_PROXY apply to both. RUST_LOG sets the log filter.
    Run(Box<RunArgs>),
    /// Check that decisions can be created in a namespace (with a server-side dry run) and that the operator is ready
    Check(CheckArgs),
    /// Print the CustomResourceDefinitions, for kubectl apply
    Crd,
}

/// The arguments of `check`.
#[derive(Args, Clone, Debug)]
pub struct CheckArgs {
    /// Namespace for the dry run
    #[arg(long, value_parser = namespace)]
    pub namespace: String,
    /// URL of the operator's --http-address, such as http://approval-operator:8080
    #[arg(long = "health-url", value_name = "URL", value_parser = readyz)]
    pub readyz: Uri,
}

/// The arguments of `run`.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    /// Namespace to watch; repeat the flag for more than one (in the environment, separate them with commas). By default, the
    /// operator watches all namespaces
    #[arg(long = "namespace", env = "APPROVAL_OPERATOR_NAMESPACE", value_delimiter = ',', value_parser = namespace)]
    pub namespaces: Vec<String>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "it would become the help text of all flags")]
    pub leader_election: LeaderElection,
    /// Maximum number of concurrent reconciles, of the decisions of each target. Decisions that may be submitted go first
    #[arg(long, env = "APPROVAL_OPERATOR_CONCURRENCY", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..))]
    pub concurrency: u16,
    /// Interval between polls of a pipeline that has waiting decisions
    #[arg(long, env = "APPROVAL_OPERATOR_POLL_INTERVAL", default_value = "15s", value_parser = poll_interval)]
    pub poll_interval: SignedDuration,
    /// Maximum number of read requests to AWS per second, for each target. A pipeline that has waiting decisions needs two or three per
    /// --poll-interval. Submissions are not limited
    #[arg(long, env = "APPROVAL_OPERATOR_AWS_REQUESTS_PER_SECOND", default_value_t = 5.0, value_parser = requests_per_second)]
    pub aws_requests_per_second: f64,
    /// Timeout of each AWS call. A shutdown waits this long for submissions in flight
    #[arg(long, env = "APPROVAL_OPERATOR_AWS_TIMEOUT", default_value = "10s", value_parser = aws_timeout)]
    pub aws_timeout: SignedDuration,
    /// Region whose STS the operator calls for its credentials, to learn its account, and to assume roles. The default is the
    /// operator's own region (AWS_REGION and so on), or that of the target where it has none. Set it if the operator reaches only the
    /// STS of another region, for example through a VPC endpoint
    #[arg(long, env = "APPROVAL_OPERATOR_AWS_STS_REGION", value_name = "REGION", value_parser = region)]
    pub aws_sts_region: Option<String>,
    /// Directory with the files AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, optionally, AWS_SESSION_TOKEN, such as a mounted Secret.
    /// They replace the credentials of the standard chain, and are read again when AWS refuses them
    #[arg(long, env = "APPROVAL_OPERATOR_AWS_CREDENTIALS_DIR", value_name = "PATH")]
    pub aws_credentials_dir: Option<PathBuf>,
    /// How long a decision without spec.notAfter may wait, counted from its status.waitingSince; after that, it is Expired
    #[arg(long, env = "APPROVAL_OPERATOR_WAITING_LIMIT", default_value = "7d", value_parser = duration)]
    pub waiting_limit: SignedDuration,
    /// Whether decisions may use ApprovalTargets. Without them, the operator needs no rights on ApprovalTargets and namespaces, and a
    /// decision with spec.targetRef waits
    #[arg(long, env = "APPROVAL_OPERATOR_APPROVAL_TARGETS", default_value_t = true, action = ArgAction::Set, value_name = "BOOL")]
    pub approval_targets: bool,
    /// Whether a decision without spec.targetRef uses the operator's own identity and region. Otherwise it is TargetRequired
    #[arg(long, env = "APPROVAL_OPERATOR_AMBIENT_CREDENTIALS", default_value_t = true, action = ArgAction::Set, value_name = "BOOL")]
    pub ambient_credentials: bool,
    /// Address that serves /healthz, /readyz and /metrics. The default is [::]:8080, which accepts IPv4 too, and 0.0.0.0:8080 on a
    /// node without IPv6
    #[arg(long, env = "APPROVAL_OPERATOR_HTTP_ADDRESS", value_name = "ADDRESS")]
    pub http_address: Option<SocketAddr>,
    /// Format of log lines
    #[arg(long, env = "APPROVAL_OPERATOR_LOG_FORMAT", default_value = "text")]
    pub log_format: LogFormat,
    /// OTLP endpoint for traces (HTTP with protobuf), such as http://collector:4318; the operator appends /v1/traces. Without it,
    /// no traces are exported. OTEL_EXPORTER_OTLP_HEADERS, OTEL_RESOURCE_ATTRIBUTES and OTEL_TRACES_SAMPLER are supported
    #[arg(long, env = "APPROVAL_OPERATOR_OTLP_ENDPOINT", value_name = "URL", value_parser = otlp_endpoint)]
    pub otlp_endpoint: Option<Uri>,
}

/// The arguments of leader election.
#[derive(Args, Clone, Debug)]
pub struct LeaderElection {
    /// Elect a leader: only the replica that holds the Lease reconciles, and the others keep their caches up to date. Without
    /// it, every replica reconciles: each result is still submitted once, but the replicas compete
    #[arg(long = "leader-elect", env = "APPROVAL_OPERATOR_LEADER_ELECT")]
    pub enabled: bool,
    /// Name of the Lease; it must be the same for all replicas of an operator
    #[arg(
        long = "leader-elect-lease",
        env = "APPROVAL_OPERATOR_LEADER_ELECT_LEASE",
        value_name = "NAME",
        value_parser = lease,
        default_value = "approval-operator"
    )]
    pub lease: String,
    /// Namespace of the Lease. The default is the namespace of the pod, or that of the kubeconfig context
    #[arg(
        long = "leader-elect-namespace",
        env = "APPROVAL_OPERATOR_LEADER_ELECT_NAMESPACE",
        value_name = "NAMESPACE",
        value_parser = namespace
    )]
    pub namespace: Option<String>,
    /// Holder identity of this replica in the Lease. It must be unique. A replica that restarts with the same identity continues
    /// to hold its Lease. The default is the host name and a random number
    #[arg(
        long = "leader-elect-identity",
        env = "APPROVAL_OPERATOR_LEADER_ELECT_IDENTITY",
        value_name = "NAME",
        value_parser = clap::builder::NonEmptyStringValueParser::new()
    )]
    pub identity: Option<String>,
}

impl Cli {
    /// The arguments of the program. If they are invalid, it ends here with a message, as with [`Parser::parse`].
    #[must_use]
    pub fn from_args() -> Self {
        Self::try_from_args(std::env::args_os()).unwrap_or_else(|error| error.exit())
    }

    fn try_from_args(args: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> Result<Self, clap::Error> {
        let cli = Self::try_parse_from(args)?;
        match &cli.command {
            Command::Run(args) if !args.approval_targets && !args.ambient_credentials => {
                let problem = "--approval-targets and --ambient-credentials are both false: no decision could be delivered; set one of \
                               them to true";
                Err(Self::command().error(ErrorKind::ArgumentConflict, problem))
            }
            Command::Run(_) | Command::Check(_) | Command::Crd => Ok(cli),
        }
    }
}

/// A duration of at least 100 ms. A shorter one would be a busy loop.
fn duration(text: &str) -> Result<SignedDuration, String> {
    let advice = "use a duration of at least 100ms, such as 15s, 2m or 7d";
    let span: jiff::Span = text.parse().map_err(|error| format!("{error}; {advice}"))?;
    let duration =
        span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).map_err(|error| format!("{error}; {advice}"))?;
    if duration < SignedDuration::from_millis(100) { Err(advice.to_owned()) } else { Ok(duration) }
}

fn at_most(max: SignedDuration, text: &str) -> Result<SignedDuration, String> {
    duration(text).and_then(|found| if found > max { Err(format!("the maximum is {max:#}")) } else { Ok(found) })
}

fn poll_interval(text: &str) -> Result<SignedDuration, String> {
    at_most(SignedDuration::from_hours(1), text)
}

/// An edit of a decision whose submission is in doubt is not acted on for this long.
fn aws_timeout(text: &str) -> Result<SignedDuration, String> {
    at_most(MAX_AWS_TIMEOUT, text)
}

fn readyz(text: &str) -> Result<Uri, String> {
    let advice = "use the URL of the operator's --http-address, such as http://approval-operator:8080";
    let url: Uri =
        format!("{}/readyz", text.trim_end_matches('/')).parse().map_err(|error| format!("{error}; {advice}"))?;
    if url.scheme_str() == Some("http") { Ok(url) } else { Err(advice.to_owned()) }
}

fn requests_per_second(text: &str) -> Result<f64, String> {
    let advice = "use a number from 0.1 to 1000";
    let found: f64 = text.parse().map_err(|error| format!("{error}; {advice}"))?;
    if (0.1..=1000.0).contains(&found) { Ok(found) } else { Err(advice.to_owned()) }
}

/// The name of a region. It becomes a part of a host name.
fn region(text: &str) -> Result<String, String> {
    namespace(text).map_err(|_| "use the name of a region, such as eu-west-1".to_owned())
}

fn otlp_endpoint(text: &str) -> Result<Uri, String> {
    let advice = "use the URL of an OTLP collector's HTTP port, such as http://collector:4318";
    let url: Uri = text.parse().map_err(|error| format!("{error}; {advice}"))?;
    let has_scheme = matches!(url.scheme_str(), Some("http" | "https"));
    if url.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        let headers = "OTEL_EXPORTER_OTLP_HEADERS=authorization=...";
        return Err(format!("a user name and password in the URL are not supported; set {headers}"));
    }
    if has_scheme && url.host().is_some() && url.query().is_none() { Ok(url) } else { Err(advice.to_owned()) }
}

/// The name of a namespace (an RFC 1123 label).
fn namespace(text: &str) -> Result<String, String> {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let edge = |c: Option<char>| c.is_some_and(|c| c != '-');
    if text.len() <= 63 && text.chars().all(inner) && edge(text.chars().next()) && edge(text.chars().last()) {
        Ok(text.to_owned())
    } else {
        Err("a namespace has 1 to 63 characters of a-z, 0-9 and -, and does not start or end with -".to_owned())
    }
}

/// The name of a Lease (an RFC 1123 subdomain).
fn lease(text: &str) -> Result<String, String> {
    if text.len() <= 253 && text.split('.').all(|part| namespace(part).is_ok()) {
        Ok(text.to_owned())
    } else {
        Err("the name of a Lease has 1 to 253 characters of a-z, 0-9, - and ., and no part of it starts or ends with -"
            .to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_with_which_no_decision_could_be_delivered_are_refused() {
        let parse = |targets, ambient| {
            let flags = [format!("--approval-targets={targets}"), format!("--ambient-credentials={ambient}")];
            let args = ["approval-operator".to_owned(), "run".to_owned()].into_iter().chain(flags);
            Cli::try_from_args(args).map(drop).map_err(|error| error.to_string())
        };
        for (targets, ambient) in [(true, true), (true, false), (false, true)] {
            assert_eq!(parse(targets, ambient), Ok(()));
        }
        let error = parse(false, false).unwrap_err();
        for part in ["--approval-targets", "--ambient-credentials", "set one of them to true"] {
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn durations_have_a_unit_and_a_minimum() {
        for (text, expected) in [
            ("15s", Some(15_000)),
            ("100ms", Some(100)),
            ("2m", Some(120_000)),
            ("7d", Some(604_800_000)),
            ("1h30m", Some(5_400_000)),
            ("0s", None),
            ("-5s", None),
            ("15", None),
            ("", None),
            ("forever", None),
        ] {
            let found = duration(text).ok().map(|duration| duration.as_millis());
            assert_eq!(found, expected, "{text:?}");
        }
    }

    #[test]
    fn invalid_namespaces_are_refused() {
        for (text, is_valid) in [("a", true), ("team-a", true), ("", false), ("-a", false), ("a-", false), ("A", false)]
        {
            assert_eq!(namespace(text).is_ok(), is_valid, "{text:?}");
        }
        assert!(namespace(&"a".repeat(64)).is_err());
    }
}
