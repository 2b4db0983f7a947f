//! `docs/help.txt`: what the reference says of itself, captured in a cell of the shape it is tested in.

use super::text::{decode, plain};
use crate::error::ForgeError;
use reenact_bundle::Progress;
use reenact_model::{Ended, Limits};
use reenact_sandbox::spec::PROGRAM;
use reenact_sandbox::{Cell, CellSpec, Invocation};
use std::collections::BTreeSet;

/// Ways to ask a program about itself.
const QUESTIONS: [&[&str]; 3] = [&["--help"], &["-h"], &["--version"]];
/// One answer; longer ones are cut.
const ANSWER_CAP: usize = 256 << 10;
const WALL_MS: u64 = 5_000;
/// Subcommands asked for their help.
const MAX_SUBCOMMANDS: usize = 80;

/// What a program said to one question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub args: Vec<String>,
    /// Both streams in order, without escapes.
    pub text: String,
    /// How it ended, where that is not exit code 0.
    pub ended: Option<String>,
    /// It exited of itself.
    pub exited: bool,
    /// `execve` failed, or the dynamic loader gave up: the reference does not run here.
    pub broken: Option<String>,
}

/// Asks the reference about itself, and its subcommands one level deep.
///
/// # Errors
/// [`ForgeError::Sandbox`].
pub(crate) fn capture(spec: &CellSpec, progress: &dyn Progress) -> Result<Vec<Answer>, ForgeError> {
    progress.stage("asking the reference for its help");
    let mut cell = Cell::start(spec)?;
    let mut answers = Vec::new();
    for question in QUESTIONS {
        answers.push(ask(&mut cell, question)?);
    }
    let subs = answers.first().map(|a| subcommands(&a.text)).unwrap_or_default();
    for (done, sub) in subs.iter().enumerate() {
        answers.push(ask(&mut cell, &[sub, "--help"])?);
        progress.tick(done as u64 + 1, subs.len() as u64);
    }
    Ok(answers)
}

/// Runs the reference once with `args`, in an empty workspace.
///
/// # Errors
/// [`ForgeError::Sandbox`].
pub(crate) fn ask(cell: &mut Cell, args: &[&str]) -> Result<Answer, ForgeError> {
    cell.reset()?;
    let seen = cell.run(&Invocation {
        program: PROGRAM.to_owned(),
        args: args.iter().map(|s| (*s).to_owned()).collect(),
        limits: Limits {
            wall_ms: Some(WALL_MS),
            cpu_ms: Some(WALL_MS),
            output_bytes: Some(1 << 20),
        },
        merge_stderr: true,
        ..Invocation::default()
    })?;
    let bytes = seen.stdout.inline_bytes();
    let text = decode(&bytes[..bytes.len().min(ANSWER_CAP)]).map(|t| plain(&t)).unwrap_or_default();
    Ok(Answer {
        args: args.iter().map(|s| (*s).to_owned()).collect(),
        broken: broken(&seen.ended, &text),
        exited: matches!(seen.ended, Ended::Exit { .. }),
        ended: match seen.ended {
            Ended::Exit { code: 0 } => None,
            Ended::Exit { code } => Some(format!("exit status {code}")),
            Ended::Signal { signal } => Some(format!("signal {signal}")),
            _ => Some("stopped by a limit".to_owned()),
        },
        text,
    })
}

/// Why the reference did not run at all, if so. The loader's own exit code, 127, is not enough: a program may use it.
fn broken(ended: &Ended, text: &str) -> Option<String> {
    match ended {
        Ended::ExecFailed { what, .. } => Some(what.clone()),
        Ended::Exit { code: 127 } if text.contains("error while loading shared libraries") => {
            Some(text.trim().to_owned())
        }
        Ended::Exit { code: 1 } if text.contains("version `GLIBC") => Some(text.trim().to_owned()),
        _ => None,
    }
}

/// The answers as one text; an answer equal to an earlier one is only named, one that says nothing is left out.
pub(crate) fn transcript(answers: &[Answer]) -> String {
    let mut out = String::new();
    for (i, answer) in answers.iter().enumerate() {
        if answer.text.trim().is_empty() || !answer.exited {
            continue;
        }
        if !out.is_empty() {
            out.push('\n');
        }
        out.push_str(&format!("$ ./executable {}\n", answer.args.join(" ")));
        match answers[..i].iter().find(|a| a.exited && a.text == answer.text) {
            Some(same) => {
                out.push_str(&format!("[same as: ./executable {}]\n", same.args.join(" ")));
            }
            None => {
                out.push_str(answer.text.trim_end());
                out.push('\n');
            }
        }
        if let Some(ended) = &answer.ended {
            out.push_str(&format!("[{ended}]\n"));
        }
    }
    out
}

/// Subcommands that a help text lists: names, each beginning an indented line under a heading that ends in "commands".
pub(crate) fn subcommands(help: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    let mut inside = false;
    for line in help.lines() {
        let indented = line.starts_with([' ', '\t']);
        let heading = line.trim().trim_end_matches(':').to_lowercase();
        if heading.ends_with("commands") && (line.trim_end().ends_with(':') || !indented) {
            inside = true;
        } else if !indented && !line.trim().is_empty() {
            inside = false;
        } else if inside
            && let Some(name) = listed_name(line)
            && seen.insert(name.clone())
        {
            found.push(name);
        }
    }
    found.retain(|n| n != "help");
    found.truncate(MAX_SUBCOMMANDS);
    found
}

/// The name that begins `  name, alias   What it does`; lines indented deeper than names are prose.
fn listed_name(line: &str) -> Option<String> {
    const DEEPEST: usize = 8;
    let trimmed = line.trim_start();
    if line.len() - trimmed.len() > DEEPEST {
        return None;
    }
    let word = trimmed.split([' ', ',', '\t']).next()?;
    let rest = &trimmed[word.len()..];
    let column = rest.is_empty()
        || rest.starts_with(',')
        || rest.starts_with("  ")
        || rest.starts_with('\t');
    let is_name = word.starts_with(|c: char| c.is_ascii_lowercase())
        && word.len() <= 30
        && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-".contains(&b));
    (column && is_name).then(|| word.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subcommands_are_found_in_the_usual_layouts() {
        let clap = "Usage: x [OPTIONS] <COMMAND>\n\nCommands:\n  add, a   Adds\n  list     Lists\n           more prose\n  help     Print\n\nOptions:\n  -h  Help\n  verbose  no\n";
        assert_eq!(subcommands(clap), ["add", "list"]);
        let cobra = "Available Commands:\n  completion  Generate\n  run\n\nFlags:\n  -h\n";
        assert_eq!(subcommands(cobra), ["completion", "run"]);
        let xsv = "Commands:\n    cat         Concatenate by row or column\n    count       Count records\n";
        assert_eq!(subcommands(xsv), ["cat", "count"]);
        assert!(
            subcommands("Usage: figlet [ -cklnoprstvxDELNRSWX ]\n  [ -d fontdirectory ]\n")
                .is_empty()
        );
        assert!(subcommands("Lists all commands for you\n  single word here\n").is_empty());
    }

    fn answer(args: &str, text: &str, ended: Option<&str>) -> Answer {
        Answer {
            args: vec![args.to_owned()],
            text: text.to_owned(),
            ended: ended.map(str::to_owned),
            exited: true,
            broken: None,
        }
    }

    #[test]
    fn a_transcript_names_commands_and_unusual_ends() {
        let all = [
            answer("--help", "usage\n", None),
            answer("-h", "usage\n", None),
            answer("--version", "bad option\n", Some("exit status 1")),
            answer("x", "", None),
        ];
        assert_eq!(
            transcript(&all),
            "$ ./executable --help\nusage\n\n$ ./executable -h\n[same as: ./executable --help]\n\n\
             $ ./executable --version\nbad option\n[exit status 1]\n"
        );
    }

    #[test]
    fn a_loader_that_gives_up_is_told_from_a_program_that_fails() {
        let lost =
            "x: error while loading shared libraries: libz.so.1: cannot open shared object file";
        assert!(broken(&Ended::Exit { code: 127 }, lost).is_some());
        assert!(broken(&Ended::Exit { code: 127 }, "command not found").is_none());
        assert!(broken(&Ended::Exit { code: 1 }, "usage").is_none());
        let failed = Ended::ExecFailed { errno: 8, what: "exec format error".into() };
        assert!(broken(&failed, "").is_some());
    }
}
