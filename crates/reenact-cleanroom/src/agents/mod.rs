//! What each baseline agent ships.

pub mod bash;
pub mod command;
mod help;
mod memorizer;
pub mod relay;
pub mod replay;

use crate::error::CleanroomError;
use crate::probe::Probed;
use crate::tree::SourceTree;
pub(crate) use help::help;
pub(crate) use memorizer::{memorizer, memorizer_settings};
use reenact_bundle::TaskBundle;
use reenact_bundle::fsx::read;

/// A submission, as a tree of ours or as bytes taken over.
pub(crate) enum Submission {
    Tree(SourceTree),
    Tarball(Vec<u8>),
}

/// What an agent made.
pub(crate) struct Made {
    pub submission: Submission,
    /// What it probed, if it probed.
    pub probed: Option<Probed>,
}

impl Made {
    fn tree(tree: SourceTree, probed: Option<Probed>) -> Self {
        Self { submission: Submission::Tree(tree), probed }
    }
}

/// `null`: an empty shell script does nothing and exits with 0.
pub(crate) fn null() -> Made {
    let mut tree = SourceTree::with_compile_sh(
        "#!/bin/sh\nset -e\ncp program.sh executable\nchmod 755 executable\n",
    );
    tree.add("program.sh", 0o644, b"#!/bin/sh\n".to_vec());
    Made::tree(tree, None)
}

/// `reference`: the bundle's source tree verbatim, or the executable itself with a build that only copies it.
///
/// # Errors
/// The bundle's files cannot be read.
pub(crate) fn reference(task: &TaskBundle) -> Result<Made, CleanroomError> {
    if let Some(source) = task.source_tree() {
        return Ok(Made { submission: Submission::Tarball(read(&source)?), probed: None });
    }
    let mut tree = SourceTree::with_compile_sh(
        "#!/bin/sh\n# An upper bound, not a solution: this submission is the reference itself.\nset -e\n\
         cp reference executable\nchmod 755 executable\n",
    );
    tree.add("reference", 0o755, read(&task.reference())?);
    Ok(Made::tree(tree, None))
}
