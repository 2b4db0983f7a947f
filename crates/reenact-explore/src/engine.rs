//! `suite generate`: surface, bases, two rounds of candidates, filter, calibration, gates, choice, final passes.

use crate::bases::{self, Bases};
use crate::calibrate::calibrate;
use crate::dummies;
use crate::error::ExploreError;
use crate::facts::{behaviour, is_refusal, richness, unusable};
use crate::feedback::{BehaviourClasses, Feedback};
use crate::finish::{Finished, Tally, finish};
use crate::generate::{Workshop, combos, first_round, multi, tty};
use crate::lab::{Circumstances, ExploreOptions, Lab, Seen};
use crate::maker::Maker;
use crate::record::Recorded;
use crate::select::{Item, order};
use crate::surface::{Surface, live};
use crate::taint::{self, Taint};
use reenact_bundle::{Progress, Suite, TaskBundle};
use reenact_model::{Case, CaseObservation, Digest, Ended};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Demands on a generated suite.
#[derive(Clone, Debug)]
pub struct GenerateOptions {
    /// Wall-clock time to aim at. A safety stop only: within it, the result depends on the seed alone.
    pub budget: Duration,
    /// Cases wanted.
    pub cases: usize,
    pub seed: u64,
    pub explore: ExploreOptions,
}

/// Shares of the budget, percent, after which the first and the second round stop.
const FIRST_ROUND: u32 = 50;
const SECOND_ROUND: u32 = 70;
/// Batches of calibration at most; one is the rule.
const BATCHES: usize = 4;

/// Generates a suite and writes it to the bundle.
///
/// # Errors
/// [`ExploreError`]; nothing is written then.
pub fn generate(
    task: &TaskBundle,
    options: &GenerateOptions,
    progress: &dyn Progress,
) -> Result<Suite, ExploreError> {
    if options.cases == 0 {
        return Err(ExploreError::Option {
            option: "--cases",
            what: "must be at least 1".to_owned(),
        });
    }
    if options.budget.is_zero() {
        return Err(ExploreError::Option {
            option: "--budget",
            what: "must be more than 0 s".to_owned(),
        });
    }
    task.verify_reference()?;
    let start = Instant::now();
    let lab = Lab::of_reference(task, &options.explore, progress);
    let surface = live::mine(task, &lab)?;
    let bases = bases::find(&surface, &lab, options.seed)?;
    let mut tally = Tally::default();
    let explored = explore(&surface, &bases, &lab, options)?;
    tally.candidates = explored.maker.cases.len() as u64;
    let kept = filter(&surface, &explored, &mut tally);
    let items: Vec<Item> = kept.iter().map(|k| k.item.clone()).collect();
    let ranked = order(&items, options.cases);
    let survivors =
        Batches { task, lab: &lab, options, surface: &surface, explored: &explored, start }
            .run(&kept, &ranked, &mut tally)?;
    let chosen = choose(survivors, options.cases);
    if let Some(n) = tally.dropped.get("budget") {
        progress.note(&format!("the budget of {:?} cut generation short: {n} candidates were not tried; another run may differ", options.budget));
    }
    let finished = Finished {
        kind: "generated",
        seed: Some(options.seed),
        cases: chosen,
        inputs: explored.maker.blobs.clone(),
        surface: &surface,
    };
    finish(task, &lab, &options.explore, finished, tally)
}

/// Candidates and what they did, index by index.
struct Explored {
    maker: Maker,
    seen: Vec<Seen>,
    taint: Taint,
    /// When the last first run ended.
    end: Instant,
}

fn explore(
    surface: &Surface,
    bases: &Bases,
    lab: &Lab<'_>,
    options: &GenerateOptions,
) -> Result<Explored, ExploreError> {
    let mut shop = Workshop::new(surface, bases, options.seed, options.cases);
    tty::add(&mut shop, lab)?;
    first_round(&mut shop);
    // The rounds have their shares of the budget however long the preparations took on a busy host.
    let start = Instant::now();
    let deadline = |percent: u32| Some(start + options.budget * percent / 100);
    lab.progress.stage(&format!("trying {} candidates", shop.maker.cases.len()));
    let run = |shop: &Workshop<'_>, from: usize, deadline| {
        let cases: Vec<&Case> = shop.maker.cases[from..].iter().collect();
        lab.observe(&cases, &shop.maker.blobs, &Circumstances::default(), deadline)
    };
    let mut seen = run(&shop, 0, deadline(FIRST_ROUND))?;
    let from = seen.len();
    let taint = taint::find(&shop, &seen, lab)?;
    let mut effective = effective(&shop, &seen, lab)?;
    effective.retain(|&at| !taint.touches_case(surface, &shop.maker.cases[at]));
    combos::add(&mut shop, &effective);
    let mut writers = multi::writers(&shop.maker.cases, seen.iter().map(Seen::ran));
    writers.retain(|w| !taint.touches_case(surface, &shop.maker.cases[w.index]));
    multi::add(&mut shop, &writers);
    multi::databases(&mut shop);
    lab.progress
        .stage(&format!("trying {} more that build on them", shop.maker.cases.len() - from));
    seen.extend(run(&shop, from, deadline(SECOND_ROUND))?);
    Ok(Explored { maker: shop.maker, seen, taint, end: Instant::now() })
}

/// Candidates with options that succeeded and did something that their base alone does not; a few per option.
fn effective(
    shop: &Workshop<'_>,
    seen: &[Seen],
    lab: &Lab<'_>,
) -> Result<Vec<usize>, ExploreError> {
    let mut scratch = Maker::new(0);
    let mut base_of: BTreeMap<usize, String> = BTreeMap::new();
    for (at, used) in &shop.uses {
        scratch.add("base", &used.base, &[], &[]);
        // The maker knows a base by its id, also when it had it already.
        let mut probe = Maker::new(0);
        if probe.add("base", &used.base, &[], &[]).is_some() {
            base_of.insert(*at, probe.cases[0].id.clone());
        }
    }
    let cases: Vec<&Case> = scratch.cases.iter().collect();
    let alone = lab.observe(&cases, &scratch.blobs, &Circumstances::default(), None)?;
    let plain: BTreeMap<&str, Digest> = cases
        .iter()
        .zip(&alone)
        .filter_map(|(case, seen)| Some((case.id.as_str(), behaviour(case, seen.ran()?))))
        .collect();
    let mut per_option: BTreeMap<(Vec<String>, String), usize> = BTreeMap::new();
    let mut found = Vec::new();
    for (&at, used) in &shop.uses {
        let Some(observation) = seen.get(at).and_then(Seen::ran) else { continue };
        let case = &shop.maker.cases[at];
        let succeeded = observation.steps.iter().all(|s| s.ended == Ended::Exit { code: 0 });
        let same = base_of.get(&at).and_then(|id| plain.get(id.as_str()))
            == Some(&behaviour(case, observation));
        let count = per_option.entry((used.base.path.clone(), used.names.concat())).or_default();
        if succeeded && !same && *count < 5 && unusable(case, observation).is_none() {
            *count += 1;
            found.push(at);
        }
    }
    Ok(found)
}

/// A candidate that was worth keeping.
struct Kept<'a> {
    case: &'a Case,
    seen: &'a CaseObservation,
    item: Item,
}

fn filter<'a>(surface: &Surface, explored: &'a Explored, tally: &mut Tally) -> Vec<Kept<'a>> {
    let mut classes = BehaviourClasses::default();
    let mut kept = Vec::new();
    for (case, seen) in explored.maker.cases.iter().zip(&explored.seen) {
        let seen = match seen {
            Seen::Ran(seen) => seen.as_ref(),
            Seen::Harness(_) => {
                tally.drop("harness");
                continue;
            }
            Seen::NotRun => {
                tally.drop("budget");
                continue;
            }
        };
        let options: BTreeSet<String> =
            case.steps.iter().flat_map(|s| surface.exercised(&s.argv)).collect();
        if !explored.taint.is_empty() && explored.taint.touches_case(surface, case) {
            tally.drop("unpredictable-option");
        } else if let Some(reason) = unusable(case, seen) {
            tally.drop(&reason);
        } else if let Err(reason) = classes.interesting(case, &options, seen) {
            tally.drop(reason);
        } else {
            let item = Item {
                group: case.group.clone(),
                options,
                richness: richness(case, seen),
                refusal: is_refusal(case, seen),
            };
            kept.push(Kept { case, seen, item });
        }
    }
    kept
}

/// A case that passed calibration and gates.
pub(crate) struct Survivor {
    pub recorded: Recorded,
    item: Item,
}

/// Calibration and gates, batch by batch, until there are enough survivors.
struct Batches<'a> {
    task: &'a TaskBundle,
    lab: &'a Lab<'a>,
    options: &'a GenerateOptions,
    surface: &'a Surface,
    explored: &'a Explored,
    start: Instant,
}

impl Batches<'_> {
    fn run(
        &self,
        kept: &[Kept<'_>],
        ranked: &[usize],
        tally: &mut Tally,
    ) -> Result<Vec<Survivor>, ExploreError> {
        let mut survivors: Vec<Survivor> = Vec::new();
        let mut allowance = dummies::help_allowance(self.options.cases);
        let mut next = 0;
        for batch in 0..BATCHES {
            let missing = self.options.cases.saturating_sub(survivors.len());
            if missing == 0 || next == ranked.len() {
                break;
            }
            if batch > 0 && self.start.elapsed() > self.options.budget {
                for _ in next..ranked.len() {
                    tally.drop("budget");
                }
                next = ranked.len();
                break;
            }
            let size = (missing + missing / 5 + 12).min(ranked.len() - next);
            let chunk: Vec<&Kept<'_>> =
                ranked[next..next + size].iter().map(|&i| &kept[i]).collect();
            next += size;
            self.batch(&chunk, &mut allowance, &mut survivors, tally)?;
        }
        for _ in next..ranked.len() {
            tally.drop("not-selected");
        }
        Ok(survivors)
    }

    fn batch(
        &self,
        chunk: &[&Kept<'_>],
        allowance: &mut usize,
        survivors: &mut Vec<Survivor>,
        tally: &mut Tally,
    ) -> Result<(), ExploreError> {
        let cases: Vec<(&Case, &CaseObservation)> =
            chunk.iter().map(|k| (k.case, k.seen)).collect();
        let calibrated =
            calibrate(self.lab, &cases, &self.explored.maker.blobs, self.explored.end)?;
        tally.calibrated += cases.len() as u64;
        tally.stable += calibrated.stable;
        let mut fresh = Vec::new();
        for (kept, outcome) in chunk.iter().zip(calibrated.outcomes) {
            match outcome {
                Ok(recorded) => fresh.push(Survivor { recorded, item: kept.item.clone() }),
                Err(reason) => tally.drop(&reason),
            }
        }
        let list: Vec<&Case> = fresh.iter().map(|s| &s.recorded.case).collect();
        let mut blobs = self.explored.maker.blobs.clone();
        blobs.extend(fresh.iter().flat_map(|s| s.recorded.blobs.clone()));
        let passed = dummies::measure(
            self.task,
            &self.options.explore,
            self.surface.help.as_ref(),
            &list,
            &blobs,
            self.lab.progress,
        )?;
        let gated = dummies::gate(&passed, list.len(), allowance);
        for (survivor, gate) in fresh.into_iter().zip(gated) {
            match gate {
                Some(reason) => tally.drop(&reason),
                None => survivors.push(survivor),
            }
        }
        Ok(())
    }
}

/// The best of the survivors, in the balance of [`order`].
fn choose(survivors: Vec<Survivor>, wanted: usize) -> Vec<Recorded> {
    let items: Vec<Item> = survivors.iter().map(|s| s.item.clone()).collect();
    let refusals = items.iter().filter(|i| i.refusal).count();
    // Refusals beyond their share are left out, unless nothing else is there.
    let wanted = if items.len() - refusals >= wanted / 4 {
        wanted.min((items.len() - refusals) * 100 / 85)
    } else {
        wanted
    };
    let picked: BTreeSet<usize> = order(&items, wanted).into_iter().take(wanted).collect();
    survivors
        .into_iter()
        .enumerate()
        .filter(|(i, _)| picked.contains(i))
        .map(|(_, s)| s.recorded)
        .collect()
}

/// Invocations without expectations: what a careful reader of the documentation would try. The candidates of the first
/// round, shuffled by `seed`; nothing of the hidden suite goes into them.
///
/// # Errors
/// [`ExploreError`] when the sandbox fails.
pub fn propose(
    task: &TaskBundle,
    n: usize,
    seed: u64,
    options: &ExploreOptions,
) -> Result<Vec<Case>, ExploreError> {
    let lab = Lab::of_reference(task, options, &reenact_bundle::Quiet);
    let surface = live::mine(task, &lab)?;
    let bases = bases::find(&surface, &lab, seed)?;
    let mut shop = Workshop::new(&surface, &bases, seed, n.max(40));
    first_round(&mut shop);
    let mut cases = shop.maker.cases;
    // Cases with blobs would need them beside; inline inputs are enough for probes.
    cases.retain(|c| c.blobs().is_empty());
    fastrand::Rng::with_seed(seed).shuffle(&mut cases);
    cases.truncate(n);
    Ok(cases)
}
