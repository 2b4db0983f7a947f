//! `cp`: files of the host: what goes into a container, and where what comes out of one is to go.

use crate::error::DockerError;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A file or directory that is to be copied into a container.
pub struct Thing {
    path: PathBuf,
    pub name: String,
    pub is_dir: bool,
    /// Only what is in the directory (`DIR/.`).
    pub contents: bool,
    link: bool,
}

/// Looks at a source.
///
/// # Errors
/// There is none, or it is neither file, directory nor link.
pub fn look(path: &Path, follow: bool) -> Result<Thing, DockerError> {
    let text = path.to_string_lossy();
    let contents = text == "." || text.ends_with("/.");
    let meta = if follow || text.ends_with('/') || contents {
        path.metadata()
    } else {
        path.symlink_metadata()
    };
    let meta = meta.map_err(DockerError::io("read", path))?;
    let is_dir = meta.is_dir();
    if !is_dir && !meta.is_file() && !meta.is_symlink() {
        return Err(DockerError::Failed(format!("{text}: neither a file nor a directory")));
    }
    if text.ends_with('/') && !is_dir {
        return Err(DockerError::Failed(format!("{text}: not a directory")));
    }
    let named = if path.file_name().is_some() && !contents {
        path.to_path_buf()
    } else {
        path.canonicalize().map_err(DockerError::io("read", path))?
    };
    let name = named.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Thing { path: path.to_path_buf(), name, is_dir, contents, link: meta.is_symlink() })
}

/// Writes it as a tar stream.
///
/// # Errors
/// Reading. That nobody takes the stream is no error here: who does not says why.
pub fn pack(thing: &Thing, to: &mut dyn Write) -> Result<(), DockerError> {
    let mut tar = tar::Builder::new(to);
    tar.follow_symlinks(false);
    let packed = if thing.is_dir {
        tar.append_dir_all(".", &thing.path)
    } else if thing.link {
        tar.append_path_with_name(&thing.path, "file")
    } else {
        File::open(&thing.path).and_then(|mut file| tar.append_file("file", &mut file))
    };
    match packed.and_then(|()| tar.finish()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            Err(DockerError::io("copy", &thing.path)(e))
        }
        _ => Ok(()),
    }
}

/// Where something goes.
#[derive(Debug, PartialEq, Eq)]
pub struct Spot {
    pub path: PathBuf,
    /// The caller wrote the whole path. Else its last name is that of what is copied, and what is there may be from an
    /// earlier copy: a link there is the container's.
    pub named: bool,
}

/// Where something called `name` goes, by docker's rules; but a link at the end of what the caller wrote is refused, since an
/// earlier copy may have left it there.
///
/// # Errors
/// The rules.
pub fn target(to: &Path, name: &str, is_dir: bool, contents: bool) -> Result<Spot, DockerError> {
    let fail = |what: &str| Err(DockerError::Failed(format!("{}: {what}", to.display())));
    let slash = to.to_string_lossy().ends_with('/');
    let named = || Ok(Spot { path: to.to_path_buf(), named: true });
    // A slash at the end asks for what is behind the link, and the kernel follows it.
    if to.symlink_metadata().is_ok_and(|m| m.is_symlink()) {
        return fail(
            "a symbolic link, which may have come out of a container; write what it leads to (or a / behind it, for the directory), or remove it",
        );
    }
    match to.metadata() {
        Ok(meta) if meta.is_dir() => {
            if (is_dir && contents) || name.is_empty() {
                named()
            } else {
                Ok(Spot { path: to.join(name), named: false })
            }
        }
        Ok(_) if is_dir => fail("cannot copy a directory to a file"),
        Ok(_) if slash => fail("not a directory"),
        Ok(_) => named(),
        Err(_) if slash && !is_dir => fail("no such directory"),
        Err(_) => {
            let parent =
                to.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
            if parent.is_dir() {
                named()
            } else {
                Err(DockerError::Failed(format!("{}: no such directory", parent.display())))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dockers_rules_of_destinations() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("dir");
        let file = temp.path().join("file");
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(&file, "").unwrap();
        let of = |to: &Path, is_dir, contents| {
            target(to, "n", is_dir, contents).map_err(|e| e.to_string())
        };
        let named = |path: &Path| Spot { path: path.to_path_buf(), named: true };
        let inside = Spot { path: dir.join("n"), named: false };
        assert_eq!(of(&dir, false, false).unwrap(), inside);
        assert_eq!(of(&dir, true, false).unwrap(), inside);
        assert_eq!(of(&dir, true, true).unwrap(), named(&dir));
        assert_eq!(of(&file, false, false).unwrap(), named(&file));
        assert!(of(&file, true, false).unwrap_err().contains("cannot copy a directory to a file"));
        let new = temp.path().join("new");
        assert_eq!(of(&new, true, false).unwrap(), named(&new));
        assert!(of(&new.join(""), false, false).unwrap_err().contains("no such directory"));
        assert!(of(&new.join("x"), false, false).unwrap_err().contains("no such directory"));
        for (link, to) in [("to-file", &file), ("to-dir", &dir), ("to-nothing", &new)] {
            let link = temp.path().join(link);
            std::os::unix::fs::symlink(to, &link).unwrap();
            assert!(of(&link, false, false).unwrap_err().contains("a symbolic link"));
            assert!(of(&link, true, true).unwrap_err().contains("a symbolic link"));
        }
        let behind = temp.path().join("to-dir/");
        assert_eq!(of(&behind, true, true).unwrap(), named(&behind));
    }
}
