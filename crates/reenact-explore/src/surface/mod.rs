//! The surface of a program: what its documentation and its own help say about how it may be called.
//!
//! Mining is pure text work on whatever people wrote, so nothing here may fail: what is not understood is skipped, and what
//! is misunderstood costs only a candidate that the reference answers with an error.

pub mod examples;
pub mod exits;
pub mod live;
pub mod options;
pub mod sections;
pub mod usage;

use crate::surface::examples::Example;
use crate::surface::options::Opt;
use crate::surface::usage::Positional;
use std::collections::{BTreeMap, BTreeSet};

/// What is known about one (sub)command.
#[derive(Clone, Debug, Default)]
pub struct Command {
    /// Options, in order of first appearance.
    pub options: Vec<Opt>,
    /// Alternative shapes of the positional arguments, as usage lines give them.
    pub shapes: Vec<Vec<Positional>>,
}

impl Command {
    /// Adds what a text says about this command.
    pub fn absorb(&mut self, text: &str, names: &BTreeSet<String>) {
        let usages = usage::usages(text, names);
        for option in
            options::mine(text).into_iter().chain(usages.iter().flat_map(|u| u.options.clone()))
        {
            self.add_option(option);
        }
        for shape in usages.into_iter().map(|u| u.positionals) {
            if !self.shapes.contains(&shape) && self.shapes.len() < 6 {
                self.shapes.push(shape);
            }
        }
    }

    /// Merges an option with what is known of it by any of its names; the first source wins where both say something.
    pub fn add_option(&mut self, option: Opt) {
        let full = self.options.len() >= 200;
        match self.options.iter_mut().find(|o| o.names.iter().any(|n| option.names.contains(n))) {
            Some(known) => known.merge(option),
            None if full => {}
            None => self.options.push(option),
        }
    }
}

/// What is known about the program.
#[derive(Clone, Debug, Default)]
pub struct Surface {
    /// Names that the documentation calls the program by.
    pub names: BTreeSet<String>,
    /// By path: the empty path is the program itself.
    pub commands: BTreeMap<Vec<String>, Command>,
    /// Example invocations.
    pub examples: Vec<Example>,
    /// Quoted arguments and code spans that may be programs in the reference's own language.
    pub snippets: Vec<String>,
    /// Environment variables mentioned.
    pub env: Vec<String>,
    /// Keys mentioned, as bytes to send to a terminal.
    pub keys: Vec<String>,
    /// Arguments that print the help text, and that text.
    pub help: Option<HelpText>,
    /// Arguments that print the version.
    pub version: Option<Vec<String>>,
    /// Lower-case words of the documentation with their counts: hints about input types.
    pub words: BTreeMap<String, u32>,
    /// Stems of data files that come with the reference (fonts, themes, …).
    pub data_names: Vec<String>,
}

/// How the reference prints its help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HelpText {
    pub argv: Vec<String>,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub exit: i32,
}

impl Surface {
    /// A surface for a program of this name, nothing else known yet. Versioned names (`lua5.4`) are also known without
    /// the version.
    pub fn new(name: &str) -> Self {
        let mut names: BTreeSet<String> = ["executable".to_owned(), name.to_owned()].into();
        let bare = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.' || c == '-');
        if bare.len() > 1 {
            names.insert(bare.to_owned());
        }
        Self {
            names,
            commands: BTreeMap::from([(Vec::new(), Command::default())]),
            ..Self::default()
        }
    }

    /// Adds what one document says. Options of a document are the program's own, unless a subcommand already has them.
    pub fn absorb_document(&mut self, from: &str, text: &str) {
        let text = normalise(text);
        self.names.extend(usage::program_names(&text));
        let mut found = Command::default();
        found.absorb(&text, &self.names);
        let known: BTreeSet<String> = self
            .commands
            .iter()
            .filter(|(path, _)| !path.is_empty())
            .flat_map(|(_, c)| c.options.iter().flat_map(|o| o.names.iter().cloned()))
            .collect();
        let root = self.commands.entry(Vec::new()).or_default();
        for option in found.options {
            if !option.names.iter().any(|n| known.contains(n)) {
                root.add_option(option);
            }
        }
        for shape in found.shapes {
            if !root.shapes.contains(&shape) && root.shapes.len() < 6 {
                root.shapes.push(shape);
            }
        }
        self.absorb_prose(from, &text);
    }

    /// Adds examples, snippets, variables, keys and words.
    pub fn absorb_prose(&mut self, from: &str, text: &str) {
        for example in examples::mine(from, text, &self.names) {
            if self.examples.len() < 300 && !self.examples.iter().any(|e| e.same_call(&example)) {
                self.examples.push(example);
            }
        }
        push_new(&mut self.snippets, examples::snippets(text), 400);
        push_new(&mut self.env, sections::env_names(text), 24);
        push_new(&mut self.keys, sections::keys(text), 60);
        for word in
            text.split(|c: char| !c.is_alphanumeric()).filter(|w| (2..=20).contains(&w.len()))
        {
            *self.words.entry(word.to_ascii_lowercase()).or_default() += 1;
        }
    }

    /// The program itself.
    pub fn root(&self) -> &Command {
        // `new` puts the empty path in, and nothing removes it.
        &self.commands[&Vec::new() as &Vec<String>]
    }

    /// Paths of the subcommands.
    pub fn subcommands(&self) -> impl Iterator<Item = (&Vec<String>, &Command)> {
        self.commands.iter().filter(|(path, _)| !path.is_empty())
    }

    /// Every documented option, as `(command path, primary name)`.
    pub fn documented(&self) -> BTreeSet<String> {
        self.commands
            .iter()
            .flat_map(|(path, c)| c.options.iter().map(|o| option_key(path, o)))
            .collect()
    }

    /// The documented options that a command line uses, as [`Surface::documented`] names them.
    pub fn exercised(&self, argv: &[String]) -> BTreeSet<String> {
        let mut path: Vec<String> = Vec::new();
        for word in argv {
            let mut longer = path.clone();
            longer.push(word.clone());
            if self.commands.contains_key(&longer) {
                path = longer;
            }
        }
        let mut used = BTreeSet::new();
        let options: Vec<(&Vec<String>, &Opt)> = [Vec::new(), path]
            .iter()
            .filter_map(|p| self.commands.get_key_value(p))
            .flat_map(|(p, c)| c.options.iter().map(move |o| (p, o)))
            .collect();
        for word in
            argv.iter().take_while(|w| *w != "--").filter(|w| w.starts_with('-') && w.len() > 1)
        {
            used.extend(
                options.iter().filter(|(_, o)| o.matches(word)).map(|(p, o)| option_key(p, o)),
            );
        }
        used
    }
}

/// `sub command --option`, the name of an option in figures.
pub fn option_key(path: &[String], option: &Opt) -> String {
    let mut key = path.join(" ");
    if !key.is_empty() {
        key.push(' ');
    }
    key + option.primary()
}

fn push_new(list: &mut Vec<String>, more: Vec<String>, max: usize) {
    for item in more {
        if list.len() < max && !list.contains(&item) {
            list.push(item);
        }
    }
}

/// Text without typographic quotes, overstrikes and non-breaking blanks, so that one set of patterns reads all.
pub fn normalise(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\u{2018}' | '\u{2019}' | '\u{b4}' => out.push('\''),
            '\u{201c}' | '\u{201d}' => out.push('"'),
            '\u{2010}' | '\u{2011}' | '\u{2212}' => out.push('-'),
            '\u{a0}' => out.push(' '),
            '\u{8}' => {
                out.pop();
            }
            '\r' => {}
            c => out.push(c),
        }
    }
    out
}
