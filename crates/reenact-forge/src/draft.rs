//! What a source delivers before it becomes a bundle.

use crate::provenance::Provenance;
use reenact_model::task::Source;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A reference with everything around it, in temporary places.
#[derive(Debug)]
pub(crate) struct Draft {
    /// Instance id.
    pub id: String,
    pub title: String,
    pub source: Source,
    /// The executable's bytes.
    pub reference: Vec<u8>,
    /// Libraries and data, as a tree to lay over a root filesystem.
    pub runtime: Option<PathBuf>,
    /// The tree with `compile.sh` that builds the reference.
    pub source_tree: Option<PathBuf>,
    /// Absolute paths to hide from builds and candidates.
    pub masks: Vec<String>,
    pub docs: RawDocs,
    pub build_log: String,
    pub copyright: Option<Vec<u8>>,
    /// Findings beside those of the seal check.
    pub findings: Vec<String>,
    pub provenance: Provenance,
}

/// Documentation as the source ships it: path in `docs/` → bytes (already unpacked).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RawDocs {
    /// Plain files.
    pub files: BTreeMap<String, Vec<u8>>,
    /// Manual pages as roff: name such as `figlet.6` → source, with `.so` lines already followed.
    pub pages: BTreeMap<String, Vec<u8>>,
}

/// An id from parts: characters that cannot stand in a file name become `-`.
pub(crate) fn task_id(source: &str, name: &str, version: &str) -> String {
    let clean = |text: &str| -> String {
        text.chars()
            .map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' })
            .collect()
    };
    let mut id = format!("{source}__{}.{}", clean(name), clean(version));
    id.truncate(150);
    id
}

/// Where programs of a given name live on a host, for masks.
pub(crate) fn command_paths(name: &str) -> Vec<String> {
    ["/usr/bin", "/usr/local/bin", "/usr/games", "/usr/sbin"]
        .iter()
        .map(|dir| format!("{dir}/{name}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_valid_whatever_the_version() {
        assert_eq!(task_id("crate", "hexyl", "0.17.0"), "crate__hexyl.0.17.0");
        assert_eq!(task_id("deb", "figlet", "2.2.5-3+b1"), "deb__figlet.2.2.5-3-b1");
        let odd = task_id("deb", "libfoo++", &"1:2~rc".repeat(60));
        assert!(reenact_model::task::is_valid_id(&odd), "{odd}");
    }
}
