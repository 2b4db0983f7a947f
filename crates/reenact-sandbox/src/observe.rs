//! From the zygote's report to an observation: who ended the program.

use crate::cell::decode;
use crate::error::SandboxError;
use crate::wire::Frame;
use reenact_model::{
    Captured, CaseObservation, Content, Ended, Limits, Observation, Resources, Stream,
};
use reenact_zygote::proto::{Ran, cause};

/// An observation of a pipe run.
pub fn from_frame(frame: &Frame, limits: &Limits) -> Result<Observation, SandboxError> {
    let ran = decode(frame)?;
    Ok(Observation {
        ended: ended(&ran, limits),
        stdout: captured(ran.stdout, ran.stdout_len),
        stderr: captured(ran.stderr, ran.stderr_len),
        screen: None,
        resources: resources(&ran),
    })
}

/// Names the cell's memory limit where our own poll ended the program.
pub fn name_memory_limit(observation: &mut Observation, bytes: u64) {
    if let Ended::MemoryLimit { limit_bytes } = &mut observation.ended
        && *limit_bytes == 0
    {
        *limit_bytes = bytes;
    }
}

pub fn captured(bytes: &[u8], len: u64) -> Captured {
    Captured { content: Content::inline(bytes), len, truncated: len > bytes.len() as u64 }
}

pub fn resources(ran: &Ran<'_>) -> Resources {
    Resources {
        wall_us: ran.wall_us,
        user_us: ran.user_us,
        sys_us: ran.sys_us,
        max_rss_kib: ran.max_rss_kib,
        leftovers: ran.leftovers,
        oom_kills: 0,
    }
}

/// Who ended it: first what we did ourselves, then what the kernel counted, and only then the program's own status.
pub fn ended(ran: &Ran<'_>, limits: &Limits) -> Ended {
    let output = limits.output_bytes.unwrap_or(1 << 20);
    match ran.cause {
        cause::WALL => return Ended::WallLimit { limit_ms: limits.wall_ms.unwrap_or(10_000) },
        cause::STDOUT => return Ended::OutputLimit { stream: Stream::Stdout, limit_bytes: output },
        cause::STDERR => return Ended::OutputLimit { stream: Stream::Stderr, limit_bytes: output },
        cause::MEMORY => return Ended::MemoryLimit { limit_bytes: 0 },
        cause::SCRIPT => return Ended::ScriptEnded { waiting_for: None },
        cause::EXEC => {
            let error = std::io::Error::from_raw_os_error(ran.errno);
            return Ended::ExecFailed { errno: ran.errno, what: error.to_string() };
        }
        _ => {}
    }
    // It may have written its last bytes past the limit and exited before we looked.
    for (stream, len) in [(Stream::Stdout, ran.stdout_len), (Stream::Stderr, ran.stderr_len)] {
        if len > output {
            return Ended::OutputLimit { stream, limit_bytes: output };
        }
    }
    let signal = ran.status & 0x7f;
    if signal == 0 {
        return Ended::Exit { code: (ran.status >> 8) & 0xff };
    }
    let limit_ms = limits.cpu_ms.unwrap_or(10_000).div_ceil(1000) * 1000;
    // The signal alone proves nothing (the program may send it to itself): the CPU time that wait4 reports must be there
    // too. The kernel checks the limit against tick-sampled time, rusage gives measured time; on a loaded virtual machine
    // the first runs ahead of the second, so half is asked for.
    let spent = (ran.user_us + ran.sys_us) / 1000;
    if (signal == libc::SIGXCPU || signal == libc::SIGKILL) && spent >= limit_ms / 2 {
        return Ended::CpuLimit { limit_ms };
    }
    Ended::Signal { signal }
}

/// The control group counted OOM kills during the case: the step whose program was killed hit the memory limit. If no
/// program died of it (a child did), the count is recorded as a fact of the last step.
pub fn attribute_oom(seen: &mut CaseObservation, killed: u64, limit_bytes: u64) {
    let kills = u32::try_from(killed).unwrap_or(u32::MAX);
    let at = seen.steps.iter().position(|s| s.ended == Ended::Signal { signal: libc::SIGKILL });
    if let Some(step) = at.map(|i| &mut seen.steps[i]) {
        step.ended = Ended::MemoryLimit { limit_bytes };
        step.resources.oom_kills = kills;
    } else if let Some(step) = seen.steps.last_mut() {
        step.resources.oom_kills = kills;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ran(cause: u8, status: i32, cpu_us: u64) -> Ran<'static> {
        Ran {
            cause,
            status,
            errno: 0,
            wall_us: 0,
            user_us: cpu_us,
            sys_us: 0,
            max_rss_kib: 0,
            leftovers: 0,
            stdout_len: 0,
            stderr_len: 0,
            stdout: b"",
            stderr: b"",
        }
    }

    #[test]
    fn a_signal_alone_is_never_a_limit() {
        let limits = Limits { cpu_ms: Some(2000), ..Default::default() };
        assert_eq!(
            ended(&ran(cause::ITSELF, libc::SIGKILL, 10), &limits),
            Ended::Signal { signal: libc::SIGKILL }
        );
        assert_eq!(
            ended(&ran(cause::ITSELF, libc::SIGXCPU, 10), &limits),
            Ended::Signal { signal: libc::SIGXCPU }
        );
        assert_eq!(
            ended(&ran(cause::ITSELF, libc::SIGXCPU, 2_000_000), &limits),
            Ended::CpuLimit { limit_ms: 2000 }
        );
        assert_eq!(
            ended(&ran(cause::ITSELF, libc::SIGSEGV, 2_000_000), &limits),
            Ended::Signal { signal: libc::SIGSEGV }
        );
        assert_eq!(ended(&ran(cause::ITSELF, 137 << 8, 0), &limits), Ended::Exit { code: 137 });
        assert!(matches!(ended(&ran(cause::WALL, 9, 0), &limits), Ended::WallLimit { .. }));
    }
}
