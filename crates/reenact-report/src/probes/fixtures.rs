//! A made-up surface and probes.

use reenact_model::Ended;
use reenact_model::probe::{Probe, ProbeStream, StreamKind};
use reenact_model::surface::{
    DocumentedExample, DocumentedExit, DocumentedOption, DocumentedSurface,
};

fn words(text: &str) -> Vec<String> {
    text.split(' ').filter(|w| !w.is_empty()).map(str::to_owned).collect()
}

/// `command: names…`, values, choices.
fn option(command: &str, names: &str, values: &str, choices: &str) -> DocumentedOption {
    DocumentedOption {
        command: words(command),
        names: words(names),
        values: words(values),
        choices: words(choices),
        ..DocumentedOption::default()
    }
}

pub(crate) fn surface() -> DocumentedSurface {
    let options = vec![
        option("", "-a --all", "", ""),
        option("", "-c --count", "", ""),
        option("", "-w --width", "COLS", ""),
        DocumentedOption { optional: true, ..option("", "--color", "WHEN", "always never auto") },
        option("", "-append", "", ""),
        DocumentedOption { optional: true, glued: true, ..option("", "-B", "N", "") },
        option("", "-7", "", ""),
        option("", "--pair", "A B", ""),
        option("remote add", "-f --force", "", ""),
    ];
    DocumentedSurface {
        options,
        subcommands: vec![words("remote"), words("remote add"), words("remote remove")],
        examples: vec![
            DocumentedExample { argv: words("--width 40 in.txt"), from: "README".to_owned() },
            DocumentedExample { argv: words("-a"), from: "README".to_owned() },
        ],
        env: words("TOOL_COLORS TOOL_HOME"),
        exits: [(0, "fine"), (2, "usage"), (3, "disk full")]
            .map(|(code, what)| DocumentedExit { code, what: what.to_owned() })
            .into(),
    }
}

pub(crate) fn stream(kind: StreamKind, text: &str) -> ProbeStream {
    ProbeStream {
        kind,
        bytes: text.len() as u64,
        sha256: Some(reenact_model::Digest::of(text.as_bytes())),
        head: (!text.is_empty()).then(|| reenact_model::Content::Text(text.to_owned())),
        complete: true,
    }
}

/// A probe with these arguments that exited so and said so.
pub(crate) fn probe(id: u64, args: &str, code: i32, stderr: &str) -> Probe {
    let mut argv = vec!["./executable".to_owned()];
    argv.extend(words(args));
    Probe {
        id,
        time: format!("2026-01-01T00:00:{id:02}.000Z"),
        step: None,
        argv,
        argv_cut: false,
        env: Default::default(),
        cwd: "/workspace".to_owned(),
        parent: vec!["bash".to_owned()],
        stdin: stream(StreamKind::Null, ""),
        stdout: stream(StreamKind::Pipe, "out\n"),
        stderr: stream(StreamKind::Pipe, stderr),
        merged: false,
        files: Default::default(),
        ended: Some(Ended::Exit { code }),
        wall_us: 1500,
        cpu_us: 900,
    }
}
