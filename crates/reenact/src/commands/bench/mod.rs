//! `reenact bench`: ratios against the floor of the same run. Figures, never pass or fail.

mod agents;
mod image;
mod room;

use super::Done;
use crate::args::{Bench, BenchPart};
use crate::context::{Context, harness};
use crate::error::CommandError;
use reenact_bundle::{Suite, SuiteDraft, TaskBundle, fsx};
use reenact_cleanroom::{Baseline, RunOptions, run_baseline};
use reenact_grade::{GradeOptions, GradeReporter};
use reenact_model::run::TaskResult;
use reenact_model::{
    Captured, Case, Content, Digest, ExitCode, ExitExpect, Expect, Matcher, NoBlobs, Step,
    SuiteManifest,
};
use reenact_sandbox::floor::{bare_spawn, peak_memory};
use reenact_sandbox::{Cell, CellSpec, Perturbation};
use std::cell::Cell as StdCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

/// One line of the table.
#[derive(serde::Serialize)]
struct Line {
    what: String,
    floor: String,
    ours: String,
    ratio: f64,
}

pub fn bench(args: &Bench, context: &Context) -> Done {
    let wanted = |part| args.parts.is_empty() || args.parts.contains(&part);
    let mut lines = Vec::new();
    if wanted(BenchPart::Invocation) {
        lines.extend(invocation(args.runs, context)?);
    }
    if wanted(BenchPart::Throughput) {
        lines.extend(throughput(context)?);
    }
    if wanted(BenchPart::Start) {
        lines.push(start(context)?);
    }
    if wanted(BenchPart::Memory) {
        lines.push(memory(context)?);
    }
    if wanted(BenchPart::Oracle) {
        lines.extend(room::oracle(args.runs, context)?);
    }
    if wanted(BenchPart::Room) {
        lines.push(room::start(context)?);
        lines.push(room::opened(context)?);
    }
    if wanted(BenchPart::Trajectory) {
        lines.push(agents::trajectory()?);
    }
    if wanted(BenchPart::Agents) {
        lines.extend(agents::agents(context)?);
    }
    if wanted(BenchPart::Image) {
        lines.extend(image::image(context)?);
    }
    if context.json {
        context.print_json(&lines);
    } else {
        context.out("| what | floor | reenact | ratio |\n|---|---|---|---|");
        for l in &lines {
            context.out(&format!("| {} | {} | {} | {:.2} |", l.what, l.floor, l.ours, l.ratio));
        }
    }
    Ok(ExitCode::Done)
}

fn plain_case(args: &[String]) -> Case {
    Case {
        id: "bench".to_owned(),
        group: "bench".to_owned(),
        steps: vec![Step { argv: args.to_vec(), ..Default::default() }],
        files: Default::default(),
        after: Default::default(),
        limits: Default::default(),
        origin: None,
        tags: Default::default(),
        weight: 1,
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn us(d: Duration) -> f64 {
    d.as_secs_f64() * 1e6
}

/// A program that exists here, with arguments: `true`, and real tools of about a millisecond and more. The tiny static
/// program is compiled, where there is a compiler.
fn programs(dir: &Path) -> Vec<(String, String, Vec<String>)> {
    let mut found = Vec::new();
    let source = dir.join("tiny.c");
    let tiny = dir.join("tiny");
    let text = "void _start(void){__asm__ volatile(\"mov $60,%eax; xor %edi,%edi; syscall\");}\n";
    let compiled = std::fs::write(&source, text).is_ok()
        && reenact_sandbox::host::HostCommand::new(
            "cc",
            [
                "-static",
                "-nostdlib",
                "-O1",
                "-o",
                &tiny.display().to_string(),
                &source.display().to_string(),
            ],
        )
        .run()
        .is_ok_and(|o| o.ok());
    if compiled {
        found.push(("tiny static program".to_owned(), tiny.display().to_string(), Vec::new()));
    }
    found.push(("/bin/true".to_owned(), "/bin/true".to_owned(), Vec::new()));
    let strings = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
    for (name, program, args) in [
        ("perl -e 1", "/usr/bin/perl", strings(&["-e", "1"])),
        ("bash -c :", "/bin/bash", strings(&["-c", ":"])),
        ("git --version", "/usr/bin/git", strings(&["--version"])),
        ("python3 -S -c pass", "/usr/bin/python3", strings(&["-S", "-c", "pass"])),
    ] {
        if Path::new(program).exists() {
            found.push((name.to_owned(), program.to_owned(), args));
        }
    }
    found
}

/// (a) Sandboxed against bare, interleaved, so that drift of the machine hits both.
fn invocation(runs: usize, context: &Context) -> Result<Vec<Line>, CommandError> {
    let dir = tempfile::tempdir().map_err(CommandError::environment)?;
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755))
        .map_err(CommandError::environment)?;
    let mut lines = Vec::new();
    for (name, program, args) in programs(dir.path()) {
        let mut spec = CellSpec { isolation: context.cells.isolation, ..CellSpec::host() };
        let mut inside = program.clone();
        if program.starts_with(&dir.path().display().to_string()) {
            inside = reenact_sandbox::spec::PROGRAM.to_owned();
            spec.mounts.push(reenact_sandbox::Mount {
                source: PathBuf::from(&program),
                target: inside.clone(),
            });
        }
        let mut cell = Cell::start(&spec)?;
        let case = plain_case(&args);
        let (mut bare, mut ours) = (Vec::with_capacity(runs), Vec::with_capacity(runs));
        for i in 0..runs + 20 {
            let floor = bare_spawn(&program, &args)?;
            let begun = Instant::now();
            cell.run_case(&inside, &case, &NoBlobs, &Perturbation::default())?;
            let took = begun.elapsed();
            if i >= 20 {
                bare.push(floor);
                ours.push(took);
            }
        }
        let (floor, ours) = (median(bare), median(ours));
        lines.push(Line {
            what: format!("one invocation, {name}, median of {runs}"),
            floor: format!("{:.0} us", us(floor)),
            ours: format!("{:.0} us", us(ours)),
            ratio: us(ours) / us(floor),
        });
    }
    Ok(lines)
}

/// A task whose reference is `/bin/echo`-like: the host's `printf`, with `cases` cases, written by hand.
fn make_task(dir: &Path, cases: usize) -> Result<TaskBundle, CommandError> {
    let program = ["/usr/bin/printf", "/bin/echo"]
        .into_iter()
        .find(|p| Path::new(p).exists())
        .unwrap_or("/bin/echo");
    let root = dir.join("path__bench.1");
    let bytes = std::fs::read(program).map_err(CommandError::environment)?;
    fsx::write_atomic(&root.join("sealed/reference"), &bytes)?;
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(root.join("sealed/reference"), std::fs::Permissions::from_mode(0o755))
        .map_err(CommandError::environment)?;
    fsx::write_atomic(&root.join("docs/README.txt"), b"prints its arguments\n")?;
    let digest = Digest::of(&bytes);
    let toml = format!(
        "schema = 1\n[task]\nid = \"path__bench.1\"\ntitle = \"bench\"\nsplit = \"public\"\ncreated = \"2026-01-01T00:00:00Z\"\n\
         [source]\nkind = \"path\"\nname = \"bench\"\nversion = \"1\"\nsha256 = \"{digest}\"\nlicence = \"unknown\"\n\
         [reference]\nsha256 = \"{digest}\"\nsize = {}\nstatic = false\nseal = \"guarded\"\nmasks = [\"{program}\"]\n\
         [platform]\nos = \"linux\"\narch = \"x86_64\"\nrootfs = \"host\"\n",
        bytes.len()
    );
    fsx::write_atomic(&root.join("task.toml"), toml.as_bytes())?;
    let task = TaskBundle::open(&root.display().to_string())?;
    let exact = |c: &Captured| Some(vec![Matcher::Exact(c.content.clone())]);
    let list = (0..cases)
        .map(|i| {
            let mut case = plain_case(&["%s\\n".to_owned(), format!("case {i}")]);
            case.steps[0].expect = Some(Expect {
                exit: Some(ExitExpect::Code(0)),
                stdout: Some(vec![Matcher::Exact(Content::Text(format!("case {i}\n")))]),
                stderr: exact(&Captured::empty()),
                screen: None,
            });
            case.id = format!("c-{i}");
            case
        })
        .collect();
    let manifest = SuiteManifest {
        schema: reenact_model::SCHEMA,
        digest: Digest::of(b""),
        reference: digest,
        cases: 0,
        kind: "imported".to_owned(),
        seed: None,
        created: fsx::now_rfc3339(),
        generator: env!("CARGO_PKG_VERSION").to_owned(),
        quality: Default::default(),
        groups: Default::default(),
        tags: Default::default(),
        dropped: Default::default(),
        dummies: Default::default(),
    };
    SuiteDraft { manifest, cases: list, blobs: Default::default() }.write(&task.suite_dir())?;
    Ok(task)
}

/// Notes when the first verdict came.
struct Clock {
    begun: Instant,
    first: StdCell<Option<Duration>>,
}

impl Clock {
    fn start() -> Self {
        Self { begun: Instant::now(), first: StdCell::new(None) }
    }
}

impl GradeReporter for Clock {
    fn task_started(&self, _: &str, _: u64, _: u64) {}
    fn building(&self, _: &str) {}
    fn judged(&self, _: &str, _: u64, _: u64, _: u64) {
        if self.first.get().is_none() {
            self.first.set(Some(self.begun.elapsed()));
        }
    }
    fn task_finished(&self, _: &TaskResult) {}
    fn note(&self, _: &str) {}
}

/// A graded upper-bound run: its result, total time, and time to the first verdict.
fn grade_once(
    task: &TaskBundle,
    run: &Path,
    workers: usize,
    context: &Context,
) -> Result<(TaskResult, Duration, Duration), CommandError> {
    let options = RunOptions {
        settings: Default::default(),
        out: run.to_path_buf(),
        cells: context.cells.clone(),
        policy: Default::default(),
        workers,
        harness: harness(),
        force: false,
    };
    run_baseline(
        task,
        &task.root.display().to_string(),
        &Baseline::Reference,
        &[],
        &options,
        &reenact_bundle::Quiet,
    )?;
    let grading = GradeOptions {
        workers,
        cells: context.cells.clone(),
        build_wall_ms: None,
        tasks_root: None,
        only: Vec::new(),
        force: true,
        harness: harness(),
        stop: Arc::new(AtomicBool::new(false)),
    };
    let clock = Clock::start();
    let mut results = reenact_grade::grade(run, &grading, &clock)?;
    let took = clock.begun.elapsed();
    let result =
        results.pop().ok_or_else(|| CommandError::environment("the bench run has no result"))?;
    if result.passed != result.total {
        return Err(CommandError::environment(format!(
            "the bench's own reference passed {}/{}",
            result.passed, result.total
        )));
    }
    Ok((result, took, clock.first.get().unwrap_or(took)))
}

/// (b) Whole-suite throughput with 1 and 2 workers, against bare spawns of the same program by as many threads.
fn throughput(context: &Context) -> Result<Vec<Line>, CommandError> {
    const CASES: usize = 2000;
    let dir = tempfile::tempdir().map_err(CommandError::environment)?;
    let task = make_task(dir.path(), CASES)?;
    let program = task.reference().display().to_string();
    let mut lines = Vec::new();
    for workers in [1, 2] {
        let floor = floor_rate(&program, CASES, workers)?;
        let (result, _, _) =
            grade_once(&task, &dir.path().join(format!("run{workers}")), workers, context)?;
        let rate = CASES as f64 / (result.suite_ms.max(1) as f64 / 1000.0);
        lines.push(Line {
            what: format!("grading {CASES} cases, {workers} worker(s), cases a second"),
            floor: format!("{floor:.0}/s"),
            ours: format!("{rate:.0}/s"),
            ratio: rate / floor,
        });
    }
    Ok(lines)
}

fn floor_rate(program: &str, cases: usize, threads: usize) -> Result<f64, CommandError> {
    let args = ["%s\\n".to_owned(), "case".to_owned()];
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let handles: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    (0..cases / threads).try_for_each(|_| bare_spawn(program, &args).map(|_| ()))
                })
            })
            .collect();
        handles.into_iter().try_for_each(|h| h.join().unwrap_or(Ok(())))
    })?;
    Ok(cases as f64 / begun.elapsed().as_secs_f64())
}

/// (c) From the start of `grade` (build of a submission that only copies included) to the first verdict.
fn start(context: &Context) -> Result<Line, CommandError> {
    let dir = tempfile::tempdir().map_err(CommandError::environment)?;
    let task = make_task(dir.path(), 10)?;
    let mut firsts = Vec::new();
    for i in 0..5 {
        firsts.push(grade_once(&task, &dir.path().join(format!("run{i}")), 1, context)?.2);
    }
    let floor = bare_spawn(&task.reference().display().to_string(), &[])?;
    let first = median(firsts);
    Ok(Line {
        what: "cold start of grade to its first verdict, build included, median of 5".to_owned(),
        floor: format!("{:.1} ms (one bare spawn)", us(floor) / 1000.0),
        ours: format!("{:.1} ms", us(first) / 1000.0),
        ratio: us(first) / us(floor),
    })
}

/// (d) Peak memory of this process after grading 10,000 cases, over what it was before.
fn memory(context: &Context) -> Result<Line, CommandError> {
    let dir = tempfile::tempdir().map_err(CommandError::environment)?;
    let task = make_task(dir.path(), 10_000)?;
    let size =
        Suite::load(&task.suite_dir())?.cases.iter().map(|c| c.to_line().len()).sum::<usize>();
    let before = peak_memory();
    grade_once(&task, &dir.path().join("run"), 2, context)?;
    let after = peak_memory();
    let mib = |n: u64| n as f64 / f64::from(1 << 20);
    Ok(Line {
        what: format!(
            "peak memory while grading 10,000 cases (suite of {:.1} MiB)",
            mib(size as u64)
        ),
        floor: format!("{:.1} MiB (before)", mib(before)),
        ours: format!("{:.1} MiB", mib(after)),
        ratio: mib(after) / mib(before),
    })
}
