//! The same calls on other data: standard input, files, operands, subcommands.

use crate::bases::content;
use crate::generate::Workshop;
use crate::inputs::Kind;
use crate::inputs::corpora::{plain_word, variants, word};
use crate::maker::{Base, Draft};
use fastrand::Rng;
use reenact_model::FileSpec;

/// Fresh contents and odd shapes of the contents that worked, on standard input.
pub fn stdin(shop: &mut Workshop<'_>) {
    let mut rng = shop.rng("stdin");
    let bases: Vec<Base> = shop.bases.of(&[]).into_iter().filter(|b| b.stdin.is_some()).collect();
    for base in &bases {
        for (tag, bytes) in variants(base.stdin.as_deref().unwrap_or_default(), &mut rng) {
            shop.maker.add("stdin", &Base { stdin: Some(bytes), ..base.clone() }, &[], &[tag]);
        }
    }
    if bases.is_empty() {
        return;
    }
    for i in 0..shop.wanted / 3 {
        let kind =
            if i % 5 == 4 { Kind::ALL[rng.usize(..Kind::ALL.len())] } else { shop.bases.kind() };
        let base = &bases[rng.usize(..bases.len())];
        let bytes = content(kind, &mut rng);
        shop.maker.add("stdin", &Base { stdin: Some(bytes), ..base.clone() }, &[], &[]);
    }
}

/// One file, several, with awkward names, behind links, mixed with what cannot be read as a file.
pub fn files(shop: &mut Workshop<'_>) {
    let mut rng = shop.rng("files");
    let bases: Vec<Base> = shop.bases.of(&[]).into_iter().filter(|b| !b.files.is_empty()).collect();
    for base in &bases {
        let Some((name, bytes)) = base.files.iter().next().map(|(n, b)| (n.clone(), b.clone()))
        else {
            continue;
        };
        for (tag, changed) in variants(&bytes, &mut rng) {
            shop.maker.add("files", &with_file(base, &name, &name, changed), &[], &[tag]);
        }
        for other in
            ["with space.txt", "ünïcode.dat", "-dash", "sub/deep.txt", "noext", "UPPER.CSV"]
        {
            shop.maker.add(
                "files",
                &with_file(base, &name, other, bytes.clone()),
                &[],
                &["file-name"],
            );
        }
        let mut two = with_file(base, &name, &name, bytes.clone());
        two.files.insert("second.dat".to_owned(), content(shop.bases.kind(), &mut rng));
        two.operands.push("second.dat".to_owned());
        shop.maker.add("files", &two, &[], &["several-files"]);
        two.operands.push("missing.dat".to_owned());
        shop.maker.add("files", &two, &[], &["several-files"]);
        special(shop, base, &name);
    }
    if bases.is_empty() {
        return;
    }
    for _ in 0..shop.wanted / 4 {
        let base = &bases[rng.usize(..bases.len())];
        if let Some(name) = base.files.keys().next().cloned() {
            let bytes = content(shop.bases.kind(), &mut rng);
            shop.maker.add("files", &with_file(base, &name, &name, bytes), &[], &[]);
        }
    }
}

/// A link to the file, a dangling link, a directory and `-` in the file's place.
fn special(shop: &mut Workshop<'_>, base: &Base, name: &str) {
    for (target, spec) in [
        ("link", Some(FileSpec::Symlink(name.to_owned()))),
        ("dangling", Some(FileSpec::Symlink("nowhere".to_owned()))),
        ("folder", Some(FileSpec::Dir)),
        ("-", None),
    ] {
        let operands: Vec<String> = base
            .operands
            .iter()
            .map(|o| if o == name { target.to_owned() } else { o.clone() })
            .collect();
        let changed = Base { operands, ..base.clone() };
        let mut files = shop.maker.base_files(base);
        files.extend(spec.map(|s| (target.to_owned(), s)));
        let stdin = (target == "-").then(|| base.files.get(name).cloned()).flatten();
        let call = crate::maker::Call { argv: changed.argv(&[]), stdin, ..Default::default() };
        shop.maker.push(Draft {
            group: "files",
            steps: vec![call],
            files,
            tags: vec!["file-name"],
            from: None,
        });
    }
}

/// The base with its file renamed and its content replaced.
fn with_file(base: &Base, old: &str, new: &str, bytes: Vec<u8>) -> Base {
    let mut changed = base.clone();
    changed.files.remove(old);
    changed.files.insert(new.to_owned(), bytes);
    for operand in &mut changed.operands {
        if operand == old {
            new.clone_into(operand);
        }
    }
    changed
}

/// Other words where operands are words: the text itself is the data of such programs.
pub fn operands(shop: &mut Workshop<'_>) {
    let mut rng = shop.rng("operands");
    let bases: Vec<Base> = shop
        .bases
        .of(&[])
        .into_iter()
        .filter(|b| b.files.is_empty() && !b.operands.is_empty())
        .collect();
    let words: Vec<&Base> =
        bases.iter().filter(|b| b.operands.iter().all(|o| !o.starts_with('-'))).collect();
    if words.is_empty() || !shop.bases.languages.is_empty() {
        return;
    }
    for i in 0..shop.wanted / 2 {
        let base = words[rng.usize(..words.len())];
        let mut changed = base.clone();
        if i % 3 == 0 {
            changed.operands = (0..rng.usize(1..6)).map(|_| phrase(&mut rng)).collect();
        } else if let Some(last) = changed.operands.last_mut() {
            *last = phrase(&mut rng);
        }
        shop.maker.add("operands", &changed, &[], &[]);
    }
}

fn phrase(rng: &mut Rng) -> String {
    match rng.usize(..14) {
        0 => rng.u32(..100_000).to_string(),
        1 => "0123456789".to_owned(),
        2 => "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~".to_owned(),
        3 => "".to_owned(),
        4 => " lead and trail ".to_owned(),
        5 => format!("{}\n{}", word(rng), word(rng)),
        6 => format!("{}\t{}", word(rng), word(rng)),
        7 => plain_word(rng).repeat(rng.usize(2..9)),
        8 => plain_word(rng).to_uppercase(),
        9 => format!("{} {}", plain_word(rng), plain_word(rng)).replace('a', "A"),
        _ => (0..rng.usize(1..4)).map(|_| word(rng)).collect::<Vec<_>>().join(" "),
    }
}

/// Each subcommand on its bases and on fresh data.
pub fn subcommands(shop: &mut Workshop<'_>) {
    let mut rng = shop.rng("subcommands");
    let paths: Vec<Vec<String>> = shop.surface.subcommands().map(|(p, _)| p.clone()).collect();
    let each = (shop.wanted / paths.len().max(1)).clamp(2, 12);
    for path in paths {
        let bases = shop.bases.of(&path);
        for base in &bases {
            shop.maker.add("subcommands", base, &[], &[]);
        }
        for _ in 0..each {
            let mut changed = bases[rng.usize(..bases.len())].clone();
            let bytes = content(shop.bases.kind(), &mut rng);
            if let Some(file) = changed.files.values_mut().next() {
                *file = bytes;
            } else if changed.stdin.is_some() {
                changed.stdin = Some(bytes);
            } else if let Some(last) = changed.operands.last_mut() {
                *last = phrase(&mut rng);
            }
            shop.maker.add("subcommands", &changed, &[], &[]);
        }
    }
}
