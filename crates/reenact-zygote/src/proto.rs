//! The protocol between host and zygote, on one stream socket.
//!
//! Every message is a frame: `u32` length of the rest, `u8` operation, payload. Integers are little-endian. Byte strings are
//! a `u32` length and the bytes; strings for the kernel carry their NUL. The host is trusted; the zygote still checks
//! lengths, so that a bug is a refused frame and not a wild read. Replies are buffered until [`op::SYNC`].

/// Operations, host to zygote.
pub mod op {
    /// Perform the set-up plan; replies `SETUP_OK` or `SETUP_FAILED`. First, and once.
    pub const SETUP: u8 = 1;
    /// Empty the workspace.
    pub const RESET: u8 = 2;
    /// Place a file; no reply unless it fails.
    pub const PUT: u8 = 3;
    /// Run an invocation; replies `RAN`.
    pub const RUN: u8 = 4;
    /// List a tree with contents; replies `ENTRY`… `LISTED`.
    pub const LIST: u8 = 5;
    /// Send all buffered replies, then `SYNCED`.
    pub const SYNC: u8 = 6;
    /// During a tty run: is every process asleep? Replies `IDLE` at once.
    pub const TTY_POLL: u8 = 7;
    /// During a tty run: end it.
    pub const TTY_STOP: u8 = 8;
    /// Room: start a command; see [`super::ExecRequest`]. Its three standard descriptors travel along as SCM_RIGHTS.
    pub const EXEC: u8 = 9;
    /// Room: kill the session of command `u64`.
    pub const KILL: u8 = 10;
    /// Room: listen on 127.0.0.1:`u32`; replies `DESCRIPTOR`.
    pub const LISTEN: u8 = 11;
    /// Room: replies `DESCRIPTOR` with the root directory.
    pub const ROOT: u8 = 12;
    /// Containers: as [`EXEC`], with a user and more descriptors. Payload: [`super::ExecAs`], then [`super::ExecRequest`].
    pub const EXEC_AS: u8 = 13;
    /// Sends a signal to the process of a command: its number (u64), the signal (u32).
    pub const SIGNAL: u8 = 14;
}

/// Replies, zygote to host.
pub mod re {
    pub const SETUP_OK: u8 = 64;
    /// `u32` index of the step, `u32` errno.
    pub const SETUP_FAILED: u8 = 65;
    /// `u8` operation, `u32` errno: a request could not be carried out; the cell is unusable.
    pub const FAILED: u8 = 66;
    /// See [`super::Ran`].
    pub const RAN: u8 = 67;
    /// `u8` kind, `u32` mode, `u64` size, path, symlink target, `u64` content length (`u64::MAX`: not sent). The content
    /// follows the frame as raw bytes.
    pub const ENTRY: u8 = 68;
    /// `u8` truncated.
    pub const LISTED: u8 = 69;
    pub const SYNCED: u8 = 70;
    /// `u8` idle.
    pub const IDLE: u8 = 71;
    /// The terminal's master descriptor travels with this one-byte message as SCM_RIGHTS, outside any frame.
    pub const TTY_MASTER: u8 = 72;
    /// Room: `u64` command, `u32` wait status, `u64` user and `u64` system microseconds.
    pub const EXITED: u8 = 73;
    /// Room: `u64` command, `u32` errno: it could not be started.
    pub const NOT_STARTED: u8 = 74;
    /// Room: `u32` errno; 0: a descriptor travels with this frame as SCM_RIGHTS.
    pub const DESCRIPTOR: u8 = 75;
}

/// Steps of the set-up plan.
pub mod step {
    pub const UNSHARE: u8 = 1;
    pub const WRITE_FILE: u8 = 2;
    pub const FORK: u8 = 3;
    pub const HOSTNAME: u8 = 4;
    pub const MOUNT: u8 = 5;
    pub const MKDIR: u8 = 6;
    pub const MKFILE: u8 = 7;
    pub const SYMLINK: u8 = 8;
    pub const PIVOT: u8 = 9;
    pub const SETATTR: u8 = 10;
    pub const DROP_BOUNDING: u8 = 11;
    pub const NO_NEW_PRIVS: u8 = 12;
    pub const SECCOMP: u8 = 13;
    pub const NOT_DUMPABLE: u8 = 14;
    pub const WORKSPACE: u8 = 15;
    pub const CHILD: u8 = 16;
    pub const UMOUNT: u8 = 17;
    pub const CHOWN: u8 = 18;
    pub const CHMOD: u8 = 19;
    /// Bring the loopback interface up.
    pub const LOOPBACK: u8 = 20;
    /// Fork the broker, which waits for `MEET` and then performs the plan in this step's blob.
    pub const BROKER: u8 = 21;
    /// Let the broker perform its plan, and wait until it serves.
    pub const MEET: u8 = 22;
    /// After the plan, serve as pid 1 of a room.
    pub const ROOM: u8 = 23;
    /// Copy a file: from, to, mode.
    pub const COPY: u8 = 24;
    /// Set an extended attribute: path, name, value.
    pub const SETXATTR: u8 = 25;
    /// Broker: keep an `O_PATH` descriptor of the reference.
    pub const REFERENCE: u8 = 26;
    /// Broker: keep a descriptor of the room's pid namespace.
    pub const PID_NS: u8 = 27;
    /// Broker: open the listener, tell pid 1, and serve. `u8`: give terminal callers a pty of their own. Last.
    pub const SERVE: u8 = 28;
    /// Broker: the reference's private libraries, as NUL-terminated paths one after the other.
    pub const HIDE: u8 = 29;
    /// Reduces pid 1's own capabilities to these (u64).
    pub const CAPABILITIES: u8 = 30;
}

/// Kinds of workspace entries on the wire.
pub mod kind {
    pub const FILE: u8 = 0;
    pub const DIR: u8 = 1;
    pub const SYMLINK: u8 = 2;
    pub const FIFO: u8 = 3;
    pub const SOCKET: u8 = 4;
    pub const DEVICE: u8 = 5;
    /// PUT only: append to the file placed before.
    pub const APPEND: u8 = 6;
    /// PUT only: give an entry its fixed time, once everything in it is placed.
    pub const TOUCH: u8 = 7;
}

/// Who ended a run, on the wire.
pub mod cause {
    pub const ITSELF: u8 = 0;
    pub const WALL: u8 = 1;
    pub const STDOUT: u8 = 2;
    pub const STDERR: u8 = 3;
    pub const MEMORY: u8 = 4;
    pub const SCRIPT: u8 = 5;
    pub const EXEC: u8 = 6;
}

/// Flags of [`RunRequest::flags`].
pub mod flag {
    pub const TTY: u32 = 1;
    pub const MERGE_STDERR: u32 = 2;
    pub const NO_ASLR: u32 = 4;
    pub const STDIN: u32 = 8;
}

/// Whom the OOM killer of the control group takes first.
pub mod oom {
    /// By size alone (an unprivileged zygote may not change it).
    pub const AS_IS: u8 = 0;
    /// Never the zygote (-1000); children as usual (0). Needs CAP_SYS_RESOURCE.
    pub const PROTECT: u8 = 1;
    /// Children before the zygote (+500; a child can take that back, but not go below 0).
    pub const PREFER_CHILDREN: u8 = 2;
}

/// Somewhere to put bytes.
pub trait Sink {
    fn put(&mut self, bytes: &[u8]);

    fn u8(&mut self, v: u8) {
        self.put(&[v]);
    }
    fn u32(&mut self, v: u32) {
        self.put(&v.to_le_bytes());
    }
    fn u64(&mut self, v: u64) {
        self.put(&v.to_le_bytes());
    }
    fn blob(&mut self, v: &[u8]) {
        self.u32(v.len() as u32);
        self.put(v);
    }
    /// A string for the kernel: the bytes and a NUL.
    fn cstr(&mut self, v: &[u8]) {
        self.u32(v.len() as u32 + 1);
        self.put(v);
        self.put(&[0]);
    }
}

/// Reads a payload. Every method gives `None` at the end of the bytes.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// What has not been read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.bytes
    }

    pub fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.bytes.split_at_checked(n)?;
        self.bytes = tail;
        Some(head)
    }

    pub fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|b| b[0])
    }

    pub fn u32(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_le_bytes)
    }

    pub fn u64(&mut self) -> Option<u64> {
        self.take(8)?.try_into().ok().map(u64::from_le_bytes)
    }

    pub fn blob(&mut self) -> Option<&'a [u8]> {
        let n = self.u32()? as usize;
        self.take(n)
    }

    /// A string for the kernel: its only NUL is the last byte. The NUL is included.
    pub fn cstr(&mut self) -> Option<&'a [u8]> {
        let bytes = self.blob()?;
        (bytes.iter().position(|b| *b == 0)? + 1 == bytes.len()).then_some(bytes)
    }
}

/// Length of the frame header: length and operation.
pub const HEADER: usize = 5;
/// Largest payload of a frame.
pub const MAX_FRAME: usize = 256 << 20;

/// A frame at the head of a buffer: operation, payload, bytes used.
pub type SplitFrame<'a> = (u8, &'a [u8], usize);

/// Splits the first frame off `bytes`. `Ok(None)` if it is not complete yet.
///
/// # Errors
/// `Err(())` if the header is impossible.
#[expect(
    clippy::result_unit_err,
    reason = "there is one way to be wrong, and no_std callers only stop"
)]
pub fn split_frame(bytes: &[u8]) -> Result<Option<SplitFrame<'_>>, ()> {
    let mut r = Reader::new(bytes);
    let Some(len) = r.u32() else { return Ok(None) };
    let len = len as usize;
    if len == 0 || len > MAX_FRAME {
        return Err(());
    }
    let Some(body) = r.take(len) else { return Ok(None) };
    Ok(Some((body[0], &body[1..], 4 + len)))
}

/// A list of kernel strings, validated when made.
#[derive(Clone, Copy)]
pub struct StrList<'a> {
    pub count: u32,
    rest: Reader<'a>,
}

impl<'a> StrList<'a> {
    /// Reads a count and that many strings.
    pub fn read(r: &mut Reader<'a>) -> Option<Self> {
        let count = r.u32()?;
        let rest = *r;
        for _ in 0..count {
            r.cstr()?;
        }
        Some(Self { count, rest })
    }

    /// The strings, each with its NUL.
    pub fn iter(self) -> impl Iterator<Item = &'a [u8]> {
        let mut r = self.rest;
        (0..self.count).map_while(move |_| r.cstr())
    }
}

/// Payload of [`op::RUN`].
pub struct RunRequest<'a> {
    pub flags: u32,
    pub wall_ms: u64,
    pub cpu_sec: u32,
    pub output_bytes: u64,
    /// Memory limit to enforce by polling, bytes; 0: the cgroup does it.
    pub poll_memory: u64,
    pub skip_pids: u32,
    pub stdin_chunk: u32,
    pub rows: u32,
    pub cols: u32,
    pub program: &'a [u8],
    pub cwd: &'a [u8],
    pub argv: StrList<'a>,
    pub env: StrList<'a>,
    pub stdin: &'a [u8],
}

impl<'a> RunRequest<'a> {
    pub fn decode(payload: &'a [u8]) -> Option<Self> {
        let r = &mut Reader::new(payload);
        let request = Self {
            flags: r.u32()?,
            wall_ms: r.u64()?,
            cpu_sec: r.u32()?,
            output_bytes: r.u64()?,
            poll_memory: r.u64()?,
            skip_pids: r.u32()?,
            stdin_chunk: r.u32()?,
            rows: r.u32()?,
            cols: r.u32()?,
            program: r.cstr()?,
            cwd: r.cstr()?,
            argv: StrList::read(r)?,
            env: StrList::read(r)?,
            stdin: r.blob()?,
        };
        r.is_empty().then_some(request)
    }
}

/// Payload of [`op::EXEC`].
pub struct ExecRequest<'a> {
    pub id: u64,
    pub cwd: &'a [u8],
    /// Directories to look for the program in, if its name has no slash: as in PATH.
    pub path: &'a [u8],
    pub argv: StrList<'a>,
    pub env: StrList<'a>,
}

impl<'a> ExecRequest<'a> {
    pub fn decode(payload: &'a [u8]) -> Option<Self> {
        let r = &mut Reader::new(payload);
        let request = Self {
            id: r.u64()?,
            cwd: r.cstr()?,
            path: r.blob()?,
            argv: StrList::read(r)?,
            env: StrList::read(r)?,
        };
        (r.is_empty() && request.argv.count > 0).then_some(request)
    }
}

/// Head of the payload of [`op::EXEC_AS`].
pub struct ExecAs<'a> {
    pub uid: u32,
    pub gid: u32,
    /// Change ids; false where the namespace has one user only.
    pub set_ids: bool,
    /// Supplementary groups, four bytes each.
    pub groups: &'a [u8],
    /// Descriptors after the standard ones, which become 3, 4, …
    pub more: u8,
}

impl<'a> ExecAs<'a> {
    /// Reads the head off; what follows is an [`ExecRequest`].
    pub fn read(r: &mut Reader<'a>) -> Option<Self> {
        Some(Self {
            uid: r.u32()?,
            gid: r.u32()?,
            set_ids: r.u8()? != 0,
            groups: r.blob()?,
            more: r.u8()?,
        })
    }
}

/// Payload of [`re::RAN`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran<'a> {
    /// See [`cause`].
    pub cause: u8,
    /// Wait status of the program, as `wait4` gave it.
    pub status: i32,
    /// errno of `execve`, where the cause says so.
    pub errno: i32,
    pub wall_us: u64,
    pub user_us: u64,
    pub sys_us: u64,
    pub max_rss_kib: u64,
    pub leftovers: u32,
    /// Bytes received, before the cut.
    pub stdout_len: u64,
    pub stderr_len: u64,
    pub stdout: &'a [u8],
    pub stderr: &'a [u8],
}

impl<'a> Ran<'a> {
    pub fn decode(payload: &'a [u8]) -> Option<Self> {
        let r = &mut Reader::new(payload);
        let ran = Self {
            cause: r.u8()?,
            status: r.u32()? as i32,
            errno: r.u32()? as i32,
            wall_us: r.u64()?,
            user_us: r.u64()?,
            sys_us: r.u64()?,
            max_rss_kib: r.u64()?,
            leftovers: r.u32()?,
            stdout_len: r.u64()?,
            stderr_len: r.u64()?,
            stdout: r.blob()?,
            stderr: r.blob()?,
        };
        r.is_empty().then_some(ran)
    }

    /// The payload without the two streams, which the caller appends as blobs.
    pub fn encode_head(&self, out: &mut impl Sink) {
        out.u8(self.cause);
        out.u32(self.status as u32);
        out.u32(self.errno as u32);
        out.u64(self.wall_us);
        out.u64(self.user_us);
        out.u64(self.sys_us);
        out.u64(self.max_rss_kib);
        out.u32(self.leftovers);
        out.u64(self.stdout_len);
        out.u64(self.stderr_len);
    }

    /// Bytes that [`Ran::encode_head`] writes.
    pub const HEAD: usize = 1 + 4 + 4 + 8 * 4 + 4 + 8 * 2;
}

/// Payload of [`re::ENTRY`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryHead<'a> {
    pub kind: u8,
    pub mode: u32,
    pub size: u64,
    pub path: &'a [u8],
    pub target: &'a [u8],
    /// Raw bytes that follow the frame; `u64::MAX` if the content is not sent.
    pub content: u64,
}

impl<'a> EntryHead<'a> {
    pub fn decode(payload: &'a [u8]) -> Option<Self> {
        let r = &mut Reader::new(payload);
        let head = Self {
            kind: r.u8()?,
            mode: r.u32()?,
            size: r.u64()?,
            path: r.blob()?,
            target: r.blob()?,
            content: r.u64()?,
        };
        r.is_empty().then_some(head)
    }

    /// A whole frame.
    pub fn encode_frame(&self, out: &mut impl Sink) {
        out.u32((1 + 1 + 4 + 8 + 4 + self.path.len() + 4 + self.target.len() + 8) as u32);
        out.u8(re::ENTRY);
        out.u8(self.kind);
        out.u32(self.mode);
        out.u64(self.size);
        out.blob(self.path);
        out.blob(self.target);
        out.u64(self.content);
    }
}
