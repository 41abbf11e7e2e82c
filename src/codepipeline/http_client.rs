//! The HTTP client of the AWS SDK, which the credential chain and the clients of STS and CodePipeline share. It is the SDK's own,
//! once without and once with each proxy; the URL of a request decides which of them sends it.

use crate::proxy::ProxySettings;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::{self, rustls_provider::CryptoMode};
use aws_smithy_http_client::{Builder, ConnectorBuilder};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::connector_metadata::ConnectorMetadata;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::runtime_components::{RuntimeComponents, RuntimeComponentsBuilder};
use aws_smithy_types::config_bag::ConfigBag;
use axum::http::Uri;
use axum::http::uri::Scheme;

/// One of each kind: for direct connections, and for those through a proxy if there is one.
#[derive(Debug)]
struct Routes<T> {
    proxies: ProxySettings,
    direct: T,
    http_proxy: Option<T>,
    https_proxy: Option<T>,
}

/// A client that connects as these settings say.
pub(super) fn http_client(proxies: &ProxySettings) -> SharedHttpClient {
    // An error means that the URL is not that of a proxy, which the settings have checked.
    let through = |proxy: Option<&Uri>| {
        proxy.and_then(|proxy| ProxyConfig::all(proxy.clone()).ok()).map(|config| sdk_http_client(&config))
    };
    SharedHttpClient::new(Routes {
        direct: sdk_http_client(&ProxyConfig::disabled()),
        http_proxy: through(proxies.http()),
        https_proxy: through(proxies.https()),
        proxies: proxies.clone(),
    })
}

/// The SDK's default client, with this proxy instead of those of the environment.
fn sdk_http_client(proxy: &ProxyConfig) -> SharedHttpClient {
    let proxy = proxy.clone();
    Builder::new().build_with_connector_fn(move |settings, components| {
        let mut connector = ConnectorBuilder::default().tls_provider(tls::Provider::Rustls(CryptoMode::AwsLc));
        connector.set_connector_settings(settings.cloned());
        connector.set_sleep_impl(components.and_then(RuntimeComponents::sleep_impl));
        connector.set_proxy_config(Some(proxy.clone()));
        connector.build()
    })
}

impl HttpClient for Routes<SharedHttpClient> {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        let connector = |client: &SharedHttpClient| client.http_connector(settings, components);
        SharedHttpConnector::new(Routes {
            proxies: self.proxies.clone(),
            direct: connector(&self.direct),
            http_proxy: self.http_proxy.as_ref().map(connector),
            https_proxy: self.https_proxy.as_ref().map(connector),
        })
    }

    fn validate_base_client_config(
        &self,
        components: &RuntimeComponentsBuilder,
        config: &ConfigBag,
    ) -> Result<(), BoxError> {
        self.direct.validate_base_client_config(components, config)
    }

    fn connector_metadata(&self) -> Option<ConnectorMetadata> {
        self.direct.connector_metadata()
    }
}

impl HttpConnector for Routes<SharedHttpConnector> {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let url = request.uri().parse::<Uri>().unwrap_or_default();
        let proxied = match url.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => self.https_proxy.as_ref(),
            Some(scheme) if *scheme == Scheme::HTTP => self.http_proxy.as_ref(),
            Some(_) | None => None,
        };
        proxied.filter(|_| !self.proxies.is_exempt(&url)).unwrap_or(&self.direct).call(request)
    }
}
