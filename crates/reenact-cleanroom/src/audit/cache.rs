//! Where the audit keeps what it learnt. Losing it costs time, nothing else.

use super::index::Index;
use super::verdict::Verdict;
use super::walk::Listing;
use reenact_bundle::write_atomic;
use reenact_model::Digest;
use std::fs::File;
use std::path::{Path, PathBuf};

/// Verdicts that are kept: about 2 MB each on a large host.
const MOST_VERDICTS: usize = 100;

/// A directory for indexes and verdicts, or none.
#[derive(Clone, Debug)]
pub struct Cache {
    dir: Option<PathBuf>,
}

impl Cache {
    /// `$XDG_CACHE_HOME/reenact/audit`, or the same under `~/.cache`; none if there is no home.
    pub fn standard() -> Self {
        let var = |name| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
        let base = var("XDG_CACHE_HOME").or_else(|| var("HOME").map(|h| h.join(".cache")));
        Self { dir: base.map(|b| b.join("reenact/audit")) }
    }

    /// A directory of one's own.
    pub fn at(dir: &Path) -> Self {
        Self { dir: Some(dir.to_path_buf()) }
    }

    /// Nothing is kept.
    pub fn none() -> Self {
        Self { dir: None }
    }

    fn file(&self, name: &str) -> Option<PathBuf> {
        self.dir.as_ref().map(|d| d.join(name))
    }

    /// One audit at a time reads a host's files; the others then find them in the index. Held until dropped; without it
    /// they all read, so failing to get it is no error.
    pub(crate) fn lock(&self) -> Option<File> {
        let dir = self.dir.as_ref()?;
        std::fs::create_dir_all(dir).ok()?;
        let lock = File::create(dir.join("lock")).ok()?;
        lock.lock().ok()?;
        Some(lock)
    }

    pub(crate) fn index(&self, tree: &str) -> Index {
        self.file(&format!("{tree}.index"))
            .and_then(|f| std::fs::read(f).ok())
            .and_then(|bytes| Index::decode(&bytes))
            .unwrap_or_default()
    }

    pub(crate) fn keep_index(&self, tree: &str, index: &Index, listing: &Listing) {
        if let Some(file) = self.file(&format!("{tree}.index")) {
            // A full disk costs the next audit time.
            let _kept = write_atomic(&file, &index.encode(listing));
        }
    }

    fn verdict_file(&self, tree: &str, secret: Digest) -> Option<PathBuf> {
        self.file(&format!("{tree}.{}.verdict", secret.short(32)))
    }

    pub(crate) fn verdict(&self, tree: &str, secret: Digest, subjects: usize) -> Option<Verdict> {
        let bytes = std::fs::read(self.verdict_file(tree, secret)?).ok()?;
        Verdict::decode(&bytes, subjects)
    }

    pub(crate) fn keep_verdict(&self, tree: &str, secret: Digest, verdict: &Verdict) {
        if let Some(file) = self.verdict_file(tree, secret) {
            // As above.
            let _kept = write_atomic(&file, &verdict.encode());
            self.prune();
        }
    }

    /// Removes the verdicts that were not renewed for the longest time, so that many tasks do not fill a disk.
    fn prune(&self) {
        let entries = self.dir.as_ref().and_then(|d| std::fs::read_dir(d).ok());
        let mut verdicts: Vec<_> = entries
            .into_iter()
            .flatten()
            .filter_map(|e| {
                let path = e.ok()?.path();
                path.extension().is_some_and(|x| x == "verdict").then_some(())?;
                Some((path.metadata().ok()?.modified().ok()?, path))
            })
            .collect();
        verdicts.sort();
        let surplus = verdicts.len().saturating_sub(MOST_VERDICTS);
        for (_, path) in verdicts.into_iter().take(surplus) {
            // Somebody else may have removed it.
            let _gone = std::fs::remove_file(path);
        }
    }
}
