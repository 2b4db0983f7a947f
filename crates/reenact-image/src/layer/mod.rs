//! A layer's archive, unpacked in the form of overlayfs.

mod apply;
mod name;

use crate::digest::Digest;
use crate::error::{ImageError, shown};
use crate::pipe::{self, Bounds, Digests, TooLarge};
use crate::tarball::{TarError, TarReader};
use reenact_sandbox::unpack::is_full;
use serde::{Deserialize, Serialize};
use std::io::{self, Read};
use std::path::Path;

/// Bounds of one layer.
#[derive(Clone, Copy, Debug)]
pub struct UnpackLimits {
    pub entries: u64,
    /// Bytes of the unpacked archive, and of all its files with their holes.
    pub bytes: u64,
    /// Bytes of one path.
    pub path: usize,
    /// Directories below each other.
    pub depth: usize,
    /// How many times as large as what came a layer may become…
    pub ratio: u64,
    /// …asked once it has this many bytes. Zeros compress a thousandfold, and images hold some.
    pub ratio_from: u64,
}

impl Default for UnpackLimits {
    fn default() -> Self {
        Self {
            entries: 4_000_000,
            bytes: 64 << 30,
            path: 4000,
            depth: 200,
            ratio: 400,
            ratio_from: 2 << 30,
        }
    }
}

/// What was left out or changed, by kind. Not errors: containers work without.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Notes {
    /// Device files, which containers get from us.
    pub devices: u64,
    /// Owners that an ordinary user cannot give.
    pub owners: u64,
    /// Extended attributes that may not be set, or that would speak to overlayfs.
    pub xattrs: u64,
    /// Sockets of a directory that was imported.
    pub sockets: u64,
}

impl Notes {
    /// In words, for people.
    pub fn lines(&self) -> Vec<String> {
        let all = [
            (self.devices, "device files left out (containers have their own)"),
            (
                self.owners,
                "entries belong to us instead of their owner (only root can give files away)",
            ),
            (self.xattrs, "extended attributes left out"),
            (self.sockets, "sockets left out"),
        ];
        all.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect()
    }
}

/// A layer that was unpacked.
#[derive(Clone, Debug)]
pub struct Unpacked {
    /// Of the archive as it came.
    pub packed: Digest,
    /// Of the decompressed archive.
    pub diff_id: Digest,
    pub entries: u64,
    /// Bytes of its files.
    pub bytes: u64,
    /// Of the decompressed archive.
    pub archive_bytes: u64,
    pub notes: Notes,
}

/// Unpacks an archive (gzip, zstd or plain) into `dest`, an empty directory. On an error the directory holds a part: whoever
/// made it removes it. `what` names the layer in errors.
///
/// # Errors
/// [`ImageError::Entry`], [`ImageError::TooLarge`], [`ImageError::Damaged`] for the archive's faults; [`ImageError::Full`] and
/// [`ImageError::Io`] for the host's.
pub fn unpack_layer<R: Read + Send>(
    input: R,
    dest: &Path,
    limits: &UnpackLimits,
    what: &str,
    hash_packed: bool,
) -> Result<Unpacked, ImageError> {
    let bounds = Bounds { bytes: limits.bytes, ratio: limits.ratio, ratio_from: limits.ratio_from };
    std::thread::scope(|scope| {
        let pipe = pipe::start(scope, input, bounds, hash_packed);
        let mut tar = TarReader::new(pipe);
        let applied = apply::apply(&mut tar, dest, limits, what)?;
        // What is behind the archive's end belongs to the digests.
        let digests: Digests =
            tar.into_inner().finish().map_err(|e| stream_error(e, what, dest))?;
        Ok(Unpacked {
            packed: digests.packed,
            diff_id: digests.plain,
            entries: applied.entries,
            bytes: applied.bytes,
            archive_bytes: digests.plain_bytes,
            notes: applied.notes,
        })
    })
}

/// An error of the archive's stream.
pub(crate) fn stream_error(error: io::Error, what: &str, dest: &Path) -> ImageError {
    if error.get_ref().is_some_and(|e| e.is::<TooLarge>()) {
        return ImageError::TooLarge { layer: what.to_owned(), why: error.to_string() };
    }
    match error.kind() {
        io::ErrorKind::UnexpectedEof => {
            ImageError::Damaged { what: what.to_owned(), why: "it ends too early".to_owned() }
        }
        // flate2 and zstd say it this way.
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::Other
            if error.raw_os_error().is_none() =>
        {
            ImageError::Damaged { what: what.to_owned(), why: error.to_string() }
        }
        _ => write_error(error, what, dest),
    }
}

/// An error of the host's file system.
pub(crate) fn write_error(error: io::Error, what: &str, dest: &Path) -> ImageError {
    if is_full(&error) {
        return ImageError::Full { store: dest.to_path_buf() };
    }
    ImageError::Io { what: what.to_owned(), error }
}

pub(crate) fn tar_error(error: TarError, what: &str, dest: &Path) -> ImageError {
    match error {
        TarError::Io(error) => stream_error(error, what, dest),
        TarError::Format { entry, why } if entry.is_empty() => {
            ImageError::Damaged { what: what.to_owned(), why: why.to_owned() }
        }
        TarError::Format { entry, why } => {
            ImageError::Entry { layer: what.to_owned(), entry: shown(&entry), why: why.to_owned() }
        }
    }
}

#[cfg(test)]
mod tests;
