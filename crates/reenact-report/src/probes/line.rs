//! One probe on one line, as a person would type it.

use super::coverage::Tally;
use crate::recipe::quote_bytes;
use crate::visible::text;
use crate::words;
use reenact_model::Ended;
use reenact_model::observe::key_bytes;
use reenact_model::probe::{Probe, StreamKind};
use std::collections::BTreeMap;

/// Where probes are made unless they say otherwise.
const USUAL_CWD: &str = "/workspace";

/// The command line, quoted for a shell, at most `max` characters: what is special about its directory, environment and input
/// is said too. Holds nothing that a terminal would obey.
pub(crate) fn command(probe: &Probe, max: usize) -> String {
    let mut out = String::new();
    // A part may be long by itself; nothing past the limit is looked at.
    let mut push = |word: &str| {
        if out.len() <= max * 4 {
            out.push_str(word);
        }
    };
    if probe.cwd != USUAL_CWD {
        push(&format!("(cd {}) ", quoted(&probe.cwd)));
    }
    for (name, value) in &probe.env {
        match value {
            Some(value) => push(&format!("{}={} ", quoted(name), quoted(value))),
            None => push(&format!("-{} ", quoted(name))),
        }
    }
    for (n, arg) in probe.argv.iter().enumerate() {
        push(if n == 0 { "" } else { " " });
        push(&quoted(arg));
    }
    if probe.argv_cut {
        push(" …");
    }
    match (probe.stdin.kind, probe.stdin.bytes) {
        (StreamKind::Terminal, _) => push(" (terminal)"),
        (_, 0) => {}
        (_, n) => push(&format!(" <{n}-byte stdin")),
    }
    // Quoting leaves nothing unsafe; this is the second wall.
    let out = text(out.as_bytes());
    if out.chars().count() <= max {
        return out;
    }
    out.chars().take(max.saturating_sub(1)).chain(['…']).collect()
}

/// A path key as a shell word.
fn quoted(key: &str) -> String {
    quote_bytes(&key_bytes(key))
}

/// The values of an option, most frequent first, at most `max` of them.
pub(crate) fn values(values: &BTreeMap<String, u64>, max: usize) -> String {
    let mut most: Vec<(&String, &u64)> = values.iter().collect();
    most.sort_by_key(|(name, count)| (std::cmp::Reverse(**count), *name));
    let mut out: Vec<String> =
        most.iter().take(max).map(|(name, _)| short(&quoted(name), 24)).collect();
    if most.len() > max {
        out.push(format!("… {} more", most.len() - max));
    }
    out.join(" ")
}

/// Ids of the first few probes.
pub(crate) fn first(tally: &Tally) -> String {
    tally.probes.iter().take(3).map(|id| format!("#{id}")).collect::<Vec<_>>().join(" ")
}

/// Untrusted text made printable, at most `max` characters.
pub(crate) fn short(name: &str, max: usize) -> String {
    let name = text(name.as_bytes());
    if name.chars().count() <= max {
        return name;
    }
    name.chars().take(max.saturating_sub(1)).chain(['…']).collect()
}

/// How it ended, short: `0`, `2`, `SIGSEGV`, `not ended`.
pub(crate) fn end(probe: &Probe) -> String {
    match &probe.ended {
        None => "not ended".to_owned(),
        Some(Ended::Exit { code }) => code.to_string(),
        Some(Ended::Signal { signal }) => {
            let long = words::signal(*signal);
            let name = long.split_once('(').map(|(_, name)| name.trim_end_matches(')').to_owned());
            name.unwrap_or(long)
        }
        Some(Ended::WallLimit { .. }) => "time limit".to_owned(),
        Some(Ended::CpuLimit { .. }) => "CPU limit".to_owned(),
        Some(Ended::MemoryLimit { .. }) => "memory limit".to_owned(),
        Some(Ended::OutputLimit { .. }) => "output limit".to_owned(),
        Some(Ended::ScriptEnded { .. }) => "stopped".to_owned(),
        Some(Ended::ExecFailed { .. }) => "not executed".to_owned(),
    }
}

/// The time of day of an RFC 3339 time, or the text as it stands.
pub(crate) fn clock(time: &str) -> String {
    let clock = time.split_once('T').map_or(time, |(_, clock)| clock);
    text(clock.trim_end_matches('Z').as_bytes()).chars().take(24).collect()
}

/// Microseconds as a person says them.
pub(crate) fn wall(us: u64) -> String {
    match us {
        0..10_000 => format!("{}.{} ms", us / 1000, us % 1000 / 100),
        _ => words::duration_ms(us / 1000),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{probe, stream};
    use super::*;
    use crate::visible::is_unsafe;

    #[test]
    fn a_line_can_be_typed_again_and_tells_what_is_special() {
        let mut p = probe(1, "-w 40", 0, "");
        assert_eq!(command(&p, 100), "./executable -w 40");
        p.argv.push("two words\\x1b".to_owned());
        p.argv.push("\\xff\\\\".to_owned());
        p.cwd = "/tmp/a b".to_owned();
        p.env = [("TZ".to_owned(), Some("UTC".to_owned())), ("LANG".to_owned(), None)].into();
        p.stdin = stream(StreamKind::Pipe, "abc");
        assert_eq!(
            command(&p, 200),
            r"(cd '/tmp/a b') -LANG TZ=UTC ./executable -w 40 $'two words\033' $'\377\\' <3-byte stdin"
        );
        assert_eq!(command(&p, 20).chars().count(), 20);
        p.stdin.kind = StreamKind::Terminal;
        p.argv_cut = true;
        assert!(command(&p, 200).ends_with(" … (terminal)"));
    }

    #[test]
    fn nothing_hostile_comes_through_and_long_words_cost_little() {
        let mut p = probe(1, "", 0, "");
        p.argv = vec!["\u{1b}]0;x\u{7}\u{202e}".repeat(10_000), String::new()];
        p.time = "\u{1b}[2J".to_owned();
        let line = command(&p, 300);
        assert!(line.chars().count() <= 300 && !line.chars().any(is_unsafe), "{line}");
        assert!(!clock(&p.time).chars().any(is_unsafe));
    }

    #[test]
    fn values_are_words_of_a_shell_and_the_usual_come_first() {
        let counted: BTreeMap<String, u64> =
            [("a b", 1), ("", 2), ("x\\x1b", 1), ("zz", 9)].map(|(v, n)| (v.to_owned(), n)).into();
        assert_eq!(values(&counted, 3), "zz '' 'a b' … 1 more");
        assert_eq!(values(&counted, 4), r"zz '' 'a b' $'x\033'");
        assert_eq!(short("\u{1b}abc", 5), "⟨ESC…");
    }

    #[test]
    fn times_and_ends() {
        assert_eq!(clock("2026-01-01T12:34:56.789Z"), "12:34:56.789");
        assert_eq!((wall(1_540), wall(12_000)), ("1.5 ms".to_owned(), "12 ms".to_owned()));
        let mut p = probe(1, "", 3, "");
        assert_eq!(end(&p), "3");
        p.ended = Some(Ended::Signal { signal: 13 });
        assert_eq!(end(&p), "SIGPIPE");
        p.ended = None;
        assert_eq!(end(&p), "not ended");
    }
}
