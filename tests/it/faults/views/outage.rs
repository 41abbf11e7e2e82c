//! An API server that is not there for a while, for which something in front of it answers 503: how soon it is asked again once it
//! is back.

use crate::faults::books::Books;
use crate::support::wire::{Passing, Script, status};
use crate::support::{Case, scale};
use approval_operator::api::v1alpha1::Reason;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::time::sleep;

/// After so long it has been asked again, and a decision that waits for it is answered.
const BACK_WITHIN: Duration = Duration::from_secs(10);

fn unavailable_while(is_out: &watch::Sender<bool>, books: &Arc<Books>) -> impl Script + use<> {
    let (is_out, books) = (is_out.subscribe(), books.clone());
    move |passing: Passing| -> futures::future::BoxFuture<'static, _> {
        let (is_out, books) = (*is_out.borrow(), books.clone());
        Box::pin(async move {
            if is_out {
                return Some(status(503, "ServiceUnavailable", "no backend is available"));
            }
            books.pass(passing).await
        })
    }
}

/// How long after the API server is back a decision is answered that was made meanwhile.
async fn back_after(lasts: Duration, is_at_work: bool) -> Duration {
    let case = Case::new().await;
    let books = Books::open();
    let is_out = watch::Sender::new(!is_at_work);
    let wired = books.wired(&case, unavailable_while(&is_out, &books)).await;
    let operator = wired.settings.replica("only", &case.namespace).start();
    if is_at_work {
        operator.until_log("leading: decisions are taken up").await;
        is_out.send_replace(true);
    } else {
        operator.until_log("started").await;
    }
    case.approve("web").await;
    sleep(lasts).await;
    let back = Instant::now();
    is_out.send_replace(false);
    let decision = case.until_reason("web", Reason::Delivered).await;
    assert_eq!(case.tells_the_truth(&decision), Ok(()));
    assert_eq!(books.wrong(), [""; 0]);
    let late = back.elapsed();
    assert!(late < BACK_WITHIN, "{late:?}\n{}", operator.log());
    late
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_was_unavailable_is_asked_again_soon() {
    let lasts = scale(Duration::from_secs(16), Duration::from_secs(60));
    let (at_start, at_work) = tokio::join!(back_after(lasts, false), back_after(lasts, true));
    println!("FIGURE after {lasts:?} without an API server: {at_start:?} at the start, {at_work:?} at work");
}
