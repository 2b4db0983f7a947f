//! `reenact programbench info`.

use super::submit::{TasksArgs, headline};
use crate::commands::Done;
use crate::context::Context;
use clap::Args as ClapArgs;
use reenact_model::ExitCode;
use reenact_programbench::submit::score::Score;
use reenact_programbench::submit::{self, Standing};
use reenact_report::visible::text;
use std::path::PathBuf;

#[derive(ClapArgs, Debug)]
pub struct Info {
    /// Run directory
    pub run: PathBuf,
    #[command(flatten)]
    pub tasks: TasksArgs,
}

pub fn info(args: &Info, context: &Context) -> Done {
    let tasks = args.tasks.of_run(&args.run)?;
    let info = submit::info(&args.run, &tasks)?;
    let broken = info.rows.iter().any(|r| matches!(r.standing, Standing::Unreadable { .. }));
    if context.json {
        context.print_json(&info);
    } else {
        let width = info.rows.iter().map(|r| text(r.id.as_bytes()).chars().count()).max();
        let width = width.unwrap_or(0).max(8);
        context.out(&format!("{:width$}  {:>8}  {:>8}  remarks", "task", "official", "strict"));
        for row in &info.rows {
            let (official, strict, remark) = cells(row.known, &row.standing);
            let id = text(row.id.as_bytes());
            context.out(format!("{id:width$}  {official:>8}  {strict:>8}  {remark}").trim_end());
        }
        let evaluated = info.rows.iter().filter(|r| r.official().is_some()).count();
        context.out(&format!(
            "{:width$}  {:>8}            {evaluated} of {} tasks evaluated",
            "average",
            percent(info.average),
            info.rows.len()
        ));
        context.out(&format!("over the benchmark: {}", headline(&info.headline)));
    }
    Ok(if broken { ExitCode::CheckFailed } else { ExitCode::Done })
}

/// Official score, strict score, remarks.
fn cells(known: bool, standing: &Standing) -> (String, String, String) {
    let dash = || "–".to_owned();
    let score = |s: &Score| percent(s.value());
    match standing {
        Standing::NotEvaluated => {
            (dash(), dash(), "not evaluated: there is a submission, and no eval.json".to_owned())
        }
        Standing::Unreadable { error } => (dash(), dash(), text(error.as_bytes())),
        Standing::Evaluated {
            official,
            listed,
            strict,
            strict_missing,
            error_code,
            branch_errors,
            system_errors,
            warnings,
        } => {
            let mut remarks = vec![format!("{}/{} tests", official.passed, official.total)];
            if !known {
                remarks.push("unknown task: nothing could be left out".to_owned());
            }
            remarks.extend(error_code.iter().map(|code| text(code.as_bytes())));
            let (off, over) = (official.value(), listed.map_or(official.value(), Score::value));
            if off != over {
                remarks.push(format!("{} over the names that are listed", percent(over)));
            }
            // That another tool evaluated it needs no telling.
            if let Some(why) = strict_missing.as_ref().filter(|w| !w.contains("by another tool")) {
                remarks.push(text(format!("no strict score: {why}").as_bytes()));
            }
            for (branch, codes) in branch_errors {
                let line = format!("branch {branch}: {}", codes.join(", "));
                remarks.push(text(line.as_bytes()));
            }
            if *system_errors > 0 {
                remarks.push(format!("{system_errors} system errors"));
            }
            if *warnings > 0 {
                remarks.push(format!("{warnings} warnings"));
            }
            (score(official), strict.as_ref().map_or_else(dash, score), remarks.join("; "))
        }
    }
}

/// Never 100 for what is not all: the official table's rounding says so too often.
fn percent(value: f64) -> String {
    if value >= 1.0 {
        return "100 %".to_owned();
    }
    let tenths = (value * 1000.0).round().min(999.0);
    let tenths = if value > 0.0 { tenths.max(1.0) } else { tenths };
    format!("{:.1} %", tenths / 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_everything_is_a_hundred_percent_and_only_nothing_is_none() {
        for (value, want) in [
            (1.0, "100 %"),
            (0.9999, "99.9 %"),
            (0.00001, "0.1 %"),
            (0.0, "0.0 %"),
            (0.5, "50.0 %"),
        ] {
            assert_eq!(percent(value), want);
        }
    }
}
