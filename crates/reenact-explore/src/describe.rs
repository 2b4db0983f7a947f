//! `suite show` as text for people.

use reenact_bundle::Suite;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Counts by group and tag, drop reasons, stability, dummy scores, options.
pub fn describe(suite: &Suite) -> String {
    let m = &suite.manifest;
    let q = &m.quality;
    let mut out = String::new();
    let seed = m.seed.map_or_else(String::new, |s| format!(", seed {s}"));
    let mut line = |text: String| {
        // Writing to a String cannot fail.
        let _infallible = writeln!(out, "{text}");
    };
    line(format!(
        "suite      {} cases, {}{seed}, by {} on {}",
        m.cases, m.kind, m.generator, m.created
    ));
    line(format!("digest     {}", m.digest));
    line(format!("reference  {}", m.reference));
    line(format!(
        "options    {} documented, {} exercised",
        q.options_documented, q.options_exercised
    ));
    line(format!(
        "stability  {:.1} % of calibrated candidates never varied (perturbations: {})",
        q.stability * 100.0,
        q.perturbations.join(", ")
    ));
    line(format!("masked     {} cases have a masked channel", q.masked));
    line(format!("reference  passed the final suite {} times", q.reference_passes));
    let dropped: u64 = m.dropped.values().sum();
    line(format!("candidates {} ({dropped} dropped)", q.candidates));
    line(String::new());
    table(&mut out, "group", &m.groups, |n| n.to_string());
    table(&mut out, "tag", &m.tags, |n| n.to_string());
    table(&mut out, "dropped", &m.dropped, |n| n.to_string());
    table(&mut out, "dummy passes", &m.dummies, |share| format!("{:.2} %", share * 100.0));
    out
}

fn table<V>(
    out: &mut String,
    title: &str,
    rows: &BTreeMap<String, V>,
    show: impl Fn(&V) -> String,
) {
    let width = rows.keys().map(String::len).max().unwrap_or(0).max(title.len());
    let mut line = |name: &str, value: &str| {
        // Writing to a String cannot fail.
        let _infallible = writeln!(out, "{}", format!("{name:<width$}  {value:>8}").trim_end());
    };
    line(title, "");
    for (name, value) in rows {
        line(&format!("  {name}"), &show(value));
    }
    line("", "");
}
