//! Ranking trials: which kinds of input the reference likes, and which trials become bases.

use crate::bases::trials::Trial;
use crate::inputs::Kind;
use crate::maker::Base;
use crate::surface::Surface;
use reenact_model::{CaseObservation, Digest, Ended};
use std::collections::{BTreeMap, BTreeSet};

/// Kinds by how often the documentation speaks of them; the order of [`Kind::ALL`] breaks ties.
pub(crate) fn ranked_kinds(surface: &Surface) -> Vec<Kind> {
    let weight = |k: &Kind| k.hints().iter().filter_map(|w| surface.words.get(*w)).sum::<u32>();
    let mut kinds = Kind::ALL.to_vec();
    kinds.sort_by_key(|k| std::cmp::Reverse(weight(k)));
    kinds
}

/// Most output wins, but a kind that the documentation names twice as early counts a little more.
pub(crate) fn main_kind(wins: &BTreeMap<Kind, u64>, ranked: &[Kind]) -> Option<Kind> {
    let bonus = |k: &Kind| {
        40 * (ranked.len() - ranked.iter().position(|r| r == k).unwrap_or(ranked.len())) as u64
    };
    wins.iter()
        .max_by_key(|(kind, score)| (**score + bonus(kind), std::cmp::Reverse(**kind)))
        .map(|(kind, _)| *kind)
}

/// How data reaches the program: bases are drawn from these in turn, so that no way of calling crowds out the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Style {
    File,
    Stdin,
    Words,
}

fn style(base: &Base) -> Style {
    match (&base.stdin, base.files.is_empty()) {
        (Some(_), _) => Style::Stdin,
        (None, false) => Style::File,
        (None, true) => Style::Words,
    }
}

/// Keeps the best of each class of behaviour: the styles in turn, within a style the main kind for every second place, at
/// most two of any other kind.
pub(crate) fn best(
    list: &[(u64, usize, Digest)],
    keep: usize,
    trials: &[Trial],
    main: Option<Kind>,
) -> Vec<Base> {
    let mut sorted = list.to_vec();
    sorted.sort_by_key(|(score, index, _)| (std::cmp::Reverse(*score), *index));
    let mut classes = BTreeSet::new();
    let mut per_kind: BTreeMap<(Style, Option<Kind>), usize> = BTreeMap::new();
    let mut chosen: Vec<Base> = Vec::new();
    let mut taken = BTreeSet::new();
    for turn in 0..keep * 6 {
        let wanted = [Style::File, Style::Stdin, Style::Words][turn % 3];
        let want_main = turn / 3 % 2 == 0;
        let found = sorted.iter().find(|(_, index, class)| {
            let trial = &trials[*index];
            let used = per_kind.get(&(wanted, trial.kind)).copied().unwrap_or(0);
            let kind_fits = if trial.kind == main {
                want_main || main.is_none()
            } else {
                !want_main && used < 2
            };
            style(&trial.base) == wanted
                && kind_fits
                && !taken.contains(index)
                && !classes.contains(&(wanted, *class))
        });
        if let Some((_, index, class)) = found {
            let trial = &trials[*index];
            taken.insert(*index);
            classes.insert((wanted, *class));
            *per_kind.entry((wanted, trial.kind)).or_default() += 1;
            chosen.push(trial.base.clone());
        }
        if chosen.len() == keep {
            break;
        }
    }
    chosen
}

/// How well an invocation went: 100 and more is success with output or a changed workspace. The class tells apart what
/// came out.
pub fn score(base: &Base, seen: &CaseObservation) -> (u64, Digest) {
    let Some(step) = seen.steps.last() else { return (0, Digest::of(b"")) };
    let out = step.stdout.inline_bytes();
    let class = Digest::of(
        &[out, step.stderr.inline_bytes(), format!("{:?}", step.ended).as_bytes()].concat(),
    );
    let written = seen.files.len() > base.files.len();
    if step.ended != (Ended::Exit { code: 0 })
        || (out.is_empty() && !written)
        || step.stdout.truncated
    {
        return (if step.stdout.len > 0 { 20 } else { 0 }, class);
    }
    let mut score = 100 + u64::from(out.len().checked_ilog2().unwrap_or(0)) * 5;
    score += 10 * u64::from(step.stderr.len == 0);
    score += 20 * u64::from(base.stdin.as_deref() != Some(out));
    score += 25 * u64::from(written);
    (score, class)
}
