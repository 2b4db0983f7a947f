//! The broker's reports: one SEQPACKET message each, read by a thread of the room's.

use super::OracleSink;
use super::oracle::{self, OracleEvent};
use crate::error::SandboxError;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::thread::JoinHandle;

/// Largest report, bytes; see `reenact_zygote::oracle`.
const LARGEST: usize = 256 << 10;

/// Both ends of the socket: ours, the broker's.
pub fn pair() -> Result<(OwnedFd, OwnedFd), SandboxError> {
    let mut fds = [0i32; 2];
    // SAFETY: the buffer holds two ints.
    let made = unsafe {
        libc::socketpair(
            libc::AF_UNIX,
            libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC,
            0,
            fds.as_mut_ptr(),
        )
    };
    if made < 0 {
        return Err(SandboxError::host(
            "cannot make a socket pair",
            std::io::Error::last_os_error(),
        ));
    }
    // SAFETY: descriptors just made, owned by nobody else.
    let pair = unsafe { (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])) };
    for fd in [&pair.0, &pair.1] {
        let size: libc::c_int = 1 << 20;
        // SAFETY: an option with its value and size. A kernel that gives less only makes senders wait more often.
        unsafe {
            libc::setsockopt(
                fd.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_SNDBUF,
                (&raw const size).cast(),
                size_of::<libc::c_int>() as u32,
            );
        }
    }
    Ok(pair)
}

/// Passes every report on until the broker and its sessions are gone.
pub fn listen(socket: OwnedFd, mut events: OracleSink) -> Result<JoinHandle<()>, SandboxError> {
    std::thread::Builder::new()
        .name("oracle".to_owned())
        .spawn(move || {
            let mut buffer = vec![0u8; LARGEST];
            loop {
                // SAFETY: the buffer is valid for its length.
                let n = unsafe {
                    libc::recv(socket.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0)
                };
                match usize::try_from(n) {
                    Ok(0) => return,
                    Ok(n) => events(oracle::decode(&buffer[..n]).unwrap_or_else(|| {
                        OracleEvent::Refused { why: "a malformed report".to_owned() }
                    })),
                    Err(_) => {
                        let interrupted = std::io::Error::last_os_error().kind()
                            == std::io::ErrorKind::Interrupted;
                        if !interrupted {
                            return;
                        }
                    }
                }
            }
        })
        .map_err(|e| SandboxError::host("cannot start a thread", e))
}
