//! The package from the index, by pip.

use super::ImportError;
use reenact_sandbox::host::HostCommand;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Downloads the wheel of `version`, or of the latest, into `dir`.
///
/// # Errors
/// [`ImportError::Fetch`] if there is no pip, or it cannot get the package.
pub(super) fn fetch(version: Option<&str>, dir: &Path) -> Result<PathBuf, ImportError> {
    let wanted = match version {
        Some(version) if is_version(version) => format!("programbench=={version}"),
        Some(version) => return Err(ImportError::Version(version.to_owned())),
        None => "programbench".to_owned(),
    };
    let dest = dir.display().to_string();
    let options = ["download", "--disable-pip-version-check", "--no-input", "--no-deps", "-q"];
    let mut last = "there is no pip3 and no python3 on PATH".to_owned();
    for (program, before) in [("pip3", &[][..]), ("python3", &["-m", "pip"])] {
        if reenact_sandbox::host::find(program).is_none() {
            continue;
        }
        let more = ["--only-binary", ":all:", "--ignore-requires-python", "-d", &dest, &wanted];
        let args = before.iter().chain(&options).chain(&more).copied();
        let mut pip = HostCommand::new(program, args);
        pip.timeout = Duration::from_secs(600);
        let output = pip.run().map_err(|e| ImportError::Fetch(e.to_string()))?;
        if output.ok() {
            return wheel(dir);
        }
        last = if output.timed_out { "took too long".to_owned() } else { output.last_line() };
    }
    Err(ImportError::Fetch(last))
}

/// What may follow `==`: nothing that pip would take for an option, a path or another requirement.
fn is_version(version: &str) -> bool {
    version.starts_with(|c: char| c.is_ascii_digit())
        && version.len() < 40
        && version.bytes().all(|b| b.is_ascii_alphanumeric() || b".+!".contains(&b))
}

fn wheel(dir: &Path) -> Result<PathBuf, ImportError> {
    let fail = |what: &str| ImportError::Fetch(what.to_owned());
    let entries = std::fs::read_dir(dir).map_err(|e| fail(&e.to_string()))?;
    let mut wheels =
        entries.flatten().map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "whl"));
    wheels.next().ok_or_else(|| fail("pip left no wheel"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_versions() {
        assert!(["1.2.5", "1.3.0rc1", "2!1.0+local"].into_iter().all(is_version));
        assert!(
            ["", "-r x", "1 2", "1.2;x", "../x", "latest", "1.2.5 --pre"]
                .into_iter()
                .all(|v| !is_version(v))
        );
    }
}
