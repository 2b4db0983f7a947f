//! Tasks of ProgramBench's among the others: `task list`, `task show`, and the selection that several commands share.

use crate::context::Context;
use crate::error::CommandError;
use clap::Args as ClapArgs;
use reenact_model::ExitCode;
use reenact_programbench::dataset::{DatasetError, Instance, Place, Select, TaskToml};
use reenact_report::visible::text;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Which tasks of ProgramBench's.
#[derive(ClapArgs, Clone, Debug, Default)]
pub struct SelectArgs {
    /// Only ids that begin with a match of this regular expression
    #[arg(long, value_name = "RE", default_value = "", hide_default_value = true)]
    pub filter: String,
    /// Only this language (c, cpp, go, hs, java, rs; may be repeated)
    #[arg(long, value_name = "LANG")]
    pub language: Vec<String>,
    /// Only this difficulty (easy, medium, hard, none; may be repeated)
    #[arg(long, value_name = "LEVEL")]
    pub difficulty: Vec<String>,
    /// Of what is left, this slice, as in Python: 0:5, -10:, ::2
    #[arg(
        long,
        value_name = "SLICE",
        default_value = "",
        hide_default_value = true,
        allow_hyphen_values = true
    )]
    pub slice: String,
}

impl SelectArgs {
    pub fn select(&self) -> Result<Select, DatasetError> {
        Select::new(&self.filter, &self.language, &self.difficulty, &self.slice)
    }
}

impl From<DatasetError> for CommandError {
    fn from(error: DatasetError) -> Self {
        if error.is_usage() { Self::usage(&error) } else { Self::environment(&error) }
    }
}

/// A row of `task list` for an imported task.
pub fn row(task: &TaskToml) -> String {
    let difficulty = task.task.difficulty.as_deref().unwrap_or("–");
    format!(
        "{:<36} {:<11} {:>9}  ProgramBench: {}, {}, {} branches",
        task.task.id,
        text(task.task.language.as_bytes()),
        format!("{} tests", task.counts.active),
        text(task.task.repository.as_bytes()),
        text(difficulty.as_bytes()),
        task.counts.branches,
    )
}

/// The same for machines.
pub fn json(path: &Path, task: &TaskToml) -> serde_json::Value {
    serde_json::json!({
        "id": task.task.id, "path": path, "kind": task.kind, "repository": task.task.repository,
        "language": task.task.language, "difficulty": task.task.difficulty, "counts": task.counts,
        "blobs": task.blobs.len(), "source": task.source,
    })
}

/// The directory of the task that `name` names (itself, or an id under `tasks/`), if that is an imported one.
pub fn find(name: &str) -> Result<Option<(PathBuf, TaskToml)>, CommandError> {
    for dir in [PathBuf::from(name), Path::new("tasks").join(name)] {
        if dir.join("task.toml").is_file() {
            return Ok(TaskToml::read(&dir)?.map(|task| (dir, task)));
        }
    }
    Ok(None)
}

/// `task check` of an imported task: its files are those that were imported.
pub fn check(dir: &Path, task: &TaskToml, context: &Context) -> ExitCode {
    let found = task.verify(dir);
    let good = found.iter().all(|(_, wrong)| wrong.is_none());
    if context.json {
        let checks: Vec<_> = found
            .iter()
            .map(|(name, wrong)| serde_json::json!({"name": name, "ok": wrong.is_none(), "detail": wrong}))
            .collect();
        context.print_json(&serde_json::json!({"ok": good, "checks": checks}));
    } else {
        for (name, wrong) in &found {
            let word = if wrong.is_none() { "ok" } else { "FAILED" };
            let detail = wrong.as_deref().unwrap_or("as it was imported");
            context.out(&format!("{word:<7} {name:<16} {}", text(detail.as_bytes())));
        }
    }
    if good { ExitCode::Done } else { ExitCode::CheckFailed }
}

/// `task show` of an imported task.
pub fn show(dir: &Path, task: &TaskToml, context: &Context) -> Result<(), CommandError> {
    // The id is the directory's name, which `.` and `..` are not.
    let dir = dir
        .canonicalize()
        .map_err(|e| CommandError::environment(format!("{}: {e}", dir.display())))?;
    let instance = Instance::open(&dir, &Place::from_env())?;
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    let ignored = instance.branches.iter().flat_map(|(_, b)| &b.ignored_tests);
    for reason in ignored.flat_map(|t| &t.reasons) {
        *reasons.entry(&reason.id).or_default() += 1;
    }
    if context.json {
        let branches: Vec<_> = instance
            .branches
            .iter()
            .map(|(name, b)| {
                serde_json::json!({
                    "branch": name, "ignored": b.ignored, "tests": b.tests.len(),
                    "ignored_tests": b.ignored_tests.len(), "blob": instance.blob(name),
                })
            })
            .collect();
        context.print_json(
            &serde_json::json!({"manifest": task, "branches": branches, "reasons": reasons}),
        );
        return Ok(());
    }
    let about = &task.task;
    let counts = instance.counts();
    let blobs = instance.branches.iter().filter(|(n, _)| instance.blob(n).is_some()).count();
    context.out(&format!(
        "{}  (ProgramBench: {} at {})",
        about.id,
        text(about.repository.as_bytes()),
        text(about.commit.as_bytes())
    ));
    let difficulty = about.difficulty.as_deref().unwrap_or("no difficulty given");
    context.out(&format!(
        "  language   {}, {}",
        text(about.language.as_bytes()),
        text(difficulty.as_bytes())
    ));
    context.out(&format!("  image      {}", instance.image("task_cleanroom_v6")));
    context.out(&format!(
        "  tests      {} in {} branches, {} of them ignored, {} count",
        counts.tests, counts.branches, counts.ignored, counts.active
    ));
    if !reasons.is_empty() {
        let list = reasons.iter().map(|(id, n)| format!("{} {n}", text(id.as_bytes())));
        context.out(&format!("  ignored    {}", list.collect::<Vec<_>>().join(", ")));
    }
    context.out(&format!(
        "  blobs      {blobs} of {} branches have their tests here",
        counts.branches
    ));
    for (name, branch) in &instance.branches {
        let note = if branch.ignored { "  (the whole branch is ignored)" } else { "" };
        context.out(&format!(
            "    {name:<14} {:>6} tests, {:>6} ignored{note}",
            branch.tests.len(),
            branch.ignored_tests.len()
        ));
    }
    Ok(())
}
