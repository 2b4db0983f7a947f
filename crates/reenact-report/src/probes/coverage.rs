//! What of the documented surface an agent's probes ever touched.

use super::call::{Call, read};
use super::errors::{self, ErrorKind};
use super::timeline::{Timeline, timeline};
use reenact_model::Ended;
use reenact_model::observe::path_key;
use reenact_model::probe::{Probe, StreamKind};
use reenact_model::surface::DocumentedSurface;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Probes named per entry.
const MAX_IDS: usize = 8;
/// Distinct values per option, unknown options, and other things an agent may make up, that are kept by name.
const MAX_NAMES: usize = 64;
/// Characters of a made-up name.
const MAX_NAME: usize = 80;

/// How often something was probed, and the first probes that did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    pub count: u64,
    /// Ids of the first few.
    pub probes: Vec<u64>,
}

impl Tally {
    fn add(&mut self, id: u64) {
        self.count += 1;
        if self.probes.len() < MAX_IDS {
            self.probes.push(id);
        }
    }
}

/// Something documented, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Covered {
    pub name: String,
    #[serde(flatten)]
    pub tally: Tally,
}

/// A documented option.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct OptionCoverage {
    /// `sub --name`.
    pub name: String,
    /// All its names.
    pub names: Vec<String>,
    pub takes_value: bool,
    #[serde(flatten)]
    pub tally: Tally,
    /// Probes of it that did not exit with 0.
    pub failed: u64,
    /// Values that were given, with their counts; at most 64 are named.
    pub values: BTreeMap<String, u64>,
    /// Values that the documentation enumerates.
    pub choices: Vec<Covered>,
}

/// A documented exit code.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ExitCoverage {
    pub code: i32,
    pub what: String,
    #[serde(flatten)]
    pub tally: Tally,
}

/// A kind of error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ErrorCoverage {
    pub kind: ErrorKind,
    #[serde(flatten)]
    pub tally: Tally,
}

/// What was given on standard input.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StdinCoverage {
    /// By what it was: `pipe`, `file`, `null`, `terminal`, …
    pub kinds: BTreeMap<StreamKind, u64>,
    /// Probes with bytes on it, as far as it could be watched.
    pub with_input: Tally,
    /// Of these, those whose start is no UTF-8 or holds NUL.
    pub binary: Tally,
    /// Distinct inputs.
    pub distinct: u64,
}

/// What of a program's documented surface was probed, and what not.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ProbeCoverage {
    pub probes: u64,
    /// Probes whose end was not seen.
    pub unended: u64,
    /// Probes that did not exit with 0.
    pub failed: u64,
    /// Distinct command lines with their input.
    pub distinct: u64,
    pub options: Vec<OptionCoverage>,
    /// Options that were tried and are not documented; at most 64.
    pub undocumented: Vec<Covered>,
    /// Distinct sets of two options or more that were used together.
    pub combinations: u64,
    /// Probes that used at most one option.
    pub single: u64,
    pub subcommands: Vec<Covered>,
    pub examples: Vec<Covered>,
    pub env: Vec<Covered>,
    pub exits: Vec<ExitCoverage>,
    /// Exit codes that were seen, documented or not.
    pub seen_exits: BTreeMap<i32, u64>,
    pub errors: Vec<ErrorCoverage>,
    pub stdin: StdinCoverage,
    /// Probes whose input or output was a terminal.
    pub terminal: Tally,
    /// Probes that created or changed files.
    pub wrote_files: Tally,
    /// Probes whose words after the options name something.
    pub with_operands: Tally,
    pub timeline: Timeline,
}

/// Holds probes against the documented surface. The order of `probes` does not matter.
pub fn coverage(surface: &DocumentedSurface, probes: &[Probe]) -> ProbeCoverage {
    let mut probes: Vec<&Probe> = probes.iter().collect();
    probes.sort_by_key(|p| p.id);
    let mut counter = Counter::new(surface);
    let calls: Vec<Call> =
        probes.iter().map(|p| read(surface, p.argv.get(1..).unwrap_or_default())).collect();
    for (probe, call) in probes.iter().zip(&calls) {
        counter.take(probe, call);
    }
    let mut coverage = counter.finish();
    coverage.timeline = timeline(&probes, &calls);
    coverage
}

struct Counter<'a> {
    surface: &'a DocumentedSurface,
    out: ProbeCoverage,
    combinations: BTreeSet<BTreeSet<usize>>,
    undocumented: BTreeMap<String, Tally>,
    calls: BTreeSet<(Vec<String>, String)>,
    inputs: BTreeSet<String>,
}

impl<'a> Counter<'a> {
    fn new(surface: &'a DocumentedSurface) -> Self {
        let named = |name: String| Covered { name, tally: Tally::default() };
        let option = |o: &reenact_model::surface::DocumentedOption| OptionCoverage {
            name: o.key(),
            names: o.names.clone(),
            takes_value: o.takes_value(),
            choices: o.choices.iter().cloned().map(named).collect(),
            ..OptionCoverage::default()
        };
        let exit = |e: &reenact_model::surface::DocumentedExit| ExitCoverage {
            code: e.code,
            what: e.what.clone(),
            tally: Tally::default(),
        };
        let error = |kind| ErrorCoverage { kind, tally: Tally::default() };
        let out = ProbeCoverage {
            options: surface.options.iter().map(option).collect(),
            subcommands: surface.subcommands.iter().map(|p| named(p.join(" "))).collect(),
            examples: surface.examples.iter().map(|e| named(e.argv.join(" "))).collect(),
            env: surface.env.iter().cloned().map(named).collect(),
            exits: surface.exits.iter().map(exit).collect(),
            errors: ErrorKind::ALL.map(error).into(),
            ..ProbeCoverage::default()
        };
        Self {
            surface,
            out,
            combinations: BTreeSet::new(),
            undocumented: BTreeMap::new(),
            calls: BTreeSet::new(),
            inputs: BTreeSet::new(),
        }
    }

    fn take(&mut self, probe: &Probe, call: &Call) {
        let failed = !matches!(probe.ended, None | Some(Ended::Exit { code: 0 }));
        self.out.probes += 1;
        self.out.unended += u64::from(probe.ended.is_none());
        self.out.failed += u64::from(failed);
        let digest = probe.stdin.sha256.map(|d| d.hex()).unwrap_or_default();
        self.calls.insert((probe.argv.clone(), digest));
        self.options(probe.id, call, failed);
        self.words(probe, call);
        self.end(probe, call);
        self.surroundings(probe);
    }

    fn options(&mut self, id: u64, call: &Call, failed: bool) {
        let used: BTreeSet<usize> = call.options.iter().map(|(index, _)| *index).collect();
        for index in &used {
            let option = &mut self.out.options[*index];
            option.tally.add(id);
            option.failed += u64::from(failed);
        }
        for (index, value) in &call.options {
            let Some(value) = value else { continue };
            let option = &mut self.out.options[*index];
            let name = cut(value);
            if option.values.len() < MAX_NAMES || option.values.contains_key(&name) {
                *option.values.entry(name).or_default() += 1;
            }
            if let Some(choice) = option.choices.iter_mut().find(|c| c.name == *value) {
                choice.tally.add(id);
            }
        }
        if used.len() > 1 {
            self.combinations.insert(used);
        } else {
            self.out.single += 1;
        }
        for word in &call.unknown {
            let name = cut(word);
            if self.undocumented.len() < MAX_NAMES || self.undocumented.contains_key(&name) {
                self.undocumented.entry(name).or_default().add(id);
            }
        }
    }

    fn words(&mut self, probe: &Probe, call: &Call) {
        for depth in 1..=call.command.len() {
            let path = &call.command[..depth];
            if let Some(at) = self.surface.subcommands.iter().position(|p| p == path) {
                self.out.subcommands[at].tally.add(probe.id);
            }
        }
        if !call.operands.is_empty() {
            self.out.with_operands.add(probe.id);
        }
        let args = probe.argv.get(1..).unwrap_or_default();
        for (example, covered) in self.surface.examples.iter().zip(&mut self.out.examples) {
            let same = |(word, arg): (&String, &String)| path_key(word.as_bytes()) == *arg;
            if example.argv.len() == args.len() && example.argv.iter().zip(args).all(same) {
                covered.tally.add(probe.id);
            }
        }
        for covered in &mut self.out.env {
            if probe.env.get(&covered.name).is_some_and(Option::is_some) {
                covered.tally.add(probe.id);
            }
        }
    }

    fn end(&mut self, probe: &Probe, call: &Call) {
        if let Some(Ended::Exit { code }) = probe.ended {
            *self.out.seen_exits.entry(code).or_default() += 1;
            for exit in self.out.exits.iter_mut().filter(|e| e.code == code) {
                exit.tally.add(probe.id);
            }
        }
        if let Some(kind) = errors::kind(probe, call)
            && let Some(error) = self.out.errors.iter_mut().find(|e| e.kind == kind)
        {
            error.tally.add(probe.id);
        }
    }

    fn surroundings(&mut self, probe: &Probe) {
        let stdin = &mut self.out.stdin;
        *stdin.kinds.entry(probe.stdin.kind).or_default() += 1;
        if probe.stdin.bytes > 0 {
            stdin.with_input.add(probe.id);
            self.inputs.extend(probe.stdin.sha256.map(|d| d.hex()));
            let text = match &probe.stdin.head {
                Some(reenact_model::Content::Text(text)) => !text.contains('\0'),
                Some(_) => false,
                None => true,
            };
            if !text {
                stdin.binary.add(probe.id);
            }
        }
        let terminal = |kind| kind == StreamKind::Terminal;
        if terminal(probe.stdin.kind) || terminal(probe.stdout.kind) {
            self.out.terminal.add(probe.id);
        }
        if !probe.files.is_empty() {
            self.out.wrote_files.add(probe.id);
        }
    }

    fn finish(mut self) -> ProbeCoverage {
        let mut undocumented: Vec<Covered> =
            self.undocumented.into_iter().map(|(name, tally)| Covered { name, tally }).collect();
        undocumented.sort_by_key(|c| std::cmp::Reverse(c.tally.count));
        self.out.undocumented = undocumented;
        self.out.combinations = self.combinations.len() as u64;
        self.out.distinct = self.calls.len() as u64;
        self.out.stdin.distinct = self.inputs.len() as u64;
        self.out
    }
}

fn cut(name: &str) -> String {
    name.chars().take(MAX_NAME).collect()
}

impl ProbeCoverage {
    /// Options that were probed, and all that are documented.
    pub fn option_share(&self) -> (usize, usize) {
        let probed = self.options.iter().filter(|o| o.tally.count > 0).count();
        (probed, self.options.len())
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{probe, stream, surface};
    use super::*;

    fn names<'a>(list: impl Iterator<Item = &'a Covered>) -> Vec<(&'a str, u64)> {
        list.map(|c| (c.name.as_str(), c.tally.count)).collect()
    }

    #[test]
    fn options_values_and_combinations_are_counted_once_a_probe() {
        let probes = [
            probe(1, "-a -a -w 40 x", 0, ""),
            probe(2, "--all --width=40", 0, ""),
            probe(3, "--color=always --color=sometimes", 2, "error: invalid value"),
            probe(4, "--zap --zap=1", 2, "unknown option"),
        ];
        let c = coverage(&surface(), &probes);
        let option = |name: &str| c.options.iter().find(|o| o.name == name).unwrap();
        assert_eq!(option("--all").tally, Tally { count: 2, probes: vec![1, 2] });
        assert_eq!(option("--width").values, [("40".to_owned(), 2)].into());
        assert_eq!(option("--color").failed, 1);
        assert_eq!(
            names(option("--color").choices.iter()),
            [("always", 1), ("never", 0), ("auto", 0)]
        );
        assert_eq!(option("remote add --force").tally.count, 0);
        assert_eq!(names(c.undocumented.iter()), [("--zap", 2)]);
        assert_eq!((c.combinations, c.single), (1, 2), "the same two options are one combination");
        assert_eq!((c.probes, c.failed, c.distinct), (4, 2, 4));
        assert_eq!(c.option_share(), (3, 9));
        assert_eq!(c.with_operands.probes, [1]);
    }

    #[test]
    fn subcommands_examples_variables_and_exits() {
        let mut with_env = probe(3, "-a", 3, "");
        with_env.env.insert("TOOL_HOME".to_owned(), Some("/x".to_owned()));
        with_env.env.insert("TOOL_COLORS".to_owned(), None);
        let probes =
            [probe(1, "remote add x", 0, ""), probe(2, "--width 40 in.txt", 9, ""), with_env];
        let c = coverage(&surface(), &probes);
        assert_eq!(
            names(c.subcommands.iter()),
            [("remote", 1), ("remote add", 1), ("remote remove", 0)]
        );
        assert_eq!(names(c.examples.iter()), [("--width 40 in.txt", 1), ("-a", 1)]);
        assert_eq!(names(c.env.iter()), [("TOOL_COLORS", 0), ("TOOL_HOME", 1)]);
        let exits: Vec<_> = c.exits.iter().map(|e| (e.code, e.tally.count)).collect();
        assert_eq!(exits, [(0, 1), (2, 0), (3, 1)]);
        assert_eq!(c.seen_exits, [(0, 1), (3, 1), (9, 1)].into());
    }

    #[test]
    fn inputs_terminals_files_and_the_unended() {
        let mut piped = probe(1, "", 0, "");
        piped.stdin = stream(StreamKind::Pipe, "a\n");
        let mut binary = probe(2, "", 0, "");
        binary.stdin = stream(StreamKind::Pipe, "a\0");
        let mut tty = probe(3, "", 0, "");
        tty.stdout.kind = StreamKind::Terminal;
        tty.ended = None;
        tty.files.insert("new".to_owned(), reenact_model::probe::FileChange::Created);
        let c = coverage(&surface(), &[tty, binary, piped]);
        assert_eq!(c.stdin.with_input.probes, [1, 2], "in the order of their ids");
        assert_eq!((c.stdin.binary.probes.as_slice(), c.stdin.distinct), ([2].as_slice(), 2));
        assert_eq!(c.stdin.kinds, [(StreamKind::Null, 1), (StreamKind::Pipe, 2)].into());
        assert_eq!((c.terminal.count, c.wrote_files.count), (1, 1));
        assert_eq!((c.unended, c.failed), (1, 0), "what was not seen to end has not failed");
    }

    #[test]
    fn what_an_agent_makes_up_is_bounded() {
        let probes: Vec<Probe> = (1..=500)
            .map(|n| probe(n, &format!("--made-up-{n}{} --width={n}", "x".repeat(500)), 0, ""))
            .collect();
        let c = coverage(&surface(), &probes);
        assert_eq!(c.undocumented.len(), MAX_NAMES);
        assert!(c.undocumented.iter().all(|u| u.name.chars().count() <= MAX_NAME));
        let width = c.options.iter().find(|o| o.name == "--width").unwrap();
        assert_eq!((width.values.len(), width.tally.count), (MAX_NAMES, 500));
        assert_eq!(width.tally.probes.len(), MAX_IDS);
    }

    #[test]
    fn no_probes_cover_nothing_and_nothing_documented_is_covered() {
        let c = coverage(&surface(), &[]);
        assert_eq!((c.probes, c.option_share()), (0, (0, 9)));
        let c = coverage(&DocumentedSurface::default(), &[probe(1, "-x", 0, "")]);
        assert_eq!((c.option_share(), c.undocumented.len()), ((0, 0), 1));
    }
}
