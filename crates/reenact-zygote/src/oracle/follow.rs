//! Following a running reference: its output, its caller's signals, its stops and its end.

use super::kernel::{self as k, MSG_DONTWAIT, Rights};
use super::proto::Packet;
use super::report::How;
use super::stdio::Stdio;
use super::streams::{Mirror, Relay};
use crate::sys::{self, EAGAIN, EINTR, POLLHUP, POLLIN, PollFd, Rusage, SIGKILL};

const SIGCONT: i32 = 18;
const WUNTRACED: usize = 2;

/// What is followed, and with what.
pub struct Follow<'a> {
    /// To the stub; -1 once it is gone.
    pub connection: i32,
    /// Readable when the reference changed state.
    pub signals: i32,
    /// Hangs up when the broker ends.
    pub queue: i32,
    pub pid: i32,
    pub stdio: &'a mut Stdio,
    pub mirror: &'a mut Mirror,
}

/// How it ended.
pub struct Outcome {
    pub how: How,
    pub usage: Rusage,
    /// Monotonic time, microseconds.
    pub at_us: u64,
}

const QUIET: PollFd = PollFd { fd: -1, events: 0, revents: 0 };

impl Follow<'_> {
    /// Until the reference has ended and what it wrote has been passed on.
    pub fn until_it_ends(&mut self) -> Outcome {
        let mut ended: Option<(Outcome, [u64; 2])> = None;
        loop {
            match ended.take() {
                Some((outcome, owed)) => {
                    if self.has_sent(owed) {
                        return outcome;
                    }
                    ended = Some((outcome, owed));
                }
                None => {
                    if let Some(outcome) = self.reap() {
                        let owed = self.owed();
                        self.pump();
                        ended = Some((outcome, owed));
                        continue;
                    }
                }
            }
            self.turn(ended.is_none());
        }
    }

    /// While somebody whom the reference left behind still holds its output.
    pub fn leftovers(&mut self) {
        while self.stdio.relays().iter().any(|r| r.as_ref().is_some_and(Relay::is_open)) {
            self.turn(false);
        }
    }

    /// Waits for something and acts on it.
    fn turn(&mut self, running: bool) {
        let mut fds = [QUIET; 7];
        fds[0].fd = self.queue;
        fds[1] = PollFd { fd: self.connection, events: POLLIN, revents: 0 };
        fds[2] = PollFd { fd: self.signals, events: POLLIN, revents: 0 };
        for (pair, relay) in fds[3..].as_chunks_mut::<2>().0.iter_mut().zip(self.stdio.relays()) {
            if let Some(relay) = relay {
                *pair = relay.wants();
            }
        }
        if sys::poll(&mut fds, -1).is_err() {
            return; // interrupted; every signal is blocked, so it cannot be often
        }
        if fds[0].revents & POLLHUP != 0 {
            self.abandon(running);
        }
        for (pair, relay) in fds[3..].as_chunks::<2>().0.iter().zip(self.stdio.relays()) {
            if let Some(relay) = relay {
                relay.ready(*pair, self.mirror);
            }
        }
        if fds[2].revents != 0 {
            let mut info = [0u8; 128];
            // What changed is asked of `wait4`.
            let _read = sys::read(self.signals, &mut info);
        }
        if fds[1].revents != 0 {
            self.hear(running);
        }
    }

    /// The room ends.
    fn abandon(&self, running: bool) -> ! {
        if running {
            let _killed = sys::kill(self.pid, SIGKILL);
            let _reaped = sys::wait4(self.pid, sys::WALL);
        }
        sys::exit(0)
    }

    /// Everything that the stub says.
    fn hear(&mut self, running: bool) {
        let mut bytes = [0u8; Packet::LEN + 1];
        let mut rights = Rights::none();
        loop {
            match k::receive(self.connection, &mut bytes, &mut rights, MSG_DONTWAIT) {
                Ok(got) if got.len > 0 && rights.fds().is_empty() => {
                    if let (Some(Packet::Signal { signal, group }), true) =
                        (Packet::decode(&bytes[..got.len]), running)
                    {
                        self.signal(signal, group);
                    }
                }
                Err(EINTR) => {}
                Err(EAGAIN) => return,
                // The stub was killed: so is what it stands for, with its process group, as whoever kills that way mostly
                // means it (a command's session, `timeout -s KILL`). (Or it is not our stub: that sends no descriptors now.)
                Ok(_) | Err(_) => {
                    self.hang_up();
                    if running {
                        self.signal(SIGKILL, true);
                        let _killed = sys::kill(self.pid, SIGKILL);
                    }
                    return;
                }
            }
        }
    }

    /// Passes a signal on: to the group if it came from the terminal, else to the reference alone. Continuing is for all
    /// that stopping stopped.
    fn signal(&self, signal: i32, group: bool) {
        // Upon SIGILL and SIGFPE, Go programs print the machine code at which they are.
        const TELL_TALE: [i32; 2] = [4, 8];
        if !(1..=64).contains(&signal)
            || signal == sys::SIGCHLD as i32
            || TELL_TALE.contains(&signal)
        {
            return;
        }
        let everyone = group || signal == SIGCONT;
        // It is not reaped yet, so that the number is still its own. It may have left its group.
        if !everyone || sys::kill(-self.pid, signal).is_err() {
            let _sent = sys::kill(self.pid, signal);
        }
    }

    fn reap(&mut self) -> Option<Outcome> {
        loop {
            let (status, usage) = match sys::wait4(self.pid, sys::WNOHANG | WUNTRACED | sys::WALL) {
                Ok(Some((_, status, usage))) => (status, usage),
                Ok(None) => return None,
                // Cannot be: it is our child. Killed is the nearest to not knowing.
                Err(_) => (SIGKILL, Rusage::default()),
            };
            if status & 0xff == 0x7f {
                self.say(Packet::Stopped { signal: (status >> 8) & 0xff });
                continue;
            }
            let how = match status & 0x7f {
                0 => How::Exited((status >> 8) & 0xff),
                signal => How::Killed(signal),
            };
            return Some(Outcome { how, usage, at_us: sys::now_us() });
        }
    }

    /// Tells the stub, if it is still there.
    pub fn say(&self, packet: Packet) {
        if self.connection >= 0 {
            // If it does not listen, it is being killed, or it is not our stub.
            let _said =
                k::send(self.connection, &[&packet.encode()], &Rights::none(), MSG_DONTWAIT);
        }
    }

    fn pump(&mut self) {
        for relay in self.stdio.relays().into_iter().flatten() {
            relay.pump(self.mirror);
        }
    }

    fn owed(&mut self) -> [u64; 2] {
        self.stdio.relays().map(|relay| relay.as_ref().map_or(0, Relay::owed))
    }

    fn has_sent(&mut self, owed: [u64; 2]) -> bool {
        let relays = self.stdio.relays().into_iter().zip(owed);
        relays.into_iter().all(|(relay, owed)| relay.as_ref().is_none_or(|r| r.has_sent(owed)))
    }

    /// Listens to the stub no more. The socket stays open until the session exits: closing it would let go of descriptors
    /// that the room put into it, and that can take as long as the room likes (SO_LINGER). Exiting does not wait for them.
    pub fn hang_up(&mut self) {
        self.connection = -1;
    }
}
