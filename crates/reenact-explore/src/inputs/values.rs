//! Typed values of options and positional arguments, guessed from metavariable, name and description.

use crate::inputs::corpora::{Kind, plain_word, word};
use crate::surface::options::Opt;
use fastrand::Rng;

/// What a value means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sort {
    Number,
    Size,
    InputFile,
    OutputFile,
    Directory,
    Ranges,
    Delimiter,
    Regex,
    Colour,
    Format,
    When,
    Assignment,
    Date,
    Character,
    Name,
    Free,
}

/// A value, with the file it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    pub text: String,
    /// The value names an input file of this kind.
    pub file: Option<Kind>,
}

impl Value {
    fn plain(text: impl Into<String>) -> Self {
        Self { text: text.into(), file: None }
    }
}

/// Guesses the sort of the `index`-th value of an option.
pub fn sort_of(option: &Opt, index: usize) -> Sort {
    let meta =
        option.values.get(index).map(String::as_str).unwrap_or_default().to_ascii_lowercase();
    let name = option.primary().trim_start_matches('-').to_ascii_lowercase();
    let text = option.text.to_ascii_lowercase();
    by_meta(&meta).or_else(|| by_meta(&name)).unwrap_or_else(|| by_text(&text, &meta))
}

/// Guesses the sort of a positional argument from its metavariable.
pub fn sort_of_name(name: &str) -> Option<Sort> {
    by_meta(&name.to_ascii_lowercase())
}

fn by_meta(meta: &str) -> Option<Sort> {
    let has = |words: &[&str]| words.iter().any(|w| meta.contains(w));
    let is = |words: &[&str]| words.contains(&meta);
    Some(match meta {
        _ if has(&["delim", "separator", "sep", "ifs", "ofs"]) => Sort::Delimiter,
        _ if is(&["n", "num", "k", "i"])
            || has(&[
                "number",
                "count",
                "cols",
                "column-width",
                "width",
                "height",
                "depth",
                "level",
                "int",
                "lines",
                "rows",
                "len",
                "limit",
                "offset",
                "skip",
                "seed",
                "indent",
                "precision",
                "digits",
                "jobs",
                "threads",
                "max",
                "min",
            ]) =>
        {
            Sort::Number
        }
        _ if has(&["size", "bytes", "blocksize"]) => Sort::Size,
        _ if has(&["outfile", "output", "out-file"]) || is(&["o", "dest", "target"]) => {
            Sort::OutputFile
        }
        _ if has(&["dir", "folder"]) => Sort::Directory,
        _ if has(&["file", "path", "input", "database"])
            || is(&["f", "infile", "source", "script"]) =>
        {
            Sort::InputFile
        }
        _ if has(&["regex", "pattern", "regexp", "glob"]) || is(&["re", "search", "needle"]) => {
            Sort::Regex
        }
        _ if has(&["field", "column", "range", "list", "keydef", "bounds", "select", "index"])
            || is(&["key", "pos"]) =>
        {
            Sort::Ranges
        }
        _ if has(&["colour", "color", "theme"]) && !has(&["when"]) => Sort::Colour,
        _ if is(&["when"]) => Sort::When,
        _ if has(&["date", "time"]) => Sort::Date,
        _ if has(&["char"]) || is(&["c"]) => Sort::Character,
        _ if has(&["fmt", "format", "style", "mode", "type", "encoding"]) => Sort::Format,
        _ if has(&["key=", "name=", "var=", "=val"]) => Sort::Assignment,
        _ if is(&[
            "float", "decimal", "percent", "ratio", "bits", "octets", "off", "seconds", "secs",
        ]) =>
        {
            Sort::Number
        }
        _ if has(&["name", "font", "id", "label", "title"]) => Sort::Name,
        _ => return None,
    })
}

fn by_text(text: &str, meta: &str) -> Sort {
    let has = |words: &[&str]| words.iter().any(|w| text.contains(w));
    match meta {
        _ if has(&[
            "number of",
            "at most",
            "at least",
            "maximum",
            "minimum",
            "width",
            "columns wide",
            "level",
        ]) =>
        {
            Sort::Number
        }
        _ if has(&["delimiter", "separator"]) => Sort::Delimiter,
        _ if has(&["regular expression", "regex"]) => Sort::Regex,
        _ if has(&["write to", "output to", "output file"]) => Sort::OutputFile,
        _ if has(&["read from", "contents of", " file"]) => Sort::InputFile,
        _ if has(&["fields", "columns"]) => Sort::Ranges,
        _ => Sort::Free,
    }
}

/// A value that is likely to be accepted.
pub fn good(option: &Opt, index: usize, names: &[String], main: Kind, rng: &mut Rng) -> Value {
    if index == 0 && !option.choices.is_empty() {
        return Value::plain(pick(rng, &option.choices));
    }
    let sort = sort_of(option, index);
    if matches!(sort, Sort::Name | Sort::InputFile) && !names.is_empty() && rng.u8(..4) > 0 {
        return Value::plain(pick(rng, names));
    }
    good_of(sort, main, rng)
}

fn pick(rng: &mut Rng, list: &[String]) -> String {
    list[rng.usize(..list.len())].clone()
}

/// A value of this sort that is likely to be accepted.
pub fn good_of(sort: Sort, main: Kind, rng: &mut Rng) -> Value {
    let mut of = |list: &[&str]| Value::plain(list[rng.usize(..list.len())]);
    match sort {
        Sort::Number => of(&["1", "2", "3", "4", "5", "8", "10", "20", "40", "0"]),
        Sort::Size => of(&["1", "4", "16", "64", "100", "1k", "1K", "2kB"]),
        Sort::InputFile => Value { text: format!("data.{}", main.extension()), file: Some(main) },
        Sort::OutputFile => of(&["out.dat", "result.txt", "new"]),
        Sort::Directory => of(&[".", "sub", "out"]),
        Sort::Ranges => of(&[
            "1", "0", "2", "1", "1,3", "2-", "0:1", "1-2", "1:2", "2,1", "-1", "name", "id,name",
        ]),
        Sort::Delimiter => of(&[",", ";", "\t", " ", ":", "|", "ab", "-"]),
        Sort::Regex => {
            of(&["a", "^a", "[aeiou]+", "\\w+", ".*", "e$", "an", "(a|o).", "\\d+", "[A-Z]"])
        }
        Sort::Colour => of(&["red", "blue", "green", "auto", "#ff8800", "1", "default"]),
        Sort::Format => of(&["json", "text", "csv", "plain", "hex", "%s", "default", "html"]),
        Sort::When => of(&["always", "never", "auto"]),
        Sort::Assignment => of(&["a=1", "name=x y", "k="]),
        Sort::Date => of(&["2020-01-02", "2020-01-02T03:04:05Z", "1h", "10"]),
        Sort::Character => of(&["x", "*", "#", "-", " "]),
        Sort::Name => Value::plain(plain_word(rng)),
        Sort::Free => match rng.u8(..6) {
            0 => Value::plain(rng.u32(..20).to_string()),
            1 => Value::plain("a b"),
            _ => Value::plain(word(rng)),
        },
    }
}

/// Values at the edges: many of them are refused by most programs, each in its own words.
pub fn edges(sort: Sort) -> &'static [&'static str] {
    match sort {
        Sort::Number | Sort::Size => &[
            "0",
            "1",
            "-1",
            "7",
            "255",
            "1000",
            "99999999999999999999",
            "1.5",
            "abc",
            "",
            "0x10",
            " 3",
            "+2",
            "1e2",
            "3x",
        ],
        Sort::InputFile => &["missing.txt", ".", "", "-", "/dev/null"],
        Sort::OutputFile => &["missing/out", ".", "", "-", "/dev/null"],
        Sort::Directory => &["missing", "", "/", ".."],
        Sort::Ranges => &["0", "99", "3-1", "1,1", "a", "", "1-", "-", "1..3", "1,", "*", "-1:"],
        Sort::Delimiter => &["", "\\t", "é", "ab", "\\", "\"", "\u{0001}", "tab"],
        Sort::Regex => &["", "(", "[", "*", "a{2}", "(?i)A", "\\", "é", "^$", "a|b", ".", "\\bx"],
        Sort::Colour => &["", "nocolor", "#ggg", "256", "RED"],
        Sort::Format | Sort::When => &["", "bogus", "JSON", "0", "%", "%d %s"],
        Sort::Assignment => &["", "novalue", "=x", "a=b=c"],
        Sort::Date => &["", "yesterday", "2020-13-01", "0", "-1"],
        Sort::Character => &["", "ab", "é", "\\n"],
        Sort::Name | Sort::Free => &[
            "",
            "é",
            "a b",
            "-",
            "0",
            "x\ny",
            "very-long-value-that-nobody-expects-to-be-given-here",
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn option(name: &str, meta: &str, text: &str) -> Opt {
        Opt {
            names: vec![name.to_owned()],
            values: vec![meta.to_owned()],
            text: text.to_owned(),
            ..Opt::default()
        }
    }

    #[test]
    fn sorts_from_metavariable_name_and_text() {
        assert_eq!(sort_of(&option("-w", "outputwidth", ""), 0), Sort::Number);
        assert_eq!(sort_of(&option("--delimiter", "X", ""), 0), Sort::Delimiter);
        assert_eq!(sort_of(&option("-z", "ARG", "the number of things"), 0), Sort::Number);
        assert_eq!(sort_of(&option("--color", "WHEN", ""), 0), Sort::When);
        assert_eq!(sort_of(&option("-f", "fontfile", ""), 0), Sort::InputFile);
        assert_eq!(sort_of(&option("-q", "zzz", ""), 0), Sort::Free);
    }

    #[test]
    fn choices_come_first() {
        let o = Opt { choices: vec!["grid".into(), "none".into()], ..option("--style", "S", "") };
        let v = good(&o, 0, &[], Kind::Csv, &mut Rng::with_seed(1));
        assert!(o.choices.contains(&v.text));
    }
}
