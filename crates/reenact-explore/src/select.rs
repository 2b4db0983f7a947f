//! Choosing: every documented option once where possible, then round-robin over groups, least-used options first, few errors.

use std::collections::{BTreeMap, BTreeSet};

/// Largest share of refusals (failures that print nothing on stdout), percent.
const MAX_REFUSALS: usize = 15;

/// What selection knows of a candidate.
#[derive(Clone, Debug, Default)]
pub struct Item {
    pub group: String,
    /// Documented options it uses.
    pub options: BTreeSet<String>,
    /// See [`crate::facts::richness`].
    pub richness: u32,
    /// It ends in a refusal.
    pub refusal: bool,
}

/// Weight of a group in the rounds: how many of its cases are taken before the next group's turn.
fn turns(group: &str) -> usize {
    match group {
        "combos" | "options" | "programs" | "tty" => 3,
        "values" | "examples" | "subcommands" | "operands" | "multi" => 2,
        _ => 1,
    }
}

/// Indices of all items, best first: any prefix is a balanced choice, except that refusals beyond their share of `wanted`
/// stand at the very end (they are used only if nothing else is there).
pub fn order(items: &[Item], wanted: usize) -> Vec<usize> {
    let mut picker = Picker {
        items,
        used: BTreeMap::new(),
        taken: BTreeSet::new(),
        order: Vec::new(),
        refusals: wanted * MAX_REFUSALS / 100,
    };
    picker.cover_options();
    picker.rounds();
    // What is over the limits, in its own order.
    let rest: Vec<usize> = (0..items.len()).filter(|i| !picker.taken.contains(i)).collect();
    picker.order.extend(rest);
    picker.order
}

struct Picker<'a> {
    items: &'a [Item],
    /// How often each option is used by what is taken.
    used: BTreeMap<String, usize>,
    taken: BTreeSet<usize>,
    order: Vec<usize>,
    /// Refusals that may still be taken.
    refusals: usize,
}

impl Picker<'_> {
    fn take(&mut self, at: usize) {
        self.taken.insert(at);
        self.order.push(at);
        if self.items[at].refusal {
            self.refusals = self.refusals.saturating_sub(1);
        }
        for option in &self.items[at].options {
            *self.used.entry(option.clone()).or_default() += 1;
        }
    }

    fn open(&self, at: usize) -> bool {
        !self.taken.contains(&at) && (!self.items[at].refusal || self.refusals > 0)
    }

    /// One case for each option: the richest with the fewest other options.
    fn cover_options(&mut self) {
        let options: BTreeSet<String> =
            self.items.iter().flat_map(|i| i.options.iter().cloned()).collect();
        for option in options {
            if self.used.contains_key(&option) {
                continue;
            }
            let best = (0..self.items.len())
                .filter(|&i| self.open(i) && self.items[i].options.contains(&option))
                .max_by_key(|&i| {
                    let item = &self.items[i];
                    (
                        !item.refusal,
                        std::cmp::Reverse(item.options.len()),
                        item.richness,
                        std::cmp::Reverse(i),
                    )
                });
            if let Some(at) = best {
                self.take(at);
            }
        }
    }

    fn rounds(&mut self) {
        let mut groups: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (i, item) in self.items.iter().enumerate() {
            groups.entry(item.group.as_str()).or_default().push(i);
        }
        loop {
            let before = self.order.len();
            for (group, members) in &groups {
                for _ in 0..turns(group) {
                    let best = members
                        .iter()
                        .copied()
                        .filter(|&i| self.open(i))
                        .min_by_key(|&i| self.cost(i));
                    if let Some(at) = best {
                        self.take(at);
                    }
                }
            }
            if self.order.len() == before {
                return;
            }
        }
    }

    /// Low is wanted: options that are rare so far, then rich output, then early candidates.
    fn cost(&self, at: usize) -> (usize, std::cmp::Reverse<u32>, usize) {
        let item = &self.items[at];
        let most =
            item.options.iter().map(|o| self.used.get(o).copied().unwrap_or(0)).min().unwrap_or(0);
        (most + usize::from(item.refusal) * 2, std::cmp::Reverse(item.richness / 4), at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(group: &str, options: &[&str], refusal: bool) -> Item {
        Item {
            group: group.to_owned(),
            options: options.iter().map(|o| (*o).to_owned()).collect(),
            richness: 8,
            refusal,
        }
    }

    #[test]
    fn every_option_comes_before_repetitions() {
        let mut items: Vec<Item> = (0..50).map(|_| item("options", &["-a"], false)).collect();
        items.push(item("combos", &["-b", "-a"], false));
        items.push(item("values", &["-c"], true));
        let first: BTreeSet<usize> = order(&items, 10)[..3].iter().copied().collect();
        assert!(first.contains(&50) && first.contains(&51));
    }

    #[test]
    fn refusals_keep_their_share() {
        let mut items: Vec<Item> = (0..80).map(|_| item("errors", &[], true)).collect();
        items.extend((0..200).map(|_| item("options", &[], false)));
        let order = order(&items, 100);
        assert_eq!(order[..100].iter().filter(|&&i| items[i].refusal).count(), 15);
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..280).collect::<Vec<_>>());
    }

    #[test]
    fn the_order_is_a_function_of_the_items() {
        let items: Vec<Item> = (0..60)
            .map(|i| {
                item(
                    ["options", "stdin", "values"][i % 3],
                    &[["-a", "-b", "-c", "-d"][i % 4]],
                    i % 7 == 0,
                )
            })
            .collect();
        assert_eq!(order(&items, 20), order(&items, 20));
    }
}
