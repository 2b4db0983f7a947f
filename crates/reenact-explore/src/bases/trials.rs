//! Invocations to try: the shapes of usage lines filled with every kind of input.

use crate::inputs::Kind;
use crate::inputs::corpora::{plain_word, records};
use crate::inputs::values::{Sort, good_of, sort_of_name};
use crate::maker::Base;
use crate::surface::usage::Positional;
use crate::surface::{Command, Surface};
use fastrand::Rng;
use std::collections::BTreeSet;

/// A base to try, with the kind of its content.
pub(crate) struct Trial {
    pub base: Base,
    pub kind: Option<Kind>,
}

pub(crate) fn trials_of(
    surface: &Surface,
    path: &[String],
    command: &Command,
    kinds: &[Kind],
    rng: &mut Rng,
) -> Vec<Trial> {
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
        trials.push(Trial {
            base: Base { path: path.to_vec(), operands, ..Base::default() },
            kind: None,
        });
    }
    trials.push(Trial { base: Base { path: path.to_vec(), ..Base::default() }, kind: None });
    trials
}

/// A shape filled in two ways: data in files where operands name files, and data on standard input without them.
fn fill(
    surface: &Surface,
    path: &[String],
    shape: &[Positional],
    kind: Kind,
    rng: &mut Rng,
) -> Vec<Trial> {
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
    if kind == Kind::Json && rng.u8(..3) > 0 {
        records(rng).into_bytes()
    } else {
        kind.generate(rng)
    }
}

enum Operand {
    Input,
    Word(String),
}

fn operand(surface: &Surface, positional: &Positional, kind: Kind, rng: &mut Rng) -> Operand {
    let lower = positional.name.to_ascii_lowercase();
    let code = ["filter", "expr", "sql", "query", "program", "selector", "template", "statement"];
    if ["choice", "field", "column", "range", "index"].iter().any(|w| lower.contains(w)) {
        return Operand::Word(good_of(Sort::Ranges, kind, rng).text);
    }
    if ["find", "needle", "before", "old"].iter().any(|w| lower == *w) {
        return Operand::Word(good_of(Sort::Regex, kind, rng).text);
    }
    if code.iter().any(|w| lower.contains(w)) {
        return Operand::Word(snippet(surface, rng));
    }
    match sort_of_name(&positional.name) {
        Some(Sort::InputFile) => Operand::Input,
        Some(sort) => Operand::Word(good_of(sort, kind, rng).text),
        None if [
            "text", "string", "message", "word", "name", "arg", "replace", "with", "new", "after",
        ]
        .iter()
        .any(|w| lower.contains(w)) =>
        {
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
