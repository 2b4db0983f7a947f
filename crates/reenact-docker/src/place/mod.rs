//! Containers on disk: a private directory with one directory a container and one file a name.
//!
//! ```text
//! <state>/<64 hex digits>/config.json   what it is
//!                         state.json    where it is in its life; written by its station alone
//!                         failed.json   why its station did not start
//!                         sock          its station, while that lives
//!                         output        what its main process wrote
//!                         log           what its station wrote
//! <state>/names/<name>                  the id that has the name
//! ```

mod config;

pub use config::{Config, Failure, State, Status};

use crate::error::DockerError;
use serde::Serialize;
use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// The directory of all containers of the user.
#[derive(Clone, Debug)]
pub struct Root(PathBuf);

/// The directory of one container.
#[derive(Clone, Debug)]
pub struct Place {
    pub id: String,
    pub dir: PathBuf,
    root: PathBuf,
}

impl Root {
    /// `REENACT_DOCKER_STATE`, else `$XDG_RUNTIME_DIR/reenact-docker`, else `reenact-docker-UID` in the directory for temporary
    /// files. Made with mode 0700 where it is missing.
    ///
    /// # Errors
    /// It is not ours alone, or cannot be made.
    pub fn open() -> Result<Self, DockerError> {
        let proc = Path::new("/proc/self");
        let me = std::fs::metadata(proc).map_err(DockerError::io("read", proc))?.uid();
        let dir =
            |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|d| d.is_absolute());
        let root = dir("REENACT_DOCKER_STATE")
            .or_else(|| {
                dir("XDG_RUNTIME_DIR").filter(|d| d.is_dir()).map(|d| d.join("reenact-docker"))
            })
            .unwrap_or_else(|| std::env::temp_dir().join(format!("reenact-docker-{me}")));
        Self::at(&root, me)
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        &self.0
    }

    fn at(root: &Path, me: u32) -> Result<Self, DockerError> {
        // A slash at the end would have the kernel follow a link.
        let root = &root.components().collect::<PathBuf>();
        match std::fs::DirBuilder::new().mode(0o700).create(root) {
            Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(DockerError::io("create", root)(e));
            }
            _ => {}
        }
        let meta = root.symlink_metadata().map_err(DockerError::io("read", root))?;
        if !meta.is_dir() || meta.uid() != me || meta.permissions().mode() & 0o077 != 0 {
            return Err(DockerError::Failed(format!(
                "{}: belongs to somebody else or can be entered by others; remove it, or set REENACT_DOCKER_STATE to a directory of yours (mode 0700)",
                root.display()
            )));
        }
        let names = root.join("names");
        match std::fs::DirBuilder::new().mode(0o700).create(&names) {
            Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
                Err(DockerError::io("create", &names)(e))
            }
            _ => Ok(Self(root.to_path_buf())),
        }
    }

    fn place(&self, id: &str) -> Place {
        Place { id: id.to_owned(), dir: self.0.join(id), root: self.0.clone() }
    }

    /// A new container with an id that no other has, and with this name or, without one, a name made from its id.
    ///
    /// # Errors
    /// [`DockerError::NameInUse`]; writing.
    pub fn make(&self, name: Option<&str>) -> Result<(Place, String), DockerError> {
        let id: String = (0..4).map(|_| format!("{:016x}", fastrand::u64(..))).collect();
        let place = self.place(&id);
        let name = name.map_or_else(|| format!("reenact-{}", &id[..12]), str::to_owned);
        let file = self.0.join("names").join(&name);
        // Again where the name belonged to a container that is gone without having given it back.
        for _ in 0..3 {
            match File::options().write(true).create_new(true).mode(0o600).open(&file) {
                Ok(mut open) => {
                    let made = open
                        .write_all(id.as_bytes())
                        .and_then(|()| std::fs::DirBuilder::new().mode(0o700).create(&place.dir));
                    made.map_err(|e| {
                        // The name must not stay taken by nobody.
                        let _freed = std::fs::remove_file(&file);
                        DockerError::io("create", &place.dir)(e)
                    })?;
                    return Ok((place, name));
                }
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
                    self.free_if_stale(&file);
                }
                Err(e) => return Err(DockerError::io("create", &file)(e)),
            }
        }
        let id = std::fs::read_to_string(&file).unwrap_or_default();
        Err(DockerError::NameInUse { name, id: short(&id).to_owned() })
    }

    /// Removes a name whose container is gone. A name without an id, or with one without a directory, may be in the making
    /// for a moment.
    fn free_if_stale(&self, file: &Path) {
        let stale = || {
            let id = std::fs::read_to_string(file).ok()?;
            let age = file.metadata().ok()?.modified().ok()?.elapsed().unwrap_or_default();
            let gone = !is_id(&id) || !self.0.join(&id).is_dir();
            Some(gone && age.as_secs() >= 10)
        };
        if stale() == Some(true) {
            // Another client may have done the same.
            let _freed = std::fs::remove_file(file);
        }
    }

    /// A container by name, id, or a beginning of its id that no other has.
    ///
    /// # Errors
    /// [`DockerError::NoContainer`]; [`DockerError::Usage`] if several ids begin so.
    pub fn find(&self, wanted: &str) -> Result<Place, DockerError> {
        let unknown = || DockerError::NoContainer(wanted.to_owned());
        let wanted = wanted.strip_prefix('/').unwrap_or(wanted);
        let plain = wanted.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c));
        if wanted.is_empty() || !plain || wanted.starts_with('.') {
            return Err(unknown());
        }
        if is_id(wanted) {
            let place = self.place(wanted);
            return if place.dir.is_dir() { Ok(place) } else { Err(unknown()) };
        }
        if let Ok(id) = std::fs::read_to_string(self.0.join("names").join(wanted))
            && is_id(&id)
            && self.0.join(&id).is_dir()
        {
            return Ok(self.place(&id));
        }
        let mut matching = self.ids()?.into_iter().filter(|id| id.starts_with(wanted));
        match (matching.next(), matching.next()) {
            (Some(id), None) => Ok(self.place(&id)),
            (Some(_), Some(_)) => Err(DockerError::Usage(format!(
                "Multiple IDs found with provided prefix: {wanted}; give more digits"
            ))),
            _ => Err(unknown()),
        }
    }

    fn ids(&self) -> Result<Vec<String>, DockerError> {
        let entries = std::fs::read_dir(&self.0).map_err(DockerError::io("read", &self.0))?;
        let names = entries.filter_map(|e| e.ok()?.file_name().into_string().ok());
        let mut ids: Vec<String> = names.filter(|n| is_id(n)).collect();
        ids.sort();
        Ok(ids)
    }

    /// All containers, newest first.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn all(&self) -> Result<Vec<(Place, Config)>, DockerError> {
        let places = self.ids()?.into_iter().map(|id| self.place(&id));
        let mut all: Vec<_> = places.filter_map(|p| Some((p.config().ok()?, p))).collect();
        all.sort_by(|a, b| (&b.0.created, &a.0.id).cmp(&(&a.0.created, &b.0.id)));
        Ok(all.into_iter().map(|(config, place)| (place, config)).collect())
    }
}

impl Place {
    /// The one at `dir`.
    pub fn at(dir: &Path) -> Self {
        let id = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let root = dir.parent().unwrap_or(Path::new("/")).to_path_buf();
        Self { id, dir: dir.to_path_buf(), root }
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// What the container is.
    ///
    /// # Errors
    /// It has been removed, or is damaged.
    pub fn config(&self) -> Result<Config, DockerError> {
        let path = self.file("config.json");
        let bytes = std::fs::read(&path).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => DockerError::NoContainer(short(&self.id).to_owned()),
            _ => DockerError::io("read", &path)(e),
        })?;
        serde_json::from_slice(&bytes)
            .map_err(|e| DockerError::Failed(format!("{}: damaged: {e}", path.display())))
    }

    /// Where it is in its life. A station that was killed shows as [`Status::Dead`].
    pub fn state(&self) -> State {
        let mut state = self.read::<State>("state.json").unwrap_or_default();
        if state.status == Status::Running && self.connect().is_err() {
            // It may have ended between the two looks.
            state = self.read("state.json").unwrap_or_default();
            if state.status == Status::Running {
                state.status = Status::Dead;
                state.code = Some(137);
            }
        }
        state
    }

    pub fn failure(&self) -> Option<Failure> {
        self.read("failed.json")
    }

    fn read<T: serde::de::DeserializeOwned>(&self, name: &str) -> Option<T> {
        serde_json::from_slice(&std::fs::read(self.file(name)).ok()?).ok()
    }

    /// Writes a file of the container so that no reader sees a part of it.
    ///
    /// # Errors
    /// Writing.
    pub fn write(&self, name: &str, value: &impl Serialize) -> Result<(), DockerError> {
        let (path, beside) = (self.file(name), self.file(&format!("{name}.part")));
        // Plain data with string keys can always be serialised.
        let bytes = serde_json::to_vec_pretty(value).unwrap_or_default();
        std::fs::write(&beside, bytes)
            .and_then(|()| std::fs::rename(&beside, &path))
            .map_err(DockerError::io("write", &path))
    }

    /// The socket's path by way of a descriptor: the address of a unix socket may be 107 bytes long, a path may be longer.
    fn socket(&self) -> std::io::Result<(File, PathBuf)> {
        let dir = File::open(&self.dir)?;
        let path = PathBuf::from(format!("/proc/self/fd/{}/sock", dir.as_raw_fd()));
        Ok((dir, path))
    }

    pub fn listen(&self) -> Result<UnixListener, DockerError> {
        let bound = self.socket().and_then(|(_dir, path)| UnixListener::bind(path));
        bound.map_err(DockerError::io("listen on", &self.file("sock")))
    }

    /// A connection to the station.
    ///
    /// # Errors
    /// Nobody listens.
    pub fn connect(&self) -> std::io::Result<UnixStream> {
        let (_dir, path) = self.socket()?;
        UnixStream::connect(path)
    }

    /// Gives back a name, and removes the directory of a container that was never finished.
    pub fn discard(&self, name: &str) {
        // What stays is found by the next one who wants the name.
        let _freed = std::fs::remove_file(self.root.join("names").join(name));
        let _removed = std::fs::remove_dir_all(&self.dir);
    }

    /// Gives the name back and removes the directory; what is missing already is no error.
    ///
    /// # Errors
    /// Removing.
    pub fn remove(&self) -> Result<(), DockerError> {
        if let Ok(config) = self.config() {
            let file = self.root.join("names").join(&config.name);
            if std::fs::read_to_string(&file).is_ok_and(|id| id == self.id) {
                match std::fs::remove_file(&file) {
                    // Somebody else removes the same container, and was quicker.
                    Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                    other => other.map_err(DockerError::io("remove", &file))?,
                }
            }
        }
        match std::fs::remove_dir_all(&self.dir) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(DockerError::io("remove", &self.dir)(e))
            }
            _ => Ok(()),
        }
    }
}

/// Whether `text` is a container's whole id.
pub fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// The first twelve digits, as lists show them.
pub fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

/// Now, UTC, RFC 3339, with microseconds.
pub fn now() -> String {
    format!("{:.6}", jiff::Timestamp::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> (tempfile::TempDir, Root) {
        let temp = tempfile::tempdir().unwrap();
        let me = temp.path().metadata().unwrap().uid();
        let root = Root::at(&temp.path().join("state"), me).unwrap();
        (temp, root)
    }

    #[test]
    fn names_are_taken_once_and_given_back() {
        let (_temp, root) = root();
        let (place, name) = root.make(Some("box")).unwrap();
        assert_eq!(name, "box");
        let again = root.make(Some("box")).unwrap_err().to_string();
        assert!(again.contains("\"box\" is already in use by container"), "{again}");
        assert_eq!(root.find("box").unwrap().id, place.id);
        assert_eq!(root.find(&place.id[..12]).unwrap().id, place.id);
        assert_eq!(root.find(&place.id).unwrap().id, place.id);
        let (_, other) = root.make(None).unwrap();
        assert!(other.starts_with("reenact-"));
        std::fs::remove_dir_all(&place.dir).unwrap();
        assert!(root.find("box").is_err());
    }

    #[test]
    fn several_may_remove_the_same() {
        let (_temp, root) = root();
        for _ in 0..200 {
            let (place, name) = root.make(Some("box")).unwrap();
            let config = serde_json::json!({
                "id": place.id, "name": name, "image": "", "image_id": "", "created": "", "argv": [],
                "env": {}, "user": "", "cwd": "", "hostname": "", "init": false, "remove": false,
                "interactive": false, "store": "", "layers": [], "scratch": "", "host_network": false,
                "memory": null, "cpus": null, "processes": 1, "shm_bytes": 0, "capabilities": 0,
                "no_new_privileges": false, "mounts": [], "labels": {}, "stop_signal": 15,
                "stop_seconds": 1, "limits": "auto",
            });
            place.write("config.json", &config).unwrap();
            assert_eq!(place.config().unwrap().name, "box");
            let gate = std::sync::Barrier::new(4);
            let remove = || {
                gate.wait();
                place.remove().map_err(|e| e.to_string())
            };
            let all = std::thread::scope(|scope| {
                [(); 4].map(|()| scope.spawn(remove)).map(|one| one.join().unwrap())
            });
            assert_eq!(all, [const { Ok(()) }; 4]);
            assert!(!place.dir.exists() && root.find("box").is_err());
        }
    }

    #[test]
    fn names_are_no_paths() {
        let (_temp, root) = root();
        root.make(Some("ok")).unwrap();
        for bad in ["", "..", "../x", "names/ok", "a b", "/", "*"] {
            let said = root.find(bad).unwrap_err().to_string();
            assert!(said.contains("No such container"), "{bad:?}: {said}");
        }
    }

    #[test]
    fn a_directory_that_others_may_enter_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        let me = temp.path().metadata().unwrap().uid();
        let open = temp.path().join("open");
        std::fs::create_dir(&open).unwrap();
        std::fs::set_permissions(&open, PermissionsExt::from_mode(0o755)).unwrap();
        let said = Root::at(&open, me).unwrap_err().to_string();
        assert!(said.contains("can be entered by others"), "{said}");
    }
}
