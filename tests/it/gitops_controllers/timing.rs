//! How long it takes from a merge to the submission if the approval is pending, which docs/gitops.md states. `GITOPS_MERGES=10`
//! measures this number of merges, and the same number at the controllers' usual intervals, which takes up to ten minutes.

use super::installation::{Installation, decision};
use super::merges::FILE;
use super::site::{Controller, Site};
use futures::future::join_all;
use std::time::{Duration, Instant};
use test_support::pipeline_with_build;

/// The longest usual interval: Argo CD compares every two to three minutes.
const LONGEST_INTERVAL: Duration = Duration::from_secs(180);

pub async fn from_the_merge_to_the_submission(controller: Controller) {
    let merges = std::env::var("GITOPS_MERGES").map(|text| text.parse::<u32>().unwrap());
    let site = site(controller).await;
    let url = site.webhook_url();
    let mut times = Vec::new();
    for number in 1..=merges.clone().unwrap_or(1) {
        times.push(merge(&site, number, Some(&url)).await);
    }
    report(controller, "webhook", times);
    let log = Installation::shared().logs(&site.env.namespace);
    assert!(log.contains(&site.webhook_log()), "the webhook did not notify the controller\n{log}");
    // Each merge has its own repository, and they are spread over the interval.
    let merges = merges.unwrap_or(0);
    let times = (0..merges).map(|number| async move {
        let site = self::site(controller).await;
        tokio::time::sleep(LONGEST_INTERVAL * number / merges).await;
        merge(&site, 1, None).await
    });
    report(controller, "interval", join_all(times).await);
}

fn report(controller: Controller, notice: &str, mut times: Vec<Duration>) {
    times.sort();
    println!("{controller:?}, {notice}: {times:.1?}");
}

/// A site with the operator's defaults, because the tests poll more often. Its first merge includes the start of the controllers.
async fn site(controller: Controller) -> Site {
    let mut site = Site::new(controller).await;
    site.operator = site.env.operator().arg("--poll-interval=15s").arg("--aws-requests-per-second=5").start();
    site.env.put_pipeline(pipeline_with_build("checkout"));
    let commit = site.merge(&[(FILE, Some(&decision("checkout", "0")))]).await;
    site.wait_until_applied("checkout", &commit).await;
    site
}

/// Merges a decision whose approval is pending, with a webhook if there is a URL.
async fn merge(site: &Site, number: u32, webhook: Option<&str>) -> Duration {
    let revision = number.to_string();
    let execution = site.env.start_execution("checkout", &revision);
    site.env.complete_build("checkout", execution, true);
    let sent = site.env.codepipeline.ledger_for("checkout").len();
    let commit = site.commit(&[(FILE, Some(&decision("checkout", &revision)))]);
    let merged_at = Instant::now();
    if let Some(url) = webhook {
        site.send_webhook(url, &commit, FILE).await;
    }
    site.wait_for_submission(sent + 1).await;
    let elapsed = merged_at.elapsed();
    // Flux applies no newer commit before.
    site.wait_until_applied("checkout", &commit).await;
    elapsed
}
