//! What must not be readable in a room.

use super::sample::samples;
use crate::error::CleanroomError;
use reenact_bundle::TaskBundle;
use reenact_bundle::fsx::{fs_error, read};
use reenact_model::Digest;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// One file that must not be readable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Subject {
    /// For messages: `the reference`, or the path of a private runtime file.
    pub name: String,
    pub digest: Digest,
    pub size: u64,
    file: PathBuf,
    /// Executable code: parts of it count too, not only whole copies.
    code: bool,
}

/// The reference and its private runtime files: those that come from its own package, which masks name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secret {
    pub(crate) subjects: Vec<Subject>,
    /// Identifies the secret and what hides it, for caches.
    pub(crate) id: Digest,
}

impl Secret {
    /// The secret of a task.
    ///
    /// # Errors
    /// Files of the bundle cannot be read.
    pub fn of(task: &TaskBundle) -> Result<Self, CleanroomError> {
        let masks = &task.manifest.reference.masks;
        let mut files = vec![("the reference".to_owned(), task.reference())];
        if let Some(runtime) = task.runtime() {
            let unique: BTreeSet<&String> = masks.iter().collect();
            for mask in unique {
                let file = runtime.join(mask.trim_start_matches('/'));
                if file.symlink_metadata().is_ok_and(|m| m.is_file()) {
                    files.push((format!("its private {mask}"), file));
                }
            }
        }
        Self::from_files(&files, masks)
    }

    pub(crate) fn from_files(
        files: &[(String, PathBuf)],
        masks: &[String],
    ) -> Result<Self, CleanroomError> {
        let mut subjects = Vec::new();
        let mut all = String::new();
        for (name, file) in files {
            let bytes = read(file)?;
            // Smaller files are not walked over either, and hold no program.
            if (bytes.len() as u64) < super::walk::MIN_SIZE && !subjects.is_empty() {
                continue;
            }
            let subject = Subject {
                name: name.clone(),
                digest: Digest::of(&bytes),
                size: bytes.len() as u64,
                file: file.clone(),
                code: bytes.starts_with(b"\x7fELF"),
            };
            all.push_str(&format!("{} {}\n", subject.digest, subject.name));
            subjects.push(subject);
        }
        masks.iter().for_each(|m| all.push_str(&format!("{m}\n")));
        Ok(Self { subjects, id: Digest::of(all.as_bytes()) })
    }

    /// Whether a file of this size could be an exact copy.
    pub(crate) fn has_size(&self, size: u64) -> bool {
        self.subjects.iter().any(|s| s.size == size)
    }

    /// The subject with this digest.
    pub(crate) fn exact(&self, digest: Digest) -> Option<usize> {
        self.subjects.iter().position(|s| s.digest == digest)
    }
}

impl Subject {
    /// Its samples; none if only whole copies count.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(crate) fn samples(&self) -> Result<Vec<u64>, CleanroomError> {
        if !self.code {
            return Ok(Vec::new());
        }
        let path: &Path = &self.file;
        let read = std::fs::File::open(path).and_then(samples);
        read.map_err(|e| fs_error(path, "read")(e).into())
    }
}
