//! HTTPS_PROXY, HTTP_PROXY and NO_PROXY: connections to AWS and to the API server go through a proxy that needs a password, which no
//! log line shows, and the pod's token never does. The names of AWS' endpoints are the real ones, also in other partitions.

use approval_operator::api::v1alpha1::Reason;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use test_support::{ConnectProxy, Operator, OperatorCommand, TestEnv, Upstream, message};

const API_SERVER: &str = "kubernetes.default.svc";

/// A proxy through which the operator finds the API server and, as CodePipeline and STS, the local CodePipeline.
async fn start_proxy(env: &TestEnv, aws_hosts: &[&str]) -> ConnectProxy {
    let aws = Upstream::Tls(env.codepipeline.address());
    let hosts = aws_hosts.iter().map(|host| (format!("{host}:443"), aws));
    let plain = ("codepipeline.test:80".to_owned(), Upstream::Plain(env.codepipeline.address()));
    let api_server = api_server(&std::fs::read_to_string(&env.kubeconfig).unwrap());
    let port = api_server.rsplit_once(':').unwrap().1;
    let api_server = (format!("{API_SERVER}:{port}"), Upstream::Plain(api_server.parse().unwrap()));
    ConnectProxy::start(hosts.chain([plain, api_server])).await
}

/// The address of the API server in a kubeconfig file.
fn api_server(kubeconfig: &str) -> String {
    kubeconfig.split("https://").nth(1).unwrap().split('"').next().unwrap().to_owned()
}

/// A kubeconfig file that has a name for the API server, which only the proxy knows, and this `proxy-url` if any.
fn kubeconfig_with_name(env: &TestEnv, proxy_url: Option<&str>) -> tempfile::NamedTempFile {
    let text = std::fs::read_to_string(&env.kubeconfig).unwrap();
    let address = api_server(&text);
    let text = text.replace(&address, &format!("{API_SERVER}:{}", address.rsplit_once(':').unwrap().1));
    let proxy = proxy_url.map(|url| format!("proxy-url: \"{url}\", ")).unwrap_or_default();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text.replace("{server:", &format!("{{{proxy}server:"))).unwrap();
    file
}

/// An operator that calls AWS at its own endpoints, which only the proxy knows.
fn operator(env: &TestEnv, kubeconfig: &Path, proxy: &ConnectProxy) -> OperatorCommand {
    env.operator_via(kubeconfig)
        .remove_env("AWS_ENDPOINT_URL")
        .env("SSL_CERT_FILE", proxy.certificate().to_str().unwrap())
        .env("APPROVAL_OPERATOR_AWS_TIMEOUT", "10s")
}

fn aws_hosts(proxy: &ConnectProxy) -> BTreeSet<String> {
    proxy.hosts().into_iter().filter(|host| !host.starts_with(API_SERVER)).collect()
}

fn hosts(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn check_that_the_log_has_no_password(operator: &Operator) {
    for secret in ["secret@", "bWU6c2VjcmV0"] {
        let leak = operator.log().lines().find(|line| line.contains(secret)).map(str::to_owned);
        assert_eq!(leak, None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn aws_and_the_api_server_are_reached_through_the_proxy_and_its_password_is_never_logged() {
    for variable in ["HTTPS_PROXY", "https_proxy"] {
        let env = TestEnv::new().await;
        let proxy = start_proxy(&env, &["codepipeline.eu-west-1.amazonaws.com", "sts.eu-west-1.amazonaws.com"]).await;
        let kubeconfig = kubeconfig_with_name(&env, None);
        let operator = operator(&env, kubeconfig.path(), &proxy).env(variable, &proxy.url());
        let operator = operator.env("NO_PROXY", "10.0.0.0/8,.svc.cluster.local").env("RUST_LOG", "trace").start();
        env.open_and_approve("web").await;
        env.wait_for_reason("web", Reason::Delivered).await;
        assert!(proxy.hosts().iter().any(|host| host.starts_with(API_SERVER)), "{variable}: {:?}", proxy.hosts());
        let expected = hosts(&["codepipeline.eu-west-1.amazonaws.com:443", "sts.eu-west-1.amazonaws.com:443"]);
        assert_eq!(aws_hosts(&proxy), expected, "{variable}");
        check_that_the_log_has_no_password(&operator);
    }
}

/// The API server of the test has the address of this node.
#[tokio::test(flavor = "multi_thread")]
async fn what_no_proxy_names_is_reached_directly() {
    let env = TestEnv::new().await;
    let proxy = start_proxy(&env, &["codepipeline.test", "sts.eu-west-1.amazonaws.com"]).await;
    let command = operator(&env, &env.kubeconfig, &proxy)
        .env("AWS_ENDPOINT_URL_CODEPIPELINE", "https://codepipeline.test")
        .env("HTTPS_PROXY", &proxy.url());
    env.open_and_approve("web").await;
    let directly = command.env("NO_PROXY", "*.test").start();
    let decision = env.wait_for_reason("web", Reason::ServiceUnavailable).await;
    assert!(
        message(&decision).contains("connection to CodePipeline at codepipeline.test failed"),
        "{}",
        message(&decision)
    );
    assert_eq!(proxy.hosts(), hosts(&["sts.eu-west-1.amazonaws.com:443"]), "{}", directly.log());
    directly.kill();
    let command = operator(&env, &env.kubeconfig, &proxy)
        .env("AWS_ENDPOINT_URL_CODEPIPELINE", "https://codepipeline.test")
        .env("HTTPS_PROXY", &proxy.url());
    let _operator = command.env("NO_PROXY", "*.example").start();
    env.wait_for_reason("web", Reason::Delivered).await;
    assert_eq!(proxy.hosts(), hosts(&["codepipeline.test:443", "sts.eu-west-1.amazonaws.com:443"]));
}

/// A proxy would see the pod's token, and ask the agent of its own node.
#[tokio::test(flavor = "multi_thread")]
async fn the_agent_of_eks_pod_identity_is_never_asked_through_a_proxy() {
    let env = TestEnv::new().await;
    let proxy = start_proxy(&env, &["sts.eu-west-1.amazonaws.com"]).await;
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "header.payload.signature").unwrap();
    let command = |uri: &str| {
        operator(&env, &env.kubeconfig, &proxy)
            .aws_config_file(Path::new("/nonexistent"))
            .env("AWS_REGION", "eu-west-1")
            .env("AWS_CONTAINER_CREDENTIALS_FULL_URI", uri)
            .env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", token.to_str().unwrap())
            .env("HTTP_PROXY", &proxy.url())
            .env("HTTPS_PROXY", &proxy.url())
            .arg("--aws-timeout=2s")
    };
    env.open_and_approve("web").await;
    // There is no agent here.
    for address in ["169.254.170.23", "[fd00:ec2::23]"] {
        let operator = command(&format!("http://{address}/v1/credentials")).start();
        operator.wait_for_log("the operator retries with its next call to CodePipeline").await;
        env.wait_for_reason("web", Reason::CredentialsUnavailable).await;
        assert_eq!(proxy.hosts(), hosts(&[]), "{address}: {}", operator.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_without_tls_is_reached_through_the_proxy_for_http() {
    let env = TestEnv::new().await;
    let proxy = start_proxy(&env, &["sts.eu-west-1.amazonaws.com"]).await;
    let command = operator(&env, &env.kubeconfig, &proxy)
        .env("AWS_ENDPOINT_URL_CODEPIPELINE", "http://codepipeline.test")
        .env("http_proxy", &proxy.url())
        .env("https_proxy", &proxy.url());
    let operator = command.env("RUST_LOG", "trace").start();
    env.open_and_approve("web").await;
    env.wait_for_reason("web", Reason::Delivered).await;
    assert_eq!(proxy.hosts(), hosts(&["codepipeline.test:80", "sts.eu-west-1.amazonaws.com:443"]));
    check_that_the_log_has_no_password(&operator);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_of_a_kubeconfig_is_for_the_api_server_alone_and_no_proxy_does_not_exempt_from_it() {
    let env = TestEnv::new().await;
    let proxy = start_proxy(&env, &[]).await;
    let kubeconfig = kubeconfig_with_name(&env, Some(&proxy.url()));
    let operator = env.operator_via(kubeconfig.path()).env("NO_PROXY", "*").env("RUST_LOG", "trace").start();
    env.open_and_approve("web").await;
    env.wait_for_reason("web", Reason::Delivered).await;
    assert_eq!((proxy.hosts().len(), aws_hosts(&proxy)), (1, hosts(&[])));
    check_that_the_log_has_no_password(&operator);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_partition_and_each_kind_of_endpoint_has_its_hosts() {
    let (fips, dual_stack) = ("AWS_USE_FIPS_ENDPOINT", "AWS_USE_DUALSTACK_ENDPOINT");
    for (region, kind, codepipeline, sts) in [
        ("us-gov-west-1", None, "codepipeline.us-gov-west-1.amazonaws.com", "sts.us-gov-west-1.amazonaws.com"),
        (
            "us-gov-west-1",
            Some(fips),
            "codepipeline-fips.us-gov-west-1.amazonaws.com",
            "sts.us-gov-west-1.amazonaws.com",
        ),
        ("cn-north-1", None, "codepipeline.cn-north-1.amazonaws.com.cn", "sts.cn-north-1.amazonaws.com.cn"),
        ("eu-west-1", Some(dual_stack), "codepipeline.eu-west-1.api.aws", "sts.eu-west-1.api.aws"),
    ] {
        let env = TestEnv::new().await;
        let proxy = start_proxy(&env, &[codepipeline, sts]).await;
        let command = operator(&env, &env.kubeconfig, &proxy).env("AWS_REGION", region);
        let command = kind.into_iter().fold(command, |command, kind| command.env(kind, "true"));
        let operator = command.env("HTTPS_PROXY", &proxy.url()).start();
        env.open_and_approve("web").await;
        env.wait_for_reason("web", Reason::Delivered).await;
        let expected = hosts(&[&format!("{codepipeline}:443"), &format!("{sts}:443")]);
        assert_eq!(proxy.hosts(), expected, "{}", operator.log());
    }
}

#[test]
fn a_proxy_that_is_not_supported_is_refused_without_its_password() {
    let kubeconfig = tempfile::NamedTempFile::new().unwrap();
    let cluster = r#"{ server: "https://192.0.2.1", proxy-url: "socks5://me:secret@proxy.example:1080" }"#;
    let text = format!(
        "{{ apiVersion: v1, kind: Config, current-context: one, clusters: [{{ name: one, cluster: {cluster} }}], \
         contexts: [{{ name: one, context: {{ cluster: one, user: one }} }}], \
         users: [{{ name: one, user: {{ token: token }} }}] }}"
    );
    std::fs::write(kubeconfig.path(), text).unwrap();
    for (variable, expected) in [
        ("no_proxy", r#"has the scheme "socks5", which is not supported"#),
        ("HTTP_PROXY", "HTTP_PROXY does not name a proxy that is supported; set it to an http:// or https:// URL"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_approval-operator"));
        let command = command.args(["run", "--http-address=127.0.0.1:0"]).env("KUBECONFIG", kubeconfig.path());
        let output = command.env(variable, "socks5://me:secret@proxy.example:1080").output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success());
        assert!(error.contains(expected), "{error}");
        assert!(!error.contains("secret"), "{error}");
    }
}
