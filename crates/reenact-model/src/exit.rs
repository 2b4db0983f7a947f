//! The exit codes of the `reenact` command; documented in `docs/exit-codes.md`.

/// What the command's exit status says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// Done.
    Done = 0,
    /// Done, and a check that the user asked for failed (a suite gate, a leak, `--fail-under`).
    CheckFailed = 1,
    /// The command line or an input file is wrong; nothing was done.
    Usage = 2,
    /// The harness or its environment failed (no sandbox, disk full, no network).
    Environment = 3,
    /// There was nothing to do (empty selection).
    NothingToDo = 4,
    /// Stopped by the user; the same command resumes.
    Cancelled = 130,
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code as u8)
    }
}
