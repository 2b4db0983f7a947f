//! Asking the reference itself: `--help` in its usual spellings, `--version`, and the help of each subcommand.

use crate::error::ExploreError;
use crate::lab::{Circumstances, Lab, Seen};
use crate::surface::{Command, HelpText, Surface, normalise, sections, usage};
use reenact_bundle::TaskBundle;
use reenact_model::{Case, CaseObservation, Ended, NoBlobs, Step};
use std::collections::BTreeMap;
use std::path::Path;

/// Subcommands deeper than this are not asked for.
const MAX_DEPTH: usize = 3;
/// Subcommands asked in all.
const MAX_COMMANDS: usize = 60;
/// Bytes of one document that are read.
const MAX_DOCUMENT: u64 = 2 << 20;

/// Mines everything: the running program first (its help is the most exact), then the documents.
///
/// # Errors
/// [`ExploreError`] when the documents cannot be read or no cell starts.
pub fn mine(task: &TaskBundle, lab: &Lab<'_>) -> Result<Surface, ExploreError> {
    lab.progress.stage("mining the documentation and the program's own help");
    let documents = documents(&task.docs())?;
    let mut surface = Surface::new(&task.manifest.source.name);
    for (_, text) in &documents {
        surface.names.extend(usage::program_names(&normalise(text)));
    }
    ask_program(&mut surface, lab)?;
    ask_subcommands(&mut surface, lab)?;
    for (from, text) in &documents {
        surface.absorb_document(from, text);
    }
    if let Some(runtime) = task.runtime() {
        surface.data_names = data_names(&runtime);
    }
    Ok(surface)
}

/// Every text file under `docs`, by name. A missing directory is an empty documentation.
pub(crate) fn documents(docs: &Path) -> Result<Vec<(String, String)>, ExploreError> {
    let mut found = Vec::new();
    for (name, path) in walk(docs) {
        if std::fs::metadata(&path).is_ok_and(|m| m.len() <= MAX_DOCUMENT) {
            let text = String::from_utf8_lossy(&reenact_bundle::fsx::read(&path)?).into_owned();
            if !text.contains('\0') {
                found.push((name, text));
            }
        }
    }
    Ok(found)
}

/// Regular files under `root` with their relative names, sorted, at most a few thousand.
fn walk(root: &Path) -> BTreeMap<String, std::path::PathBuf> {
    let mut files = BTreeMap::new();
    let mut pending = vec![root.to_path_buf()];
    while let Some(dir) = pending.pop() {
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => pending.push(entry.path()),
                Ok(kind) if kind.is_file() && files.len() < 4000 => {
                    let path = entry.path();
                    let name =
                        path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
                    files.insert(name, path);
                }
                _ => {}
            }
        }
    }
    files
}

/// Stems of installed data files, the extension that most files share first.
fn data_names(runtime: &Path) -> Vec<String> {
    let mut by_extension: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for name in walk(runtime)
        .keys()
        .filter(|n| n.contains("share/") && !n.contains("/man/") && !n.contains("/doc/"))
    {
        let file = Path::new(name);
        if let (Some(stem), Some(ext)) = (file.file_stem(), file.extension()) {
            let ext = ext.to_string_lossy().into_owned();
            by_extension.entry(ext).or_default().push(stem.to_string_lossy().into_owned());
        }
    }
    let mut groups: Vec<Vec<String>> = by_extension.into_values().collect();
    groups.sort_by_key(|g| std::cmp::Reverse(g.len()));
    groups.into_iter().flatten().take(60).collect()
}

fn case_of(argv: &[String]) -> Case {
    let step = Step { argv: argv.to_vec(), ..Step::default() };
    Case {
        id: "ask".to_owned(),
        group: "ask".to_owned(),
        steps: vec![step],
        files: BTreeMap::new(),
        after: BTreeMap::new(),
        limits: reenact_model::Limits::default(),
        origin: None,
        tags: Default::default(),
        weight: 1,
    }
}

fn ask(lab: &Lab<'_>, calls: &[Vec<String>]) -> Result<Vec<Option<CaseObservation>>, ExploreError> {
    let cases: Vec<Case> = calls.iter().map(|argv| case_of(argv)).collect();
    let seen =
        lab.observe(&cases.iter().collect::<Vec<_>>(), &NoBlobs, &Circumstances::default(), None)?;
    Ok(seen
        .into_iter()
        .map(|s| match s {
            Seen::Ran(seen) => Some(*seen),
            Seen::Harness(_) | Seen::NotRun => None,
        })
        .collect())
}

fn help_text(argv: &[String], seen: &CaseObservation) -> Option<HelpText> {
    let step = seen.steps.first()?;
    let Ended::Exit { code } = step.ended else { return None };
    Some(HelpText {
        argv: argv.to_vec(),
        stdout: step.stdout.inline_bytes().to_vec(),
        stderr: step.stderr.inline_bytes().to_vec(),
        exit: code,
    })
}

impl HelpText {
    /// Both streams as text.
    pub fn text(&self) -> String {
        let text = format!(
            "{}\n{}",
            String::from_utf8_lossy(&self.stdout),
            String::from_utf8_lossy(&self.stderr)
        );
        normalise(&strip_escapes(&text))
    }

    /// Options it lists plus a bonus for success: which spelling of `--help` to believe.
    fn score(&self) -> usize {
        let options = crate::surface::options::mine(&self.text()).len();
        options * 4
            + sections::subcommands(&self.text()).len() * 4
            + usize::from(self.exit == 0 && !self.stdout.is_empty()) * 3
    }
}

/// Text without terminal colour sequences.
fn strip_escapes(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' {
            if chars.next() == Some('[') {
                // The final byte of a control sequence is a letter or one of a few signs from @ on.
                let _final_byte = chars.find(|c| ('@'..='~').contains(c));
            }
        } else {
            out.push(c);
        }
    }
    out
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn ask_program(surface: &mut Surface, lab: &Lab<'_>) -> Result<(), ExploreError> {
    let calls: Vec<Vec<String>> = [
        "--help",
        "-h",
        "help",
        "-help",
        "-?",
        "-H",
        "--help-all",
        "",
        "--version",
        "-V",
        "-v",
        "version",
        "-version",
    ]
    .map(words)
    .into();
    let seen = ask(lab, &calls)?;
    let texts: Vec<Option<HelpText>> = calls
        .iter()
        .zip(&seen)
        .map(|(argv, s)| s.as_ref().and_then(|s| help_text(argv, s)))
        .collect();
    // The first of the best: `--help` wins over `-h` where they say the same.
    let mut best: Option<&HelpText> = None;
    for text in texts[..8].iter().flatten() {
        if text.score() > 3 && best.is_none_or(|b| text.score() > b.score()) {
            best = Some(text);
        }
    }
    let is_version = |t: &&HelpText| {
        let text = t.text();
        t.exit == 0
            && text.trim().len() < 600
            && text.chars().any(|c| c.is_ascii_digit())
            && !text.trim().is_empty()
    };
    surface.version = texts[8..].iter().flatten().find(is_version).map(|t| t.argv.clone());
    surface.help = best.cloned();
    let names = surface.names.clone();
    for text in texts[..8].iter().flatten().filter(|t| t.score() > 3) {
        let text = text.text();
        surface.commands.entry(Vec::new()).or_default().absorb(&text, &names);
        surface.absorb_prose("help", &text);
    }
    Ok(())
}

/// Asks each subcommand for its help, breadth first.
fn ask_subcommands(surface: &mut Surface, lab: &Lab<'_>) -> Result<(), ExploreError> {
    let Some(help) = surface.help.clone() else { return Ok(()) };
    let root_text = help.text();
    let mut level: Vec<Vec<String>> =
        sections::subcommands(&root_text).into_iter().map(|n| vec![n]).collect();
    for _ in 0..MAX_DEPTH {
        level.truncate(MAX_COMMANDS.saturating_sub(surface.commands.len()));
        if level.is_empty() {
            break;
        }
        level = ask_level(surface, lab, &level, &root_text)?;
    }
    Ok(())
}

/// Whether a text is the root's help, perhaps with a line more or less: it lists mostly the same subcommands.
fn is_same_help(text: &str, root: &str) -> bool {
    let (here, there) = (sections::subcommands(text), sections::subcommands(root));
    let common = here.iter().filter(|n| there.contains(n)).count();
    text == root || (common >= 3 && common * 2 > there.len())
}

fn ask_level(
    surface: &mut Surface,
    lab: &Lab<'_>,
    level: &[Vec<String>],
    root_text: &str,
) -> Result<Vec<Vec<String>>, ExploreError> {
    let spellings = |path: &Vec<String>| {
        let with = |word: &str| path.iter().cloned().chain([word.to_owned()]).collect::<Vec<_>>();
        [
            with("--help"),
            with("-h"),
            std::iter::once("help".to_owned()).chain(path.iter().cloned()).collect(),
        ]
    };
    let calls: Vec<Vec<String>> = level.iter().flat_map(spellings).collect();
    let seen = ask(lab, &calls)?;
    let names = surface.names.clone();
    let mut deeper = Vec::new();
    for (i, path) in level.iter().enumerate() {
        let texts = calls[i * 3..i * 3 + 3]
            .iter()
            .zip(&seen[i * 3..i * 3 + 3])
            .filter_map(|(argv, s)| help_text(argv, s.as_ref()?));
        // The root's help again says nothing of the subcommand; an error says little. Earlier spellings are more usual.
        let mut usable = texts.filter(|t| {
            t.exit == 0 && !t.text().trim().is_empty() && !is_same_help(&t.text(), root_text)
        });
        let best = usable.next();
        let mut command = Command::default();
        if let Some(text) = best.map(|t| t.text()) {
            let mut sub_names = names.clone();
            sub_names.extend(path.iter().cloned());
            command.absorb(&text, &sub_names);
            drop_path_words(&mut command, path);
            surface.absorb_prose("help", &text);
            if path.last().is_none_or(|last| last != "help") {
                deeper.extend(
                    sections::subcommands(&text)
                        .into_iter()
                        .filter(|n| n != "help")
                        .map(|n| path.iter().cloned().chain([n]).collect::<Vec<_>>()),
                );
            }
        }
        surface.commands.insert(path.clone(), command);
    }
    Ok(deeper)
}

/// `Usage: prog sub <FILE>` names the subcommand where a positional argument would stand.
fn drop_path_words(command: &mut Command, path: &[String]) {
    for shape in &mut command.shapes {
        shape.retain(|p| !path.contains(&p.name));
    }
    let mut unique = Vec::new();
    for shape in command.shapes.drain(..) {
        if !unique.contains(&shape) {
            unique.push(shape);
        }
    }
    command.shapes = unique;
}
