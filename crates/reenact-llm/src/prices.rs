//! What tokens cost, from a table whose digest goes into run manifests.

use crate::usage::Usage;
use reenact_model::Digest;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Why a price table cannot be used (exit code 2).
#[derive(Debug, thiserror::Error)]
pub enum PriceError {
    #[error("{path}: cannot be read: {source}", path = path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path}: not a price table: {why}", path = path.display())]
    Format { path: PathBuf, why: String },
}

/// The built-in table, `prices.toml` beside this crate's manifest.
const BUILT_IN: &str = include_str!("../prices.toml");

/// Largest price table we read, bytes.
const MAX_TABLE: u64 = 4 << 20;

/// Prices by model name.
#[derive(Clone, Debug)]
pub struct PriceTable {
    exact: BTreeMap<String, Price>,
    /// Entries that end in `*`, without it.
    prefixes: BTreeMap<String, Price>,
    digest: Digest,
}

/// What one model costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Price {
    pub rates: Rates,
    /// Other rates for whole requests with more input tokens (of all kinds) than this.
    pub long: Option<(u64, Rates)>,
}

/// Dollars per million tokens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    pub input: f64,
    pub cached_input: f64,
    pub cache_write: f64,
    pub output: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    models: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    input: f64,
    cached_input: Option<f64>,
    cache_write: Option<f64>,
    output: f64,
    long: Option<Long>,
    /// Where the figures come from; for people.
    #[serde(rename = "source")]
    _source: Option<String>,
    /// Date of the figures; for people.
    #[serde(rename = "as_of")]
    _as_of: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Long {
    above: u64,
    input: f64,
    cached_input: Option<f64>,
    cache_write: Option<f64>,
    output: f64,
}

impl Rates {
    /// What a table leaves out costs the full price of input: too much rather than too little, since budgets depend on
    /// it. `None` if a figure is not a price.
    fn new(input: f64, cached: Option<f64>, write: Option<f64>, output: f64) -> Option<Self> {
        let cached_input = cached.unwrap_or(input);
        let cache_write = write.unwrap_or(input);
        let good = |p: &f64| p.is_finite() && *p >= 0.0;
        [input, cached_input, cache_write, output].iter().all(good).then_some(Self {
            input,
            cached_input,
            cache_write,
            output,
        })
    }

    fn cost(&self, usage: &Usage) -> f64 {
        let part = |tokens: u64, per_million: f64| tokens as f64 * per_million / 1e6;
        part(usage.input, self.input)
            + part(usage.cached_input, self.cached_input)
            + part(usage.cache_write, self.cache_write)
            + part(usage.output, self.output)
    }
}

impl Price {
    fn new(entry: &Entry) -> Option<Self> {
        let e = entry;
        let rates = Rates::new(e.input, e.cached_input, e.cache_write, e.output)?;
        let long = match &e.long {
            Some(l) => {
                Some((l.above, Rates::new(l.input, l.cached_input, l.cache_write, l.output)?))
            }
            None => None,
        };
        Some(Self { rates, long })
    }

    /// Dollars for the tokens of one request. (Some prices depend on its length, so sum costs, not tokens.)
    pub fn cost(&self, usage: &Usage) -> f64 {
        match &self.long {
            Some((above, rates)) if usage.total_input() > *above => rates.cost(usage),
            _ => self.rates.cost(usage),
        }
    }
}

impl PriceTable {
    /// The table that this version of Reenact brings.
    pub fn built_in() -> Self {
        // Invariant: a test parses the embedded file.
        Self::parse(Path::new("prices.toml"), BUILT_IN)
            .unwrap_or_else(|e| unreachable!("the built-in price table is broken: {e}"))
    }

    /// Reads `--prices FILE`.
    ///
    /// # Errors
    /// [`PriceError`] that names the file, and the line where there is one.
    pub fn load(path: &Path) -> Result<Self, PriceError> {
        let read = |source| PriceError::Read { path: path.to_owned(), source };
        let size = std::fs::metadata(path).map_err(read)?.len();
        if size > MAX_TABLE {
            let why = format!("{size} bytes; a table has at most {MAX_TABLE}");
            return Err(PriceError::Format { path: path.to_owned(), why });
        }
        Self::parse(path, &std::fs::read_to_string(path).map_err(read)?)
    }

    /// Parses the text of a table; `path` is for messages.
    ///
    /// # Errors
    /// As [`PriceTable::load`].
    pub fn parse(path: &Path, text: &str) -> Result<Self, PriceError> {
        let bad = |why: String| PriceError::Format { path: path.to_owned(), why };
        let file: File = toml::from_str(text).map_err(|e| bad(e.to_string()))?;
        let mut table = Self {
            exact: BTreeMap::new(),
            prefixes: BTreeMap::new(),
            digest: Digest::of(text.as_bytes()),
        };
        for (name, entry) in file.models {
            let price = Price::new(&entry)
                .ok_or_else(|| bad(format!("{name:?}: prices are dollars, zero or more")))?;
            match name.strip_suffix('*') {
                Some(prefix) => table.prefixes.insert(prefix.to_owned(), price),
                None => table.exact.insert(name, price),
            };
        }
        Ok(table)
    }

    /// The price of a model: the entry of its name; else of its name without the date of a snapshot (`-20250929`,
    /// `-2025-08-07`, `-latest`, after `@` too); else the longest entry that ends in `*` and fits. A name that merely
    /// begins like an entry has another price more often than not (`-mini`), so that is unknown.
    pub fn price(&self, model: &str) -> Option<Price> {
        let exact = self.exact.get(model).or_else(|| self.exact.get(without_date(model)));
        let fits = || self.prefixes.iter().filter(|(p, _)| model.starts_with(p.as_str()));
        exact.or_else(|| fits().max_by_key(|(p, _)| p.len()).map(|(_, price)| price)).copied()
    }

    /// Dollars for the tokens of one request; `None` for a model that is not in the table.
    pub fn cost(&self, model: &str, usage: &Usage) -> Option<f64> {
        self.price(model).map(|price| price.cost(usage))
    }

    /// Digest over the bytes of the table's file.
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

/// `model` without the date that names a snapshot of it.
fn without_date(model: &str) -> &str {
    let digits = |text: &str, n: usize| text.len() == n && text.bytes().all(|b| b.is_ascii_digit());
    let is_date = |text: &str| match text.split('-').collect::<Vec<_>>()[..] {
        ["latest"] => true,
        [day] => digits(day, 8),
        [year, month, day] => digits(year, 4) && digits(month, 2) && digits(day, 2),
        _ => false,
    };
    let ends = model.char_indices().filter(|(_, c)| matches!(c, '-' | '@'));
    let date = ends.map(|(at, _)| at).find(|at| is_date(&model[at + 1..]));
    date.map_or(model, |at| &model[..at])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> Result<PriceTable, PriceError> {
        PriceTable::parse(Path::new("t.toml"), text)
    }

    const TABLE: &str = r#"
        [models."m-4"]
        input = 2
        cached_input = 0.5
        cache_write = 3
        output = 10
        source = "here"
        as_of = "2026-11"
        [models."m-4-mini"]
        input = 1
        output = 4
        long = { above = 1000, input = 2, output = 8 }
        [models."local/*"]
        input = 0
        output = 0
        [models."local/big*"]
        input = 1
        output = 1
    "#;

    #[test]
    fn the_built_in_table_is_one_and_every_entry_has_its_source() {
        let table = PriceTable::built_in();
        assert_eq!(table.digest(), Digest::of(BUILT_IN.as_bytes()));
        assert!(table.price("claude-opus-5-5").is_some());
        let text: toml::Table = BUILT_IN.parse().unwrap();
        for (name, entry) in text["models"].as_table().unwrap() {
            for field in ["source", "as_of", "cached_input", "cache_write"] {
                assert!(entry.get(field).is_some(), "{name} lacks {field}");
            }
        }
    }

    #[test]
    fn costs_follow_the_kinds_of_tokens() {
        let usage = Usage {
            input: 1_000_000,
            cached_input: 2_000_000,
            cache_write: 100_000,
            output: 10_000,
            reasoning: 5_000,
        };
        let table = table(TABLE).unwrap();
        let cost = table.cost("m-4", &usage).unwrap();
        assert!((cost - (2.0 + 1.0 + 0.3 + 0.1)).abs() < 1e-9, "{cost}");
        // Without prices of its own, the cache costs what input costs.
        let mini = table.price("m-4-mini").unwrap();
        assert_eq!((mini.rates.cached_input, mini.rates.cache_write), (1.0, 1.0));
    }

    #[test]
    fn long_requests_have_their_own_rates_for_all_tokens() {
        let price = table(TABLE).unwrap().price("m-4-mini").unwrap();
        let at = Usage { input: 600, cached_input: 400, output: 100, ..Usage::default() };
        let over = Usage { cached_input: 401, ..at };
        assert!((price.cost(&at) - (1000.0 + 400.0) / 1e6).abs() < 1e-12);
        assert!((price.cost(&over) - (2002.0 + 800.0) / 1e6).abs() < 1e-12);
    }

    #[test]
    fn names_match_exactly_or_as_snapshots_or_by_a_declared_prefix() {
        let table = table(TABLE).unwrap();
        let input = |model: &str| table.price(model).map(|p| p.rates.input);
        for snapshot in ["m-4", "m-4-2026-08-07", "m-4-20260807", "m-4@20260807", "m-4-latest"] {
            assert_eq!(input(snapshot), Some(2.0), "{snapshot}");
        }
        assert_eq!(input("m-4-mini-2026-08-07"), Some(1.0));
        assert_eq!(input("local/small"), Some(0.0));
        assert_eq!(input("local/big-2"), Some(1.0));
        for unknown in ["m-4-nano", "m-4-5", "m-4.1", "m-40", "M-4", "m", "", "m-4-1106-preview"] {
            assert_eq!(input(unknown), None, "{unknown}");
        }
        assert_eq!(table.cost("m-4-nano", &Usage::default()), None);
    }

    #[test]
    fn what_is_not_a_table_is_refused_with_the_reason() {
        for (text, reason) in [
            ("[models.a]\ninput = -1\noutput = 1", "zero or more"),
            ("[models.a]\ninput = nan\noutput = 1", "zero or more"),
            (
                "[models.a]\ninput = 1\noutput = 1\nlong = { above = 1, input = inf, output = 1 }",
                "zero",
            ),
            ("[models.a]\ninput = 1", "output"),
            ("[models.a]\ninput = 1\noutput = 1\ncached = 2", "cached"),
            ("[model.a]\ninput = 1", "model"),
            ("not toml", "line 1"),
        ] {
            let error = table(text).unwrap_err().to_string();
            assert!(error.contains("t.toml") && error.contains(reason), "{text}: {error}");
        }
        let missing = PriceTable::load(Path::new("/nonexistent/p.toml")).unwrap_err();
        assert!(matches!(missing, PriceError::Read { .. }));
    }
}
