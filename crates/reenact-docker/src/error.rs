//! What goes wrong with containers, and the exit code that tells it.

use reenact_image::ImageError;
use reenact_sandbox::SandboxError;
use std::fmt::Display;
use std::path::Path;

/// Why a command of ours could not do its work. How a program in a container ended is never an error.
#[derive(Debug, thiserror::Error)]
pub enum DockerError {
    /// The command line is wrong or asks for what is not given here.
    #[error("{0}")]
    Usage(String),
    #[error("No such container: {0}; `ps -a` lists those there are")]
    NoContainer(String),
    #[error(
        "the container name {name:?} is already in use by container {id}; remove it (`rm -f {name}`) or choose another"
    )]
    NameInUse { name: String, id: String },
    /// The container is there, but nothing runs in it.
    #[error("container {id} is not running ({why})")]
    NotRunning { id: String, why: String },
    /// A program that cannot be executed: 126, or 127 if there is none.
    #[error("{what}")]
    Program { what: String, code: i32 },
    /// What a station answered.
    #[error("{what}")]
    Answered { what: String, code: i32 },
    #[error("{what}: {error}")]
    Io { what: String, error: std::io::Error },
    #[error("{0}")]
    Failed(String),
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
}

impl DockerError {
    /// For `map_err`: what was attempted, with its path.
    pub fn io(action: &str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let what = format!("cannot {action} {}", path.display());
        move |error| Self::Io { what, error }
    }

    /// A wrong command line.
    pub fn usage(what: impl Display) -> Self {
        Self::Usage(what.to_string())
    }

    /// The exit code: a program that cannot be executed has its own, a wrong command line is 125, the rest is `failure`
    /// (125 for `run` and `exec`, whose other codes are the program's; 1 for all others).
    pub fn code(&self, failure: i32) -> i32 {
        match self {
            Self::Program { code, .. } => *code,
            Self::Answered { code, .. } if *code != 0 => *code,
            Self::Usage(_) => 125,
            _ => failure,
        }
    }
}
