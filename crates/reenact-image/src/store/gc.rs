//! What nobody needs is removed.

use super::files::{is_free, is_old};
use super::{GONE, Image, Store};
use crate::digest::Digest;
use crate::error::{ImageError, io_error};
use reenact_sandbox::unpack::remove_tree;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::SystemTime;

/// What is to go.
#[derive(Clone, Copy, Debug, Default)]
pub struct GcOptions {
    /// Bytes of unpacked layers: images that were not used for longest are removed until the store is no larger.
    pub limit: Option<u64>,
    /// Broken-off downloads too.
    pub downloads: bool,
}

/// What went.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Gc {
    /// Names (or ids) of images that made room for others.
    pub images: Vec<String>,
    pub layers: usize,
    pub scratch: usize,
    /// Bytes of files in those layers.
    pub bytes: u64,
    /// Bytes of the layers that are left.
    pub left: u64,
}

impl Store {
    /// Removes layers that no image and no living process uses, scratch directories without an owner, what broken-off imports
    /// left; and, with a limit, the images that were not used for longest. What a process uses is never removed.
    ///
    /// # Errors
    /// [`ImageError::Io`].
    pub fn gc(&self, options: &GcOptions) -> Result<Gc, ImageError> {
        let mut gc = Gc { images: self.evict(options.limit, None)?, ..Gc::default() };
        // One that resists does not keep the others from making room; it is told at the end.
        let mut trouble = Ok(());
        for path in self.abandoned()? {
            match self.remove_scratch(&path) {
                Ok(()) => gc.scratch += 1,
                Err(e) => trouble = Err(e),
            }
        }
        trouble = trouble.and(self.tidy_tmp());
        trouble = trouble.and(self.tidy_blobs(options.downloads));
        let (layers, bytes) = self.sweep()?;
        trouble?;
        (gc.layers, gc.bytes) = (layers, bytes);
        gc.left = self.sizes()?.iter().map(|(_, bytes)| bytes).sum();
        Ok(gc)
    }

    /// Brings the store below a limit by removing images that were not used for longest, but not this one. Gives their names.
    ///
    /// # Errors
    /// [`ImageError::Io`].
    pub fn keep_below(&self, limit: u64, but: &Image) -> Result<Vec<String>, ImageError> {
        let evicted = self.evict(Some(limit), Some(&but.id))?;
        self.sweep()?;
        Ok(evicted)
    }

    /// All layers with their bytes.
    fn sizes(&self) -> Result<Vec<(Digest, u64)>, ImageError> {
        let dir = self.layers();
        let fail = || io_error(dir.display());
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&dir).map_err(fail())? {
            let name = entry.map_err(fail())?.file_name();
            let digest = name.to_str().and_then(|hex| Digest::parse(&format!("sha256:{hex}")));
            if let Some(digest) = digest {
                let bytes = self.layer(&digest).map_or(0, |l| l.bytes);
                found.push((digest, bytes));
            }
        }
        found.sort();
        Ok(found)
    }

    /// Forgets images, least recently used first, until the layers of the rest and of living processes fit.
    fn evict(&self, limit: Option<u64>, but: Option<&str>) -> Result<Vec<String>, ImageError> {
        let Some(limit) = limit else { return Ok(Vec::new()) };
        let changing = self.change()?;
        let sizes = self.sizes()?.into_iter().map(|(d, bytes)| (d.to_string(), bytes)).collect();
        let mut candidates = Vec::new();
        let mut staying = self.leased(&changing)?;
        for id in self.image_ids()? {
            let Some(record) = self.record(&id, false) else { continue };
            if but == Some(id.as_str()) {
                staying.extend(record.layers);
            } else {
                let used = self.last_use(&id);
                candidates.push(Candidate { used, id, layers: record.layers });
            }
        }
        let going = choose(candidates, &staying, &sizes, limit);
        let mut names = self.names()?;
        let mut evicted = Vec::new();
        for Candidate { id, .. } in &going {
            let called = names.of(id.as_str());
            evicted.push(if called.is_empty() { id.to_string() } else { called.join(", ") });
            names.forget(id.as_str());
        }
        if !going.is_empty() {
            self.write_names(&names)?;
        }
        for Candidate { id, .. } in &going {
            self.forget(id)?;
        }
        Ok(evicted)
    }

    /// Removes layers that no image and no living process uses; how many, and their bytes.
    pub(super) fn sweep(&self) -> Result<(usize, u64), ImageError> {
        let mut gone: Vec<PathBuf> = Vec::new();
        let (mut bytes, mut removed) = (0, 0);
        {
            let changing = self.change()?;
            let mut used = self.leased(&changing)?;
            for id in self.image_ids()? {
                used.extend(self.record(&id, false).into_iter().flat_map(|r| r.layers));
            }
            for (digest, size) in self.sizes()? {
                if used.contains(digest.as_str()) {
                    continue;
                }
                // Out of the way at once; removing it takes its time, without the lock.
                let layer = self.layer_dir(&digest);
                match self.set_aside(&layer)? {
                    Some(place) if place == layer => {
                        remove_tree(&layer).map_err(io_error(layer.display()))?;
                        removed += 1;
                    }
                    place => gone.extend(place),
                }
                bytes += size;
            }
        }
        for path in &gone {
            remove_tree(path).map_err(io_error(path.display()))?;
        }
        Ok((gone.len() + removed, bytes))
    }

    /// Removes what dead processes were making or removing.
    fn tidy_tmp(&self) -> Result<(), ImageError> {
        let dir = self.tmp();
        let fail = || io_error(dir.display());
        for entry in std::fs::read_dir(&dir).map_err(fail())? {
            let path = entry.map_err(fail())?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let lock = dir.join(format!("{name}.lock"));
            let over = if let Some(stem) = name.strip_suffix(".lock") {
                is_free(&path) == Some(true) && !dir.join(stem).exists()
            } else if name.starts_with(GONE) {
                true
            } else {
                // Without a lock it is being made this moment, or was left half-way.
                is_free(&lock).unwrap_or_else(|| is_old(&path))
            };
            if over {
                remove_tree(&path).map_err(io_error(path.display()))?;
                remove_tree(&lock).map_err(io_error(lock.display()))?;
            }
        }
        Ok(())
    }

    /// Removes downloads that broke off a week ago, or all that are not under way.
    fn tidy_blobs(&self, all: bool) -> Result<(), ImageError> {
        const WEEK: std::time::Duration = std::time::Duration::from_secs(7 * 24 * 3600);
        let dir = self.blobs();
        let fail = || io_error(dir.display());
        for entry in std::fs::read_dir(&dir).map_err(fail())? {
            let path = entry.map_err(fail())?.path();
            let stale = all || super::files::age(&path).is_some_and(|age| age > WEEK);
            if stale && is_free(&path) == Some(true) {
                // Somebody may have finished it meanwhile.
                std::fs::remove_file(&path).ok();
            }
        }
        Ok(())
    }
}

/// An image that may have to make room.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    used: Option<SystemTime>,
    id: Digest,
    layers: Vec<String>,
}

/// Which images go, least recently used first, so that what stays, with the `staying` layers, is no larger than the limit.
fn choose(
    mut images: Vec<Candidate>,
    staying: &BTreeSet<String>,
    sizes: &BTreeMap<String, u64>,
    limit: u64,
) -> Vec<Candidate> {
    let total = |images: &[Candidate]| -> u64 {
        let layers = images.iter().flat_map(|i| &i.layers).chain(staying);
        let used: BTreeSet<&String> = layers.collect();
        used.iter().filter_map(|layer| sizes.get(*layer)).sum()
    };
    images.sort();
    let mut going = Vec::new();
    while total(&images) > limit {
        // One whose layers all stay frees nothing, whoever else goes.
        let next = images.iter().position(|i| i.layers.iter().any(|l| !staying.contains(l)));
        let Some(next) = next else { break };
        going.push(images.remove(next));
    }
    // Nor has one freed anything whose layers are all in others that could stay.
    let mut gone = Vec::new();
    for image in going.into_iter().rev() {
        let without = total(&images);
        images.push(image);
        if total(&images) > without {
            gone.extend(images.pop());
        }
    }
    gone.reverse();
    gone
}
