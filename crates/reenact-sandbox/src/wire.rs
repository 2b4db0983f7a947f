//! The host's end of the socket to a zygote.

use crate::error::SandboxError;
use reenact_zygote::proto::{self, HEADER, MAX_FRAME, Sink};
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// Buffered frames in both directions.
pub struct Wire {
    stream: UnixStream,
    incoming: Vec<u8>,
    at: usize,
    outgoing: Vec<u8>,
}

/// A frame under construction; ends when dropped.
pub struct FrameOut<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
}

impl Sink for FrameOut<'_> {
    fn put(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }
}

impl Drop for FrameOut<'_> {
    fn drop(&mut self) {
        let len = (self.out.len() - self.start - 4) as u32;
        self.out[self.start..self.start + 4].copy_from_slice(&len.to_le_bytes());
    }
}

/// A received frame.
pub struct Frame {
    pub op: u8,
    pub payload: Vec<u8>,
}

fn lost(what: &str, error: &std::io::Error) -> SandboxError {
    SandboxError::Lost(format!("{what}: {error}"))
}

impl Wire {
    pub fn new(stream: UnixStream) -> Self {
        Self {
            stream,
            incoming: Vec::with_capacity(64 << 10),
            at: 0,
            outgoing: Vec::with_capacity(16 << 10),
        }
    }

    /// How long a read may wait before the cell counts as lost.
    pub fn set_timeout(&self, timeout: Duration) -> Result<(), SandboxError> {
        self.stream.set_read_timeout(Some(timeout)).map_err(|e| lost("cannot set a timeout", &e))
    }

    /// Begins a frame; it is sent by [`Wire::flush`].
    pub fn frame(&mut self, op: u8) -> FrameOut<'_> {
        let start = self.outgoing.len();
        self.outgoing.extend_from_slice(&[0, 0, 0, 0, op]);
        FrameOut { out: &mut self.outgoing, start }
    }

    /// Bytes that wait to be sent.
    pub fn waiting(&self) -> usize {
        self.outgoing.len()
    }

    pub fn flush(&mut self) -> Result<(), SandboxError> {
        let sent = self.stream.write_all(&self.outgoing);
        self.outgoing.clear();
        if self.outgoing.capacity() > (4 << 20) {
            self.outgoing.shrink_to(64 << 10);
        }
        sent.map_err(|e| lost("cannot send to the zygote", &e))
    }

    fn fill(&mut self) -> Result<(), SandboxError> {
        if self.at == self.incoming.len() {
            self.incoming.clear();
            self.at = 0;
        }
        let have = self.incoming.len();
        self.incoming.resize(have + (64 << 10), 0);
        let got = loop {
            match self.stream.read(&mut self.incoming[have..]) {
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        self.incoming.truncate(have + *got.as_ref().unwrap_or(&0));
        match got {
            Ok(0) => Err(SandboxError::Lost("the zygote closed its socket".to_owned())),
            Ok(_) => Ok(()),
            Err(e) => Err(lost("no answer from the zygote", &e)),
        }
    }

    /// A complete frame that is already here.
    fn ready(&mut self) -> Result<Option<Frame>, SandboxError> {
        let rest = &self.incoming[self.at..];
        match proto::split_frame(rest) {
            Err(()) => Err(SandboxError::Lost("a malformed frame".to_owned())),
            Ok(None) => Ok(None),
            Ok(Some((op, payload, used))) => {
                let frame = Frame { op, payload: payload.to_vec() };
                self.at += used;
                Ok(Some(frame))
            }
        }
    }

    /// The next frame; waits for it.
    pub fn next(&mut self) -> Result<Frame, SandboxError> {
        loop {
            if let Some(frame) = self.ready()? {
                return Ok(frame);
            }
            self.compact();
            self.fill()?;
        }
    }

    /// The next frame if one is complete after at most one read that does not wait long. For use behind `poll`.
    pub fn try_next(&mut self) -> Result<Option<Frame>, SandboxError> {
        if let Some(frame) = self.ready()? {
            return Ok(Some(frame));
        }
        self.compact();
        self.fill()?;
        self.ready()
    }

    /// Whether a complete frame waits in the buffer, so that `poll` on the socket would wait in vain.
    pub fn has_frame(&self) -> bool {
        let rest = &self.incoming[self.at..];
        rest.len() >= HEADER
            && rest[..4].try_into().is_ok_and(|len| {
                u32::from_le_bytes(len) as usize <= (rest.len() - 4).min(MAX_FRAME)
            })
    }

    /// Puts a frame back, to be read again.
    pub fn unread(&mut self, frame: &Frame) {
        let len = (frame.payload.len() + 1) as u32;
        let mut bytes = len.to_le_bytes().to_vec();
        bytes.push(frame.op);
        bytes.extend_from_slice(&frame.payload);
        bytes.extend_from_slice(&self.incoming[self.at..]);
        self.incoming = bytes;
        self.at = 0;
    }

    fn compact(&mut self) {
        if self.at > (256 << 10) {
            self.incoming.drain(..self.at);
            self.at = 0;
        }
        if self.incoming.is_empty() && self.incoming.capacity() > (8 << 20) {
            self.incoming.shrink_to(64 << 10);
        }
    }

    /// Hands `len` raw bytes that follow a frame to `sink`, in pieces.
    pub fn raw(&mut self, len: u64, mut sink: impl FnMut(&[u8])) -> Result<(), SandboxError> {
        let mut left = len;
        while left > 0 {
            if self.at == self.incoming.len() {
                self.fill()?;
            }
            let n = usize::try_from(left).unwrap_or(usize::MAX).min(self.incoming.len() - self.at);
            sink(&self.incoming[self.at..self.at + n]);
            self.at += n;
            left -= n as u64;
        }
        Ok(())
    }

    /// Receives the descriptor that the zygote sends with one byte (`SCM_RIGHTS`). Nothing else may be in flight.
    pub fn receive_descriptor(&mut self) -> Result<OwnedFd, SandboxError> {
        let mut byte = [0u8; 1];
        let mut iov = libc::iovec { iov_base: byte.as_mut_ptr().cast(), iov_len: 1 };
        let mut control = [0u64; 8];
        // SAFETY: an all-zero msghdr is valid; every pointer set below outlives the call.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_iov = &raw mut iov;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of_val(&control);
        // SAFETY: `message` is set up above.
        let n = unsafe {
            libc::recvmsg(self.stream.as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC)
        };
        if n != 1 {
            return Err(SandboxError::Lost(format!(
                "no terminal from the zygote: {}",
                std::io::Error::last_os_error()
            )));
        }
        if byte[0] != proto::re::TTY_MASTER {
            // A frame came instead: the request failed before the terminal was opened.
            self.incoming.truncate(self.at);
            self.incoming.push(byte[0]);
            return Err(match self.next() {
                Ok(frame) => failed(&frame),
                Err(e) => e,
            });
        }
        // SAFETY: the kernel filled the control buffer; CMSG_* walk it within msg_controllen.
        unsafe {
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            if header.is_null() || (*header).cmsg_type != libc::SCM_RIGHTS {
                return Err(SandboxError::Lost(
                    "the terminal's descriptor did not arrive".to_owned(),
                ));
            }
            let fd = libc::CMSG_DATA(header).cast::<i32>().read_unaligned();
            Ok(OwnedFd::from_raw_fd(fd))
        }
    }

    /// Closes both directions; the zygote sees the end of its input.
    pub fn close(&self) {
        // It may be closed already, which is as good.
        let _closed = self.stream.shutdown(std::net::Shutdown::Both);
    }

    pub fn raw_fd(&self) -> i32 {
        self.stream.as_raw_fd()
    }
}

/// The error in a frame that was not expected.
pub fn failed(frame: &Frame) -> SandboxError {
    let mut r = proto::Reader::new(&frame.payload);
    if frame.op == proto::re::FAILED
        && let (Some(op), Some(errno)) = (r.u8(), r.u32())
    {
        let what = match op {
            proto::op::RESET => "emptying the workspace",
            proto::op::PUT => "placing a file",
            proto::op::RUN => "starting a program",
            proto::op::LIST => "listing files",
            _ => "a request",
        };
        return SandboxError::Setup {
            step: what.to_owned(),
            error: std::io::Error::from_raw_os_error(errno as i32),
        };
    }
    SandboxError::Lost(format!("unexpected reply {} from the zygote", frame.op))
}
