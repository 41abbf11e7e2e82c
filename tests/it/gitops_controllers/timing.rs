//! How long it takes from a merge to the submission if the approval is pending, which docs/gitops.md states. `GITOPS_MERGES=10`
//! measures this number of merges without a webhook too, which takes minutes for each.

use super::installation::decision;
use super::merges::FILE;
use super::site::{Controller, Site};
use std::time::{Duration, Instant};
use test_support::pipeline_with_build;

#[derive(Clone, Copy, Debug)]
enum Notice {
    Webhook,
    Interval,
}

pub async fn from_the_merge_to_the_submission(controller: Controller) {
    let mut site = Site::new(controller).await;
    // The operator's defaults: the tests poll more often.
    site.operator = site.env.operator().arg("--poll-interval=15s").arg("--aws-requests-per-second=5").start();
    site.env.put_pipeline(pipeline_with_build("checkout"));
    let merges = std::env::var("GITOPS_MERGES").map(|text| text.parse::<usize>().unwrap());
    // The first merge includes the start of the controllers.
    merge(&site, "0", Notice::Webhook).await;
    let mut number = 0;
    for (notice, merges) in [(Notice::Webhook, merges.clone().unwrap_or(1)), (Notice::Interval, merges.unwrap_or(0))] {
        let mut times = Vec::new();
        for _ in 0..merges {
            number += 1;
            times.push(merge(&site, &number.to_string(), notice).await);
        }
        times.sort();
        println!("{controller:?}, {notice:?}: {times:.1?}");
    }
}

async fn merge(site: &Site, revision: &str, notice: Notice) -> Duration {
    let execution = site.env.start_execution("checkout", revision);
    site.env.complete_build("checkout", execution, true);
    let sent = site.env.codepipeline.ledger_for("checkout").len();
    let commit = site.commit(&[(FILE, Some(&decision("checkout", revision)))]);
    let merged_at = Instant::now();
    match notice {
        Notice::Webhook => site.notify(&commit).await,
        Notice::Interval => {}
    }
    site.wait_for_submission(sent + 1).await;
    merged_at.elapsed()
}
