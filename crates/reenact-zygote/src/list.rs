//! Listing a tree that a hostile program left behind: iterative, bounded, never following a link. Everything that could
//! change the tree is dead by now.

use crate::buf::Buf;
use crate::proto::{EntryHead, Reader, Sink, kind, re};
use crate::sys::{self, AT_SYMLINK_NOFOLLOW, CStr, Stat, call, nr};

/// One directory entry.
pub struct Dirent<'a> {
    pub name: CStr<'a>,
}

/// Entries in a `getdents64` buffer, without `.` and `..`.
pub struct Dirents<'a> {
    rest: &'a [u8],
}

impl<'a> Dirents<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }
}

impl<'a> Iterator for Dirents<'a> {
    type Item = Dirent<'a>;

    fn next(&mut self) -> Option<Dirent<'a>> {
        loop {
            // struct linux_dirent64: u64 ino, i64 off, u16 reclen, u8 type, name[].
            let reclen =
                usize::from(u16::from_le_bytes([*self.rest.get(16)?, *self.rest.get(17)?]));
            let (record, rest) = self.rest.split_at_checked(reclen.max(20))?;
            self.rest = rest;
            let name = &record[19..];
            let end = name.iter().position(|b| *b == 0)?;
            if matches!(&name[..end], b"." | b"..") {
                continue;
            }
            return CStr::new(&name[..=end]).map(|name| Dirent { name });
        }
    }
}

/// Payload of `LIST`.
pub struct ListRequest<'a> {
    pub path: &'a [u8],
    /// Content bytes to send in all; files beyond it are listed without content.
    pub max_bytes: u64,
    pub max_entries: u64,
    /// The workspace's cwd: answer at once if nothing was done to it.
    pub workspace: bool,
}

impl<'a> ListRequest<'a> {
    pub fn decode(payload: &'a [u8]) -> Option<Self> {
        let r = &mut Reader::new(payload);
        let request = Self {
            path: r.cstr()?,
            max_bytes: r.u64()?,
            max_entries: r.u64()?,
            workspace: r.u8()? != 0,
        };
        r.is_empty().then_some(request)
    }
}

/// Longest path that is followed, bytes. Deeper trees are cut, and said to be.
const MAX_PATH: usize = 2000;

/// State of one listing.
struct Walk<'a> {
    root: i32,
    queue: &'a mut Buf,
    out: &'a mut Buf,
    socket: i32,
    left_bytes: u64,
    left_entries: u64,
    truncated: bool,
}

/// Lists the tree at `root` (a directory descriptor), breadth first, then `LISTED`.
pub fn list(
    root: i32,
    request: &ListRequest<'_>,
    queue: &mut Buf,
    out: &mut Buf,
    socket: i32,
) -> Result<(), i32> {
    queue.clear();
    let mut walk = Walk {
        root,
        queue,
        out,
        socket,
        left_bytes: request.max_bytes,
        left_entries: request.max_entries,
        truncated: false,
    };
    let mut names = Buf::new(64 << 10);
    walk.directory(b"", &mut names)?;
    let mut at = 0;
    let mut path = [0u8; MAX_PATH + 1];
    while at < walk.queue.len() {
        let mut r = Reader::new(&walk.queue.bytes()[at..]);
        let Some(next) = r.blob() else { break };
        let len = next.len();
        path[..len].copy_from_slice(next);
        at += 4 + len;
        walk.directory(&path[..len], &mut names)?;
    }
    let truncated = u8::from(walk.truncated);
    walk.queue.trim(64 << 10);
    names.release();
    out.u32(2);
    out.u8(re::LISTED);
    out.u8(truncated);
    Ok(())
}

impl Walk<'_> {
    /// Lists one directory; `path` is relative to the root, without NUL, empty for the root itself.
    fn directory(&mut self, path: &[u8], names: &mut Buf) -> Result<(), i32> {
        let mut full = [0u8; MAX_PATH + 2];
        full[..path.len()].copy_from_slice(path);
        if path.is_empty() {
            full[0] = b'.';
        }
        let end = path.len().max(1);
        let Some(name) = CStr::new(&full[..=end]) else { return Ok(()) };
        let Ok(fd) =
            sys::openat(self.root, name, sys::O_RDONLY | sys::O_DIRECTORY | sys::O_NOFOLLOW, 0)
        else {
            // Unreadable even to us (an unprivileged cell, mode 000): unknown, which is what truncated says.
            self.truncated = true;
            return Ok(());
        };
        let done = loop {
            names.clear();
            match sys::getdents(fd, &mut names.room(32 << 10)[..32 << 10]) {
                Ok(0) => break Ok(()),
                Ok(n) => names.fill(n),
                Err(e) => break Err(e),
            }
            let mut failed = None;
            for entry in Dirents::new(names.bytes()) {
                if let Err(e) = self.entry(fd, path, entry.name) {
                    failed = Some(e);
                    break;
                }
            }
            if let Some(e) = failed {
                break Err(e);
            }
            if self.left_entries == 0 {
                break Ok(());
            }
        };
        sys::close(fd);
        done
    }

    fn entry(&mut self, dir: i32, parent: &[u8], name: CStr<'_>) -> Result<(), i32> {
        if self.left_entries == 0 || parent.len() + 1 + name.bytes().len() > MAX_PATH {
            self.truncated = true;
            return Ok(());
        }
        self.left_entries -= 1;
        let st = sys::fstatat(dir, name, AT_SYMLINK_NOFOLLOW)?;
        let mut path = [0u8; MAX_PATH];
        let mut len = parent.len();
        path[..len].copy_from_slice(parent);
        if len > 0 {
            path[len] = b'/';
            len += 1;
        }
        path[len..len + name.bytes().len()].copy_from_slice(name.bytes());
        len += name.bytes().len();
        let path = &path[..len];
        let what = kind_of(&st);
        if what == kind::DIR {
            self.queue.blob(path);
        }
        let mut target = [0u8; 4096];
        let mut target_len = 0;
        if what == kind::SYMLINK {
            // SAFETY: the name is NUL-terminated and the buffer valid for its length.
            target_len = unsafe {
                call(
                    nr::READLINKAT,
                    [dir as usize, name.ptr(), target.as_mut_ptr() as usize, target.len(), 0, 0],
                )
            }?;
        }
        let mut file = -1;
        let mut content = u64::MAX;
        if what == kind::FILE {
            if st.size as u64 > self.left_bytes {
                self.truncated = true;
            } else {
                file = open_file(dir, name);
                if file >= 0 {
                    content = st.size as u64;
                    self.left_bytes -= content;
                } else {
                    self.truncated = true;
                }
            }
        }
        EntryHead {
            kind: what,
            mode: st.mode & 0o7777,
            size: st.size as u64,
            path,
            target: &target[..target_len],
            content,
        }
        .encode_frame(self.out);
        if file >= 0 {
            let sent = self.content(file, content);
            sys::close(file);
            sent?;
        }
        self.flush(1 << 20)
    }

    /// Sends exactly `size` bytes of an open file; a short file is padded with zeros (it cannot change any more).
    fn content(&mut self, fd: i32, size: u64) -> Result<(), i32> {
        let mut left = size;
        while left > 0 {
            let want = left.min(256 << 10) as usize;
            let n = sys::read(fd, &mut self.out.room(want)[..want]).unwrap_or(0);
            if n == 0 {
                self.out.room(want)[..want].fill(0);
            }
            let n = if n == 0 { want } else { n };
            self.out.fill(n);
            left -= n as u64;
            self.flush(1 << 20)?;
        }
        Ok(())
    }

    /// Writes the replies out once more than `above` bytes wait. The host reads by now: listing comes last.
    fn flush(&mut self, above: usize) -> Result<(), i32> {
        if self.out.len() > above {
            sys::write_all(self.socket, self.out.bytes())?;
            self.out.trim(above);
        }
        Ok(())
    }
}

/// Opens a regular file for reading; where its mode forbids that even to its owner, the mode is changed (the listing has
/// the old one already, and the tree is about to be thrown away).
fn open_file(dir: i32, name: CStr<'_>) -> i32 {
    let flags = sys::O_RDONLY | sys::O_NOFOLLOW | sys::O_NONBLOCK | sys::O_NOCTTY;
    sys::openat(dir, name, flags, 0).unwrap_or_else(|_| {
        // SAFETY: the name is NUL-terminated.
        let changed = unsafe { call(nr::FCHMODAT, [dir as usize, name.ptr(), 0o600, 0, 0, 0]) };
        changed
            .and_then(|_| sys::openat(dir, name, flags, 0).map(|fd| fd as usize))
            .map_or(-1, |fd| fd as i32)
    })
}

fn kind_of(st: &Stat) -> u8 {
    match st.mode & 0o170000 {
        0o100000 => kind::FILE,
        0o040000 => kind::DIR,
        0o120000 => kind::SYMLINK,
        0o010000 => kind::FIFO,
        0o140000 => kind::SOCKET,
        _ => kind::DEVICE,
    }
}
