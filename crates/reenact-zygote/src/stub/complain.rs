//! The one thing that the stub ever says: why the reference did not run.

use crate::sys;

/// Words of `strerror` for what can happen.
fn words(errno: i32) -> &'static [u8] {
    match errno {
        1 => b"Operation not permitted",
        sys::ENOENT => b"No such file or directory",
        7 => b"Argument list too long",
        sys::EAGAIN => b"Resource temporarily unavailable",
        12 => b"Cannot allocate memory",
        13 => b"Permission denied",
        20 => b"Not a directory",
        22 => b"Invalid argument",
        24 => b"Too many open files",
        36 => b"File name too long",
        40 => b"Too many levels of symbolic links",
        sys::EPROTO => b"Protocol error",
        109 => b"Too many references: cannot splice",
        111 => b"Connection refused",
        _ => b"cannot be run",
    }
}

/// Says why on `fd`, and ends as a shell does that cannot execute a file.
pub fn end(errno: i32, fd: i32) -> ! {
    let parts: [&[u8]; 3] = [b"executable: ", words(errno), b"\n"];
    let mut line = [0u8; 80];
    let mut len = 0;
    for part in parts {
        line[len..len + part.len()].copy_from_slice(part);
        len += part.len();
    }
    // There is nowhere else to say that this failed.
    let _said = sys::write_all(fd, &line[..len]);
    sys::exit(if errno == sys::ENOENT { 127 } else { 126 })
}
