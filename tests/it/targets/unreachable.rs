//! What an administrator reads about a target when STS does not respond.

use super::site::{ONE, Site};
use std::net::TcpListener;

#[tokio::test(flavor = "multi_thread")]
async fn a_target_whose_sts_does_not_respond_says_what_was_called_and_what_failed() {
    let site = Site::new().await;
    let env = &site.env;
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let hanging = TcpListener::bind("127.0.0.1:0").unwrap();
    for (name, url, expected) in [
        ("refuses", format!("http://{free}"), "refused"),
        ("unknown", "http://sts.eu-west-1.amazonaws.invalid".to_owned(), "DNS lookup"),
        ("hangs", format!("http://{}", hanging.local_addr().unwrap()), "within 5s"),
    ] {
        site.create(name, ONE).await;
        let _operator = env.operator().env("AWS_ENDPOINT_URL_STS", &url).arg("--aws-timeout=5s").start();
        let message = site.wait_for(name, "Unreachable").await;
        let host = url.trim_start_matches("http://");
        assert!(message.contains(host) && message.contains(expected), "{message}");
        let listed = site.kubectl(&["get", "apt", "--output=wide", name]);
        assert!(listed.contains("PIPELINES") && listed.contains(&message), "{listed}");
        assert!(!message.contains("dispatch failure") && !message.contains("(os error"), "{message}");
        site.delete(name).await;
    }
}
