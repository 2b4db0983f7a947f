//! One instance: from its archive to its two scores.

use super::branch::{self, BranchResult, Job};
use super::build::{self, Built, Outcome};
use super::clean::{Clean, clean};
use super::error::EvalError;
use super::images::{Base, Images};
use super::official::{branches_to_eval, inject_not_run, merge, reprocess, score};
use super::options::Options;
use super::partial::{Key, Partial, lock_instance};
use super::row::Row;
use super::sidecar::{KIND, Policy, SCHEMA, Sidecar, SidecarBranch};
use super::station::StepError;
use super::{Item, Reporter, strict, submission};
use reenact_bundle::fsx::{fs_error, now_rfc3339, read, write_atomic};
use reenact_interop::programbench::EvalJson;
use reenact_sandbox::container::Network;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// `<id>.eval.json`
pub(super) fn eval_path(run: &Path, id: &str) -> PathBuf {
    run.join(id).join(format!("{id}.eval.json"))
}

/// A stored official result.
///
/// # Errors
/// [`EvalError::BadResult`] if it is none.
pub fn load(run: &Path, id: &str) -> Result<Option<EvalJson>, EvalError> {
    let path = eval_path(run, id);
    if !path.exists() {
        return Ok(None);
    }
    let parsed = serde_json::from_slice(&read(&path)?);
    parsed
        .map(Some)
        .map_err(|e| EvalError::BadResult { path, what: format!("is no official result: {e}") })
}

fn store(run: &Path, id: &str, result: &EvalJson) -> Result<(), EvalError> {
    let path = eval_path(run, id);
    let text = result
        .to_json()
        .map_err(|e| EvalError::BadResult { path: path.clone(), what: e.to_string() })?;
    Ok(write_atomic(&path, text.as_bytes())?)
}

/// Reads what is stored, worked out again from its log where that is possible; nothing is run.
pub(super) fn summarize(item: &Item<'_>) -> Result<Option<Row>, EvalError> {
    let _lock = lock_instance(&item.target, item.id())?;
    let Some(existing) = load(&item.target, item.id())? else { return Ok(None) };
    summary(item, existing).map(Some)
}

fn summary(item: &Item<'_>, existing: EvalJson) -> Result<Row, EvalError> {
    let result = match reprocess(&existing, item.instance) {
        Some(again) => {
            if again != existing {
                store(&item.target, item.id(), &again)?;
            }
            again
        }
        None => existing,
    };
    Ok(Row::new(item, &result, Sidecar::load(&item.target, item.id()).as_ref()))
}

/// Evaluates.
pub(super) fn evaluate(
    item: &Item<'_>,
    images: &dyn Images,
    options: &Options,
    reporter: &dyn Reporter,
) -> Result<Row, EvalError> {
    let _lock = lock_instance(&item.target, item.id())?;
    let existing = if options.force { None } else { load(&item.target, item.id())? };
    let mut work = Work::new(item, images, options, reporter, existing);
    let archive = item.source.join(item.id()).join("submission.tar.gz");
    if !archive.exists() {
        let why = format!("{} is not there", archive.display());
        return work.give_up("no_submission", why);
    }
    let (digest, problem) = submission::check(&archive)?;
    work.changed(&digest);
    let branches = branches_to_eval(work.existing.as_ref(), item.instance);
    if let (true, Some(existing)) = (branches.is_empty(), work.existing.take()) {
        return summary(item, existing);
    }
    if let Err(why) = problem {
        return work.give_up("bad_submission", why);
    }
    blobs_are_there(item, &branches)?;
    let base = images.base(&item.instance.image(&options.image_tag))?;
    work.image = Some((base.name.clone(), base.id.clone()));
    work.run(&base, &archive, &branches)
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
    ) -> Self {
        let before = Sidecar::load(&item.target, item.id());
        Self {
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
        }
    }

    /// Forgets results of another submission.
    fn changed(&mut self, digest: &str) {
        let before = self.before.as_ref().and_then(|s| s.submission.as_deref());
        if self.existing.is_some() && before.is_some_and(|b| b != digest) {
            self.notes.push(
                "the submission has changed since it was evaluated: evaluated anew".to_owned(),
            );
            self.existing = None;
        }
        self.digest = Some(digest.to_owned());
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
        log: Vec<reenact_interop::programbench::LogEntry>,
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
        let nothing = super::Evidence::default();
        let judged = self.active().into_iter().map(|b| {
            let strict = strict::judge(self.item.instance, &b, &nothing, false);
            (b, SidecarBranch { strict: Some(strict), ..SidecarBranch::default() })
        });
        let judged = judged.collect();
        self.conclude(result, judged, &[])
    }

    fn run(mut self, base: &Base, archive: &Path, branches: &[String]) -> Result<Row, EvalError> {
        let mut log = Vec::new();
        self.reporter.building(self.item.id());
        let hashes = &self.item.instance.clean_hashes;
        let built = build::build(base, archive, hashes, self.images, self.options, &mut log)?;
        self.build_s = self.began.elapsed().as_secs_f64();
        let built = match built {
            Outcome::Built(built) => built,
            Outcome::Failed(StepError { code, details }) => {
                return self.not_tested(&code, details, log, branches);
            }
        };
        self.isolation.clone_from(&built.isolation);
        let clean = clean(&built, base, self.images, self.options)?;
        let (partial, done) =
            Partial::open(&self.item.target, self.item.id(), self.key(base, &built))?;
        let results = self.test(base, &built, &clean, branches, done, &partial)?;
        let mut new = EvalJson {
            solution_branch: Some("submission".to_owned()),
            test_branches: branches.to_vec(),
            executable_hash: Some(built.executable.clone()),
            log,
            ..EvalJson::default()
        };
        let mut judged = self.kept(branches);
        for result in results {
            let strict = result.evidence.as_ref().map(|e| {
                strict::judge(self.item.instance, &result.branch, e, self.options.accept_aliases)
            });
            let session = result.evidence.map(|mut e| {
                e.tests.clear();
                e
            });
            let side = SidecarBranch {
                strict,
                session,
                separate_run: result.separate_run,
                wall_s: result.wall_s,
                notes: result.notes,
            };
            judged.insert(result.branch.clone(), side);
            new.log.extend(result.log);
            new.test_results.extend(result.results);
            new.warnings.extend(result.warnings);
            if !result.errors.is_empty() {
                new.test_branch_errors.insert(result.branch, result.errors);
            }
        }
        let whole = match self
            .existing
            .take()
            .filter(|e| !e.test_branches.is_empty() && e.error_code.is_none())
        {
            Some(old) => merge(old, new, self.item.instance),
            None => new,
        };
        let reasons = clean.reasons().to_vec();
        drop(clean);
        let row = self.conclude(whole, judged, &reasons)?;
        partial.finish();
        Ok(row)
    }

    /// What the strict score knows of branches that are not run again.
    fn kept(&self, fresh: &[String]) -> BTreeMap<String, SidecarBranch> {
        let mut kept: BTreeMap<String, SidecarBranch> = BTreeMap::new();
        for branch in self.active().into_iter().filter(|b| !fresh.contains(b)) {
            let before = self.before.as_ref().and_then(|s| s.branches.get(&branch)).cloned();
            kept.insert(branch, before.unwrap_or_default());
        }
        kept
    }

    fn key(&self, base: &Base, built: &Built<'_>) -> Key {
        let lists: Vec<_> = self.item.instance.branches.iter().collect();
        let settings = serde_json::to_string(&(&self.options.harness, self.policy(), lists))
            .unwrap_or_default();
        Key {
            submission: self.digest.clone().unwrap_or_default(),
            image: base.id.clone(),
            executable: built.executable.clone(),
            settings: reenact_model::Digest::of(settings.as_bytes()).to_string(),
        }
    }

    /// Runs the branches, some at once; those of an evaluation that was stopped are there already.
    fn test(
        &self,
        base: &Base,
        built: &Built<'_>,
        clean: &Clean<'_>,
        branches: &[String],
        done: Vec<BranchResult>,
        partial: &Partial,
    ) -> Result<Vec<BranchResult>, EvalError> {
        let job = Job {
            instance: self.item.instance,
            base,
            layer: built.layer(),
            executable: &built.executable,
            clean,
            images: self.images,
            options: self.options,
        };
        let unchanged = |r: &BranchResult| {
            submission::digest(&self.item.instance.blob_path(&r.branch)).is_ok_and(|d| d == r.blob)
        };
        let done: Vec<BranchResult> = done.into_iter().filter(unchanged).collect();
        let had: BTreeSet<String> = done.iter().map(|d| d.branch.clone()).collect();
        let todo: Vec<&String> = branches.iter().filter(|b| !had.contains(*b)).collect();
        let (total, resumed) = (branches.len(), branches.len() - todo.len());
        self.reporter.testing(self.item.id(), total, resumed);
        let results = Mutex::new(done);
        let failed: Mutex<Option<EvalError>> = Mutex::new(None);
        let next = AtomicUsize::new(0);
        let finished = AtomicUsize::new(resumed);
        let worker = || {
            while let Some(branch) = todo.get(next.fetch_add(1, Ordering::SeqCst)) {
                if lock(&failed).is_some() {
                    return;
                }
                match branch::run(&job, branch).and_then(|r| partial.add(&r).map(|()| r)) {
                    Ok(result) => {
                        lock(&results).push(result);
                        let n = finished.fetch_add(1, Ordering::SeqCst) + 1;
                        self.reporter.tested(self.item.id(), branch, n, total);
                    }
                    Err(e) => {
                        lock(&failed).get_or_insert(e);
                        return;
                    }
                }
            }
        };
        let workers = self.options.branch_workers.clamp(1, todo.len().max(1));
        std::thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(worker);
            }
        });
        if let Some(e) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(e);
        }
        let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
        let order: BTreeMap<&String, usize> =
            branches.iter().enumerate().map(|(i, b)| (b, i)).collect();
        results.retain(|r| order.contains_key(&r.branch));
        results.sort_by_key(|r| order[&r.branch]);
        Ok(results)
    }

    fn policy(&self) -> Policy {
        let options = self.options;
        Policy {
            network: match options.network {
                Network::None => "none",
                Network::Host => "host",
            }
            .to_owned(),
            image_tag: options.image_tag.clone(),
            cpus: options.cpus,
            compile_timeout_s: options.compile_timeout.as_secs(),
            test_timeout_s: options.test_timeout.as_secs(),
            branch_retries: options.branch_retries,
            accept_aliases: options.accept_aliases,
        }
    }

    /// Stores both results.
    fn conclude(
        self,
        result: EvalJson,
        branches: BTreeMap<String, SidecarBranch>,
        reasons: &[String],
    ) -> Result<Row, EvalError> {
        let strict: BTreeMap<_, _> =
            branches.iter().map(|(b, s)| (b.clone(), s.strict.clone())).collect();
        let unjudged: Vec<&str> =
            strict.iter().filter(|(_, s)| s.is_none()).map(|(b, _)| b.as_str()).collect();
        let strict_missing = match (unjudged.is_empty(), reasons.last()) {
            (true, _) => None,
            (false, Some(reason)) => Some(format!("{}: {reason}", unjudged.join(", "))),
            (false, None) => Some(format!(
                "{}: evaluated by another tool; --force evaluates them here",
                unjudged.join(", ")
            )),
        };
        let sidecar = Sidecar {
            schema: SCHEMA,
            kind: KIND.to_owned(),
            instance: self.item.id().to_owned(),
            harness: self.options.harness.clone(),
            evaluated_at: now_rfc3339(),
            official: score(&result, self.item.instance),
            strict: strict::score(&strict),
            strict_missing,
            error_code: result.error_code.clone(),
            policy: self.policy(),
            isolation: self.isolation.clone(),
            image: self.image.clone(),
            submission: self.digest.clone(),
            executable: result.executable_hash.clone(),
            separate_runs: reasons.to_vec(),
            differences: strict::differences(&result, &strict, self.item.instance),
            branches,
            build_s: self.build_s,
            wall_s: self.began.elapsed().as_secs_f64(),
            notes: self.notes.clone(),
        };
        let dir = self.item.target.join(self.item.id());
        std::fs::create_dir_all(&dir).map_err(fs_error(&dir, "create"))?;
        sidecar.store(&self.item.target)?;
        store(&self.item.target, self.item.id(), &result)?;
        Ok(Row::new(self.item, &result, Some(&sidecar)))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
