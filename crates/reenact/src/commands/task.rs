//! `reenact task …`.

use super::Done;
use crate::args::{Task, TaskNew};
use crate::commands::programbench::tasks::{self, SelectArgs};
use crate::context::Context;
use crate::error::CommandError;
use crate::ui::Ui;
use reenact_bundle::TaskBundle;
use reenact_forge::{ListEntry, NewTask, SourceSpec};
use reenact_model::ExitCode;
use reenact_model::task::Split;
use reenact_programbench::dataset::TaskToml;

pub fn task(args: &Task, context: &Context) -> Done {
    match args {
        Task::New(args) => new(args, context),
        Task::Show { task } => show(task, context),
        Task::Check { task } => check(task, context),
        Task::List { dir, select } => list(dir, select, context),
        Task::Pack { task, out } => pack(task, out, context),
    }
}

fn new(args: &TaskNew, context: &Context) -> Done {
    let source: SourceSpec = args.source.parse()?;
    let request = NewTask {
        source,
        out: args.out.clone(),
        bin: args.bin.clone(),
        docs: args.docs.clone(),
        split: if args.private { Split::Private } else { Split::Public },
        force: args.force,
        cells: context.cells.clone(),
    };
    let ui = Ui::new(context);
    let task = reenact_forge::new_task(&request, &ui)?;
    drop(ui);
    if context.json {
        context.print_json(
            &serde_json::json!({"id": task.id(), "path": task.root, "manifest": task.manifest}),
        );
    } else {
        context.made(&summary(&task), &shown_path(&args.out, &task));
    }
    Ok(ExitCode::Done)
}

/// The path as the user would write it: under the root that was given.
fn shown_path(out: &std::path::Path, task: &TaskBundle) -> std::path::PathBuf {
    out.join(task.id())
}

fn summary(task: &TaskBundle) -> String {
    let m = &task.manifest;
    let mut lines = vec![
        format!(
            "{}  ({} {} {}, licence {})",
            m.task.id, m.source.kind, m.source.name, m.source.version, m.source.licence
        ),
        format!(
            "  reference  {} bytes, {}, {:?}{}",
            m.reference.size,
            if m.reference.r#static { "static" } else { "dynamic" },
            m.reference.seal,
            if m.reference.runtime { ", with runtime files" } else { "" }
        )
        .to_lowercase(),
    ];
    lines.extend(m.reference.findings.iter().map(|f| format!("  finding    {f}")));
    lines.join("\n")
}

fn show(name: &str, context: &Context) -> Done {
    if let Some((dir, task)) = tasks::find(name)? {
        tasks::show(&dir, &task, context)?;
        return Ok(ExitCode::Done);
    }
    let task = TaskBundle::open(name)?;
    if context.json {
        context.print_json(&task.manifest);
        return Ok(ExitCode::Done);
    }
    let mut text = summary(&task);
    let docs = std::fs::read_dir(task.docs()).map(|d| d.flatten().count()).unwrap_or(0);
    text.push_str(
        &format!("\n  docs       {docs} entries\n  split      {:?}", task.manifest.task.split)
            .to_lowercase(),
    );
    match reenact_bundle::Suite::load(&task.suite_dir()) {
        Ok(suite) => text.push_str(&format!(
            "\n  suite      {} cases, {}",
            suite.cases.len(),
            suite.manifest.digest
        )),
        Err(_) if !task.suite_dir().exists() => {
            text.push_str("\n  suite      none yet (reenact suite generate)")
        }
        Err(e) => text.push_str(&format!("\n  suite      broken: {e}")),
    }
    context.out(&text);
    Ok(ExitCode::Done)
}

fn check(name: &str, context: &Context) -> Done {
    if let Some((dir, task)) = tasks::find(name)? {
        return Ok(tasks::check(&dir, &task, context));
    }
    let task = TaskBundle::open(name)?;
    let report = reenact_forge::check(&task, &context.cells)?;
    if context.json {
        context.print_json(&report);
    } else {
        for item in &report.checks {
            context.out(&format!(
                "{:<7} {:<16} {}",
                if item.ok { "ok" } else { "FAILED" },
                item.name,
                item.detail
            ));
        }
    }
    Ok(if report.ok { ExitCode::Done } else { ExitCode::CheckFailed })
}

/// A task of ours, or one of ProgramBench's.
enum Listed {
    Ours(ListEntry),
    Theirs(std::path::PathBuf, Box<TaskToml>),
}

fn list(dir: &std::path::Path, select: &SelectArgs, context: &Context) -> Done {
    let select = select.select()?;
    let mut tasks = Vec::new();
    for mut entry in reenact_forge::list(dir)? {
        let theirs = TaskToml::read(&entry.path).unwrap_or_else(|error| {
            entry.error = Some(error.to_string());
            None
        });
        let (id, kind, difficulty) = match &theirs {
            Some(t) => (&t.task.id, t.task.language.as_str(), t.task.difficulty.as_deref()),
            None => (&entry.id, "", None),
        };
        if select.matches_id(id) && select.matches_kind(kind, difficulty) {
            tasks.push(match theirs {
                Some(task) => Listed::Theirs(entry.path, Box::new(task)),
                None => Listed::Ours(entry),
            });
        }
    }
    let tasks = select.cut(tasks);
    if tasks.is_empty() && !select.is_all() {
        return Err(CommandError::nothing(format!(
            "{}: no task passes the selection",
            dir.display()
        )));
    }
    if tasks.is_empty() {
        return Err(CommandError::nothing(format!("{}: no tasks there", dir.display()))
            .hint("make one: reenact task new SOURCE, or reenact programbench import"));
    }
    if context.json {
        let rows = tasks.iter().map(|task| match task {
            Listed::Ours(entry) => serde_json::json!(entry),
            Listed::Theirs(path, task) => tasks::json(path, task),
        });
        context.print_json(&rows.collect::<Vec<_>>());
        return Ok(ExitCode::Done);
    }
    for task in &tasks {
        context.out(&match task {
            Listed::Ours(entry) => row(entry),
            Listed::Theirs(_, task) => tasks::row(task),
        });
    }
    Ok(ExitCode::Done)
}

fn row(e: &ListEntry) -> String {
    let seal = e.seal.map_or(String::new(), |s| format!("{s:?}").to_lowercase());
    let cases = e.cases.map_or("no suite".to_owned(), |n| format!("{n} cases"));
    match &e.error {
        None => {
            format!("{:<36} {seal:<11} {cases:>9}  {}", e.id, e.title.as_deref().unwrap_or(""))
        }
        Some(error) => format!("{:<36} broken: {error}", e.id),
    }
}

fn pack(name: &str, out: &std::path::Path, context: &Context) -> Done {
    let task = TaskBundle::open(name)?;
    let report = reenact_forge::pack(&task, out)?;
    if context.json {
        context.print_json(&report);
    } else {
        for leak in &report.leak_check.leaks {
            let sample = &leak.sample;
            context.out(&format!(
                "LEAK    {} at {}: {} bytes of {} ({}): {sample}",
                leak.public, leak.at, leak.len, leak.sealed, leak.why
            ));
        }
        context.out(&report.grader.path.display().to_string());
        match &report.solver {
            Some(solver) => context.out(&solver.path.display().to_string()),
            None => context.err("no solver pack was written: the leak check failed"),
        }
    }
    Ok(if report.solver.is_some() { ExitCode::Done } else { ExitCode::CheckFailed })
}
