//! What was never probed: the first thing that a reader of a coverage view wants to know.

use super::coverage::{Covered, ProbeCoverage};
use super::errors::ErrorKind;
use crate::visible::text;

/// One kind of thing that was never probed.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Missing {
    /// `options`, `values`, …
    pub what: &'static str,
    /// How many there are of it, where that is known.
    pub of: Option<usize>,
    /// Their names, printable.
    pub names: Vec<String>,
}

/// Everything documented or common that no probe touched; empty if nothing is missing.
pub fn missing(c: &ProbeCoverage) -> Vec<Missing> {
    let untouched = |list: &[Covered]| -> Vec<String> {
        list.iter().filter(|i| i.tally.count == 0).map(|i| text(i.name.as_bytes())).collect()
    };
    let options =
        c.options.iter().filter(|o| o.tally.count == 0).map(|o| text(o.name.as_bytes())).collect();
    let exits = c
        .exits
        .iter()
        .filter(|e| e.tally.count == 0)
        .map(|e| text(format!("{} {}", e.code, e.what).trim().as_bytes()))
        .collect();
    let errors = c
        .errors
        .iter()
        .filter(|e| e.tally.count == 0 && ErrorKind::COMMON.contains(&e.kind))
        .map(|e| e.kind.words().to_owned())
        .collect();
    let list = |what, of: usize, names| Missing { what, of: Some(of), names };
    let all = [
        list("options", c.options.len(), options),
        list("subcommands", c.subcommands.len(), untouched(&c.subcommands)),
        list("values", c.options.iter().map(|o| o.choices.len()).sum(), values(c)),
        list("exit codes", c.exits.len(), exits),
        list("error paths", ErrorKind::COMMON.len(), errors),
        list("variables", c.env.len(), untouched(&c.env)),
        list("examples", c.examples.len(), untouched(&c.examples)),
        Missing { what: "circumstances", of: None, names: circumstances(c) },
    ];
    all.into_iter().filter(|m| !m.names.is_empty()).collect()
}

/// Enumerated values of options that were probed; those of an option that never was say nothing more.
fn values(c: &ProbeCoverage) -> Vec<String> {
    let probed = c.options.iter().filter(|o| o.tally.count > 0);
    probed
        .flat_map(|o| {
            let never = o.choices.iter().filter(|v| v.tally.count == 0);
            never.map(|v| text(format!("{}={}", o.name, v.name).as_bytes()))
        })
        .collect()
}

fn circumstances(c: &ProbeCoverage) -> Vec<String> {
    [
        (c.with_operands.count == 0, "arguments that are no options"),
        (c.stdin.with_input.count == 0, "input on stdin"),
        (c.stdin.with_input.count > 0 && c.stdin.binary.count == 0, "binary input on stdin"),
        (c.combinations == 0 && c.options.len() > 1, "two options together"),
        (c.terminal.count == 0, "a terminal"),
    ]
    .into_iter()
    .filter(|(never, _)| *never)
    .map(|(_, what)| what.to_owned())
    .collect()
}

#[cfg(test)]
mod tests {
    use super::super::coverage;
    use super::super::fixtures::{probe, surface};
    use super::*;

    #[test]
    fn what_was_never_probed_is_named_and_what_was_is_not() {
        let probes = [
            probe(1, "-a -w 40 x", 0, ""),
            probe(2, "--color=always", 2, "unknown option"),
            probe(3, "remote", 0, ""),
        ];
        let all = missing(&coverage(&surface(), &probes));
        let names = |what: &str| {
            all.iter().find(|m| m.what == what).map(|m| m.names.join(", ")).unwrap_or_default()
        };
        assert_eq!(names("options"), "--count, -append, -B, -7, --pair, remote add --force");
        assert_eq!(names("values"), "--color=never, --color=auto");
        assert_eq!(names("subcommands"), "remote add, remote remove");
        assert_eq!(names("exit codes"), "3 disk full");
        assert_eq!(names("error paths"), "bad value or input, missing file, missing argument");
        assert_eq!(names("circumstances"), "input on stdin, a terminal");
        assert_eq!(all[0].of, Some(9));
    }

    #[test]
    fn hostile_documentation_stays_text() {
        let mut surface = surface();
        surface.env = vec!["\u{1b}[2J".to_owned()];
        let all = missing(&coverage(&surface, &[]));
        assert!(all.iter().flat_map(|m| &m.names).all(|n| !n.contains('\u{1b}')));
    }
}
