//! What an audit of one tree found, kept so that the next room need not look again.

use super::codec::{Reader, Writer};
use super::matching::Hit;
use super::walk::{Listing, Node, Stamp, join};
use std::path::Path;
use std::time::Duration;

const MAGIC: &[u8; 8] = b"rnctvdt1";
/// Directories are compared each time, which shows what is added, removed or replaced. Files that were changed in place are
/// looked for when this time has passed.
const FILES_TRUSTED: Duration = Duration::from_secs(600);
/// Clocks of file systems advance in steps: what changed this close to the walk could change again without showing.
const STEP: i64 = 100_000_000;

/// The state of a tree, and what was found in it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Verdict {
    /// When the files were looked at, nanoseconds since the epoch.
    pub walked: i64,
    dirs: Vec<Node>,
    /// Directories and large files in the tree that are on other devices.
    pub others: Vec<Vec<u8>>,
    pub files: u64,
    pub unread: u64,
    pub hits: Vec<Hit>,
}

impl Verdict {
    pub(crate) fn new(walked: i64, listing: Listing, unread: u64, hits: Vec<Hit>) -> Self {
        let mut dirs = listing.dirs;
        for dir in &mut dirs {
            if dir.stamp.ctime.max(dir.stamp.mtime) > walked - STEP {
                dir.stamp.ino = 0;
            }
        }
        Self {
            walked,
            dirs,
            others: listing.others,
            files: listing.files.len() as u64,
            unread: listing.unread + unread,
            hits,
        }
    }

    /// Whether the tree at `base` is as it was: all directories, and the files that were found.
    pub(crate) fn stands(&self, base: &Path, now: i64) -> bool {
        let age = now - self.walked;
        if age < 0 || age > FILES_TRUSTED.as_nanos().try_into().unwrap_or(i64::MAX) {
            return false;
        }
        let same = |n: &Node| {
            join(base, &n.path).symlink_metadata().is_ok_and(|m| Stamp::of(&m) == n.stamp)
        };
        let dirs = |dirs: &[Node]| dirs.iter().all(&same);
        let (first, second) = self.dirs.split_at(self.dirs.len() / 2);
        let both = std::thread::scope(|scope| {
            let other = scope.spawn(|| dirs(second));
            dirs(first) & other.join().unwrap_or(false)
        });
        both && self.hits.iter().all(|h| same(&h.node))
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new(MAGIC);
        w.number(self.walked.cast_unsigned());
        w.number(self.files);
        w.number(self.unread);
        w.number(self.others.len() as u64);
        self.others.iter().for_each(|o| w.bytes(o));
        w.number(self.hits.len() as u64);
        for hit in &self.hits {
            w.node(&hit.node);
            w.number(hit.subject as u64);
            w.number(u64::from(hit.per_mille));
            w.number(u64::from(hit.exact));
        }
        w.number(self.dirs.len() as u64);
        self.dirs.iter().for_each(|d| w.node(d));
        w.0
    }

    pub(crate) fn decode(bytes: &[u8], subjects: usize) -> Option<Self> {
        let mut r = Reader::new(bytes, MAGIC)?;
        let walked = r.number()?.cast_signed();
        let (files, unread) = (r.number()?, r.number()?);
        let others =
            (0..r.count()?).map(|_| r.bytes().map(<[u8]>::to_vec)).collect::<Option<Vec<_>>>()?;
        let mut hits = Vec::new();
        for _ in 0..r.count()? {
            let node = r.node()?;
            let subject = usize::try_from(r.number()?).ok().filter(|s| *s < subjects)?;
            let per_mille = u32::try_from(r.number()?).ok()?;
            hits.push(Hit { node, subject, per_mille, exact: r.number()? == 1 });
        }
        let dirs = (0..r.count()?).map(|_| r.node()).collect::<Option<Vec<_>>>()?;
        r.is_empty().then_some(Self { walked, dirs, others, files, unread, hits })
    }
}
