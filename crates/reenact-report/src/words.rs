//! Numbers and names for people.

use reenact_model::{Ended, ExitExpect, FailKind};

/// A share as a percentage, rounded down so that 100 % means all and 0 % means none.
pub(crate) fn percent(share: f64) -> String {
    let tenths = (share * 1000.0 + 1e-9).floor();
    if share > 0.0 && tenths < 1.0 {
        return "<0.1 %".to_owned();
    }
    if tenths >= 1000.0 { "100 %".to_owned() } else { format!("{:.1} %", tenths / 10.0) }
}

/// Milliseconds as a person says them.
pub(crate) fn duration_ms(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        _ => format!("{} min {:02} s", ms / 60_000, ms % 60_000 / 1000),
    }
}

/// A count of bytes.
pub(crate) fn bytes(n: u64) -> String {
    match n {
        1 => "1 byte".to_owned(),
        0..10_000 => format!("{n} bytes"),
        10_000..10_485_760 => format!("{} KiB", n >> 10),
        _ => format!("{} MiB", n >> 20),
    }
}

/// `1 case`, `2 cases`.
pub(crate) fn count(n: u64, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
}

/// A signal with its name, where it has one (Linux, x86-64 numbers).
pub(crate) fn signal(n: i32) -> String {
    let name = match n {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        5 => "SIGTRAP",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        10 => "SIGUSR1",
        11 => "SIGSEGV",
        12 => "SIGUSR2",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        31 => "SIGSYS",
        _ => return format!("signal {n}"),
    };
    format!("signal {n} ({name})")
}

/// How a step ended.
pub(crate) fn ended(ended: &Ended) -> String {
    match ended {
        Ended::Exit { code } => format!("exit {code}"),
        Ended::Signal { signal: n } => format!("died of {}", signal(*n)),
        Ended::WallLimit { limit_ms } => {
            format!("stopped by the harness: still running after {}", duration_ms(*limit_ms))
        }
        Ended::CpuLimit { limit_ms } => {
            format!("stopped by the CPU limit of {}", duration_ms(*limit_ms))
        }
        Ended::MemoryLimit { limit_bytes } => {
            format!("stopped by the memory limit of {}", bytes(*limit_bytes))
        }
        Ended::OutputLimit { stream, limit_bytes } => {
            let stream = format!("{stream:?}").to_lowercase();
            format!("stopped by the harness: more than {} on {stream}", bytes(*limit_bytes))
        }
        Ended::ScriptEnded { waiting_for: Some(text) } => {
            format!(
                "stopped by the harness: the screen never showed “{}”",
                crate::visible::text(text.as_bytes())
            )
        }
        Ended::ScriptEnded { waiting_for: None } => {
            "still running after the last key (stopped by the harness)".to_owned()
        }
        Ended::ExecFailed { what, .. } => {
            format!("could not be executed: {}", crate::visible::text(what.as_bytes()))
        }
    }
}

/// How a step was to end.
pub(crate) fn exit_expect(expect: ExitExpect) -> String {
    match expect {
        ExitExpect::Code(code) => format!("exit {code}"),
        ExitExpect::Signal { signal: n } => format!("died of {}", signal(n)),
    }
}

/// A kind of failure, short.
pub(crate) fn kind(kind: FailKind) -> &'static str {
    match kind {
        FailKind::ExecFailed => "not executable",
        FailKind::Crash => "crash",
        FailKind::Timeout => "timeout",
        FailKind::Memory => "memory",
        FailKind::OutputFlood => "output flood",
        FailKind::Script => "script",
        FailKind::Exit => "exit",
        FailKind::Stdout => "stdout",
        FailKind::Stderr => "stderr",
        FailKind::Screen => "screen",
        FailKind::Files => "files",
        FailKind::Reported => "reported",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_never_round_to_all_or_nothing() {
        for (share, text) in [
            (0.0, "0.0 %"),
            (0.0004, "<0.1 %"),
            (0.0052, "0.5 %"),
            (0.413, "41.3 %"),
            (0.9999, "99.9 %"),
            (1.0, "100 %"),
        ] {
            assert_eq!(percent(share), text, "{share}");
        }
    }

    #[test]
    fn durations_and_sizes_read_well() {
        assert_eq!(duration_ms(640), "640 ms");
        assert_eq!(duration_ms(3_480), "3.4 s");
        assert_eq!(duration_ms(125_000), "2 min 05 s");
        assert_eq!(
            (bytes(1), bytes(512), bytes(20_480)),
            ("1 byte".into(), "512 bytes".into(), "20 KiB".into())
        );
    }
}
