//! Values as docker's users write them: sizes, durations, signals, capabilities, variables.

use crate::error::DockerError;
use reenact_sandbox::container::DEFAULT_CAPABILITIES;

/// Bytes: `512m`, `60g`, `1.5GB`, `64kib`, `4096`.
///
/// # Errors
/// [`DockerError::Usage`].
pub fn bytes(flag: &str, text: &str) -> Result<u64, DockerError> {
    let wrong = || {
        DockerError::Usage(format!("{flag} {text:?}: expected a size such as 512m, 60g or 4096"))
    };
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = &lower[digits.len()..];
    let shift = match unit.strip_suffix("ib").or(unit.strip_suffix('b')).unwrap_or(unit) {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        "p" => 50,
        _ => return Err(wrong()),
    };
    let number: f64 = digits.parse().map_err(|_| wrong())?;
    let bytes = number * (1u64 << shift) as f64;
    // Exactly representable well beyond any memory there is.
    if bytes.is_finite() && (0.0..9e18).contains(&bytes) { Ok(bytes as u64) } else { Err(wrong()) }
}

/// Seconds of a `sleep`: the sum of `2h`, `1.5m`, `30`; `None` for `infinity` and for what is no duration.
pub fn sleep_seconds(args: &[String]) -> Option<f64> {
    let mut sum = 0.0;
    for arg in args {
        let (digits, factor) = match arg.char_indices().next_back()? {
            (at, 's') => (&arg[..at], 1.0),
            (at, 'm') => (&arg[..at], 60.0),
            (at, 'h') => (&arg[..at], 3600.0),
            (at, 'd') => (&arg[..at], 86400.0),
            _ => (arg.as_str(), 1.0),
        };
        if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
            return None;
        }
        sum += digits.parse::<f64>().ok()? * factor;
    }
    (sum.is_finite() && !args.is_empty()).then_some(sum)
}

/// Names of the signals of x86_64 from 1 on.
const SIGNALS: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// A signal by name (`TERM`, `SIGTERM`) or number.
///
/// # Errors
/// [`DockerError::Usage`].
pub fn signal(text: &str) -> Result<i32, DockerError> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let number = match name.parse::<i32>() {
        Ok(n) => Some(n).filter(|n| (1..=64).contains(n)),
        Err(_) => SIGNALS.iter().position(|s| *s == name).and_then(|i| i32::try_from(i + 1).ok()),
    };
    number.ok_or_else(|| DockerError::Usage(format!("Invalid signal: {text}")))
}

/// Names of the capabilities of capability(7) from bit 0 on.
const CAPABILITIES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

fn capability(flag: &str, text: &str) -> Result<u64, DockerError> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
    match CAPABILITIES.iter().position(|c| *c == name) {
        Some(bit) => Ok(1 << bit),
        None if name == "ALL" => Ok(u64::MAX),
        None => Err(DockerError::Usage(format!("{flag} {text:?}: no such capability"))),
    }
}

/// What root may do after `--cap-drop` and `--cap-add`.
///
/// # Errors
/// [`DockerError::Usage`]: an unknown name, or one that is never given.
pub fn capabilities<'a>(
    drop: impl Iterator<Item = &'a str>,
    add: impl Iterator<Item = &'a str>,
) -> Result<u64, DockerError> {
    let mut bits = DEFAULT_CAPABILITIES;
    for text in drop {
        bits &= !capability("--cap-drop", text)?;
    }
    for text in add {
        let asked = capability("--cap-add", text)?;
        if asked & !DEFAULT_CAPABILITIES != 0 {
            return Err(DockerError::Usage(format!(
                "--cap-add {text}: refused, since it is never given here; what can be given back after a --cap-drop is {}",
                names(DEFAULT_CAPABILITIES).join(", ")
            )));
        }
        bits |= asked;
    }
    Ok(bits)
}

fn names(bits: u64) -> Vec<&'static str> {
    CAPABILITIES.iter().enumerate().filter(|(i, _)| bits & (1 << i) != 0).map(|(_, n)| *n).collect()
}

/// `NAME=VALUE` of the command line; `NAME` alone takes the caller's value, if it has one.
///
/// # Errors
/// [`DockerError::Usage`].
pub fn variable(text: &str) -> Result<Option<(String, String)>, DockerError> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (text, std::env::var(text).ok()),
    };
    if name.is_empty() {
        return Err(DockerError::Usage(format!("-e {text:?}: expected NAME=VALUE or NAME")));
    }
    Ok(value.map(|v| (name.to_owned(), v)))
}

/// The variables of an `--env-file`: a line each, `#` begins a comment line.
///
/// # Errors
/// [`DockerError::Usage`].
pub fn env_file(text: &str) -> Result<Vec<(String, String)>, DockerError> {
    let lines = text.lines().map(str::trim_start).filter(|l| !l.is_empty() && !l.starts_with('#'));
    let mut all = Vec::new();
    for line in lines {
        all.extend(variable(line)?);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, is) in [
            ("60g", 60 << 30),
            ("512M", 512 << 20),
            ("64kib", 64 << 10),
            ("1.5GB", 3 << 29),
            ("4096", 4096),
            ("10b", 10),
        ] {
            assert_eq!(bytes("-m", text).unwrap(), is, "{text}");
        }
        for text in ["", "g", "5x", "-1", "1e400", "nan", "9999999p", "5 gigs"] {
            assert!(bytes("-m", text).is_err(), "{text}");
        }
    }

    #[test]
    fn sleeps() {
        let of = |line: &str| {
            let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            sleep_seconds(&args)
        };
        assert_eq!(of("2h"), Some(7200.0));
        assert_eq!(of("1m 30"), Some(90.0));
        assert_eq!(of(".5d"), Some(43200.0));
        for none in ["", "infinity", "inf", "nan", "x", "é", "-5"] {
            assert_eq!(of(none), None, "{none}");
        }
    }

    #[test]
    fn signals() {
        for (text, is) in [("TERM", 15), ("sigkill", 9), ("2", 2), ("SYS", 31), ("64", 64)] {
            assert_eq!(signal(text).unwrap(), is);
        }
        for text in ["0", "65", "-9", "SIG", "FOO"] {
            assert!(signal(text).is_err(), "{text}");
        }
    }

    #[test]
    fn capabilities_are_dropped_and_given_back_but_never_more() {
        let of = |drop: &[&str], add: &[&str]| {
            capabilities(drop.iter().copied(), add.iter().copied()).map_err(|e| e.to_string())
        };
        assert_eq!(of(&["SYS_PTRACE"], &[]).unwrap(), DEFAULT_CAPABILITIES);
        assert_eq!(of(&["all"], &["cap_kill"]).unwrap(), 1 << 5);
        assert_eq!(of(&["CHOWN"], &[]).unwrap(), DEFAULT_CAPABILITIES & !1);
        assert!(of(&[], &["SYS_ADMIN"]).unwrap_err().contains("--cap-add SYS_ADMIN: refused"));
        assert!(of(&[], &["ALL"]).unwrap_err().contains("refused"));
        assert!(of(&["FLY"], &[]).unwrap_err().contains("no such capability"));
    }

    #[test]
    fn variables() {
        let pair = |n: &str, v: &str| Some((n.to_owned(), v.to_owned()));
        assert_eq!(variable("A=b=c").unwrap(), pair("A", "b=c"));
        assert_eq!(variable("A=").unwrap(), pair("A", ""));
        assert_eq!(variable("REENACT_NO_SUCH_VARIABLE").unwrap(), None);
        assert!(variable("=x").is_err());
        let file = env_file("# c\n\n A=1\nB=2 \n").unwrap();
        assert_eq!(file, [pair("A", "1").unwrap(), pair("B", "2 ").unwrap()]);
    }

    proptest::proptest! {
        #[test]
        fn whole_numbers_of_units_are_exact(n in 0u64..4096) {
            for (unit, shift) in [("", 0), ("k", 10), ("m", 20), ("g", 30)] {
                proptest::prop_assert_eq!(bytes("-m", &format!("{n}{unit}")).unwrap(), n << shift);
            }
        }
    }
}
