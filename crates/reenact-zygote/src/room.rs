//! Pid 1 of a room: starts commands with descriptors that the host sends, reaps everything, and kills sessions on demand.
//! Nothing is ended when a command ends: what it left in the background stays until the room does.

use crate::buf::Buf;
use crate::list::Dirents;
use crate::proto::{ExecAs, ExecRequest, HEADER, Reader, Sink, op, re, split_frame};
use crate::setup::State;
use crate::spawn::{ChildConf, ChildStack, clone};
use crate::sys::{self, AT_FDCWD, CStr, EPROTO, PollFd, call, nr};

const SOCKET: i32 = 0;
/// Descriptors of one command.
const MOST: usize = 16;
/// Commands at once.
const COMMANDS: usize = 512;

/// A command that runs: its number, and its process, which leads its session.
#[derive(Clone, Copy)]
struct Command {
    id: u64,
    pid: i32,
}

struct Room<'a> {
    conf: &'a ChildConf,
    input: Buf,
    out: Buf,
    scratch: Buf,
    stack: ChildStack,
    /// Received and not yet used descriptors, in order.
    descriptors: [i32; MOST],
    waiting: usize,
    commands: [Command; COMMANDS],
    /// Why the command in each place could not be executed (errno), or 0. Shared with the children until they execute.
    faults: *mut i32,
}

/// Serves until the host closes the socket.
pub fn serve(state: &State) -> ! {
    let mut room = Room {
        conf: &state.child,
        input: Buf::new(256 << 10),
        out: Buf::new(64 << 10),
        scratch: Buf::new(64 << 10),
        stack: ChildStack::allocate(),
        descriptors: [-1; MOST],
        waiting: 0,
        commands: [Command { id: 0, pid: 0 }; COMMANDS],
        faults: shared_faults(),
    };
    match room.run() {
        Ok(()) => sys::exit(0),
        Err(_) => sys::exit(108),
    }
}

fn shared_faults() -> *mut i32 {
    // SAFETY: a fresh shared anonymous mapping (PROT_READ|PROT_WRITE, MAP_SHARED|MAP_ANONYMOUS).
    match unsafe { call(nr::MMAP, [0, COMMANDS * 4, 3, 0x21, usize::MAX, 0]) } {
        Ok(at) => at as *mut i32,
        Err(_) => sys::exit(102),
    }
}

/// A descriptor that is readable when a child has ended; children get the signal unblocked again.
fn child_signals() -> Result<i32, i32> {
    const SFD_CLOEXEC_NONBLOCK: usize = 0o2000000 | 0o4000;
    let mask: u64 = 1 << (sys::SIGCHLD - 1);
    // SAFETY: SIG_BLOCK (0) and signalfd4 with a mask of the kernel's size.
    unsafe {
        call(nr::RT_SIGPROCMASK, [0, &raw const mask as usize, 0, 8, 0, 0])?;
        call(nr::SIGNALFD4, [usize::MAX, &raw const mask as usize, 8, SFD_CLOEXEC_NONBLOCK, 0, 0])
    }
    .map(|fd| fd as i32)
}

impl Room<'_> {
    fn run(&mut self) -> Result<(), i32> {
        let signals = child_signals()?;
        loop {
            let mut fds = [
                PollFd { fd: SOCKET, events: sys::POLLIN, revents: 0 },
                PollFd { fd: signals, events: sys::POLLIN, revents: 0 },
            ];
            match sys::poll(&mut fds, -1) {
                Ok(_) | Err(sys::EINTR) => {}
                Err(e) => return Err(e),
            }
            if fds[1].revents != 0 {
                let mut info = [0u8; 128 * 8];
                // Nothing to read (a signal that was merged with another) is as good.
                let _read = sys::read(signals, &mut info);
                self.reap();
            }
            if fds[0].revents != 0 && !self.receive()? {
                return Ok(());
            }
            self.requests()?;
            sys::write_all(SOCKET, self.out.bytes())?;
            self.out.trim(64 << 10);
        }
    }

    /// Reads what is there, with descriptors; false at the end.
    fn receive(&mut self) -> Result<bool, i32> {
        let mut control = [0u64; 16];
        let room = self.input.room(64 << 10);
        let iov: [usize; 2] = [room.as_mut_ptr() as usize, 64 << 10];
        let mut message: [usize; 7] =
            [0, 0, iov.as_ptr() as usize, 1, control.as_mut_ptr() as usize, 128, 0];
        const MSG_CMSG_CLOEXEC: usize = 0x4000_0000;
        // SAFETY: `struct msghdr` is seven words on x86_64; its buffers live through the call.
        let got = unsafe {
            call(
                nr::RECVMSG,
                [SOCKET as usize, message.as_mut_ptr() as usize, MSG_CMSG_CLOEXEC, 0, 0, 0],
            )
        };
        match got {
            Ok(0) => return Ok(false),
            Ok(n) => self.input.fill(n),
            Err(sys::EINTR | sys::EAGAIN) => return Ok(true),
            Err(e) => return Err(e),
        }
        // One SCM_RIGHTS header: length in bytes, level and type, then the descriptors.
        if message[5] >= 16 {
            let count = ((control[0] as usize).min(128) - 16) / 4;
            for i in 0..count {
                let word = control[2 + i / 2];
                let fd = (word >> (32 * (i % 2))) as u32 as i32;
                if self.waiting < self.descriptors.len() {
                    self.descriptors[self.waiting] = fd;
                    self.waiting += 1;
                } else {
                    sys::close(fd);
                }
            }
        }
        Ok(true)
    }

    /// Carries out every complete request.
    fn requests(&mut self) -> Result<(), i32> {
        loop {
            let Some((operation, len, used)) = split_frame(self.input.bytes())
                .map_err(|()| EPROTO)?
                .map(|(operation, payload, used)| (operation, payload.len(), used))
            else {
                return Ok(());
            };
            // The payload is read where it lies; nothing below reads more input.
            let at = self.input.bytes().as_ptr();
            // SAFETY: inside the buffer, which is neither moved nor changed until it is consumed below.
            let payload = unsafe { core::slice::from_raw_parts(at.add(HEADER), len) };
            match operation {
                op::EXEC => self.exec(payload, None)?,
                op::EXEC_AS => {
                    let mut r = Reader::new(payload);
                    let who = ExecAs::read(&mut r).ok_or(EPROTO)?;
                    self.exec(r.rest(), Some(&who))?;
                }
                op::SIGNAL => self.signal(payload)?,
                op::KILL => self.kill(payload)?,
                op::LISTEN => {
                    let port = Reader::new(payload).u32().ok_or(EPROTO)?;
                    self.give(listen(port as u16))?;
                }
                op::ROOT => {
                    let flags = sys::O_RDONLY | sys::O_DIRECTORY;
                    self.give(sys::openat(AT_FDCWD, CStr::lit(b"/\0"), flags, 0))?;
                }
                op::SYNC => {
                    self.out.u32(1);
                    self.out.u8(re::SYNCED);
                }
                _ => return Err(EPROTO),
            }
            self.input.consume(used);
        }
    }

    /// Starts a command on the first three waiting descriptors, or more where the caller is to have more.
    fn exec(&mut self, payload: &[u8], who: Option<&ExecAs<'_>>) -> Result<(), i32> {
        let request = ExecRequest::decode(payload).ok_or(EPROTO)?;
        let count = 3 + who.map_or(0, |w| usize::from(w.more));
        if self.waiting < count || count > MOST {
            return Err(EPROTO);
        }
        let given = self.descriptors;
        self.descriptors.copy_within(count.., 0);
        self.waiting -= count;
        let free = self.commands.iter().position(|c| c.pid == 0);
        let started = match free {
            Some(at) => self.start(&request, who, &given[..count], at),
            None => Err(sys::EAGAIN),
        };
        for fd in &given[..count] {
            sys::close(*fd);
        }
        match (started, free) {
            (Ok(pid), Some(at)) => self.commands[at] = Command { id: request.id, pid },
            (Err(errno), _) => self.not_started(request.id, errno),
            (Ok(_), None) => {}
        }
        Ok(())
    }

    fn not_started(&mut self, id: u64, errno: i32) {
        self.out.u32(13);
        self.out.u8(re::NOT_STARTED);
        self.out.u64(id);
        self.out.u32(errno as u32);
    }

    fn start(
        &mut self,
        request: &ExecRequest<'_>,
        who: Option<&ExecAs<'_>>,
        given: &[i32],
        at: usize,
    ) -> Result<i32, i32> {
        // The kernel wants an aligned array.
        let mut groups = Buf::new(who.map_or(0, |w| w.groups.len()).max(1));
        groups.put(who.map_or(b"", |w| w.groups));
        let cwd = CStr::new(request.cwd).ok_or(EPROTO)?;
        let (mut pointers, mut paths) = (Buf::new(4096), Buf::new(4096));
        for list in [request.argv, request.env] {
            for text in list.iter() {
                pointers.u64(text.as_ptr() as u64);
            }
            pointers.u64(0);
        }
        let argv = pointers.bytes().as_ptr() as usize;
        let name = request.argv.iter().next().ok_or(EPROTO)?;
        candidates(name, request.path, &mut paths);
        let mut child = Child {
            conf: self.conf,
            who,
            groups: groups.bytes(),
            given,
            cwd,
            paths: paths.bytes(),
            argv,
            env: argv + (request.argv.count as usize + 1) * 8,
            // SAFETY: `at` is a place of the table, and so within the mapping.
            fault: unsafe { self.faults.add(at) },
        };
        // SAFETY: as above; no child has this place.
        unsafe { child.fault.write_volatile(0) };
        let mut unused = -1;
        // With memory of its own, and without waiting: from the moment when it has its user's ids until it executes, a program
        // of the same user can stop the child, and whoever waited for it would wait for ever.
        let arg = core::ptr::from_mut(&mut child) as usize;
        let pid = clone(sys::SIGCHLD, self.stack.top(), &mut unused, in_child, arg);
        pointers.release();
        paths.release();
        groups.release();
        pid
    }

    /// Reaps every child that has ended: commands are reported, orphans are not.
    fn reap(&mut self) {
        while let Ok(Some((pid, status, usage))) = sys::wait4(-1, sys::WALL | sys::WNOHANG) {
            let Some(at) = self.commands.iter().position(|c| c.pid == pid) else { continue };
            let id = self.commands[at].id;
            self.commands[at].pid = 0;
            // SAFETY: `at` is a place of the table, and so within the mapping; the child has ended.
            let fault = unsafe { self.faults.add(at).read_volatile() };
            if fault != 0 {
                self.not_started(id, fault);
                continue;
            }
            let us = |sec: i64, usec: i64| (sec * 1_000_000 + usec) as u64;
            self.out.u32(1 + 8 + 4 + 8 + 8);
            self.out.u8(re::EXITED);
            self.out.u64(id);
            self.out.u32(status as u32);
            self.out.u64(us(usage.user_sec, usage.user_usec));
            self.out.u64(us(usage.sys_sec, usage.sys_usec));
        }
    }

    /// Sends a signal to the process of a command.
    fn signal(&mut self, payload: &[u8]) -> Result<(), i32> {
        let mut r = Reader::new(payload);
        let (id, signal) = (r.u64().ok_or(EPROTO)?, r.u32().ok_or(EPROTO)?);
        if let Some(command) = self.commands.iter().find(|c| c.id == id && c.pid != 0) {
            // It may have ended meanwhile.
            let _sent = sys::kill(command.pid, signal as i32);
        }
        Ok(())
    }

    /// Kills the session that a command leads. What left it (a daemon) lives on.
    fn kill(&mut self, payload: &[u8]) -> Result<(), i32> {
        let id = Reader::new(payload).u64().ok_or(EPROTO)?;
        let Some(command) = self.commands.iter().find(|c| c.id == id && c.pid != 0) else {
            return Ok(()); // it ended at the same time
        };
        let leader = command.pid;
        // It may not lead its session yet.
        let _killed = sys::kill(leader, sys::SIGKILL);
        // Processes may be forked while we look: again until none is found, a bounded number of times.
        for _ in 0..50 {
            if kill_session(leader, &mut self.scratch) == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Answers with a descriptor or an errno. The descriptor is closed here.
    fn give(&mut self, made: Result<i32, i32>) -> Result<(), i32> {
        // What was buffered goes first: the descriptor belongs to its frame.
        sys::write_all(SOCKET, self.out.bytes())?;
        self.out.clear();
        let (fd, errno) = match made {
            Ok(fd) => (fd, 0),
            Err(errno) => (-1, errno as u32),
        };
        self.out.u32(5);
        self.out.u8(re::DESCRIPTOR);
        self.out.u32(errno);
        if fd >= 0 {
            send_with_descriptor(SOCKET, self.out.bytes(), fd)?;
            sys::close(fd);
            self.out.clear();
        }
        Ok(())
    }
}

/// Where the program may be, one NUL-terminated path after the other: `name` itself if it has a slash.
fn candidates(name: &[u8], path: &[u8], out: &mut Buf) {
    if name.contains(&b'/') {
        out.put(name);
        return;
    }
    for dir in path.split(|b| *b == b':').filter(|d| d.starts_with(b"/")) {
        out.put(dir);
        out.put(b"/");
        out.put(name);
    }
}

/// Everything a child needs, prepared by pid 1.
struct Child<'a> {
    conf: &'a ChildConf,
    /// Containers: the user; otherwise the room's.
    who: Option<&'a ExecAs<'a>>,
    groups: &'a [u8],
    /// What becomes descriptors 0, 1, 2, …
    given: &'a [i32],
    cwd: CStr<'a>,
    paths: &'a [u8],
    argv: usize,
    env: usize,
    fault: *mut i32,
}

extern "C" fn in_child(arg: usize) -> ! {
    let child = arg as *mut Child<'_>;
    // SAFETY: our copy of pid 1's memory has the `Child`, and nobody else writes to it.
    let errno = unsafe { prepare_and_exec(&*child) };
    // SAFETY: the mapping is shared, and the place is ours until pid 1 has reaped us.
    unsafe { (*child).fault.write_volatile(errno) };
    sys::exit(127)
}

/// Returns only on failure, with the errno.
///
/// # Safety
/// `child` holds strings and arrays for the kernel, as [`Room::start`] lays them out.
unsafe fn prepare_and_exec(child: &Child<'_>) -> i32 {
    const ENOEXEC_AND_ABSENT: [i32; 3] = [sys::ENOENT, 20, 13]; // ENOENT, ENOTDIR, EACCES: try the next directory
    let none = 0u64;
    // SAFETY: plain numbers, and strings and arrays that pid 1 prepared.
    let ready = unsafe {
        (|| {
            call(nr::SETSID, [0; 6])?;
            place(child.given)?;
            call(nr::RT_SIGPROCMASK, [2, &raw const none as usize, 0, 8, 0, 0])?;
            child.conf.limit()?;
            match child.who {
                Some(who) => become_user(who, child.groups)?,
                None => child.conf.drop_rights()?,
            };
            call(nr::CHDIR, [child.cwd.ptr(), 0, 0, 0, 0, 0])
        })()
    };
    if let Err(errno) = ready {
        return errno;
    }
    let mut last = sys::ENOENT;
    let mut rest = child.paths;
    while let Some(end) = rest.iter().position(|b| *b == 0) {
        // SAFETY: a NUL-terminated path and arrays that pid 1 prepared.
        let failed =
            unsafe { call(nr::EXECVE, [rest.as_ptr() as usize, child.argv, child.env, 0, 0, 0]) };
        if let Err(errno) = failed {
            if !ENOEXEC_AND_ABSENT.contains(&errno) {
                return errno;
            }
            if errno != sys::ENOENT || last == sys::ENOENT {
                last = errno;
            }
        }
        rest = &rest[end + 1..];
    }
    last
}

/// In a child: moves its descriptors to 0, 1, 2, …
///
/// # Safety
/// As [`prepare_and_exec`].
unsafe fn place(given: &[i32]) -> sys::Res {
    const F_DUPFD_CLOEXEC: usize = 1030;
    // Out of the way first, so that none is overwritten before it is moved.
    const AWAY: usize = 600;
    // SAFETY: plain numbers.
    unsafe {
        for (i, fd) in given.iter().enumerate() {
            if i < 3 {
                call(nr::DUP2, [*fd as usize, i, 0, 0, 0, 0])?;
            } else {
                call(nr::FCNTL, [*fd as usize, F_DUPFD_CLOEXEC, AWAY + i, 0, 0, 0])?;
            }
        }
        for i in 3..given.len() {
            call(nr::DUP2, [AWAY + i, i, 0, 0, 0, 0])?;
        }
    }
    Ok(0)
}

/// In a child: takes the ids of the user that the host named. What a root of the container may do is bounded by the bounding
/// set when it executes.
///
/// # Safety
/// As [`prepare_and_exec`].
unsafe fn become_user(who: &ExecAs<'_>, groups: &[u8]) -> sys::Res {
    // To the kernel, -1 means "as it is", which is root.
    if who.uid == u32::MAX || who.gid == u32::MAX {
        return Err(22);
    }
    if !who.set_ids {
        return Ok(0);
    }
    let (uid, gid) = (who.uid as usize, who.gid as usize);
    // SAFETY: an array with its length, and plain numbers.
    unsafe {
        call(nr::SETGROUPS, [groups.len() / 4, groups.as_ptr() as usize, 0, 0, 0, 0])?;
        call(nr::SETRESGID, [gid, gid, gid, 0, 0, 0])?;
        call(nr::SETRESUID, [uid, uid, uid, 0, 0, 0])
    }
}

/// Kills every live process of a session (`/proc/PID/stat`, field 6); gives how many there were.
fn kill_session(leader: i32, names: &mut Buf) -> u32 {
    let Ok(proc) =
        sys::openat(AT_FDCWD, CStr::lit(b"/proc\0"), sys::O_RDONLY | sys::O_DIRECTORY, 0)
    else {
        return 0;
    };
    let mut killed = 0;
    loop {
        names.clear();
        let Ok(n) = sys::getdents(proc, &mut names.room(32 << 10)[..32 << 10]) else { break };
        if n == 0 {
            break;
        }
        names.fill(n);
        for entry in Dirents::new(names.bytes()) {
            let pid = number(entry.name.bytes());
            if pid > 1 && session_of(proc, entry.name) == Some(leader) {
                // It may have ended meanwhile.
                let _killed = sys::kill(pid, sys::SIGKILL);
                killed += 1;
            }
        }
    }
    sys::close(proc);
    killed
}

/// Session of a live process; zombies have none any more.
fn session_of(proc: i32, pid: CStr<'_>) -> Option<i32> {
    let dir = sys::openat(proc, pid, sys::O_RDONLY | sys::O_DIRECTORY, 0).ok()?;
    let file = sys::openat(dir, CStr::lit(b"stat\0"), sys::O_RDONLY, 0);
    sys::close(dir);
    let file = file.ok()?;
    let mut text = [0u8; 512];
    let n = sys::read(file, &mut text);
    sys::close(file);
    // After the name, which ends at the last ')': state, ppid, pgrp, session.
    let text = &text[..n.ok()?];
    let after = text.iter().rposition(|b| *b == b')')? + 2;
    let mut fields = text.get(after..)?.split(|b| *b == b' ');
    if matches!(fields.next()?, b"Z" | b"X") {
        return None;
    }
    fields.nth(2).map(number)
}

fn number(digits: &[u8]) -> i32 {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return -1;
    }
    digits.iter().fold(0i32, |n, b| n.wrapping_mul(10).wrapping_add(i32::from(b - b'0')))
}

/// A socket that listens on 127.0.0.1.
fn listen(port: u16) -> Result<i32, i32> {
    const AF_INET: usize = 2;
    const SOCK_STREAM_CLOEXEC: usize = 1 | 0o2000000;
    let [high, low] = port.to_be_bytes();
    // struct sockaddr_in: family, port and address in network order.
    let address: [u8; 16] = [2, 0, high, low, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
    // SAFETY: plain numbers, and a buffer of the given size.
    unsafe {
        let fd = call(nr::SOCKET, [AF_INET, SOCK_STREAM_CLOEXEC, 0, 0, 0, 0])?;
        let done = call(nr::BIND, [fd, address.as_ptr() as usize, 16, 0, 0, 0])
            .and_then(|_| call(nr::LISTEN, [fd, 128, 0, 0, 0, 0]));
        match done {
            Ok(_) => Ok(fd as i32),
            Err(errno) => {
                sys::close(fd as i32);
                Err(errno)
            }
        }
    }
}

/// Sends bytes with one descriptor attached.
fn send_with_descriptor(socket: i32, bytes: &[u8], fd: i32) -> Result<(), i32> {
    // struct cmsghdr: length, then level SOL_SOCKET (1) and type SCM_RIGHTS (1); then the descriptor.
    let control: [u64; 3] = [20, 1 | 1 << 32, fd as u32 as u64];
    let iov: [usize; 2] = [bytes.as_ptr() as usize, bytes.len()];
    let message: [usize; 7] = [0, 0, iov.as_ptr() as usize, 1, control.as_ptr() as usize, 24, 0];
    // SAFETY: `struct msghdr` is seven words on x86_64; its buffers live through the call.
    let sent =
        unsafe { call(nr::SENDMSG, [socket as usize, message.as_ptr() as usize, 0, 0, 0, 0]) }?;
    // The frame is a few bytes: it goes whole, or not at all.
    if sent == bytes.len() { Ok(()) } else { Err(EPROTO) }
}
