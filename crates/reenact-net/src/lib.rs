//! What every HTTP client of ours does alike: whom it trusts, what counts as this machine, and which failures waiting does not
//! mend. Models, registries of images and submissions are asked by different crates; a company's own certificate authority or
//! proxy is met by all of them.

mod failure;
mod roots;

pub use failure::{is_certificate_error, is_nobody_there};
pub use roots::{RootsError, VARIABLE, load, roots};

use std::net::IpAddr;
use ureq::config::ConfigBuilder;
use ureq::tls::TlsConfig;
use ureq::typestate::AgentScope;

/// The settings that all have: our name, and these authorities (`None`: the built-in ones). `local`: the server is on this
/// machine's loopback interface ([`is_loopback`]), which a proxy of the environment cannot reach.
pub fn config(local: bool, roots: Option<ureq::tls::RootCerts>) -> ConfigBuilder<AgentScope> {
    let config =
        ureq::Agent::config_builder().user_agent(concat!("reenact/", env!("CARGO_PKG_VERSION")));
    let config = if local { config.proxy(None) } else { config };
    match roots {
        Some(roots) => config.tls_config(TlsConfig::builder().root_certs(roots).build()),
        None => config,
    }
}

/// Whether `host[:port]` is the loopback interface, by its text alone: nothing is looked up.
pub fn is_loopback(authority: &str) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.rsplit_once(':').map_or(authority, |(host, _)| host),
    };
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_known_by_its_text() {
        for local in ["localhost", "localhost:5000", "127.0.0.1:80", "127.8.9.1", "[::1]:5000"] {
            assert!(is_loopback(local), "{local}");
        }
        for other in
            ["localhost.example.org", "10.0.0.1:5000", "[2001:db8::1]:1", "", "127.0.0.1.nip"]
        {
            assert!(!is_loopback(other), "{other}");
        }
    }
}
