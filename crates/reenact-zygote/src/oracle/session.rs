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
use super::proto::{Body, Head, Packet, with};
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
    received: Received,
    tools: Tools<'a>,
}

/// What it works with.
struct Tools<'a> {
    kept: &'a Kept<'a>,
    /// The reference, in the mount namespace in which it will run.
    reference: i32,
    signals: i32,
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
    let reference = if kept.conf.hidden.is_empty() {
        kept.conf.reference
    } else {
        veil::own_mounts(kept.conf.hidden, kept.conf.cookie)?
    };
    take_rights(kept)?;
    die_with_broker()?;
    let mut tools = Tools {
        kept,
        reference,
        signals: k::signal_fd(1 << (sys::SIGCHLD - 1))?,
        mirror: Mirror::open()?,
        stack: ChildStack::allocate(),
        pointers: Buf::new(4096),
        report: Buf::new(4096),
        names: Buf::new(4096),
        before: Look::new(),
    };
    tools.touch();
    Ok(Ready { received: Received::prepare(), tools })
}

/// From here on the file system sees the caller's user: whatever a request names is opened, listed or entered with its rights.
/// What is left is what starting the reference needs: mounts and namespaces, changing ids, killing.
fn take_rights(kept: &Kept<'_>) -> Result<(), i32> {
    // SYS_PTRACE, to let the reference load its libraries (`veil`), is kept but not in force: with it, paths that a request names
    // could lead through other processes' files in /proc.
    let permitted = if kept.conf.hidden.is_empty() { KEEP } else { KEEP | TRACE };
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
    limit_capabilities(KEEP, permitted)
}

/// However stuck a session is (closing what the room gave it can take long), the room's end is its own. Changing ids clears it.
fn die_with_broker() -> Result<(), i32> {
    const PR_SET_PDEATHSIG: usize = 1;
    // SAFETY: plain numbers.
    unsafe { call(sys::nr::PRCTL, [PR_SET_PDEATHSIG, sys::SIGKILL as usize, 0, 0, 0, 0]) }
        .map(|_| ())
}

/// KILL, SETGID, SETUID, SYS_ADMIN (bits of capability(7)).
const KEEP: u32 = 1 << 5 | 1 << 6 | 1 << 7 | 1 << 21;
/// SYS_PTRACE
const TRACE: u32 = 1 << 19;

/// In the child that is about to be traced: SYS_PTRACE comes into force, until its ids change.
pub fn raise_trace() -> Result<(), i32> {
    limit_capabilities(KEEP | TRACE, KEEP | TRACE)
}

fn limit_capabilities(effective: u32, permitted: u32) -> Result<(), i32> {
    const VERSION_3: u32 = 0x2008_0522;
    // struct __user_cap_header_struct; two of __user_cap_data_struct: effective, permitted, inheritable.
    let header = [VERSION_3, 0];
    let sets = [effective, permitted, 0, 0, 0, 0];
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
    limit_capabilities(0, 0)?;
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
    fn serve(&mut self, connection: i32, work: Work) {
        let mut rights = Rights::none();
        if let Err(refusal) = self.attempt(connection, work, &mut rights) {
            if !refusal.why.is_empty() {
                self.tools.report.clear();
                encode_refused(refusal.why, &mut self.tools.report);
                // The request is refused all the same.
                let _sent = report(self.tools.kept, &self.tools.report);
            }
            let place = self.received.place_of(2);
            let complaints = place.and_then(|at| rights.fds().get(at)).copied();
            say_failed(connection, refusal.errno, complaints.unwrap_or(-1));
        }
    }

    fn attempt(&mut self, connection: i32, work: Work, rights: &mut Rights) -> Result<(), Refusal> {
        self.received.receive(connection, rights)?;
        if work.refuse {
            let why = b"too many invocations at once";
            return Err(Refusal { errno: sys::EAGAIN, why });
        }
        let (head, body) = self.received.parse(rights)?;
        let request = Request { connection, seq: work.seq, head: &head, body: &body };
        self.tools.carry_out(&request, rights)
    }
}

/// A request that has been checked.
struct Request<'a> {
    connection: i32,
    seq: u64,
    head: &'a Head<'a>,
    body: &'a Body<'a>,
}

impl Tools<'_> {
    /// Makes the kernel provide the memory that a usual request needs, now that nobody waits. Each first write would cost a fault.
    fn touch(&mut self) {
        const PAGE: usize = 4096;
        for buffer in [&mut self.pointers, &mut self.report, &mut self.names] {
            buffer.room(2 * PAGE)[..2 * PAGE].fill(0);
        }
        self.stack.touch();
        touch_own_stack();
    }

    /// Runs the reference for a request, from the first look to the last byte.
    fn carry_out(&mut self, request: &Request<'_>, rights: &mut Rights) -> Result<(), Refusal> {
        let Request { connection, head, body, .. } = *request;
        let failed = |errno| Refusal { errno, why: b"a session could not be set up" };
        let env = pointers(body, &mut self.pointers);
        let argv = self.pointers.bytes().as_ptr() as usize;
        let terminal = head.place(with::TERMINAL).map_or(-1, |place| rights.fds()[place]);
        let own_terminal = if self.kept.conf.own_terminal && terminal >= 0 {
            pty::open(terminal, connection, head, rights).map_err(failed)?
        } else {
            None
        };
        let mut stdio = Stdio::open(head, rights, &mut self.mirror).map_err(failed)?;
        let cwd = match (body.cwd.and_then(CStr::new), head.place(with::CWD)) {
            (Some(path), _) => Cwd::Path(path),
            (None, Some(place)) => Cwd::Dir(rights.fds()[place]),
            (None, None) => return Err(failed(sys::EPROTO)),
        };
        if let Cwd::Path(path) = cwd {
            self.before.take(path, body.argv, &mut self.names);
        }
        report_beginning(request.seq, head, body, &stdio, &mut self.report);
        if report(self.kept, &self.report).is_err() {
            // Nothing runs that is not on record.
            return Err(failed(sys::EAGAIN));
        }

        let complaints = stdio.complaints(head.inherited().position(|n| n == 2), rights);
        let mut child = Start {
            conf: &self.kept.conf,
            reference: self.reference,
            head,
            fds: &rights.fds()[..head.inherited_count()],
            own_terminal: own_terminal.unwrap_or(-1),
            cwd,
            argv,
            env: argv + env,
            errno: 0,
        };
        let begun = sys::now_us();
        match start(&mut child, &mut self.stack) {
            Ok(pid) => {
                rights.close_all();
                self.accompany(request, pid, begun, &mut stdio, own_terminal);
            }
            Err(errno) => {
                let paper = (&mut self.names, &mut self.report);
                scene(self.kept, request, begun, &self.before, paper).never_started(errno, &stdio);
                say_failed(connection, errno, complaints);
            }
        }
        Ok(())
    }

    /// Follows a reference that runs, and tells what became of it: its caller first.
    fn accompany(
        &mut self,
        request: &Request<'_>,
        pid: i32,
        begun: u64,
        stdio: &mut Stdio,
        own_terminal: Option<i32>,
    ) {
        self.let_go(request, pid);
        let mut follow = Follow {
            connection: request.connection,
            signals: self.signals,
            queue: self.kept.work,
            pid,
            stdio,
            mirror: &mut self.mirror,
        };
        let outcome = follow.until_it_ends();
        if let Some(slave) = own_terminal {
            // The stub reads the terminal until its last user is gone.
            sys::close(slave);
        }
        let paper = (&mut self.names, &mut self.report);
        let mut scene = scene(self.kept, request, begun, &self.before, paper);
        let after = scene.look_again(follow.stdio);
        follow.say(match outcome.how {
            How::Killed(signal) => Packet::Killed { signal },
            How::Exited(code) => Packet::Exited { code },
            How::NotStarted(errno) => Packet::Failed { errno },
        });
        follow.hang_up();
        scene.ended(&outcome, &after, follow.stdio);
        follow.leftovers();
    }

    /// The reference has been executed: from its first own instruction on, neither it nor we have more rights than needed.
    fn let_go(&self, request: &Request<'_>, pid: i32) {
        let conf = &self.kept.conf;
        if !conf.hidden.is_empty()
            && veil::load_then_hide(pid, conf.hidden, request.head.blocked, conf.cookie).is_err()
        {
            let _killed = sys::kill(pid, sys::SIGKILL);
        }
        // Without this the session would work as well, but with more rights than it needs; that is not for it to accept.
        if drop_rights(self.kept).is_err() {
            let _killed = sys::kill(pid, sys::SIGKILL);
        }
    }
}

/// `paper`: for names of files, and for the report.
fn scene<'a, 'b>(
    kept: &'a Kept<'a>,
    request: &Request<'a>,
    begun: u64,
    before: &'a Look,
    paper: (&'b mut Buf, &'b mut Buf),
) -> Scene<'a, 'b> {
    Scene {
        kept,
        seq: request.seq,
        begun,
        caller: request.head.pid,
        cwd: request.body.cwd.and_then(CStr::new),
        argv: request.body.argv,
        before,
        names: paper.0,
        out: paper.1,
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
