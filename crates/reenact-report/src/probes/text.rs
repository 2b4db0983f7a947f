//! The coverage view for the terminal: what was never probed first.

use super::coverage::{OptionCoverage, ProbeCoverage, Tally};
use super::line::{first, short, values};
use super::missing::missing;
use super::timeline::{Timeline, Unit};
use crate::table::{Cell, Column, grid};
use crate::term::{Look, Paint};
use crate::visible::text;
use crate::words;

/// Columns that lists are wrapped at.
const WIDTH: usize = 100;
/// Values of an option that are shown.
const MAX_VALUES: usize = 8;

/// The view as text.
pub fn coverage_text(c: &ProbeCoverage, color: bool) -> String {
    let p = Paint { on: color };
    let mut out = summary(c);
    out.push('\n');
    let missing = missing(c);
    if missing.is_empty() {
        out.push_str(&p.text(Look::Good, "Nothing documented was left out"));
        out.push('\n');
    } else {
        out.push_str(&p.text(Look::Heading, "Never probed"));
        out.push('\n');
        for m in &missing {
            let of = m.of.map(|of| format!(" ({} of {of})", m.names.len())).unwrap_or_default();
            let head = format!("  {}{of}: ", m.what);
            out.push_str(&wrapped(p, &head, &m.names));
        }
    }
    out.push_str(&options(p, c));
    out.push_str(&others(p, c));
    out.push_str(&timeline(p, &c.timeline));
    out
}

fn summary(c: &ProbeCoverage) -> String {
    let (probed, documented) = c.option_share();
    let mut out = format!(
        "{}, {} distinct, {} with an error",
        words::count(c.probes, "probe"),
        c.distinct,
        c.failed
    );
    if c.unended > 0 {
        out.push_str(&format!(", {} not seen to end", c.unended));
    }
    let subcommands = c.subcommands.iter().filter(|s| s.tally.count > 0).count();
    out.push_str(&format!("\n{probed} of {documented} documented options"));
    if !c.subcommands.is_empty() {
        out.push_str(&format!(", {subcommands} of {} subcommands", c.subcommands.len()));
    }
    let noun = if c.combinations == 1 { "combination" } else { "combinations" };
    out.push_str(&format!(
        ", {} {noun} of options, {}\n",
        c.combinations,
        words::count(c.stdin.distinct, "distinct input")
    ));
    out
}

/// `head` and the items, comma-separated, wrapped under the first item.
fn wrapped(p: Paint, head: &str, items: &[String]) -> String {
    let indent = head.chars().count().min(24);
    let mut out = p.text(Look::Warn, head);
    let mut column = head.chars().count();
    for (n, item) in items.iter().enumerate() {
        let comma = if n + 1 < items.len() { "," } else { "" };
        let length = item.chars().count() + comma.len();
        if n > 0 && column + 1 + length > WIDTH {
            out.push_str(&format!("\n{}", " ".repeat(indent)));
            column = indent;
        } else if n > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(item);
        out.push_str(comma);
        column += length;
    }
    out.push('\n');
    out
}

fn options(p: Paint, c: &ProbeCoverage) -> String {
    let mut probed: Vec<&OptionCoverage> = c.options.iter().filter(|o| o.tally.count > 0).collect();
    probed.sort_by_key(|o| std::cmp::Reverse(o.tally.count));
    let columns: [Column; 5] = [
        ("option", false),
        ("probes", true),
        ("errors", true),
        ("first", false),
        ("values", false),
    ];
    let rows: Vec<Vec<Cell>> = probed
        .iter()
        .map(|o| {
            vec![
                (text(o.name.as_bytes()), Look::Plain),
                (o.tally.count.to_string(), Look::Plain),
                (o.failed.to_string(), Look::Dim),
                (first(&o.tally), Look::Dim),
                (values(&o.values, MAX_VALUES), Look::Plain),
            ]
        })
        .collect();
    section(p, "Options", &columns, &rows)
}

/// Everything else that was probed.
fn others(p: Paint, c: &ProbeCoverage) -> String {
    let mut rows: Vec<Vec<Cell>> = Vec::new();
    let mut push = |what: &str, name: String, tally: &Tally| {
        if tally.count > 0 {
            rows.push(vec![
                (what.to_owned(), Look::Dim),
                (short(&name, 60), Look::Plain),
                (tally.count.to_string(), Look::Plain),
                (first(tally), Look::Dim),
            ]);
        }
    };
    for s in &c.subcommands {
        push("subcommand", s.name.clone(), &s.tally);
    }
    for e in &c.exits {
        push("exit code", format!("{} {}", e.code, e.what), &e.tally);
    }
    for (code, count) in &c.seen_exits {
        if !c.exits.iter().any(|e| e.code == *code) {
            let tally = Tally { count: *count, probes: Vec::new() };
            push("exit code", format!("{code} (not documented)"), &tally);
        }
    }
    for e in &c.errors {
        push("error path", e.kind.words().to_owned(), &e.tally);
    }
    for e in &c.env {
        push("variable", e.name.clone(), &e.tally);
    }
    for e in &c.examples {
        push("example", e.name.clone(), &e.tally);
    }
    push("input", "bytes on stdin".to_owned(), &c.stdin.with_input);
    push("input", "binary bytes on stdin".to_owned(), &c.stdin.binary);
    push("terminal", "input or output".to_owned(), &c.terminal);
    push("files", "created or changed".to_owned(), &c.wrote_files);
    for u in &c.undocumented {
        push("undocumented", u.name.clone(), &u.tally);
    }
    let columns: [Column; 4] =
        [("what", false), ("name", false), ("probes", true), ("first", false)];
    section(p, "Also probed", &columns, &rows)
}

fn section(p: Paint, title: &str, columns: &[Column], rows: &[Vec<Cell>]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    format!("\n{}\n{}", p.text(Look::Heading, title), grid(p, columns, rows))
}

fn timeline(p: Paint, t: &Timeline) -> String {
    if t.moments.len() < 2 {
        return String::new();
    }
    let unit = match t.unit {
        Unit::Step => "steps",
        Unit::Probe => "probes",
    };
    let most = t.moments.iter().map(|m| m.probes).max().unwrap_or(0).max(1);
    let columns: [Column; 5] =
        [(unit, true), ("probes", true), ("errors", true), ("new options", true), ("", false)];
    let rows: Vec<Vec<Cell>> = t
        .moments
        .iter()
        .map(|m| {
            let range =
                if m.from == m.to { m.from.to_string() } else { format!("{}–{}", m.from, m.to) };
            // At most 30 signs, and at least one for a stretch that has any probe.
            let bar = usize::try_from((m.probes * 30).div_ceil(most)).unwrap_or(30);
            vec![
                (range, Look::Dim),
                (m.probes.to_string(), Look::Plain),
                (m.failed.to_string(), Look::Dim),
                (m.new_options.to_string(), Look::Plain),
                ("▪".repeat(bar), Look::Good),
            ]
        })
        .collect();
    let mut out = section(p, "Timeline", &columns, &rows);
    if t.outside > 0 {
        out.push_str(&format!("{} outside any step\n", words::count(t.outside, "probe")));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::coverage;
    use super::super::fixtures::{probe, surface};
    use super::*;

    #[test]
    fn what_is_missing_stands_first() {
        let probes = [
            probe(1, "-a -w 40 x", 0, ""),
            probe(2, "--color=always", 2, "unknown option"),
            probe(3, "--zap remote", 5, ""),
        ];
        let shown = coverage_text(&coverage(&surface(), &probes), false);
        let at = |what: &str| shown.find(what).unwrap_or_else(|| panic!("{what} in\n{shown}"));
        assert!(
            shown.starts_with("3 probes, 3 distinct, 2 with an error\n3 of 9 documented options")
        );
        assert!(at("Never probed\n  options (6 of 9): --count") < at("\nOptions\n"));
        assert!(at("\nOptions\n") < at("\nAlso probed\n"));
        assert!(at("\nAlso probed\n") < at("\nTimeline\n"));
        at("5 (not documented)");
        at("undocumented  --zap");
        assert!(shown.lines().all(|l| l.chars().count() <= 120), "{shown}");
    }

    #[test]
    fn hostile_names_and_values_stay_text() {
        let evil = "\u{1b}[2J\u{202e}";
        let mut surface = surface();
        surface.options[0].names = vec![format!("--{evil}")];
        surface.exits[1].what = evil.to_owned();
        surface.subcommands.push(vec![evil.to_owned()]);
        let probes = [
            probe(1, &format!("--{evil} --width={evil} --x{evil} {evil}"), 2, evil),
            probe(2, evil, 0, evil),
        ];
        let shown = coverage_text(&coverage(&surface, &probes), false);
        assert!(!shown.chars().any(|c| c != '\n' && crate::visible::is_unsafe(c)), "{shown}");
        assert!(shown.contains("⟨ESC⟩"));
    }
}
