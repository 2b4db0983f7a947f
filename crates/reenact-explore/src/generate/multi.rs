//! Several steps in one workspace, for programs that write files: write and read back, write twice, continue.

use crate::generate::Workshop;
use crate::maker::{Call, Draft};
use crate::surface::options::Opt;
use reenact_model::{Case, CaseObservation, EntryKind, FileSpec};
use std::collections::BTreeSet;

/// A candidate of the first round that wrote files, and which.
pub struct Writer {
    pub index: usize,
    pub written: Vec<String>,
}

/// Which of the candidates created regular files with names that a command line can hold.
pub fn writers<'a>(
    cases: &[Case],
    seen: impl Iterator<Item = Option<&'a CaseObservation>>,
) -> Vec<Writer> {
    let mut found = Vec::new();
    for (index, (case, seen)) in cases.iter().zip(seen).enumerate() {
        let Some(seen) = seen.filter(|_| case.steps.len() == 1) else { continue };
        let written: Vec<String> = seen
            .files
            .iter()
            .filter(|(name, entry)| {
                matches!(&entry.kind, EntryKind::File { .. })
                    && !case.files.contains_key(*name)
                    && !name.contains('\\')
            })
            .map(|(name, _)| name.clone())
            .take(3)
            .collect();
        if !written.is_empty() {
            found.push(Writer { index, written });
        }
    }
    found
}

/// Adds sequences that start with a writer.
pub fn add(shop: &mut Workshop<'_>, writers: &[Writer]) {
    let mut rng = shop.rng("multi");
    let inverse = inverse_options(&shop.surface.root().options);
    let enough = shop.maker.cases.len() + shop.wanted / 2;
    let mut order: Vec<&Writer> = writers.iter().collect();
    rng.shuffle(&mut order);
    for writer in order {
        if shop.maker.cases.len() >= enough {
            break;
        }
        let case = shop.maker.cases[writer.index].clone();
        for next in followers(shop, &case, writer, &inverse, &mut rng) {
            let first = call_of(shop, &case);
            let steps = vec![first, next];
            let draft = Draft {
                group: "multi",
                steps,
                files: case.files.clone(),
                tags: vec!["writes-files"],
                from: None,
            };
            shop.maker.push(draft);
        }
    }
}

fn call_of(shop: &Workshop<'_>, case: &Case) -> Call {
    let step = &case.steps[0];
    let stdin =
        step.stdin.as_ref().and_then(|c| c.bytes(&shop.maker.blobs).ok()).map(|b| b.into_owned());
    Call { argv: step.argv.clone(), stdin, env: step.env.clone(), tty: None }
}

/// What can come after: the written file as input, with and without an option that undoes; the same again; another writer.
fn followers(
    shop: &Workshop<'_>,
    case: &Case,
    writer: &Writer,
    inverse: &[String],
    rng: &mut fastrand::Rng,
) -> Vec<Call> {
    let step = &case.steps[0];
    let path: Vec<String> = step
        .argv
        .iter()
        .take_while(|w| shop.surface.commands.contains_key(std::slice::from_ref(*w)))
        .cloned()
        .collect();
    let simple = |options: &[&str], operands: &[&str]| {
        let argv = path
            .iter()
            .cloned()
            .chain(options.iter().chain(operands).map(|s| (*s).to_owned()))
            .collect();
        Call { argv, ..Call::default() }
    };
    let mut calls = Vec::new();
    for written in &writer.written {
        calls.push(simple(&[], &[written]));
        for option in inverse {
            calls.push(simple(&[option], &[written]));
            calls.push(simple(&[option], &[written, "restored.out"]));
        }
        // The same call, reading what was written in place of the input file.
        let inputs: BTreeSet<&String> = case
            .files
            .iter()
            .filter(|(_, f)| matches!(f, FileSpec::File { .. }))
            .map(|(n, _)| n)
            .collect();
        if step.argv.iter().any(|w| inputs.contains(w)) {
            let argv = step
                .argv
                .iter()
                .map(|w| if inputs.contains(w) { written.clone() } else { w.clone() })
                .collect();
            calls.push(Call { argv, ..Call::default() });
        }
        // Another program on the same database or file.
        for (language, _) in &shop.bases.languages {
            let template = language.templates[rng.usize(..language.templates.len())];
            let code = language.program(template, rng);
            if step.argv.contains(written) {
                calls.push(Call { argv: vec![written.clone(), code], ..Call::default() });
            }
        }
    }
    calls.push(call_of(shop, case));
    rng.shuffle(&mut calls);
    calls.truncate(6);
    calls
}

/// Options whose description says that they read back what the program writes.
fn inverse_options(options: &[Opt]) -> Vec<String> {
    let words = [
        "decompress",
        "decode",
        "extract",
        "uncompress",
        "list",
        "test ",
        "verify",
        "check",
        "reverse",
        "restore",
        "unpack",
        "info",
    ];
    let speaks = |o: &&Opt| {
        let text = format!("{} {}", o.names.join(" "), o.text).to_ascii_lowercase();
        !o.takes_value() && words.iter().any(|w| text.contains(w))
    };
    options.iter().filter(speaks).map(|o| o.names[0].clone()).take(8).collect()
}

/// Writers in the root command by hand: a database that must stay on disk for a second step to see it.
pub fn databases(shop: &mut Workshop<'_>) {
    let mut rng = shop.rng("databases");
    let languages = shop.bases.languages.clone();
    for (language, forms) in languages {
        if !forms.contains(&crate::inputs::languages::Form::Database) {
            continue;
        }
        for i in 0..shop.wanted / 6 {
            let file = ["data.db", "t.db", "my data.sqlite"][i % 3];
            let setup: Vec<&&str> =
                language.templates.iter().filter(|t| t.starts_with("create table t(")).collect();
            let first = language.program(setup[rng.usize(..setup.len())], &mut rng);
            let queries = [
                "select * from t;",
                "select count(*) from t;",
                ".schema",
                ".tables",
                ".dump",
                "insert into t select * from t; select count(*) from t;",
                "drop table t; select name from sqlite_master;",
                "update t set rowid = rowid + {i}; select rowid, * from t;",
                "delete from t; select changes();",
                "alter table t add column z default '{w}'; select * from t;",
                "pragma integrity_check;",
                "create index i on t(rowid);",
                "select name, sql from sqlite_master;",
                ".mode box\nselect * from t;",
                "select * from nothing;",
                "create table t(q);",
                ".mode markdown\nselect * from t;",
                ".indexes",
                "vacuum; select * from t;",
            ];
            let second = language.program(queries[rng.usize(..queries.len())], &mut rng);
            let step = |code: String| Call { argv: vec![file.to_owned(), code], ..Call::default() };
            shop.maker.push(Draft {
                group: "multi",
                steps: vec![step(first), step(second)],
                tags: vec!["writes-files"],
                ..Draft::default()
            });
        }
    }
}
