//! Which connections go through a proxy: HTTPS_PROXY, HTTP_PROXY and NO_PROXY, for AWS and the API server alike. The libraries for
//! both read these variables too, each in its own way: kube ignores them in a pod and compares NO_PROXY with the proxy itself, and
//! the AWS SDK sends the pod's token to the proxy. So both get the proxy from here.

use axum::http::Uri;
use hyper_util::client::proxy::matcher::Matcher;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

/// A variable does not name a proxy. Its value may contain a password.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "{variable} does not name a proxy that is supported; set it to an http:// or https:// URL, such as \
     http://proxy.example:3128"
)]
pub struct InvalidProxy {
    variable: &'static str,
}

/// The proxies of the process. Clones share them.
#[derive(Clone)]
pub struct ProxySettings {
    http: Option<Uri>,
    https: Option<Uri>,
    /// Matches what NO_PROXY does not exempt.
    matcher: Arc<Matcher>,
}

impl ProxySettings {
    /// The settings of the environment. A name in upper case precedes the same name in lower case, and an empty value counts as
    /// none.
    ///
    /// # Errors
    /// When a variable does not name a proxy.
    pub fn from_env() -> Result<Self, InvalidProxy> {
        Self::new(|name| std::env::var(name).ok())
    }

    fn new(variable: impl Fn(&str) -> Option<String>) -> Result<Self, InvalidProxy> {
        let value = |names: [&'static str; 2]| {
            names.into_iter().find_map(|name| {
                variable(name).filter(|value| !value.trim().is_empty()).map(|value| (name, value.trim().to_owned()))
            })
        };
        let url = |names| value(names).map(|(name, value)| parse(name, &value)).transpose();
        let exempt = value(["NO_PROXY", "no_proxy"]).map(|(_, value)| value).unwrap_or_default();
        // The matcher knows `.example.com`, but not `*.example.com`.
        let exempt: Vec<_> = exempt
            .split(',')
            .map(|entry| entry.trim())
            .map(|entry| entry.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(entry))
            .collect();
        Ok(Self {
            http: url(["HTTP_PROXY", "http_proxy"])?,
            https: url(["HTTPS_PROXY", "https_proxy"])?,
            matcher: Arc::new(Matcher::builder().all("http://any.proxy").no(exempt.join(",")).build()),
        })
    }

    /// The proxy for http:// URLs. It may have a user name and a password.
    #[must_use]
    pub fn http(&self) -> Option<&Uri> {
        self.http.as_ref()
    }

    /// The proxy for https:// URLs.
    #[must_use]
    pub fn https(&self) -> Option<&Uri> {
        self.https.as_ref()
    }

    /// The proxy for this URL, if it has one.
    #[must_use]
    pub fn proxy_for(&self, url: &Uri) -> Option<&Uri> {
        let proxy = match url.scheme_str() {
            Some("http") => self.http(),
            Some("https") => self.https(),
            Some(_) | None => None,
        };
        proxy.filter(|_| !self.is_exempt(url))
    }

    /// Whether connections for this URL are always direct: NO_PROXY exempts it, or it is an address of this node.
    #[must_use]
    pub fn is_exempt(&self, url: &Uri) -> bool {
        url.host().is_none_or(is_of_this_node) || self.matcher.intercept(url).is_none()
    }
}

impl fmt::Debug for ProxySettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxySettings").finish_non_exhaustive()
    }
}

fn parse(variable: &'static str, value: &str) -> Result<Uri, InvalidProxy> {
    let url = if value.contains("://") { value.parse() } else { format!("http://{value}").parse() };
    url.ok()
        .filter(|url: &Uri| {
            matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some_and(|host| !host.is_empty())
        })
        .ok_or(InvalidProxy { variable })
}

/// Whether a host is this node: the loopback interface, or a link-local address, at which the node serves instance metadata
/// (169.254.169.254), EKS Pod Identity (169.254.170.23) and ECS credentials. AWS has fd00:ec2::/32 for the same with IPv6. A proxy
/// would reach its own node instead, and see the pod's token.
fn is_of_this_node(host: &str) -> bool {
    match host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().map(|address| address.to_canonical()) {
        Ok(IpAddr::V4(address)) => address.is_loopback() || address.is_link_local(),
        Ok(IpAddr::V6(address)) => {
            address.is_loopback() || address.is_unicast_link_local() || is_metadata_address(address)
        }
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

fn is_metadata_address(address: Ipv6Addr) -> bool {
    matches!(address.segments(), [0xfd00, 0x0ec2, ..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)]) -> Result<ProxySettings, InvalidProxy> {
        ProxySettings::new(|name| {
            variables.iter().find(|(found, _)| *found == name).map(|(_, value)| (*value).to_owned())
        })
    }

    fn proxy_for(variables: &[(&str, &str)], url: &str) -> Option<String> {
        settings(variables).unwrap().proxy_for(&url.parse().unwrap()).map(ToString::to_string)
    }

    #[test]
    fn each_scheme_has_its_proxy_and_names_in_upper_case_come_first() {
        let (aws, plain) = ("https://sts.eu-west-1.amazonaws.com/", "http://codepipeline.example/");
        let both = [("HTTPS_PROXY", "http://me:secret@one:3128"), ("HTTP_PROXY", "https://two")];
        assert_eq!(proxy_for(&both, aws).as_deref(), Some("http://me:secret@one:3128/"));
        assert_eq!(proxy_for(&both, plain).as_deref(), Some("https://two/"));
        let lower = [("https_proxy", "one:3128"), ("http_proxy", " http://two ")];
        assert_eq!(proxy_for(&lower, aws).as_deref(), Some("http://one:3128/"));
        assert_eq!(proxy_for(&lower, plain).as_deref(), Some("http://two/"));
        let mixed = [("HTTPS_PROXY", "http://one"), ("https_proxy", "http://two"), ("HTTP_PROXY", "")];
        assert_eq!(proxy_for(&mixed, aws).as_deref(), Some("http://one/"));
        assert_eq!(proxy_for(&mixed, plain), None);
        assert_eq!(proxy_for(&[], aws), None);
    }

    #[test]
    fn no_proxy_exempts_names_suffixes_addresses_and_networks() {
        for (entries, host, is_exempt) in [
            ("example.com", "example.com", true),
            ("example.com", "sts.example.com", true),
            ("example.com", "notexample.com", false),
            (".example.com", "sts.example.com", true),
            ("*.example.com", "sts.example.com", true),
            ("*.example.com", "sts.example.org", false),
            ("EXAMPLE.com", "sts.Example.COM", true),
            ("a.example, ,b.example,", "b.example", true),
            ("10.0.0.0/8", "10.96.0.1", true),
            ("10.0.0.0/8", "11.96.0.1", false),
            ("10.96.0.1", "10.96.0.1", true),
            ("fd12::/16", "[fd12::1]", true),
            ("fd12::1", "[fd12::1]", true),
            ("fd12::1", "[fd12::2]", false),
            ("*", "sts.amazonaws.com", true),
            ("", "sts.amazonaws.com", false),
        ] {
            for name in ["NO_PROXY", "no_proxy"] {
                let proxy = proxy_for(&[("HTTPS_PROXY", "http://one"), (name, entries)], &format!("https://{host}/"));
                assert_eq!(proxy.is_none(), is_exempt, "{name}={entries}: {host}");
            }
        }
    }

    #[test]
    fn credentials_of_the_node_are_never_fetched_through_a_proxy() {
        let both = [("HTTPS_PROXY", "http://one"), ("HTTP_PROXY", "http://one")];
        for (host, is_direct) in [
            ("169.254.170.23", true),
            ("[fd00:ec2::23]", true),
            ("169.254.169.254:80", true),
            ("[fd00:ec2::254]", true),
            ("[::ffff:169.254.170.23]", true),
            ("127.0.0.1:1338", true),
            ("[::1]", true),
            ("LocalHost", true),
            ("192.0.2.1", false),
            ("[fd00:ec3::23]", false),
            ("sts.amazonaws.com", false),
        ] {
            for scheme in ["http", "https"] {
                assert_eq!(proxy_for(&both, &format!("{scheme}://{host}/")).is_none(), is_direct, "{scheme}: {host}");
            }
        }
    }

    #[test]
    fn a_value_that_is_not_a_supported_proxy_is_refused_without_its_password() {
        for value in ["socks5://me:secret@proxy.example:1080", "http://", "http://me:secret@", "a b"] {
            let error = settings(&[("https_proxy", value)]).unwrap_err();
            assert!(error.to_string().starts_with("https_proxy does not name a proxy"), "{error}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
        let settings = settings(&[("HTTP_PROXY", "http://me:secret@proxy.example")]).unwrap();
        assert!(!format!("{settings:?}").contains("secret"), "{settings:?}");
    }
}
