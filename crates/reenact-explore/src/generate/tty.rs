//! Terminal cases, for programs that paint the screen or wait for keys.

use crate::error::ExploreError;
use crate::generate::Workshop;
use crate::generate::options::is_informational;
use crate::lab::{Circumstances, Lab};
use crate::maker::{Call, Draft, Maker};
use fastrand::Rng;
use reenact_model::{Case, CaseObservation, Ended, FileSpec, Key, Tty};
use std::collections::BTreeMap;

/// Keys that may end a program: first those that also work where text is being typed.
const QUITS: [&str; 9] =
    ["\u{3}", "\u{18}", "\u{11}", "q", "\u{1b}", ":q\r", "\u{4}", "\u{1b}[21~", "Q"];

/// Keys that most terminal programs understand.
const KEYS: [&str; 26] = [
    "\u{1b}[A",
    "\u{1b}[B",
    "\u{1b}[C",
    "\u{1b}[D",
    "\r",
    "\t",
    " ",
    "j",
    "k",
    "h",
    "l",
    "g",
    "G",
    "/",
    "?",
    "\u{1b}[5~",
    "\u{1b}[6~",
    "\u{1b}[H",
    "\u{1b}[F",
    "\u{7f}",
    "n",
    "\u{6}",
    "\u{15}",
    ".",
    "a",
    "\u{1b}[Z",
];

/// Adds terminal cases if the program is one for a terminal.
///
/// # Errors
/// [`ExploreError`] when the sandbox fails.
pub fn add(shop: &mut Workshop<'_>, lab: &Lab<'_>) -> Result<(), ExploreError> {
    lab.progress.stage("looking at the program on a terminal");
    let Some(operands) = full_screen(lab)? else { return Ok(()) };
    let quits = quits(lab, &operands)?;
    let mut rng = shop.rng("tty");
    // Terminal cases take a hundred times as long as others: enough of them, not a share.
    let want = (shop.wanted / 4).clamp(40, 100);
    let mut keys: Vec<String> =
        shop.surface.keys.iter().filter(|k| !quits.contains(k)).cloned().collect();
    keys.extend(KEYS.iter().map(|k| (*k).to_owned()));
    for option in
        shop.surface.root().options.clone().iter().filter(|o| !is_informational(o)).take(want / 3)
    {
        let (mut argv, _) = shop.spell(option, &option.names[0], &mut rng);
        argv.extend(operands.clone());
        let script = script(&keys, 1, &mut rng);
        push(shop, argv, script, &quits, rng.usize(..WORKSPACES));
    }
    for key in keys.iter().take(want / 2) {
        push(shop, operands.clone(), vec![key.clone()], &quits, 0);
    }
    for i in 0..want {
        let script = script(&keys, 1 + i % 4, &mut rng);
        push(shop, operands.clone(), script, &quits, rng.usize(..WORKSPACES));
    }
    Ok(())
}

/// Keys in a row, with a typed word now and then.
fn script(keys: &[String], length: usize, rng: &mut Rng) -> Vec<String> {
    (0..length)
        .map(|_| match rng.usize(..6) {
            0 => ["a", "sub", "not", "te", "x"][rng.usize(..5)].to_owned(),
            1..=3 => KEYS[rng.usize(..6)].to_owned(),
            _ => keys[rng.usize(..keys.len())].clone(),
        })
        .collect()
}

/// Milliseconds without output before a key. Programs that collect work for a tenth of a second before they paint (fzf) are
/// asleep meanwhile and would look idle to the default.
const IDLE_MS: u32 = 130;

/// The same after a lone escape: programs wait up to a second for the rest of a sequence.
const AFTER_ESCAPE_MS: u32 = 1_100;

fn key(send: &str) -> Key {
    Key { send: send.to_owned(), wait_for: None, wait_ms: Some(IDLE_MS) }
}

/// How long the program may take to end after the last key.
const LAST_MS: u32 = 1_500;

/// Keys one after the other, with a longer pause behind a lone escape.
fn keys_of<'a>(sends: impl Iterator<Item = &'a String>) -> Vec<Key> {
    let mut keys: Vec<Key> = Vec::new();
    for send in sends {
        let after_escape = keys.last().is_some_and(|k| k.send == "\u{1b}");
        let wait = if after_escape { AFTER_ESCAPE_MS } else { IDLE_MS };
        keys.push(Key { wait_ms: Some(wait), ..key(send) });
    }
    // Types nothing, but gives the program time to end by itself on a busy host.
    keys.push(Key { send: String::new(), wait_for: None, wait_ms: Some(LAST_MS) });
    keys
}

fn call(argv: Vec<String>, keys: Vec<Key>) -> Call {
    let env = BTreeMap::from([("TERM".to_owned(), "xterm-256color".to_owned())]);
    Call { argv, env, tty: Some(Tty { rows: 24, cols: 80, keys }), stdin: None }
}

fn push(
    shop: &mut Workshop<'_>,
    argv: Vec<String>,
    script: Vec<String>,
    quits: &[String],
    workspace: usize,
) {
    let keys = keys_of(script.iter().chain(quits));
    let files = workspace_files(&mut shop.maker, workspace);
    shop.maker.push(Draft {
        group: "tty",
        steps: vec![call(argv, keys)],
        files,
        ..Draft::default()
    });
}

/// Workspaces that [`workspace_files`] knows.
const WORKSPACES: usize = 3;

fn workspace_files(maker: &mut Maker, which: usize) -> BTreeMap<String, FileSpec> {
    let mut files = BTreeMap::new();
    let names: Vec<String> = match which {
        0 => ["alpha.txt", "beta.csv", "notes.md", "sub/inner.txt", ".hidden", "with space.txt"]
            .map(str::to_owned)
            .into(),
        1 => (0..40).map(|i| format!("file{i:02}.txt")).collect(),
        _ => ["a/b/c.txt", "a/d.txt", "z.txt", "É.txt"].map(str::to_owned).into(),
    };
    for name in names {
        let text = format!("{name}\nsecond line of the file\n");
        files.insert(name, maker.file(text.as_bytes()));
    }
    files.insert("empty-dir".to_owned(), FileSpec::Dir);
    files
}

fn observe(
    lab: &Lab<'_>,
    calls: &[(Vec<String>, Vec<Key>)],
) -> Result<Vec<Option<CaseObservation>>, ExploreError> {
    let mut maker = Maker::new(0);
    let indices: Vec<Option<usize>> = calls
        .iter()
        .map(|(argv, keys)| {
            let files = workspace_files(&mut maker, 0);
            maker.push(Draft {
                group: "probe",
                steps: vec![call(argv.clone(), keys.clone())],
                files,
                ..Draft::default()
            })
        })
        .collect();
    let cases: Vec<&Case> = maker.cases.iter().collect();
    let seen = lab.observe(&cases, &maker.blobs, &Circumstances::default(), None)?;
    Ok(indices.into_iter().map(|i| i.and_then(|i| seen[i].ran().cloned())).collect())
}

/// The operands with which the program paints the whole screen and waits; `None` for other programs. Programs that merely
/// read lines from a terminal do the same from a pipe, without the terminal's timing.
fn full_screen(lab: &Lab<'_>) -> Result<Option<Vec<String>>, ExploreError> {
    let calls = [(Vec::new(), Vec::new()), (vec!["alpha.txt".to_owned()], Vec::new())];
    let seen = observe(lab, &calls)?;
    for ((operands, _), seen) in calls.iter().zip(&seen) {
        let Some(step) = seen.as_ref().and_then(|s| s.steps.first()) else { continue };
        let painted = String::from_utf8_lossy(step.stdout.inline_bytes()).into_owned();
        let signs = ["\u{1b}[?1049h", "\u{1b}[?25l", "\u{1b}[2J", "\u{1b}[H", "\u{1b}[J"];
        let waits = matches!(step.ended, Ended::ScriptEnded { .. });
        if waits && signs.iter().any(|sign| painted.contains(sign)) {
            return Ok(Some(operands.clone()));
        }
    }
    Ok(None)
}

/// The keys that end the program: a control key if one does; else escape, which leaves most prompts, and then the key.
fn quits(lab: &Lab<'_>, operands: &[String]) -> Result<Vec<String>, ExploreError> {
    let calls: Vec<(Vec<String>, Vec<Key>)> =
        QUITS.iter().map(|q| (operands.to_vec(), vec![key(q)])).collect();
    let seen = observe(lab, &calls)?;
    let ends = |s: &Option<CaseObservation>| {
        s.as_ref()
            .and_then(|s| s.steps.first())
            .is_some_and(|s| matches!(s.ended, Ended::Exit { .. }))
    };
    let working = QUITS.iter().zip(&seen).find(|(_, s)| ends(s)).map(|(q, _)| *q);
    Ok(match working {
        None => vec!["\u{1b}".to_owned()],
        Some(quit) if QUITS[..3].contains(&quit) || quit == "\u{1b}" => vec![quit.to_owned()],
        Some(quit) => vec!["\u{1b}".to_owned(), quit.to_owned()],
    })
}
