//! Asking the reference from inside a room: each question in a directory of its own, several at once.

use crate::error::CleanroomError;
use crate::site::Site;
use reenact_bundle::fsx::{FsError, fs_error};
use reenact_model::observe::path_key;
use reenact_model::{
    Captured, Case, CaseObservation, Content, Digest, Ended, Entry, EntryKind, FileSpec, NoBlobs,
    Observation, Resources, Stream,
};
use reenact_sandbox::SandboxError;
use reenact_sandbox::room::{Exec, ExecEnd, Executed, Input, TreeEntry, TreeKind};
use reenact_sandbox::spec::PROGRAM;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Where the directories are, in the room.
const PLACE: &str = "/tmp/asking";
/// Bytes of each stream and of each file that are kept.
pub(super) const KEEP: usize = 64 << 10;
/// Entries of a directory after a question; with more, its changes are not learned.
const MAX_ENTRIES: usize = 4096;
/// Bytes of one file that are read to know whether it changed.
const MAX_FILE: u64 = 16 << 20;

/// What asking gave.
pub(super) struct Answers {
    /// One per question, in their order; `None` where nothing was learned.
    pub seen: Vec<Option<CaseObservation>>,
    /// Not everything was asked, because of this.
    pub cut_short: Option<CutShort>,
}

/// Why asking ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CutShort {
    /// The user wants an end.
    Stopped,
    /// The policy's wall-clock time is over.
    OutOfTime,
}

/// Asks the first step of each of `questions`, with at most `workers` at once. Questions on a terminal are left out: a
/// command of a room has pipes.
///
/// # Errors
/// The room is lost, or no question at all could be asked.
pub(super) fn ask(
    site: &Site<'_>,
    questions: &[Case],
    workers: usize,
) -> Result<Answers, CleanroomError> {
    place(site, questions)?;
    let next = AtomicUsize::new(0);
    let seen: Mutex<Vec<Option<CaseObservation>>> = Mutex::new(vec![None; questions.len()]);
    let failure: Mutex<Option<SandboxError>> = Mutex::new(None);
    let deadline = Instant::now() + Duration::from_secs(site.policy.wall_s);
    let out_of_time = || Instant::now() >= deadline;
    std::thread::scope(|scope| {
        for _ in 0..workers.clamp(1, questions.len().max(1)) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= questions.len() || site.stop.soon() || out_of_time() {
                        return;
                    }
                    site.live.doing(&format!(
                        "asking the reference, {} of {}",
                        at + 1,
                        questions.len()
                    ));
                    match one(site, at, &questions[at]) {
                        Ok(answer) => lock(&seen)[at] = answer,
                        Err(error) => {
                            lock(&failure).get_or_insert(error);
                        }
                    }
                }
            });
        }
    });
    let seen = seen.into_inner().unwrap_or_else(PoisonError::into_inner);
    let failure = failure.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Some(error) = failure
        && (!site.room.is_alive() || seen.iter().all(Option::is_none))
    {
        return Err(error.into());
    }
    let cut_short = if site.stop.soon() {
        Some(CutShort::Stopped)
    } else {
        (next.load(Ordering::Relaxed) < questions.len() && out_of_time())
            .then_some(CutShort::OutOfTime)
    };
    Ok(Answers { seen, cut_short })
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // What is guarded is set in whole values.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes every question's directory with its files, in one copy: a directory per question would cost more than asking.
fn place(site: &Site<'_>, questions: &[Case]) -> Result<(), CleanroomError> {
    let temp = tempfile::tempdir().map_err(fs_error(&std::env::temp_dir(), "create in"))?;
    for (index, question) in questions.iter().enumerate() {
        lay_out(&temp.path().join(index.to_string()), &question.files)?;
    }
    site.room.put_tree(temp.path(), PLACE)?;
    Ok(())
}

/// Files and directories first and links last, so that nothing is written through a link.
fn lay_out(dir: &Path, files: &BTreeMap<String, FileSpec>) -> Result<(), FsError> {
    use std::os::unix::fs::PermissionsExt;
    let make = |path: &Path| std::fs::create_dir_all(path).map_err(fs_error(path, "create"));
    make(dir)?;
    for (name, spec) in files {
        let path = dir.join(name);
        match spec {
            FileSpec::Dir => make(&path)?,
            FileSpec::Symlink(_) => {}
            FileSpec::File { content, executable } => {
                make(path.parent().unwrap_or(dir))?;
                let bytes = content.bytes(&NoBlobs).map(|b| b.into_owned()).unwrap_or_default();
                std::fs::write(&path, bytes).map_err(fs_error(&path, "write"))?;
                let mode = if *executable { 0o755 } else { 0o644 };
                std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode))
                    .map_err(fs_error(&path, "write"))?;
            }
        }
    }
    for (name, spec) in files {
        if let FileSpec::Symlink(target) = spec {
            let path = dir.join(name);
            make(path.parent().unwrap_or(dir))?;
            std::os::unix::fs::symlink(target, &path).map_err(fs_error(&path, "link"))?;
        }
    }
    Ok(())
}

/// Asks one question; `None` where it cannot be asked here, or was stopped.
fn one(
    site: &Site<'_>,
    at: usize,
    question: &Case,
) -> Result<Option<CaseObservation>, SandboxError> {
    let Some(step) = question.steps.first().filter(|s| s.tty.is_none()) else { return Ok(None) };
    let limits = &site.task.manifest.limits;
    let wall_ms = question.limits.wall_ms.unwrap_or(limits.wall_ms);
    let max_bytes = question.limits.output_bytes.unwrap_or(limits.output_bytes);
    let stdin = match &step.stdin {
        None => Input::Null,
        Some(content) => match content.bytes(&NoBlobs) {
            Ok(bytes) => Input::Bytes(bytes.into_owned()),
            Err(_) => return Ok(None),
        },
    };
    let dir = format!("{PLACE}/{at}");
    let done = site.room.exec(Exec {
        argv: std::iter::once(PROGRAM.to_owned()).chain(step.argv.iter().cloned()).collect(),
        env: step.env.clone(),
        cwd: Some(dir.clone()),
        stdin,
        merge_stderr: false,
        wall: Some(Duration::from_millis(wall_ms)),
        keep_bytes: KEEP,
        max_bytes: Some(max_bytes),
    })?;
    let Some(ended) = ended(done.end, wall_ms, max_bytes) else { return Ok(None) };
    let mut answer =
        CaseObservation { steps: vec![observation(ended, done)], ..CaseObservation::default() };
    match files(site, &dir) {
        Some(files) => answer.files = files,
        None => answer.files_truncated = true,
    }
    Ok(Some(answer))
}

fn ended(end: ExecEnd, limit_ms: u64, limit_bytes: u64) -> Option<Ended> {
    Some(match end {
        ExecEnd::Exit { code } => Ended::Exit { code },
        ExecEnd::Signal { signal } => Ended::Signal { signal },
        ExecEnd::WallLimit => Ended::WallLimit { limit_ms },
        ExecEnd::OutputLimit => Ended::OutputLimit { stream: Stream::Stdout, limit_bytes },
        ExecEnd::NotFound { errno } => {
            Ended::ExecFailed { errno, what: std::io::Error::from_raw_os_error(errno).to_string() }
        }
        ExecEnd::Stopped => return None,
    })
}

fn observation(ended: Ended, done: Executed) -> Observation {
    let stream = |bytes: Vec<u8>, len: u64| Captured {
        truncated: len > bytes.len() as u64,
        content: Content::inline(&bytes),
        len,
    };
    Observation {
        ended,
        stdout: stream(done.stdout, done.stdout_len),
        stderr: stream(done.stderr, done.stderr_len),
        screen: None,
        resources: Resources { wall_us: done.wall_us, ..Resources::default() },
    }
}

/// What is in a question's directory now; `None` if that is too much, or cannot be read: an answer without its files is
/// still an answer.
fn files(site: &Site<'_>, dir: &str) -> Option<BTreeMap<String, Entry>> {
    let mut found = BTreeMap::new();
    for entry in site.room.list_tree(dir, MAX_ENTRIES).ok()? {
        let kind = match &entry.kind {
            TreeKind::Dir => EntryKind::Dir,
            TreeKind::Symlink { target } => EntryKind::Symlink { target: path_key(target) },
            TreeKind::Special => EntryKind::Special { what: "special".to_owned() },
            TreeKind::File => file(site, dir, &entry)?,
        };
        found.insert(path_key(&entry.path), Entry { kind, mode: entry.mode });
    }
    Some(found)
}

fn file(site: &Site<'_>, dir: &str, entry: &TreeEntry) -> Option<EntryKind> {
    let mut bytes = Vec::new();
    let file = site.room.open_file(dir, &entry.path).ok()??;
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).ok()?;
    let size = bytes.len() as u64;
    (size <= MAX_FILE).then(|| EntryKind::File {
        size,
        sha256: Digest::of(&bytes),
        content: (bytes.len() <= KEEP).then(|| Content::inline(&bytes)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_laid_out_and_never_through_a_link() {
        let temp = tempfile::tempdir().unwrap();
        let outside = temp.path().join("outside");
        std::fs::create_dir(&outside).unwrap();
        let text =
            |t: &str, executable| FileSpec::File { content: Content::Text(t.into()), executable };
        let dir = temp.path().join("0");
        let files: BTreeMap<String, FileSpec> = [
            ("a/b.txt".to_owned(), text("x", false)),
            ("run".to_owned(), text("#!", true)),
            ("empty".to_owned(), FileSpec::Dir),
            ("ln".to_owned(), FileSpec::Symlink("a/b.txt".to_owned())),
        ]
        .into();
        lay_out(&dir, &files).unwrap();
        use std::os::unix::fs::PermissionsExt;
        let mode = |p: &str| std::fs::metadata(dir.join(p)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("run"), mode("a/b.txt")), (0o755, 0o644));
        assert!(dir.join("empty").is_dir());
        assert_eq!(std::fs::read_link(dir.join("ln")).unwrap(), Path::new("a/b.txt"));

        // A name that is a link and a directory at once: whichever way it ends, nothing is written outside.
        let hostile: BTreeMap<String, FileSpec> = [
            ("d".to_owned(), FileSpec::Symlink(outside.display().to_string())),
            ("d/evil".to_owned(), text("x", false)),
        ]
        .into();
        assert!(lay_out(&temp.path().join("1"), &hostile).is_err());
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
    }

    #[test]
    fn only_facts_about_the_reference_become_observations() {
        assert_eq!(ended(ExecEnd::Stopped, 1, 2), None);
        assert_eq!(ended(ExecEnd::WallLimit, 9, 2), Some(Ended::WallLimit { limit_ms: 9 }));
        let failed = ended(ExecEnd::NotFound { errno: 13 }, 1, 2);
        assert!(matches!(failed, Some(Ended::ExecFailed { errno: 13, .. })), "{failed:?}");
    }
}
