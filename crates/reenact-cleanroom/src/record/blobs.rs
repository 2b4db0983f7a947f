//! Content-addressed files beside a trajectory: `RUN/<id>/blobs/<64 hex digits>`.

use reenact_bundle::fsx::{FsError, fs_error, write_atomic};
use reenact_model::Digest;
use reenact_model::digest::Hasher;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// A directory of blobs. Writing is atomic, and writing the same bytes again costs nothing but their digest.
#[derive(Clone, Debug)]
pub struct Blobs {
    dir: PathBuf,
}

/// What [`Blobs::put_reader`] took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    pub sha256: Digest,
    /// Bytes taken.
    pub size: u64,
    /// They were not there before.
    pub new: bool,
}

impl Blobs {
    /// The blobs of an attempt: `dir` is `RUN/<id>`. Nothing is made before the first blob.
    pub fn of(dir: &Path) -> Self {
        Self { dir: dir.join("blobs") }
    }

    /// Where a blob is, or would be.
    pub fn path(&self, digest: &Digest) -> PathBuf {
        self.dir.join(digest.hex())
    }

    /// Stores bytes.
    ///
    /// # Errors
    /// [`FsError`].
    pub fn put(&self, bytes: &[u8]) -> Result<Taken, FsError> {
        let sha256 = Digest::of(bytes);
        let path = self.path(&sha256);
        let size = bytes.len() as u64;
        // Renamed into place whole: a file of that name and size is the blob.
        let new = !std::fs::symlink_metadata(&path).is_ok_and(|m| m.is_file() && m.len() == size);
        if new {
            write_atomic(&path, bytes)?;
        }
        Ok(Taken { sha256, size, new })
    }

    /// Stores at most `cap` bytes of a stream, without holding them in memory. `None` if it has more than that.
    ///
    /// # Errors
    /// [`FsError`] for our side. The stream's own errors are the inner one.
    pub fn put_reader(
        &self,
        from: &mut dyn Read,
        cap: u64,
    ) -> Result<Result<Option<Taken>, std::io::Error>, FsError> {
        std::fs::create_dir_all(&self.dir).map_err(fs_error(&self.dir, "create"))?;
        let mut temp = tempfile::Builder::new()
            .prefix(".tmp-")
            .tempfile_in(&self.dir)
            .map_err(fs_error(&self.dir, "write"))?;
        let (mut hasher, mut size) = (Hasher::default(), 0u64);
        let mut buffer = vec![0; 1 << 16];
        loop {
            let n = match from.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => n,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(e) => return Ok(Err(e)),
            };
            size += n as u64;
            if size > cap {
                return Ok(Ok(None));
            }
            hasher.update(&buffer[..n]);
            temp.write_all(&buffer[..n]).map_err(fs_error(&self.dir, "write"))?;
        }
        let sha256 = hasher.finish();
        let path = self.path(&sha256);
        let new = !std::fs::symlink_metadata(&path).is_ok_and(|m| m.is_file() && m.len() == size);
        if new {
            temp.persist(&path).map_err(|e| fs_error(&path, "write")(e.error))?;
        }
        Ok(Ok(Some(Taken { sha256, size, new })))
    }

    /// Reads a blob and checks it.
    ///
    /// # Errors
    /// [`FsError`] if it is not there or has other bytes than its name says.
    pub fn get(&self, digest: &Digest) -> Result<Vec<u8>, FsError> {
        let path = self.path(digest);
        let bytes = reenact_bundle::fsx::read(&path)?;
        if Digest::of(&bytes) != *digest {
            let what = std::io::Error::other("its bytes do not match its name");
            return Err(fs_error(&path, "read")(what));
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_bytes_are_stored_once_whichever_way_they_come() {
        let temp = tempfile::tempdir().unwrap();
        let blobs = Blobs::of(temp.path());
        let first = blobs.put(b"hello").unwrap();
        let again = blobs.put_reader(&mut b"hello".as_slice(), 5).unwrap().unwrap().unwrap();
        assert_eq!((first.sha256, first.size, first.new), (again.sha256, again.size, true));
        assert!(!again.new);
        assert_eq!(blobs.get(&first.sha256).unwrap(), b"hello");
        assert_eq!(std::fs::read_dir(temp.path().join("blobs")).unwrap().count(), 1);
    }

    #[test]
    fn a_stream_over_the_cap_and_a_failing_one_leave_nothing() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
                Err(std::io::Error::other("gone"))
            }
        }
        let temp = tempfile::tempdir().unwrap();
        let blobs = Blobs::of(temp.path());
        assert_eq!(blobs.put_reader(&mut b"hello".as_slice(), 4).unwrap().unwrap(), None);
        assert!(blobs.put_reader(&mut Broken, 4).unwrap().is_err());
        assert_eq!(std::fs::read_dir(temp.path().join("blobs")).unwrap().count(), 0);
    }

    #[test]
    fn a_blob_with_other_bytes_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        let blobs = Blobs::of(temp.path());
        let digest = blobs.put(b"hello").unwrap().sha256;
        std::fs::write(blobs.path(&digest), b"jello").unwrap();
        assert!(blobs.get(&digest).unwrap_err().to_string().contains("do not match"));
    }
}
