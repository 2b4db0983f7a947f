//! Grading one task of a run: build, suite, results; each stage picks up what an earlier process left in the journal.

use crate::build::{self, BuildTrouble, Built, Request};
use crate::candidate;
use crate::ending::{Ending, finish, graded_outcome, without_submission};
use crate::error::GradeError;
use crate::integrity;
use crate::journal::{BuiltRecord, Journal, Key, TaskLog};
use crate::lean;
use crate::options::{GradeOptions, GradeReporter};
use crate::result;
use crate::rundir::RunDir;
use crate::suite_run::SuiteRun;
use crate::trees::{WORK_PREFIX, remove_tree};
use reenact_bundle::fsx::fs_error;
use reenact_bundle::shape::candidate_cell;
use reenact_bundle::{FsError, Suite, TaskBundle};
use reenact_model::run::{AgentOutcome, BuildResult, JournalRecord, Outcome, Standing, TaskResult};
use reenact_model::{Digest, Verdict};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// Prefix of built trees; the digest of the tarball follows.
const TREE_PREFIX: &str = "build-";

/// One task being graded.
pub(crate) struct TaskGrading<'a> {
    pub run: &'a RunDir,
    pub options: &'a GradeOptions,
    pub reporter: &'a dyn GradeReporter,
    pub journal: &'a mut Journal,
    pub log: &'a mut TaskLog,
    pub bundle: &'a TaskBundle,
    pub suite: &'a Suite,
}

impl TaskGrading<'_> {
    /// Grades the task, or reloads the result if nothing has changed since it was finished.
    pub(crate) fn run(mut self) -> Result<TaskResult, GradeError> {
        let id = self.bundle.id().to_owned();
        let submission = self.submission_digest()?;
        if let Some(mut done) = self.finished(submission) {
            if integrity::apply(self.run, &mut done)? {
                result::write(self.run, &done, Some((self.journal, self.log)))?;
            }
            self.reporter.task_started(&id, done.total, done.total);
            self.reporter.task_finished(&done);
            return Ok(done);
        }
        self.clean_up(submission)?;
        let ending = match submission {
            None => {
                self.reporter.task_started(&id, self.total(), 0);
                without_submission(self.agent_outcome())
            }
            Some(digest) => self.with_submission(digest)?,
        };
        let tree = submission.map(|digest| self.tree(digest));
        let result = finish(&mut self, ending)?;
        if let Some(tree) = tree
            && result.outcome.standing() != Standing::ExcludedForInfrastructure
        {
            remove_tree(&tree)?;
        }
        self.reporter.task_finished(&result);
        Ok(result)
    }

    fn total(&self) -> u64 {
        self.suite.cases.len() as u64
    }

    fn private(&self) -> PathBuf {
        self.run.private().join(self.bundle.id())
    }

    fn tree(&self, submission: Digest) -> PathBuf {
        self.private().join(format!("{TREE_PREFIX}{}", submission.short(12)))
    }

    fn submission_digest(&self) -> Result<Option<Digest>, FsError> {
        let path = self.run.submission(self.bundle.id());
        match std::fs::symlink_metadata(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            _ => candidate::digest_file(&path).map(Some),
        }
    }

    /// The stored result, if it is final and everything it depends on is as it was.
    fn finished(&self, submission: Option<Digest>) -> Option<TaskResult> {
        if self.log.finished.is_none_or(|o| o.standing() == Standing::ExcludedForInfrastructure) {
            return None;
        }
        // A result that cannot be read is written again from the journal.
        let stored = lean::load(&self.run.result(self.bundle.id()))?;
        let same = self.log.finished == Some(integrity::graded(&stored).0)
            && stored.task_digest == self.bundle.digest
            && stored.suite_digest == self.suite.manifest.digest
            && stored.build.submission == submission
            && self.run.eval(self.bundle.id()).is_file();
        same.then_some(stored)
    }

    /// Removes what a killed process left half done, and trees built from other tarballs.
    fn clean_up(&self, submission: Option<Digest>) -> Result<(), FsError> {
        let dir = self.private();
        let current = submission.map(|digest| self.tree(digest));
        let entries = match std::fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(fs_error(&dir, "list")(e)),
        };
        for entry in entries {
            let entry = entry.map_err(fs_error(&dir, "list"))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let stale = name.starts_with(WORK_PREFIX) || name.starts_with(TREE_PREFIX);
            if stale && current.as_deref() != Some(&entry.path()) {
                remove_tree(&entry.path())?;
            }
        }
        Ok(())
    }

    fn agent_outcome(&self) -> AgentOutcome {
        self.run.manifest.tasks[self.bundle.id()].agent_outcome
    }

    fn with_submission(&mut self, digest: Digest) -> Result<Ending, GradeError> {
        let id = self.bundle.id().to_owned();
        self.reporter.task_started(&id, self.total(), self.resumed(digest));
        let built = match self.reusable_build(digest)? {
            Some(built) => built,
            None => {
                self.stop_here()?;
                match self.build(digest)? {
                    Ok(built) => built,
                    Err(why) => {
                        let build =
                            BuildResult { submission: Some(digest), ..BuildResult::default() };
                        let why = format!("the build could not be run: {why}");
                        return Ok(Ending::early(Outcome::SandboxFailed, why, build));
                    }
                }
            }
        };
        let (true, Some(executable)) = (built.build.ok, built.build.executable) else {
            let why = built.build.error.clone().unwrap_or_default();
            let ending = Ending::early(Outcome::BuildFailed, why, built.build);
            return Ok(Ending { isolation: built.isolation, notes: built.notes, ..ending });
        };
        self.begin(Key {
            task: self.bundle.digest,
            suite: self.suite.manifest.digest,
            submission: digest,
            executable,
        })?;
        self.run_suite(built)
    }

    fn stop_here(&self) -> Result<(), GradeError> {
        if self.options.stop.load(Ordering::Relaxed) { Err(GradeError::Cancelled) } else { Ok(()) }
    }

    /// Cases judged under the key that a grading of this tarball would have; the executable is not known yet.
    fn resumed(&self, submission: Digest) -> u64 {
        let same = self.log.key.is_some_and(|key| {
            key.task == self.bundle.digest
                && key.suite == self.suite.manifest.digest
                && key.submission == submission
        });
        if same { self.judged_cases() } else { 0 }
    }

    fn judged_cases(&self) -> u64 {
        self.suite.cases.iter().filter(|c| self.log.judged.contains_key(&c.id)).count() as u64
    }

    /// An earlier build of the same tarball that still serves: a failure that was not yet reported, verdicts for every
    /// case already there, or a tree whose executable is the recorded one.
    fn reusable_build(&mut self, submission: Digest) -> Result<Option<BuiltRecord>, FsError> {
        let Some(built) = self.log.built.clone().filter(|b| b.submission == submission) else {
            return Ok(None);
        };
        let (true, Some(executable)) = (built.build.ok, built.build.executable) else {
            return Ok(self.log.finished.is_none().then_some(built));
        };
        let key = Key {
            task: self.bundle.digest,
            suite: self.suite.manifest.digest,
            submission,
            executable,
        };
        if self.log.key == Some(key) && self.judged_cases() == self.total() {
            return Ok(Some(built));
        }
        let tree = self.tree(submission);
        Ok(match candidate::find(&tree)? {
            Ok(path) if candidate::digest_file(&path)? == executable => Some(built),
            _ => None,
        })
    }

    /// Builds and journals it. The inner error is the sandbox's.
    fn build(&mut self, digest: Digest) -> Result<Result<BuiltRecord, String>, GradeError> {
        let id = self.bundle.id();
        self.reporter.building(id);
        let request = Request {
            task: self.bundle,
            submission: &self.run.submission(id),
            digest,
            upper_bound: self.run.manifest.upper_bound,
            wall_ms: self
                .options
                .build_wall_ms
                .unwrap_or(self.bundle.manifest.limits.build_wall_ms),
            cells: &self.options.cells,
            work: &self.private(),
            tree: &self.tree(digest),
        };
        let Built { build, isolation, notes } = match build::build(&request) {
            Ok(built) => built,
            Err(BuildTrouble::Fs(e)) => return Err(e.into()),
            Err(BuildTrouble::Sandbox(e)) => return Ok(Err(e.to_string())),
        };
        let record = BuiltRecord { submission: digest, build, isolation, notes };
        self.journal.append(&JournalRecord::Built {
            task: id.to_owned(),
            submission: digest,
            build: record.build.clone(),
            isolation: record.isolation.clone(),
            notes: record.notes.clone(),
        })?;
        self.log.built = Some(record.clone());
        Ok(Ok(record))
    }

    /// Notes under which key verdicts are given from here on.
    fn begin(&mut self, key: Key) -> Result<(), FsError> {
        if self.log.key != Some(key) || self.log.finished.is_some() {
            self.journal.append(&JournalRecord::Started {
                task: self.bundle.id().to_owned(),
                task_digest: key.task,
                suite: key.suite,
                submission: key.submission,
                executable: key.executable,
            })?;
        }
        self.log.begin(key);
        Ok(())
    }

    fn run_suite(&mut self, built: BuiltRecord) -> Result<Ending, GradeError> {
        let tree = self.tree(built.submission);
        let upper_bound = self.run.manifest.upper_bound;
        let spec = candidate_cell(self.bundle, &tree, upper_bound, &self.options.cells);
        let began = Instant::now();
        let undone = SuiteRun {
            task: self.bundle.id(),
            suite: self.suite,
            spec: &spec,
            workers: self.options.workers,
            stop: &self.options.stop,
            reporter: self.reporter,
        }
        .run(self.journal, self.log)?;
        let suite_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let (outcome, why) = match undone.trouble() {
            Some(why) => (Outcome::SandboxFailed, Some(why)),
            None => graded_outcome(self.agent_outcome()),
        };
        let what = undone.no_cell.clone().unwrap_or_default();
        Ok(Ending {
            outcome,
            why,
            build: built.build,
            isolation: undone.layers.clone().unwrap_or(built.isolation),
            notes: built.notes,
            undone,
            verdicts_count: true,
            otherwise: Verdict::HarnessError { what },
            suite_ms,
        })
    }
}
