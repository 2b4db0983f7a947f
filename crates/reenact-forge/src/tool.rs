//! Host tools of the forge: cargo, apt and dpkg, with their absence and the network's told apart from their failures.

use crate::error::ForgeError;
use reenact_sandbox::host::{HostCommand, HostOutput, find};
use std::path::Path;
use std::time::Duration;

/// Variables of an outer cargo (or of a developer's shell) that would change what an inner cargo does.
const CARGO_NOISE: [&str; 8] = [
    "CARGO_TARGET_DIR",
    "CARGO_BUILD_TARGET",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_MANIFEST_DIR",
    "RUSTFLAGS",
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUST_LOG",
];

/// Fails with a message that names the alternative when `program` is not on the host.
pub(crate) fn require(program: &str, for_what: &str, remedy: &str) -> Result<(), ForgeError> {
    match find(program) {
        Some(_) => Ok(()),
        None => Err(ForgeError::host(
            format!("{for_what} needs `{program}`, which is not on this host's PATH"),
            remedy,
        )),
    }
}

/// A cargo command in `cwd`, quiet about colours and deaf to the caller's build settings.
pub(crate) fn cargo(cwd: &Path, args: &[&str]) -> HostCommand {
    let mut command = HostCommand::new("cargo", args.iter().copied());
    command.cwd = Some(cwd.to_path_buf());
    command.env.insert("CARGO_TERM_COLOR".to_owned(), "never".to_owned());
    command.env.insert("LC_ALL".to_owned(), "C".to_owned());
    command.env_remove = CARGO_NOISE.iter().map(|s| (*s).to_owned()).collect();
    command.timeout = Duration::from_secs(600);
    command
}

/// An apt or dpkg command in `cwd`. apt's download user is switched off: it could not write into our directory.
pub(crate) fn apt(cwd: &Path, program: &str, args: &[&str]) -> HostCommand {
    let mut all: Vec<&str> = Vec::new();
    if program == "apt-get" {
        all.extend(["-o", "APT::Sandbox::User=root", "-o", "Acquire::Retries=2", "-q"]);
    }
    all.extend(args);
    let mut command = HostCommand::new(program, all);
    command.cwd = Some(cwd.to_path_buf());
    command.env.insert("LC_ALL".to_owned(), "C".to_owned());
    command.env.insert("DEBIAN_FRONTEND".to_owned(), "noninteractive".to_owned());
    command.timeout = Duration::from_secs(600);
    command
}

/// Runs a command whose failure means that the host, not the input, is at fault.
pub(crate) fn run_ok(command: &HostCommand, doing: &str) -> Result<HostOutput, ForgeError> {
    let output = command.run()?;
    if output.ok() {
        return Ok(output);
    }
    Err(failed(command, &output, doing))
}

/// The error for a tool that failed for a reason of the host's.
pub(crate) fn failed(command: &HostCommand, output: &HostOutput, doing: &str) -> ForgeError {
    let program = &command.program;
    if output.timed_out {
        return ForgeError::host(
            format!("{doing}: `{program}` did not finish within {} s", command.timeout.as_secs()),
            "check the network, then run the same command again",
        );
    }
    if is_network_failure(&text(output)) {
        return ForgeError::host(
            format!("{doing}: `{program}` cannot reach its servers: {}", output.last_line()),
            "check this host's network and proxy settings, then run the same command again",
        );
    }
    ForgeError::host(
        format!("{doing}: `{program}` failed: {}", output.last_line()),
        format!("run `{program} {}` by hand to see more", command.args.join(" ")),
    )
}

/// Everything a tool said.
pub(crate) fn text(output: &HostOutput) -> String {
    let mut all = String::from_utf8_lossy(&output.stderr).into_owned();
    all.push('\n');
    all.push_str(&String::from_utf8_lossy(&output.stdout));
    all
}

/// Whether the words of cargo or apt tell of a network that is not there.
pub(crate) fn is_network_failure(said: &str) -> bool {
    const SIGNS: [&str; 14] = [
        "Could not resolve host",
        "Couldn't resolve host",
        "Temporary failure resolving",
        "Could not connect",
        "Couldn't connect",
        "Failed to connect",
        "Network is unreachable",
        "network failure",
        "Connection timed out",
        "Connection refused",
        "Timeout was reached",
        "failed to download",
        "spurious network error",
        "Failed to fetch",
    ];
    SIGNS.iter().any(|s| said.contains(s)) || (said.contains("offline") && said.contains("error"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_trouble_is_told_from_a_missing_package() {
        assert!(is_network_failure("[6] Could not resolve hostname (Could not resolve host: x)"));
        assert!(is_network_failure("E: Failed to fetch http://x  Temporary failure resolving 'x'"));
        assert!(!is_network_failure("E: Unable to locate package nosuch"));
        assert!(!is_network_failure("error: the crate `x` could not be found in registry index."));
    }

    #[test]
    fn a_missing_tool_names_the_remedy() {
        let error = require("no-such-tool-7", "deb:x", "use crate:NAME").unwrap_err();
        assert!(!error.is_usage());
        assert!(error.to_string().contains("use crate:NAME"), "{error}");
    }
}
