//! Samples of all files of a tree, kept on disk by what tells a file's states apart, so that a host's files are read once.

use super::codec::{Reader, Writer};
use super::sample::samples;
use super::walk::{Listing, Node, Stamp, join};
use reenact_bundle::Progress;
use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

const MAGIC: &[u8; 8] = b"rnctidx1";

/// Samples by file.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Index {
    at: HashMap<Stamp, (usize, usize)>,
    samples: Vec<u64>,
}

/// What bringing an index up to date took.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reading {
    pub files: u64,
    pub bytes: u64,
    /// Files that we may not read; a room's user with more rights does not exist.
    pub unread: u64,
}

impl Index {
    /// Samples of a file, sorted.
    pub(crate) fn get(&self, stamp: &Stamp) -> Option<&[u64]> {
        let (from, to) = self.at.get(stamp)?;
        self.samples.get(*from..*to)
    }

    fn put(&mut self, stamp: Stamp, samples: &[u64]) {
        let from = self.samples.len();
        self.samples.extend(samples);
        self.at.insert(stamp, (from, self.samples.len()));
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut r = Reader::new(bytes, MAGIC)?;
        let mut index = Self::default();
        while !r.is_empty() {
            let stamp = r.stamp()?;
            let from = index.samples.len();
            for _ in 0..r.count()? {
                index.samples.push(r.number()?);
            }
            index.at.insert(stamp, (from, index.samples.len()));
        }
        Some(index)
    }

    /// The part of the index that `listing` needs.
    pub(crate) fn encode(&self, listing: &Listing) -> Vec<u8> {
        let mut w = Writer::new(MAGIC);
        for file in &listing.files {
            if let Some(samples) = self.get(&file.stamp) {
                w.stamp(&file.stamp);
                w.number(samples.len() as u64);
                samples.iter().for_each(|s| w.number(*s));
            }
        }
        w.0
    }

    /// Reads the files of `listing` that are not in the index yet, with as many threads as there are cores.
    pub(crate) fn complete(
        &mut self,
        base: &Path,
        listing: &Listing,
        progress: &dyn Progress,
    ) -> Reading {
        let new: Vec<&Node> =
            listing.files.iter().filter(|f| !self.at.contains_key(&f.stamp)).collect();
        let mut reading = Reading::default();
        if new.is_empty() {
            return reading;
        }
        let megabytes = |b: u64| b >> 20;
        let total: u64 = new.iter().map(|f| f.stamp.size).sum();
        if megabytes(total) > 64 {
            progress.stage(&format!(
                "auditing the cleanroom's file system: {} MB are new since the last time",
                megabytes(total)
            ));
        }
        let next = AtomicUsize::new(0);
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(8);
        let (send, receive) = mpsc::sync_channel(64);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                let (send, next, new) = (send.clone(), &next, &new);
                scope.spawn(move || {
                    while let Some(file) = new.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let read = File::open(join(base, &file.path)).and_then(samples);
                        if send.send((file, read)).is_err() {
                            return;
                        }
                    }
                });
            }
            drop(send);
            for (file, read) in receive {
                match read {
                    Ok(samples) => {
                        self.put(file.stamp, &samples);
                        reading.files += 1;
                        reading.bytes += file.stamp.size;
                    }
                    Err(_) => reading.unread += 1,
                }
                progress.tick(megabytes(reading.bytes), megabytes(total));
            }
        });
        reading
    }
}

#[cfg(test)]
mod tests {
    use super::super::walk::list;
    use super::*;
    use reenact_bundle::Quiet;

    #[test]
    fn an_index_is_kept_reused_and_a_damaged_one_is_none() {
        let temp = tempfile::tempdir().unwrap();
        for i in 0..20u8 {
            std::fs::write(temp.path().join(format!("f{i}")), vec![i; 5000 + usize::from(i)])
                .unwrap();
        }
        let listing = list(temp.path(), |_| false).unwrap();
        let mut index = Index::default();
        assert_eq!(index.complete(temp.path(), &listing, &Quiet).files, 20);
        let bytes = index.encode(&listing);
        let mut again = Index::decode(&bytes).unwrap();
        assert_eq!(again.complete(temp.path(), &listing, &Quiet).files, 0, "nothing is read twice");
        for f in &listing.files {
            assert_eq!(again.get(&f.stamp), index.get(&f.stamp));
        }
        std::fs::write(temp.path().join("f3"), vec![77; 9000]).unwrap();
        let listing = list(temp.path(), |_| false).unwrap();
        assert_eq!(again.complete(temp.path(), &listing, &Quiet).files, 1, "what changed is read");
        for cut in [0, 7, 8 + 3, bytes.len() - 1] {
            assert_ne!(Index::decode(&bytes[..cut]).map(|i| i.at.len()), Some(20));
        }
    }
}
