//! `help`: ships a program that prints the reference's help text, whatever it is asked.

use super::asking::{CutShort, ask};
use super::questions::plain;
use crate::error::CleanroomError;
use crate::site::{Agent, AgentEnd, Site};
use crate::tree::SourceTree;
use reenact_model::{CaseObservation, Ended, Observation};

/// How a person would ask a program for help, most likely first.
const ASKING: [&[&str]; 4] = [&["--help"], &["-h"], &["help"], &[]];

/// The `help` agent: asks the reference for help in the usual ways and ships the longest answer.
pub struct Help;

impl Agent for Help {
    fn name(&self) -> &str {
        "help"
    }

    fn drive(&self, site: &Site<'_>) -> Result<AgentEnd, CleanroomError> {
        let answers = ask(site, &ASKING.map(plain), ASKING.len())?;
        if answers.cut_short == Some(CutShort::Stopped) {
            return Ok(AgentEnd::Interrupted);
        }
        let best = best(&answers.seen);
        if best.is_none() {
            site.live.note("the reference has no help text; the submission prints nothing");
        }
        tree(best).place(site.room)?;
        Ok(AgentEnd::Submitted)
    }
}

/// The longest answer that came with an ordinary exit; the first of equals.
fn best(seen: &[Option<CaseObservation>]) -> Option<(&Observation, i32)> {
    let mut best: Option<(&Observation, i32)> = None;
    let size = |o: &Observation| o.stdout.len + o.stderr.len;
    for observation in seen.iter().flatten().filter_map(|s| s.steps.first()) {
        if let Ended::Exit { code } = observation.ended
            && size(observation) > best.map_or(0, |(b, _)| size(b))
        {
            best = Some((observation, code));
        }
    }
    best
}

/// A shell script beside the text: it needs no compiler, and the built tree is readable at run time.
fn tree(answer: Option<(&Observation, i32)>) -> SourceTree {
    let mut tree = SourceTree::with_compile_sh(
        "#!/bin/sh\nset -e\ncp program.sh executable\nchmod 755 executable\n",
    );
    let mut script = "#!/bin/sh\n# Prints the help text, whatever it is asked.\n".to_owned();
    let mut code = 0;
    if let Some((observation, exit)) = answer {
        code = exit;
        for (name, stream, redirect) in
            [("stdout.txt", &observation.stdout, ""), ("stderr.txt", &observation.stderr, " >&2")]
        {
            let bytes = stream.inline_bytes();
            if !bytes.is_empty() {
                script.push_str(&format!("cat \"${{0%/*}}/{name}\"{redirect}\n"));
                tree.add(name, 0o644, bytes.to_vec());
            }
        }
    }
    script.push_str(&format!("exit {code}\n"));
    tree.add("program.sh", 0o644, script.into_bytes());
    tree
}

#[cfg(test)]
mod tests {
    use super::*;
    use reenact_model::{Captured, Resources};

    fn answer(ended: Ended, out: &str, err: &str) -> Option<CaseObservation> {
        let step = Observation {
            ended,
            stdout: Captured::whole(out.as_bytes()),
            stderr: Captured::whole(err.as_bytes()),
            screen: None,
            resources: Resources::default(),
        };
        Some(CaseObservation { steps: vec![step], ..CaseObservation::default() })
    }

    #[test]
    fn the_longest_answer_with_an_ordinary_exit_is_shipped_with_its_stream_and_code() {
        let seen = [
            answer(Ended::Exit { code: 1 }, "", "unknown option"),
            answer(Ended::Exit { code: 2 }, "", "usage: x [-a] [-b] FILE"),
            None,
            answer(Ended::WallLimit { limit_ms: 10 }, "a very very very long and endless text", ""),
        ];
        let (best, code) = best(&seen).unwrap();
        assert_eq!((best.stderr.inline_bytes(), code), (b"usage: x [-a] [-b] FILE".as_slice(), 2));
        let tree = tree(Some((best, code)));
        assert_eq!(tree.get("stderr.txt").unwrap(), b"usage: x [-a] [-b] FILE");
        assert_eq!(tree.get("stdout.txt"), None);
        let script = String::from_utf8(tree.get("program.sh").unwrap().to_vec()).unwrap();
        assert!(script.contains("stderr.txt\" >&2\n") && script.ends_with("exit 2\n"), "{script}");
    }

    #[test]
    fn without_any_answer_it_prints_nothing() {
        let seen = [answer(Ended::Signal { signal: 6 }, "text", ""), None];
        assert!(best(&seen).is_none());
        let tree = tree(None);
        let script = String::from_utf8(tree.get("program.sh").unwrap().to_vec()).unwrap();
        assert!(!script.contains("cat") && script.ends_with("exit 0\n"));
    }
}
