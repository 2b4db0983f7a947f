//! Reports from sessions to the host: one message each, encoded and decoded here only. They are bounded, so that the largest
//! fits into a socket's default buffer.

use crate::proto::{Reader, Sink};

/// Largest report, bytes.
pub const MAX_REPORT: usize = 208 << 10;
/// Bytes of arguments, and of environment, that are reported.
const MAX_LIST: usize = 64 << 10;
/// Bytes of the parent's command line.
pub const MAX_PARENT: usize = 512;
/// Bytes of names of changed files.
const MAX_FILES: usize = 64 << 10;
/// First bytes of standard input that are kept.
pub const INPUT_HEAD: usize = 64 << 10;
/// First bytes of each output that are kept.
pub const OUTPUT_HEAD: usize = 4 << 10;

const BEGAN: u8 = 1;
const ENDED: u8 = 2;
const REFUSED: u8 = 3;

/// What a descriptor leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    Closed = 0,
    Null = 1,
    File = 2,
    Pipe = 3,
    Socket = 4,
    Terminal = 5,
    Device = 6,
    Other = 7,
}

impl Kind {
    fn decode(value: u8) -> Option<Self> {
        Some(match value {
            0 => Self::Closed,
            1 => Self::Null,
            2 => Self::File,
            3 => Self::Pipe,
            4 => Self::Socket,
            5 => Self::Terminal,
            6 => Self::Device,
            7 => Self::Other,
            _ => return None,
        })
    }
}

/// What went through a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream<'a> {
    pub kind: Kind,
    pub bytes: u64,
    pub sha256: Option<[u8; 32]>,
    pub head: &'a [u8],
    pub complete: bool,
}

impl Stream<'_> {
    /// Nothing is known but where it leads.
    pub fn unseen(kind: Kind) -> Self {
        Self { kind, bytes: 0, sha256: None, head: &[], complete: false }
    }

    fn encode(&self, out: &mut impl Sink) {
        out.u8(self.kind as u8);
        out.u64(self.bytes);
        out.u8(u8::from(self.sha256.is_some()));
        if let Some(digest) = &self.sha256 {
            out.put(digest);
        }
        out.blob(self.head);
        out.u8(u8::from(self.complete));
    }
}

fn stream<'a>(r: &mut Reader<'a>) -> Option<Stream<'a>> {
    Some(Stream {
        kind: Kind::decode(r.u8()?)?,
        bytes: r.u64()?,
        sha256: if flag(r)? { Some(r.take(32)?.try_into().ok()?) } else { None },
        head: r.blob()?,
        complete: flag(r)?,
    })
}

fn flag(r: &mut Reader<'_>) -> Option<bool> {
    match r.u8()? {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

/// Writes whether the list is cut, how many there are, and the items, as far as they fit into `limit` bytes.
fn put_list<'a>(
    out: &mut impl Sink,
    list: impl Iterator<Item = &'a [u8]> + Clone,
    already_cut: bool,
    limit: usize,
) {
    let (mut count, mut bytes, mut cut) = (0u32, 0usize, already_cut);
    for item in list.clone() {
        bytes = bytes.saturating_add(4 + item.len());
        if bytes > limit {
            cut = true;
            break;
        }
        count += 1;
    }
    out.u8(u8::from(cut));
    out.u32(count);
    list.take(count as usize).for_each(|item| out.blob(item));
}

/// A list of byte strings, checked when it was read.
#[derive(Clone, Copy, Debug)]
pub struct Blobs<'a> {
    left: u32,
    rest: Reader<'a>,
}

impl<'a> Blobs<'a> {
    fn read(r: &mut Reader<'a>) -> Option<(bool, Self)> {
        let cut = flag(r)?;
        let left = r.u32()?;
        let rest = *r;
        for _ in 0..left {
            r.blob()?;
        }
        Some((cut, Self { left, rest }))
    }
}

impl<'a> Iterator for Blobs<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.left = self.left.checked_sub(1)?;
        self.rest.blob()
    }
}

/// An invocation is about to start. `A`, `E`, `P`: lists of arguments, of environment, of the parent's command line.
#[derive(Clone, Debug)]
pub struct Began<'a, A = Blobs<'a>, E = Blobs<'a>, P = Blobs<'a>> {
    pub seq: u64,
    pub argv: A,
    pub argv_cut: bool,
    pub env: E,
    pub env_cut: bool,
    pub cwd: &'a [u8],
    pub parent: P,
    pub stdin: Stream<'a>,
    pub stdout: Kind,
    pub stderr: Kind,
}

impl<'a, A, E, P> Began<'_, A, E, P>
where
    A: Iterator<Item = &'a [u8]> + Clone,
    E: Iterator<Item = &'a [u8]> + Clone,
    P: Iterator<Item = &'a [u8]> + Clone,
{
    pub fn encode(&self, out: &mut impl Sink) {
        out.u8(BEGAN);
        out.u64(self.seq);
        put_list(out, self.argv.clone(), self.argv_cut, MAX_LIST);
        put_list(out, self.env.clone(), self.env_cut, MAX_LIST);
        out.blob(self.cwd);
        put_list(out, self.parent.clone(), false, MAX_PARENT + 4 * MAX_PARENT);
        self.stdin.encode(out);
        out.u8(self.stdout as u8);
        out.u8(self.stderr as u8);
    }
}

/// How an invocation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    Exited(i32),
    Killed(i32),
    /// It could not be executed; errno.
    NotStarted(i32),
}

/// An invocation has ended. `F`: (path, it is new).
#[derive(Clone, Debug)]
pub struct Ended<'a, F = Changes<'a>> {
    pub seq: u64,
    pub how: How,
    /// Where more is known now than when it began.
    pub stdin: Option<Stream<'a>>,
    pub stdout: Stream<'a>,
    pub stderr: Stream<'a>,
    pub merged: bool,
    pub files: F,
    pub wall_us: u64,
    pub user_us: u64,
    pub sys_us: u64,
}

impl<'a, F: Iterator<Item = (&'a [u8], bool)> + Clone> Ended<'_, F> {
    pub fn encode(&self, out: &mut impl Sink) {
        out.u8(ENDED);
        out.u64(self.seq);
        let (how, value) = match self.how {
            How::Exited(code) => (0, code),
            How::Killed(signal) => (1, signal),
            How::NotStarted(errno) => (2, errno),
        };
        out.u8(how);
        out.u32(value as u32);
        out.u8(u8::from(self.stdin.is_some()));
        if let Some(stdin) = &self.stdin {
            stdin.encode(out);
        }
        self.stdout.encode(out);
        self.stderr.encode(out);
        out.u8(u8::from(self.merged));
        let mut left = MAX_FILES;
        let fits = self.files.clone().take_while(|(path, _)| {
            left = left.saturating_sub(path.len() + 5);
            left > 0
        });
        let count = fits.count();
        out.u32(count as u32);
        for (path, new) in self.files.clone().take(count) {
            out.blob(path);
            out.u8(u8::from(new));
        }
        for n in [self.wall_us, self.user_us, self.sys_us] {
            out.u64(n);
        }
    }
}

/// A list of changed files, checked when it was read.
#[derive(Clone, Copy, Debug)]
pub struct Changes<'a> {
    left: u32,
    rest: Reader<'a>,
}

impl<'a> Changes<'a> {
    fn one(r: &mut Reader<'a>) -> Option<(&'a [u8], bool)> {
        Some((r.blob()?, flag(r)?))
    }

    fn read(r: &mut Reader<'a>) -> Option<Self> {
        let left = r.u32()?;
        let rest = *r;
        for _ in 0..left {
            Self::one(r)?;
        }
        Some(Self { left, rest })
    }
}

impl<'a> Iterator for Changes<'a> {
    type Item = (&'a [u8], bool);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        Self::one(&mut self.rest)
    }
}

/// Any report.
#[derive(Clone, Debug)]
pub enum Report<'a> {
    Began(Began<'a>),
    Ended(Ended<'a>),
    Refused { why: &'a [u8] },
}

pub fn encode_refused(why: &[u8], out: &mut impl Sink) {
    out.u8(REFUSED);
    out.blob(why);
}

impl<'a> Report<'a> {
    /// `None` if it is malformed.
    pub fn decode(message: &'a [u8]) -> Option<Self> {
        let r = &mut Reader::new(message);
        let report = match r.u8()? {
            BEGAN => Self::Began(began(r)?),
            ENDED => Self::Ended(ended(r)?),
            REFUSED => Self::Refused { why: r.blob()? },
            _ => return None,
        };
        r.is_empty().then_some(report)
    }
}

fn began<'a>(r: &mut Reader<'a>) -> Option<Began<'a>> {
    let seq = r.u64()?;
    let (argv_cut, argv) = Blobs::read(r)?;
    let (env_cut, env) = Blobs::read(r)?;
    let cwd = r.blob()?;
    let (_, parent) = Blobs::read(r)?;
    Some(Began {
        seq,
        argv,
        argv_cut,
        env,
        env_cut,
        cwd,
        parent,
        stdin: stream(r)?,
        stdout: Kind::decode(r.u8()?)?,
        stderr: Kind::decode(r.u8()?)?,
    })
}

fn ended<'a>(r: &mut Reader<'a>) -> Option<Ended<'a>> {
    Some(Ended {
        seq: r.u64()?,
        how: match (r.u8()?, r.u32()? as i32) {
            (0, code) => How::Exited(code),
            (1, signal) => How::Killed(signal),
            (2, errno) => How::NotStarted(errno),
            _ => return None,
        },
        stdin: if flag(r)? { Some(stream(r)?) } else { None },
        stdout: stream(r)?,
        stderr: stream(r)?,
        merged: flag(r)?,
        files: Changes::read(r)?,
        wall_us: r.u64()?,
        user_us: r.u64()?,
        sys_us: r.u64()?,
    })
}
