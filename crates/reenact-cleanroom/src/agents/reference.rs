//! `reference`: ships the reference itself. It is an upper bound, needs no cleanroom, and is marked in the manifest.

use crate::error::CleanroomError;
use crate::tree::SourceTree;
use reenact_bundle::TaskBundle;
use reenact_bundle::fsx::{fs_error, read};

/// The tarball: the bundle's source tree verbatim, or the executable itself with a build that only copies it.
///
/// # Errors
/// The bundle's files cannot be read.
pub(crate) fn submission(task: &TaskBundle) -> Result<Vec<u8>, CleanroomError> {
    if let Some(source) = task.source_tree() {
        return Ok(read(&source)?);
    }
    let mut tree = SourceTree::with_compile_sh(
        "#!/bin/sh\n# An upper bound, not a solution: this submission is the reference itself.\nset -e\n\
         cp reference executable\nchmod 755 executable\n",
    );
    let path = task.reference();
    tree.add("reference", 0o755, read(&path)?);
    Ok(tree.to_tar_gz().map_err(fs_error(&path, "pack"))?)
}
