//! The floor that benches compare with: bare `vfork`, `exec` and `wait` of a program, no sandbox, no pipes.

use crate::error::SandboxError;
use std::ffi::CString;
use std::time::{Duration, Instant};

/// Time of one bare `posix_spawn` (vfork and exec in glibc) and `waitpid` of `program` with its output to `/dev/null`.
///
/// # Errors
/// [`SandboxError::Tool`] if it cannot be spawned.
pub fn bare_spawn(program: &str, args: &[String]) -> Result<Duration, SandboxError> {
    let fail = |what: String| SandboxError::Tool { program: program.to_owned(), what };
    let c = |s: &str| CString::new(s).map_err(|e| fail(e.to_string()));
    let strings = std::iter::once(program)
        .chain(args.iter().map(String::as_str))
        .map(c)
        .collect::<Result<Vec<_>, _>>()?;
    let mut argv: Vec<*mut libc::c_char> = strings.iter().map(|s| s.as_ptr().cast_mut()).collect();
    argv.push(std::ptr::null_mut());
    let env = [c("PATH=/usr/bin:/bin")?, c("LANG=C.UTF-8")?];
    let mut envp: Vec<*mut libc::c_char> = env.iter().map(|s| s.as_ptr().cast_mut()).collect();
    envp.push(std::ptr::null_mut());
    // SAFETY: argv and envp are NULL-terminated arrays of NUL-terminated strings that outlive the calls; the file actions
    // are initialised before use and destroyed after.
    unsafe {
        let mut actions: libc::posix_spawn_file_actions_t = std::mem::zeroed();
        libc::posix_spawn_file_actions_init(&raw mut actions);
        for fd in 0..3 {
            libc::posix_spawn_file_actions_addopen(
                &raw mut actions,
                fd,
                c"/dev/null".as_ptr(),
                libc::O_RDWR,
                0,
            );
        }
        let mut pid = 0;
        let begun = Instant::now();
        let errno = libc::posix_spawn(
            &raw mut pid,
            strings[0].as_ptr(),
            &raw const actions,
            std::ptr::null(),
            argv.as_ptr(),
            envp.as_ptr(),
        );
        if errno != 0 {
            return Err(fail(std::io::Error::from_raw_os_error(errno).to_string()));
        }
        let mut status = 0;
        libc::waitpid(pid, &raw mut status, 0);
        let took = begun.elapsed();
        libc::posix_spawn_file_actions_destroy(&raw mut actions);
        Ok(took)
    }
}

/// Peak resident memory of this process so far, bytes (`ru_maxrss` of RUSAGE_SELF).
pub fn peak_memory() -> u64 {
    // SAFETY: an all-zero rusage is valid and the call fills it.
    unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &raw mut usage);
        u64::try_from(usage.ru_maxrss).unwrap_or(0) * 1024
    }
}
