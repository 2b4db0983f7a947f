//! Starting a child: `clone(VM|VFORK)`, limits, identity, exec. Between clone and exec the child shares the zygote's
//! memory, so everything here is raw system calls on data prepared before.

use crate::proto::{Reader, oom};
use crate::sys::{self, AT_FDCWD, CStr, call, nr};
use core::arch::asm;

const MAX_RLIMITS: usize = 16;
const CLONE_VM: usize = 0x100;
const CLONE_PIDFD: usize = 0x1000;
const CLONE_VFORK: usize = 0x4000;
const STACK: usize = 256 << 10;

/// What every child gets, from the set-up plan.
pub struct ChildConf {
    uid: u32,
    gid: u32,
    /// Change ids: the zygote is root in its namespace. Otherwise it already has the child's ids, and `exec` drops its
    /// capabilities.
    set_ids: bool,
    /// Drop supplementary groups (not allowed in an unprivileged user namespace).
    set_groups: bool,
    /// See [`oom`].
    oom: u8,
    rlimits: [(u32, u64, u64); MAX_RLIMITS],
    rlimit_count: usize,
}

impl ChildConf {
    pub fn unset() -> Self {
        Self {
            uid: 0,
            gid: 0,
            set_ids: false,
            set_groups: false,
            oom: oom::AS_IS,
            rlimits: [(0, 0, 0); MAX_RLIMITS],
            rlimit_count: 0,
        }
    }

    /// Takes the configuration from the plan. `None` if it is malformed.
    pub fn configure(&mut self, r: &mut Reader<'_>) -> Option<Result<(), i32>> {
        self.uid = r.u32()?;
        self.gid = r.u32()?;
        self.set_ids = r.u8()? != 0;
        self.set_groups = r.u8()? != 0;
        self.oom = r.u8()?;
        self.rlimit_count = r.u32()? as usize;
        if self.rlimit_count > MAX_RLIMITS {
            return None;
        }
        for limit in &mut self.rlimits[..self.rlimit_count] {
            *limit = (r.u32()?, r.u64()?, r.u64()?);
        }
        if self.oom == oom::PROTECT {
            // -1000: never chosen. The child writes 0 for itself before it drops its rights.
            return Some(
                crate::setup::write_file(CStr::lit(b"/proc/self/oom_score_adj\0"), b"-1000", 0)
                    .map(|_| ()),
            );
        }
        Some(Ok(()))
    }

    pub fn ids(&self) -> (u32, u32) {
        (self.uid, self.gid)
    }

    /// Whether children change their ids; see [`ChildConf`].
    pub fn may_set_ids(&self) -> bool {
        self.set_ids
    }

    /// Whether children drop supplementary groups.
    pub fn may_set_groups(&self) -> bool {
        self.set_groups
    }

    /// In a child: sets the resource limits and the preference of the OOM killer.
    ///
    /// # Safety
    /// Only raw calls: may share memory with its parent.
    pub unsafe fn limit(&self) -> sys::Res {
        for (resource, soft, hard) in &self.rlimits[..self.rlimit_count] {
            let limit = [*soft, *hard];
            // SAFETY: the buffer has the kernel's layout.
            unsafe {
                call(nr::PRLIMIT64, [0, *resource as usize, limit.as_ptr() as usize, 0, 0, 0])
            }?;
        }
        if self.oom != oom::AS_IS {
            let fd =
                sys::openat(AT_FDCWD, CStr::lit(b"/proc/self/oom_score_adj\0"), sys::O_WRONLY, 0)?;
            sys::write(fd, if self.oom == oom::PROTECT { b"0" } else { b"500" })?;
            sys::close(fd);
        }
        Ok(0)
    }

    /// In a child: takes the ids of the cell's programs.
    ///
    /// # Safety
    /// As [`ChildConf::limit`].
    pub unsafe fn drop_rights(&self) -> sys::Res {
        // SAFETY: plain numbers.
        unsafe {
            if self.set_groups {
                call(nr::SETGROUPS, [0; 6])?;
            }
            if self.set_ids {
                let (uid, gid) = (self.uid as usize, self.gid as usize);
                call(nr::SETRESGID, [gid, gid, gid, 0, 0, 0])?;
                call(nr::SETRESUID, [uid, uid, uid, 0, 0, 0])?;
            }
        }
        Ok(0)
    }
}

/// Everything the child needs, prepared by the parent.
pub struct Child<'a> {
    pub conf: &'a ChildConf,
    pub stdin: i32,
    pub stdout: i32,
    pub stderr: i32,
    /// The standard descriptors are a terminal, to become the controlling one.
    pub tty: bool,
    pub no_aslr: bool,
    pub cpu_sec: u64,
    pub cwd: CStr<'a>,
    pub program: CStr<'a>,
    /// NULL-terminated arrays of pointers to NUL-terminated strings.
    pub argv: usize,
    pub env: usize,
    /// Set by the child if `exec` (or what comes before) failed.
    pub errno: i32,
    /// For [`spawn_with_parent`]: stack of the program until it execs, and what its parent saw of its end.
    pub inner_stack: usize,
    pub reaped: Option<(i32, sys::Rusage)>,
}

/// A started child.
pub struct Started {
    pub pid: i32,
    pub pidfd: i32,
}

/// Stack of the child until it execs.
pub struct ChildStack(crate::buf::Buf);

impl ChildStack {
    pub fn allocate() -> Self {
        Self(crate::buf::Buf::new(STACK))
    }

    /// Makes the kernel provide the part that a child uses, so that it need not while somebody waits.
    pub fn touch(&mut self) {
        self.0.room(STACK)[STACK - (16 << 10)..STACK].fill(0);
    }

    pub fn top(&mut self) -> usize {
        (self.0.room(STACK).as_mut_ptr() as usize + STACK) & !15
    }
}

/// Starts the child; returns when it has exec'd or failed to.
pub fn spawn(child: &mut Child<'_>, stack: &mut ChildStack) -> Result<Started, i32> {
    let mut pidfd = -1i32;
    let flags = CLONE_VM | CLONE_VFORK | CLONE_PIDFD | sys::SIGCHLD;
    let pid = clone(flags, stack.top(), &mut pidfd, in_child, core::ptr::from_mut(child) as usize)?;
    Ok(Started { pid, pidfd })
}

/// Starts the child with a parent of its own, which is not pid 1: terminal programs take a parent of pid 1 for a sign that
/// they are orphans, and give up (nnn does). The parent shares our memory, waits for the program, and leaves what `wait4`
/// gave it in `child.reaped`. Returns at once, while they run.
pub fn spawn_with_parent(
    child: &mut Child<'_>,
    stack: &mut ChildStack,
    inner: &mut ChildStack,
) -> Result<Started, i32> {
    child.inner_stack = inner.top();
    let mut pidfd = -1i32;
    let flags = CLONE_VM | CLONE_PIDFD | sys::SIGCHLD;
    let pid =
        clone(flags, stack.top(), &mut pidfd, in_parent, core::ptr::from_mut(child) as usize)?;
    Ok(Started { pid, pidfd })
}

extern "C" fn in_parent(arg: usize) -> ! {
    let child = arg as *mut Child<'_>;
    let mut unused = -1i32;
    // SAFETY: `arg` is the `Child` that the zygote keeps until this process is reaped; only this side writes to it.
    let stack = unsafe { (*child).inner_stack };
    match clone(CLONE_VM | CLONE_VFORK | sys::SIGCHLD, stack, &mut unused, in_child, arg) {
        // SAFETY: as above.
        Err(errno) => unsafe { (&raw mut (*child).errno).write_volatile(errno) },
        Ok(pid) => {
            if let Ok(Some((_, status, usage))) = sys::wait4(pid, sys::WALL) {
                // SAFETY: as above.
                unsafe { (&raw mut (*child).reaped).write_volatile(Some((status, usage))) };
            }
        }
    }
    sys::exit(0)
}

/// Starts and reaps a process that does nothing, so that the next pid is another.
pub fn skip_pid(stack: &mut ChildStack) -> Result<(), i32> {
    let mut unused = -1i32;
    let pid = clone(CLONE_VM | CLONE_VFORK | sys::SIGCHLD, stack.top(), &mut unused, gone, 0)?;
    sys::wait4(pid, sys::WALL).map(|_| ())
}

extern "C" fn gone(_: usize) -> ! {
    sys::exit(0)
}

pub fn clone(
    flags: usize,
    stack: usize,
    pidfd: &mut i32,
    f: extern "C" fn(usize) -> !,
    arg: usize,
) -> Result<i32, i32> {
    let ret: isize;
    // SAFETY: the child runs `f(arg)` on its own stack and never returns; what `arg` points to outlives it (the callers see
    // to that: the parent is suspended by CLONE_VFORK, or reaps the child before it lets go).
    unsafe {
        asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r12",
            "call r13",
            "ud2",
            "2:",
            inlateout("rax") nr::CLONE as isize => ret,
            in("rdi") flags, in("rsi") stack, in("rdx") core::ptr::from_mut(pidfd) as usize,
            in("r10") 0usize, in("r8") 0usize,
            in("r12") arg, in("r13") f,
            lateout("rcx") _, lateout("r11") _,
        );
    }
    if ret < 0 { Err(-ret as i32) } else { Ok(ret as i32) }
}

extern "C" fn in_child(arg: usize) -> ! {
    // SAFETY: `arg` is the `Child` that `spawn` borrows for as long as this runs.
    let child = unsafe { &mut *(arg as *mut Child<'_>) };
    child.errno = match prepare_and_exec(child) {
        Ok(_) => 0,
        Err(errno) => errno,
    };
    sys::exit(127)
}

/// Returns only on failure.
fn prepare_and_exec(child: &Child<'_>) -> sys::Res {
    let conf = child.conf;
    // SAFETY: every call gets plain numbers, or NUL-terminated strings and arrays prepared by the parent.
    unsafe {
        if child.tty {
            const TIOCSCTTY: usize = 0x540e;
            call(nr::SETSID, [0; 6])?;
            call(nr::IOCTL, [child.stdin as usize, TIOCSCTTY, 0, 0, 0, 0])?;
        }
        call(nr::DUP2, [child.stdout as usize, 1, 0, 0, 0, 0])?;
        call(nr::DUP2, [child.stderr as usize, 2, 0, 0, 0, 0])?;
        call(nr::DUP2, [child.stdin as usize, 0, 0, 0, 0, 0])?;
        conf.limit()?;
        const RLIMIT_CPU: usize = 0;
        // The soft limit gives SIGXCPU, the hard one SIGKILL a second later.
        let cpu = [child.cpu_sec, child.cpu_sec + 1];
        call(nr::PRLIMIT64, [0, RLIMIT_CPU, cpu.as_ptr() as usize, 0, 0, 0])?;
        conf.drop_rights()?;
        if child.no_aslr {
            const ADDR_NO_RANDOMIZE: usize = 0x0040000;
            call(nr::PERSONALITY, [ADDR_NO_RANDOMIZE, 0, 0, 0, 0, 0])?;
        }
        call(nr::CHDIR, [child.cwd.ptr(), 0, 0, 0, 0, 0])?;
        call(nr::EXECVE, [child.program.ptr(), child.argv, child.env, 0, 0, 0])
    }
}
