//! How often each kind of request reached the API server, by its own metrics: what a contender costs it, reads of this benchmark's
//! own left out.

use std::collections::BTreeMap;

/// Requests of each kind.
#[derive(Clone, Debug, Default)]
pub struct Counts(BTreeMap<(String, String, String), f64>);

impl Counts {
    pub async fn of(client: &kube::Client) -> Self {
        let request = http::Request::get("/metrics").body(Vec::new()).unwrap();
        let text = client.request_text(request).await.unwrap();
        let mut counts = BTreeMap::new();
        for line in text.lines().filter_map(|line| line.strip_prefix("apiserver_request_total{")) {
            let (labels, count) = line.split_once("} ").unwrap();
            let label = |name: &str| {
                let mut labels = labels.split(',');
                let found = labels.find_map(|label| label.strip_prefix(name)?.strip_prefix("=\"")?.strip_suffix('"'));
                found.unwrap_or_default().to_owned()
            };
            let key = (label("verb"), label("resource"), label("subresource"));
            *counts.entry(key).or_default() += count.parse::<f64>().unwrap();
        }
        Self(counts)
    }

    /// Writes to the status of decisions.
    pub fn status_writes(&self) -> f64 {
        self.sum(|verb, resource, subresource| {
            resource == "approvaldecisions" && subresource == "status" && verb != "GET"
        })
    }

    /// Writes of Events, in either of the two groups that have them.
    pub fn events(&self) -> f64 {
        self.sum(|verb, resource, _| resource == "events" && ["POST", "PATCH", "PUT"].contains(&verb))
    }

    /// Whatever else is asked about decisions, one by one: gets, and writes beside the status.
    pub fn others(&self) -> f64 {
        self.sum(|verb, resource, subresource| {
            resource == "approvaldecisions"
                && (subresource.is_empty() && ["GET", "PATCH", "PUT"].contains(&verb)
                    || subresource == "status" && verb == "GET")
        })
    }

    pub fn since(&self, before: &Self) -> Self {
        let difference = |(key, count): (&(String, String, String), &f64)| {
            (key.clone(), count - before.0.get(key).copied().unwrap_or_default())
        };
        Self(self.0.iter().map(difference).collect())
    }

    fn sum(&self, is_meant: impl Fn(&str, &str, &str) -> bool) -> f64 {
        let meant = self.0.iter().filter(|((verb, resource, subresource), _)| is_meant(verb, resource, subresource));
        meant.map(|(_, count)| count).sum()
    }
}
