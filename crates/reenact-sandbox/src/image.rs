//! The embedded executables: the oracle's stub, and the zygote, which is kept in a sealed memory file.

use crate::error::SandboxError;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, FromRawFd};
use std::path::PathBuf;
use std::sync::OnceLock;

/// The oracle's stub: what agents find where the reference is.
pub static STUB: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/stub"));

static ZYGOTE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/zygote"));

/// A path from which the zygote can be executed by this process's children.
///
/// # Errors
/// If the kernel gives no memory file.
pub fn zygote_path() -> Result<PathBuf, SandboxError> {
    static FILE: OnceLock<File> = OnceLock::new();
    if FILE.get().is_none() {
        let file =
            make().map_err(|e| SandboxError::host("cannot make the zygote's memory file", e))?;
        // A second thread may have been first; either file will do.
        let _raced = FILE.set(file);
    }
    FILE.get()
        .map(|f| PathBuf::from(format!("/proc/self/fd/{}", f.as_raw_fd())))
        .ok_or_else(|| SandboxError::Lost("the zygote's memory file vanished".to_owned()))
}

fn make() -> std::io::Result<File> {
    // The name is visible in the cell as /proc/1/exe; it says nothing about us.
    let name = c"init";
    let open = |flags: libc::c_uint| {
        // SAFETY: the name is NUL-terminated; the result is checked.
        unsafe { libc::memfd_create(name.as_ptr(), flags) }
    };
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    let mut fd = open(flags | libc::MFD_EXEC);
    if fd < 0 {
        fd = open(flags); // kernels before 6.3 do not know MFD_EXEC
    }
    if fd < 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: a descriptor just made, owned by nobody else.
    let mut file = unsafe { File::from_raw_fd(fd) };
    file.write_all(ZYGOTE)?;
    let seals = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE | libc::F_SEAL_SEAL;
    // SAFETY: plain numbers.
    if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) } < 0 {
        return Err(std::io::Error::last_os_error());
    }
    Ok(file)
}
