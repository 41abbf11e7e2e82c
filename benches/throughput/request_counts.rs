//! How many requests of each kind the API server received, from its own metrics.

use std::collections::BTreeMap;

/// Requests by verb, resource and subresource.
#[derive(Clone, Debug, Default)]
pub struct RequestCounts(BTreeMap<(String, String, String), f64>);

impl RequestCounts {
    pub async fn read(client: &kube::Client) -> Self {
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

    /// Writes of Events, in either API group.
    pub fn event_writes(&self) -> f64 {
        self.sum(|verb, resource, _| resource == "events" && ["POST", "PATCH", "PUT"].contains(&verb))
    }

    /// Other requests for single decisions: reads, and writes to anything but the status.
    pub fn other_requests(&self) -> f64 {
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

    fn sum(&self, matches: impl Fn(&str, &str, &str) -> bool) -> f64 {
        let matching = self.0.iter().filter(|((verb, resource, subresource), _)| matches(verb, resource, subresource));
        matching.fold(0.0, |sum, (_, count)| sum + count)
    }
}
