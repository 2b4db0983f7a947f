//! `journal.jsonl`: the append-only truth about progress. One `write(2)` per line; a line without its newline never happened.

use crate::error::GradeError;
use reenact_bundle::FsError;
use reenact_bundle::fsx::{fs_error, write_atomic};
use reenact_model::run::{BuildResult, CaseResult, JournalRecord, Outcome};
use reenact_model::{Digest, Verdict};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// What verdicts depend on. Verdicts recorded under another key do not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    /// Of `task.toml`, which sets the limits.
    pub task: Digest,
    pub suite: Digest,
    pub submission: Digest,
    pub executable: Digest,
}

/// A build as the journal holds it.
#[derive(Clone, Debug)]
pub(crate) struct BuiltRecord {
    pub submission: Digest,
    pub build: BuildResult,
    pub isolation: BTreeMap<String, String>,
    pub notes: Vec<String>,
}

/// A judged case: the verdict in memory, what was seen in the journal.
#[derive(Clone, Debug)]
pub(crate) struct JudgedCase {
    /// Without its observation.
    pub case: CaseResult,
    /// Where its line is.
    pub span: Span,
}

/// A line of the journal: offset and length in bytes, newline excluded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub at: u64,
    pub len: u64,
}

/// What the journal knows about one task.
#[derive(Clone, Debug, Default)]
pub(crate) struct TaskLog {
    pub key: Option<Key>,
    pub built: Option<BuiltRecord>,
    /// By case id; never a harness error, which is no judgement.
    pub judged: BTreeMap<String, JudgedCase>,
    pub finished: Option<Outcome>,
}

impl TaskLog {
    /// Forgets verdicts that were made under another key.
    pub(crate) fn begin(&mut self, key: Key) {
        if self.key != Some(key) {
            self.judged.clear();
            self.key = Some(key);
        }
        self.finished = None;
    }

    /// Records a verdict; the first of a case counts. A harness error is no verdict.
    pub(crate) fn judge(&mut self, mut case: CaseResult, span: Span) {
        if matches!(case.verdict, Verdict::HarnessError { .. }) || self.key.is_none() {
            return;
        }
        case.observation = None;
        self.judged.entry(case.id.clone()).or_insert(JudgedCase { case, span });
    }
}

/// The journal of a run, open for appending.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    file: File,
    len: u64,
}

impl Journal {
    /// Opens the journal, replays it, and cuts a torn last line off.
    ///
    /// # Errors
    /// [`GradeError::Journal`] if a complete line is not a record.
    pub(crate) fn open(path: &Path) -> Result<(Self, BTreeMap<String, TaskLog>), GradeError> {
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(path)
            .map_err(fs_error(path, "open"))?;
        let mut logs = BTreeMap::new();
        let end = replay(path, &file, &mut |task, record, span| {
            apply(logs.entry(task).or_default(), record, span);
        })?;
        if file.metadata().map_err(fs_error(path, "read"))?.len() != end {
            file.set_len(end).map_err(fs_error(path, "write"))?;
        }
        Ok((Self { path: path.to_path_buf(), file, len: end }, logs))
    }

    /// Appends one record.
    pub(crate) fn append(&mut self, record: &JournalRecord) -> Result<Span, FsError> {
        let line = render(record);
        self.append_line(&line)
    }

    /// Appends a line made by [`render`].
    pub(crate) fn append_line(&mut self, line: &[u8]) -> Result<Span, FsError> {
        let span = Span { at: self.len, len: line.len() as u64 - 1 };
        self.file.write_all(line).map_err(fs_error(&self.path, "write"))?;
        self.len += line.len() as u64;
        Ok(span)
    }

    /// Reads a judged case back, with its observation.
    pub(crate) fn read_case(&self, span: Span) -> Result<CaseResult, FsError> {
        let len = usize::try_from(span.len).unwrap_or(usize::MAX);
        let mut line = vec![0; len];
        self.file.read_exact_at(&mut line, span.at).map_err(fs_error(&self.path, "read"))?;
        match serde_json::from_slice(&line) {
            Ok(JournalRecord::Judged { case, .. }) => Ok(case),
            _ => Err(fs_error(&self.path, "read back")(std::io::Error::other(
                "it was changed while grading",
            ))),
        }
    }

    /// Drops every record of `tasks`, by an atomic rewrite.
    pub(crate) fn forget(path: &Path, tasks: &[String]) -> Result<(), GradeError> {
        let Ok(file) = File::open(path) else { return Ok(()) };
        let mut kept = Vec::new();
        replay(path, &file, &mut |task, record, _| {
            if !tasks.contains(&task) {
                kept.extend(render(&record));
            }
        })?;
        Ok(write_atomic(path, &kept)?)
    }
}

/// A record as its line, newline included.
pub(crate) fn render(record: &JournalRecord) -> Vec<u8> {
    // Plain data with string keys: serialising it cannot fail.
    let mut line = serde_json::to_vec(record).unwrap_or_default();
    line.push(b'\n');
    line
}

fn apply(log: &mut TaskLog, record: JournalRecord, span: Span) {
    match record {
        JournalRecord::Started { task_digest, suite, submission, executable, .. } => {
            log.begin(Key { task: task_digest, suite, submission, executable });
        }
        JournalRecord::Built { submission, build, isolation, notes, .. } => {
            log.built = Some(BuiltRecord { submission, build, isolation, notes });
            log.finished = None;
        }
        JournalRecord::Judged { case, .. } => log.judge(case, span),
        JournalRecord::Finished { outcome, .. } => log.finished = Some(outcome),
    }
}

/// Hands every complete line to `sink`; returns the offset of the end of the last one.
fn replay(
    path: &Path,
    file: &File,
    sink: &mut dyn FnMut(String, JournalRecord, Span),
) -> Result<u64, GradeError> {
    let mut reader = BufReader::with_capacity(1 << 16, file);
    let (mut at, mut number) = (0_u64, 0_u64);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = reader.read_until(b'\n', &mut line).map_err(fs_error(path, "read"))? as u64;
        if line.pop() != Some(b'\n') {
            return Ok(at);
        }
        number += 1;
        let record: JournalRecord = serde_json::from_slice(&line).map_err(|e| {
            let path = path.to_path_buf();
            GradeError::Journal { path, line: number, what: format!("not a journal record: {e}") }
        })?;
        let task = match &record {
            JournalRecord::Started { task, .. }
            | JournalRecord::Built { task, .. }
            | JournalRecord::Judged { task, .. }
            | JournalRecord::Finished { task, .. } => task.clone(),
        };
        sink(task, record, Span { at, len: read - 1 });
        at += read;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started(exe: &[u8]) -> JournalRecord {
        JournalRecord::Started {
            task: "t".to_owned(),
            task_digest: Digest::of(b"t"),
            suite: Digest::of(b"s"),
            submission: Digest::of(b"u"),
            executable: Digest::of(exe),
        }
    }

    fn judged(id: &str, verdict: Verdict) -> JournalRecord {
        let case = CaseResult {
            id: id.to_owned(),
            group: "g".to_owned(),
            verdict,
            wall_us: 7,
            retries: 0,
            observation: None,
        };
        JournalRecord::Judged { task: "t".to_owned(), case }
    }

    fn lost() -> Verdict {
        Verdict::HarnessError { what: "lost".to_owned() }
    }

    fn write(path: &Path, records: &[JournalRecord]) -> Vec<u8> {
        let bytes: Vec<u8> = records.iter().flat_map(render).collect();
        std::fs::write(path, &bytes).unwrap();
        bytes
    }

    #[test]
    fn every_prefix_of_a_journal_is_a_journal() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.jsonl");
        let records = [
            started(b"e"),
            judged("a", Verdict::Pass),
            judged("b", lost()),
            judged("b", Verdict::Pass),
        ];
        let bytes = write(&path, &records);
        let ends: Vec<usize> =
            bytes.iter().enumerate().filter(|(_, b)| **b == b'\n').map(|(i, _)| i + 1).collect();
        for cut in 0..=bytes.len() {
            std::fs::write(&path, &bytes[..cut]).unwrap();
            let (mut journal, logs) = Journal::open(&path).unwrap();
            let whole = ends.iter().filter(|e| **e <= cut).count();
            let want = [0, 0, 1, 1, 2][whole];
            assert_eq!(logs.get("t").map_or(0, |l| l.judged.len()), want, "cut at {cut}");
            let span = journal.append(&judged("z", Verdict::Pass)).unwrap();
            assert_eq!(journal.read_case(span).unwrap().id, "z");
            let (_, again) = Journal::open(&path).unwrap();
            let now = again["t"].judged.len();
            assert_eq!(now, if whole == 0 { 0 } else { want + 1 }, "cut at {cut}");
        }
    }

    #[test]
    fn the_first_verdict_of_a_case_counts_and_another_build_starts_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.jsonl");
        let fail = || Verdict::Fail { reasons: Vec::new() };
        write(
            &path,
            &[started(b"e"), judged("a", Verdict::Pass), judged("a", fail()), started(b"e")],
        );
        let (_, logs) = Journal::open(&path).unwrap();
        assert_eq!(logs["t"].judged["a"].case.verdict, Verdict::Pass);
        write(
            &path,
            &[started(b"e"), judged("a", Verdict::Pass), started(b"other"), judged("b", fail())],
        );
        let (_, logs) = Journal::open(&path).unwrap();
        assert_eq!(logs["t"].judged.keys().collect::<Vec<_>>(), ["b"]);
    }

    #[test]
    fn garbage_in_a_complete_line_is_refused_with_its_number() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.jsonl");
        let mut bytes = write(&path, &[started(b"e")]);
        bytes.extend_from_slice(b"{\"event\":\"judged\"}\n");
        bytes.extend(render(&judged("a", Verdict::Pass)));
        std::fs::write(&path, &bytes).unwrap();
        match Journal::open(&path) {
            Err(GradeError::Journal { line: 2, .. }) => {}
            other => panic!("{other:?}"),
        }
        assert_eq!(std::fs::read(&path).unwrap(), bytes, "a refused journal is left alone");
    }

    #[test]
    fn forgetting_one_task_keeps_the_others() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.jsonl");
        let other = JournalRecord::Finished { task: "o".to_owned(), outcome: Outcome::Graded };
        write(&path, &[started(b"e"), other, judged("a", Verdict::Pass)]);
        Journal::forget(&path, &["t".to_owned()]).unwrap();
        let (_, logs) = Journal::open(&path).unwrap();
        assert_eq!(logs.keys().collect::<Vec<_>>(), ["o"]);
        assert_eq!(logs["o"].finished, Some(Outcome::Graded));
    }
}
