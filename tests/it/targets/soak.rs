//! How often the operator verifies a target that no decision uses. `make soak` runs it, for a bit more than 20 minutes.

use super::site::{ONE, Site, TWO, role_arn};
use approval_operator::backoff::VERIFICATION;
use local_codepipeline::iam::{Role, StsCall, StsOperation};
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// How much later or earlier than planned a verification may be.
const TOLERANCE: Duration = Duration::from_secs(30);

/// The calls of STS with the role of an account.
fn calls_for(calls: &[StsCall], operation: StsOperation, account: &str) -> Vec<StsCall> {
    let is_for = |call: &&StsCall| call.operation == operation && call.role_arn.as_deref() == Some(&*role_arn(account));
    calls.iter().filter(is_for).cloned().collect()
}

/// The times between these calls, in seconds.
fn intervals(calls: &[StsCall]) -> Vec<f64> {
    calls.windows(2).map(|pair| pair[1].at.duration_since(pair[0].at).as_secs_f64()).collect()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes 20 minutes: make soak"]
async fn a_target_is_verified_every_ten_minutes_and_a_revoked_role_shows_at_the_next_verification() {
    assert_eq!(VERIFICATION, Duration::from_secs(600), "the documentation says every 10 minutes");
    let site = Site::new().await;
    let endpoint = &site.env.codepipeline;
    site.create("kept", ONE).await;
    site.create("revoked", TWO).await;
    let operator = site.env.operator().start();
    for target in ["kept", "revoked"] {
        site.wait_for(target, "Verified").await;
    }
    sleep(VERIFICATION * 3 / 2).await;
    endpoint.put_role(Role::new(&role_arn(TWO)).unwrap().trusts([]).unwrap());
    sleep(TOLERANCE).await;
    site.wait_for("revoked", "Verified").await;
    let third = endpoint.wait_for_sts_calls(|calls| {
        calls_for(calls, StsOperation::GetCallerIdentity, ONE).len() == 3
            && calls_for(calls, StsOperation::AssumeRole, TWO).len() == 3
    });
    let in_time = timeout(VERIFICATION / 2 + TOLERANCE, third).await;
    assert!(in_time.is_ok(), "{:#?}\n{}", endpoint.sts_calls(), operator.log());
    site.wait_for("revoked", "AssumeRoleDenied").await;
    site.wait_for("kept", "Verified").await;
    let calls = endpoint.sts_calls();
    let kept = calls_for(&calls, StsOperation::GetCallerIdentity, ONE);
    let revoked = calls_for(&calls, StsOperation::AssumeRole, TWO);
    println!("FIGURE verified again after {:?} s", intervals(&kept));
    println!("FIGURE role assumed again after {:?} s", intervals(&revoked));
    for interval in [intervals(&kept), intervals(&revoked[..3])].concat() {
        let difference = (interval - VERIFICATION.as_secs_f64()).abs();
        assert!(difference <= TOLERANCE.as_secs_f64(), "{interval} s: {calls:#?}");
    }
    assert_eq!(revoked.iter().map(StsCall::succeeded).take(3).collect::<Vec<_>>(), [true, true, false]);
}
