//! The candidates. The first round needs only the surface and the bases; the second builds on what the first one showed to
//! work. Both are pure functions of what they are given: no clock, no order of completion.

pub mod combos;
pub mod data;
pub mod errors;
pub mod examples;
pub mod multi;
pub mod options;
pub mod programs;
pub mod tty;

use crate::bases::Bases;
use crate::inputs::values::{self, Sort};
use crate::maker::{Base, Maker};
use crate::surface::Surface;
use crate::surface::options::Opt;
use fastrand::Rng;
use std::collections::BTreeMap;

/// What generators work with.
pub struct Workshop<'a> {
    pub surface: &'a Surface,
    pub bases: &'a Bases,
    pub maker: Maker,
    /// Cases wanted in the end; generators size themselves by it.
    pub wanted: usize,
    /// What each candidate was made from, where options were added to a base.
    pub uses: BTreeMap<usize, Use>,
}

/// Options added to a base.
#[derive(Clone, Debug)]
pub struct Use {
    pub base: Base,
    /// One argument list per option used.
    pub options: Vec<Vec<String>>,
    /// Primary names of the options, in the same order.
    pub names: Vec<String>,
    /// Files that the options' values name.
    pub files: BTreeMap<String, Vec<u8>>,
}

impl<'a> Workshop<'a> {
    /// An empty workshop.
    pub fn new(surface: &'a Surface, bases: &'a Bases, seed: u64, wanted: usize) -> Self {
        Self { surface, bases, maker: Maker::new(seed), wanted, uses: BTreeMap::new() }
    }

    /// A source of chance of its own for each generator, so that a change in one leaves the others' candidates alone.
    pub fn rng(&self, generator: &str) -> Rng {
        let salt = generator.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| {
            (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3)
        });
        Rng::with_seed(self.maker.seed ^ salt)
    }

    /// Adds a base with options, and remembers of what it was made.
    pub fn add_use(
        &mut self,
        group: &'static str,
        used: Use,
        tags: &[&'static str],
    ) -> Option<usize> {
        let mut base = used.base.clone();
        base.files.extend(used.files.clone());
        let flat: Vec<String> = used.options.concat();
        let at = self.maker.add(group, &base, &flat, tags)?;
        self.uses.insert(at, used);
        Some(at)
    }

    /// An option with good values: its arguments, and the files they name.
    pub fn spell(
        &self,
        option: &Opt,
        name: &str,
        rng: &mut Rng,
    ) -> (Vec<String>, BTreeMap<String, Vec<u8>>) {
        let mut files = BTreeMap::new();
        if !option.takes_value() || (option.optional && rng.u8(..3) == 0) {
            return (vec![name.to_owned()], files);
        }
        let values: Vec<String> = (0..option.values.len())
            .map(|i| {
                let value =
                    values::good(option, i, &self.surface.data_names, self.bases.kind(), rng);
                if let Some(kind) = value.file {
                    files.insert(value.text.clone(), kind.generate(rng));
                }
                value.text
            })
            .collect();
        (option.spell(name, &values), files)
    }

    /// Every command's path with its options, the program itself first.
    pub fn commands(&self) -> Vec<(Vec<String>, Vec<Opt>)> {
        let surface = self.surface;
        surface.commands.iter().map(|(p, c)| (p.clone(), c.options.clone())).collect()
    }

    /// The sort of an option's first value.
    pub fn sort(option: &Opt) -> Sort {
        values::sort_of(option, 0)
    }
}

/// The first round.
pub fn first_round(shop: &mut Workshop<'_>) {
    options::help(shop);
    if shop.bases.hangs {
        return;
    }
    options::alone(shop);
    options::values(shop);
    examples::add(shop);
    programs::add(shop);
    data::stdin(shop);
    data::files(shop);
    data::operands(shop);
    data::subcommands(shop);
    errors::add(shop);
    options::environment(shop);
}
