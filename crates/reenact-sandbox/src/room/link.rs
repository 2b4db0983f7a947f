//! The host's link to pid 1 of a room: requests go out from any thread, one thread reads the answers.

use crate::error::SandboxError;
use crate::wire::failed;
use reenact_zygote::proto::{Reader, Sink, op, re, split_frame};
use std::collections::{BTreeMap, VecDeque};
use std::io::{ErrorKind, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How pid 1 says that a command is over.
#[derive(Clone, Copy, Debug)]
pub enum Over {
    Exited {
        status: i32,
        user_us: u64,
        sys_us: u64,
    },
    NotStarted {
        errno: i32,
    },
    /// [`Link::stop_all`] was called; the end itself follows.
    Stop,
}

/// Where the end of one command is announced: written to by the reading thread, polled by the command's.
type Bell = std::io::PipeWriter;

#[derive(Default)]
struct Shared {
    /// Commands that run: their bells, and what was announced and not yet fetched.
    commands: BTreeMap<u64, (Bell, VecDeque<Over>)>,
    /// Who waits for a descriptor, in order of asking.
    askers: VecDeque<Sender<Result<OwnedFd, i32>>>,
    /// Why the room is lost.
    lost: Option<String>,
}

/// See the module.
pub struct Link {
    /// Requests are written whole, under this lock; askers are queued under it too, so that the order is the same.
    writer: Mutex<UnixStream>,
    shared: Arc<Mutex<Shared>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere leaves the maps whole: each change is one call.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Bytes(Vec<u8>);

impl Sink for Bytes {
    fn put(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
}

fn frame(operation: u8, body: impl FnOnce(&mut dyn FnMut(&[u8]))) -> Vec<u8> {
    let mut bytes = Bytes(vec![0, 0, 0, 0, operation]);
    body(&mut |piece| bytes.put(piece));
    let len = (bytes.0.len() - 4) as u32;
    bytes.0[..4].copy_from_slice(&len.to_le_bytes());
    bytes.0
}

/// What a command is, on the wire.
pub struct Request<'a> {
    /// Containers: whom it runs as, and whether ids can be changed.
    pub user: Option<(&'a crate::container::User, bool)>,
    pub id: u64,
    pub cwd: &'a str,
    pub path: &'a str,
    pub argv: &'a [String],
    pub env: &'a BTreeMap<String, String>,
}

impl Link {
    /// Takes over the socket to a room that is set up.
    pub fn new(stream: UnixStream) -> Result<Self, SandboxError> {
        stream
            .set_read_timeout(None)
            .map_err(|e| SandboxError::host("cannot configure the room's socket", e))?;
        let reader = stream
            .try_clone()
            .map_err(|e| SandboxError::host("cannot duplicate the room's socket", e))?;
        let shared = Arc::new(Mutex::new(Shared::default()));
        let theirs = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("room".to_owned())
            .spawn(move || read_answers(&reader, &theirs))
            .map_err(|e| SandboxError::host("cannot start a thread", e))?;
        Ok(Self { writer: Mutex::new(stream), shared })
    }

    fn lost(&self) -> Result<(), SandboxError> {
        match &locked(&self.shared).lost {
            Some(why) => Err(SandboxError::Lost(why.clone())),
            None => Ok(()),
        }
    }

    /// Whether pid 1 lives.
    pub fn is_alive(&self) -> bool {
        locked(&self.shared).lost.is_none()
    }

    /// Starts a command on three descriptors (or more, with a user); its end is announced on the bell that is given back.
    pub fn exec(
        &self,
        request: &Request<'_>,
        given: &[OwnedFd],
    ) -> Result<std::io::PipeReader, SandboxError> {
        let (ear, bell) =
            std::io::pipe().map_err(|e| SandboxError::host("cannot make a pipe", e))?;
        let operation = if request.user.is_some() { op::EXEC_AS } else { op::EXEC };
        let bytes = frame(operation, |put| {
            let mut b = Bytes(Vec::new());
            if let Some((user, set_ids)) = request.user {
                b.u32(user.uid);
                b.u32(user.gid);
                b.u8(u8::from(set_ids));
                let groups: Vec<u8> = user.groups.iter().flat_map(|g| g.to_ne_bytes()).collect();
                b.blob(&groups);
                b.u8((given.len() - 3) as u8);
            }
            b.u64(request.id);
            b.cstr(request.cwd.as_bytes());
            b.blob(request.path.as_bytes());
            b.u32(request.argv.len() as u32);
            for arg in request.argv {
                b.cstr(arg.as_bytes());
            }
            b.u32(request.env.len() as u32);
            for (name, value) in request.env {
                b.cstr(format!("{name}={value}").as_bytes());
            }
            put(&b.0);
        });
        let writer = locked(&self.writer);
        self.lost()?;
        locked(&self.shared).commands.insert(request.id, (bell, VecDeque::new()));
        let sent = send_with_descriptors(&writer, &bytes, given);
        if let Err(e) = sent {
            locked(&self.shared).commands.remove(&request.id);
            return Err(SandboxError::Lost(format!("cannot send to the room: {e}")));
        }
        Ok(ear)
    }

    /// What was announced of a command since the last call.
    pub fn news(&self, id: u64) -> Result<Vec<Over>, SandboxError> {
        let mut shared = locked(&self.shared);
        let news: Vec<Over> = match shared.commands.get_mut(&id) {
            Some((_, queue)) => queue.drain(..).collect(),
            None => Vec::new(),
        };
        match &shared.lost {
            Some(why) if news.is_empty() => Err(SandboxError::Lost(why.clone())),
            _ => Ok(news),
        }
    }

    /// Forgets a command that is over.
    pub fn forget(&self, id: u64) {
        locked(&self.shared).commands.remove(&id);
    }

    /// Kills a command's session.
    pub fn kill(&self, id: u64) -> Result<(), SandboxError> {
        let bytes = frame(op::KILL, |put| put(&id.to_le_bytes()));
        let mut writer = locked(&self.writer);
        self.lost()?;
        writer
            .write_all(&bytes)
            .map_err(|e| SandboxError::Lost(format!("cannot send to the room: {e}")))
    }

    /// Sends a signal to the process of a command; nothing if it has ended.
    pub fn signal(&self, id: u64, signal: i32) -> Result<(), SandboxError> {
        let bytes = frame(op::SIGNAL, |put| {
            put(&id.to_le_bytes());
            put(&signal.to_le_bytes());
        });
        let mut writer = locked(&self.writer);
        self.lost()?;
        writer
            .write_all(&bytes)
            .map_err(|e| SandboxError::Lost(format!("cannot send to the room: {e}")))
    }

    /// Tells every command's thread to kill it.
    pub fn stop_all(&self) {
        for (bell, queue) in locked(&self.shared).commands.values_mut() {
            queue.push_back(Over::Stop);
            ring(bell);
        }
    }

    /// Tells one command's thread to kill it; nothing if it does not run.
    pub fn stop(&self, id: u64) {
        if let Some((bell, queue)) = locked(&self.shared).commands.get_mut(&id) {
            queue.push_back(Over::Stop);
            ring(bell);
        }
    }

    /// Asks for a descriptor: [`op::LISTEN`] or [`op::ROOT`].
    pub fn descriptor(&self, operation: u8, argument: &[u8]) -> Result<OwnedFd, SandboxError> {
        let bytes = frame(operation, |put| put(argument));
        let (sender, answer): (_, Receiver<Result<OwnedFd, i32>>) = channel();
        {
            let mut writer = locked(&self.writer);
            self.lost()?;
            locked(&self.shared).askers.push_back(sender);
            writer
                .write_all(&bytes)
                .map_err(|e| SandboxError::Lost(format!("cannot send to the room: {e}")))?;
        }
        match answer.recv_timeout(Duration::from_secs(60)) {
            Ok(Ok(fd)) => Ok(fd),
            Ok(Err(errno)) => {
                let step = if operation == op::LISTEN {
                    "listening in the room"
                } else {
                    "opening the room's root"
                };
                let error = std::io::Error::from_raw_os_error(errno);
                Err(SandboxError::Setup { step: step.to_owned(), error })
            }
            Err(_) => {
                self.lost()?;
                Err(SandboxError::Lost("pid 1 of the room does not answer".to_owned()))
            }
        }
    }

    /// Ends the room: pid 1 exits at the end of its input.
    pub fn close(&self) {
        // It may be closed already, which is as good.
        let _closed = locked(&self.writer).shutdown(std::net::Shutdown::Both);
    }
}

fn ring(bell: &mut Bell) {
    // One byte at a time never fills a pipe here; if the listener is gone, nobody needs to know.
    let _rung = bell.write_all(&[1]);
}

/// Reads until the socket ends, then tells everybody who waits.
fn read_answers(stream: &UnixStream, shared: &Mutex<Shared>) {
    let mut bytes = Vec::new();
    let mut descriptors = VecDeque::new();
    let why = loop {
        match receive(stream, &mut bytes, &mut descriptors) {
            Ok(0) => break "pid 1 of the room is gone".to_owned(),
            Ok(_) => {}
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            Err(e) => break format!("no answer from the room: {e}"),
        }
        let mut used = 0;
        let problem = loop {
            match split_frame(&bytes[used..]) {
                Ok(Some((operation, payload, n))) => {
                    if let Err(e) = answer(operation, payload, &mut descriptors, shared) {
                        break Some(e.to_string());
                    }
                    used += n;
                }
                Ok(None) => break None,
                Err(()) => break Some("a malformed frame from the room".to_owned()),
            }
        };
        bytes.drain(..used);
        if let Some(problem) = problem {
            break problem;
        }
    };
    let mut shared = locked(shared);
    shared.lost = Some(why);
    shared.askers.clear();
    for (bell, _) in shared.commands.values_mut() {
        ring(bell);
    }
}

fn answer(
    operation: u8,
    payload: &[u8],
    descriptors: &mut VecDeque<OwnedFd>,
    shared: &Mutex<Shared>,
) -> Result<(), SandboxError> {
    let mut r = Reader::new(payload);
    let bad = || SandboxError::Lost("a malformed answer from the room".to_owned());
    let mut shared = locked(shared);
    match operation {
        re::EXITED | re::NOT_STARTED => {
            let id = r.u64().ok_or_else(bad)?;
            let number = r.u32().ok_or_else(bad)? as i32;
            let over = if operation == re::EXITED {
                Over::Exited {
                    status: number,
                    user_us: r.u64().ok_or_else(bad)?,
                    sys_us: r.u64().ok_or_else(bad)?,
                }
            } else {
                Over::NotStarted { errno: number }
            };
            if let Some((bell, queue)) = shared.commands.get_mut(&id) {
                queue.push_back(over);
                ring(bell);
            }
            Ok(())
        }
        re::DESCRIPTOR => {
            let errno = r.u32().ok_or_else(bad)? as i32;
            let given =
                if errno == 0 { Ok(descriptors.pop_front().ok_or_else(bad)?) } else { Err(errno) };
            if let Some(asker) = shared.askers.pop_front() {
                // Whoever asked may have given up.
                let _told = asker.send(given);
            }
            Ok(())
        }
        _ => Err(failed(&crate::wire::Frame { op: operation, payload: payload.to_vec() })),
    }
}

/// One read with descriptors.
fn receive(
    stream: &UnixStream,
    bytes: &mut Vec<u8>,
    descriptors: &mut VecDeque<OwnedFd>,
) -> std::io::Result<usize> {
    let mut buffer = [0u8; 16 << 10];
    let mut iov = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let mut control = [0u64; 16];
    // SAFETY: an all-zero msghdr is valid; every pointer set below outlives the call.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut iov;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control);
    // SAFETY: `message` is set up above.
    let n = unsafe { libc::recvmsg(stream.as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC) };
    if n < 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: the kernel filled the control buffer; CMSG_* walk it within msg_controllen.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(&raw const message);
        while !header.is_null() {
            if (*header).cmsg_level == libc::SOL_SOCKET && (*header).cmsg_type == libc::SCM_RIGHTS {
                let count = ((*header).cmsg_len - libc::CMSG_LEN(0) as usize) / 4;
                for i in 0..count {
                    let fd = libc::CMSG_DATA(header).cast::<i32>().add(i).read_unaligned();
                    descriptors.push_back(OwnedFd::from_raw_fd(fd));
                }
            }
            header = libc::CMSG_NXTHDR(&raw const message, header);
        }
    }
    bytes.extend_from_slice(&buffer[..n as usize]);
    Ok(n as usize)
}

/// Sends a frame with descriptors attached to its first bytes.
fn send_with_descriptors(
    stream: &UnixStream,
    bytes: &[u8],
    descriptors: &[OwnedFd],
) -> std::io::Result<()> {
    const MOST: usize = 16;
    if descriptors.len() > MOST {
        return Err(ErrorKind::InvalidInput.into());
    }
    let raw: Vec<i32> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let payload = (raw.len() * 4) as u32;
    let mut iov = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let mut control = [0u64; 16];
    // SAFETY: an all-zero msghdr is valid; pointers set below outlive the call; the control buffer holds one header with
    // sixteen descriptors (CMSG_SPACE(64) = 80 bytes).
    let sent = unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &raw mut iov;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = libc::CMSG_SPACE(payload) as usize;
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(payload) as usize;
        std::ptr::copy_nonoverlapping(
            raw.as_ptr().cast::<u8>(),
            libc::CMSG_DATA(header),
            payload as usize,
        );
        loop {
            let n = libc::sendmsg(stream.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL);
            if n >= 0 || std::io::Error::last_os_error().kind() != ErrorKind::Interrupted {
                break n;
            }
        }
    };
    if sent < 0 {
        return Err(std::io::Error::last_os_error());
    }
    let mut rest = stream;
    rest.write_all(&bytes[sent as usize..])
}
