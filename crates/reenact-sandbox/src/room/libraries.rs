//! Which files of a reference's layers are shared libraries.

use crate::error::SandboxError;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// A shared library of a layer.
pub struct Library {
    /// On the host.
    pub source: PathBuf,
    /// Below the root, without a leading slash.
    pub path: PathBuf,
    /// Bytes.
    pub size: u64,
}

/// Every shared library in `layers`, the topmost of each path. Programs are not among them: the reference may start them.
pub fn in_layers(layers: &[PathBuf]) -> Result<Vec<Library>, SandboxError> {
    let mut found: Vec<Library> = Vec::new();
    for layer in layers {
        let mut queue = vec![layer.clone()];
        while let Some(dir) = queue.pop() {
            let fail = |e| SandboxError::host(dir.display().to_string(), e);
            for entry in fs::read_dir(&dir).map_err(fail)? {
                let entry = entry.map_err(fail)?;
                let kind = entry.file_type().map_err(fail)?;
                let source = entry.path();
                if kind.is_dir() {
                    queue.push(source);
                } else if kind.is_file() && is_library(&source).map_err(fail)? {
                    let path = source.strip_prefix(layer).unwrap_or(&source).to_path_buf();
                    if found.iter().all(|l| l.path != path) {
                        let size = entry.metadata().map_err(fail)?.len();
                        found.push(Library { source, path, size });
                    }
                }
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

/// Their paths in the room, each with a NUL at its end.
pub fn paths(libraries: &[Library]) -> Vec<u8> {
    let mut paths = Vec::new();
    for library in libraries {
        paths.push(b'/');
        paths.extend_from_slice(library.path.as_os_str().as_bytes());
        paths.push(0);
    }
    paths
}

/// ELF64, ET_DYN, without a program interpreter (elf(5)).
fn is_library(path: &Path) -> std::io::Result<bool> {
    const ET_DYN: u16 = 3;
    const PT_INTERP: u32 = 3;
    let file = File::open(path)?;
    let mut head = [0u8; 64];
    if file.read_at(&mut head, 0)? < 64 || &head[..5] != b"\x7fELF\x02" {
        return Ok(false);
    }
    let u16_at = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
    if u16_at(16) != ET_DYN {
        return Ok(false);
    }
    let mut offset = [0u8; 8];
    offset.copy_from_slice(&head[32..40]);
    let (offset, size, count) = (u64::from_le_bytes(offset), u64::from(u16_at(54)), u16_at(56));
    for i in 0..u64::from(count) {
        let mut kind = [0u8; 4];
        let at = offset.saturating_add(i * size);
        if file.read_at(&mut kind, at)? == 4 && u32::from_le_bytes(kind) == PT_INTERP {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_told_from_programs_and_data() {
        let layer = tempfile::tempdir().unwrap();
        let lib = layer.path().join("usr/lib");
        fs::create_dir_all(&lib).unwrap();
        fs::create_dir_all(layer.path().join("usr/share")).unwrap();
        fs::write(layer.path().join("usr/share/data"), "ELF, but not really").unwrap();
        let libc = ["/lib/x86_64-linux-gnu/libm.so.6", "/lib64/libm.so.6", "/usr/lib/libm.so.6"];
        let libc = libc.into_iter().find(|p| Path::new(p).exists()).expect("a host with a libm");
        fs::copy(libc, lib.join("libprivate.so.1")).unwrap();
        fs::copy("/bin/sh", lib.join("helper")).unwrap();
        let found = in_layers(&[layer.path().to_path_buf()]).unwrap();
        assert_eq!(paths(&found), b"/usr/lib/libprivate.so.1\0");
        assert_eq!(found[0].source, lib.join("libprivate.so.1"));
        assert!(found[0].size > 1000);
    }
}
