//! Summary tables for the terminal.

use crate::summary::{Row, Summary, Totals};
use crate::term::{Look, Paint};
use crate::visible::text;
use crate::words;
use reenact_model::run::Standing;

/// A column: its heading, and whether figures stand in it (right-aligned).
pub(crate) type Column = (&'static str, bool);
/// A cell: text and its look.
pub(crate) type Cell = (String, Look);

/// The summary of one run: a row per task and the three totals. `title` is a heading such as the run's name.
pub fn table(summary: &Summary, title: &str, color: bool) -> String {
    let p = Paint { on: color };
    let columns: Vec<Column> = vec![
        ("task", false),
        ("score", true),
        ("passed", true),
        ("resolved", false),
        ("outcome", false),
        ("build", true),
        ("suite", true),
    ];
    let rows: Vec<Vec<Cell>> = summary
        .rows
        .iter()
        .map(|row| {
            let mut cells = vec![(text(row.task.as_bytes()), Look::Plain)];
            cells.extend(score_cells(row));
            cells.push((words::duration_ms(row.build_ms), Look::Dim));
            cells.push((words::duration_ms(row.suite_ms), Look::Dim));
            cells
        })
        .collect();
    let mut out =
        format!("{}\n{}", p.text(Look::Heading, &text(title.as_bytes())), grid(p, &columns, &rows));
    for row in &summary.rows {
        out.push_str(&remarks(p, row, None));
    }
    out.push_str(&totals(&summary.totals));
    out.push('\n');
    out
}

/// Several runs side by side: a row per task and run, tasks in the order of the first run that has them; then a line of
/// totals per run. `rows` are the runs' names and summaries, in the order to be shown.
pub fn comparison_table(rows: &[(String, Summary)], color: bool) -> String {
    let p = Paint { on: color };
    let columns: Vec<Column> = vec![
        ("task", false),
        ("agent", false),
        ("score", true),
        ("passed", true),
        ("resolved", false),
        ("outcome", false),
        ("time", true),
    ];
    let mut tasks: Vec<&str> = Vec::new();
    for row in rows.iter().flat_map(|(_, s)| &s.rows) {
        if !tasks.contains(&row.task.as_str()) {
            tasks.push(&row.task);
        }
    }
    let (mut body, mut notes) = (Vec::new(), String::new());
    for task in tasks {
        let mut shown = String::from(task);
        for (name, summary) in rows {
            for row in summary.rows.iter().filter(|r| r.task == task) {
                let mut cells = vec![
                    (text(std::mem::take(&mut shown).as_bytes()), Look::Plain),
                    (text(name.as_bytes()), Look::Plain),
                ];
                cells.extend(score_cells(row));
                cells.push((words::duration_ms(row.build_ms + row.suite_ms), Look::Dim));
                body.push(cells);
                notes.push_str(&remarks(p, row, Some(name)));
            }
        }
    }
    let mut out = grid(p, &columns, &body);
    out.push_str(&notes);
    let width = rows.iter().map(|(n, _)| text(n.as_bytes()).chars().count()).max().unwrap_or(0);
    for (name, summary) in rows {
        out.push_str(&format!("{:width$}  {}\n", text(name.as_bytes()), totals(&summary.totals)));
    }
    out
}

/// Score, passed, resolved and outcome.
fn score_cells(row: &Row) -> Vec<Cell> {
    let (score, look) = match row.score {
        None => ("–".to_owned(), Look::Warn),
        Some(s) if row.resolved => (words::percent(s), Look::Good),
        Some(s) => (words::percent(s), Look::Plain),
    };
    let resolved = match (row.score, row.resolved, row.almost_resolved) {
        (None, ..) => ("–", Look::Warn),
        (_, true, _) => ("yes", Look::Good),
        (_, false, true) => ("almost", Look::Good),
        _ => ("no", Look::Dim),
    };
    let outcome = match row.outcome.standing() {
        Standing::Valid if row.outcome == reenact_model::Outcome::Graded => Look::Dim,
        _ => Look::Warn,
    };
    vec![
        (score, look),
        (format!("{}/{}", row.passed, row.total), Look::Plain),
        (resolved.0.to_owned(), resolved.1),
        (row.outcome.name().to_owned(), outcome),
    ]
}

/// Why a task is no plain graded one, and how many cases the harness could not judge.
fn remarks(p: Paint, row: &Row, run: Option<&str>) -> String {
    let mut out = String::new();
    let mut push = |what: String| {
        let run = run.map(|r| format!(" ({})", text(r.as_bytes()))).unwrap_or_default();
        let line = format!("  {}{run}: {what}", text(row.task.as_bytes()));
        out.push_str(&p.text(Look::Warn, &line));
        out.push('\n');
    };
    if let Some(why) = &row.why {
        push(text(why.as_bytes()));
    }
    if row.accepted_unsealed {
        push(reenact_model::run::UNSEALED_NOTE.to_owned());
    }
    if row.harness_errors > 0 {
        push(format!(
            "{} could not be judged (harness error)",
            words::count(row.harness_errors, "case")
        ));
    }
    out
}

fn totals(t: &Totals) -> String {
    let mean = t.mean_score.map_or("–".to_owned(), words::percent);
    format!(
        "valid {} · excluded for infrastructure {} · adjudicated {} · mean score {mean} · resolved {}/{} · almost resolved {}",
        t.valid,
        t.excluded_for_infrastructure,
        t.adjudicated,
        t.resolved,
        t.valid,
        t.almost_resolved
    )
}

/// Aligned columns, two blanks apart, with a rule under the headings.
pub(crate) fn grid(p: Paint, columns: &[Column], rows: &[Vec<Cell>]) -> String {
    let width = |i: usize| {
        let cells = rows.iter().filter_map(|r| r.get(i)).map(|(t, _)| t.chars().count());
        cells.chain([columns[i].0.chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let line = |cells: &[Cell]| {
        let mut out = String::new();
        for (i, (text, look)) in cells.iter().enumerate() {
            let pad = " ".repeat(widths[i] - text.chars().count());
            let painted = p.text(*look, text);
            let gap = if i == 0 { "" } else { "  " };
            out.push_str(gap);
            out.push_str(&if columns[i].1 {
                format!("{pad}{painted}")
            } else {
                format!("{painted}{pad}")
            });
        }
        out.truncate(out.trim_end_matches(' ').len());
        out.push('\n');
        out
    };
    let heads: Vec<Cell> =
        columns.iter().map(|(name, _)| ((*name).to_owned(), Look::Dim)).collect();
    let rule: usize = widths.iter().sum::<usize>() + 2 * (columns.len() - 1);
    let mut out = line(&heads);
    out.push_str(&p.text(Look::Dim, &"─".repeat(rule)));
    out.push('\n');
    out.extend(rows.iter().map(|r| line(r)));
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::result;
    use crate::summary::summarise;
    use reenact_model::Outcome;

    #[test]
    fn one_run_is_an_aligned_table_with_three_totals() {
        let mut results =
            vec![result("crate__a.1", 400, 400), result("deb__b.22", 1, 300), result("c", 0, 10)];
        results[2].outcome = Outcome::SandboxFailed;
        results[2].why = Some("no space left on device\x1b[31m".into());
        results[2].harness_errors = 10;
        results[1].notes.push(reenact_model::run::UNSEALED_NOTE.to_owned());
        let shown = table(&summarise(&results), "runs/x", false);
        assert_eq!(
            shown,
            "\
runs/x
task        score   passed  resolved  outcome         build  suite
──────────────────────────────────────────────────────────────────
crate__a.1  100 %  400/400  yes       graded          1.2 s  3.4 s
deb__b.22   0.3 %    1/300  no        graded          1.2 s  3.4 s
c               –     0/10  –         sandbox_failed  1.2 s  3.4 s
  deb__b.22: the agent could have read the reference: it was accepted without a seal
  c: no space left on device⟨ESC⟩[31m
  c: 10 cases could not be judged (harness error)
valid 2 · excluded for infrastructure 1 · adjudicated 0 · mean score 50.1 % · resolved 1/2 · almost resolved 1
"
        );
    }

    #[test]
    fn runs_stand_side_by_side_by_task() {
        let rows = vec![
            ("null".to_owned(), summarise(&[result("a", 0, 4), result("b", 0, 4)])),
            ("reference".to_owned(), summarise(&[result("a", 4, 4), result("b", 4, 4)])),
        ];
        let shown = comparison_table(&rows, false);
        let lines: Vec<&str> = shown.lines().collect();
        assert!(lines[2].starts_with("a     null       0.0 %"), "{shown}");
        assert!(lines[3].starts_with("      reference  100 %"), "{shown}");
        assert!(lines[4].starts_with("b     null"), "{shown}");
        assert!(lines[7].starts_with("reference  valid 2 · "), "{shown}");
    }

    #[test]
    fn colour_does_not_change_the_alignment() {
        let summary = summarise(&[result("a", 4, 4)]);
        let painted = table(&summary, "t", true);
        let mut plain = String::new();
        for (i, part) in painted.split('\x1b').enumerate() {
            plain.push_str(if i == 0 {
                part
            } else {
                part.split_once('m').map_or("", |(_, rest)| rest)
            });
        }
        assert_eq!(plain, table(&summary, "t", false));
    }
}
