//! The files a packaged program needs at run time, as a tree to lay over a root filesystem.

use super::apt::Package;
use super::closure::Closure;
use crate::error::ForgeError;
use crate::walk::{self, Node};
use reenact_bundle::fsx::fs_error;
use std::path::{Path, PathBuf};

/// Parts of packages that programs do not read at run time (or that are documentation).
const NOT_RUNTIME: [&str; 18] = [
    "usr/share/doc",
    "usr/share/doc-base",
    "usr/share/man",
    "usr/share/info",
    "usr/share/locale",
    "usr/share/lintian",
    "usr/share/bash-completion",
    "usr/share/zsh",
    "usr/share/fish",
    "usr/share/applications",
    "usr/share/icons",
    "usr/share/pixmaps",
    "usr/share/menu",
    "usr/share/bug",
    "usr/share/emacs",
    "usr/share/metainfo",
    "etc/emacs",
    "etc/bash_completion.d",
];
/// Where libraries of the closure go: the loader's first default directory on Debian.
const LIB_DIR: &str = "usr/lib/x86_64-linux-gnu";

/// `path` as it is on a merged-/usr system, where /bin, /sbin and /lib* are links into /usr.
pub(crate) fn merged(path: &Path) -> PathBuf {
    let first = path.components().next().map(|c| c.as_os_str().to_string_lossy().into_owned());
    match first.as_deref() {
        Some("bin" | "sbin" | "lib" | "lib32" | "lib64" | "libx32") => Path::new("usr").join(path),
        _ => path.to_path_buf(),
    }
}

fn is_runtime(path: &Path) -> bool {
    !NOT_RUNTIME.iter().any(|p| path.starts_with(p))
}

/// Regular files of a package that count as the program's own: what masks hide.
///
/// # Errors
/// [`ForgeError::Fs`].
pub(crate) fn own_files(package: &Package) -> Result<Vec<String>, ForgeError> {
    Ok(walk::tree(&package.tree)?
        .into_iter()
        .filter(|(path, node)| matches!(node, Node::File { .. }) && is_runtime(path))
        .map(|(path, _)| format!("/{}", merged(&path).display()))
        .collect())
}

/// Lays out the runtime tree in `to`; `None` if nothing is needed. The program's own file stays out: it is the sealed
/// part, and what is in the runtime tree can be read by whoever runs the program.
///
/// # Errors
/// [`ForgeError::Fs`].
pub(crate) fn lay_out(
    main: &Package,
    closure: &Closure,
    program: &Path,
    to: &Path,
) -> Result<Option<PathBuf>, ForgeError> {
    let sealed = reenact_bundle::fsx::read(&main.tree.join(program))?;
    let mut count = copy_package(main, Some(program), &sealed, to)?;
    for package in &closure.kin {
        count += copy_package(package, None, &sealed, to)?;
    }
    for (soname, file) in &closure.files {
        walk::copy_file(file, &to.join(LIB_DIR).join(soname), 0o644)?;
        count += 1;
    }
    Ok((count > 0).then(|| to.to_path_buf()))
}

/// Copies files and links of a package; returns how many. Copies of the program (`sealed`) under other names, as hard links
/// unpack to, stay out as well.
fn copy_package(
    package: &Package,
    program: Option<&Path>,
    sealed: &[u8],
    to: &Path,
) -> Result<u64, ForgeError> {
    let mut count = 0;
    for (path, node) in walk::tree(&package.tree)? {
        if !is_runtime(&path) {
            continue;
        }
        let target = to.join(merged(&path));
        match node {
            Node::File { mode, size } if Some(path.as_path()) != program => {
                let from = package.tree.join(&path);
                if size == sealed.len() as u64 && reenact_bundle::fsx::read(&from)? == sealed {
                    continue;
                }
                let mode = if mode & 0o111 == 0 { 0o644 } else { 0o755 };
                walk::copy_file(&from, &target, mode)?;
                count += 1;
            }
            Node::Symlink(link) => {
                // A link to the program would dangle, and tell nothing.
                if walk::resolve(&package.tree, &path).is_some_and(|r| Some(r.as_path()) == program)
                {
                    continue;
                }
                if let Some(parent) = target.parent() {
                    std::fs::create_dir_all(parent).map_err(fs_error(parent, "create"))?;
                }
                // Two packages of one source may ship the same link.
                if target.symlink_metadata().is_err() {
                    std::os::unix::fs::symlink(&link, &target)
                        .map_err(fs_error(&target, "create"))?;
                    count += 1;
                }
            }
            _ => {}
        }
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_usr_merged() {
        assert_eq!(merged(Path::new("bin/ls")), Path::new("usr/bin/ls"));
        assert_eq!(
            merged(Path::new("lib/x86_64-linux-gnu/a.so")),
            Path::new("usr/lib/x86_64-linux-gnu/a.so")
        );
        assert_eq!(merged(Path::new("usr/bin/ls")), Path::new("usr/bin/ls"));
        assert_eq!(merged(Path::new("etc/x")), Path::new("etc/x"));
    }

    #[test]
    fn the_program_and_documentation_stay_out_of_the_runtime_tree() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        for (path, text) in [
            ("usr/bin/fig", "sealed"),
            ("usr/bin/unfig", "sealed"),
            ("usr/bin/helper", "h"),
            ("usr/share/fig/font.flf", "f"),
            ("usr/share/doc/fig/README", "d"),
            ("usr/share/man/man6/fig.6.gz", "m"),
        ] {
            std::fs::create_dir_all(tree.join(path).parent().unwrap()).unwrap();
            std::fs::write(tree.join(path), text).unwrap();
        }
        std::os::unix::fs::symlink("fig", tree.join("usr/bin/alias")).unwrap();
        std::os::unix::fs::symlink("helper", tree.join("usr/bin/other")).unwrap();
        let package = Package {
            fields: Default::default(),
            archive: String::new(),
            sha256: reenact_model::Digest::of(b""),
            tree,
            postinst: None,
        };
        let out = dir.path().join("runtime");
        let closure = Closure::default();
        lay_out(&package, &closure, Path::new("usr/bin/fig"), &out).unwrap().unwrap();
        let files: Vec<String> = walk::tree(&out)
            .unwrap()
            .into_iter()
            .filter(|(_, n)| *n != Node::Dir)
            .map(|(p, _)| p.display().to_string())
            .collect();
        assert_eq!(files, ["usr/bin/helper", "usr/bin/other", "usr/share/fig/font.flf"]);
        let masks = own_files(&package).unwrap();
        assert!(masks.contains(&"/usr/bin/fig".to_owned()) && masks.len() == 4, "{masks:?}");
    }
}
