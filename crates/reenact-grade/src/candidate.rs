//! Finding the candidate in a built tree that may be hostile: links are followed by hand and never out of the tree.

use reenact_bundle::FsError;
use reenact_bundle::fsx::fs_error;
use reenact_model::Digest;
use reenact_model::digest::Hasher;
use reenact_sandbox::spec::WORKSPACE;
use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

/// Name of the candidate in the tree.
pub(crate) const NAME: &str = "executable";
const MAX_HOPS: u32 = 40;

/// Why a built tree has no candidate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoCandidate {
    #[error("compile.sh ended well but left no ./executable; build it at the top of the tree")]
    Absent,
    #[error("./executable is a directory, not a program")]
    Directory,
    #[error("./executable is a special file, not a program")]
    Special,
    #[error("./executable is a symbolic link to {0}, which is not there")]
    Dangling(String),
    #[error(
        "./executable is a symbolic link that leads out of the tree, to {0}; copy the program instead"
    )]
    Outside(String),
    #[error("./executable is a symbolic link that never ends")]
    Loop,
    #[error("./executable is not executable; add `chmod +x executable` to compile.sh")]
    NotExecutable,
}

/// Finds `./executable` in `tree`.
pub(crate) fn find(tree: &Path) -> Result<Result<PathBuf, NoCandidate>, FsError> {
    let path = match resolve(tree, Path::new(NAME))? {
        Ok(path) => path,
        Err(why) => return Ok(Err(why)),
    };
    let full = tree.join(&path);
    let meta = match std::fs::symlink_metadata(&full) {
        Ok(meta) => meta,
        Err(e) if is_absent(&e) && path == Path::new(NAME) => return Ok(Err(NoCandidate::Absent)),
        Err(e) if is_absent(&e) => {
            return Ok(Err(NoCandidate::Dangling(path.display().to_string())));
        }
        Err(e) => return Err(fs_error(&full, "look at")(e)),
    };
    Ok(if meta.is_dir() {
        Err(NoCandidate::Directory)
    } else if !meta.is_file() {
        Err(NoCandidate::Special)
    } else if meta.permissions().mode() & 0o111 == 0 {
        Err(NoCandidate::NotExecutable)
    } else {
        Ok(full)
    })
}

fn is_absent(e: &std::io::Error) -> bool {
    matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory)
}

/// Follows `path` in `tree` as the kernel would with the tree mounted at `/workspace`; the result, relative to the tree,
/// holds no link and may not exist.
fn resolve(tree: &Path, path: &Path) -> Result<Result<PathBuf, NoCandidate>, FsError> {
    let mut at = PathBuf::new();
    let mut todo: Vec<OsString> = parts(path);
    let mut hops = 0;
    while let Some(part) = todo.pop() {
        if part == ".." {
            if !at.pop() {
                return Ok(Err(NoCandidate::Outside("its parent".to_owned())));
            }
            continue;
        }
        let next = at.join(&part);
        let full = tree.join(&next);
        match std::fs::symlink_metadata(&full) {
            Ok(meta) if meta.is_symlink() => {
                hops += 1;
                if hops > MAX_HOPS {
                    return Ok(Err(NoCandidate::Loop));
                }
                let target = std::fs::read_link(&full).map_err(fs_error(&full, "read"))?;
                let target = match target.strip_prefix(WORKSPACE) {
                    Ok(inside) => {
                        at = PathBuf::new();
                        inside.to_path_buf()
                    }
                    Err(_) if target.is_absolute() => {
                        return Ok(Err(NoCandidate::Outside(target.display().to_string())));
                    }
                    Err(_) => target,
                };
                todo.extend(parts(&target));
            }
            Ok(_) => at = next,
            Err(e) if is_absent(&e) => {
                at = next;
                at.extend(todo.into_iter().rev());
                return Ok(Ok(at));
            }
            Err(e) => return Err(fs_error(&full, "look at")(e)),
        }
    }
    Ok(Ok(at))
}

/// Components that matter, last first.
fn parts(path: &Path) -> Vec<OsString> {
    path.components()
        .rev()
        .filter_map(|c| match c {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some(OsString::from("..")),
            _ => None,
        })
        .collect()
}

/// Digest of a file, read in pieces.
pub(crate) fn digest_file(path: &Path) -> Result<Digest, FsError> {
    let mut file = File::open(path).map_err(fs_error(path, "read"))?;
    let mut hasher = Hasher::default();
    let mut buffer = vec![0; 64 << 10];
    loop {
        match file.read(&mut buffer).map_err(fs_error(path, "read"))? {
            0 => return Ok(hasher.finish()),
            n => hasher.update(&buffer[..n]),
        }
    }
}

/// Why the kernel would not execute `path`, in words: the interpreter that a script names, or the kind of file.
pub(crate) fn exec_problem(path: &Path, what: &str) -> String {
    let mut line = Vec::new();
    if let Ok(file) = File::open(path) {
        // Only the first line matters, and only so much of it as the kernel reads; unreadable is as good as empty here.
        BufReader::new(file.take(256)).read_until(b'\n', &mut line).ok();
    }
    let head = String::from_utf8_lossy(&line).trim_end().to_owned();
    match head.strip_prefix("#!").map(str::trim) {
        Some("") => format!("./executable is a script that names no interpreter ({what})"),
        Some(interpreter) => {
            format!(
                "./executable is a script whose interpreter `{interpreter}` cannot be run here ({what})"
            )
        }
        None if line.starts_with(b"\x7fELF") => {
            format!(
                "./executable is an ELF file that cannot be run here; another machine's, or its loader is missing ({what})"
            )
        }
        None if line.is_empty() => format!("./executable is empty ({what})"),
        None => format!("./executable is neither a program nor a script with a `#!` line ({what})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::symlink;

    fn program(path: &Path, mode: u32) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "#!/bin/sh\n").unwrap();
        std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_candidate_is_a_regular_executable_file_inside_the_tree() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        let exe = tree.join(NAME);
        std::fs::create_dir(&tree).unwrap();
        program(&dir.path().join("outside"), 0o755);
        assert_eq!(find(&tree).unwrap(), Err(NoCandidate::Absent));
        program(&exe, 0o755);
        assert_eq!(find(&tree).unwrap(), Ok(exe.clone()));
        program(&exe, 0o644);
        assert_eq!(find(&tree).unwrap(), Err(NoCandidate::NotExecutable));
        std::fs::remove_file(&exe).unwrap();
        std::fs::create_dir(&exe).unwrap();
        assert_eq!(find(&tree).unwrap(), Err(NoCandidate::Directory));
        std::fs::remove_dir(&exe).unwrap();

        program(&tree.join("target/release/tool"), 0o755);
        let inside = Ok(tree.join("target/release/tool"));
        let link = |target: &str| {
            std::fs::remove_file(&exe).ok();
            symlink(target, &exe).unwrap();
            find(&tree).unwrap()
        };
        assert_eq!(link("target/release/tool"), inside);
        assert_eq!(link("/workspace/target/release/../release/tool"), inside);
        assert_eq!(link("no/such"), Err(NoCandidate::Dangling("no/such".to_owned())));
        assert_eq!(link("/bin/sh"), Err(NoCandidate::Outside("/bin/sh".to_owned())));
        assert!(matches!(link("../outside"), Err(NoCandidate::Outside(_))));
        assert!(matches!(link("/workspace/../bin/sh"), Err(NoCandidate::Outside(_))));
        assert_eq!(link("executable"), Err(NoCandidate::Loop));
        symlink("..", tree.join("up")).unwrap();
        assert!(matches!(link("up/outside"), Err(NoCandidate::Outside(_))));
    }

    #[test]
    fn what_cannot_be_executed_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        for (text, part) in [
            ("#!/no/such/thing -x\n", "`/no/such/thing -x`"),
            ("", "is empty"),
            ("hello", "neither a program nor a script"),
            ("\x7fELF....", "ELF file"),
        ] {
            std::fs::write(&path, text).unwrap();
            let problem = exec_problem(&path, "ENOENT");
            assert!(problem.contains(part) && problem.contains("ENOENT"), "{problem}");
        }
    }
}
