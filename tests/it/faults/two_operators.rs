//! Two operators at the same time. Without leader election, they compete for every decision. With leader election, the leader is
//! paused during a request until the other replica has taken over its Lease and its decision, and then it resumes.

mod paused_leader;

use super::observer::Observer;
use super::request_log::RequestLog;
use futures::StreamExt;
use futures::future::join_all;
use futures::stream::iter;
use kube::ResourceExt;
use local_codepipeline::faults::Fault;
use paused_leader::{HeldRequest, take_over_from_paused_leader};
use std::ops::Range;
use std::time::{Duration, Instant};
use test_support::{TestEnv, is_settled, scale};
use tokio::time::timeout;

/// The longest time in which all decisions must settle.
const SETTLED_WITHIN: Duration = Duration::from_secs(240);

/// How many submissions an operator has in flight at most. A kill loses their responses.
const CONCURRENCY: usize = 32;

async fn create(env: &TestEnv, numbers: Range<usize>) {
    let created = iter(numbers).map(|number| async move { env.open_and_approve(&format!("p{number}")).await });
    created.buffer_unordered(8).for_each(async |_| {}).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_competing_operators_submit_one_result_of_each_decision() {
    let count = scale(150, 1000);
    let env = TestEnv::new().await;
    // Slow enough that neither gets far ahead, and that a kill meets submissions that are applied and others that are not.
    let delay = Duration::from_millis(30);
    env.codepipeline.inject(Fault::delayed().delay_before(delay).delay_after(delay).always());
    let log = RequestLog::new();
    let [one, other] =
        [log.proxied_operator(&env, log.forward_all()).await, log.proxied_operator(&env, log.forward_all()).await];
    let wait_for_submissions = async |sixths: usize| {
        let submitted = env.codepipeline.wait_for(|service, _| service.ledger().len() >= sixths * count / 6);
        assert!(timeout(SETTLED_WITHIN, submitted).await.is_ok(), "the operators stopped submitting results");
    };
    // Half of the decisions exist at the start, and half are created while both operators watch.
    create(&env, 0..count / 2).await;
    let started_at = Instant::now();
    let [killed, mut stopped] = [one.command.start(), other.command.start()];
    let compete = async {
        wait_for_submissions(1).await;
        killed.kill();
        let killed = one.command.start();
        wait_for_submissions(2).await;
        stopped.signal("TERM");
        stopped.wait_for_exit().await;
        stopped = other.command.start();
        // Both at the same time.
        wait_for_submissions(4).await;
        killed.kill();
        stopped.signal("TERM");
        stopped.wait_for_exit().await;
        [one.command.start(), other.command.start()]
    };
    let (mut operators, ()) = tokio::join!(compete, create(&env, count / 2..count));
    let observer = Observer::new(&env);
    let settled = join_all((0..count).map(|number| {
        let observer = &observer;
        async move { observer.wait_for(&format!("p{number}"), SETTLED_WITHIN, is_settled).await }
    }));
    let settled: Vec<_> = settled.await.into_iter().collect();
    let elapsed = started_at.elapsed();
    for operator in &mut operators {
        operator.signal("TERM");
        operator.wait_for_exit().await;
    }
    let mut violations = log.violations();
    let mut lost = 0;
    for decision in settled {
        let decision = match decision {
            Ok(decision) => decision,
            Err(error) => {
                violations.push(error);
                continue;
            }
        };
        let (sent, accepted) = env.sent_and_accepted(&decision);
        // The operator reads who responded from history only if a submission was in doubt.
        let was_in_doubt = decision.status.as_ref().is_some_and(|status| status.decided_by.is_some());
        lost += usize::from(was_in_doubt);
        if accepted.len() != 1 || sent.len() != 1 && !was_in_doubt {
            violations.push(format!("{}: {} sent, {} accepted", decision.name_any(), sent.len(), accepted.len()));
        }
        violations.extend(env.check_status_matches_ledger(&decision).err());
    }
    let conflicts = log.conflicts();
    println!("FIGURE {count} decisions in {elapsed:?}: {conflicts} conflicts, two kills lost {lost} responses");
    assert!(violations.is_empty(), "{}\n{}", violations.join("\n"), operators[0].log());
    assert!(conflicts > count / 10, "the operators hardly competed: {conflicts} conflicts");
    assert!(lost <= 2 * CONCURRENCY, "{lost} responses were lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_paused_during_a_request_does_no_harm_when_it_resumes() {
    let cases = scale(HeldRequest::ALL.iter().step_by(2), HeldRequest::ALL.iter().step_by(1));
    let results = cases.map(|held| async move { (held, take_over_from_paused_leader(*held).await) });
    let results = join_all(results).await;
    println!("FIGURE a leader was paused in {} ways", results.len());
    let mut violations = Vec::new();
    for (held, result) in results {
        println!("{held:?}: {result:?}");
        violations.extend(result.err().map(|error| format!("{held:?}: {error}")));
    }
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}
