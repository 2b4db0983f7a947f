//! Standing for the reference: what happens to the stub happens to it, and the other way round.

use crate::complain;
use crate::gather::Call;
use crate::kernel::{self as k, Rights, nr};
use crate::sys::{self, EINTR, POLLIN, PollFd};
use crate::terminal::Proxy;
use crate::wire::Packet;

const SIGSTOP: i32 = 19;
const SIGCONT: i32 = 18;
const SIGWINCH: i32 = 28;
/// `si_code` of signals that the kernel itself sends: the terminal's, above all.
const SI_KERNEL: i32 = 0x80;
/// `si_code` of kill(2).
const SI_USER: i32 = 0;
/// Exit status if the session is gone without a word.
const LOST: i32 = 125;

/// Until the reference has ended.
pub fn stand(call: Call) -> ! {
    let Ok(signals) = k::signal_fd(u64::MAX) else { sys::exit(LOST) };
    let mut proxy = Proxy::none(call.terminal);
    loop {
        let [output, input] = proxy.wants();
        let mut fds = [
            PollFd { fd: call.connection, events: POLLIN, revents: 0 },
            PollFd { fd: signals, events: POLLIN, revents: 0 },
            output,
            input,
        ];
        if let Err(errno) = sys::poll(&mut fds, -1)
            && errno != EINTR
        {
            proxy.restore();
            sys::exit(LOST);
        }
        proxy.ready(fds[2], fds[3]);
        if fds[1].revents != 0 {
            pass_signal(signals, call.connection, &mut proxy);
        }
        if fds[0].revents != 0 {
            hear(call.connection, &mut proxy);
        }
    }
}

/// Whether the sender is timeout(1) that runs us. It signals its child and then its whole group, children of the child
/// included; they are in the reference's group, not in ours.
fn is_timeout(sender: i32) -> bool {
    let (parent, group) = (k::number(nr::GETPPID) as i32, k::number(nr::GETPGRP) as i32);
    if sender != parent || sender != group {
        return false;
    }
    let mut path = k::Path::new(b"/proc/");
    path.number(sender as u32).add(b"/comm");
    let Ok(fd) = sys::openat(sys::AT_FDCWD, path.c(), sys::O_RDONLY, 0) else { return false };
    let mut name = [0u8; 16];
    let read = sys::read(fd, &mut name);
    sys::close(fd);
    read.is_ok_and(|n| name[..n] == *b"timeout\n")
}

/// `struct signalfd_siginfo`: signal, errno, code, sender, and more; 128 bytes.
fn pass_signal(signals: i32, connection: i32, proxy: &mut Proxy) {
    let mut info = [0u8; 128];
    if sys::read(signals, &mut info) != Ok(128) {
        return;
    }
    let word = |at: usize| i32::from_le_bytes([info[at], info[at + 1], info[at + 2], info[at + 3]]);
    let (signal, code) = (word(0), word(8));
    if signal == sys::SIGCHLD as i32 {
        return; // a shell that executed us in its place may have had children: they are not the reference's
    }
    if proxy.is_active() {
        match signal {
            SIGWINCH => return proxy.resize(),
            SIGCONT => proxy.resume(),
            _ => {}
        }
    }
    let group = code == SI_KERNEL || (code == SI_USER && is_timeout(word(12)));
    let packet = Packet::Signal { signal, group };
    // If the session is gone, its socket says so next.
    let _passed = k::send(connection, &[&packet.encode()], &Rights::none(), 0);
}

fn hear(connection: i32, proxy: &mut Proxy) {
    let mut bytes = [0u8; Packet::LEN + 1];
    let mut rights = Rights::none();
    let packet = match k::receive(connection, &mut bytes, &mut rights, 0) {
        Ok(got) => Packet::decode(&bytes[..got.len]),
        // A session that ends without having read our last signal resets the connection; what it said comes after that.
        Err(EINTR | k::ECONNRESET) => return,
        Err(_) => None,
    };
    let fd = rights.fds().first().copied().unwrap_or(-1);
    match packet {
        Some(Packet::Terminal) => return proxy.begin(fd),
        Some(Packet::Stopped { .. }) => {
            proxy.pass_what_is_there();
            proxy.restore();
            // Going on, if it comes to that, is a signal like any other.
            let _stopped = sys::kill(k::number(nr::GETPID) as i32, SIGSTOP);
            return;
        }
        _ => {}
    }
    proxy.finish();
    match packet {
        Some(Packet::Exited { code }) => sys::exit(code),
        Some(Packet::Killed { signal }) => die(signal),
        Some(Packet::Failed { errno }) => complain::end(errno, fd),
        _ => sys::exit(LOST),
    }
}

/// Dies of a signal, as the reference did, but without leaving a core.
fn die(signal: i32) -> ! {
    const RLIMIT_CORE: u32 = 4;
    // Lowering a limit is never refused; and should the signal not kill, the exit status says what happened.
    let _none = k::set_limit(RLIMIT_CORE, 0, 0);
    k::handle(signal as usize, k::SIG_DFL);
    let _sent = sys::kill(k::number(nr::GETPID) as i32, signal);
    k::set_mask(0);
    sys::exit(128 + signal)
}
