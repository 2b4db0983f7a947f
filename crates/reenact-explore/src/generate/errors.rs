//! Wrong calls: unknown options, missing values, missing files, directories in place of files.

use crate::generate::{Use, Workshop};
use crate::maker::{Base, Draft};
use reenact_model::FileSpec;
use std::collections::BTreeMap;

const TAG: &[&str] = &["error-path"];

/// A bounded number of wrong calls of every kind.
pub fn add(shop: &mut Workshop<'_>) {
    for (path, _) in shop.commands().into_iter().take(20) {
        let base = shop.bases.of(&path)[0].clone();
        for wrong in ["--no-such-option", "-\u{1}", "--=", "---", "-Zz", "--help=1"] {
            shop.maker.add("errors", &base, &[wrong.to_owned()], TAG);
        }
        shop.maker.add("errors", &Base { path: path.clone(), ..Base::default() }, &[], TAG);
    }
    unknown_names(shop);
    missing_values(shop);
    files(shop);
}

fn unknown_names(shop: &mut Workshop<'_>) {
    if shop.surface.subcommands().next().is_some() {
        for word in ["nosuchcommand", "", "HELP"] {
            shop.maker.add(
                "errors",
                &Base { operands: vec![word.to_owned()], ..Base::default() },
                &[],
                TAG,
            );
        }
    }
    // Misspelt long options: many parsers suggest the right one.
    let longs: Vec<String> = shop
        .surface
        .root()
        .options
        .iter()
        .filter(|o| o.primary().len() > 5)
        .map(|o| o.primary().to_owned())
        .collect();
    let base = shop.bases.of(&[])[0].clone();
    for name in longs.iter().take(6) {
        let mut wrong = name.clone();
        wrong.pop();
        shop.maker.add("errors", &base, &[format!("{wrong}x")], TAG);
        shop.maker.add("errors", &base, &[wrong], TAG);
    }
}

fn missing_values(shop: &mut Workshop<'_>) {
    for (path, options) in shop.commands() {
        let base = Base { path: path.clone(), ..Base::default() };
        let full = shop.bases.of(&path)[0].clone();
        for option in options.iter().take(40) {
            let name = option.primary().to_owned();
            if option.takes_value() {
                // At the very end of the line, so that no operand is taken for the value.
                shop.maker.add("errors", &base, &[name], TAG);
            } else if name.starts_with("--") {
                let used = Use {
                    base: full.clone(),
                    options: vec![vec![format!("{name}=1")]],
                    names: vec![name],
                    files: BTreeMap::new(),
                };
                shop.add_use("errors", used, TAG);
            }
        }
    }
}

fn files(shop: &mut Workshop<'_>) {
    let bases: Vec<Base> =
        shop.bases.of(&[]).into_iter().filter(|b| !b.files.is_empty()).take(3).collect();
    for base in &bases {
        // The files are not placed: every name is missing.
        let gone = Base { files: BTreeMap::new(), ..base.clone() };
        shop.maker.add("errors", &gone, &[], TAG);
        let mut more = gone.clone();
        more.operands.extend(["missing-1".to_owned(), "missing-2".to_owned()]);
        shop.maker.add("errors", &more, &[], TAG);
        let folders: BTreeMap<String, FileSpec> =
            base.files.keys().map(|n| (n.clone(), FileSpec::Dir)).collect();
        let call = crate::maker::Call { argv: base.argv(&[]), ..Default::default() };
        shop.maker.push(Draft {
            group: "errors",
            steps: vec![call],
            files: folders,
            tags: TAG.to_vec(),
            from: None,
        });
        let mut extra = base.clone();
        extra.operands.extend((0..4).map(|i| format!("extra{i}")));
        shop.maker.add("errors", &extra, &[], TAG);
    }
}
