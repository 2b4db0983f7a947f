//! What makes a candidate worth keeping. Today: a behaviour not seen before; later engines may ask for coverage or mutants.

use crate::facts::behaviour;
use reenact_model::{Case, CaseObservation, Digest};
use std::collections::{BTreeMap, BTreeSet};

/// Judges whether an observation adds something. Called in the order of the candidates, so it may keep state.
pub trait Feedback {
    /// `Ok` when the candidate is worth keeping, else the reason why not (a key of `dropped` in `suite.toml`).
    ///
    /// # Errors
    /// The reason.
    fn interesting(
        &mut self,
        case: &Case,
        options: &BTreeSet<String>,
        seen: &CaseObservation,
    ) -> Result<(), &'static str>;
}

/// Keeps a few cases of each behaviour, and one for each set of options with that behaviour.
#[derive(Debug, Default)]
pub struct BehaviourClasses {
    seen: BTreeMap<Digest, BTreeSet<Vec<String>>>,
}

/// Cases that may share one observation (for instance the same usage error).
const SAME: usize = 3;

impl Feedback for BehaviourClasses {
    fn interesting(
        &mut self,
        case: &Case,
        options: &BTreeSet<String>,
        seen: &CaseObservation,
    ) -> Result<(), &'static str> {
        let signatures = self.seen.entry(behaviour(case, seen)).or_default();
        if signatures.len() >= SAME {
            return Err("duplicate:capped");
        }
        if !signatures.insert(options.iter().cloned().collect()) {
            return Err("duplicate");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reenact_model::observe::Captured;
    use reenact_model::{Ended, Observation};
    use std::path::Path;

    #[test]
    fn repeated_behaviour_is_capped() {
        let case =
            Case::parse(Path::new("t"), 1, r#"{"id":"c","steps":[{"argv":["x"]}]}"#).unwrap();
        let step = Observation {
            ended: Ended::Exit { code: 2 },
            stdout: Captured::empty(),
            stderr: Captured::whole(b"usage"),
            screen: None,
            resources: Default::default(),
        };
        let seen = CaseObservation { steps: vec![step], ..Default::default() };
        let mut classes = BehaviourClasses::default();
        let mut ask = |names: &[&str]| {
            classes.interesting(&case, &names.iter().map(|s| (*s).to_owned()).collect(), &seen)
        };
        assert_eq!(ask(&["-a"]), Ok(()));
        assert_eq!(ask(&["-a"]), Err("duplicate"));
        assert_eq!(ask(&["-b"]), Ok(()));
        assert_eq!(ask(&[]), Ok(()));
        assert_eq!(ask(&["-c"]), Err("duplicate:capped"));
    }
}
