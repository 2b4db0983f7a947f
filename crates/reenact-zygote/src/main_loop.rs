//! The zygote's main loop: frames in, facts out.

use crate::buf::Buf;
use crate::list::{ListRequest, list};
use crate::proto::{HEADER, Reader, RunRequest, Sink, flag, kind, op, re, split_frame};
use crate::run::{Buffers, run};
use crate::setup::{State, perform};
use crate::sys::{self, AT_FDCWD, CStr, EPROTO, call, nr};
use crate::tty::Input;

/// The host's socket is our standard input.
const SOCKET: i32 = 0;

/// Runs until the host closes the socket.
pub fn main() -> ! {
    // SAFETY: PR_SET_NAME with a NUL-terminated name; umask takes a number.
    unsafe {
        let _named = call(nr::PRCTL, [15, CStr::lit(b"init\0").ptr(), 0, 0, 0, 0]);
        let _masked = call(nr::UMASK, [0o022, 0, 0, 0, 0, 0]);
    }
    // Descriptors that the host was given and passed on unknowingly must not reach a program in the cell.
    // SAFETY: plain numbers; nothing of ours is open above 2 yet.
    if unsafe { call(nr::CLOSE_RANGE, [3, u32::MAX as usize, 0, 0, 0, 0]) }.is_err() {
        sys::exit(106);
    }
    default_signals();
    let mut input = Buf::new(256 << 10);
    let mut out = Buf::new(256 << 10);
    let mut scratch = Buf::new(64 << 10);
    let mut buffers = Buffers::allocate();
    let mut state = State::unset();
    let mut used = 0;
    loop {
        let frame = split_frame(&input.bytes()[used..])
            .map(|f| f.map(|(operation, payload, n)| (operation, payload.len(), n)));
        let (operation, payload_len, n) = match frame {
            Ok(Some(frame)) => frame,
            Ok(None) => {
                input.consume(used);
                used = 0;
                match sys::read(SOCKET, input.room(64 << 10)) {
                    Ok(0) => sys::exit(0),
                    Ok(n) => input.fill(n),
                    Err(sys::EINTR) => {}
                    Err(_) => sys::exit(103),
                }
                continue;
            }
            Err(()) => sys::exit(104),
        };
        let start = used + HEADER;
        used += n;
        // The payload stays where it is while it is used: only a tty run reads more input, and that into `extra`.
        let payload = &input.bytes()[start..start + payload_len];
        let done = match operation {
            op::SETUP => {
                answer_setup(perform(payload, &mut state), &mut out);
                let told = flush(&mut out);
                if state.room && told.is_ok() {
                    crate::room::serve(&state);
                }
                told
            }
            op::RESET => state.workspace.reset(&mut scratch, state.cookie),
            op::PUT => put(payload, &state),
            op::RUN => run_one(payload, &state, &mut buffers, &mut out),
            op::LIST => list_one(payload, &state, &mut scratch, &mut out),
            op::SYNC => {
                out.u32(1);
                out.u8(re::SYNCED);
                flush(&mut out)
            }
            // A tty run that ended by itself may leave requests that crossed its end.
            op::TTY_POLL | op::TTY_STOP => Ok(()),
            _ => Err(EPROTO),
        };
        if let Err(errno) = done {
            out.u32(6);
            out.u8(re::FAILED);
            out.u8(operation);
            out.u32(errno as u32);
            // If even this cannot be said, the host sees the socket close.
            let _said = flush(&mut out);
            sys::exit(105);
        }
        if used > (1 << 20) && used == input.len() {
            input.trim(256 << 10);
            used = 0;
        }
    }
}

/// Default action for every signal, and none blocked. Ignored signals survive `exec`: a harness that was started in the
/// background of a script ignores SIGINT, and its programs would too.
fn default_signals() {
    const SET_SIZE: usize = 8;
    let action = [0usize; 4]; // SIG_DFL, no flags, no restorer, empty mask
    let nothing = 0u64;
    // SAFETY: both structures have the kernel's layout. SIGKILL and SIGSTOP refuse, and are at their default anyway.
    unsafe {
        for signal in 1..=64 {
            let _set =
                call(nr::RT_SIGACTION, [signal, action.as_ptr() as usize, 0, SET_SIZE, 0, 0]);
        }
        let _unblocked =
            call(nr::RT_SIGPROCMASK, [2, &raw const nothing as usize, 0, SET_SIZE, 0, 0]);
    }
}

fn flush(out: &mut Buf) -> Result<(), i32> {
    sys::write_all(SOCKET, out.bytes())?;
    out.trim(256 << 10);
    Ok(())
}

fn answer_setup(result: Result<(), (u32, i32)>, out: &mut Buf) {
    match result {
        Ok(()) => {
            out.u32(1);
            out.u8(re::SETUP_OK);
        }
        Err((index, errno)) => {
            out.u32(9);
            out.u8(re::SETUP_FAILED);
            out.u32(index);
            out.u32(errno as u32);
        }
    }
}

fn run_one(payload: &[u8], state: &State, buffers: &mut Buffers, out: &mut Buf) -> Result<(), i32> {
    let request = RunRequest::decode(payload).ok_or(EPROTO)?;
    let mut pending = Buf::new(4096);
    let result =
        run(&request, state, buffers, &mut Input { socket: SOCKET, pending: &mut pending }, out);
    pending.release();
    result?;
    // The host follows a terminal run live and waits for its end without a SYNC.
    if request.flags & flag::TTY != 0 { flush(out) } else { Ok(()) }
}

fn list_one(payload: &[u8], state: &State, scratch: &mut Buf, out: &mut Buf) -> Result<(), i32> {
    let request = ListRequest::decode(payload).ok_or(EPROTO)?;
    if request.workspace && !state.workspace.is_dirty() {
        out.u32(2);
        out.u8(re::LISTED);
        out.u8(0);
        return Ok(());
    }
    let path = CStr::new(request.path).ok_or(EPROTO)?;
    let root = sys::openat(AT_FDCWD, path, sys::O_RDONLY | sys::O_DIRECTORY, 0)?;
    let done = list(root, &request, scratch, out, SOCKET);
    sys::close(root);
    done
}

/// Modification time of every placed entry, seconds since the epoch (2024-01-01T00:00:00Z): a program that prints it must
/// print the same in every run.
const PLACED: i64 = 1_704_067_200;

fn touch(name: CStr<'_>) -> Result<(), i32> {
    let at = sys::Timespec { sec: PLACED, nsec: 0 };
    let times = [at, at];
    // SAFETY: the path is NUL-terminated and the array holds two timespecs.
    unsafe {
        call(
            nr::UTIMENSAT,
            [
                AT_FDCWD as isize as usize,
                name.ptr(),
                times.as_ptr() as usize,
                sys::AT_SYMLINK_NOFOLLOW,
                0,
                0,
            ],
        )
    }
    .map(|_| ())
}

/// Places one file: kind, mode, absolute path, content or link target. Parents are made as needed. Runs before anything
/// hostile shares the workspace, on paths that the host has checked.
fn put(payload: &[u8], state: &State) -> Result<(), i32> {
    let mut r = Reader::new(payload);
    let parsed = (|| Some((r.u8()?, r.u32()?, r.cstr()?, r.blob()?)))();
    let Some((what, mode, path, data)) = parsed else { return Err(EPROTO) };
    let name = CStr::new(path).ok_or(EPROTO)?;
    let (uid, gid) = state.child.ids();
    match what {
        kind::DIR => match sys::mkdirat(AT_FDCWD, name, mode as usize) {
            Ok(_) | Err(sys::EEXIST) => {}
            Err(e) => return Err(e),
        },
        kind::SYMLINK => {
            let target = CStr::new(data).ok_or(EPROTO)?;
            sys::symlinkat(target, AT_FDCWD, name)?;
        }
        kind::FILE | kind::APPEND => {
            let how = if what == kind::FILE { sys::O_CREAT | sys::O_EXCL } else { sys::O_APPEND };
            let fd =
                sys::openat(AT_FDCWD, name, sys::O_WRONLY | sys::O_NOFOLLOW | how, mode as usize)?;
            let written = sys::write_all(fd, data);
            sys::close(fd);
            written?;
        }
        kind::TOUCH => return touch(name),
        _ => return Err(EPROTO),
    }
    if what != kind::APPEND {
        // SAFETY: the path is NUL-terminated.
        unsafe {
            call(
                nr::FCHOWNAT,
                [
                    AT_FDCWD as isize as usize,
                    name.ptr(),
                    uid as usize,
                    gid as usize,
                    sys::AT_SYMLINK_NOFOLLOW,
                    0,
                ],
            )?;
        }
    }
    Ok(())
}
