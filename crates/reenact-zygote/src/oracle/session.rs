//! One session: one request from its arrival to its last byte. It is forked by the broker ahead of need and then waits.
//!
//! ```text
//! waiting ──work──▶ received ─▶ looked at ─▶ BEGAN ─▶ started ──exit──▶ drained ─▶ caller told ─▶ ENDED ─▶ (a daemon writes on)
//!                      └─▶ refused
//! ```

use super::broker::{KEPT_FROM, Kept, Work};
use super::files::Look;
use super::follow::Follow;
use super::kernel::{self as k, Rights, nr};
use super::proto::{Packet, with};
use super::pty;
use super::record::{Scene, report, report_beginning};
use super::report::{How, encode_refused};
use super::request::{Received, Refusal, pointers};
use super::start::{Cwd, Start, start};
use super::stdio::Stdio;
use super::streams::Mirror;
use super::veil;
use crate::buf::Buf;
use crate::spawn::ChildStack;
use crate::sys::{self, CStr, call};

const CLONE_NEWPID: usize = 0x2000_0000;

/// What a session has ready before its request comes.
struct Ready<'a> {
    kept: &'a Kept<'a>,
    /// The reference, in the mount namespace in which it will run.
    reference: i32,
    signals: i32,
    received: Received,
    mirror: Mirror,
    stack: ChildStack,
    pointers: Buf,
    report: Buf,
    names: Buf,
    before: Look,
}

/// Waits for work and does it.
pub fn run(kept: &Kept<'_>) -> ! {
    let done = prepare(kept).and_then(|mut ready| {
        let (connection, work) = take_work(kept.work)?;
        ready.serve(connection, work);
        Ok(())
    });
    sys::exit(i32::from(done.is_err()))
}

fn prepare<'a>(kept: &'a Kept<'a>) -> Result<Ready<'a>, i32> {
    // The broker's own descriptors, its connections above all: a copy here would keep them open.
    let first = kept.work as usize + 1;
    let last = kept.conf.pid_ns as usize + 1;
    // SAFETY: plain numbers.
    unsafe {
        call(sys::nr::CLOSE_RANGE, [first, KEPT_FROM - 1, 0, 0, 0, 0])?;
        call(sys::nr::CLOSE_RANGE, [last, u32::MAX as usize, 0, 0, 0, 0])?;
        call(nr::SETNS, [kept.conf.pid_ns as usize, CLONE_NEWPID, 0, 0, 0, kept.conf.cookie])?;
    }
    let reference =
        if kept.conf.secure { veil::own_mounts(kept.conf.cookie)? } else { kept.conf.reference };
    take_rights(kept)?;
    die_with_broker()?;
    let mut ready = Ready {
        kept,
        reference,
        signals: k::signal_fd(1 << (sys::SIGCHLD - 1))?,
        received: Received::prepare(),
        mirror: Mirror::open()?,
        stack: ChildStack::allocate(),
        pointers: Buf::new(4096),
        report: Buf::new(4096),
        names: Buf::new(4096),
        before: Look::new(),
    };
    ready.touch();
    Ok(ready)
}

/// From here on the file system sees the caller's user: whatever a request names is opened, listed or entered with its rights.
/// What is left is what starting the reference needs: mounts and namespaces, changing ids, killing.
fn take_rights(kept: &Kept<'_>) -> Result<(), i32> {
    // KILL, SETGID, SETUID, SYS_ADMIN; SYS_PTRACE to let the reference load its libraries (`veil`).
    const KEEP: u32 = 1 << 5 | 1 << 6 | 1 << 7 | 1 << 21;
    const TRACE: u32 = 1 << 19;
    let keep = if kept.conf.hidden.is_empty() { KEEP } else { KEEP | TRACE };
    let (uid, gid) = kept.conf.child.ids();
    // SAFETY: plain numbers.
    unsafe {
        if kept.conf.child.may_set_groups() {
            call(sys::nr::SETGROUPS, [0; 6])?;
        }
        // In a user namespace with a single user, these are its ids already. The calls give the old id, not an error.
        call(sys::nr::SETFSGID, [gid as usize, 0, 0, 0, 0, 0])?;
        call(sys::nr::SETFSUID, [uid as usize, 0, 0, 0, 0, 0])?;
    }
    limit_capabilities(keep)
}

/// However stuck a session is (closing what the room gave it can take long), the room's end is its own. Changing ids clears it.
fn die_with_broker() -> Result<(), i32> {
    const PR_SET_PDEATHSIG: usize = 1;
    // SAFETY: plain numbers.
    unsafe { call(sys::nr::PRCTL, [PR_SET_PDEATHSIG, sys::SIGKILL as usize, 0, 0, 0, 0]) }
        .map(|_| ())
}

fn limit_capabilities(keep: u32) -> Result<(), i32> {
    const VERSION_3: u32 = 0x2008_0522;
    // struct __user_cap_header_struct; two of __user_cap_data_struct: effective, permitted, inheritable.
    let header = [VERSION_3, 0];
    let sets = [keep, keep, 0, 0, 0, 0];
    // SAFETY: the structures have the kernel's layout.
    unsafe { call(nr::CAPSET, [header.as_ptr() as usize, sets.as_ptr() as usize, 0, 0, 0, 0]) }
        .map(|_| ())
}

/// With the reference running, nothing is left to do that its user may not.
fn drop_rights(kept: &Kept<'_>) -> Result<(), i32> {
    let (uid, gid) = kept.conf.child.ids();
    if kept.conf.child.may_set_ids() {
        const SAME: usize = usize::MAX;
        let (uid, gid) = (uid as usize, gid as usize);
        // The real uid stays, so that the user's limit on processes counts the reference, not us.
        // SAFETY: plain numbers.
        unsafe {
            call(sys::nr::SETRESGID, [SAME, gid, gid, 0, 0, 0])?;
            call(sys::nr::SETRESUID, [SAME, uid, uid, 0, 0, 0])?;
        }
    }
    limit_capabilities(0)?;
    die_with_broker()
}

fn take_work(queue: i32) -> Result<(i32, Work), i32> {
    let mut bytes = [0u8; Work::LEN];
    let mut rights = Rights::none();
    let got = k::receive(queue, &mut bytes, &mut rights, 0)?;
    match rights.fds() {
        [connection] if got.len == Work::LEN => Ok((*connection, Work::decode(&bytes))),
        // The broker has ended.
        _ => sys::exit(0),
    }
}

impl Ready<'_> {
    /// Makes the kernel provide the memory that a usual request needs, now that nobody waits. Each first write would cost a fault.
    fn touch(&mut self) {
        const PAGE: usize = 4096;
        for buffer in [&mut self.pointers, &mut self.report, &mut self.names] {
            buffer.room(2 * PAGE)[..2 * PAGE].fill(0);
        }
        self.stack.touch();
        touch_own_stack();
    }

    fn serve(&mut self, connection: i32, work: Work) {
        let mut rights = Rights::none();
        if let Err(refusal) = self.attempt(connection, work, &mut rights) {
            if !refusal.why.is_empty() {
                self.report.clear();
                encode_refused(refusal.why, &mut self.report);
                report(self.kept, &self.report);
            }
            let place = self.received.place_of(2);
            let complaints = place.and_then(|at| rights.fds().get(at)).copied();
            say_failed(connection, refusal.errno, complaints.unwrap_or(-1));
        }
    }

    /// Carries a request out, to its end.
    fn attempt(&mut self, connection: i32, work: Work, rights: &mut Rights) -> Result<(), Refusal> {
        self.received.receive(connection, rights)?;
        if work.refuse {
            let why = b"too many invocations at once";
            return Err(Refusal { errno: sys::EAGAIN, why });
        }
        let (head, body) = self.received.parse(rights)?;
        let failed = |errno| Refusal { errno, why: b"a session could not be set up" };
        let env = pointers(&body, &mut self.pointers);
        let argv = self.pointers.bytes().as_ptr() as usize;
        let terminal = head.place(with::TERMINAL).map_or(-1, |place| rights.fds()[place]);
        let own_terminal = if self.kept.conf.own_terminal && terminal >= 0 {
            pty::open(terminal, connection, &head, rights).map_err(failed)?
        } else {
            None
        };
        let mut stdio = Stdio::open(&head, rights, &mut self.mirror).map_err(failed)?;
        let cwd = match (body.cwd.and_then(CStr::new), head.place(with::CWD)) {
            (Some(path), _) => Cwd::Path(path),
            (None, Some(place)) => Cwd::Dir(rights.fds()[place]),
            (None, None) => return Err(failed(sys::EPROTO)),
        };
        if let Cwd::Path(path) = cwd {
            self.before.take(path, body.argv, &mut self.names);
        }
        report_beginning(work.seq, &head, &body, &stdio, &mut self.report);
        report(self.kept, &self.report);

        let complaints = stdio.complaints(head.inherited().position(|n| n == 2), rights);
        let mut child = Start {
            conf: &self.kept.conf,
            reference: self.reference,
            head: &head,
            fds: &rights.fds()[..head.inherited_count()],
            terminal,
            own_terminal: own_terminal.unwrap_or(-1),
            cwd,
            argv,
            env: argv + env,
            errno: 0,
        };
        let begun = sys::now_us();
        let started = start(&mut child, &mut self.stack);
        let mut scene = Scene {
            kept: self.kept,
            seq: work.seq,
            begun,
            caller: head.pid,
            cwd: body.cwd.and_then(CStr::new),
            argv: body.argv,
            before: &self.before,
            names: &mut self.names,
            out: &mut self.report,
        };
        let pid = match started {
            Ok(pid) => pid,
            Err(errno) => {
                scene.never_started(errno, &stdio);
                say_failed(connection, errno, complaints);
                return Ok(());
            }
        };
        rights.close_all();
        if !self.kept.conf.hidden.is_empty()
            && veil::load_then_cover(
                pid,
                self.kept.conf.hidden,
                head.blocked,
                self.kept.conf.cookie,
            )
            .is_err()
        {
            let _killed = sys::kill(pid, sys::SIGKILL);
        }
        // Without this the session would work as well, but with more rights than it needs; that is not for it to accept.
        if drop_rights(self.kept).is_err() {
            let _killed = sys::kill(pid, sys::SIGKILL);
        }
        let mut follow = Follow {
            connection,
            signals: self.signals,
            queue: self.kept.work,
            pid,
            stdio: &mut stdio,
            mirror: &mut self.mirror,
        };
        let outcome = follow.to_the_end();
        if let Some(slave) = own_terminal {
            // The stub reads the terminal until its last user is gone.
            sys::close(slave);
        }
        let after = scene.look_again(follow.stdio);
        follow.say(match outcome.how {
            How::Killed(signal) => Packet::Killed { signal },
            How::Exited(code) => Packet::Exited { code },
            How::NotStarted(errno) => Packet::Failed { errno },
        });
        follow.hang_up();
        scene.ended(&outcome, &after, follow.stdio);
        follow.leftovers();
        Ok(())
    }
}

/// Our stack's pages are the broker's, to be copied on the first write.
#[inline(never)]
fn touch_own_stack() {
    let mut deep = [0u8; 32 << 10];
    for byte in deep.iter_mut().step_by(4096) {
        // SAFETY: a byte of a local array; volatile, so that it is really written.
        unsafe { core::ptr::write_volatile(byte, 1) };
    }
}

/// Tells the stub that nothing was run, and gives it back a descriptor to complain on.
fn say_failed(connection: i32, errno: i32, complaints: i32) {
    let mut rights = Rights::none();
    if complaints >= 0 {
        rights.add(complaints);
    }
    // It may be gone.
    let said = Packet::Failed { errno }.encode();
    let _told = k::send(connection, &[&said], &rights, k::MSG_DONTWAIT);
}
