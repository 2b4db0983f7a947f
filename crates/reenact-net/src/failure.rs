//! Failures that trying again does not mend, or not for long.

use std::io::ErrorKind;
use ureq::Error;

/// Whether encryption cannot be had with this server: waiting does not change that.
pub fn is_certificate_error(error: &Error) -> bool {
    match error {
        Error::Rustls(_) | Error::Tls(_) | Error::Pem(_) => true,
        // Errors of the handshake come wrapped.
        Error::Io(e) => e.to_string().starts_with("invalid peer certificate"),
        _ => false,
    }
}

/// Whether nobody listens at that address, or nobody has that name: mostly a slip of the pen, at times a server that is about to
/// start.
pub fn is_nobody_there(error: &Error) -> bool {
    match error {
        Error::HostNotFound | Error::ConnectionFailed => true,
        Error::Io(e) => e.kind() == ErrorKind::ConnectionRefused || is_unknown_name(&e.to_string()),
        _ => false,
    }
}

/// The resolver's answer has no kind of its own in `std`; that it cannot be asked at the moment is something else.
fn is_unknown_name(text: &str) -> bool {
    text.starts_with("failed to lookup address information") && !text.contains("Temporary failure")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_port_is_nobody_there() {
        // Bound and let go of: nobody else gets it in a moment.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let agent: ureq::Agent = crate::config(true, None).build().into();
        let error = agent.get(format!("http://127.0.0.1:{port}/")).call().unwrap_err();
        assert!(is_nobody_there(&error) && !is_certificate_error(&error), "{error:?}");
    }

    #[test]
    fn an_unknown_name_is_told_from_a_resolver_that_is_away() {
        let told = |why: &str| {
            let text = format!("failed to lookup address information: {why}");
            is_nobody_there(&Error::Io(std::io::Error::other(text)))
        };
        assert!(told("Name or service not known"));
        assert!(!told("Temporary failure in name resolution"));
    }
}
