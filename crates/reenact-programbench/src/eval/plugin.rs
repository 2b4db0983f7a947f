//! The plugin that is put beside a suite, and the command that makes pytest load it.

/// Its source.
pub(super) const SOURCE: &str = include_str!("plugin/reenact_pytest.py");
/// Where it is in a container: a directory that is made anew after the build.
pub(super) const DIR: &str = "/tmp/reenact-pytest";
/// Its file.
pub(super) const FILE: &str = "/tmp/reenact-pytest/reenact_pytest.py";

/// Makes the directory.
pub(super) const PREPARE: &str = "rm -rf /tmp/reenact-pytest && mkdir -m 755 /tmp/reenact-pytest";

/// Starts a branch's suite. Tests see the variables as they were; a failing one is run again at once, up to twice. Without a
/// network, pip need not try to reach it again and again. With `only_tell` nothing is written where the suite lies.
pub(super) fn run_command(offline: bool, only_tell: bool) -> String {
    let pip = if offline {
        "export REENACT_ORIGINAL_PIP_RETRIES=\"${PIP_RETRIES-}\" PIP_RETRIES=0 && "
    } else {
        ""
    };
    let start = if only_tell {
        "export REENACT_ONLY_TELL=1 && ./eval/run.sh"
    } else {
        "chmod +x ./eval/run.sh && ./eval/run.sh"
    };
    format!(
        "{pip}export REENACT_ORIGINAL_PYTHONPATH=\"${{PYTHONPATH-}}\" && \
         export REENACT_ORIGINAL_ADDOPTS=\"${{PYTEST_ADDOPTS-}}\" && \
         export PYTHONPATH=\"{DIR}${{PYTHONPATH:+:$PYTHONPATH}}\" && \
         export PYTEST_ADDOPTS=\"${{PYTEST_ADDOPTS:-}} -p reenact_pytest --reruns=2\" && \
         export REENACT_CHANNEL=3 && {start}"
    )
}
