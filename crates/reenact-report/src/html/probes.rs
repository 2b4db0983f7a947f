//! The section on an agent's probes: what was never asked, what was, when, and the probes themselves as far as there is room.

use super::shelf::Budget;
use crate::probes::line::{clock, command, end, first, short, values, wall};
use crate::probes::{OptionCoverage, ProbeCoverage, Timeline, Unit, coverage, missing};
use crate::words;
use reenact_model::Ended;
use reenact_model::probe::Probe;
use reenact_model::surface::DocumentedSurface;
use serde::Serialize;

/// Probes of a task that are listed.
const MAX_LISTED: usize = 500;
/// Characters of a command line.
const MAX_COMMAND: usize = 240;
/// Rows of the coverage table, and names in a list of what is missing.
const MAX_ROWS: usize = 200;
/// Values that are shown of an option.
const MAX_VALUES: usize = 6;

#[derive(Serialize)]
pub(super) struct ProbesSection {
    /// Figures in words.
    summary: Vec<String>,
    missing: Vec<Never>,
    options: Vec<OptionRow>,
    others: Vec<(String, String, u64)>,
    timeline: Option<Chart>,
    listed: Vec<ProbeRow>,
    total: usize,
}

#[derive(Serialize)]
struct Never {
    what: &'static str,
    /// `3 of 12`, or nothing.
    share: String,
    names: Vec<String>,
    more: usize,
}

#[derive(Serialize)]
struct OptionRow {
    name: String,
    probes: u64,
    errors: u64,
    first: String,
    values: String,
}

#[derive(Serialize)]
struct ProbeRow {
    id: u64,
    time: String,
    step: String,
    end: String,
    ok: bool,
    out: String,
    wall: String,
    command: String,
}

/// Bars from left to right; all figures are whole numbers for an SVG.
#[derive(Serialize)]
struct Chart {
    unit: &'static str,
    last: u64,
    width: usize,
    bars: Vec<Bar>,
}

#[derive(Serialize)]
struct Bar {
    x: usize,
    /// Heights of all probes and of those with an error, of 40.
    height: u64,
    bad: u64,
    /// For a reader's pointer.
    title: String,
}

impl ProbesSection {
    pub(super) fn new(
        probes: &[Probe],
        surface: Option<&DocumentedSurface>,
        budget: &mut Budget,
    ) -> Self {
        let empty = DocumentedSurface::default();
        let c = coverage(surface.unwrap_or(&empty), probes);
        let mut ordered: Vec<&Probe> = probes.iter().collect();
        ordered.sort_by_key(|p| p.id);
        let mut listed = Vec::new();
        for probe in ordered.into_iter().take(MAX_LISTED) {
            let row = row(probe);
            if !budget.take_probe(row.command.len() + row.time.len()) {
                break;
            }
            listed.push(row);
        }
        let known = surface.is_some();
        Self {
            summary: summary(&c, known),
            missing: if known { never(&c) } else { Vec::new() },
            options: options(&c, budget),
            others: others(&c),
            timeline: chart(&c.timeline),
            listed,
            total: probes.len(),
        }
    }
}

fn summary(c: &ProbeCoverage, known: bool) -> Vec<String> {
    let mut out = vec![
        words::count(c.probes, "probe"),
        format!("{} distinct", c.distinct),
        format!("{} with an error", c.failed),
    ];
    if c.unended > 0 {
        out.push(format!("{} not seen to end", c.unended));
    }
    if known {
        let (probed, documented) = c.option_share();
        out.push(format!("{probed} of {documented} documented options"));
        if !c.subcommands.is_empty() {
            let asked = c.subcommands.iter().filter(|s| s.tally.count > 0).count();
            out.push(format!("{asked} of {} subcommands", c.subcommands.len()));
        }
    }
    out.push(words::count(c.combinations, "combination") + " of options");
    out.push(words::count(c.stdin.distinct, "distinct input"));
    out
}

fn never(c: &ProbeCoverage) -> Vec<Never> {
    let all = missing(c).into_iter();
    all.map(|m| Never {
        what: m.what,
        share: m.of.map(|of| format!("{} of {of}", m.names.len())).unwrap_or_default(),
        more: m.names.len().saturating_sub(MAX_ROWS),
        names: m.names.into_iter().take(MAX_ROWS).map(|n| short(&n, 80)).collect(),
    })
    .collect()
}

fn options(c: &ProbeCoverage, budget: &mut Budget) -> Vec<OptionRow> {
    let mut probed: Vec<&OptionCoverage> = c.options.iter().filter(|o| o.tally.count > 0).collect();
    probed.sort_by_key(|o| std::cmp::Reverse(o.tally.count));
    let rows = probed.iter().take(MAX_ROWS).map(|o| OptionRow {
        name: short(&o.name, 60),
        probes: o.tally.count,
        errors: o.failed,
        first: first(&o.tally),
        values: values(&o.values, MAX_VALUES),
    });
    rows.take_while(|r| budget.take_probe(r.values.len() + r.name.len())).collect()
}

/// Error paths, exits, circumstances and what is not documented: kind, name, count.
fn others(c: &ProbeCoverage) -> Vec<(String, String, u64)> {
    let mut out: Vec<(String, String, u64)> = Vec::new();
    let mut push = |kind: &str, name: String, count: u64| {
        if count > 0 && out.len() < MAX_ROWS {
            out.push((kind.to_owned(), short(&name, 80), count));
        }
    };
    for e in &c.errors {
        push("error path", e.kind.words().to_owned(), e.tally.count);
    }
    for (code, count) in &c.seen_exits {
        let what = c.exits.iter().find(|e| e.code == *code).map_or("", |e| e.what.as_str());
        push("exit code", format!("{code} {what}").trim().to_owned(), *count);
    }
    for s in &c.subcommands {
        push("subcommand", s.name.clone(), s.tally.count);
    }
    for v in &c.env {
        push("variable", v.name.clone(), v.tally.count);
    }
    push("input", "bytes on stdin".to_owned(), c.stdin.with_input.count);
    push("input", "binary bytes on stdin".to_owned(), c.stdin.binary.count);
    push("terminal", "input or output".to_owned(), c.terminal.count);
    push("files", "created or changed".to_owned(), c.wrote_files.count);
    let examples = c.examples.iter().filter(|e| e.tally.count > 0).count() as u64;
    push("examples", "of the documentation, as they stand".to_owned(), examples);
    for u in &c.undocumented {
        push("undocumented", u.name.clone(), u.tally.count);
    }
    out
}

fn chart(t: &Timeline) -> Option<Chart> {
    let last = t.moments.last()?.to;
    if t.moments.len() < 2 {
        return None;
    }
    let unit = match t.unit {
        Unit::Step => "step",
        Unit::Probe => "probe",
    };
    let most = t.moments.iter().map(|m| m.probes).max().unwrap_or(0).max(1);
    let bars = t.moments.iter().enumerate().map(|(n, m)| Bar {
        x: n * 10,
        height: (m.probes * 40).div_ceil(most),
        bad: (m.failed * 40).div_ceil(most),
        title: format!(
            "{unit}s {} to {}: {}, {} with an error, {} for the first time",
            m.from,
            m.to,
            words::count(m.probes, "probe"),
            m.failed,
            words::count(m.new_options, "option"),
        ),
    });
    Some(Chart { unit, last, width: t.moments.len() * 10, bars: bars.collect() })
}

fn row(probe: &Probe) -> ProbeRow {
    let out = if probe.merged {
        probe.stdout.bytes
    } else {
        probe.stdout.bytes.saturating_add(probe.stderr.bytes)
    };
    ProbeRow {
        id: probe.id,
        time: clock(&probe.time),
        step: probe.step.map_or(String::new(), |s| s.to_string()),
        end: end(probe),
        ok: matches!(probe.ended, Some(Ended::Exit { code: 0 })),
        out: out.to_string(),
        wall: wall(probe.wall_us),
        command: command(probe, MAX_COMMAND),
    }
}
