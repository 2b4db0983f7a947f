//! When an agent probed: by its steps, or, where it has none, by the order of its probes.

use super::call::Call;
use reenact_model::Ended;
use reenact_model::probe::Probe;
use serde::Serialize;
use std::collections::BTreeSet;

/// Stretches that a timeline is cut into, at most. Where only the order of probes is known, a stretch says little.
const MAX_BY_STEP: u64 = 40;
const MAX_BY_PROBE: u64 = 12;

/// Probes over the course of the work.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Timeline {
    /// What `from` and `to` count.
    pub unit: Unit,
    /// In order, without gaps.
    pub moments: Vec<Moment>,
    /// Probes outside any step, where the others have one.
    pub outside: u64,
}

/// What a timeline counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    Step,
    #[default]
    Probe,
}

/// A stretch of the work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Moment {
    /// First and last step (or probe) of the stretch.
    pub from: u64,
    pub to: u64,
    pub probes: u64,
    /// Of these, those that did not exit with 0.
    pub failed: u64,
    /// Documented options that were probed for the first time.
    pub new_options: u64,
}

/// `probes` in order of their ids, with their calls.
pub(super) fn timeline(probes: &[&Probe], calls: &[Call]) -> Timeline {
    let last_step = probes.iter().filter_map(|p| p.step).max();
    let (unit, last, most) = match last_step {
        Some(step) => (Unit::Step, step, MAX_BY_STEP),
        None => (Unit::Probe, probes.len() as u64, MAX_BY_PROBE),
    };
    let width = last.div_ceil(most).max(1);
    let mut moments: Vec<Moment> = (0..last.div_ceil(width))
        .map(|n| Moment {
            from: (n * width).saturating_add(1),
            to: (n + 1).saturating_mul(width).min(last),
            ..Moment::default()
        })
        .collect();
    let (mut outside, mut known) = (0, BTreeSet::new());
    for (n, (probe, call)) in probes.iter().zip(calls).enumerate() {
        let new = call.options.iter().filter(|(index, _)| known.insert(*index)).count() as u64;
        let at = match unit {
            Unit::Step => probe.step,
            Unit::Probe => Some(n as u64 + 1),
        };
        let index =
            at.map(|at| usize::try_from(at.saturating_sub(1) / width).unwrap_or(usize::MAX));
        match index.and_then(|i| moments.get_mut(i)) {
            Some(moment) => {
                let failed = !matches!(probe.ended, None | Some(Ended::Exit { code: 0 }));
                moment.probes += 1;
                moment.failed += u64::from(failed);
                moment.new_options += new;
            }
            None => outside += 1,
        }
    }
    Timeline { unit, moments, outside }
}

#[cfg(test)]
mod tests {
    use super::super::call::read;
    use super::super::fixtures::{probe, surface};
    use super::*;

    fn of(probes: &[Probe]) -> Timeline {
        let calls: Vec<Call> = probes.iter().map(|p| read(&surface(), &p.argv[1..])).collect();
        timeline(&probes.iter().collect::<Vec<_>>(), &calls)
    }

    #[test]
    fn steps_without_probes_show_and_options_are_new_once() {
        let mut probes =
            vec![probe(1, "-a", 0, ""), probe(2, "-a -c", 1, ""), probe(3, "-w 1", 0, "")];
        probes[0].step = Some(1);
        probes[1].step = Some(3);
        let line = of(&probes);
        let figures: Vec<_> =
            line.moments.iter().map(|m| (m.from, m.probes, m.failed, m.new_options)).collect();
        assert_eq!(figures, [(1, 1, 0, 1), (2, 0, 0, 0), (3, 1, 1, 1)]);
        assert_eq!((line.unit, line.outside), (Unit::Step, 1));
    }

    #[test]
    fn without_steps_the_order_counts_and_long_runs_are_bounded() {
        let probes: Vec<Probe> = (1..=205).map(|n| probe(n, "", 0, "")).collect();
        let line = of(&probes);
        assert_eq!((line.unit, line.moments.len()), (Unit::Probe, 12));
        assert_eq!(line.moments.iter().map(|m| m.probes).sum::<u64>(), 205);
        let last = line.moments.last().unwrap();
        assert_eq!((last.from, last.to), (199, 205));

        let mut far = probe(1, "", 0, "");
        far.step = Some(u64::MAX);
        assert!(of(&[far]).moments.len() <= 40);
        assert_eq!(of(&[]), Timeline::default());
    }
}
