//! Timeouts that a busy machine could explain. A program that was starved by a neighbour's fork bomb looks like one that
//! hangs, and the same bytes must give the same verdict on any load: so a case that ran into its wall limit is run once more
//! when all others have ended, alone and with twice the time, and if it ends then, that run counts. If not, the first one does.

use reenact_model::observe::Ended;
use reenact_model::run::CaseResult;
use reenact_model::{Case, Limits};
use std::collections::VecDeque;

/// Cases held back at most; a program that times out more often than this is slow, not starved.
const MOST_HELD: usize = 64;
/// Second runs in a row that end like the first, after which the remaining first runs are believed.
const BELIEVED_AFTER: u32 = 8;
/// Second runs get this many times the wall limit.
const MORE_TIME: u64 = 2;

/// A verdict and its line for the journal.
pub(crate) struct Prepared {
    pub case: CaseResult,
    pub line: Vec<u8>,
    /// It failed, and load could be why.
    pub doubtful: bool,
}

/// Whether load on the machine could have ended a step this way. CPU time, memory and output do not depend on load.
pub(crate) fn load_could_explain(ended: &Ended) -> bool {
    matches!(ended, Ended::WallLimit { .. } | Ended::ScriptEnded { .. })
}

struct Held<'a> {
    case: &'a Case,
    first: Prepared,
    retries: u32,
}

/// First runs that are not believed yet.
#[derive(Default)]
pub(crate) struct Doubts<'a> {
    held: VecDeque<Held<'a>>,
    settled: usize,
    agreeing: u32,
}

impl<'a> Doubts<'a> {
    /// Holds a doubtful verdict back; gives any other back at once.
    pub(crate) fn hold(
        &mut self,
        case: &'a Case,
        first: Prepared,
        retries: u32,
    ) -> Option<Prepared> {
        if !first.doubtful || self.held.len() >= MOST_HELD {
            return Some(first);
        }
        self.held.push_back(Held { case, first, retries });
        None
    }

    /// What is to be run again, with its limits. `default_wall_ms` is the limit of cases that set none.
    pub(crate) fn again(&self, default_wall_ms: Option<u64>) -> Vec<(&'a Case, Limits)> {
        let more = |case: &Case| {
            let wall_ms =
                case.limits.wall_ms.or(default_wall_ms).map(|ms| ms.saturating_mul(MORE_TIME));
            Limits { wall_ms, ..case.limits }
        };
        self.held.iter().map(|held| (held.case, more(held.case))).collect()
    }

    /// The verdict that counts for the case at `index` of [`Doubts::again`]. Second runs come in order, since one worker makes
    /// them. A second run that the harness could not make leaves the first.
    pub(crate) fn settle(&mut self, index: usize, second: Option<Prepared>) -> (Prepared, u32) {
        debug_assert_eq!(index, self.settled, "one worker keeps the order");
        self.settled += 1;
        let Some(held) = self.held.pop_front() else {
            unreachable!("a second run was made for every case held and no other")
        };
        match second {
            Some(second) if !second.doubtful => {
                self.agreeing = 0;
                (second, held.retries)
            }
            _ => {
                self.agreeing += 1;
                (held.first, held.retries)
            }
        }
    }

    /// Whether enough second runs ended like the first to believe the rest.
    pub(crate) fn believed(&self) -> bool {
        self.agreeing >= BELIEVED_AFTER
    }

    /// First runs that stand without a second.
    pub(crate) fn rest(self) -> impl Iterator<Item = (Prepared, u32)> {
        self.held.into_iter().map(|held| (held.first, held.retries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reenact_model::Verdict;
    use std::path::Path;

    fn case(id: &str) -> Case {
        let line = format!(r#"{{"id":"{id}","steps":[{{}}]}}"#);
        Case::parse(Path::new("t"), 1, &line).unwrap()
    }

    fn prepared(id: &str, doubtful: bool) -> Prepared {
        let verdict = Verdict::Fail { reasons: Vec::new() };
        let case = CaseResult {
            id: id.to_owned(),
            group: "g".to_owned(),
            verdict,
            wall_us: u64::from(doubtful),
            retries: 0,
            observation: None,
        };
        Prepared { case, line: Vec::new(), doubtful }
    }

    #[test]
    fn only_doubtful_verdicts_are_held_and_not_without_end() {
        let c = case("c");
        let mut doubts = Doubts::default();
        assert!(doubts.hold(&c, prepared("c", false), 0).is_some());
        for _ in 0..MOST_HELD {
            assert!(doubts.hold(&c, prepared("c", true), 0).is_none());
        }
        assert!(doubts.hold(&c, prepared("c", true), 0).is_some());
        assert_eq!(doubts.again(Some(100)).len(), MOST_HELD);
        assert_eq!(doubts.again(Some(100))[0].1.wall_ms, Some(200));
    }

    #[test]
    fn a_second_run_that_ends_counts_and_one_that_does_not_leaves_the_first() {
        let c = case("c");
        let mut doubts = Doubts::default();
        for retries in 0..20 {
            doubts.hold(&c, prepared("first", true), retries);
        }
        assert_eq!(doubts.settle(0, Some(prepared("second", false))).0.case.id, "second");
        for index in 1..=BELIEVED_AFTER {
            assert!(!doubts.believed());
            let second = (index % 2 == 0).then(|| prepared("second", true));
            let (kept, retries) = doubts.settle(index as usize, second);
            assert_eq!((kept.case.id.as_str(), retries), ("first", index));
        }
        assert!(doubts.believed());
        assert_eq!(doubts.rest().count(), 20 - 1 - BELIEVED_AFTER as usize);
    }
}
