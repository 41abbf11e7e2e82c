//! What the API server allows: the two status writes of each decision and nothing else, by a client that does as little as one can.
//! It has listed the decisions and made the bodies before it begins, writes over connections that are open by then, and reads of
//! an answer only the resourceVersion that the second write needs. How it writes is for a sweep to choose.

mod bodies;
mod connection;

use approval_operator::api::v1alpha1::ApprovalDecision;
use bodies::Writes;
use clap::{Args, ValueEnum};
use connection::Connections;
use futures::future::join_all;
use http_body_util::BodyExt;
use kube::api::ListParams;
use kube::{Api, Resource};
use serde::Serialize;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::Instant;

/// What it says at the end, before the seconds that all took.
pub const DONE: &str = "done in ";

/// How it writes, and what.
#[derive(Args, Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Tuning {
    /// How many requests are under way at a time: each has a connection, or a stream with HTTP/2.
    #[arg(long)]
    pub at_a_time: usize,
    /// How a status is written.
    #[arg(long)]
    pub write: Write,
    /// What is asked for each decision.
    #[arg(long)]
    pub ask: Question,
    /// Over one connection of HTTP/2.
    #[arg(long)]
    pub http2: bool,
    /// Without the server's check for fields that nobody knows.
    #[arg(long)]
    pub lax: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, ValueEnum)]
pub enum Write {
    /// PUT of the whole object.
    Put,
    /// PUT of the object's name and its status alone.
    PutStatus,
    /// JSON merge patch.
    MergePatch,
    /// JSON patch that tests the resourceVersion.
    JsonPatch,
    /// Server-side apply.
    Apply,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, ValueEnum)]
pub enum Question {
    /// The two writes.
    Writes,
    /// The two writes and an Event.
    WritesAndEvent,
    /// The same, while all that is written comes back by a watch, as it does to whoever has to hear of new decisions.
    WatchedWritesAndEvent,
    /// One read.
    Get,
    /// One write that changes nothing.
    Same,
}

impl Tuning {
    pub fn name(&self) -> String {
        let name = match self.ask {
            Question::Writes => "ceiling",
            Question::WritesAndEvent => "ceiling with Events",
            Question::WatchedWritesAndEvent => "ceiling with Events and a watch",
            Question::Get => "reads alone",
            Question::Same => "writes that change nothing",
        };
        name.to_owned()
    }

    /// Whether decisions become Ready by it.
    pub fn finishes(&self) -> bool {
        match self.ask {
            Question::Writes | Question::WritesAndEvent | Question::WatchedWritesAndEvent => true,
            Question::Get | Question::Same => false,
        }
    }

    /// What distinguishes it from others of the same name.
    pub fn detail(&self) -> String {
        let write = self.write.to_possible_value().unwrap();
        let (protocol, lax) = (if self.http2 { "HTTP/2" } else { "HTTP/1.1" }, if self.lax { ", lax" } else { "" });
        format!("{}, {} at a time, {protocol}{lax}", write.get_name(), self.at_a_time)
    }

    pub fn arguments(&self) -> Vec<String> {
        let mut arguments = vec![
            format!("--at-a-time={}", self.at_a_time),
            format!("--write={}", self.write.to_possible_value().unwrap().get_name()),
            format!("--ask={}", self.ask.to_possible_value().unwrap().get_name()),
        ];
        arguments.extend(self.http2.then(|| "--http2".to_owned()));
        arguments.extend(self.lax.then(|| "--lax".to_owned()));
        arguments
    }
}

/// Does it to all decisions of the cluster of KUBECONFIG, and then waits to be ended, so that what it used can be read.
pub fn run(tuning: &Tuning) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let config = kube::Config::infer().await.unwrap();
        let client = kube::Client::try_from(config.clone()).unwrap();
        let decisions = list(&client).await;
        if tuning.ask == Question::WatchedWritesAndEvent {
            tokio::spawn(watch(client));
        }
        let writes: Vec<Writes> = decisions.iter().map(|decision| Writes::of(decision, tuning)).collect();
        let connections = Connections::open(&config, tuning).await;
        let begun = Instant::now();
        let next = Cell::new(0);
        let workers = connections.into_iter().map(async |mut connection| {
            while let Some(writes) = writes.get(next.replace(next.get() + 1)) {
                writes.carry_out(&mut connection).await;
            }
        });
        join_all(workers).await;
        println!("{DONE}{}", begun.elapsed().as_secs_f64());
        std::future::pending::<()>().await;
    });
}

/// Reads what a watch tells, and looks at none of it.
async fn watch(client: kube::Client) {
    let path = format!("{}?watch=true", ApprovalDecision::url_path(&(), None));
    let request = hyper::Request::get(path).body(kube::client::Body::empty()).unwrap();
    let mut events = client.send(request).await.unwrap().into_body();
    while events.frame().await.is_some() {}
}

/// In an order in which neighbours are of different namespaces, as they are created.
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
