//! Downloading a layer: into a file that is kept when it breaks off, hashed as it comes.

use super::Registry;
use super::http::{Failure, Wanted};
use crate::error::{ImageError, RegistryError, io_error, shown};
use crate::manifest::Blob;
use crate::store::Store;
use reenact_sandbox::unpack::is_full;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

const BUFFER: usize = 128 << 10;

/// A blob that is complete and has the right digest. The file is locked, and goes away when dropped.
pub(super) struct Downloaded {
    pub file: File,
    path: PathBuf,
}

impl Drop for Downloaded {
    fn drop(&mut self) {
        // One that stays is found complete by the next pull.
        std::fs::remove_file(&self.path).ok();
    }
}

/// A file that grows.
struct Part {
    file: File,
    have: u64,
    hasher: Sha256,
}

impl Part {
    fn restart(&mut self) -> std::io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.have = 0;
        self.hasher = Sha256::new();
        Ok(())
    }
}

impl Registry<'_> {
    /// Downloads a blob, going on where an earlier download broke off. `told` gets the bytes that came, and says whether to
    /// go on.
    pub(super) fn blob(
        &self,
        store: &Store,
        blob: &Blob,
        told: &dyn Fn(u64) -> bool,
    ) -> Result<Downloaded, ImageError> {
        let path = store.blobs().join(format!("{}.part", blob.digest.hex()));
        let disk = |e: std::io::Error| store.name_store(io_error(path.display())(e));
        let mut part = open_part(&path, blob.size).map_err(disk)?;
        told(part.have);
        let what = format!("{}/{}: layer {}", self.name, self.repository, blob.digest);
        let mut tries = 0;
        loop {
            let before = part.have;
            let failure = match self.blob_once(&mut part, blob, &what, told, &disk) {
                Ok(()) => break,
                Err(Failure::Final(error)) => return Err(error),
                Err(failure) => failure,
            };
            // Whoever sends something is not given up.
            tries = if part.have > before { 1 } else { tries + 1 };
            self.http.pause(failure, tries)?;
        }
        let actual = crate::Digest::from_hasher(part.hasher);
        if let Err(error) = blob.digest.check_against(&actual, &what) {
            // Going on with these bytes would never come right.
            part.file.set_len(0).map_err(disk)?;
            return Err(error);
        }
        part.file.rewind().map_err(disk)?;
        Ok(Downloaded { file: part.file, path })
    }

    fn blob_once(
        &self,
        part: &mut Part,
        blob: &Blob,
        what: &str,
        told: &dyn Fn(u64) -> bool,
        disk: &dyn Fn(std::io::Error) -> ImageError,
    ) -> Result<(), Failure> {
        if part.have == blob.size {
            return Ok(());
        }
        let url = self.blob_url(&blob.digest);
        let got = self.get(&Wanted { url: &url, accept: None, from: part.have }, what)?;
        let goes_on = got.status == 206
            && got.header("content-range").is_some_and(|r| starts_at(&r, part.have));
        if !goes_on {
            told(0u64.wrapping_sub(part.have));
            let was_range = part.have > 0;
            part.restart().map_err(disk)?;
            if got.status != 200 {
                let message = format!("an answer of status {} that does not fit", got.status);
                return Err(if was_range {
                    Failure::Unreachable { message }
                } else {
                    let registry = self.name.clone();
                    let (what, why) = (what.to_owned(), message);
                    Failure::Final(RegistryError::Nonsense { registry, what, why }.into())
                });
            }
        }
        let mut reader = got.into_reader();
        let mut buffer = vec![0; BUFFER];
        loop {
            let n = match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => n,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(e) => {
                    return Err(Failure::Unreachable { message: shown(e.to_string().as_bytes()) });
                }
            };
            if part.have + n as u64 > blob.size {
                part.restart().map_err(disk)?;
                let why = format!("more than the {} bytes that were promised", blob.size);
                let (registry, what) = (self.name.clone(), what.to_owned());
                return Err(Failure::Final(RegistryError::Nonsense { registry, what, why }.into()));
            }
            part.hasher.update(&buffer[..n]);
            if let Err(error) = part.file.write_all(&buffer[..n]) {
                // What was written of it is not counted; on a full disk nothing is kept.
                let full = is_full(&error);
                part.file.set_len(if full { 0 } else { part.have }).ok();
                return Err(Failure::Final(disk(error)));
            }
            part.have += n as u64;
            if !told(n as u64) {
                let stopped = ImageError::Other(format!("{what}: stopped"));
                return Err(Failure::Final(stopped));
            }
        }
        if part.have < blob.size {
            let message = format!("{} of {} bytes came", part.have, blob.size);
            return Err(Failure::Unreachable { message });
        }
        Ok(())
    }
}

/// Whether a `Content-Range` (`bytes 100-199/200`) begins there.
fn starts_at(header: &str, at: u64) -> bool {
    let range = header.trim().strip_prefix("bytes ").unwrap_or_default();
    range.split('-').next().is_some_and(|first| first.trim().parse() == Ok(at))
}

/// Opens and locks the file (waiting for another process that downloads the same), and hashes what is in it.
fn open_part(path: &std::path::Path, size: u64) -> std::io::Result<Part> {
    let file = loop {
        let file =
            File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        file.lock()?;
        // Whoever had the lock may have removed the file.
        use std::os::unix::fs::MetadataExt;
        let same = |m: std::fs::Metadata| file.metadata().map(|o| o.ino() == m.ino());
        if std::fs::metadata(path).and_then(same).unwrap_or(false) {
            break file;
        }
    };
    let mut part = Part { file, have: 0, hasher: Sha256::new() };
    if part.file.metadata()?.len() > size {
        part.restart()?;
        return Ok(part);
    }
    let mut buffer = vec![0; BUFFER];
    loop {
        let n = part.file.read(&mut buffer)?;
        if n == 0 {
            break;
        }
        part.hasher.update(&buffer[..n]);
        part.have += n as u64;
    }
    part.file.seek(SeekFrom::Start(part.have))?;
    Ok(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_must_begin_where_we_are() {
        assert!(starts_at("bytes 100-199/200", 100));
        assert!(!starts_at("bytes 0-199/200", 100));
        assert!(!starts_at("bytes */200", 0));
        assert!(!starts_at("", 0));
    }
}
