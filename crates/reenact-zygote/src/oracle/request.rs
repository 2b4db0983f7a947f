//! Receiving a request: everything in it came from the room, and is checked before anything is done with it.

use super::kernel::{self as k, MAX_FDS, Rights};
use super::proto::{Body, Head, INLINE, Words, with};
use super::scrub::is_refused;
use crate::buf::Buf;
use crate::sys::{self, EPROTO};

/// Largest message: the head, its numbers, and strings up to [`INLINE`].
const MAX_MESSAGE: usize = Head::FIXED + 4 * MAX_FDS + INLINE;

/// A request's memory. It lives as long as the session, so that parts of it can be pointed at.
pub struct Received {
    message: Buf,
    memory: Buf,
}

/// Why a request is not carried out: an errno for the caller, words for the host.
pub struct Refusal {
    pub errno: i32,
    pub why: &'static [u8],
}

const fn malformed(why: &'static [u8]) -> Refusal {
    Refusal { errno: EPROTO, why }
}

impl Received {
    /// Room for a request; the first pages are touched now, while there is time.
    pub fn prepare() -> Self {
        let mut message = Buf::new(MAX_MESSAGE);
        message.room(16 << 10)[..16 << 10].fill(0);
        Self { message, memory: Buf::new(1) }
    }

    /// Receives the request that waits in `connection`.
    pub fn receive(&mut self, connection: i32, rights: &mut Rights) -> Result<(), Refusal> {
        self.message.clear();
        let room = &mut self.message.room(MAX_MESSAGE)[..MAX_MESSAGE];
        let got = k::receive(connection, room, rights, k::MSG_DONTWAIT)
            .map_err(|errno| Refusal { errno, why: b"no request came" })?;
        if got.len == 0 {
            return Err(Refusal { errno: EPROTO, why: b"" });
        }
        self.message.fill(got.len);
        if got.cut {
            return Err(malformed(b"malformed request: too large"));
        }
        Ok(())
    }

    /// Place among the descriptors of number `wanted`, if the request names it.
    pub fn place_of(&self, wanted: u32) -> Option<usize> {
        Head::decode(self.message.bytes())?.0.inherited().position(|n| n == wanted)
    }

    /// Reads the strings, wherever they are, and checks everything.
    pub fn parse(&mut self, rights: &Rights) -> Result<(Head<'_>, Body<'_>), Refusal> {
        self.fetch(rights)?;
        let (head, rest) = self.head(rights)?;
        let bytes = if head.flags & with::MEMORY != 0 { self.memory.bytes() } else { rest };
        let body = Body::parse(&head, bytes).ok_or(malformed(b"malformed request: bad strings"))?;
        Ok((head, body))
    }

    fn head(&self, rights: &Rights) -> Result<(Head<'_>, &[u8]), Refusal> {
        let (head, rest) =
            Head::decode(self.message.bytes()).ok_or(malformed(b"malformed request: bad head"))?;
        if head.descriptors() != rights.fds().len() {
            return Err(malformed(b"malformed request: wrong number of descriptors"));
        }
        Ok((head, rest))
    }

    /// Copies strings out of a memory file: read, not mapped, since the room can still cut it short.
    fn fetch(&mut self, rights: &Rights) -> Result<(), Refusal> {
        const TMPFS: i64 = 0x0102_1994;
        let (head, rest) = self.head(rights)?;
        let Some(place) = head.place(with::MEMORY) else { return Ok(()) };
        let (fd, size, inline) = (rights.fds()[place], head.body(), rest.len());
        let regular = sys::fstat(fd).is_ok_and(|st| st.mode & 0o170000 == 0o100000);
        // Reading from other file systems could wait for their servers.
        let in_memory = sys::fstatfs(fd).is_ok_and(|fs| fs.kind == TMPFS);
        if inline != 0 || !regular || !in_memory {
            return Err(malformed(b"malformed request: bad memory file"));
        }
        self.memory = Buf::new(size.max(1));
        while self.memory.len() < size {
            let at = self.memory.len();
            match k::pread(fd, &mut self.memory.room(size - at)[..size - at], at as u64) {
                Ok(0) | Err(_) => return Err(malformed(b"malformed request: short memory file")),
                Ok(n) => self.memory.fill(n),
            }
        }
        Ok(())
    }
}

/// Argument and environment arrays for `exec`: pointers into the strings, each array ended by NULL. Gives where the second begins.
pub fn pointers(body: &Body<'_>, out: &mut Buf) -> usize {
    out.clear();
    let mut put = |word: &[u8]| out.push(&(word.as_ptr() as usize).to_ne_bytes());
    body.argv.for_each(&mut put);
    out.push(&0usize.to_ne_bytes());
    let env = out.len();
    let mut put = |word: &[u8]| out.push(&(word.as_ptr() as usize).to_ne_bytes());
    kept(body.env).for_each(&mut put);
    out.push(&0usize.to_ne_bytes());
    env
}

/// The environment without what the reference must not see.
pub fn kept<'a>(env: Words<'a>) -> impl Iterator<Item = &'a [u8]> + Clone {
    env.filter(|variable| !is_refused(variable))
}
