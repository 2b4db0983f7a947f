//! The set-up plan: one kernel call a step, in the order the host wrote them. The first failure stops it, by index.

use crate::buf::Buf;
use crate::clean::Workspace;
use crate::proto::{Reader, step};
use crate::spawn::ChildConf;
use crate::sys::{self, AT_FDCWD, CStr, EPROTO, Res, call, nr};

/// What the plan leaves behind for the main loop.
pub struct State {
    pub child: ChildConf,
    pub workspace: Workspace,
    /// Sixth argument that lets `mount` and `umount2` through the filter. The kernel ignores it; only the zygote knows it.
    pub cookie: usize,
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
        step::WORKSPACE => state.workspace.configure(r)?.map(|()| 0),
        step::CHILD => state.child.configure(r)?.map(|()| 0),
        _ => return None,
    })
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
