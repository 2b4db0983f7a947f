//! Running cases on the reference (or a dummy) in cells, many at a time, results in the order of the cases.

use crate::error::ExploreError;
use reenact_bundle::shape::{CellOptions, reference_cell};
use reenact_bundle::{Progress, TaskBundle};
use reenact_model::{BlobSource, Case, CaseObservation, Ended, Limits};
use reenact_sandbox::pool::run_all;
use reenact_sandbox::spec::PROGRAM;
use reenact_sandbox::{CellSpec, Perturbation};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

/// How the engine works on this host.
#[derive(Clone, Debug)]
pub struct ExploreOptions {
    /// Cells at work at once; 0 counts as 1.
    pub workers: usize,
    /// How cells are built.
    pub cells: CellOptions,
}

/// Wall-clock limit of a candidate's step while exploring, milliseconds. Far above what a case may need, far below the
/// grading limit: programs that hang on a terminal or on a socket must not eat the budget.
const EXPLORE_WALL_MS: u64 = 2_500;

/// The limit once the program has shown that it likes to hang without a terminal: waiting longer for each call would eat
/// the budget.
const HANGING_WALL_MS: u64 = 500;

/// The same for terminal steps, which wait for the program to fall idle before each key.
const EXPLORE_TTY_WALL_MS: u64 = 6_000;

/// Cells per worker for terminal cases, which mostly sleep.
const TTY_OVERCOMMIT: usize = 6;

/// Circumstances of one pass over cases.
#[derive(Clone, Debug, Default)]
pub struct Circumstances {
    /// Another working directory than the default.
    pub cwd: Option<String>,
    /// Another host name than the default.
    pub hostname: Option<String>,
    pub perturb: Perturbation,
    /// Keep every core busy meanwhile.
    pub load: bool,
    /// Grade-time limits instead of the short ones of exploration.
    pub full_limits: bool,
}

/// What became of one case.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    /// It ran.
    Ran(Box<CaseObservation>),
    /// The harness failed on it, several times.
    Harness(String),
    /// The deadline came first.
    NotRun,
}

impl Seen {
    /// The observation, if there is one.
    pub fn ran(&self) -> Option<&CaseObservation> {
        match self {
            Self::Ran(seen) => Some(seen),
            Self::Harness(_) | Self::NotRun => None,
        }
    }
}

/// Blobs that can be read from several threads.
pub type Blobs<'a> = &'a (dyn BlobSource + Sync);

/// The bench on which a program is observed.
pub struct Lab<'a> {
    pub spec: CellSpec,
    pub workers: usize,
    pub progress: &'a dyn Progress,
    /// The present limit of plain candidates, milliseconds; see [`EXPLORE_WALL_MS`] and [`HANGING_WALL_MS`].
    plain_wall_ms: AtomicU64,
}

impl<'a> Lab<'a> {
    /// A bench with the task's reference on it.
    pub fn of_reference(
        task: &TaskBundle,
        options: &ExploreOptions,
        progress: &'a dyn Progress,
    ) -> Self {
        Self::new(reference_cell(task, &options.cells), options.workers, progress)
    }

    /// A bench with whatever program the cell holds.
    pub fn new(spec: CellSpec, workers: usize, progress: &'a dyn Progress) -> Self {
        let plain_wall_ms = AtomicU64::new(EXPLORE_WALL_MS);
        Self { spec, workers: workers.max(1), progress, plain_wall_ms }
    }

    /// Runs every case once. Results stand in the order of `cases`, whatever the order of completion.
    ///
    /// # Errors
    /// [`ExploreError::Sandbox`] when no cell starts, or when the harness failed on every case it tried.
    pub fn observe(
        &self,
        cases: &[&Case],
        blobs: Blobs<'_>,
        how: &Circumstances,
        deadline: Option<Instant>,
    ) -> Result<Vec<Seen>, ExploreError> {
        let mut seen = vec![Seen::NotRun; cases.len()];
        let (tty, plain): (Vec<usize>, Vec<usize>) =
            (0..cases.len()).partition(|&i| cases[i].steps.iter().any(|s| s.tty.is_some()));
        let _load = how.load.then(Load::start);
        let mut done = 0;
        // Terminal cases first: they mostly sleep, many at a time, and where there are many they are what matters; a budget
        // that is eaten by calls without a terminal must not cut them off.
        let kinds = [
            (tty, self.workers * TTY_OVERCOMMIT, EXPLORE_TTY_WALL_MS),
            (plain, self.workers, self.plain_wall_ms.load(Ordering::Relaxed)),
        ];
        for (indices, workers, wall_ms) in kinds {
            let picked: Vec<&Case> = indices.iter().map(|&i| cases[i]).collect();
            let spec = self.spec_for(how, wall_ms);
            self.pass(
                &spec,
                workers,
                &picked,
                blobs,
                &how.perturb,
                deadline,
                &mut |index, result| {
                    seen[indices[index]] = result;
                    done += 1;
                    self.progress.tick(done, cases.len() as u64);
                },
            )?;
        }
        self.learn_hanging(cases, &seen);
        let tried = seen.iter().filter(|s| **s != Seen::NotRun).count();
        if let Some(Seen::Harness(what)) = seen.iter().find(|s| matches!(s, Seen::Harness(_)))
            && seen.iter().filter(|s| matches!(s, Seen::Harness(_))).count() == tried
        {
            let what = format!("the sandbox failed on each of {tried} cases: {what}");
            return Err(reenact_sandbox::SandboxError::Lost(what).into());
        }
        Ok(seen)
    }

    /// Lowers the limit of plain candidates when at least two, and a fifth, of those just tried ran into it.
    fn learn_hanging(&self, cases: &[&Case], seen: &[Seen]) {
        let plain =
            || cases.iter().zip(seen).filter(|(c, _)| c.steps.iter().all(|s| s.tty.is_none()));
        let hung = |seen: &Seen| {
            seen.ran()
                .is_some_and(|o| o.steps.iter().any(|s| matches!(s.ended, Ended::WallLimit { .. })))
        };
        let count = plain().filter(|(_, s)| hung(s)).count();
        if count >= 2 && count * 5 >= plain().count() {
            self.plain_wall_ms.store(HANGING_WALL_MS, Ordering::Relaxed);
        }
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "private, called once; the arguments are the pass"
    )]
    fn pass(
        &self,
        spec: &CellSpec,
        workers: usize,
        cases: &[&Case],
        blobs: Blobs<'_>,
        perturb: &Perturbation,
        deadline: Option<Instant>,
        store: &mut dyn FnMut(usize, Seen),
    ) -> Result<(), ExploreError> {
        run_all(
            spec,
            workers,
            cases,
            |cell, case| cell.run_case(PROGRAM, case, blobs, perturb),
            |done| {
                store(
                    done.index,
                    match done.result {
                        Ok(seen) => Seen::Ran(Box::new(seen)),
                        Err(error) => Seen::Harness(error.to_string()),
                    },
                );
                match deadline {
                    Some(at) if Instant::now() >= at => ControlFlow::Break(()),
                    _ => ControlFlow::Continue(()),
                }
            },
        )?;
        Ok(())
    }

    fn spec_for(&self, how: &Circumstances, wall_ms: u64) -> CellSpec {
        let mut spec = self.spec.clone();
        if let Some(cwd) = &how.cwd {
            spec.cwd.clone_from(cwd);
        }
        if let Some(hostname) = &how.hostname {
            spec.hostname.clone_from(hostname);
        }
        if !how.full_limits {
            let short = spec.step_limits.wall_ms.map_or(wall_ms, |ms| ms.min(wall_ms));
            spec.step_limits = Limits { wall_ms: Some(short), ..spec.step_limits };
        }
        spec
    }
}

/// Threads that keep every core busy until dropped.
struct Load {
    stop: std::sync::Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Load {
    fn start() -> Self {
        let stop = std::sync::Arc::new(AtomicBool::new(false));
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let threads = (0..cores)
            .map(|_| {
                let stop = stop.clone();
                std::thread::spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        std::hint::spin_loop();
                    }
                })
            })
            .collect();
        Self { stop, threads }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A spinning thread cannot panic; nothing is lost if it did.
            drop(thread.join());
        }
    }
}
