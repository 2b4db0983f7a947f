//! Whether a build left anything by which the submission could judge itself, and a workspace without it.
//!
//! The official run is in a container on all that the build changed. The strict score rests on a container where nothing but
//! the workspace is the submission's, and in the workspace nothing that pytest or Python would load by itself.

use super::build::{Built, STASH, wipe};
use super::error::EvalError;
use super::images::{Base, Images, Scratch};
use super::options::Options;
use super::station::{Halt, Station, WORKSPACE};
use reenact_sandbox::room::{ExecEnd, Input};
use std::collections::BTreeSet;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Entries of what a build changed that are looked at.
const ENTRIES: usize = 2_000_000;
/// Bytes of a configuration file that are looked at.
const CONFIG: u64 = 1 << 20;
/// Reasons that are told.
const REASONS: usize = 20;
/// Time to copy a workspace.
const COPY: Duration = Duration::from_secs(600);

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
    let scratch = match make(built, base, &found.inside, images, options) {
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

/// Copies workspace and executable into a container that the build has never touched, with its own tools, and removes there
/// what could change pytest.
fn make<'a>(
    built: &Built<'_>,
    base: &Base,
    remove: &[PathBuf],
    images: &'a dyn Images,
    options: &'a Options,
) -> Result<Scratch<'a>, Halt> {
    let from = Station::start(base, &[built.layer()], images, options, false)?;
    let to = Station::start(base, &[], images, options, false)?;
    wipe(&to, &mut Vec::new())?;
    copy(
        &from,
        &["tar", "-C", WORKSPACE, "-cf", "-", "."],
        &to,
        &["tar", "-C", WORKSPACE, "-xf", "-"],
    )?;
    let store = format!("cat > {STASH}");
    copy(&from, &["cat", STASH], &to, &["bash", "-c", &store])?;
    let mode = format!("chmod 755 {STASH}");
    to.must(&mut Vec::new(), "stash", &mode, Duration::from_secs(20))?;
    let mut names = Vec::new();
    for path in remove {
        names.extend_from_slice(b"./");
        names.extend_from_slice(path.as_os_str().as_bytes());
        names.push(0);
    }
    let argv = ["xargs", "-0", "-r", "rm", "-rf", "--"];
    let done = to.exec(&argv, Input::Bytes(names), COPY, Vec::new(), &mut std::io::sink())?;
    ended("removing files", done.end)?;
    drop(from);
    Ok(to.finish())
}

fn copy(from: &Station<'_>, read: &[&str], to: &Station<'_>, write: &[&str]) -> Result<(), Halt> {
    let host = |e| EvalError::from(reenact_sandbox::SandboxError::host("cannot make a pipe", e));
    let (reader, mut writer) = std::io::pipe().map_err(host)?;
    let (sent, received) = std::thread::scope(|scope| {
        let sending =
            scope.spawn(move || from.exec(read, Input::Null, COPY, Vec::new(), &mut writer));
        let received =
            to.exec(write, Input::Stream(Box::new(reader)), COPY, Vec::new(), &mut std::io::sink());
        let lost = || reenact_sandbox::SandboxError::Lost("a copying thread panicked".to_owned());
        (sending.join().map_err(|_| lost()), received)
    });
    ended("reading the workspace", sent??.end)?;
    ended("writing the copy", received?.end)
}

fn ended(what: &str, end: ExecEnd) -> Result<(), Halt> {
    if end == (ExecEnd::Exit { code: 0 }) {
        return Ok(());
    }
    let details = format!("{what} ended with {end:?}");
    Err(Halt::Step(super::station::StepError { code: "clean_copy_failed".to_owned(), details }))
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
            if let Ok(inside) = place.strip_prefix("workspace") {
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
            } else if kind.is_dir()
                && (leads_to_allowed(&place) || !is_replaced(&entry.path(), base, &place))
            {
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

/// A directory that the image does not have is the build's; of others, what is in them is looked at.
fn is_replaced(_entry: &Path, base: &Base, place: &Path) -> bool {
    !base.layers.iter().any(|layer| layer.join(place).symlink_metadata().is_ok_and(|m| m.is_dir()))
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
        let base = Base {
            name: "i".to_owned(),
            id: "i".to_owned(),
            config: reenact_image::ImageConfig::default(),
            layers: vec![image],
        };
        look(&upper, &base)
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
        let base = Base {
            name: "i".to_owned(),
            id: "i".to_owned(),
            config: reenact_image::ImageConfig::default(),
            layers: vec![dir.path().join("none")],
        };
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
