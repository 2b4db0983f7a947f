//! Options alone, their values, help and version, environment variables.

use crate::generate::{Use, Workshop};
use crate::inputs::values::edges;
use crate::maker::{Call, Draft};
use crate::surface::options::Opt;
use std::collections::BTreeMap;

/// Help and version: a few.
pub fn help(shop: &mut Workshop<'_>) {
    let mut calls: Vec<Vec<String>> = Vec::new();
    calls.extend(shop.surface.help.iter().map(|h| h.argv.clone()));
    calls.extend(shop.surface.version.clone());
    calls.extend([vec!["-h".to_owned()], vec!["--version".to_owned()], vec!["--help".to_owned()]]);
    for (path, _) in shop.surface.subcommands().take(12) {
        calls.push(path.iter().cloned().chain(["--help".to_owned()]).collect());
    }
    for argv in calls {
        let call = Call { argv, ..Call::default() };
        shop.maker.push(Draft { group: "help", steps: vec![call], ..Draft::default() });
    }
}

/// Whether an option only prints help or the version, or waits for a terminal: covered by the `help` group.
pub fn is_informational(option: &Opt) -> bool {
    option.names.iter().any(|n| {
        matches!(n.trim_start_matches('-'), "help" | "version" | "h" | "?" | "V" | "interactive")
    }) && !option.takes_value()
}

/// Each option alone, on good input, under each of its names and with each of its enumerated values.
pub fn alone(shop: &mut Workshop<'_>) {
    let mut rng = shop.rng("options");
    for (path, options) in shop.commands() {
        let bases = shop.bases.of(&path);
        for (i, option) in options.iter().enumerate().filter(|(_, o)| !is_informational(o)) {
            for (k, name) in option.names.iter().take(4).enumerate() {
                let tries = if k == 0 { 3 } else { 1 };
                for t in 0..tries {
                    let base = &bases[(i + t + k + rng.usize(..2)) % bases.len()];
                    let (argv, files) = shop.spell(option, name, &mut rng);
                    add(shop, "options", base, option, argv, files);
                }
            }
            for choice in option.choices.iter().take(14) {
                let base = &bases[rng.usize(..bases.len())];
                let mut values = vec![choice.clone()];
                values.extend(option.values.iter().skip(1).map(|_| "x".to_owned()));
                let argv = option.spell(option.primary(), &values);
                add(shop, "options", base, option, argv, BTreeMap::new());
            }
        }
    }
}

fn add(
    shop: &mut Workshop<'_>,
    group: &'static str,
    base: &crate::maker::Base,
    option: &Opt,
    argv: Vec<String>,
    files: BTreeMap<String, Vec<u8>>,
) {
    let used = Use {
        base: base.clone(),
        options: vec![argv],
        names: vec![option.primary().to_owned()],
        files,
    };
    shop.add_use(group, used, &[]);
}

/// Typed values, good ones and edges, for every option that takes one; rounds over the options until there are enough.
pub fn values(shop: &mut Workshop<'_>) {
    let mut rng = shop.rng("values");
    let mut lists = Vec::new();
    for (path, options) in shop.commands() {
        for option in options.into_iter().filter(Opt::takes_value) {
            let sort = Workshop::sort(&option);
            let mut list: Vec<String> = edges(sort).iter().map(|s| (*s).to_owned()).collect();
            let main = shop.bases.kind();
            list.extend((0..8).map(|_| {
                crate::inputs::values::good(&option, 0, &shop.surface.data_names, main, &mut rng)
                    .text
            }));
            list.sort();
            list.dedup();
            rng.shuffle(&mut list);
            lists.push((path.clone(), option, list));
        }
    }
    let enough = shop.maker.cases.len() + (shop.wanted * 3 / 4).max(40);
    for round in 0..16 {
        for (path, option, list) in &lists {
            let Some(value) = list.get(round) else { continue };
            if shop.maker.cases.len() >= enough {
                return;
            }
            let bases = shop.bases.of(path);
            let base = bases[rng.usize(..bases.len().min(6))].clone();
            let mut values = vec![value.clone()];
            values.extend(option.values.iter().skip(1).map(|_| "1".to_owned()));
            let argv = option.spell(&option.names[rng.usize(..option.names.len())], &values);
            add(shop, "values", &base, option, argv, BTreeMap::new());
        }
    }
}

/// Each mentioned variable with a few values.
pub fn environment(shop: &mut Workshop<'_>) {
    let mut rng = shop.rng("environment");
    let bases = shop.bases.of(&[]);
    for name in shop.surface.env.clone() {
        for value in ["1", "", "never", "abc"] {
            let base = &bases[rng.usize(..bases.len())];
            let env = BTreeMap::from([(name.clone(), value.to_owned())]);
            let call = Call { argv: base.argv(&[]), stdin: base.stdin.clone(), env, tty: None };
            let files = shop.maker.base_files(base);
            shop.maker.push(Draft {
                group: "environment",
                steps: vec![call],
                files,
                ..Draft::default()
            });
        }
    }
}
