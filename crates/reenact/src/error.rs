//! Errors of commands: their kind decides the exit code, hints are printed last.

use crate::context::Context;
use reenact_model::ExitCode;
use std::fmt::Display;

/// An error on its way to the user.
#[derive(Debug)]
pub struct CommandError {
    kind: Kind,
    what: String,
    hints: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Usage,
    CheckFailed,
    Environment,
    NothingToDo,
    Cancelled,
}

impl CommandError {
    fn new(kind: Kind, what: impl Display) -> Self {
        // Some errors bring their remedy on a second line.
        let text = what.to_string();
        let mut lines = text.lines();
        let first = lines.next().unwrap_or_default().to_owned();
        Self { kind, what: first, hints: lines.map(|l| l.trim().to_owned()).collect() }
    }

    /// The command line or an input file is wrong.
    pub fn usage(what: impl Display) -> Self {
        Self::new(Kind::Usage, what)
    }

    /// The harness or its environment failed.
    pub fn environment(what: impl Display) -> Self {
        Self::new(Kind::Environment, what)
    }

    /// The selection is empty.
    pub fn nothing(what: impl Display) -> Self {
        Self::new(Kind::NothingToDo, what)
    }

    /// The user stopped it; the same command resumes.
    pub fn cancelled(what: impl Display) -> Self {
        Self::new(Kind::Cancelled, what)
    }

    /// Done as far as was allowed (a budget that was given is spent).
    pub fn check_failed(what: impl Display) -> Self {
        Self::new(Kind::CheckFailed, what)
    }

    /// Adds a remedy.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Its first line.
    pub fn what(&self) -> &str {
        &self.what
    }

    pub fn code(&self) -> ExitCode {
        match self.kind {
            Kind::Usage => ExitCode::Usage,
            Kind::CheckFailed => ExitCode::CheckFailed,
            Kind::Environment => ExitCode::Environment,
            Kind::NothingToDo => ExitCode::NothingToDo,
            Kind::Cancelled => ExitCode::Cancelled,
        }
    }

    /// What, where, remedy: on stderr, or as JSON on stdout.
    pub fn print(&self, context: &Context) {
        if context.json {
            let kind = match self.kind {
                Kind::Usage => "usage",
                Kind::CheckFailed => "check_failed",
                Kind::Environment => "environment",
                Kind::NothingToDo => "nothing_to_do",
                Kind::Cancelled => "cancelled",
            };
            context.out(&serde_json::json!({"error": {"kind": kind, "what": self.what, "hints": self.hints}}).to_string());
            return;
        }
        context.err(&format!("{} {}", context.paint_error("error:"), self.what));
        for hint in &self.hints {
            context.err(&format!("  {hint}"));
        }
    }
}

fn from(usage: bool, error: &impl Display) -> CommandError {
    if usage { CommandError::usage(error) } else { CommandError::environment(error) }
}

impl From<reenact_forge::ForgeError> for CommandError {
    fn from(error: reenact_forge::ForgeError) -> Self {
        let made = from(error.is_usage(), &error);
        match &error {
            reenact_forge::ForgeError::Sandbox(e) => made.hint(sandbox_hint(e)),
            _ => made,
        }
    }
}

impl From<reenact_explore::ExploreError> for CommandError {
    fn from(error: reenact_explore::ExploreError) -> Self {
        use reenact_bundle::BundleError;
        use reenact_explore::ExploreError;
        // A file that the user named, or that a bundle should hold, is not there: input, not environment.
        let missing = matches!(&error, ExploreError::Fs(e) | ExploreError::Bundle(BundleError::Fs(e)) if e.error.kind() == std::io::ErrorKind::NotFound);
        let made = from(missing || error.is_usage(), &error);
        match &error {
            reenact_explore::ExploreError::Sandbox(e) => made.hint(sandbox_hint(e)),
            _ => made,
        }
    }
}

impl From<reenact_cleanroom::CleanroomError> for CommandError {
    fn from(error: reenact_cleanroom::CleanroomError) -> Self {
        from(error.is_usage(), &error)
    }
}

impl From<reenact_cleanroom::station::StationError> for CommandError {
    fn from(error: reenact_cleanroom::station::StationError) -> Self {
        from(error.is_usage(), &error)
    }
}

impl From<reenact_grade::GradeError> for CommandError {
    fn from(error: reenact_grade::GradeError) -> Self {
        if matches!(error, reenact_grade::GradeError::Cancelled) {
            return Self::new(Kind::Cancelled, error);
        }
        from(error.is_usage(), &error)
    }
}

impl From<reenact_bundle::BundleError> for CommandError {
    fn from(error: reenact_bundle::BundleError) -> Self {
        let missing = matches!(&error, reenact_bundle::BundleError::Fs(e) if e.error.kind() == std::io::ErrorKind::NotFound);
        from(missing || !matches!(error, reenact_bundle::BundleError::Fs(_)), &error)
    }
}

impl From<reenact_image::ImageError> for CommandError {
    fn from(error: reenact_image::ImageError) -> Self {
        from(error.is_usage(), &error)
    }
}

impl From<reenact_sandbox::SandboxError> for CommandError {
    fn from(error: reenact_sandbox::SandboxError) -> Self {
        Self::environment(&error).hint(sandbox_hint(&error))
    }
}

impl From<reenact_bundle::FsError> for CommandError {
    fn from(error: reenact_bundle::FsError) -> Self {
        Self::environment(error)
    }
}

fn sandbox_hint(error: &reenact_sandbox::SandboxError) -> String {
    match error {
        reenact_sandbox::SandboxError::Setup { .. }
        | reenact_sandbox::SandboxError::Layer { .. } => {
            "`reenact doctor` shows what this host gives and what to do".to_owned()
        }
        _ => "run it again; if it stays, `reenact doctor` may say why".to_owned(),
    }
}
