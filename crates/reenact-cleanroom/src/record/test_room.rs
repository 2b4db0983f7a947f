//! A directory that stands for a room, and a task bundle for tests.

use super::files::Files;
use reenact_bundle::TaskBundle;
use reenact_model::Digest;
use reenact_sandbox::SandboxError;
use reenact_sandbox::room::{TreeEntry, TreeKind};
use std::cell::RefCell;
use std::ffi::OsStr;
use std::fs::{File, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Files opened for reading, for tests of what is read.
type Opened = RefCell<Vec<String>>;

type Meddle = Box<dyn FnMut(&Path)>;

/// A room without processes: its root is a temporary directory.
pub(crate) struct Dir {
    root: tempfile::TempDir,
    pub opened: Opened,
    /// Called before a file is opened.
    pub meddle: RefCell<Option<Meddle>>,
}

impl Dir {
    pub(crate) fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        for dir in ["workspace", "home/user", "tmp"] {
            std::fs::create_dir_all(root.path().join(dir)).unwrap();
        }
        // The stub.
        std::fs::write(root.path().join("workspace/executable"), b"stub").unwrap();
        Self { root, opened: Opened::default(), meddle: RefCell::default() }
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path.trim_start_matches('/'))
    }

    pub(crate) fn write(&self, path: &str, mode: u32, bytes: &[u8]) {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    }

    fn walk(&self, dir: &Path, prefix: &[u8], out: &mut Vec<TreeEntry>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let m = std::fs::symlink_metadata(&path).unwrap();
            let mut name = prefix.to_vec();
            name.extend_from_slice(path.file_name().unwrap().as_bytes());
            let kind = if m.is_file() {
                TreeKind::File
            } else if m.is_dir() {
                TreeKind::Dir
            } else if m.is_symlink() {
                let target = std::fs::read_link(&path).unwrap();
                TreeKind::Symlink { target: target.as_os_str().as_bytes().to_vec() }
            } else {
                TreeKind::Special
            };
            let ns = |s: i64, n: i64| i128::from(s) * 1_000_000_000 + i128::from(n);
            let is_dir = m.is_dir();
            out.push(TreeEntry {
                path: name.clone(),
                kind,
                mode: m.mode() & 0o7777,
                size: m.size(),
                ino: m.ino(),
                mtime_ns: ns(m.mtime(), m.mtime_nsec()),
                ctime_ns: ns(m.ctime(), m.ctime_nsec()),
            });
            if is_dir {
                name.push(b'/');
                self.walk(&path, &name, out);
            }
        }
    }
}

impl Files for Dir {
    fn list(&self, dir: &str, max_entries: usize) -> Result<Vec<TreeEntry>, SandboxError> {
        let mut out = Vec::new();
        self.walk(&self.path(dir), b"", &mut out);
        if out.len() > max_entries {
            let what = format!("holds more than {max_entries} entries");
            return Err(SandboxError::Spec { path: PathBuf::from(dir), what });
        }
        out.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(out)
    }

    fn open(&self, dir: &str, path: &[u8]) -> Result<Option<File>, SandboxError> {
        let path = self.path(dir).join(OsStr::from_bytes(path));
        if let Some(meddle) = self.meddle.borrow_mut().as_mut() {
            meddle(&path);
        }
        self.opened.borrow_mut().push(path.file_name().unwrap().to_string_lossy().into_owned());
        let nofollow = libc_nofollow();
        Ok(std::fs::OpenOptions::new().read(true).custom_flags(nofollow).open(path).ok())
    }

    fn put(&self, from: &Path, to: &str) -> Result<(), SandboxError> {
        copy(from, &self.path(to));
        Ok(())
    }

    fn remove(&self, dir: &str, paths: &[Vec<u8>]) -> Result<(), SandboxError> {
        for path in paths {
            let path = self.path(dir).join(OsStr::from_bytes(path));
            if std::fs::symlink_metadata(&path).unwrap().is_dir() {
                std::fs::remove_dir_all(path).unwrap();
            } else {
                std::fs::remove_file(path).unwrap();
            }
        }
        Ok(())
    }

    fn alive(&self) -> bool {
        true
    }
}

/// O_NOFOLLOW on Linux.
fn libc_nofollow() -> i32 {
    0o400_000
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        let m = std::fs::symlink_metadata(&path).unwrap();
        if m.is_dir() {
            std::fs::create_dir_all(&target).unwrap();
            copy(&path, &target);
            std::fs::set_permissions(&target, m.permissions()).unwrap();
        } else if m.is_symlink() {
            std::os::unix::fs::symlink(std::fs::read_link(&path).unwrap(), &target).unwrap();
        } else {
            std::fs::copy(&path, &target).unwrap();
            File::options()
                .read(true)
                .open(&target)
                .unwrap()
                .set_modified(m.modified().unwrap())
                .unwrap();
        }
    }
}

/// A bundle with this reference, whose tool is called figlet.
pub(crate) fn task(root: &Path, reference: &[u8]) -> TaskBundle {
    let dir = root.join("tasks/deb__figlet.1");
    std::fs::create_dir_all(dir.join("sealed")).unwrap();
    std::fs::create_dir_all(dir.join("docs/sub")).unwrap();
    std::fs::write(dir.join("sealed/reference"), reference).unwrap();
    std::fs::write(dir.join("docs/figlet.1.txt"), "FIGLET(6)\n").unwrap();
    std::fs::write(dir.join("docs/sub/more.txt"), "more\n").unwrap();
    let sha256 = Digest::of(reference);
    let text = format!(
        "schema = 1\n[task]\nid = \"deb__figlet.1\"\ntitle = \"t\"\nsplit = \"public\"\n\
         created = \"2026-01-01T00:00:00Z\"\n[source]\nkind = \"deb\"\nname = \"figlet\"\nversion = \"1\"\n\
         sha256 = \"{sha256}\"\nlicence = \"MIT\"\n[reference]\nsha256 = \"{sha256}\"\nsize = {}\nstatic = true\n\
         seal = \"sealed\"\nmasks = [\"/usr/bin/figlet\", \"/usr/share/figlet/big.flf\"]\n\
         [platform]\nos = \"linux\"\narch = \"x86_64\"\nrootfs = \"host\"\n",
        reference.len()
    );
    std::fs::write(dir.join("task.toml"), text).unwrap();
    TaskBundle::open(dir.to_str().unwrap()).unwrap()
}
