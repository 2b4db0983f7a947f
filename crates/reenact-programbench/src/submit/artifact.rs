//! A submission's archive, in whichever of its three forms it is there: the file, an address, a git reference.

use super::error::SubmitError;
use super::fetch::{self, Expected, sha256};
use super::files::{Entry, SMALL_MAX, plain_text};
use super::git;
use reenact_bundle::fsx::fs_error;
use std::fs::File;
use std::path::Path;

/// Bytes of an archive, at most.
const ARCHIVE_MAX: u64 = 4 << 30;

/// Puts the submission's archive at `to`, checked against its digest where there is one. What should be known about it is in
/// the notes that come back.
///
/// # Errors
/// [`SubmitError`]: none is there, it cannot be had, or it is another than its digest says.
pub(super) fn materialise(entry: &Entry, to: &Path) -> Result<Vec<String>, SubmitError> {
    let expected = Expected::read(&entry.dir.join("submission.tar.gz.sha256"))?;
    let inline = entry.dir.join("submission.tar.gz");
    let url = entry.dir.join("submission.tar.gz.url");
    let reference = entry.dir.join("submission.ref.yaml");
    let exists = |path: &Path| path.symlink_metadata().is_ok();
    if exists(&inline) {
        let meta = inline.symlink_metadata().map_err(fs_error(&inline, "read"))?;
        if !meta.is_file() {
            return Err(SubmitError::NotPlain(inline));
        }
        std::fs::copy(&inline, to).map_err(fs_error(to, "write"))?;
        let wrong = match &expected {
            Some(expected) => expected.mismatch(&sha256(to)?),
            None => None,
        };
        if let Some(what) = wrong {
            return Err(SubmitError::file(&inline, what));
        }
    } else if exists(&url) {
        let address = plain_text(&url, SMALL_MAX)?;
        let mut file = File::create(to).map_err(fs_error(to, "create"))?;
        fetch::to_writer(&address, expected.as_ref(), ARCHIVE_MAX, &mut file)?;
        if expected.is_none() {
            return Ok(vec![format!("{}: downloaded without a digest to check it with", entry.id)]);
        }
    } else if exists(&reference) {
        git::pack(&reference, to, ARCHIVE_MAX)?;
        return Ok(vec![format!("{}: packed from a git reference, which has no digest", entry.id)]);
    } else {
        let what = "has no submission.tar.gz, .url or submission.ref.yaml";
        return Err(SubmitError::file(&entry.dir, what));
    }
    Ok(Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_copied_and_checked_and_links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let entry = Entry { id: "o__a.1".into(), dir: dir.path().to_path_buf() };
        let to = dir.path().join("out.tar.gz");
        let error = |entry: &Entry| materialise(entry, &to).unwrap_err().to_string();
        assert!(error(&entry).contains("has no submission"));
        let archive = dir.path().join("submission.tar.gz");
        std::fs::write(&archive, "bytes").unwrap();
        assert!(materialise(&entry, &to).unwrap().is_empty());
        let sidecar = dir.path().join("submission.tar.gz.sha256");
        std::fs::write(&sidecar, fetch::hex_of(b"bytes")).unwrap();
        assert!(materialise(&entry, &to).unwrap().is_empty());
        assert_eq!(std::fs::read(&to).unwrap(), b"bytes");
        std::fs::write(&sidecar, fetch::hex_of(b"others")).unwrap();
        assert!(error(&entry).contains("SHA-256"));
        std::fs::remove_file(&archive).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", &archive).unwrap();
        assert!(error(&entry).contains("not followed"));
        std::fs::remove_file(&archive).unwrap();
        std::fs::write(dir.path().join("submission.tar.gz.url"), "file:///etc/passwd\n").unwrap();
        assert!(error(&entry).contains("not fetched"));
    }
}
