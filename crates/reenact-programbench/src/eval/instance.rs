//! One instance: from its archive to its two scores.

use super::branch::{BranchResult, Job};
use super::build::{self, Built, Outcome};
use super::clean::{Clean, clean};
use super::error::EvalError;
use super::images::{Base, Images};
use super::official::{Score, branches_to_eval, inject_not_run, merge};
use super::options::Options;
use super::partial::{Key, Partial, lock_instance};
use super::pool::test;
use super::row::Row;
use super::sidecar::{ELSEWHERE, KIND, Policy, SCHEMA, Sidecar, SidecarBranch};
use super::station::StepError;
use super::stored::{elsewhere, load, replace, summary, whole};
use super::{Item, Reporter, submission};
use reenact_bundle::fsx::{fs_error, now_rfc3339};
use reenact_interop::programbench::{EvalJson, LogEntry};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Evaluates.
pub(super) fn evaluate(
    item: &Item<'_>,
    images: &dyn Images,
    options: &Options,
    reporter: &dyn Reporter,
) -> Result<Row, EvalError> {
    let _lock = lock_instance(&item.target, item.id())?;
    let archive = item.source.join(item.id()).join("submission.tar.gz");
    match archive.symlink_metadata() {
        Ok(_) => {}
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return without_archive(item, images, options, reporter, &archive);
        }
        Err(e) => return Err(fs_error(&archive, "read")(e).into()),
    }
    let existing = if options.force { None } else { load(&item.target, item.id())? };
    let mut work = Work::new(item, images, options, reporter, existing)?;
    let (digest, problem) = submission::check(&archive)?;
    work.changed(&digest);
    let mut branches = branches_to_eval(work.existing.as_ref(), item.instance);
    if branches.is_empty()
        && let Some(existing) = work.existing.take()
    {
        return summary(item, existing);
    }
    if let Err(why) = problem {
        return work.give_up("bad_submission", why);
    }
    let base = images.base(&item.instance.image(&options.image_tag))?;
    work.image = Some((base.name.clone(), base.id.clone()));
    if let Some(why) = work.other_terms(&base, &branches) {
        branches = work.all_anew(why);
    }
    blobs_are_there(item, &branches)?;
    work.run(&base, &archive, branches)
}

/// An instance without `submission.tar.gz`, which the official tool passes over: results that are there stay, and a submission
/// that is kept elsewhere is no missing one. Only where there is neither is the submission missing.
fn without_archive(
    item: &Item<'_>,
    images: &dyn Images,
    options: &Options,
    reporter: &dyn Reporter,
    archive: &Path,
) -> Result<Row, EvalError> {
    let place = elsewhere(item);
    match (load(&item.target, item.id())?, place) {
        (Some(existing), None) => kept_as_is(item, existing),
        (Some(existing), Some(_)) if existing.error_code.as_deref() != Some("no_submission") => {
            kept_as_is(item, existing)
        }
        (_, Some(path)) => {
            Err(EvalError::SubmissionElsewhere { instance: item.id().to_owned(), path })
        }
        (None, None) => {
            let why = format!("{} is not there", archive.display());
            Work::new(item, images, options, reporter, None)?.give_up("no_submission", why)
        }
    }
}

fn kept_as_is(item: &Item<'_>, existing: EvalJson) -> Result<Row, EvalError> {
    let mut row = summary(item, existing)?;
    let note =
        "its submission.tar.gz is not here: what is stored is shown, and nothing was evaluated";
    row.notes.push(note.to_owned());
    Ok(row)
}

/// Every branch's archive, looked for before anything is built.
fn blobs_are_there(item: &Item<'_>, branches: &[String]) -> Result<(), EvalError> {
    let missing: Vec<PathBuf> =
        branches.iter().map(|b| item.instance.blob_path(b)).filter(|p| !p.is_file()).collect();
    match missing.first() {
        None => Ok(()),
        Some(first) => Err(EvalError::MissingBlobs {
            instance: item.id().to_owned(),
            missing: missing.len(),
            branches: branches.len(),
            first: first.clone(),
        }),
    }
}

/// An evaluation under way.
struct Work<'a> {
    item: &'a Item<'a>,
    images: &'a dyn Images,
    options: &'a Options,
    reporter: &'a dyn Reporter,
    began: Instant,
    /// The stored result, of which some branches may stay.
    existing: Option<EvalJson>,
    before: Option<Sidecar>,
    digest: Option<String>,
    image: Option<(String, String)>,
    isolation: BTreeMap<String, String>,
    build_s: f64,
    notes: Vec<String>,
}

impl<'a> Work<'a> {
    fn new(
        item: &'a Item<'a>,
        images: &'a dyn Images,
        options: &'a Options,
        reporter: &'a dyn Reporter,
        existing: Option<EvalJson>,
    ) -> Result<Self, EvalError> {
        let before = Sidecar::load(&item.target, item.id())?;
        Ok(Self {
            item,
            images,
            options,
            reporter,
            began: Instant::now(),
            existing,
            before,
            digest: None,
            image: None,
            isolation: BTreeMap::new(),
            build_s: 0.0,
            notes: Vec::new(),
        })
    }

    /// Forgets results of another submission, and those of which that cannot be told.
    fn changed(&mut self, digest: &str) {
        let executable = self.existing.as_ref().map(|e| e.executable_hash.clone());
        if let (Some(executable), Some(before)) = (executable, &self.before) {
            let why = if before.submission.as_deref() == Some(digest) {
                before.foreign(executable.as_deref())
            } else {
                Some("the submission has changed since it was evaluated")
            };
            if let Some(why) = why {
                self.all_anew(why);
            }
        }
        self.digest = Some(digest.to_owned());
    }

    /// Forgets what was known; gives all branches.
    fn all_anew(&mut self, why: &str) -> Vec<String> {
        self.notes.push(format!("{why}: evaluated anew"));
        self.existing = None;
        self.active()
    }

    /// Whether results of other branches than these are to stay.
    fn some_stay(&self, branches: &[String]) -> bool {
        self.existing.as_ref().is_some_and(|e| e.error_code.is_none())
            && self.active().iter().any(|b| !branches.contains(b))
    }

    /// Why branches that would stay do not go together with those that are to be run: an instance's result says once by what
    /// it was made.
    fn other_terms(&self, base: &Base, branches: &[String]) -> Option<&'static str> {
        let before = self.before.as_ref().filter(|_| self.some_stay(branches))?;
        if before.harness != self.options.harness {
            Some("branches were evaluated by another version of reenact")
        } else if before.policy != Policy::of(self.options) {
            Some("branches were evaluated with other settings")
        } else if before.image.as_ref().map(|(_, id)| id.as_str()) != Some(base.id.as_str()) {
            Some("branches were evaluated in another image")
        } else {
            None
        }
    }

    /// As [`Self::other_terms`], by what is known once it is built.
    fn other_build(&self, built: &Built<'_>, branches: &[String]) -> Option<&'static str> {
        let existing = self.existing.as_ref().filter(|_| self.some_stay(branches))?;
        let isolation = self.before.as_ref().map(|s| &s.isolation);
        if existing.executable_hash.as_deref() != Some(built.executable.as_str()) {
            Some("it was built to another executable than before")
        } else if isolation.is_some_and(|i| *i != built.isolation) {
            Some("branches were evaluated under another isolation")
        } else {
            None
        }
    }

    fn active(&self) -> Vec<String> {
        self.item.instance.active_branches().into_iter().map(str::to_owned).collect()
    }

    /// A result without a single test run.
    fn give_up(self, code: &str, details: String) -> Result<Row, EvalError> {
        let branches = self.active();
        self.not_tested(code, details, Vec::new(), &branches)
    }

    fn not_tested(
        self,
        code: &str,
        details: String,
        log: Vec<LogEntry>,
        branches: &[String],
    ) -> Result<Row, EvalError> {
        let mut result = EvalJson {
            error_code: Some(code.to_owned()),
            error_details: Some(details),
            log,
            solution_branch: Some("submission".to_owned()),
            test_branches: branches.to_vec(),
            ..EvalJson::default()
        };
        for branch in branches {
            let injected =
                inject_not_run(self.item.instance, branch, code, &mut result.test_branch_errors);
            result.test_results.extend(injected);
        }
        // Nothing was told of any test, and that is all that there is to tell.
        let untold = |b| {
            let session = Some(super::Evidence::default());
            (b, SidecarBranch { session, ..SidecarBranch::default() })
        };
        let judged = self.active().into_iter().map(untold).collect();
        self.conclude(result, judged, &[])
    }

    fn run(
        mut self,
        base: &Base,
        archive: &Path,
        mut branches: Vec<String>,
    ) -> Result<Row, EvalError> {
        let mut log = Vec::new();
        self.reporter.building(self.item.id());
        let hashes = &self.item.instance.clean_hashes;
        let built = build::build(base, archive, hashes, self.images, self.options, &mut log)?;
        self.build_s = self.began.elapsed().as_secs_f64();
        let built = match built {
            Outcome::Built(built) => built,
            Outcome::Failed(StepError { code, details }) => {
                return self.not_tested(&code, details, log, &branches);
            }
        };
        self.isolation.clone_from(&built.isolation);
        if let Some(why) = self.other_build(&built, &branches) {
            branches = self.all_anew(why);
            blobs_are_there(self.item, &branches)?;
        }
        let old = self.merged(&mut branches)?;
        let clean = clean(&built, base, self.images, self.options)?;
        let (partial, done) =
            Partial::open(&self.item.target, self.item.id(), self.key(base, &built))?;
        let job = self.job(base, &built, &clean);
        let results = test(&job, &branches, done, &partial, self.reporter)?;
        let reasons = clean.reasons().to_vec();
        let mut new = EvalJson {
            solution_branch: Some("submission".to_owned()),
            test_branches: branches.clone(),
            executable_hash: Some(built.executable.clone()),
            log,
            ..EvalJson::default()
        };
        let mut judged = self.kept(&branches);
        for result in results {
            let (branch, side) = take_up(result, &mut new, reasons.last());
            judged.insert(branch, side);
        }
        let whole = match old {
            Some(old) => merge(old, new, self.item.instance),
            None => new,
        };
        drop(clean);
        let row = self.conclude(whole, judged, &reasons)?;
        partial.finish();
        Ok(row)
    }

    /// The stored result that the new one is put into, with all of its log; all branches are to be run where that is not here.
    fn merged(&mut self, branches: &mut Vec<String>) -> Result<Option<EvalJson>, EvalError> {
        let stored = self.existing.take();
        let Some(stored) = stored.filter(|e| !e.test_branches.is_empty() && e.error_code.is_none())
        else {
            return Ok(None);
        };
        let whole = whole(&self.item.target, self.item.id(), stored);
        if whole.is_none() {
            *branches = self.all_anew("the log of what was packaged is not here");
            blobs_are_there(self.item, branches)?;
        }
        Ok(whole)
    }

    /// What the strict score knows of branches that are not run again.
    fn kept(&self, fresh: &[String]) -> BTreeMap<String, SidecarBranch> {
        let mut kept: BTreeMap<String, SidecarBranch> = BTreeMap::new();
        for branch in self.active().into_iter().filter(|b| !fresh.contains(b)) {
            let before = self.before.as_ref().and_then(|s| s.branches.get(&branch)).cloned();
            let unknown = || SidecarBranch {
                missing: Some(ELSEWHERE.to_owned()),
                ..SidecarBranch::default()
            };
            kept.insert(branch, before.unwrap_or_else(unknown));
        }
        kept
    }

    fn job<'b>(&'b self, base: &'b Base, built: &'b Built<'b>, clean: &'b Clean<'b>) -> Job<'b> {
        Job {
            instance: self.item.instance,
            base,
            layer: built.layer(),
            executable: &built.executable,
            clean,
            images: self.images,
            options: self.options,
        }
    }

    fn key(&self, base: &Base, built: &Built<'_>) -> Key {
        let lists: Vec<_> = self.item.instance.branches.iter().collect();
        let settings =
            serde_json::to_string(&(&self.options.harness, Policy::of(self.options), lists))
                .unwrap_or_default();
        Key {
            submission: self.digest.clone().unwrap_or_default(),
            image: base.id.clone(),
            executable: built.executable.clone(),
            settings: reenact_model::Digest::of(settings.as_bytes()).to_string(),
            isolation: built.isolation.clone(),
        }
    }

    /// Stores both results.
    fn conclude(
        self,
        result: EvalJson,
        branches: BTreeMap<String, SidecarBranch>,
        reasons: &[String],
    ) -> Result<Row, EvalError> {
        let mut sidecar = Sidecar {
            schema: SCHEMA,
            kind: KIND.to_owned(),
            instance: self.item.id().to_owned(),
            unfinished: false,
            harness: self.options.harness.clone(),
            evaluated_at: now_rfc3339(),
            official: Score::default(),
            strict: None,
            strict_missing: None,
            error_code: result.error_code.clone(),
            policy: Policy::of(self.options),
            isolation: self.isolation.clone(),
            image: self.image.clone(),
            submission: self.digest.clone(),
            executable: result.executable_hash.clone(),
            separate_runs: reasons.to_vec(),
            differences: Vec::new(),
            branches,
            build_s: self.build_s,
            wall_s: self.began.elapsed().as_secs_f64(),
            notes: self.notes.clone(),
        };
        sidecar.rework(&result, self.item.instance);
        replace(&self.item.target, &result, &mut sidecar)?;
        Ok(Row::new(self.item, &result, Ok(&sidecar)))
    }
}

/// A branch's part of the official result, and of what lies beside it. `unsure`: why the strict score rests on nothing, if it
/// does.
fn take_up(
    result: BranchResult,
    new: &mut EvalJson,
    unsure: Option<&String>,
) -> (String, SidecarBranch) {
    let missing = match &result.evidence {
        Some(_) => None,
        None => {
            let why = result.unjudged.as_ref().or(unsure).cloned();
            Some(why.unwrap_or_else(|| "nothing that counts was told".to_owned()))
        }
    };
    let side = SidecarBranch {
        strict: None,
        session: result.evidence,
        missing,
        separate_run: result.separate_run,
        wall_s: result.wall_s,
        notes: result.notes,
    };
    new.log.extend(result.log);
    new.test_results.extend(result.results);
    new.warnings.extend(result.warnings);
    if !result.errors.is_empty() {
        new.test_branch_errors.insert(result.branch.clone(), result.errors);
    }
    (result.branch, side)
}
