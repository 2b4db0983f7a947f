//! What the stub, its session and the host say to each other. All integers are little-endian. Requests come from the room and
//! are not trusted; reports come from sessions, which handle what the room gave them, so the host checks them all the same.

use crate::proto::{Reader, Sink};

/// First word of a request; changes with its layout.
const MAGIC: u32 = 0x3143_524f;
/// Longest argument and environment block, bytes. The kernel's own limit is 6 MiB.
pub const MAX_STRINGS: usize = 8 << 20;
/// Longest working directory with its NUL (`PATH_MAX`).
pub const MAX_CWD: usize = 4096;
/// Most descriptors that a program can be given.
pub const MAX_INHERITED: usize = 250;
/// Largest number of such a descriptor.
pub const MAX_NUMBER: u32 = 65_535;
/// Requests up to this size travel in the message itself, longer ones in a memory file.
pub const INLINE: usize = 96 << 10;

/// Resource limits that travel with a request (`RLIMIT_*`): CPU, FSIZE, DATA, STACK, NPROC, NOFILE, MEMLOCK, AS.
pub const LIMITS: [u32; 8] = [0, 1, 2, 3, 6, 7, 8, 9];

/// Flags of [`Head::flags`]; each stands for one more descriptor, in this order, after the inherited ones.
pub mod with {
    /// The controlling terminal.
    pub const TERMINAL: u32 = 1;
    /// The working directory, which has no path (any more).
    pub const CWD: u32 = 2;
    /// A memory file with the strings.
    pub const MEMORY: u32 = 4;
    pub const ALL: u32 = 7;
}

/// The fixed part of a request: everything about the caller but its strings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head<'a> {
    /// See [`with`].
    pub flags: u32,
    pub argc: u32,
    pub envc: u32,
    /// Bytes of arguments and environment, each with its NUL.
    pub strings: u32,
    /// Bytes of the working directory with its NUL; 0 with [`with::CWD`].
    pub cwd: u32,
    pub umask: u32,
    pub nice: i32,
    pub personality: u32,
    /// The stub and its parent, as numbered in the room.
    pub pid: u32,
    pub ppid: u32,
    /// Ignored and blocked signals; bit `n - 1` is signal `n`.
    pub ignored: u64,
    pub blocked: u64,
    /// (soft, hard) of [`LIMITS`].
    pub limits: [(u64, u64); LIMITS.len()],
    /// Numbers of the inherited descriptors, ascending, as `u32`s.
    numbers: &'a [u8],
}

impl<'a> Head<'a> {
    /// A head with nothing in it but the numbers of descriptors (`u32`s).
    pub fn new(numbers: &'a [u8]) -> Self {
        Self {
            flags: 0,
            argc: 0,
            envc: 0,
            strings: 0,
            cwd: 0,
            umask: 0,
            nice: 0,
            personality: 0,
            pid: 0,
            ppid: 0,
            ignored: 0,
            blocked: 0,
            limits: [(0, 0); LIMITS.len()],
            numbers,
        }
    }

    /// Bytes that [`Head::encode`] writes, without the numbers.
    pub const FIXED: usize = 4 * 11 + 8 * 2 + 16 * LIMITS.len() + 4;

    pub fn encode(&self, out: &mut impl Sink) {
        out.u32(MAGIC);
        for word in [self.flags, self.argc, self.envc, self.strings, self.cwd, self.umask] {
            out.u32(word);
        }
        for word in [self.nice as u32, self.personality, self.pid, self.ppid] {
            out.u32(word);
        }
        out.u64(self.ignored);
        out.u64(self.blocked);
        for (soft, hard) in self.limits {
            out.u64(soft);
            out.u64(hard);
        }
        out.blob(self.numbers);
    }

    /// Reads and checks a head; gives it and the rest of the message.
    pub fn decode(message: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let r = &mut Reader::new(message);
        if r.u32()? != MAGIC {
            return None;
        }
        let mut head = Self {
            flags: r.u32()?,
            argc: r.u32()?,
            envc: r.u32()?,
            strings: r.u32()?,
            cwd: r.u32()?,
            umask: r.u32()?,
            nice: r.u32()? as i32,
            personality: r.u32()?,
            pid: r.u32()?,
            ppid: r.u32()?,
            ignored: r.u64()?,
            blocked: r.u64()?,
            limits: [(0, 0); LIMITS.len()],
            numbers: &[],
        };
        for limit in &mut head.limits {
            *limit = (r.u64()?, r.u64()?);
        }
        head.numbers = r.blob()?;
        let rest = r.rest();
        head.is_sound().then_some((head, rest))
    }

    fn is_sound(&self) -> bool {
        let strings = self.strings as usize;
        let no_path = self.flags & with::CWD != 0;
        let ascending = self.inherited().try_fold(-1i64, |last, n| {
            (i64::from(n) > last && n <= MAX_NUMBER).then_some(i64::from(n))
        });
        self.flags & !with::ALL == 0
            && self.argc >= 1
            && strings <= MAX_STRINGS
            && (self.argc as usize).saturating_add(self.envc as usize) <= strings
            && self.cwd as usize <= MAX_CWD
            && (self.cwd == 0) == no_path
            && self.umask <= 0o777
            && self.numbers.len().is_multiple_of(4)
            && self.numbers.len() / 4 <= MAX_INHERITED
            && ascending.is_some()
    }

    /// Numbers of the inherited descriptors.
    pub fn inherited(&self) -> impl Iterator<Item = u32> + Clone + '_ {
        self.numbers.as_chunks::<4>().0.iter().map(|n| u32::from_le_bytes(*n))
    }

    pub fn inherited_count(&self) -> usize {
        self.numbers.len() / 4
    }

    /// Descriptors that must come with the request.
    pub fn descriptors(&self) -> usize {
        self.inherited_count() + self.flags.count_ones() as usize
    }

    /// Place among the descriptors of the one that `flag` stands for.
    pub fn place(&self, flag: u32) -> Option<usize> {
        let before = (self.flags & (flag - 1)).count_ones() as usize;
        (self.flags & flag != 0).then(|| self.inherited_count() + before)
    }

    /// Bytes of the strings and the working directory together.
    pub fn body(&self) -> usize {
        self.strings as usize + self.cwd as usize
    }
}

/// Strings of a request, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Body<'a> {
    pub argv: Words<'a>,
    pub env: Words<'a>,
    /// Absolute, with its NUL; `None`: it came as a descriptor.
    pub cwd: Option<&'a [u8]>,
}

impl<'a> Body<'a> {
    /// Splits and checks what belongs to `head`.
    pub fn parse(head: &Head<'_>, bytes: &'a [u8]) -> Option<Self> {
        if bytes.len() != head.body() {
            return None;
        }
        let (strings, cwd) = bytes.split_at_checked(head.strings as usize)?;
        let split = end_of(strings, head.argc)?;
        let (argv, env) = strings.split_at_checked(split)?;
        if end_of(env, head.envc)? != env.len() {
            return None;
        }
        let cwd = match cwd {
            [] => None,
            [b'/', .., 0] if cwd.iter().position(|b| *b == 0)? + 1 == cwd.len() => Some(cwd),
            _ => return None,
        };
        Some(Self { argv: Words(argv), env: Words(env), cwd })
    }
}

/// Where the first `count` NUL-terminated strings end.
fn end_of(bytes: &[u8], count: u32) -> Option<usize> {
    let mut at = 0;
    for _ in 0..count {
        at += bytes.get(at..)?.iter().position(|b| *b == 0)? + 1;
    }
    Some(at)
}

/// NUL-terminated strings, one after another; iterates without the NULs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Words<'a>(pub &'a [u8]);

impl<'a> Iterator for Words<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let end = self.0.iter().position(|b| *b == 0)?;
        let word = &self.0[..end];
        self.0 = &self.0[end + 1..];
        Some(word)
    }
}

/// Short messages between a stub and its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet {
    /// To the session: the stub got this signal; `group`: from the terminal, for the whole process group.
    Signal { signal: i32, group: bool },
    /// To the stub: the reference exited.
    Exited { code: i32 },
    /// To the stub: the reference died of this signal.
    Killed { signal: i32 },
    /// To the stub: the reference was stopped.
    Stopped { signal: i32 },
    /// To the stub: it could not be run. Its standard error comes along, if it had one.
    Failed { errno: i32 },
    /// To the stub: the master of the terminal that the reference was given comes along.
    Terminal,
}

impl Packet {
    pub const LEN: usize = 12;

    pub fn encode(self) -> [u8; Self::LEN] {
        let (kind, a, b) = match self {
            Self::Signal { signal, group } => (1u32, signal, i32::from(group)),
            Self::Exited { code } => (2, code, 0),
            Self::Killed { signal } => (3, signal, 0),
            Self::Stopped { signal } => (4, signal, 0),
            Self::Failed { errno } => (5, errno, 0),
            Self::Terminal => (6, 0, 0),
        };
        let mut out = [0; Self::LEN];
        out[..4].copy_from_slice(&kind.to_le_bytes());
        out[4..8].copy_from_slice(&a.to_le_bytes());
        out[8..].copy_from_slice(&b.to_le_bytes());
        out
    }

    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let r = &mut Reader::new(bytes);
        let (kind, a, b) = (r.u32()?, r.u32()? as i32, r.u32()?);
        if !r.is_empty() {
            return None;
        }
        let packet = match kind {
            1 if b <= 1 => Self::Signal { signal: a, group: b == 1 },
            2 => Self::Exited { code: a },
            3 => Self::Killed { signal: a },
            4 => Self::Stopped { signal: a },
            5 => Self::Failed { errno: a },
            6 if a == 0 => Self::Terminal,
            _ => return None,
        };
        (kind == 1 || b == 0).then_some(packet)
    }
}
