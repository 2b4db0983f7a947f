//! `reenact programbench leaderboard`.

use crate::commands::Done;
use crate::context::Context;
use clap::Args as ClapArgs;
use reenact_model::ExitCode;
use reenact_programbench::submit::{self, LeaderboardOptions};
use reenact_report::visible::text;
use std::path::PathBuf;

#[derive(ClapArgs, Debug)]
pub struct Leaderboard {
    /// Directory of <id>/ entries, or the registry's root
    #[arg(long, value_name = "DIR")]
    pub registry: PathBuf,
    /// Tests to strike out, {task: [test]} (default: the registry's ignored_tests.json)
    #[arg(long, value_name = "FILE")]
    pub ignore: Option<PathBuf>,
    /// Ids whose earlier details stay, one a line (default: the registry's .compile_skip)
    #[arg(long, value_name = "FILE")]
    pub skip: Option<PathBuf>,
    /// Root of the website: data/leaderboard.json and data/details/ are written in it
    #[arg(short, long, value_name = "DIR")]
    pub out: PathBuf,
    /// Date to write (default: today, UTC)
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = date)]
    pub updated: Option<String>,
}

pub fn leaderboard(args: &Leaderboard, context: &Context) -> Done {
    let today = || jiff::Timestamp::now().to_string().chars().take(10).collect();
    let options = LeaderboardOptions {
        registry: args.registry.clone(),
        ignore: args.ignore.clone(),
        skip: args.skip.clone(),
        out: args.out.clone(),
        updated: args.updated.clone().unwrap_or_else(today),
    };
    let done = submit::compile(&options)?;
    if context.json {
        context.print_json(&done);
    } else {
        for note in &done.notes {
            context.err(&format!("note: {}", text(note.as_bytes())));
        }
        context.made(&format!("{} entries", done.entries), &done.path);
    }
    Ok(ExitCode::Done)
}

/// `YYYY-MM-DD`.
fn date(text: &str) -> Result<String, String> {
    let shape = text.len() == 10
        && text.bytes().enumerate().all(|(i, b)| match i {
            4 | 7 => b == b'-',
            _ => b.is_ascii_digit(),
        });
    if shape { Ok(text.to_owned()) } else { Err("expected YYYY-MM-DD".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_dates() {
        assert!(date("2026-08-23").is_ok());
        assert!(["2026-8-23", "today", "2026-08-2x", ""].into_iter().all(|d| date(d).is_err()));
    }
}
