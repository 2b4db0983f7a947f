//! Examples of the documentation, with the files they mention, and light variations of them.

use crate::bases::content;
use crate::generate::Workshop;
use crate::inputs::Kind;
use crate::maker::{Call, Draft};
use crate::surface::examples::Example;
use fastrand::Rng;
use reenact_model::FileSpec;
use std::collections::BTreeMap;
use std::path::Path;

/// Every example once as it stands, then varied.
pub fn add(shop: &mut Workshop<'_>) {
    let mut rng = shop.rng("examples");
    let examples = shop.surface.examples.clone();
    for example in examples.iter().take(200) {
        add_one(shop, example, &example.argv, &mut rng, &["example"]);
    }
    for example in examples.iter().take(120) {
        if let Some(argv) = varied(&example.argv, &mut rng) {
            add_one(shop, example, &argv, &mut rng, &["varied"]);
        }
    }
}

fn add_one(
    shop: &mut Workshop<'_>,
    example: &Example,
    argv: &[String],
    rng: &mut Rng,
    tags: &[&'static str],
) {
    let mut files = BTreeMap::new();
    let main = shop.bases.kind();
    let mut place = |shop: &mut Workshop<'_>, name: &str, rng: &mut Rng| {
        let kind = kind_of(name, main);
        let bytes = content(kind, rng);
        files.insert(name.to_owned(), shop.maker.file(&bytes));
        bytes
    };
    for word in argv {
        let name = word.rsplit('=').next().unwrap_or(word);
        if looks_like_file(name) {
            place(shop, name, rng);
        }
    }
    let stdin = match (&example.stdin, &example.stdin_file) {
        (Some(text), _) => Some(text.clone().into_bytes()),
        (None, Some(name)) if reenact_model::case::check_relative(name).is_ok() => {
            Some(place(shop, name, rng))
        }
        // Without any input most filters would only meet an empty stdin.
        (None, _) if files_empty(&files) => Some(content(main, rng)),
        (None, _) => None,
    };
    let call = Call { argv: argv.to_vec(), stdin, env: example.env.clone(), tty: None };
    let from = Some(example.from.clone());
    shop.maker.push(Draft {
        group: "examples",
        steps: vec![call],
        files,
        tags: tags.to_vec(),
        from,
    });
}

fn files_empty(files: &BTreeMap<String, FileSpec>) -> bool {
    files.is_empty()
}

fn kind_of(name: &str, main: Kind) -> Kind {
    let ext = Path::new(name).extension().map(|e| e.to_string_lossy().to_ascii_lowercase());
    ext.map_or(main, |e| Kind::of_extension(&e))
}

/// `data.csv`, `file`, `input`: names that documentation gives to files.
fn looks_like_file(word: &str) -> bool {
    let plain = reenact_model::case::check_relative(word).is_ok()
        && word.chars().all(|c| c.is_alphanumeric() || "._-/".contains(c))
        && !word.starts_with('-');
    let ext = Path::new(word).extension().is_some_and(|e| {
        (1..=5).contains(&e.len())
            && e.to_string_lossy().chars().any(|c| c.is_ascii_alphabetic())
            && !word.starts_with('.')
    });
    let usual = [
        "file", "input", "infile", "foo", "bar", "file1", "file2", "data", "test", "somefile",
        "filename",
    ];
    plain && (ext || usual.contains(&word))
}

/// One number or quoted word of the arguments changed; `None` when there is nothing to change.
fn varied(argv: &[String], rng: &mut Rng) -> Option<Vec<String>> {
    let places: Vec<usize> = (0..argv.len())
        .filter(|&i| argv[i].chars().any(|c| c.is_ascii_digit() || "+*<>".contains(c)))
        .collect();
    let at = *places.get(rng.usize(..places.len().max(1)))?;
    let mut out = argv.to_vec();
    let digit = char::from_digit(rng.u32(..10), 10)?;
    let swapped: String = match rng.u8(..2) {
        0 => out[at].chars().map(|c| if c.is_ascii_digit() { digit } else { c }).collect(),
        _ => out[at].replace('+', "-").replace('*', "+").replace('<', ">"),
    };
    (swapped != out[at]).then(|| {
        out[at] = swapped;
        out
    })
}
