//! The documented surface: what the documentation alone says, without asking the program. Probes are held against it.
//!
//! Suites are mined from more (`surface::live`): the program's own answers, and every option that any document seems to list.
//! Here only what an agent is shown counts, and a guess too many would read as something it should have probed; so options
//! come from help texts and from the program's own manual, and from other documents only if these list none.

use crate::error::ExploreError;
use crate::surface::live::documents;
use crate::surface::options::{Joint, Opt};
use crate::surface::{Surface, exits, normalise, sections, usage};
use reenact_bundle::TaskBundle;
use reenact_model::surface::{
    DocumentedExample, DocumentedExit, DocumentedOption, DocumentedSurface,
};
use std::collections::BTreeSet;

/// Exit codes that are kept.
const MAX_EXITS: usize = 40;

/// Mines the documentation of a task.
///
/// # Errors
/// [`ExploreError`] when a document cannot be read.
pub fn documented(task: &TaskBundle) -> Result<DocumentedSurface, ExploreError> {
    Ok(of_documents(&task.manifest.source.name, &documents(&task.docs())?))
}

/// Mines documents, given by name and text.
pub fn of_documents(program: &str, documents: &[(String, String)]) -> DocumentedSurface {
    let mut surface = Surface::new(program);
    let documents: Vec<Document> =
        documents.iter().map(|(name, text)| Document::new(name, text)).collect();
    for document in &documents {
        surface.names.extend(usage::program_names(&document.text));
    }
    let own = names_of_the_manual(&documents, &surface.names, program);
    let relevant: Vec<&Document> = documents.iter().filter(|d| d.belongs_to(&own)).collect();
    for document in &relevant {
        if document.kind == Kind::Capture {
            absorb_capture(&mut surface, &document.text);
        }
    }
    for kind in [Kind::Manual, Kind::Other] {
        let bare = surface.commands.values().all(|c| c.options.is_empty());
        for document in relevant.iter().filter(|d| d.kind == kind) {
            if kind == Kind::Manual || bare {
                surface.absorb_document(&document.name, &document.text);
            } else {
                surface.absorb_prose(&document.name, &document.text);
            }
        }
    }
    plain(&surface, &relevant)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Answers to `--help` and the like, as forge records them.
    Capture,
    Manual,
    /// Scripts and data.
    Example,
    Other,
}

struct Document {
    name: String,
    text: String,
    kind: Kind,
}

impl Document {
    fn new(name: &str, text: &str) -> Self {
        let kind = match name.split('/').next() {
            Some("help.txt") => Kind::Capture,
            Some("man") => Kind::Manual,
            Some("examples") => Kind::Example,
            _ => Kind::Other,
        };
        Self { name: name.to_owned(), text: normalise(text), kind }
    }

    /// `figlet` of `man/figlet.6.txt`.
    fn page(&self) -> &str {
        let file = self.name.rsplit('/').next().unwrap_or(&self.name);
        let page = file.strip_suffix(".txt").unwrap_or(file);
        page.rsplit_once('.').map_or(page, |(page, _)| page)
    }

    /// Manuals of other programs in the same package do not count.
    fn belongs_to(&self, own: &BTreeSet<String>) -> bool {
        self.kind != Kind::Manual || own.is_empty() || own.contains(self.page())
    }
}

/// Names of the manual pages about this program; none if no page has its name (then all count).
fn names_of_the_manual(
    documents: &[Document],
    names: &BTreeSet<String>,
    program: &str,
) -> BTreeSet<String> {
    let pages: BTreeSet<String> =
        documents.iter().filter(|d| d.kind == Kind::Manual).map(|d| d.page().to_owned()).collect();
    // Every page names a program; the task's own name, with or without its version, is surest.
    let bare = program.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.' || c == '-');
    for sure in [program, bare] {
        if pages.contains(sure) {
            return [sure.to_owned()].into();
        }
    }
    pages.intersection(names).cloned().collect()
}

/// `$ ./executable sub --help`, then what it printed: each answer belongs to its subcommand.
fn absorb_capture(surface: &mut Surface, text: &str) {
    let names = surface.names.clone();
    for (path, body) in captures(text) {
        surface.absorb_prose("help", &body);
        let command = surface.commands.entry(path.clone()).or_default();
        let mut own_names = names.clone();
        own_names.extend(path.iter().cloned());
        command.absorb(&body, &own_names);
        for name in sections::subcommands(&body).into_iter().filter(|n| !is_asking(n)) {
            let mut longer = path.clone();
            // A subcommand that answers with the program's own help has no subcommands of its own.
            if !path.contains(&name) && path.len() < 3 {
                longer.push(name);
                surface.commands.entry(longer).or_default();
            }
        }
    }
    // The same list printed again under a subcommand is the program's, not the subcommand's.
    let roots: BTreeSet<String> =
        surface.commands.keys().filter(|p| p.len() == 1).map(|p| p[0].clone()).collect();
    let listed: Vec<Vec<String>> =
        surface.commands.keys().filter(|p| p.len() == 2).cloned().collect();
    for path in listed {
        let siblings = surface.commands.keys().filter(|p| p.len() == 2 && p[0] == path[0]);
        let (all, repeated) = siblings
            .fold((0, 0), |(all, same), p| (all + 1, same + usize::from(roots.contains(&p[1]))));
        if repeated >= 3 && repeated * 2 > all && roots.contains(&path[1]) {
            surface.commands.remove(&path);
        }
    }
}

/// Words that ask for help or version rather than for work.
fn is_asking(word: &str) -> bool {
    matches!(
        word,
        "help" | "--help" | "-h" | "-help" | "-?" | "--version" | "-V" | "-v" | "version"
    )
}

/// The answers of a capture with the subcommand that each belongs to.
fn captures(text: &str) -> Vec<(Vec<String>, String)> {
    let mut found: Vec<(Vec<String>, String)> = Vec::new();
    for line in text.lines() {
        let call = line.strip_prefix("$ ").map(|l| l.split_whitespace());
        match call.and_then(|mut words| words.next().map(|first| (first, words))) {
            Some((program, words)) if program.ends_with("executable") => {
                let path = words.filter(|w| !is_asking(w)).map(str::to_owned).collect();
                found.push((path, String::new()));
            }
            _ => {
                if let Some((_, body)) = found.last_mut() {
                    body.push_str(line);
                    body.push('\n');
                } else {
                    found.push((Vec::new(), format!("{line}\n")));
                }
            }
        }
    }
    found
}

fn plain(surface: &Surface, documents: &[&Document]) -> DocumentedSurface {
    let options = surface
        .commands
        .iter()
        .flat_map(|(path, command)| command.options.iter().filter_map(move |o| option(path, o)))
        .collect();
    let mut exits: Vec<DocumentedExit> = Vec::new();
    for (code, what) in documents.iter().flat_map(|d| exits::mine(&d.text)) {
        if exits.len() < MAX_EXITS && !exits.iter().any(|e| e.code == code) {
            exits.push(DocumentedExit { code, what });
        }
    }
    exits.sort_by_key(|e| e.code);
    // A heading `# tool` reads like a root shell's prompt, and a synopsis like a call.
    let is_call = |argv: &[String]| !argv.is_empty() && !argv.iter().any(|w| w == "[" || w == "]");
    let examples = surface
        .examples
        .iter()
        .filter(|e| is_call(&e.argv))
        .map(|e| DocumentedExample { argv: e.argv.clone(), from: e.from.clone() });
    DocumentedSurface {
        options,
        subcommands: surface.subcommands().map(|(path, _)| path.clone()).collect(),
        examples: examples.collect(),
        env: surface.env.iter().filter(|name| is_variable(name, documents)).cloned().collect(),
        exits,
    }
}

/// A word in capitals is a variable if it looks like one or is used like one; headings of manuals are neither.
fn is_variable(name: &str, documents: &[&Document]) -> bool {
    let used = format!("${name}");
    name.contains('_') || documents.iter().any(|d| d.text.contains(&used))
}

/// `None` for what is no option but a range of them (`-0..9`) or a synopsis.
fn option(path: &[String], option: &Opt) -> Option<DocumentedOption> {
    let names: Vec<String> = option.names.iter().filter(|n| !n.contains("..")).cloned().collect();
    // Prose after the name is no value.
    let prose =
        option.values.iter().any(|v| ["to", "the", "of", "and", "a", "is"].contains(&v.as_str()));
    let prose = prose && option.values.len() != 2;
    (!names.is_empty()).then(|| DocumentedOption {
        command: path.to_vec(),
        names,
        values: if prose { Vec::new() } else { option.values.clone() },
        optional: option.optional,
        glued: option.joint == Joint::Glued,
        choices: option.choices.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mined(program: &str, documents: &[(&str, &str)]) -> DocumentedSurface {
        let owned: Vec<(String, String)> =
            documents.iter().map(|(n, t)| ((*n).to_owned(), (*t).to_owned())).collect();
        of_documents(program, &owned)
    }

    fn keys(surface: &DocumentedSurface) -> Vec<String> {
        surface.options.iter().map(DocumentedOption::key).collect()
    }

    const CAPTURE: &str = "\
$ ./executable --help
Usage: tool <command>

Options:
    -q, --quiet    Say less

Commands:
    cat     Join
    help    Show this

$ ./executable -h
[same as: ./executable --help]

$ ./executable cat --help
Usage: tool cat [options]

Options:
    -m, --mode <MODE>  How [possible values: rows, columns]

$ ./executable bogus
error
[exit status 7]
";

    #[test]
    fn captures_give_each_subcommand_its_options() {
        let surface = mined("tool", &[("help.txt", CAPTURE)]);
        assert_eq!(keys(&surface), ["--quiet", "cat --mode"]);
        assert_eq!(surface.options[1].choices, ["rows", "columns"]);
        assert!(surface.options[1].takes_value() && !surface.options[0].takes_value());
        assert!(surface.subcommands.contains(&vec!["cat".to_owned()]));
        assert!(
            surface.exits.is_empty(),
            "what the capture notes is no documentation: {surface:?}"
        );
    }

    #[test]
    fn other_programs_of_the_package_do_not_count() {
        let page = |name: &str, option: &str| {
            format!("NAME\n       {name} - does\n\nOPTIONS\n       {option} W  Text\n")
        };
        let (own, other) = (page("fig", "-w"), page("chk", "-z"));
        let surface = mined("fig", &[("man/fig.6.txt", &own), ("man/chk.6.txt", &other)]);
        assert_eq!(keys(&surface), ["-w"]);
        let only_other = mined("tool", &[("man/chk.6.txt", &other)]);
        assert_eq!(keys(&only_other), ["-z"], "better than nothing");
        let versioned = mined("fig5.4", &[("man/fig.6.txt", &own), ("man/chk.6.txt", &other)]);
        assert_eq!(keys(&versioned), ["-w"]);
    }

    #[test]
    fn other_documents_give_examples_and_options_only_if_nothing_else_does() {
        let readme = "# tool\n\n```\n$ tool --fast in.txt\n```\n\n  -z, --zap  A thing\n\nExit codes:\n  0  fine\n  3  bad input\n";
        let with = mined("tool", &[("README.md", readme), ("help.txt", CAPTURE)]);
        assert_eq!(keys(&with), ["--quiet", "cat --mode"]);
        assert_eq!(with.examples[0].argv, ["--fast", "in.txt"]);
        assert_eq!(with.exits.iter().map(|e| e.code).collect::<Vec<_>>(), [0, 3]);
        let without = mined("tool", &[("README.md", readme)]);
        assert_eq!(keys(&without), ["--zap"]);
    }

    #[test]
    fn headings_ranges_and_prose_are_no_variables_options_or_values() {
        let man = "NAME\n       tool - does\n\nENVIRONMENT VARIABLES\n       TOOL_HOME  Where\n       PLAIN  What $PLAIN says\n       FILTERS\n\nOPTIONS\n       -0..9  Level\n       -z to the end  Zap\n       --arg a v  Set\n";
        let surface = mined("tool", &[("man/tool.1.txt", man)]);
        assert_eq!(surface.env, ["TOOL_HOME", "PLAIN"]);
        let shapes: Vec<(String, usize)> =
            surface.options.iter().map(|o| (o.key(), o.values.len())).collect();
        assert!(
            shapes.contains(&("--arg".to_owned(), 2)) && shapes.contains(&("-z".to_owned(), 0))
        );
        assert!(!shapes.iter().any(|(key, _)| key.contains("..")), "{shapes:?}");
    }

    #[test]
    fn no_documentation_is_an_empty_surface() {
        assert_eq!(mined("tool", &[]), DocumentedSurface::default());
    }
}
