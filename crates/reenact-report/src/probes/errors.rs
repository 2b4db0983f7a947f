//! What kind of error a probe met: read from what it was asked and from what it said, since exit codes mean something else to
//! every program. A guess for readers, never a verdict.

use super::call::Call;
use reenact_model::probe::Probe;
use reenact_model::{Content, Ended, NoBlobs};
use serde::Serialize;

/// A path of errors that programs have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    UnknownOption,
    BadValue,
    MissingFile,
    MissingOperand,
    /// It died of a signal.
    Signal,
    /// One of the harness's limits ended it.
    Limit,
    Other,
}

impl ErrorKind {
    /// All of them, in the order they are shown.
    pub const ALL: [Self; 7] = [
        Self::UnknownOption,
        Self::BadValue,
        Self::MissingFile,
        Self::MissingOperand,
        Self::Signal,
        Self::Limit,
        Self::Other,
    ];

    /// What anybody can try on any program; the others depend on it.
    pub const COMMON: [Self; 4] =
        [Self::UnknownOption, Self::BadValue, Self::MissingFile, Self::MissingOperand];

    /// For people.
    pub fn words(self) -> &'static str {
        match self {
            Self::UnknownOption => "unknown option",
            Self::BadValue => "bad value or input",
            Self::MissingFile => "missing file",
            Self::MissingOperand => "missing argument",
            Self::Signal => "died of a signal",
            Self::Limit => "stopped by a limit",
            Self::Other => "other",
        }
    }
}

/// Bytes of each stream that are looked at.
const LOOKED_AT: usize = 4096;

const MISSING_OPERAND: [&str; 9] = [
    "requires an argument",
    "requires a value",
    "a value is required",
    "required arguments",
    "missing operand",
    "missing argument",
    "needs an argument",
    "expected argument",
    "too few arguments",
];
const MISSING_FILE: [&str; 9] = [
    "no such file",
    "os error 2)",
    "cannot open",
    "can't open",
    "could not open",
    "unable to open",
    "failed to open",
    "file not found",
    "does not exist",
];
const UNKNOWN_OPTION: [&str; 10] = [
    "unknown option",
    "unrecognized option",
    "unrecognised option",
    "invalid option",
    "illegal option",
    "unexpected argument",
    "unknown flag",
    "unknown argument",
    "bad option",
    "not defined:",
];

/// The kind of a probe's error; `None` if it met none, or has not ended.
pub(crate) fn kind(probe: &Probe, call: &Call) -> Option<ErrorKind> {
    match probe.ended.as_ref()? {
        Ended::Exit { code: 0 } => return None,
        Ended::Signal { .. } => return Some(ErrorKind::Signal),
        ended if ended.is_limit() => return Some(ErrorKind::Limit),
        _ => {}
    }
    let said = said(probe);
    let says = |phrases: &[&str]| phrases.iter().any(|p| said.contains(p));
    Some(if says(&UNKNOWN_OPTION) {
        ErrorKind::UnknownOption
    } else if says(&MISSING_OPERAND) || call.value_missing {
        ErrorKind::MissingOperand
    } else if says(&MISSING_FILE) {
        ErrorKind::MissingFile
    } else if !call.unknown.is_empty() {
        ErrorKind::UnknownOption
    } else if says(&["invalid", "expected", "parse", "syntax", "not a ", "must be", "error"]) {
        ErrorKind::BadValue
    } else {
        ErrorKind::Other
    })
}

/// The start of what it said, in lower case: on stderr, or on stdout if that is one pipe with it or stderr is empty.
fn said(probe: &Probe) -> String {
    let quiet = probe.stderr.bytes == 0;
    let stream = if probe.merged || quiet { &probe.stdout } else { &probe.stderr };
    let bytes = stream.head.as_ref().and_then(|c: &Content| c.bytes(&NoBlobs).ok());
    let bytes = bytes.as_deref().unwrap_or_default();
    String::from_utf8_lossy(&bytes[..bytes.len().min(LOOKED_AT)]).to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::super::call::read;
    use super::super::fixtures::{probe, surface};
    use super::*;

    fn of(args: &str, code: i32, stderr: &str) -> Option<ErrorKind> {
        let probe = probe(1, args, code, stderr);
        kind(&probe, &read(&surface(), &probe.argv[1..]))
    }

    #[test]
    fn errors_are_told_apart_by_what_real_programs_say() {
        use ErrorKind::*;
        for (args, stderr, wanted) in [
            ("--zap", "error: unexpected argument '--zap' found", UnknownOption),
            ("-Z", "./executable: invalid option -- 'Z'", UnknownOption),
            ("-Z", "usage: x [-a]", UnknownOption),
            ("--width", "option '--width' requires an argument", MissingOperand),
            ("--width", "usage: x [-a]", MissingOperand),
            ("", "error: the following required arguments were not provided:", MissingOperand),
            ("nope", "nope: No such file or directory", MissingFile),
            ("nope", "Error: No such file or directory (os error 2)", MissingFile),
            ("--width x", "error: invalid value 'x' for '--width <COLS>'", BadValue),
            (".a[", "jq: error: syntax error, unexpected end", BadValue),
            ("x", "computer says no", Other),
        ] {
            assert_eq!(of(args, 2, stderr), Some(wanted), "{args}: {stderr}");
        }
        assert_eq!(of("--zap", 0, "unknown option"), None, "it exited with 0");
    }

    #[test]
    fn signals_and_limits_are_no_exit_and_the_unended_are_nothing() {
        let mut p = probe(1, "", 1, "");
        for (ended, wanted) in [
            (Some(Ended::Signal { signal: 11 }), Some(ErrorKind::Signal)),
            (Some(Ended::WallLimit { limit_ms: 1 }), Some(ErrorKind::Limit)),
            (None, None),
        ] {
            p.ended = ended;
            assert_eq!(kind(&p, &Call::default()), wanted);
        }
    }
}
