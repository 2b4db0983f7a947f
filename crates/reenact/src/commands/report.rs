//! `reenact report`.

use super::{Done, probes};
use crate::args::Report;
use crate::commands::grade::{name, results};
use crate::commands::import::is_imported;
use crate::context::Context;
use crate::error::CommandError;
use reenact_bundle::{Suite, TaskBundle, fsx, write_atomic};
use reenact_model::error::parse_json;
use reenact_model::run::TaskResult;
use reenact_model::{ExitCode, RunManifest};
use reenact_report::{Left, RunView, SuiteView, html};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Everything a report is made of, loaded.
struct Loaded {
    name: String,
    manifest: RunManifest,
    results: Vec<TaskResult>,
    left: BTreeMap<String, Left>,
}

pub fn report(args: &Report, context: &Context) -> Done {
    write(&args.runs, &args.out, args.tasks.as_deref(), context)?;
    if context.json {
        context.print_json(&serde_json::json!({"report": args.out}));
    } else {
        context.made("", &args.out);
    }
    Ok(ExitCode::Done)
}

/// Writes the report of `runs` to `out`.
pub fn write(
    runs: &[PathBuf],
    out: &Path,
    tasks: Option<&Path>,
    context: &Context,
) -> Result<(), CommandError> {
    let mut loaded = Vec::new();
    let mut suites: BTreeMap<String, (TaskBundle, Suite, String)> = BTreeMap::new();
    for run in runs {
        let manifest = manifest(run)?;
        let results = results(run)?;
        for result in &results {
            if suites.contains_key(&result.task) || is_imported(&manifest, &result.task) {
                continue;
            }
            match open_task(&manifest, &result.task, tasks)
                .and_then(|t| Ok((Suite::load(&t.suite_dir())?, t)))
            {
                Ok((suite, task)) if suite.manifest.digest == result.suite_digest => {
                    let s = &task.manifest.source;
                    let source = format!("{} {} {}", s.kind, s.name, s.version);
                    suites.insert(result.task.clone(), (task, suite, source));
                }
                Ok(_) => context.say(&format!(
                    "note: {}: the suite has changed; its cases are shown without differences",
                    result.task
                )),
                Err(e) => {
                    context.say(&format!(
                        "note: {}: shown without differences, because its suite cannot be read",
                        result.task
                    ));
                    e.print(context);
                }
            }
        }
        let left = left(run, &manifest, &results, tasks, context);
        loaded.push(Loaded { name: name(run), manifest, results, left });
    }
    let views: Vec<RunView<'_>> = loaded
        .iter()
        .map(|l| RunView {
            name: &l.name,
            manifest: &l.manifest,
            results: &l.results,
            left: &l.left,
        })
        .collect();
    let page = html(&views, &|id| {
        let (task, suite, source) = suites.get(id)?;
        Some(SuiteView {
            cases: &suite.cases,
            blobs: suite,
            seal: Some(task.manifest.reference.seal),
            licence: Some(&task.manifest.source.licence),
            source: Some(source.clone()),
        })
    })
    .map_err(CommandError::environment)?;
    write_atomic(out, page.as_bytes())?;
    Ok(())
}

/// What the agents of a run left beside their submissions. A file that cannot be read costs its section, not the report.
fn left(
    run: &Path,
    manifest: &RunManifest,
    results: &[TaskResult],
    tasks: Option<&Path>,
    context: &Context,
) -> BTreeMap<String, Left> {
    let mut all = BTreeMap::new();
    for id in results.iter().map(|r| &r.task) {
        let told = |part: Result<(), CommandError>| {
            if let Err(e) = part {
                e.print(context);
            }
        };
        let mut left = Left::default();
        told(probes::read(run, id).map(|found| left.probes = found));
        if left.probes.is_some() {
            let surface = open_task(manifest, id, tasks)
                .and_then(|task| Ok(reenact_explore::documented(&task)?));
            told(surface.map(|found| left.surface = Some(found)));
        }
        told(beside(run, id, "integrity").map(|found| left.integrity = found));
        told(beside(run, id, "adjudication").map(|found| left.adjudication = found));
        all.insert(id.clone(), left);
    }
    all
}

/// `<id>.KIND.json` of a run's task, if it is there.
fn beside<T: DeserializeOwned>(
    run: &Path,
    id: &str,
    kind: &str,
) -> Result<Option<T>, CommandError> {
    let file = run.join(id).join(format!("{id}.{kind}.json"));
    if !file.is_file() {
        return Ok(None);
    }
    let bytes = fsx::read(&file)?;
    let text = String::from_utf8_lossy(&bytes);
    parse_json(&file, None, &text).map(Some).map_err(CommandError::usage)
}

/// The manifest of a run directory.
pub fn manifest(run: &Path) -> Result<RunManifest, CommandError> {
    let file = run.join("run.toml");
    if !file.is_file() {
        return Err(CommandError::usage(format!(
            "{}: not a run directory (no run.toml)",
            run.display()
        ))
        .hint("make one: reenact run TASK --agent NAME -o RUN"));
    }
    let bytes = fsx::read(&file)?;
    let text = String::from_utf8(bytes)
        .map_err(|_| CommandError::usage(format!("{}: is not UTF-8", file.display())))?;
    RunManifest::parse(&file, &text).map_err(CommandError::usage)
}

/// The bundle of a run's task: under `tasks` first, then where the run says.
pub fn open_task(
    manifest: &RunManifest,
    id: &str,
    tasks: Option<&Path>,
) -> Result<TaskBundle, CommandError> {
    if let Some(root) = tasks {
        let path = root.join(id);
        if path.join("task.toml").is_file() {
            return Ok(TaskBundle::open(&path.display().to_string())?);
        }
    }
    let entry = manifest
        .tasks
        .get(id)
        .ok_or_else(|| CommandError::usage(format!("the run has no task {id:?}")))?;
    TaskBundle::open(&entry.path).or_else(|_| TaskBundle::open(id)).map_err(|e| {
        CommandError::from(e)
            .hint(format!("the run was made with {}; give --tasks DIR if it has moved", entry.path))
    })
}
