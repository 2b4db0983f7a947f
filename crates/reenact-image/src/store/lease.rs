//! Leases: a process that uses layers says so in a file that it keeps locked, so that `gc` leaves them alone.

use super::Store;
use super::files::{is_free, is_old, locked_file};
use crate::error::{ImageError, io_error};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// Layers in use, until it is dropped or the process ends.
#[derive(Debug)]
pub(crate) struct Lease {
    path: PathBuf,
    _held: File,
}

impl Drop for Lease {
    fn drop(&mut self) {
        // A file that stays is free as soon as its lock is, and then removed by others.
        std::fs::remove_file(&self.path).ok();
    }
}

/// Leases for the rest of this process's life, by store and layers.
static HELD: Mutex<BTreeMap<(PathBuf, Vec<String>), Lease>> = Mutex::new(BTreeMap::new());

/// Files of processes that are gone are removed when there are this many.
const MANY: usize = 64;

impl Store {
    /// Keeps layers (which need not be there yet) from being removed.
    pub(crate) fn lease(&self, layers: &[String]) -> Result<Lease, ImageError> {
        let dir = self.leases();
        let content = layers.join("\n");
        let name = unique_name(&dir)?;
        let held = locked_file(&dir, &name, content.as_bytes())?;
        Ok(Lease { path: dir.join(name), _held: held })
    }

    /// As [`Store::lease`], until the process ends.
    pub(crate) fn lease_for_life(&self, layers: &[String]) -> Result<(), ImageError> {
        let key = (self.root.clone(), layers.to_vec());
        let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Vacant(place) = held.entry(key) {
            place.insert(self.lease(layers)?);
        }
        Ok(())
    }

    /// Layers that living processes use. Leases of dead ones are removed.
    pub(crate) fn leased(&self) -> Result<BTreeSet<String>, ImageError> {
        let mut layers = BTreeSet::new();
        let dir = self.leases();
        let fail = || io_error(dir.display());
        for entry in std::fs::read_dir(&dir).map_err(fail())? {
            let path = entry.map_err(fail())?.path();
            let new = path.file_name().is_some_and(|n| n.as_encoded_bytes().starts_with(b".new-"));
            match is_free(&path) {
                Some(true) if !new || is_old(&path) => {
                    // Another process may have been quicker.
                    std::fs::remove_file(&path).ok();
                }
                Some(false) if !new => {
                    let text = std::fs::read_to_string(&path).unwrap_or_default();
                    layers.extend(text.lines().map(str::to_owned));
                }
                _ => {}
            }
        }
        Ok(layers)
    }

    /// Removes leases of dead processes where they have become many.
    pub(crate) fn tidy_leases(&self) {
        let many = std::fs::read_dir(self.leases()).is_ok_and(|list| list.count() > MANY);
        if many {
            // Only tidiness.
            self.leased().ok();
        }
    }
}

fn unique_name(dir: &std::path::Path) -> Result<String, ImageError> {
    let file = tempfile::Builder::new()
        .prefix(&format!("{}-", std::process::id()))
        .tempfile_in(dir)
        .map_err(io_error(dir.display()))?;
    // The name alone is wanted: the locked file gets it in a moment, and it holds a random part.
    let name = file.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(name)
}
