//! The set-up plan: one kernel call a step, in the order the host wrote them. The first failure stops it, by index.

use crate::buf::Buf;
use crate::clean::Workspace;
use crate::proto::{Reader, Sink, step};
use crate::spawn::ChildConf;
use crate::sys::{self, AT_FDCWD, CStr, EPROTO, Res, call, nr};

/// What the plan leaves behind for the main loop.
pub struct State {
    pub child: ChildConf,
    pub workspace: Workspace,
    /// Sixth argument that lets `mount` and `umount2` through the filter. The kernel ignores it; only the zygote knows it.
    pub cookie: usize,
    /// Serve as pid 1 of a room.
    pub room: bool,
    /// Our end of the pair over which pid 1 and the broker meet.
    meeting: i32,
    /// Broker only: the reference, and the room's pid namespace.
    reference: i32,
    pid_ns: i32,
    hidden: Buf,
}

impl State {
    pub fn unset() -> Self {
        Self {
            child: ChildConf::unset(),
            workspace: Workspace::unmounted(),
            cookie: 0,
            room: false,
            meeting: -1,
            reference: -1,
            pid_ns: -1,
            hidden: Buf::new(1),
        }
    }
}

/// Performs the plan. On failure: (index of the step, errno).
pub fn perform(plan: &[u8], state: &mut State) -> Result<(), (u32, i32)> {
    let mut r = Reader::new(plan);
    let mut index = 0;
    while !r.is_empty() {
        match one(&mut r, state) {
            Some(Ok(_)) => index += 1,
            Some(Err(errno)) => return Err((index, errno)),
            None => return Err((index, EPROTO)),
        }
    }
    Ok(())
}

fn c<'a>(r: &mut Reader<'a>) -> Option<CStr<'a>> {
    r.cstr().and_then(CStr::new)
}

/// `None` if the step is malformed.
fn one(r: &mut Reader<'_>, state: &mut State) -> Option<Res> {
    Some(match r.u8()? {
        step::UNSHARE => {
            let flags = r.u32()? as usize;
            // SAFETY: plain numbers.
            unsafe { call(nr::UNSHARE, [flags, 0, 0, 0, 0, 0]) }
        }
        step::WRITE_FILE => {
            let (path, data, mode) = (c(r)?, r.blob()?, r.u32()? as usize);
            write_file(path, data, mode)
        }
        step::FORK => fork(),
        step::HOSTNAME => {
            let name = r.blob()?;
            // SAFETY: pointer and length of one slice.
            unsafe { call(nr::SETHOSTNAME, [name.as_ptr() as usize, name.len(), 0, 0, 0, 0]) }
        }
        step::MOUNT => {
            let (source, target, fstype, flags, data) =
                (c(r)?, c(r)?, c(r)?, r.u64()? as usize, c(r)?);
            mount(source, target, fstype, flags, data, state.cookie)
        }
        step::UMOUNT => {
            let (path, flags) = (c(r)?, r.u32()? as usize);
            umount(path, flags, state.cookie)
        }
        step::MKDIR => {
            let (path, mode) = (c(r)?, r.u32()? as usize);
            match sys::mkdirat(AT_FDCWD, path, mode) {
                Err(sys::EEXIST) => Ok(0),
                other => other,
            }
        }
        step::MKFILE => {
            let (path, mode) = (c(r)?, r.u32()? as usize);
            write_file(path, b"", mode)
        }
        step::SYMLINK => {
            let (target, path) = (c(r)?, c(r)?);
            sys::symlinkat(target, AT_FDCWD, path)
        }
        step::CHOWN => {
            let (path, uid, gid) = (c(r)?, r.u32()? as usize, r.u32()? as usize);
            // SAFETY: the path is NUL-terminated.
            unsafe {
                call(
                    nr::FCHOWNAT,
                    [AT_FDCWD as isize as usize, path.ptr(), uid, gid, sys::AT_SYMLINK_NOFOLLOW, 0],
                )
            }
        }
        step::PIVOT => pivot(c(r)?),
        step::SETATTR => {
            let (path, recursive, set) = (c(r)?, r.u8()?, r.u64()?);
            setattr(path, recursive != 0, set)
        }
        step::DROP_BOUNDING => drop_bounding(r.u64()?),
        step::CAPABILITIES => keep_capabilities(r.u64()?),
        // PR_SET_NO_NEW_PRIVS
        step::NO_NEW_PRIVS => prctl(38, 1),
        // PR_SET_DUMPABLE
        step::NOT_DUMPABLE => prctl(4, 0),
        step::SECCOMP => {
            let (cookie, program) = (r.u64()?, r.blob()?);
            let done = seccomp(program);
            state.cookie = cookie as usize;
            done
        }
        step::CHMOD => {
            let (path, mode) = (c(r)?, r.u32()? as usize);
            // SAFETY: the path is NUL-terminated.
            unsafe { call(nr::FCHMODAT, [AT_FDCWD as isize as usize, path.ptr(), mode, 0, 0, 0]) }
        }
        step::LOOPBACK => loopback_up(),
        step::BROKER => fork_broker(r.blob()?, state),
        step::MEET => meet(state),
        step::ROOM => {
            state.room = true;
            Ok(0)
        }
        step::COPY => {
            let (from, to, mode) = (c(r)?, c(r)?, r.u32()? as usize);
            copy_file(from, to, mode)
        }
        step::SETXATTR => {
            let (path, name, value) = (c(r)?, c(r)?, r.blob()?);
            // SAFETY: NUL-terminated strings, and a slice with its length.
            unsafe {
                call(
                    nr::SETXATTR,
                    [path.ptr(), name.ptr(), value.as_ptr() as usize, value.len(), 0, 0],
                )
            }
        }
        step::REFERENCE => {
            const O_PATH: usize = 0o10000000;
            sys::openat(AT_FDCWD, c(r)?, O_PATH, 0).map(|fd| {
                state.reference = fd;
                0
            })
        }
        step::PID_NS => sys::openat(AT_FDCWD, c(r)?, sys::O_RDONLY, 0).map(|fd| {
            state.pid_ns = fd;
            0
        }),
        step::HIDE => {
            state.hidden.push(r.blob()?);
            Ok(0)
        }
        step::SERVE => {
            let own_terminal = r.u8()? != 0;
            serve(state, own_terminal)
        }
        step::WORKSPACE => state.workspace.configure(r)?.map(|()| 0),
        step::CHILD => state.child.configure(r)?.map(|()| 0),
        _ => return None,
    })
}

/// The host's socket for reports, until the broker is forked: our standard output.
const REPORTS: i32 = 1;

/// `/dev/null` on the standard descriptors `which`.
fn nothing_on(which: &[i32]) -> Res {
    let null = sys::openat(AT_FDCWD, CStr::lit(b"/dev/null\0"), sys::O_RDWR, 0)?;
    for fd in which {
        // SAFETY: plain numbers.
        unsafe { call(nr::DUP2, [null as usize, *fd as usize, 0, 0, 0, 0]) }?;
    }
    sys::close(null);
    Ok(0)
}

/// Forks the broker. It is forked before the pid namespace is made, so that nobody in the room can see it; it goes on when
/// pid 1 has built the root, and never returns from its own plan.
fn fork_broker(plan: &[u8], state: &mut State) -> Res {
    const AF_UNIX: usize = 1;
    const SOCK_SEQPACKET_CLOEXEC: usize = 5 | 0o2000000;
    let mut pair = [0i32; 2];
    // SAFETY: the buffer holds two ints.
    unsafe {
        call(nr::SOCKETPAIR, [AF_UNIX, SOCK_SEQPACKET_CLOEXEC, 0, pair.as_mut_ptr() as usize, 0, 0])
    }?;
    // SAFETY: a plain fork, as in `fork`.
    let pid = unsafe { call(nr::CLONE, [sys::SIGCHLD, 0, 0, 0, 0, 0]) }?;
    if pid != 0 {
        sys::close(pair[1]);
        state.meeting = pair[0];
        // The broker alone reports: the host sees the end of this socket when it is gone.
        return nothing_on(&[REPORTS]);
    }
    sys::close(pair[0]);
    state.meeting = pair[1];
    let failure = match wait_for_root(state.meeting) {
        Ok(()) => match perform(plan, state) {
            // `SERVE` does not return; a plan without it is a bug of the host's.
            Ok(()) => (u32::MAX, EPROTO),
            Err(failure) => failure,
        },
        Err(errno) => (u32::MAX, errno),
    };
    let mut answer = Buf::new(64);
    answer.u32(failure.0);
    answer.u32(failure.1 as u32);
    // Pid 1 may be gone; then there is nobody to tell.
    let _told = sys::write(state.meeting, answer.bytes());
    sys::exit(107)
}

/// The broker's first moments: out of the way of signals and of the host's socket, until the root is built.
fn wait_for_root(meeting: i32) -> Result<(), i32> {
    // A session without a terminal: the reference, which is in it too, must not find the harness's own behind /dev/tty.
    // SAFETY: plain numbers.
    unsafe { call(nr::SETSID, [0; 6]) }?;
    // PR_SET_PDEATHSIG: it dies with the outer process, and so with the room.
    prctl(1, sys::SIGKILL as usize)?;
    // Stdin is the host's socket to pid 1: it must close when pid 1 dies.
    nothing_on(&[0])?;
    let mut go = [0u8; 8];
    match sys::read(meeting, &mut go)? {
        0 => sys::exit(0), // the set-up failed before the root was built
        _ => Ok(()),
    }
}

/// Pid 1: lets the broker take its copy of the root, and waits until it serves. A failure's errno carries the broker's
/// step (plus one) in its upper half.
fn meet(state: &mut State) -> Res {
    sys::write(state.meeting, b"go")?;
    let mut answer = [0u8; 8];
    let n = sys::read(state.meeting, &mut answer)?;
    sys::close(state.meeting);
    state.meeting = -1;
    let mut r = Reader::new(&answer[..n]);
    match (r.u32(), r.u32()) {
        (Some(_), Some(0)) => Ok(0),
        (Some(step), Some(errno)) => Err((step.wrapping_add(1) << 16 | errno & 0xffff) as i32),
        _ => Err(EPROTO),
    }
}

/// Broker: opens the listener, tells pid 1, and serves for good.
fn serve(state: &mut State, own_terminal: bool) -> Res {
    let listener = crate::oracle::listen()?;
    // The reports' socket moves up, so that the standard descriptors are nothing but /dev/null.
    const F_DUPFD_CLOEXEC: usize = 1030;
    // SAFETY: plain numbers.
    let host = unsafe { call(nr::FCNTL, [REPORTS as usize, F_DUPFD_CLOEXEC, 10, 0, 0, 0]) }? as i32;
    nothing_on(&[0, 1, 2])?;
    let mut answer = Buf::new(64);
    answer.u32(0);
    answer.u32(0);
    sys::write(state.meeting, answer.bytes())?;
    sys::close(state.meeting);
    crate::oracle::serve(&crate::oracle::Conf {
        host,
        listener,
        reference: state.reference,
        pid_ns: state.pid_ns,
        child: &state.child,
        cookie: state.cookie,
        own_terminal,
        hidden: state.hidden.bytes(),
    })
}

/// Brings `lo` up (SIOCSIFFLAGS with IFF_UP), for programs that talk to themselves over 127.0.0.1.
fn loopback_up() -> Res {
    const SIOCSIFFLAGS: usize = 0x8914;
    const AF_INET: usize = 2;
    const SOCK_DGRAM_CLOEXEC: usize = 2 | 0o2000000;
    // struct ifreq: name[16], then flags as a short.
    let mut request = [0u8; 40];
    request[..2].copy_from_slice(b"lo");
    request[16] = 1;
    // SAFETY: plain numbers, and a buffer of the kernel's size.
    unsafe {
        let fd = call(nr::SOCKET, [AF_INET, SOCK_DGRAM_CLOEXEC, 0, 0, 0, 0])?;
        let done = call(nr::IOCTL, [fd, SIOCSIFFLAGS, request.as_ptr() as usize, 0, 0, 0]);
        sys::close(fd as i32);
        done
    }
}

/// Copies a regular file; the new one gets exactly `mode`.
fn copy_file(from: CStr<'_>, to: CStr<'_>, mode: usize) -> Res {
    let source = sys::openat(AT_FDCWD, from, sys::O_RDONLY, 0)?;
    let target = sys::openat(AT_FDCWD, to, sys::O_WRONLY | sys::O_CREAT | sys::O_EXCL, 0o600)?;
    // SAFETY: plain numbers; the offset pointer is null: the file's own offset moves.
    while unsafe { call(nr::SENDFILE, [target as usize, source as usize, 0, 1 << 24, 0, 0]) }? > 0 {
    }
    sys::close(source);
    // SAFETY: plain numbers.
    let done = unsafe { call(nr::FCHMOD, [target as usize, mode, 0, 0, 0, 0]) };
    sys::close(target);
    done
}

fn prctl(option: usize, value: usize) -> Res {
    // SAFETY: plain numbers.
    unsafe { call(nr::PRCTL, [option, value, 0, 0, 0, 0]) }
}

/// Creates or overwrites a file with one `write` (id maps demand that).
pub fn write_file(path: CStr<'_>, data: &[u8], mode: usize) -> Res {
    let fd = sys::openat(AT_FDCWD, path, sys::O_WRONLY | sys::O_CREAT | sys::O_NOCTTY, mode)?;
    let written = if data.is_empty() { Ok(0) } else { sys::write(fd, data) };
    sys::close(fd);
    written
}

pub fn mount(
    source: CStr<'_>,
    target: CStr<'_>,
    fstype: CStr<'_>,
    flags: usize,
    data: CStr<'_>,
    cookie: usize,
) -> Res {
    // SAFETY: all four strings are NUL-terminated.
    unsafe {
        call(nr::MOUNT, [source.ptr(), target.ptr(), fstype.ptr(), flags, data.ptr(), cookie])
    }
}

pub fn umount(path: CStr<'_>, flags: usize, cookie: usize) -> Res {
    // SAFETY: the path is NUL-terminated.
    unsafe { call(nr::UMOUNT2, [path.ptr(), flags, 0, 0, 0, cookie]) }
}

/// Continues as pid 1 of the new pid namespace. The outer process only waits, so that the host has one child to reap.
fn fork() -> Res {
    // SAFETY: a plain fork: memory is copied, and both sides go on from here.
    let pid = unsafe { call(nr::CLONE, [sys::SIGCHLD, 0, 0, 0, 0, 0]) }?;
    if pid == 0 {
        // A process group of our own: a program that signals its group (`kill(0, …)`) must not reach the outer process, which
        // in a user namespace has the same user. Pid 1 itself is out of reach of signals from inside.
        // SAFETY: plain numbers.
        unsafe { call(nr::SETPGID, [0; 6]) }?;
        // PR_SET_PDEATHSIG: if the outer process is killed, the cell dies too. It is single-threaded, so "parent thread"
        // is the parent.
        return prctl(1, sys::SIGKILL as usize);
    }
    // The host must see the socket close when pid 1 dies.
    for fd in 0..3 {
        sys::close(fd);
    }
    let status = match sys::wait4(pid as i32, sys::WALL) {
        Ok(Some((_, status, _))) => status,
        _ => 1 << 8,
    };
    sys::exit(if status & 0x7f == 0 { (status >> 8) & 0xff } else { 128 + (status & 0x7f) })
}

/// Makes `root` the root directory and lets go of the old one. Both of `pivot_root`'s directories are `.`, so that no
/// place for the old root is needed (pivot_root(2), "pivot_root(".", ".")").
fn pivot(root: CStr<'_>) -> Res {
    let dot = CStr::lit(b".\0");
    // SAFETY: NUL-terminated paths throughout.
    unsafe {
        call(nr::CHDIR, [root.ptr(), 0, 0, 0, 0, 0])?;
        call(nr::PIVOT_ROOT, [dot.ptr(), dot.ptr(), 0, 0, 0, 0])?;
    }
    // MNT_DETACH
    umount(dot, 2, 0)?;
    // SAFETY: as above.
    unsafe { call(nr::CHDIR, [CStr::lit(b"/\0").ptr(), 0, 0, 0, 0, 0]) }
}

/// `mount_setattr`: only adds flags, so that flags locked by an outer namespace stay.
fn setattr(path: CStr<'_>, recursive: bool, set: u64) -> Res {
    const AT_RECURSIVE: usize = 0x8000;
    let attr: [u64; 4] = [set, 0, 0, 0];
    let flags = if recursive { AT_RECURSIVE } else { 0 };
    // SAFETY: `struct mount_attr` is four u64; size is given.
    unsafe {
        call(
            nr::MOUNT_SETATTR,
            [AT_FDCWD as isize as usize, path.ptr(), flags, attr.as_ptr() as usize, 32, 0],
        )
    }
}

/// Removes every capability not in `keep` from the bounding set.
fn drop_bounding(keep: u64) -> Res {
    const PR_CAPBSET_READ: usize = 23;
    const PR_CAPBSET_DROP: usize = 24;
    for cap in 0..64 {
        if keep & (1 << cap) != 0 {
            continue;
        }
        if prctl(PR_CAPBSET_READ, cap).is_err() {
            break; // past the last capability that this kernel knows
        }
        prctl(PR_CAPBSET_DROP, cap)?;
    }
    Ok(0)
}

/// Lets go of every capability not in `keep`.
fn keep_capabilities(keep: u64) -> Res {
    /// _LINUX_CAPABILITY_VERSION_3
    const VERSION: u32 = 0x2008_0522;
    let header = [VERSION, 0];
    let (low, high) = (keep as u32, (keep >> 32) as u32);
    // struct __user_cap_data_struct [2]: effective, permitted, inheritable.
    let data = [low, low, 0, high, high, 0];
    // SAFETY: buffers of the kernel's layout.
    unsafe { call(nr::CAPSET, [header.as_ptr() as usize, data.as_ptr() as usize, 0, 0, 0, 0]) }
}

fn seccomp(program: &[u8]) -> Res {
    /// Filters may speculate: SSBD for every child would cost more than it guards here (children hold no secrets of ours).
    const SPEC_ALLOW: usize = 4;
    #[repr(C)]
    struct Prog {
        len: u16,
        filter: usize,
    }
    let mut aligned = Buf::new(program.len());
    aligned.push(program);
    let prog = Prog { len: (program.len() / 8) as u16, filter: aligned.bytes().as_ptr() as usize };
    // SAFETY: SECCOMP_SET_MODE_FILTER (1) with a program that lives through the call.
    unsafe { call(nr::SECCOMP, [1, SPEC_ALLOW, &raw const prog as usize, 0, 0, 0]) }
}
