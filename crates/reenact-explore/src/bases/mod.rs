//! Finding out how the reference likes to be called: many small invocations are tried, those that succeed with rich and
//! different output become the bases of everything else.

pub mod code;
pub mod rank;
pub mod trials;

pub use code::code_base;
pub use trials::content;

use crate::bases::code::{find_languages, language_trials};
use crate::bases::rank::{best, main_kind, ranked_kinds, score};
use crate::bases::trials::{Trial, trials_of};
use crate::error::ExploreError;
use crate::inputs::Kind;
use crate::inputs::languages::{Form, Language};
use crate::lab::{Circumstances, Lab};
use crate::maker::{Base, Maker};
use crate::surface::Surface;
use fastrand::Rng;
use reenact_model::{Case, CaseObservation, Digest};
use std::collections::{BTreeMap, BTreeSet};

/// Bases kept for the program itself, and for each subcommand.
const ROOT_BASES: usize = 14;
const SUB_BASES: usize = 5;

/// What was found.
#[derive(Default)]
pub struct Bases {
    /// By command path; the best first.
    pub by_command: BTreeMap<Vec<String>, Vec<Base>>,
    /// Languages understood, with the forms that work.
    pub languages: Vec<(&'static Language, Vec<Form>)>,
    /// The kind of input that works best.
    pub main: Option<Kind>,
    /// Without a terminal the program hardly ever ends by itself: trying much would only wait for limits.
    pub hangs: bool,
    /// Subcommands whose output varies from run to run whatever they are given (`sample`, `shuffle`).
    pub unpredictable: BTreeSet<Vec<String>>,
}

impl Bases {
    /// Bases of a command; where nothing worked, text on standard input and nothing at all: some option may make it work.
    pub fn of(&self, path: &[String]) -> Vec<Base> {
        match self.by_command.get(path) {
            Some(bases) if !bases.is_empty() => bases.clone(),
            _ => {
                let bare = Base { path: path.to_vec(), ..Base::default() };
                let text = b"alpha beta\ngamma 12\ndelta,epsilon\nalpha zeta\n".to_vec();
                vec![Base { stdin: Some(text), ..bare.clone() }, bare]
            }
        }
    }

    /// The main kind, or plain text.
    pub fn kind(&self) -> Kind {
        self.main.unwrap_or(Kind::Text)
    }
}

/// Tries and ranks.
///
/// # Errors
/// [`ExploreError`] when the sandbox fails.
pub fn find(surface: &Surface, lab: &Lab<'_>, seed: u64) -> Result<Bases, ExploreError> {
    lab.progress.stage("finding inputs that the reference accepts");
    let mut rng = Rng::with_seed(seed ^ 0x6261_7365);
    if hangs(lab)? {
        lab.progress.note("the reference hardly ever ends without a terminal: only its terminal behaviour is explored");
        return Ok(Bases { hangs: true, ..Bases::default() });
    }
    let mut bases = Bases { languages: find_languages(lab)?, ..Bases::default() };
    let mut wins: BTreeMap<Kind, u64> = BTreeMap::new();
    let kinds = ranked_kinds(surface);
    let mut trials: Vec<Trial> = Vec::new();
    for (path, command) in &surface.commands {
        let few = if path.is_empty() { kinds.len() } else { 5 };
        // The kinds that the documentation speaks of most are tried several times, with other contents.
        let tried: Vec<Kind> =
            kinds[..few].iter().chain(&kinds[..2]).chain(&kinds[..3]).copied().collect();
        trials.extend(trials_of(surface, path, command, &tried, &mut rng));
    }
    trials.extend(language_trials(&bases.languages, &mut rng));
    let mut maker = Maker::new(seed);
    let indices: Vec<Option<usize>> =
        trials.iter().map(|t| maker.add("probe", &t.base, &[], &[])).collect();
    let cases: Vec<&Case> = maker.cases.iter().collect();
    let seen = lab.observe(&cases, &maker.blobs, &Circumstances::default(), None)?;
    let mut ranked: BTreeMap<Vec<String>, Vec<(u64, usize, Digest)>> = BTreeMap::new();
    for (i, trial) in trials.iter().enumerate() {
        let Some(observation) = indices[i].and_then(|at| seen[at].ran()) else { continue };
        let (score, class) = score(&trial.base, observation);
        if score >= 100 {
            if let Some(kind) = trial.kind {
                *wins.entry(kind).or_default() += score;
            }
            ranked.entry(trial.base.path.clone()).or_default().push((score, i, class));
        }
    }
    bases.main = main_kind(&wins, &kinds);
    for (path, list) in ranked {
        let keep = if path.is_empty() { ROOT_BASES } else { SUB_BASES };
        bases.by_command.insert(path, best(&list, keep, &trials, bases.main));
    }
    bases.steady(lab)?;
    Ok(bases)
}

impl Bases {
    /// Removes bases that do not give the same twice over; a subcommand of which any base does so is unpredictable.
    fn steady(&mut self, lab: &Lab<'_>) -> Result<(), ExploreError> {
        let mut maker = Maker::new(0);
        let mut asked: Vec<(Vec<String>, Base, usize)> = Vec::new();
        for (path, bases) in &self.by_command {
            for base in bases {
                asked.extend(
                    maker.add("probe", base, &[], &[]).map(|at| (path.clone(), base.clone(), at)),
                );
            }
        }
        let cases: Vec<&Case> = maker.cases.iter().collect();
        let mut runs = Vec::new();
        for _ in 0..4 {
            runs.push(lab.observe(&cases, &maker.blobs, &Circumstances::default(), None)?);
        }
        let environment = crate::environment::Environment::today();
        for (path, base, at) in asked {
            let seen: Vec<&CaseObservation> = runs.iter().filter_map(|r| r[at].ran()).collect();
            if seen.len() < runs.len()
                || crate::record::record(cases[at], &seen, &environment).is_err()
            {
                if let Some(list) = self.by_command.get_mut(&path) {
                    list.retain(|b| *b != base);
                }
                if !path.is_empty() {
                    self.unpredictable.insert(path);
                }
            }
        }
        Ok(())
    }
}

/// Whether most of a few ordinary calls run into the time limit.
fn hangs(lab: &Lab<'_>) -> Result<bool, ExploreError> {
    let mut maker = Maker::new(0);
    let text = || Some(b"one\ntwo\n".to_vec());
    let word = |w: &str| vec![w.to_owned()];
    for base in [
        Base::default(),
        Base { stdin: text(), ..Base::default() },
        Base { operands: word("."), ..Base::default() },
        Base {
            operands: word("a.txt"),
            files: [("a.txt".to_owned(), b"one\n".to_vec())].into(),
            ..Base::default()
        },
    ] {
        maker.add("probe", &base, &[], &[]);
    }
    let seen = lab.observe(
        &maker.cases.iter().collect::<Vec<_>>(),
        &maker.blobs,
        &Circumstances::default(),
        None,
    )?;
    let limited = |s: &&crate::lab::Seen| {
        s.ran().and_then(|s| s.steps.last()).is_some_and(|s| s.ended.is_limit())
    };
    Ok(seen.iter().filter(limited).count() * 4 >= seen.len() * 3)
}
