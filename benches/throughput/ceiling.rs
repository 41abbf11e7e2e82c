//! The ceiling: what the API server allows. A minimal client sends the two status writes of each decision and nothing else. It lists
//! the decisions, prepares the bodies and opens the connections before it starts the clock, and parses only the resourceVersion of a
//! response, which the second write needs. The sweep finds the fastest way to write.

mod connection;
mod requests;

use approval_operator::api::v1alpha1::ApprovalDecision;
use clap::{Args, ValueEnum};
use connection::Connection;
use futures::future::join_all;
use http_body_util::BodyExt;
use kube::api::ListParams;
use kube::{Api, Resource};
use requests::DecisionRequests;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::Instant;

/// Printed when all requests are done, before the number of seconds that they took.
pub const DONE: &str = "done in ";

#[derive(Args, Clone, Debug, Eq, PartialEq)]
pub struct CeilingOptions {
    /// Number of requests in flight, each on its own connection or HTTP/2 stream
    #[arg(long)]
    pub concurrency: usize,
    /// How to write a status
    #[arg(long)]
    pub method: WriteMethod,
    /// Requests for each decision
    #[arg(long)]
    pub requests: RequestKind,
    /// Use one HTTP/2 connection
    #[arg(long)]
    pub http2: bool,
    /// Disable the API server's check for unknown fields
    #[arg(long)]
    pub ignore_unknown_fields: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum WriteMethod {
    /// PUT of the whole object
    Put,
    /// PUT of the name and the status only
    PutStatus,
    /// JSON merge patch
    MergePatch,
    /// JSON patch that tests the resourceVersion
    JsonPatch,
    /// Server-side apply
    Apply,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum RequestKind {
    /// Both status writes
    StatusWrites,
    /// Both status writes and an Event
    StatusWritesAndEvent,
    /// The same, while a watch receives all changes, as every controller's does
    WatchedStatusWritesAndEvent,
    /// One read
    Get,
    /// One write that changes nothing
    NoOpWrite,
}

impl CeilingOptions {
    pub fn name(&self) -> String {
        let name = match self.requests {
            RequestKind::StatusWrites => "ceiling",
            RequestKind::StatusWritesAndEvent => "ceiling with Events",
            RequestKind::WatchedStatusWritesAndEvent => "ceiling with Events and a watch",
            RequestKind::Get => "reads",
            RequestKind::NoOpWrite => "no-op writes",
        };
        name.to_owned()
    }

    /// Whether it makes decisions Ready.
    pub fn makes_ready(&self) -> bool {
        match self.requests {
            RequestKind::StatusWrites
            | RequestKind::StatusWritesAndEvent
            | RequestKind::WatchedStatusWritesAndEvent => true,
            RequestKind::Get | RequestKind::NoOpWrite => false,
        }
    }

    /// What distinguishes it from others with the same name.
    pub fn detail(&self) -> String {
        let protocol = if self.http2 { "HTTP/2" } else { "HTTP/1.1" };
        let validation = if self.ignore_unknown_fields { ", unknown fields ignored" } else { "" };
        format!("{}, {} in flight, {protocol}{validation}", value_name(&self.method), self.concurrency)
    }

    pub fn arguments(&self) -> Vec<String> {
        let mut arguments = vec![
            format!("--concurrency={}", self.concurrency),
            format!("--method={}", value_name(&self.method)),
            format!("--requests={}", value_name(&self.requests)),
        ];
        arguments.extend(self.http2.then(|| "--http2".to_owned()));
        arguments.extend(self.ignore_unknown_fields.then(|| "--ignore-unknown-fields".to_owned()));
        arguments
    }
}

fn value_name(value: &impl ValueEnum) -> String {
    value.to_possible_value().unwrap().get_name().to_owned()
}

/// Sends the requests of all decisions of the cluster of KUBECONFIG. Then it waits for a signal, so that the benchmark can read its
/// resource usage.
pub fn run(options: &CeilingOptions) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let config = kube::Config::infer().await.unwrap();
        let client = kube::Client::try_from(config.clone()).unwrap();
        let decisions = list(&client).await;
        if options.requests == RequestKind::WatchedStatusWritesAndEvent {
            tokio::spawn(watch(client));
        }
        let requests: Vec<_> = decisions.iter().map(|decision| DecisionRequests::new(decision, options)).collect();
        let connections = Connection::open_all(&config, options).await;
        let started_at = Instant::now();
        let next = Cell::new(0);
        let workers = connections.into_iter().map(async |mut connection| {
            while let Some(requests) = requests.get(next.replace(next.get() + 1)) {
                requests.send(&mut connection).await;
            }
        });
        join_all(workers).await;
        println!("{DONE}{}", started_at.elapsed().as_secs_f64());
        std::future::pending::<()>().await;
    });
}

/// Receives the events of a watch without parsing them.
async fn watch(client: kube::Client) {
    let path = format!("{}?watch=true", ApprovalDecision::url_path(&(), None));
    let request = hyper::Request::get(path).body(kube::client::Body::empty()).unwrap();
    let mut events = client.send(request).await.unwrap().into_body();
    while events.frame().await.is_some() {}
}

/// Lists the decisions by name, the order in which they were created, so that consecutive ones are in different namespaces.
async fn list(client: &kube::Client) -> Vec<ApprovalDecision> {
    let (api, mut found): (Api<ApprovalDecision>, _) = (Api::all(client.clone()), BTreeMap::new());
    let mut parameters = ListParams::default().limit(500);
    loop {
        let page = api.list(&parameters).await.unwrap();
        found.extend(page.items.into_iter().map(|decision| (decision.metadata.name.clone(), decision)));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => parameters = parameters.continue_token(&token),
            None => return found.into_values().collect(),
        }
    }
}
