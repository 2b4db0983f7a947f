//! `reenact show`.

use super::Done;
use crate::args::Show;
use crate::commands::grade::results;
use crate::commands::import::is_imported;
use crate::commands::report::{manifest, open_task};
use crate::context::Context;
use crate::error::CommandError;
use reenact_bundle::Suite;
use reenact_model::run::{CaseResult, TaskResult};
use reenact_model::{Case, ExitCode, Verdict};
use reenact_report::{failures, show_case, summarise, table};
use std::collections::BTreeMap;

pub fn show(args: &Show, context: &Context) -> Done {
    let all = results(&args.run)?;
    let known = all.iter().map(|r| r.task.clone()).collect::<Vec<_>>().join(", ");
    let result = all
        .into_iter()
        .find(|r| r.task == args.task || r.task.starts_with(&args.task))
        .ok_or_else(|| {
            CommandError::usage(format!(
                "{}: no result for task {:?}",
                args.run.display(),
                args.task
            ))
            .hint(format!("it has: {known}"))
        })?;
    let manifest = manifest(&args.run)?;
    if is_imported(&manifest, &result.task) {
        return imported(&result, args, context);
    }
    let task = open_task(&manifest, &result.task, args.tasks.as_deref())?;
    let suite = Suite::load(&task.suite_dir())?;
    if suite.manifest.digest != result.suite_digest {
        return Err(CommandError::usage(format!(
            "{}: the suite has changed since this result",
            task.suite_dir().display()
        ))
        .hint("grade again with --force"));
    }
    match &args.case {
        Some(id) => one_case(&result, &suite, id, context),
        None => {
            overview(&result, &suite.cases, args.failed, context);
            Ok(ExitCode::Done)
        }
    }
}

/// A result that was made elsewhere: verdicts and reasons, without a suite to compare with.
fn imported(result: &TaskResult, args: &Show, context: &Context) -> Done {
    let Some(id) = &args.case else {
        overview(result, &[], args.failed, context);
        return Ok(ExitCode::Done);
    };
    let Some(found) = result.cases.iter().find(|c| c.id == *id) else {
        let what = format!("no case {id:?} in {}", result.task);
        return Err(
            CommandError::usage(what).hint("`reenact show RUN TASK --failed` lists failing cases")
        );
    };
    if context.json {
        context.print_json(&serde_json::json!({"result": found}));
        return Ok(ExitCode::Done);
    }
    let line = match &found.verdict {
        Verdict::Pass => "passed".to_owned(),
        Verdict::NotRun { why } => format!("not run: {why}"),
        Verdict::HarnessError { what } => format!("harness error: {what}"),
        Verdict::Fail { reasons } => {
            let details: Vec<&str> = reasons.iter().map(|r| r.detail.as_str()).collect();
            format!("failed: {}", details.join("; "))
        }
    };
    let text = format!("{} {} ({}): {line}", result.task, found.id, found.group);
    context.out(&reenact_report::visible::text(text.as_bytes()));
    Ok(ExitCode::Done)
}

fn one_case(result: &TaskResult, suite: &Suite, id: &str, context: &Context) -> Done {
    let matching: Vec<&CaseResult> = result.cases.iter().filter(|c| c.id.starts_with(id)).collect();
    let exact = matching.iter().copied().find(|c| c.id == id);
    let found = match (exact, matching.as_slice()) {
        (Some(case), _) => case,
        (None, [case]) => case,
        (None, []) => {
            return Err(CommandError::usage(format!("no case {id:?} in {}", result.task))
                .hint("`reenact show RUN TASK --failed` lists failing cases"));
        }
        (None, many) => {
            let ids = many.iter().take(8).map(|c| c.id.as_str()).collect::<Vec<_>>().join(", ");
            return Err(CommandError::usage(format!("{id:?} fits {} cases", many.len()))
                .hint(format!("for instance {ids}")));
        }
    };
    let case = suite
        .cases
        .iter()
        .find(|c| c.id == found.id)
        .ok_or_else(|| CommandError::usage(format!("case {} is not in the suite", found.id)))?;
    if context.json {
        context.print_json(&serde_json::json!({"case": case, "result": found}));
    } else {
        context.out(show_case(&result.task, case, found, suite, context.color).trim_end());
    }
    Ok(ExitCode::Done)
}

fn overview(result: &TaskResult, cases: &[Case], failed: bool, context: &Context) {
    if context.json {
        if failed {
            let cases: Vec<&CaseResult> =
                result.cases.iter().filter(|c| !c.verdict.passed()).collect();
            context.print_json(&cases);
        } else {
            context.print_json(result);
        }
        return;
    }
    let cases: BTreeMap<String, Case> = cases.iter().map(|c| (c.id.clone(), c.clone())).collect();
    if !failed {
        context.out(
            table(&summarise(std::slice::from_ref(result)), &result.task, context.color).trim_end(),
        );
        for (group, score) in &result.groups {
            context.out(&format!("  {group:<16} {:>5}/{:<5}", score.passed, score.total));
        }
        if !result.build.ok && !result.build.output.is_empty() {
            let tail: Vec<&str> = result.build.output.lines().rev().take(20).collect();
            context.out("last lines of the build:");
            for line in tail.into_iter().rev() {
                context.out(&format!("  {}", reenact_report::visible::text(line.as_bytes())));
            }
        }
    }
    if !result.cases.is_empty() {
        context.out(failures(result, &cases, context.color).trim_end());
    }
}
