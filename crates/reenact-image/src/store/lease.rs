//! Leases: a process that uses layers says so in a file that it keeps locked, so that `gc` leaves them alone.

use super::files::is_free;
use super::{Changing, Store};
use crate::error::{ImageError, io_error};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write;
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
    /// Keeps layers (which need not be there yet) from being removed. Not to be called by a thread that is changing the store:
    /// it waits for who does, so that what is there afterwards stays there.
    pub(crate) fn lease(&self, layers: &[String]) -> Result<Lease, ImageError> {
        let dir = self.leases();
        let fail = || io_error(dir.display());
        let _changing = self.change()?;
        // Nobody looks at leases meanwhile, so that it need not appear locked; and no other lease ever had its name.
        let mut file = tempfile::Builder::new()
            .prefix(&format!("{}-", std::process::id()))
            .tempfile_in(&dir)
            .map_err(fail())?;
        file.as_file().lock().map_err(fail())?;
        file.write_all(layers.join("\n").as_bytes()).map_err(fail())?;
        let (held, path) = file.keep().map_err(|e| fail()(e.error))?;
        Ok(Lease { path, _held: held })
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

    /// Layers that living processes use, and nothing more as long as the caller is changing the store. Leases of dead ones are
    /// removed.
    pub(crate) fn leased(&self, _changing: &Changing) -> Result<BTreeSet<String>, ImageError> {
        let mut layers = BTreeSet::new();
        let dir = self.leases();
        let fail = || io_error(dir.display());
        for entry in std::fs::read_dir(&dir).map_err(fail())? {
            let path = entry.map_err(fail())?.path();
            match is_free(&path) {
                Some(true) => {
                    // Its owner may have given it back this moment.
                    std::fs::remove_file(&path).ok();
                }
                Some(false) => {
                    let text = std::fs::read_to_string(&path).unwrap_or_default();
                    layers.extend(text.lines().map(str::to_owned));
                }
                None => {}
            }
        }
        Ok(layers)
    }

    /// Removes leases of dead processes where they have become many.
    pub(crate) fn tidy_leases(&self) {
        let many = std::fs::read_dir(self.leases()).is_ok_and(|list| list.count() > MANY);
        if many && let Ok(changing) = self.change() {
            // Only tidiness.
            self.leased(&changing).ok();
        }
    }
}
