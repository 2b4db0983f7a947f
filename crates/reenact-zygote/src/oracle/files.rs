//! Which files an invocation made or changed: the entries of its working directory, and the files that its arguments name,
//! looked at before and after. Done with the caller's rights, bounded, following no link.

use super::proto::Words;
use crate::buf::Buf;
use crate::list::Dirents;
use crate::proto::{Reader, Sink};
use crate::sys::{self, AT_FDCWD, AT_SYMLINK_NOFOLLOW, CStr, Stat};

/// Entries of the working directory that are looked at; a larger directory is not looked at, and only arguments count.
const MAX_ENTRIES: usize = 512;
/// Arguments that are looked at, and the longest.
const MAX_WORDS: usize = 64;
const MAX_WORD: usize = 1024;

/// One look: (name, what `stat` says that changes when the file does), encoded.
pub struct Look {
    entries: Buf,
    count: usize,
    /// The working directory was too large.
    words_only: bool,
}

/// inode, size, times: what tells a file from its later self.
type Mark = [u64; 6];

fn mark(st: &Stat) -> Mark {
    [
        st.ino,
        st.size as u64,
        st.mtime.sec as u64,
        st.mtime.nsec as u64,
        st.ctime.sec as u64,
        st.ctime.nsec as u64,
    ]
}

const REGULAR: u32 = 0o100000;
const DIRECTORY: u32 = 0o040000;

impl Look {
    pub fn new() -> Self {
        Self { entries: Buf::new(16 << 10), count: 0, words_only: false }
    }

    /// Looks now. `dir` is the working directory.
    pub fn take(&mut self, dir: CStr<'_>, argv: Words<'_>, names: &mut Buf) {
        self.entries.clear();
        self.count = 0;
        let Ok(fd) = sys::openat(AT_FDCWD, dir, sys::O_RDONLY | sys::O_DIRECTORY, 0) else {
            return self.words(AT_FDCWD, argv);
        };
        if !self.words_only && !self.directory(fd, names) {
            self.words_only = true;
            self.entries.clear();
            self.count = 0;
        }
        self.words(fd, argv);
        sys::close(fd);
    }

    fn directory(&mut self, fd: i32, names: &mut Buf) -> bool {
        const BATCH: usize = 32 << 10;
        loop {
            names.clear();
            let Ok(n) = sys::getdents(fd, &mut names.room(BATCH)[..BATCH]) else { return false };
            if n == 0 {
                return true;
            }
            names.fill(n);
            for entry in Dirents::new(names.bytes()) {
                self.count += 1;
                if self.count > MAX_ENTRIES {
                    return false;
                }
                self.note(fd, entry.name);
            }
        }
    }

    /// Files that arguments name and that are not plain names in the working directory (those were seen there).
    fn words(&mut self, fd: i32, argv: Words<'_>) {
        let mut path = [0u8; MAX_WORD + 1];
        for word in argv.skip(1).take(MAX_WORDS) {
            let named = !word.is_empty() && word.len() <= MAX_WORD && word[0] != b'-';
            if !named || (!self.words_only && !word.contains(&b'/')) {
                continue;
            }
            path[..word.len()].copy_from_slice(word);
            path[word.len()] = 0;
            if let Some(path) = CStr::new(&path[..=word.len()]) {
                self.note(fd, path);
            }
        }
    }

    fn note(&mut self, dir: i32, name: CStr<'_>) {
        let Ok(st) = sys::fstatat(dir, name, AT_SYMLINK_NOFOLLOW) else { return };
        // A directory changes with every entry; its being there is all that counts.
        let mark = if st.mode & 0o170000 == DIRECTORY { [st.ino; 6] } else { mark(&st) };
        if matches!(st.mode & 0o170000, REGULAR | DIRECTORY | 0o120000 | 0o010000) {
            self.entries.blob(name.bytes());
            mark.iter().for_each(|n| self.entries.u64(*n));
        }
    }

    fn iter(&self) -> Entries<'_> {
        Entries(Reader::new(self.entries.bytes()))
    }

    /// Entries that are new, or not as they were, since `before`: (path, new).
    pub fn since<'a>(
        &'a self,
        before: &'a Look,
    ) -> impl Iterator<Item = (&'a [u8], bool)> + Clone + 'a {
        // Both looks mostly list the same names in the same order, so that the next one is mostly the right one.
        let mut next = before.iter();
        self.iter().filter_map(move |(name, now)| {
            let mut ahead = next.clone();
            let was = match ahead.find(|(n, _)| *n == name) {
                Some((_, was)) => {
                    next = ahead;
                    Some(was)
                }
                None => before.iter().find(|(n, _)| *n == name).map(|(_, was)| was),
            };
            match was {
                Some(was) => (was != now).then_some((name, false)),
                None => Some((name, true)),
            }
        })
    }

    /// The next look is as narrow as this one was: what was not looked at before cannot be called new.
    pub fn successor(&self) -> Self {
        Self { words_only: self.words_only, ..Self::new() }
    }
}

#[derive(Clone)]
struct Entries<'a>(Reader<'a>);

impl<'a> Iterator for Entries<'a> {
    type Item = (&'a [u8], Mark);

    fn next(&mut self) -> Option<Self::Item> {
        let name = self.0.blob()?;
        let mut mark = [0; 6];
        for n in &mut mark {
            *n = self.0.u64()?;
        }
        Some((name, mark))
    }
}
