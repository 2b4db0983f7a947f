//! What `reenact programbench eval` prints.

use crate::context::Context;
use reenact_programbench::eval::{Row, Score};
use reenact_report::visible::text;
use std::fmt::Write as _;

/// Prints rows, errors and notes.
pub fn print(rows: &[Row], unknown: &[String], context: &Context) {
    if context.json {
        context.print_json(&serde_json::json!({"rows": rows, "unknown": unknown}));
        return;
    }
    if !context.quiet {
        context.out(table(rows).trim_end());
    }
    for row in rows {
        if let Some(error) = &row.error {
            context.err(&format!(
                "{} {}: {}",
                context.paint_error("error:"),
                row.instance,
                text(error.lines().next().unwrap_or_default().as_bytes())
            ));
            for hint in error.lines().skip(1) {
                context.err(&format!("  {}", text(hint.as_bytes())));
            }
        }
        if let Some(why) = &row.strict_missing {
            let why = text(why.as_bytes());
            context.say(&format!("note: {}: no strict score: {why}", row.instance));
        }
        for note in &row.notes {
            context.say(&format!("note: {}: {}", row.instance, text(note.as_bytes())));
        }
    }
    for id in unknown {
        context.err(&format!(
            "{} {}: no such task",
            context.paint_error("error:"),
            text(id.as_bytes())
        ));
    }
    for run in rows.iter().map(|r| &r.run).collect::<std::collections::BTreeSet<_>>() {
        context.out(&run.display().to_string());
    }
}

/// Both scores of every instance; per cent with enough digits that only a solved task says 100.
fn table(rows: &[Row]) -> String {
    let width = rows.iter().map(|r| r.instance.chars().count()).max().unwrap_or(0).max(8);
    let mut out =
        format!("{:<width$}  {:>18}  {:>18}  comment\n", "instance", "official", "strict");
    let several = rows.iter().any(|r| r.run != rows[0].run);
    let mut run = None;
    for row in rows {
        if several && run != Some(&row.run) {
            // Writing to a string cannot fail.
            let _written = writeln!(out, "{}", row.run.display());
            run = Some(&row.run);
        }
        let line = format!(
            "{:<width$}  {:>18}  {:>18}  {}",
            row.instance,
            row.official.map_or_else(|| "–".to_owned(), shown),
            row.strict.map_or_else(|| "–".to_owned(), shown),
            comment(row)
        );
        let _written = writeln!(out, "{}", line.trim_end());
    }
    let official: Vec<Score> = rows.iter().filter_map(|r| r.official).collect();
    let strict: Vec<Score> = rows.iter().filter_map(|r| r.strict).collect();
    let average = format!("average of {}", official.len());
    let line = format!("{average:<width$}  {:>18}  {:>18}", mean(&official), mean(&strict));
    let _written = writeln!(out, "{}", line.trim_end());
    if strict.len() != official.len() {
        let _written = writeln!(
            out,
            "the strict average is of {}: the others have no strict score",
            strict.len()
        );
    }
    out
}

/// Per cent. A score that is not known is none of them, and nothing has no average.
fn mean(scores: &[Score]) -> String {
    if scores.is_empty() {
        return "–".to_owned();
    }
    let sum: f64 = scores.iter().map(|s| s.value()).sum();
    format!("{:.2}%", 100.0 * sum / scores.len() as f64)
}

/// `passed/total per cent`.
pub fn shown(score: Score) -> String {
    let percent = if score.passed == score.total && score.total > 0 {
        100.0
    } else {
        // Rounded down: 99.999 is not solved.
        (score.value() * 10_000.0).floor() / 100.0
    };
    format!("{}/{} {percent:.2}%", score.passed, score.total)
}

fn comment(row: &Row) -> String {
    let mut parts = Vec::new();
    if row.error.is_some() {
        parts.push("not evaluated".to_owned());
    }
    if let Some(code) = &row.error_code {
        let details = row.error_details.as_deref().unwrap_or_default();
        let cut: String = details.chars().take(100).collect();
        parts.push(if cut.is_empty() { code.clone() } else { format!("{code}: {cut}") });
    }
    for (branch, codes) in &row.branch_errors {
        parts.push(format!("{branch}: {}", codes.join(", ")));
    }
    if row.differences > 0 {
        let s = if row.differences == 1 { " counts" } else { "s count" };
        parts.push(format!("{} test{s} differently", row.differences));
    }
    if row.warnings > 0 {
        let s = if row.warnings == 1 { "" } else { "s" };
        parts.push(format!("{} warning{s}", row.warnings));
    }
    text(parts.join("; ").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::path::PathBuf;

    fn row(official: Option<Score>, strict: Option<Score>) -> Row {
        Row {
            run: PathBuf::from("run"),
            instance: "o__a.1".to_owned(),
            official,
            strict,
            strict_missing: None,
            error_code: None,
            error_details: None,
            branch_errors: BTreeMap::new(),
            system_errors: 0,
            warnings: 0,
            differences: 0,
            notes: Vec::new(),
            error: None,
            error_is_usage: false,
        }
    }

    #[test]
    fn a_strict_score_that_is_not_known_is_no_zero() {
        let score = |passed| Some(Score { passed, total: 4 });
        let all = table(&[row(score(4), score(4)), row(score(2), score(1))]);
        assert!(all.contains("75.00%") && all.contains("62.50%"), "{all}");
        assert!(!all.contains("the strict average"), "{all}");
        let some = table(&[row(score(4), score(3)), row(score(2), None), row(None, None)]);
        assert!(some.contains("average of 2") && some.contains("75.00%"), "{some}");
        assert!(some.contains("the strict average is of 1:"), "{some}");
        assert_eq!(
            some.matches("75.00%").count(),
            3,
            "both averages, and the first task's: {some}"
        );
        let none = table(&[row(score(2), None)]);
        assert!(none.lines().any(|l| l.starts_with("average of 1") && l.ends_with("–")), "{none}");
    }
}
