//! What users read when STS does not respond: what was called, and what failed, in plain words.

use super::endpoint::new_client;
use super::*;
use std::time::Duration;
use tokio::net::TcpListener;

/// Why no client can be loaded with this endpoint.
async fn load_error(url: &str, timeout: Duration) -> String {
    let client = new_client(settings_at(url, credentials(), timeout), Destination::Ambient);
    let error = client.sdk_client().await.unwrap_err();
    assert!(matches!(error, VerifyError::Unreachable(_)), "{error:?}");
    error.to_string()
}

#[tokio::test]
async fn the_message_names_the_server_and_what_failed_without_the_names_of_layers() {
    let listen = async || TcpListener::bind("127.0.0.1:0").await.unwrap();
    let free = listen().await.local_addr().unwrap();
    let (hanging, not_tls, closing) = (listen().await, listen().await, listen().await);
    let [hangs, no_tls, closes] = [&hanging, &not_tls, &closing].map(|listener| listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = not_tls.accept().await {
            let _ = stream.try_write(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    tokio::spawn(async move {
        while let Ok((stream, _)) = closing.accept().await {
            drop(stream);
        }
    });
    for (url, server, expected) in [
        (format!("http://{free}"), free.to_string(), format!("the connection to STS at {free} was refused")),
        (
            "https://sts.eu-west-1.amazonaws.invalid".to_owned(),
            "sts.eu-west-1.amazonaws.invalid".to_owned(),
            "the DNS lookup for the connection to STS at sts.eu-west-1.amazonaws.invalid failed (".to_owned(),
        ),
        (format!("http://{hangs}"), hangs.to_string(), format!("no valid response from STS at {hangs} within 4s")),
        (format!("https://{no_tls}"), no_tls.to_string(), format!("the connection to STS at {no_tls} failed (")),
        (format!("http://{closes}"), closes.to_string(), format!("the connection to STS at {closes} ")),
    ] {
        let error = load_error(&url, Duration::from_secs(4)).await;
        println!("{error}");
        assert!(error.contains(&expected) && error.contains(&server), "{error}");
        for layer in ["dispatch failure", "io error", "(os error", "client error", "other:"] {
            assert!(!error.contains(layer), "{error}");
        }
    }
}
