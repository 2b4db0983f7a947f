//! The three standard descriptors of one invocation: which are watched, and how.

use super::input::{Input, Region, is_ordinary, reopen};
use super::kernel::{self as k, Rights};
use super::proto::Head;
use super::report::{Kind, OUTPUT_HEAD, Stream};
use super::streams::{Mirror, Relay, kind_of};
use crate::buf::Buf;
use crate::sys::{self, POLLERR, PollFd, Stat};

const O_APPEND: usize = 0o2000;
/// Written files up to this size are hashed before the caller goes on, larger ones after.
const SMALL: u64 = 1 << 20;

/// Where one output goes.
pub struct Output {
    pub kind: Kind,
    pub relay: Option<Relay>,
    file: Option<Written>,
}

/// A regular file that is written to directly.
struct Written {
    /// Our duplicate of the description.
    fd: i32,
    st: Stat,
    begun: u64,
    ended: u64,
    /// The same file, open for reading.
    readable: i32,
    sha256: Option<[u8; 32]>,
    head: Buf,
}

/// All three.
pub struct Stdio {
    pub input: Input,
    pub out: Output,
    pub err: Output,
    /// Both outputs are one pipe or file, described by `out`.
    pub merged: bool,
}

/// A standard descriptor as it came.
#[derive(Clone, Copy)]
struct Given {
    place: usize,
    fd: i32,
    st: Stat,
    kind: Kind,
}

fn given(head: &Head<'_>, rights: &Rights, number: u32) -> Option<Given> {
    let place = head.inherited().position(|n| n == number)?;
    let fd = *rights.fds().get(place)?;
    let st = sys::fstat(fd).ok()?;
    Some(Given { place, fd, st, kind: kind_of(&st) })
}

impl Given {
    fn is_same(&self, other: &Given) -> bool {
        (self.st.dev, self.st.ino) == (other.st.dev, other.st.ino)
    }

    /// Whether a pipe of ours can stand in: what is written comes out in order, and nothing else is done with it.
    fn can_relay(&self, input: Option<&Given>) -> bool {
        // A socket that is also the input is a conversation; the reference must have the socket itself.
        let alone = input.is_none_or(|input| !self.is_same(input));
        match self.kind {
            Kind::Pipe => k::is_writable(self.fd) && alone,
            Kind::Socket => k::is_unix_stream(self.fd) && alone,
            _ => false,
        }
    }
}

impl Stdio {
    /// Looks at the input and puts pipes of ours in place of the caller's pipes and sockets.
    pub fn open(head: &Head<'_>, rights: &mut Rights, mirror: &mut Mirror) -> Result<Self, i32> {
        let [input, out, err] = [0, 1, 2].map(|number| given(head, rights, number));
        let kind = |given: &Option<Given>| given.map_or(Kind::Closed, |g| g.kind);
        let mut stdio = Self {
            input: Input::look(input.map_or(-1, |g| g.fd), kind(&input), mirror),
            out: Output { kind: kind(&out), relay: None, file: None },
            err: Output { kind: kind(&err), relay: None, file: None },
            merged: false,
        };
        let watched = |g: &Given| matches!(g.kind, Kind::Pipe | Kind::Socket | Kind::File);
        if let (Some(out), Some(err)) = (&out, &err) {
            stdio.merged = watched(out) && out.is_same(err);
        }
        if let Some(out) = &out {
            stdio.out.watch(out, input.as_ref(), rights)?;
        }
        match (&out, &err) {
            (Some(_), Some(_)) if stdio.merged && stdio.out.relay.is_none() => {}
            (Some(out), Some(err)) if stdio.merged => {
                let twin = k::dup_above(rights.fds()[out.place], 0)?;
                sys::close(rights.replace(err.place, twin));
            }
            (_, Some(err)) => stdio.err.watch(err, input.as_ref(), rights)?,
            _ => {}
        }
        Ok(stdio)
    }

    pub fn relays(&mut self) -> [&mut Option<Relay>; 2] {
        [&mut self.out.relay, &mut self.err.relay]
    }

    /// What the reference did with regular files, while its caller still waits.
    pub fn finish(&mut self, pid: u32) {
        self.out.finish(pid, 1);
        if !self.merged {
            self.err.finish(pid, 2);
        }
    }

    /// The slow part, when the caller goes on already.
    pub fn finish_slowly(&mut self) {
        if self.input.is_file() {
            self.input.finish();
        }
        self.out.hash_large();
        self.err.hash_large();
    }

    /// A descriptor of the caller's standard error, to complain on: (it, it is among the request's).
    pub fn complaints(&self, err_place: Option<usize>, rights: &Rights) -> i32 {
        let relay = if self.merged { &self.out.relay } else { &self.err.relay };
        match relay {
            Some(relay) => relay.target(),
            None => err_place.and_then(|at| rights.fds().get(at)).copied().unwrap_or(-1),
        }
    }
}

impl Output {
    fn watch(
        &mut self,
        given: &Given,
        input: Option<&Given>,
        rights: &mut Rights,
    ) -> Result<(), i32> {
        if given.can_relay(input) {
            let (mut relay, write) = Relay::open(given.fd, given.kind == Kind::Pipe)?;
            rights.replace(given.place, write);
            let mut reader = [PollFd { fd: given.fd, events: 0, revents: 0 }];
            // Nobody reads: the reference's first write must fail, as it would without us.
            if sys::poll(&mut reader, 0).is_ok() && reader[0].revents & POLLERR != 0 {
                relay.close();
            }
            self.relay = Some(relay);
        } else if given.kind == Kind::File && is_ordinary(given.fd) {
            let appends = k::file_flags(given.fd).is_ok_and(|f| f & O_APPEND != 0);
            let begun =
                if appends { given.st.size as u64 } else { k::offset(given.fd).unwrap_or(0) };
            self.file = Some(Written {
                fd: k::dup_above(given.fd, 0)?,
                st: given.st,
                begun,
                ended: begun,
                readable: -1,
                sha256: None,
                head: Buf::new(1),
            });
        }
        Ok(())
    }

    fn finish(&mut self, pid: u32, number: u32) {
        let Some(file) = &mut self.file else { return };
        // With O_APPEND, too: writing moves the offset to the end of the file.
        let end = k::offset(file.fd).unwrap_or(file.begun);
        file.ended = end.max(file.begun);
        if file.ended == file.begun {
            file.sha256 = Some(super::sha256::Sha256::new().finish());
            return;
        }
        file.readable = if k::is_readable(file.fd) {
            k::dup_above(file.fd, 0).unwrap_or(-1)
        } else {
            reopen(pid, number, &file.st).unwrap_or(-1)
        };
        if file.ended - file.begun <= SMALL {
            file.hash();
        }
    }

    fn hash_large(&mut self) {
        let Some(file) = &mut self.file else { return };
        if file.readable < 0 {
            return;
        }
        let before = sys::fstat(file.readable);
        file.hash();
        let after = sys::fstat(file.fd);
        // The caller goes on already; if somebody wrote meanwhile, the digest is of nothing in particular.
        let same = matches!((before, after), (Ok(b), Ok(a))
            if (b.ctime.sec, b.ctime.nsec, b.size) == (a.ctime.sec, a.ctime.nsec, a.size));
        if !same {
            file.sha256 = None;
            file.head.clear();
        }
    }

    pub fn seen(&self) -> Stream<'_> {
        match (&self.relay, &self.file) {
            (Some(relay), _) => relay.seen(self.kind),
            (None, Some(file)) => Stream {
                kind: self.kind,
                bytes: file.ended - file.begun,
                sha256: file.sha256,
                head: file.head.bytes(),
                complete: file.sha256.is_some(),
            },
            (None, None) => {
                Stream { complete: matches!(self.kind, Kind::Closed), ..Stream::unseen(self.kind) }
            }
        }
    }
}

impl Written {
    fn hash(&mut self) {
        let region = Region { fd: self.readable, from: self.begun, to: self.ended };
        self.sha256 = region.digest(Some((&mut self.head, OUTPUT_HEAD)));
        sys::close(self.readable);
        self.readable = -1;
    }
}
