//! The command line: what can be set, from where, and what it is when nothing is said.

use crate::decision::LONGEST_AWS_TIMEOUT;
use axum::http::Uri;
use clap::{Args, Parser, Subcommand, ValueEnum};
use jiff::SignedDuration;
use std::net::SocketAddr;

/// Answers manual approvals of AWS CodePipeline from Kubernetes resources.
#[derive(Debug, Parser)]
#[command(name = "approval-operator", version, about)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Watch ApprovalDecisions and answer the approvals that they name
    ///
    /// The Kubernetes API is found through KUBECONFIG or the pod's ServiceAccount. AWS is found through its standard chain:
    /// AWS_REGION, AWS_ACCESS_KEY_ID and the like, the shared configuration and credentials files, a web identity (IRSA),
    /// EKS Pod Identity, the instance metadata; AWS_ENDPOINT_URL names another endpoint. RUST_LOG sets what is logged.
    Run(Box<Run>),
    /// Tell whether decisions can be made in a namespace, by a server-side dry run, and whether the operator is ready
    Check(Check),
    /// Print the CustomResourceDefinitions, to be applied with kubectl
    Crd,
}

/// The settings of `check`.
#[derive(Args, Clone, Debug)]
pub struct Check {
    /// Where the decision of the dry run is made
    #[arg(long, value_parser = namespace)]
    pub namespace: String,
    /// Where the operator serves /healthz, /readyz and /metrics, such as http://approval-operator:8080
    #[arg(long = "health-url", value_name = "URL", value_parser = readyz)]
    pub readyz: Uri,
}

/// The settings of `run`.
#[derive(Args, Clone, Debug)]
pub struct Run {
    /// Watch this namespace only; may be given more than once (comma-separated in the environment). Without it, all are
    /// watched
    #[arg(long = "namespace", env = "APPROVAL_OPERATOR_NAMESPACE", value_delimiter = ',', value_parser = namespace)]
    pub namespaces: Vec<String>,
    /// Watch only decisions with these labels, as kubectl's --selector has it. Operators that each watch a part of the
    /// decisions (shards) need a lease each
    #[arg(long, env = "APPROVAL_OPERATOR_WATCH_LABEL_SELECTOR", value_name = "SELECTOR")]
    pub watch_label_selector: Option<String>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "it would be the help text of all flags")]
    pub leader_election: LeaderElection,
    /// How many decisions are worked on at a time
    #[arg(long, env = "APPROVAL_OPERATOR_CONCURRENCY", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..))]
    pub concurrency: u16,
    /// How long to wait between two looks at a pipeline that decisions wait for
    #[arg(long, env = "APPROVAL_OPERATOR_POLL_INTERVAL", default_value = "15s", value_parser = poll_interval)]
    pub poll_interval: SignedDuration,
    /// How many requests a second may read from AWS. A pipeline that decisions wait for takes two or three each
    /// --poll-interval. Answers to approvals are not counted, and never held back
    #[arg(long, env = "APPROVAL_OPERATOR_AWS_REQUESTS_PER_SECOND", default_value_t = 5.0, value_parser = requests_per_second)]
    pub aws_requests_per_second: f64,
    /// The longest time that one call to AWS may take. It is also how long a shutdown waits for answers under way
    #[arg(long, env = "APPROVAL_OPERATOR_AWS_TIMEOUT", default_value = "10s", value_parser = aws_timeout)]
    pub aws_timeout: SignedDuration,
    /// How long after its creation a decision can be answered; later it is Expired
    #[arg(long, env = "APPROVAL_OPERATOR_WAITING_LIMIT", default_value = "7d", value_parser = duration)]
    pub waiting_limit: SignedDuration,
    /// Where /healthz, /readyz and /metrics are served
    #[arg(long, env = "APPROVAL_OPERATOR_HTTP_ADDRESS", default_value = "0.0.0.0:8080")]
    pub http_address: SocketAddr,
    /// How log lines are written
    #[arg(long, env = "APPROVAL_OPERATOR_LOG_FORMAT", default_value = "text")]
    pub log_format: LogFormat,
    /// Where traces are sent over OTLP (HTTP with protobuf), such as http://collector:4318; /v1/traces is appended. Without
    /// it there are none. OTEL_EXPORTER_OTLP_HEADERS, OTEL_RESOURCE_ATTRIBUTES and OTEL_TRACES_SAMPLER are honoured
    #[arg(long, env = "APPROVAL_OPERATOR_OTLP_ENDPOINT", value_name = "URL", value_parser = otlp_endpoint)]
    pub otlp_endpoint: Option<Uri>,
}

/// How one of several replicas is chosen.
#[derive(Args, Clone, Debug)]
pub struct LeaderElection {
    /// Act only while holding a Lease, so that one of several replicas does. The others keep their caches warm. Without
    /// it, every replica acts: each decision is still answered once, but they get in each other's way
    #[arg(long = "leader-elect", env = "APPROVAL_OPERATOR_LEADER_ELECT")]
    pub enabled: bool,
    /// The Lease's name: the same for the replicas of one operator, another for each shard
    #[arg(
        long = "leader-elect-lease",
        env = "APPROVAL_OPERATOR_LEADER_ELECT_LEASE",
        value_name = "NAME",
        value_parser = lease,
        default_value = "approval-operator"
    )]
    pub lease: String,
    /// The Lease's namespace. Without it, the pod's own, or that of the kubeconfig's context
    #[arg(
        long = "leader-elect-namespace",
        env = "APPROVAL_OPERATOR_LEADER_ELECT_NAMESPACE",
        value_name = "NAMESPACE",
        value_parser = namespace
    )]
    pub namespace: Option<String>,
    /// What this replica is called in the Lease. No two replicas may share it; a replica that restarts under its name
    /// takes up its Lease at once. Without it, the host's name and a random number
    #[arg(
        long = "leader-elect-identity",
        env = "APPROVAL_OPERATOR_LEADER_ELECT_IDENTITY",
        value_name = "NAME",
        value_parser = clap::builder::NonEmptyStringValueParser::new()
    )]
    pub identity: Option<String>,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum LogFormat {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

/// A duration of at least 100 ms: less would be a busy loop.
fn duration(text: &str) -> Result<SignedDuration, String> {
    let advice = "write a duration of at least 100ms, such as 15s, 2m or 7d";
    let span: jiff::Span = text.parse().map_err(|error| format!("{error}; {advice}"))?;
    let duration =
        span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).map_err(|error| format!("{error}; {advice}"))?;
    if duration < SignedDuration::from_millis(100) { Err(advice.to_owned()) } else { Ok(duration) }
}

fn at_most(limit: SignedDuration, text: &str) -> Result<SignedDuration, String> {
    duration(text).and_then(|found| if found > limit { Err(format!("it is at most {limit:#}")) } else { Ok(found) })
}

fn poll_interval(text: &str) -> Result<SignedDuration, String> {
    at_most(SignedDuration::from_hours(1), text)
}

/// An answer that is lost keeps its decision locked for this long.
fn aws_timeout(text: &str) -> Result<SignedDuration, String> {
    at_most(LONGEST_AWS_TIMEOUT, text)
}

fn readyz(text: &str) -> Result<Uri, String> {
    let advice = "write where the operator's --http-address is reached, such as http://approval-operator:8080";
    let url: Uri =
        format!("{}/readyz", text.trim_end_matches('/')).parse().map_err(|error| format!("{error}; {advice}"))?;
    if url.scheme_str() == Some("http") { Ok(url) } else { Err(advice.to_owned()) }
}

fn requests_per_second(text: &str) -> Result<f64, String> {
    let advice = "write a number from 0.1 to 1000";
    let found: f64 = text.parse().map_err(|error| format!("{error}; {advice}"))?;
    if (0.1..=1000.0).contains(&found) { Ok(found) } else { Err(advice.to_owned()) }
}

fn otlp_endpoint(text: &str) -> Result<Uri, String> {
    let advice = "write the URL of an OTLP collector's HTTP port, such as http://collector:4318";
    let url: Uri = text.parse().map_err(|error| format!("{error}; {advice}"))?;
    let has_scheme = matches!(url.scheme_str(), Some("http" | "https"));
    if url.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err("name and password are not sent; set OTEL_EXPORTER_OTLP_HEADERS=authorization=...".to_owned());
    }
    if has_scheme && url.host().is_some() && url.query().is_none() { Ok(url) } else { Err(advice.to_owned()) }
}

/// A namespace's name, as Kubernetes has it (RFC 1123).
fn namespace(text: &str) -> Result<String, String> {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let edge = |c: Option<char>| c.is_some_and(|c| c != '-');
    if text.len() <= 63 && text.chars().all(inner) && edge(text.chars().next()) && edge(text.chars().last()) {
        Ok(text.to_owned())
    } else {
        Err("a namespace is 1 to 63 of a-z, 0-9 and -, and neither begins nor ends with -".to_owned())
    }
}

/// A Lease's name, as Kubernetes has it (RFC 1123).
fn lease(text: &str) -> Result<String, String> {
    if text.len() <= 253 && text.split('.').all(|part| namespace(part).is_ok()) {
        Ok(text.to_owned())
    } else {
        Err("a Lease's name is 1 to 253 of a-z, 0-9, - and ., and no part of it begins or ends with -".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn durations_are_written_as_people_write_them() {
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
    fn namespaces_are_checked_before_the_api_server_is_asked() {
        for (text, is_one) in [("a", true), ("team-a", true), ("", false), ("-a", false), ("a-", false), ("A", false)] {
            assert_eq!(namespace(text).is_ok(), is_one, "{text:?}");
        }
        assert!(namespace(&"a".repeat(64)).is_err());
    }
}
