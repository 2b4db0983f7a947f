//! The file of `--cidfile`.

use crate::error::DockerError;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::Path;

/// Made before the container, so that none is started that its caller cannot name. One that is there
/// is of another container, and refused as docker refuses it.
pub struct IdFile<'a> {
    path: &'a Path,
    file: File,
    /// There is such a container. Else the next try must not find the file.
    pub stays: bool,
}

impl<'a> IdFile<'a> {
    /// Makes it, empty.
    ///
    /// # Errors
    /// It is there; making it.
    pub fn create(path: &'a Path) -> Result<Self, DockerError> {
        match File::options().write(true).create_new(true).open(path) {
            Ok(file) => Ok(Self { path, file, stays: false }),
            Err(e) if e.kind() == ErrorKind::AlreadyExists => Err(DockerError::Failed(format!(
                "container ID file found, make sure the other container isn't running or delete {}",
                path.display()
            ))),
            Err(e) => Err(DockerError::io("create", path)(e)),
        }
    }

    /// Writes the id.
    ///
    /// # Errors
    /// Writing.
    pub fn write(&mut self, id: &str) -> Result<(), DockerError> {
        self.file.write_all(id.as_bytes()).map_err(DockerError::io("write", self.path))
    }
}

impl Drop for IdFile<'_> {
    fn drop(&mut self) {
        if !self.stays {
            let _removed = std::fs::remove_file(self.path);
        }
    }
}
