//! `task.toml` of an imported task: where it came from and what it holds. `kind = "programbench"` tells it from a bundle's.

use super::error::DatasetError;
use super::instance::Counts;
use reenact_bundle::FsError;
use reenact_bundle::fsx::{fs_error, read};
use reenact_model::digest::Hasher;
use reenact_model::error::parse_toml;
use reenact_model::{Digest, FormatError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The value of `kind`.
pub const KIND: &str = "programbench";
/// Format version; readers refuse another.
const SCHEMA: u32 = 1;

/// Contents of an imported task's `task.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskToml {
    pub schema: u32,
    /// [`KIND`].
    pub kind: String,
    pub task: About,
    pub source: Origin,
    pub counts: Counts,
    /// Digests of the copies: `task.yaml`, `tests.json`.
    pub files: BTreeMap<String, Digest>,
    /// Digests of `tests/<branch>.tar.gz`, by branch; those that were attached.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub blobs: BTreeMap<String, Digest>,
}

/// What the task is, so that listing it needs no other file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct About {
    pub id: String,
    pub repository: String,
    pub commit: String,
    pub language: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub difficulty: Option<String>,
    /// Image's name without its tag, in the benchmark's own organisation.
    pub image: String,
}

/// Where a task was taken from. Never a path of the machine that did it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// Version of the package, where it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub programbench: Option<String>,
    /// File name of the archive, if it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<String>,
    /// Digest of the archive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Digest>,
}

impl TaskToml {
    /// A manifest of this version.
    pub fn new(
        task: About,
        source: Origin,
        counts: Counts,
        files: BTreeMap<String, Digest>,
        blobs: BTreeMap<String, Digest>,
    ) -> Self {
        Self { schema: SCHEMA, kind: KIND.to_owned(), task, source, counts, files, blobs }
    }

    /// Parses and checks `task.toml`.
    ///
    /// # Errors
    /// [`FormatError`] with line and field.
    pub fn parse(file: &Path, text: &str) -> Result<Self, FormatError> {
        let manifest: Self = parse_toml(file, text)?;
        if manifest.kind != KIND {
            return Err(FormatError::field(file, None, "kind", format!("is not {KIND:?}")));
        }
        if manifest.schema != SCHEMA {
            let what =
                format!("schema {} is not supported; this version reads {SCHEMA}", manifest.schema);
            return Err(FormatError::field(file, None, "schema", what));
        }
        Ok(manifest)
    }

    /// Reads the manifest of the task at `dir`; `None` if that is no imported task.
    ///
    /// # Errors
    /// As [`TaskToml::parse`], for one that says that it is.
    pub fn read(dir: &Path) -> Result<Option<Self>, DatasetError> {
        let file = dir.join("task.toml");
        if !file.is_file() {
            return Ok(None);
        }
        let bytes = read(&file)?;
        let Ok(text) = std::str::from_utf8(&bytes) else { return Ok(None) };
        if !is_ours(text) {
            return Ok(None);
        }
        Ok(Some(Self::parse(&file, text)?))
    }

    /// Compares the files of the task at `dir` with their digests: each file's name, and what is wrong with it.
    pub fn verify(&self, dir: &Path) -> Vec<(String, Option<String>)> {
        let blobs = self.blobs.iter().map(|(b, digest)| (format!("tests/{b}.tar.gz"), digest));
        let files = self.files.iter().map(|(name, digest)| (name.clone(), digest));
        let check = |(name, want): (String, &Digest)| {
            let wrong = match file_digest(&dir.join(&name)) {
                Err(e) => Some(e.to_string()),
                Ok(got) if got != *want => Some(format!("has digest {got}, not {want}")),
                Ok(_) => None,
            };
            (name, wrong)
        };
        files.chain(blobs).map(check).collect()
    }

    /// The document.
    pub fn render(&self) -> String {
        // Plain data with string keys and no map before a value: serialising it cannot fail.
        toml::to_string(self).unwrap_or_default()
    }
}

/// Digest of a file of any size.
pub(crate) fn file_digest(path: &Path) -> Result<Digest, FsError> {
    let mut file = File::open(path).map_err(fs_error(path, "read"))?;
    let (mut hasher, mut buffer) = (Hasher::default(), vec![0; 1 << 16]);
    loop {
        match file.read(&mut buffer).map_err(fs_error(path, "read"))? {
            0 => return Ok(hasher.finish()),
            n => hasher.update(&buffer[..n]),
        }
    }
}

/// Whether a `task.toml` says that it is of this kind, whatever else is wrong with it.
fn is_ours(text: &str) -> bool {
    #[derive(Deserialize)]
    struct Kind {
        kind: Option<String>,
    }
    toml::from_str::<Kind>(text).is_ok_and(|k| k.kind.as_deref() == Some(KIND))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn manifest() -> impl Strategy<Value = TaskToml> {
        let text = "[ -~é]{0,12}";
        let digests = || prop::collection::btree_map("[a-z0-9.]{1,9}", any::<[u8; 32]>(), 0..3);
        let fix = |m: BTreeMap<String, [u8; 32]>| {
            m.into_iter().map(|(k, d)| (k, Digest::from_raw(d))).collect::<BTreeMap<_, _>>()
        };
        (
            (text, text, text, text, prop::option::of(text), text),
            (prop::option::of(text), prop::option::of(text), prop::option::of(any::<[u8; 32]>())),
            (0usize..9, 0usize..9, 0usize..9, 0usize..9),
            digests(),
            digests(),
        )
            .prop_map(move |(t, s, c, files, blobs)| {
                let (id, repository, commit, language, difficulty, image) = t;
                let sha256 = s.2.map(Digest::from_raw);
                TaskToml::new(
                    About { id, repository, commit, language, difficulty, image },
                    Origin { programbench: s.0, archive: s.1, sha256 },
                    Counts { branches: c.0, tests: c.1, ignored: c.2, active: c.3 },
                    fix(files),
                    fix(blobs),
                )
            })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(m in manifest()) {
            let text = m.render();
            prop_assert!(is_ours(&text));
            prop_assert_eq!(TaskToml::parse(Path::new("task.toml"), &text).unwrap(), m);
        }
    }

    #[test]
    fn other_tasks_are_not_of_this_kind() {
        let dir = tempfile::tempdir().unwrap();
        assert!(TaskToml::read(dir.path()).unwrap().is_none());
        let write = |text: &str| std::fs::write(dir.path().join("task.toml"), text).unwrap();
        write("schema = 1\n[task]\nid = \"x\"\n");
        assert!(TaskToml::read(dir.path()).unwrap().is_none());
        write("schema = 1\nkind = \"programbench\"\n");
        assert!(TaskToml::read(dir.path()).unwrap_err().to_string().contains("task.toml"));
    }
}
