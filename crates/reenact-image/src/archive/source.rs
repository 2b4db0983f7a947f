//! Where an image's files are: a directory, or an archive whose members are found by an index.

use super::indexed::Indexed;
use crate::error::{ImageError, io_error};
use crate::pipe::{self, Bounds};
use crate::store::Store;
use reenact_sandbox::unpack::open_regular;
use std::fs::File;
use std::io::{BufRead, Read, Seek, SeekFrom, Write};
use std::path::{Component, Path, PathBuf};

/// Which way of writing images it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `manifest.json` and what it names.
    Docker,
    /// `index.json` and `blobs/`.
    Oci,
}

/// Files of one or more images.
pub(super) struct Source {
    pub path: PathBuf,
    pub kind: Kind,
    files: Files,
}

enum Files {
    Dir,
    Tar(Indexed),
}

/// What a path turned out to be.
pub(super) enum Opened {
    Images(Source),
    RootDir,
    RootTar(File),
}

impl Source {
    /// Looks at a path. A compressed archive of images is decompressed into the store's directory for temporary files, since
    /// its members must be found in any order.
    pub(super) fn open(path: &Path, store: &Store) -> Result<Opened, ImageError> {
        let meta = std::fs::metadata(path).map_err(io_error(path.display()))?;
        let of = |kind, files| Ok(Opened::Images(Self { path: path.to_path_buf(), kind, files }));
        if meta.is_dir() {
            return if path.join("index.json").is_file() && path.join("blobs").is_dir() {
                of(Kind::Oci, Files::Dir)
            } else if path.join("manifest.json").is_file() && !path.join("etc").exists() {
                of(Kind::Docker, Files::Dir)
            } else {
                Ok(Opened::RootDir)
            };
        }
        let fail = || io_error(path.display());
        let mut file = File::open(path).map_err(fail())?;
        let (plain, is_packed) = match head(&mut file).map_err(fail())?.as_slice() {
            [0x1f, 0x8b, ..] | [0x28, 0xb5, 0x2f, 0xfd, ..] => {
                if !is_image_archive(&file, path)? {
                    return Ok(Opened::RootTar(file));
                }
                (decompress(&file, path, store)?, true)
            }
            [b'B', b'Z', b'h', ..] | [0xfd, b'7', b'z', b'X', ..] => {
                let why =
                    "compressed with bzip2 or xz, which is not supported: gzip, zstd or nothing";
                return Err(ImageError::Archive { path: path.to_path_buf(), why: why.to_owned() });
            }
            _ => (file, false),
        };
        let index = match Indexed::read(plain, path) {
            Ok(index) => index,
            // Not an index's business: the one error that counts comes when it is unpacked.
            Err(_) if !is_packed => {
                return Ok(Opened::RootTar(File::open(path).map_err(fail())?));
            }
            Err(error) => return Err(error),
        };
        // New versions of docker write both; manifest.json has all names.
        if index.has("manifest.json") {
            of(Kind::Docker, Files::Tar(index))
        } else if index.has("index.json") {
            of(Kind::Oci, Files::Tar(index))
        } else {
            Ok(Opened::RootTar(File::open(path).map_err(fail())?))
        }
    }

    /// A file for reading.
    pub(super) fn open_member(&self, name: &str) -> Result<Box<dyn Read + Send>, ImageError> {
        match &self.files {
            Files::Tar(index) => Ok(Box::new(index.open(name, &self.path)?)),
            Files::Dir => {
                let name = plain(name, &self.path)?;
                // The directory that the user named may be behind a link; what it holds may not.
                let dir = self.path.canonicalize().map_err(io_error(self.path.display()))?;
                let opened = open_regular(&dir, name.as_os_str().as_encoded_bytes());
                Ok(Box::new(opened.map_err(|e| self.unreadable(&name, e))?))
            }
        }
    }

    /// A link in a directory that came from elsewhere could lead to any file of ours, and a fifo could hold us up.
    fn unreadable(&self, name: &Path, error: std::io::Error) -> ImageError {
        let shown = crate::error::shown(name.as_os_str().as_encoded_bytes());
        if error.kind() == std::io::ErrorKind::InvalidInput {
            let why = format!("{shown}: {error}; only regular files beneath it are read");
            return ImageError::Archive { path: self.path.clone(), why };
        }
        io_error(format!("{}: {shown}", self.path.display()))(error)
    }

    /// A small file.
    pub(super) fn read(&self, name: &str) -> Result<Vec<u8>, ImageError> {
        let what = format!("{}: {}", self.path.display(), crate::error::shown(name.as_bytes()));
        super::read_small(self.open_member(name)?, &what)
    }
}

/// A name that stays inside its directory.
fn plain(name: &str, path: &Path) -> Result<PathBuf, ImageError> {
    let name = PathBuf::from(name);
    if name.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir)) {
        return Ok(name);
    }
    let why = format!(
        "it names a file outside: {}",
        crate::error::shown(name.as_os_str().as_encoded_bytes())
    );
    Err(ImageError::Archive { path: path.to_path_buf(), why })
}

fn head(file: &mut File) -> std::io::Result<Vec<u8>> {
    let mut head = Vec::new();
    (&*file).take(6).read_to_end(&mut head)?;
    file.rewind()?;
    Ok(head)
}

/// No member of an archive is a bomb by itself: how much there may be in all.
const BOUNDS: Bounds = Bounds { bytes: 256 << 30, ratio: 400, ratio_from: 2 << 30 };
/// Members of a compressed archive that are looked at to learn what it is. Image archives have few.
const LOOK_AT: usize = 2000;
/// What is at the top of a root file system, and of no archive of images.
const ROOTS: [&[u8]; 18] = [
    b"bin", b"boot", b"dev", b"etc", b"home", b"lib", b"lib64", b"media", b"mnt", b"opt", b"proc",
    b"root", b"run", b"sbin", b"srv", b"tmp", b"usr", b"var",
];

/// Whether a compressed archive looks like one of images: the names tell, before much is decompressed.
fn is_image_archive(file: &File, path: &Path) -> Result<bool, ImageError> {
    let fail = || io_error(path.display());
    let mut input = file.try_clone().map_err(fail())?;
    let found = std::thread::scope(|scope| {
        let pipe = pipe::start(scope, &mut input, BOUNDS, false);
        let mut tar = crate::tarball::TarReader::new(pipe);
        for _ in 0..LOOK_AT {
            match tar.next() {
                Ok(Some(entry)) => {
                    let name = entry.path.strip_prefix(b"./").unwrap_or(&entry.path);
                    if matches!(name, b"manifest.json" | b"oci-layout" | b"index.json") {
                        return true;
                    }
                    let first = name.split(|b| *b == b'/').next().unwrap_or_default();
                    if ROOTS.contains(&first) {
                        return false;
                    }
                }
                // An error is told by whoever unpacks it.
                Ok(None) | Err(_) => return false,
            }
        }
        false
    });
    (&*file).rewind().map_err(fail())?;
    Ok(found)
}

/// Decompresses into a file without a name.
fn decompress(file: &File, path: &Path, store: &Store) -> Result<File, ImageError> {
    let tmp = store.tmp();
    let mut plain = tempfile::tempfile_in(&tmp).map_err(io_error(tmp.display()))?;
    let mut input = file.try_clone().map_err(io_error(path.display()))?;
    let what = path.display().to_string();
    std::thread::scope(|scope| {
        let mut pipe = pipe::start(scope, &mut input, BOUNDS, false);
        loop {
            let piece = pipe.fill_buf().map_err(|e| super::stream_error(e, &what, &tmp))?;
            if piece.is_empty() {
                break;
            }
            plain.write_all(piece).map_err(io_error(tmp.display()))?;
            let n = piece.len();
            pipe.consume(n);
        }
        Ok::<(), ImageError>(())
    })?;
    plain.seek(SeekFrom::Start(0)).map_err(io_error(tmp.display()))?;
    Ok(plain)
}
