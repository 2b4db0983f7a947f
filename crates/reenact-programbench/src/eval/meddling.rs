//! What a program changed, while it was tested, of what its tests rest on: the container's tools and Python, and the suite's own
//! files.
//!
//! A container's upper directory has whatever was changed in it, also a directory in which something was for a moment only.
//! What the suite's own script did is told from what came later by `st_ctime`, which nobody sets who may not set the clock.

use super::error::EvalError;
use flate2::read::MultiGzDecoder;
use reenact_bundle::fsx::fs_error;
use reenact_sandbox::unpack::{Kind, walk};
use std::collections::BTreeSet;
use std::fs::{DirEntry, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

/// Entries of an archive, and of what was changed, that are looked at.
const ENTRIES: usize = 2_000_000;
/// Bytes that follow an archive's last entry.
const UNPACKED: u64 = 1 << 30;
/// Places that are told.
const TOLD: usize = 5;

/// Top-level directories with programs, libraries and settings.
const SYSTEM: &[&str] =
    &["usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "libexec", "opt", "etc"];
/// Top-level directories that programs may write in.
const FREE: &[&str] = &["tmp", "var", "run", "proc", "dev", "sys", "workspace"];
/// What a home directory has of the same.
const OF_HOME: &[&str] = &[
    ".local/bin",
    ".local/lib",
    "bin",
    ".profile",
    ".bash_profile",
    ".bash_login",
    ".bashrc",
    ".gitconfig",
    ".config/git",
    ".config/pip",
];
/// Files of a suite's directories that Python or pytest load when they are there.
const CODE: &[&str] = &["py", "pyc", "so", "pth"];
const CONFIG: &[&str] = &[
    "pytest.ini",
    ".pytest.ini",
    "pytest.toml",
    ".pytest.toml",
    "tox.ini",
    "setup.cfg",
    "pyproject.toml",
];

/// What tests rest on.
#[derive(Clone, Debug, Default)]
pub(super) struct Protected {
    /// Below the root: `usr`, `root/.local/lib`.
    places: BTreeSet<PathBuf>,
    /// Top-level directories of `places` in which nothing needs to be changed.
    whole: BTreeSet<String>,
    /// The suite's files and directories, below the workspace.
    suite: BTreeSet<PathBuf>,
}

/// What was changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Meddled {
    /// The first places.
    pub places: Vec<String>,
    /// How many there are.
    pub count: usize,
    /// Top-level directories with homes in which something was changed: `root`, `home`.
    pub homes: BTreeSet<String>,
}

impl Meddled {
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn add(&mut self, place: String) {
        self.count += 1;
        if self.places.len() < TOLD {
            self.places.push(place);
        }
    }
}

impl std::fmt::Display for Meddled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.places.join(", "))?;
        match self.count - self.places.len() {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

impl Protected {
    /// Of a branch's archive in an image with this environment (`NAME=value`).
    pub(super) fn new(blob: &Path, env: &[String]) -> Result<Self, EvalError> {
        let mut out = Self { suite: listing(blob)?, ..Self::default() };
        for name in SYSTEM {
            out.places.insert(name.into());
            out.whole.insert((*name).to_owned());
        }
        let search = ["PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH"];
        let values =
            env.iter().filter_map(|v| v.split_once('=')).filter(|(k, _)| search.contains(k));
        for dir in values.flat_map(|(_, v)| v.split(':')) {
            out.add_searched(Path::new(dir));
        }
        Ok(out)
    }

    /// A directory in which programs or modules are looked for.
    fn add_searched(&mut self, dir: &Path) {
        let Ok(place) = dir.strip_prefix("/") else { return };
        let plain = place.components().all(|c| matches!(c, Component::Normal(_)));
        let Some(top) = place.iter().next().and_then(|t| t.to_str()).filter(|_| plain) else {
            return;
        };
        if is_home(top) {
            // `root/venv/bin` has its libraries beside it; `root/bin` has not.
            let depth = if top == "home" { 3 } else { 2 };
            let up = place.parent().filter(|p| p.iter().count() >= depth).unwrap_or(place);
            self.places.insert(up.to_path_buf());
        } else if !FREE.contains(&top) {
            self.places.insert(top.into());
            self.whole.insert(top.to_owned());
        }
    }

    /// What has to be read-only, so that none of it can be changed; of homes, those that are named.
    pub(super) fn read_only(&self, homes: &BTreeSet<String>) -> Vec<String> {
        let tops: BTreeSet<String> = self
            .suite
            .iter()
            .filter_map(|p| p.iter().next()?.to_str())
            .map(|top| format!("workspace/{top}"))
            .collect();
        self.whole.iter().chain(homes).cloned().chain(tops).collect()
    }

    /// Looks at what a container that has ended has changed since `began` (nanoseconds since 1970). The suite lies in a layer
    /// below it: directories of layers cannot be renamed, and a changed file is in the upper directory.
    pub(super) fn look(&self, upper: &Path, began: u64) -> Meddled {
        let mut look = Look { upper, began, seen: 0, meddled: Meddled::default() };
        look.top(self);
        look.meddled
    }
}

fn is_home(top: &str) -> bool {
    top == "root" || top == "home"
}

/// A walk through an upper directory. What cannot be looked at was made so, and counts as changed: never a failure of ours.
struct Look<'a> {
    upper: &'a Path,
    began: u64,
    seen: usize,
    meddled: Meddled,
}

impl Look<'_> {
    /// Entries of a directory, in order; links are not followed, as no name on the way was one.
    fn list(&mut self, place: &Path) -> Vec<(PathBuf, Metadata)> {
        let entries = std::fs::read_dir(self.upper.join(place))
            .and_then(Iterator::collect::<std::io::Result<Vec<DirEntry>>>);
        let found = entries.and_then(|mut entries| {
            entries.sort_by_key(DirEntry::file_name);
            let found = entries.iter().map(|e| Ok((place.join(e.file_name()), e.metadata()?)));
            found.collect::<std::io::Result<Vec<_>>>()
        });
        match found {
            Ok(found) if self.seen + found.len() <= ENTRIES => {
                self.seen += found.len();
                found
            }
            Ok(_) => {
                self.meddled.add(format!("more than {ENTRIES} files"));
                Vec::new()
            }
            Err(e) => {
                self.meddled.add(format!("/{} ({e})", place.display()));
                Vec::new()
            }
        }
    }

    fn is_new(&self, meta: &Metadata) -> bool {
        let nanos = i128::from(meta.ctime()) * 1_000_000_000 + i128::from(meta.ctime_nsec());
        nanos >= i128::from(self.began)
    }

    fn top(&mut self, protected: &Protected) {
        for (place, meta) in self.list(Path::new("")) {
            let name = place.to_string_lossy().into_owned();
            match (name.as_str(), meta.is_dir()) {
                ("workspace", true) => self.workspace(protected, &place),
                ("root", true) => self.home(protected, &place, "root"),
                ("home", true) => {
                    for (home, meta) in self.list(&place) {
                        if meta.is_dir() {
                            self.home(protected, &home, "home");
                        }
                    }
                }
                ("workspace" | "root" | "home", false) => self.meddled.add(format!("/{name}")),
                _ if protected.places.contains(&place) => self.everything(place, &meta),
                _ => {}
            }
        }
    }

    /// Whatever is new in a place, and the place itself.
    fn everything(&mut self, place: PathBuf, meta: &Metadata) {
        let mut todo = vec![(place, meta.clone())];
        while let Some((place, meta)) = todo.pop() {
            // A directory is new because of what is new in it, or was.
            if meta.is_dir() {
                let inside = self.list(&place);
                let explained = inside.iter().any(|(_, m)| self.is_new(m));
                todo.extend(inside.into_iter().rev());
                if explained {
                    continue;
                }
            }
            if self.is_new(&meta) {
                self.meddled.add(format!("/{}", place.display()));
            }
        }
    }

    fn home(&mut self, protected: &Protected, home: &Path, top: &str) {
        let before = self.meddled.count;
        let places = OF_HOME.iter().map(|p| home.join(p));
        let searched = protected.places.iter().filter(|p| p.starts_with(home)).cloned();
        for place in places.chain(searched) {
            match self.reach(&place) {
                Ok(Some(meta)) => self.everything(place, &meta),
                Ok(None) => {}
                Err(e) => self.meddled.add(format!("/{} ({e})", place.display())),
            }
        }
        if self.meddled.count > before {
            self.meddled.homes.insert(top.to_owned());
        }
    }

    /// What is at a place, or at the first link or file on the way to it.
    fn reach(&self, place: &Path) -> std::io::Result<Option<Metadata>> {
        let mut found = None;
        let mut so_far = self.upper.to_path_buf();
        for part in place {
            so_far.push(part);
            match so_far.symlink_metadata() {
                Ok(meta) if meta.is_dir() => found = Some(meta),
                Ok(meta) => return Ok(Some(meta)),
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
                Err(e) => return Err(e),
            }
        }
        Ok(found)
    }

    /// The suite's own files, and code that was put among them. The rest of the workspace is the submission's.
    fn workspace(&mut self, protected: &Protected, place: &Path) {
        let inside = |place: &Path| place.strip_prefix("workspace").unwrap_or(place).to_path_buf();
        let mut todo = self.list(place);
        todo.retain(|(place, _)| protected.suite.contains(&inside(place)));
        todo.reverse();
        while let Some((place, meta)) = todo.pop() {
            let name = inside(&place);
            let suites = protected.suite.contains(&name);
            if meta.is_dir() {
                // Emptied and made anew, or a file's place.
                if suites && is_opaque(&self.upper.join(&place)).unwrap_or(true) {
                    self.meddled.add(format!("/{}", place.display()));
                }
                let below = self.list(&place);
                todo.extend(below.into_iter().rev());
            } else if self.is_new(&meta) && (suites || is_code(&name)) {
                self.meddled.add(format!("/{}", place.display()));
            }
        }
    }
}

/// Whether a directory of an upper directory hides those below it.
pub(super) fn is_opaque(dir: &Path) -> std::io::Result<bool> {
    let mut opaque = None;
    // Ended at once: the directory itself is all that is asked for.
    let ended = walk(dir, 1, &mut |entry| {
        opaque = Some(matches!(entry.kind, Kind::Dir { opaque: true }));
        Err(std::io::Error::other("seen"))
    });
    opaque.map_or_else(|| ended.map(|()| false), Ok)
}

/// Whether a file that is not the suite's would be loaded from a directory that is.
fn is_code(inside: &Path) -> bool {
    let name = inside.file_name().unwrap_or_default().to_string_lossy();
    let end = inside.extension().unwrap_or_default().to_string_lossy();
    CODE.contains(&&*end) || CONFIG.contains(&&*name)
}

/// Files and directories of a branch's archive. What the evaluation itself replaces is left out.
fn listing(blob: &Path) -> Result<BTreeSet<PathBuf>, EvalError> {
    let bad =
        |e: std::io::Error| EvalError::BadBlob { blob: blob.to_path_buf(), what: e.to_string() };
    let file = std::fs::File::open(blob).map_err(fs_error(blob, "read"))?;
    let mut archive = tar::Archive::new(MultiGzDecoder::new(file));
    let mut names = BTreeSet::new();
    for entry in archive.entries().map_err(bad)? {
        let entry = entry.map_err(bad)?;
        let path = entry.path().map_err(bad)?;
        let path: PathBuf =
            path.components().filter(|c| matches!(c, Component::Normal(_))).collect();
        if names.len() >= ENTRIES {
            return Err(bad(std::io::Error::other(format!("it has more than {ENTRIES} entries"))));
        }
        let replaced = ["executable", "results.xml", "eval/results.xml"];
        if !replaced.iter().any(|r| path == Path::new(r)) {
            names.extend(path.ancestors().filter(|p| *p != Path::new("")).map(Path::to_path_buf));
        }
    }
    // To its very end: an archive that was cut off, or has something else behind it, is told here and not by a container.
    let rest = std::io::copy(&mut archive.into_inner().take(UNPACKED), &mut std::io::sink());
    match rest.map_err(bad)? {
        UNPACKED => Err(bad(std::io::Error::other("it unpacks to too much"))),
        _ => Ok(names),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::time::{SystemTime, UNIX_EPOCH};

    struct Case {
        dir: tempfile::TempDir,
        protected: Protected,
    }

    impl Case {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let blob = dir.path().join("b.tar.gz");
            let file = std::fs::File::create(&blob).unwrap();
            let mut archive = tar::Builder::new(GzEncoder::new(file, Compression::fast()));
            for name in ["./eval/run.sh", "eval/expected/1.txt", "eval/results.xml", "notes.txt"] {
                let mut header = tar::Header::new_gnu();
                header.set_size(0);
                archive.append_data(&mut header, name, std::io::empty()).unwrap();
            }
            archive.into_inner().unwrap().finish().unwrap();
            let env = [
                "PATH=/usr/bin:/venv/bin:/root/.cargo/bin:/root/bin:/tmp/bin::relative",
                "PYTHONPATH=/home/agent/lib",
                "EDITOR=/elsewhere/vi",
            ];
            let protected = Protected::new(&blob, &env.map(str::to_owned)).unwrap();
            std::fs::create_dir(dir.path().join("upper")).unwrap();
            Self { dir, protected }
        }

        fn upper(&self) -> PathBuf {
            self.dir.path().join("upper")
        }

        /// What is told of this change.
        fn changed(&self, path: &str) -> Meddled {
            let full = self.upper().join(path);
            std::fs::create_dir_all(full.parent().unwrap()).unwrap();
            std::fs::write(&full, "").unwrap();
            let found = self.protected.look(&self.upper(), 0);
            std::fs::remove_dir_all(self.upper()).unwrap();
            std::fs::create_dir(self.upper()).unwrap();
            found
        }
    }

    #[test]
    fn what_tests_rest_on_is_found_and_nothing_else() {
        let case = Case::new();
        for path in [
            "usr/local/bin/diff",
            "etc/ld.so.preload",
            "bin",
            "lib64/x.so",
            "opt/a/b/c",
            "venv/lib/python3/site-packages/x.py",
            "root/.local/lib/python3.11/site-packages/x.pth",
            "root/.bashrc",
            "root/.cargo/bin/cargo",
            "home/agent/.profile",
            "home/agent/lib/x.py",
            "workspace/eval/run.sh",
            "workspace/eval/expected/1.txt",
            "workspace/eval/expected/new/json/__init__.py",
            "workspace/eval/pytest.ini",
            "workspace/notes.txt",
            "workspace",
        ] {
            let found = case.changed(path);
            assert_eq!(found.places, [format!("/{path}")]);
            let home = path.split('/').next().filter(|top| is_home(top));
            assert_eq!(found.homes.iter().next().map(String::as_str), home, "{path}");
        }
        for path in [
            "tmp/x.py",
            "var/tmp/x",
            "var/lib/x",
            "root/.cache/x",
            "root/.myrc",
            "root/.config/mine/x",
            "home/agent/data.txt",
            "elsewhere/vi",
            "workspace/executable",
            "workspace/out.txt",
            "workspace/json.py",
            "workspace/src/conftest.py",
            "workspace/eval/results.xml",
            "workspace/eval/expected/out.txt",
        ] {
            let found = case.changed(path);
            assert!(found.is_empty(), "{path}: {found:?}");
        }
    }

    #[test]
    fn older_changes_are_the_suites_own_and_a_directory_tells_of_what_was_in_it() {
        let case = Case::new();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
        std::fs::create_dir_all(case.upper().join("usr/lib/deep")).unwrap();
        std::fs::write(case.upper().join("usr/lib/deep/x"), "").unwrap();
        let hour = 3_600_000_000_000;
        assert!(case.protected.look(&case.upper(), now + hour).is_empty());
        std::fs::remove_file(case.upper().join("usr/lib/deep/x")).unwrap();
        let found = case.protected.look(&case.upper(), now - hour);
        assert_eq!(found.places, ["/usr/lib/deep"]);
        for i in 0..9 {
            std::fs::write(case.upper().join(format!("usr/{i}")), "").unwrap();
        }
        let found = case.protected.look(&case.upper(), now - hour).to_string();
        assert_eq!(found, "/usr/0, /usr/1, /usr/2, /usr/3, /usr/4 and 5 more");
    }

    #[test]
    fn links_are_not_followed_and_what_cannot_be_read_was_changed() {
        let case = Case::new();
        let outside = case.dir.path().join("outside");
        std::fs::create_dir_all(outside.join("expected")).unwrap();
        std::fs::write(outside.join("run.sh"), "").unwrap();
        let workspace = case.upper().join("workspace");
        std::fs::create_dir_all(&workspace).unwrap();
        std::os::unix::fs::symlink(&outside, workspace.join("eval")).unwrap();
        let found = case.protected.look(&case.upper(), 0);
        assert_eq!(found.places, ["/workspace/eval"]);
        std::fs::create_dir(case.upper().join("root")).unwrap();
        std::os::unix::fs::symlink(&outside, case.upper().join("root/.local")).unwrap();
        let found = case.protected.look(&case.upper(), 0);
        assert_eq!(found.homes.len(), 1, "{found:?}");
        // Deeper than a path may be long: two chains, one moved to the other's end.
        let chain: PathBuf = (0..12).map(|_| "d".repeat(200)).collect();
        let (usr, moved) = (case.upper().join("usr"), case.upper().join("moved"));
        std::fs::create_dir_all(usr.join(&chain)).unwrap();
        std::fs::create_dir_all(moved.join(&chain)).unwrap();
        std::fs::rename(&moved, usr.join(&chain).join("moved")).unwrap();
        let found = case.protected.look(&case.upper(), u64::MAX);
        assert_eq!(found.count, 1, "{found:?}");
        assert!(found.places[0].contains("too long"), "{found:?}");
    }

    #[test]
    fn what_is_made_read_only_is_the_whole_of_it() {
        let case = Case::new();
        let read_only = case.protected.read_only(&BTreeSet::from(["root".to_owned()]));
        for place in ["usr", "etc", "venv", "root", "workspace/eval", "workspace/notes.txt"] {
            assert!(read_only.iter().any(|p| p == place), "{place} is not in {read_only:?}");
        }
        assert!(!read_only.iter().any(|p| p == "home" || p == "workspace" || p == "tmp"));
    }
}
