//! Whether a build left anything by which the submission could judge itself, and a workspace without it.
//!
//! The official run is in a container on all that the build changed. The strict score rests on a container where nothing but
//! the workspace is the submission's, and in the workspace nothing that pytest or Python would load by itself.

use super::build::{Built, STASH};
use super::error::EvalError;
use super::images::{Base, Images, Scratch};
use super::meddling::is_opaque;
use super::options::Options;
use super::station::{Halt, WORKSPACE};
use super::workspace;
use std::collections::BTreeSet;
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Entries of what a build changed that are looked at.
const ENTRIES: usize = 2_000_000;
/// Bytes of a configuration file that are looked at.
const CONFIG: u64 = 1 << 20;
/// Reasons that are told.
const REASONS: usize = 20;

/// Directories outside the workspace in which neither Python, pytest nor a login shell looks for anything: what a compiler
/// keeps for the next time.
const CACHES: &[&str] = &[
    "tmp",
    "var/tmp",
    "root/.cache/go-build",
    "root/.cargo/registry",
    "root/.cargo/git",
    "root/go/pkg",
    "root/.m2",
    "root/.gradle",
    "root/.stack",
    "root/.cabal/packages",
];

/// Python's own modules (`sys.stdlib_module_names` of 3.8 to 3.13), pytest, and what they import.
const MODULES: &str = include_str!("modules.txt");

/// Where the strict score can come from.
pub(super) enum Clean<'a> {
    /// The official run.
    Same,
    /// A run on this layer.
    Layer {
        /// Keeps it.
        _scratch: Scratch<'a>,
        layer: PathBuf,
        reasons: Vec<String>,
    },
    /// Nowhere.
    Unsure { reasons: Vec<String> },
}

impl Clean<'_> {
    /// Why the official run is not good enough.
    pub(super) fn reasons(&self) -> &[String] {
        match self {
            Self::Same => &[],
            Self::Layer { reasons, .. } | Self::Unsure { reasons } => reasons,
        }
    }
}

/// What was found.
#[derive(Debug, Default)]
struct Found {
    outside: Vec<String>,
    /// Relative to the workspace; what is to be removed.
    inside: Vec<PathBuf>,
    too_many: bool,
}

/// Looks at a build, and makes a clean layer where one is needed.
pub(super) fn clean<'a>(
    built: &Built<'_>,
    base: &Base,
    images: &'a dyn Images,
    options: &'a Options,
) -> Result<Clean<'a>, EvalError> {
    let found = look(&built.layer(), base);
    if found.outside.is_empty() && found.inside.is_empty() && !found.too_many {
        return Ok(Clean::Same);
    }
    let mut reasons: Vec<String> =
        found.outside.iter().map(|p| format!("the build left {p}")).collect();
    reasons.extend(
        found.inside.iter().map(|p| format!("{WORKSPACE}/{} could change pytest", p.display())),
    );
    let more = reasons.len().saturating_sub(REASONS);
    reasons.truncate(REASONS);
    if more > 0 {
        reasons.push(format!("and {more} more"));
    }
    if found.too_many {
        reasons.push(format!("the build left more than {ENTRIES} files"));
        return Ok(Clean::Unsure { reasons });
    }
    layer(&built.layer(), base, found.inside, reasons, images, options)
}

/// A clean layer although nothing was found: where what was not found shows itself.
pub(super) fn forced<'a>(
    built: &Path,
    base: &Base,
    images: &'a dyn Images,
    options: &'a Options,
) -> Result<Clean<'a>, EvalError> {
    layer(built, base, Vec::new(), Vec::new(), images, options)
}

fn layer<'a>(
    built: &Path,
    base: &Base,
    leave_out: Vec<PathBuf>,
    mut reasons: Vec<String>,
    images: &'a dyn Images,
    options: &'a Options,
) -> Result<Clean<'a>, EvalError> {
    let scratch = match workspace::copy(built, base, &leave_out, images, options) {
        Ok(scratch) => scratch,
        Err(Halt::Harness(e)) => return Err(e),
        Err(Halt::Step(e)) => {
            reasons.push(format!("no clean copy could be made: {}: {}", e.code, e.details));
            return Ok(Clean::Unsure { reasons });
        }
    };
    let again = look(&scratch.upper(), base);
    if let Some(left) =
        again.outside.first().cloned().or(again.inside.first().map(|p| p.display().to_string()))
    {
        reasons.push(format!("the copy is not clean: {left}"));
        return Ok(Clean::Unsure { reasons });
    }
    let layer = scratch.upper();
    Ok(Clean::Layer { _scratch: scratch, layer, reasons })
}

impl Found {
    /// Made so that nobody can look (a path that is too long, for instance): the build's doing, never a failure of ours.
    fn cannot_be_seen(&mut self, place: &Path) {
        match place.strip_prefix("workspace") {
            Ok(inside) if inside != Path::new("") => self.inside.push(inside.to_path_buf()),
            _ => self.outside.push(format!("/{}", place.display())),
        }
    }
}

/// Walks what a build changed, without following links.
fn look(upper: &Path, base: &Base) -> Found {
    let modules: BTreeSet<&str> = MODULES.lines().filter(|l| !l.is_empty()).collect();
    let installed = installed(base);
    let mut found = Found::default();
    let mut todo = vec![PathBuf::new()];
    let mut seen = 0usize;
    while let Some(dir) = todo.pop() {
        let path = upper.join(&dir);
        let listed =
            std::fs::read_dir(&path).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
        let Ok(mut entries) = listed else {
            found.cannot_be_seen(&dir);
            continue;
        };
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            seen += 1;
            if seen > ENTRIES {
                found.too_many = true;
                return found;
            }
            let place = dir.join(entry.file_name());
            let Ok(kind) = entry.file_type() else {
                found.cannot_be_seen(&place);
                continue;
            };
            if place == Path::new("workspace") && !kind.is_dir() {
                // Whatever it leads to is looked at as little as it is a workspace.
                found.outside.push(WORKSPACE.to_owned());
            } else if let Ok(inside) = place.strip_prefix("workspace") {
                let removed = kind.is_char_device();
                if inside != Path::new("")
                    && !removed
                    && changes_pytest(inside, &entry.path(), kind, &modules, &installed)
                {
                    found.inside.push(inside.to_path_buf());
                } else if kind.is_dir() {
                    todo.push(place);
                }
            } else if is_allowed(&place) {
            } else if kind.is_dir() && !is_replaced(&entry.path(), base, &place) {
                todo.push(place);
            } else {
                found.outside.push(format!("/{}", place.display()));
            }
        }
    }
    found
}

fn is_allowed(place: &Path) -> bool {
    place == Path::new(&STASH[1..])
        || CACHES.iter().any(|c| place.starts_with(c) && place != Path::new(c))
}

fn leads_to_allowed(place: &Path) -> bool {
    Path::new(&STASH[1..]).starts_with(place)
        || CACHES.iter().any(|c| Path::new(c).starts_with(place))
}

/// Whether a directory is the build's: the image does not have it, or it hides what the image has in it, or is open or closed
/// to others than the image's. Of all others, what is in them is looked at.
fn is_replaced(entry: &Path, base: &Base, place: &Path) -> bool {
    let Some(image) = base.directory(place) else { return !leads_to_allowed(place) };
    let same = |own: std::fs::Metadata| {
        (own.mode(), own.uid(), own.gid()) == (image.mode(), image.uid(), image.gid())
    };
    !entry.symlink_metadata().is_ok_and(same) || is_opaque(entry).unwrap_or(true)
}

/// Whether pytest or Python would load a file of the workspace unasked.
fn changes_pytest(
    inside: &Path,
    real: &Path,
    kind: std::fs::FileType,
    modules: &BTreeSet<&str>,
    installed: &BTreeSet<String>,
) -> bool {
    let name = inside.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    if inside == Path::new("eval") || name == "conftest.py" {
        return true;
    }
    if inside.components().count() != 1 {
        return false;
    }
    match name.as_str() {
        "pytest.ini" | ".pytest.ini" | "pytest.toml" | ".pytest.toml" | "tox.ini" => return true,
        "setup.cfg" | "pyproject.toml" => return mentions_pytest(real),
        _ if name.ends_with(".pth") => return true,
        _ => {}
    }
    let module = if kind.is_dir() {
        let package = std::fs::read_dir(real).is_ok_and(|entries| {
            entries.flatten().any(|e| e.file_name().to_string_lossy().starts_with("__init__."))
        });
        if !package {
            return false;
        }
        name.as_str()
    } else {
        match name.split_once('.') {
            Some((module, end))
                if ["py", "pyc", "so"]
                    .iter()
                    .any(|e| end == *e || end.ends_with(&format!(".{e}"))) =>
            {
                module
            }
            _ => return false,
        }
    };
    modules.contains(module)
        || module.starts_with("pytest")
        || module.starts_with("_pytest")
        || installed.contains(module)
}

fn mentions_pytest(path: &Path) -> bool {
    let mut text = String::new();
    let is_file = path.symlink_metadata().is_ok_and(|m| m.is_file());
    // What is no plain text file, or links elsewhere, is not believed.
    if !is_file {
        return true;
    }
    match std::fs::File::open(path).map(|f| f.take(CONFIG).read_to_string(&mut text)) {
        Ok(Ok(_)) => text.contains("pytest"),
        _ => true,
    }
}

/// Modules that the image's Python has beside its own.
fn installed(base: &Base) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for layer in &base.layers {
        for lib in ["usr/lib", "usr/local/lib"] {
            let Ok(entries) = std::fs::read_dir(layer.join(lib)) else { continue };
            for python in
                entries.flatten().filter(|e| e.file_name().to_string_lossy().starts_with("python3"))
            {
                for packages in ["dist-packages", "site-packages"] {
                    let Ok(modules) = std::fs::read_dir(python.path().join(packages)) else {
                        continue;
                    };
                    names.extend(modules.flatten().map(|m| {
                        m.file_name()
                            .to_string_lossy()
                            .split('.')
                            .next()
                            .unwrap_or_default()
                            .to_owned()
                    }));
                }
            }
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Found {
        found_after(files, |_| ())
    }

    /// As found, with more done to the upper directory.
    fn found_after(files: &[(&str, &str)], more: impl Fn(&Path)) -> Found {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("image");
        for known in ["etc", "root", "usr/lib/python3/dist-packages/pexpect"] {
            std::fs::create_dir_all(image.join(known)).unwrap();
        }
        let upper = dir.path().join("upper");
        for (path, text) in files {
            let path = upper.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        std::fs::create_dir_all(&upper).unwrap();
        more(&upper);
        look(&upper, &Base::of_layers(vec![dir.path().join("top"), image]))
    }

    /// A layer's marks: a removed entry, a directory that shows nothing of those below.
    fn marked(upper: &Path, removed: &[&str], opaque: &[&str]) {
        let mut layer = reenact_sandbox::unpack::TreeWriter::new(upper).unwrap();
        removed.iter().for_each(|p| layer.whiteout(p.as_bytes()).unwrap());
        opaque.iter().for_each(|p| layer.opaque(p.as_bytes()).unwrap());
        layer.finish().unwrap();
    }

    #[test]
    fn what_hides_the_images_is_found() {
        let of = |removed: &[&str], opaque: &[&str]| {
            found_after(&[], |upper| marked(upper, removed, opaque)).outside
        };
        let package = "usr/lib/python3/dist-packages/pexpect";
        for place in ["etc", "root", "usr/lib", package] {
            assert_eq!(of(&[], &[place]), [format!("/{place}")], "opaque");
            assert_eq!(of(&[place], &[]), [format!("/{place}")], "removed");
        }
        // What the image does not have cannot be hidden: every new directory has the mark.
        for place in ["root/.cache", "opt", "tmp/x", "root/.cargo/registry/index"] {
            assert!(of(&[], &[place]).is_empty(), "{place}");
        }
        assert_eq!(of(&[], &["usr/lib/new"]), ["/usr/lib/new"]);
        assert!(of(&["workspace/x"], &["workspace/y"]).is_empty());
        let link =
            |upper: &Path| std::os::unix::fs::symlink("tmp/w", upper.join("workspace")).unwrap();
        assert_eq!(found_after(&[], link).outside, ["/workspace"]);
        let closed = |upper: &Path| {
            use std::os::unix::fs::PermissionsExt;
            std::fs::create_dir_all(upper.join("etc")).unwrap();
            std::fs::set_permissions(upper.join("etc"), PermissionsExt::from_mode(0o700)).unwrap();
        };
        assert_eq!(found_after(&[], closed).outside, ["/etc"]);
    }

    #[test]
    fn an_images_directory_is_what_its_topmost_layers_say() {
        let dir = tempfile::tempdir().unwrap();
        let layers: Vec<PathBuf> = ["top", "low"].iter().map(|l| dir.path().join(l)).collect();
        for place in ["kept", "gone", "emptied/below", "file"] {
            std::fs::create_dir_all(layers[1].join(place)).unwrap();
        }
        std::fs::create_dir_all(&layers[0]).unwrap();
        marked(&layers[0], &["gone"], &["emptied"]);
        std::fs::write(layers[0].join("file"), "").unwrap();
        std::os::unix::fs::symlink("/etc", layers[0].join("link")).unwrap();
        let base = Base::of_layers(layers);
        let has = |place: &str| base.directory(Path::new(place)).is_some();
        assert!(has("kept") && has("emptied") && has(""));
        for place in ["gone", "emptied/below", "file", "link", "link/ssl", "never"] {
            assert!(!has(place), "{place}");
        }
    }

    #[test]
    fn what_cannot_be_seen_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let mut deep = dir.path().join("upper/workspace/deep");
        std::fs::create_dir_all(&deep).unwrap();
        // Longer than PATH_MAX, made as a build would: a step at a time, by renaming what is there already below a new top.
        for _ in 0..40 {
            let top = dir.path().join("top");
            std::fs::create_dir(&top).unwrap();
            std::fs::rename(&deep, top.join("d".repeat(200))).unwrap();
            std::fs::rename(&top, &deep).unwrap();
        }
        deep = dir.path().join("upper");
        let base = Base::of_layers(vec![dir.path().join("none")]);
        let found = look(&deep, &base);
        assert!(found.inside.iter().any(|p| p.starts_with("deep")), "{:?}", found.inside.len());
        assert!(found.outside.is_empty());
    }

    #[test]
    fn an_ordinary_build_is_clean() {
        let got = found(&[
            ("workspace/compile.sh", ""),
            ("workspace/src/main.c", ""),
            ("workspace/src/json.py", "a module of a package is nobody's but its own"),
            ("workspace/setup.cfg", "[metadata]"),
            ("workspace/json/data.txt", "no package"),
            ("workspace/mine.py", ""),
            ("opt/programbench-stashed-executable-do-not-modify", ""),
            ("tmp/cc123.o", ""),
            ("root/.cache/go-build/00/x", ""),
            ("root/.cargo/registry/index/y", ""),
        ]);
        assert!(got.outside.is_empty() && got.inside.is_empty(), "{got:?}");
    }

    #[test]
    fn whatever_pytest_or_python_would_load_is_found() {
        let bad = [
            "conftest.py",
            "deep/er/conftest.py",
            "pytest.ini",
            "tox.ini",
            ".pytest.ini",
            "eval/tests/helper.py",
            "json.py",
            "pexpect.py",
            "subprocess.cpython-311-x86_64-linux-gnu.so",
            "_pytest/__init__.py",
            "sitecustomize.py",
            "x.pth",
        ];
        for name in bad {
            let got = found(&[(&format!("workspace/{name}"), "")]);
            assert_eq!(got.inside.len(), 1, "{name}: {got:?}");
        }
        assert_eq!(
            found(&[("workspace/pyproject.toml", "[tool.pytest.ini_options]")]).inside.len(),
            1
        );
        for outside in [
            "etc/ld.so.preload",
            "root/.profile",
            "root/.local/lib/x.py",
            "usr/bin/bash",
            "conftest.py",
        ] {
            let got = found(&[(outside, "")]);
            assert_eq!(got.outside.len(), 1, "{outside}: {got:?}");
        }
    }
}
