//! The table of probes for the terminal.

use super::line::{clock, command, end, wall};
use crate::table::{Cell, Column, grid};
use crate::term::{Look, Paint};
use reenact_model::Ended;
use reenact_model::probe::{Probe, ProbeStream, StreamKind};

/// Characters of a command line.
const MAX_COMMAND: usize = 300;

/// A row for each probe, in the order of their ids.
pub fn probe_table(probes: &[Probe], color: bool) -> String {
    if probes.is_empty() {
        return "no probes: the reference was never run\n".to_owned();
    }
    let p = Paint { on: color };
    let mut probes: Vec<&Probe> = probes.iter().collect();
    probes.sort_by_key(|p| p.id);
    let steps = probes.iter().any(|p| p.step.is_some());
    let mut columns: Vec<Column> = vec![("probe", true), ("time", false)];
    columns.extend(steps.then_some(("step", true)));
    columns.extend([
        ("exit", true),
        ("out", true),
        ("err", true),
        ("wall", true),
        ("command", false),
    ]);
    let rows: Vec<Vec<Cell>> = probes.iter().map(|probe| row(probe, steps)).collect();
    grid(p, &columns, &rows)
}

fn row(probe: &Probe, steps: bool) -> Vec<Cell> {
    let look = match &probe.ended {
        Some(Ended::Exit { code: 0 }) => Look::Plain,
        None => Look::Dim,
        Some(Ended::Exit { .. }) => Look::Warn,
        Some(_) => Look::Bad,
    };
    let mut cells = vec![(probe.id.to_string(), Look::Dim), (clock(&probe.time), Look::Dim)];
    if steps {
        cells.push((probe.step.map_or("–".to_owned(), |s| s.to_string()), Look::Dim));
    }
    let err = if probe.merged { "=out".to_owned() } else { bytes(&probe.stderr) };
    cells.extend([
        (end(probe), look),
        (bytes(&probe.stdout), Look::Plain),
        (err, Look::Plain),
        (wall(probe.wall_us), Look::Dim),
        (command(probe, MAX_COMMAND), Look::Plain),
    ]);
    cells
}

/// Bytes written, or where they went, if that cannot be watched.
fn bytes(stream: &ProbeStream) -> String {
    match stream.kind {
        StreamKind::Terminal => "tty".to_owned(),
        StreamKind::Closed => "closed".to_owned(),
        StreamKind::Null => "null".to_owned(),
        StreamKind::Device | StreamKind::Other => "–".to_owned(),
        StreamKind::File | StreamKind::Pipe | StreamKind::Socket => stream.bytes.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::probe;
    use super::*;

    #[test]
    fn the_table_is_in_order_and_aligned() {
        let mut probes = vec![probe(2, "--zap", 2, "unknown\n"), probe(1, "-a x", 0, "")];
        probes[0].stdout.kind = StreamKind::Terminal;
        assert_eq!(
            probe_table(&probes, false),
            "\
probe  time          exit  out  err    wall  command
───────────────────────────────────────────────────────────────
    1  00:00:01.000     0    4    0  1.5 ms  ./executable -a x
    2  00:00:02.000     2  tty    8  1.5 ms  ./executable --zap
"
        );
        probes[1].step = Some(12);
        let shown = probe_table(&probes, true);
        assert!(shown.contains("step") && shown.contains("\x1b["), "{shown}");
        assert!(probe_table(&[], false).contains("never run"));
    }
}
