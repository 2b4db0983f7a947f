//! Finding out how the reference likes to be called: many small invocations are tried, those that succeed with rich and
//! different output become the bases of everything else.

use crate::error::ExploreError;
use crate::inputs::Kind;
use crate::inputs::corpora::{plain_word, records};
use crate::inputs::languages::{Form, LANGUAGES, Language};
use crate::inputs::values::{Sort, good_of, sort_of_name};
use crate::lab::{Circumstances, Lab};
use crate::maker::{Base, Maker};
use crate::surface::usage::Positional;
use crate::surface::{Command, Surface};
use fastrand::Rng;
use reenact_model::{Case, CaseObservation, Digest, Ended};
use std::collections::{BTreeMap, BTreeSet};

/// Bases kept for the program itself, and for each subcommand.
const ROOT_BASES: usize = 14;
const SUB_BASES: usize = 5;

/// What was found.
#[derive(Default)]
pub struct Bases {
    /// By command path; the best first.
    pub by_command: BTreeMap<Vec<String>, Vec<Base>>,
    /// Languages understood, with the forms that work.
    pub languages: Vec<(&'static Language, Vec<Form>)>,
    /// The kind of input that works best.
    pub main: Option<Kind>,
}

impl Bases {
    /// Bases of a command; an empty invocation where nothing worked.
    pub fn of(&self, path: &[String]) -> Vec<Base> {
        match self.by_command.get(path) {
            Some(bases) if !bases.is_empty() => bases.clone(),
            _ => vec![Base { path: path.to_vec(), ..Base::default() }],
        }
    }

    /// The main kind, or plain text.
    pub fn kind(&self) -> Kind {
        self.main.unwrap_or(Kind::Text)
    }
}

/// A base to try, with the kind of its content.
struct Trial {
    base: Base,
    kind: Option<Kind>,
}

/// Tries and ranks.
///
/// # Errors
/// [`ExploreError`] when the sandbox fails.
pub fn find(surface: &Surface, lab: &Lab<'_>, seed: u64) -> Result<Bases, ExploreError> {
    lab.progress.stage("finding inputs that the reference accepts");
    let mut rng = Rng::with_seed(seed ^ 0x6261_7365);
    let mut bases = Bases { languages: find_languages(lab)?, ..Bases::default() };
    let mut wins: BTreeMap<Kind, u64> = BTreeMap::new();
    let kinds = ranked_kinds(surface);
    let mut trials: Vec<Trial> = Vec::new();
    for (path, command) in &surface.commands {
        let few = if path.is_empty() { kinds.len() } else { 5 };
        trials.extend(trials_of(surface, path, command, &kinds[..few], &mut rng));
    }
    trials.extend(language_trials(&bases.languages, &mut rng));
    let mut maker = Maker::new(seed);
    let indices: Vec<Option<usize>> = trials.iter().map(|t| maker.add("probe", &t.base, &[], &[])).collect();
    let cases: Vec<&Case> = maker.cases.iter().collect();
    let seen = lab.observe(&cases, &maker.blobs, &Circumstances::default(), None)?;
    let mut ranked: BTreeMap<Vec<String>, Vec<(u64, usize, Digest)>> = BTreeMap::new();
    for (i, trial) in trials.iter().enumerate() {
        let Some(observation) = indices[i].and_then(|at| seen[at].ran()) else { continue };
        let (score, class) = score(&trial.base, observation);
        if score >= 100 {
            if let Some(kind) = trial.kind {
                *wins.entry(kind).or_default() += score;
            }
            ranked.entry(trial.base.path.clone()).or_default().push((score, i, class));
        }
    }
    for (path, list) in ranked {
        let keep = if path.is_empty() { ROOT_BASES } else { SUB_BASES };
        bases.by_command.insert(path, best(list, keep, &trials));
    }
    bases.main = main_kind(&wins, &kinds);
    Ok(bases)
}

/// Kinds by how often the documentation speaks of them; the order of [`Kind::ALL`] breaks ties.
fn ranked_kinds(surface: &Surface) -> Vec<Kind> {
    let weight = |k: &Kind| k.hints().iter().filter_map(|w| surface.words.get(*w)).sum::<u32>();
    let mut kinds = Kind::ALL.to_vec();
    kinds.sort_by_key(|k| std::cmp::Reverse(weight(k)));
    kinds
}

/// Most output wins, but a kind that the documentation names twice as early counts a little more.
fn main_kind(wins: &BTreeMap<Kind, u64>, ranked: &[Kind]) -> Option<Kind> {
    let bonus = |k: &Kind| 40 * (ranked.len() - ranked.iter().position(|r| r == k).unwrap_or(ranked.len())) as u64;
    wins.iter().max_by_key(|(kind, score)| (**score + bonus(kind), std::cmp::Reverse(**kind))).map(|(kind, _)| *kind)
}

/// Keeps the best of each class of behaviour, at most four with the same shape of operands in a row.
fn best(mut list: Vec<(u64, usize, Digest)>, keep: usize, trials: &[Trial]) -> Vec<Base> {
    list.sort_by_key(|(score, index, _)| (std::cmp::Reverse(*score), *index));
    let mut classes = BTreeSet::new();
    let mut per_kind: BTreeMap<(Option<Kind>, bool), usize> = BTreeMap::new();
    let mut chosen = Vec::new();
    for pass in 0..2 {
        for (_, index, class) in &list {
            let trial = &trials[*index];
            let used = per_kind.entry((trial.kind, trial.base.stdin.is_some())).or_default();
            if chosen.len() < keep && (pass == 1 || *used < 2) && classes.insert(*class) {
                *used += 1;
                chosen.push(trial.base.clone());
            } else if pass == 0 {
                // Left for the second pass, when its class is still open.
                continue;
            }
        }
    }
    chosen
}

/// How well an invocation went: 100 and more is success with output or a changed workspace. The class tells apart what
/// came out.
pub fn score(base: &Base, seen: &CaseObservation) -> (u64, Digest) {
    let Some(step) = seen.steps.last() else { return (0, Digest::of(b"")) };
    let out = step.stdout.inline_bytes();
    let class = Digest::of(&[out, step.stderr.inline_bytes(), format!("{:?}", step.ended).as_bytes()].concat());
    let written = seen.files.len() > base.files.len();
    if step.ended != (Ended::Exit { code: 0 }) || (out.is_empty() && !written) || step.stdout.truncated {
        return (if step.stdout.len > 0 { 20 } else { 0 }, class);
    }
    let mut score = 100 + u64::from(out.len().checked_ilog2().unwrap_or(0)) * 5;
    score += 10 * u64::from(step.stderr.len == 0);
    score += 20 * u64::from(base.stdin.as_deref() != Some(out));
    score += 25 * u64::from(written);
    (score, class)
}

fn trials_of(surface: &Surface, path: &[String], command: &Command, kinds: &[Kind], rng: &mut Rng) -> Vec<Trial> {
    let mut trials = Vec::new();
    let mut shapes: Vec<Vec<Positional>> = vec![Vec::new()];
    shapes.extend(command.shapes.iter().cloned());
    shapes.push(vec![Positional { name: "FILE".to_owned(), ..Positional::default() }]);
    let mut seen = BTreeSet::new();
    for shape in shapes {
        let required: Vec<Positional> = shape.iter().filter(|p| !p.optional).cloned().collect();
        for shape in [shape, required] {
            let names: Vec<String> = shape.iter().map(|p| p.name.clone()).collect();
            if seen.insert(names) && seen.len() <= 6 {
                for kind in kinds {
                    trials.extend(fill(surface, path, &shape, *kind, rng));
                }
            }
        }
    }
    for words in [vec!["Hello"], vec!["Hello", "World"], vec!["12"], vec!["a b c"]] {
        let operands = words.into_iter().map(str::to_owned).collect();
        trials.push(Trial { base: Base { path: path.to_vec(), operands, ..Base::default() }, kind: None });
    }
    trials.push(Trial { base: Base { path: path.to_vec(), ..Base::default() }, kind: None });
    trials
}

/// A shape filled in two ways: data in files where operands name files, and data on standard input without them.
fn fill(surface: &Surface, path: &[String], shape: &[Positional], kind: Kind, rng: &mut Rng) -> Vec<Trial> {
    let data = content(kind, rng);
    let name = format!("in.{}", kind.extension());
    let mut with_file = Base { path: path.to_vec(), ..Base::default() };
    let mut with_stdin = Base { path: path.to_vec(), stdin: Some(data.clone()), ..Base::default() };
    for positional in shape {
        match operand(surface, positional, kind, rng) {
            Operand::Input => {
                with_file.files.insert(name.clone(), data.clone());
                with_file.operands.push(name.clone());
            }
            Operand::Word(word) => {
                with_file.operands.push(word.clone());
                with_stdin.operands.push(word);
            }
        }
    }
    let mut trials = vec![Trial { base: with_stdin, kind: Some(kind) }];
    if !with_file.files.is_empty() {
        trials.push(Trial { base: with_file, kind: Some(kind) });
    }
    trials
}

/// A content for a base: JSON as an array of records, because that is what most tools can do most with.
pub fn content(kind: Kind, rng: &mut Rng) -> Vec<u8> {
    if kind == Kind::Json && rng.u8(..3) > 0 { records(rng).into_bytes() } else { kind.generate(rng) }
}

enum Operand {
    Input,
    Word(String),
}

fn operand(surface: &Surface, positional: &Positional, kind: Kind, rng: &mut Rng) -> Operand {
    let lower = positional.name.to_ascii_lowercase();
    let code = ["filter", "expr", "sql", "query", "program", "selector", "template", "statement"];
    if code.iter().any(|w| lower.contains(w)) {
        return Operand::Word(snippet(surface, rng));
    }
    match sort_of_name(&positional.name) {
        Some(Sort::InputFile) => Operand::Input,
        Some(sort) => Operand::Word(good_of(sort, kind, rng).text),
        None if ["text", "string", "message", "word", "name", "arg"].iter().any(|w| lower.contains(w)) => {
            Operand::Word(plain_word(rng).to_owned())
        }
        None if rng.bool() => Operand::Input,
        None => Operand::Word(plain_word(rng).to_owned()),
    }
}

/// A fragment that the documentation quotes; `.` where it quotes none.
fn snippet(surface: &Surface, rng: &mut Rng) -> String {
    match surface.snippets.len() {
        0 => ".".to_owned(),
        _ if rng.u8(..3) == 0 => ".".to_owned(),
        n => surface.snippets[rng.usize(..n)].clone(),
    }
}

/// A base that hands `code` over in this form, with `data` on standard input where the language reads data.
pub fn code_base(language: &Language, form: Form, code: &str, data: Option<Vec<u8>>) -> Base {
    let script = format!("script.{}", language.extension);
    let mut base = Base { stdin: data, ..Base::default() };
    match form {
        Form::Argument => base.operands = vec![code.to_owned()],
        Form::Option(option) => base.operands = vec![option.to_owned(), code.to_owned()],
        Form::Database => base.operands = vec![":memory:".to_owned(), code.to_owned()],
        Form::Stdin => base.stdin = Some(format!("{code}\n").into_bytes()),
        Form::File => base.operands = vec![script.clone()],
        Form::FileOption(option) => base.operands = vec![option.to_owned(), script.clone()],
    }
    if matches!(form, Form::File | Form::FileOption(_)) {
        base.files.insert(script, format!("{code}\n").into_bytes());
    }
    base
}

/// Which languages the reference speaks: each is asked to print 42 in every form.
fn find_languages(lab: &Lab<'_>) -> Result<Vec<(&'static Language, Vec<Form>)>, ExploreError> {
    let mut maker = Maker::new(0);
    let mut asked = Vec::new();
    for language in LANGUAGES {
        for form in language.forms {
            let data = (!language.probe_input.is_empty()).then(|| language.probe_input.as_bytes().to_vec());
            let base = code_base(language, *form, language.probe, data);
            asked.extend(maker.add("probe", &base, &[], &[]).map(|at| (language, *form, at)));
        }
    }
    let seen = lab.observe(&maker.cases.iter().collect::<Vec<_>>(), &maker.blobs, &Circumstances::default(), None)?;
    let answered = |at: usize| {
        let step = seen[at].ran().and_then(|s| s.steps.first());
        step.is_some_and(|s| s.ended == (Ended::Exit { code: 0 }) && s.stdout.inline_bytes().trim_ascii() == b"42")
    };
    let mut found: Vec<(&'static Language, Vec<Form>)> = Vec::new();
    for (language, form, at) in asked {
        if answered(at) {
            match found.iter_mut().find(|(l, _)| l.name == language.name) {
                Some((_, forms)) => forms.push(form),
                None => found.push((language, vec![form])),
            }
        }
    }
    found.truncate(2);
    Ok(found)
}

fn language_trials(languages: &[(&'static Language, Vec<Form>)], rng: &mut Rng) -> Vec<Trial> {
    let mut trials = Vec::new();
    for (language, forms) in languages {
        for (i, template) in language.templates.iter().take(30).enumerate() {
            let kind = (!language.data.is_empty()).then(|| language.data[i % language.data.len()]);
            let data = kind.map(|k| content(k, rng));
            let code = language.program(template, rng);
            trials.push(Trial { base: code_base(language, forms[i % forms.len()], &code, data), kind });
        }
    }
    trials
}
