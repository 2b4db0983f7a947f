//! Which tasks: by regular expression, language, difficulty, and slice, in this order.

use super::error::DatasetError;
use regex::Regex;
use std::collections::BTreeSet;
use std::str::FromStr;

/// A selection of tasks. The default selects all.
#[derive(Clone, Debug, Default)]
pub struct Select {
    filter: Option<Regex>,
    /// Only these, if they are given.
    ids: Option<BTreeSet<String>>,
    /// Any of these, if there are any.
    languages: Vec<String>,
    /// Any of these, if there are any; `none` is a task without one.
    difficulties: Vec<String>,
    slice: Option<Slice>,
}

impl Select {
    /// A selection as the command line gives it; empty strings and lists select all.
    ///
    /// # Errors
    /// [`DatasetError::Filter`], [`DatasetError::Slice`].
    pub fn new(
        filter: &str,
        languages: &[String],
        difficulties: &[String],
        slice: &str,
    ) -> Result<Self, DatasetError> {
        Ok(Self {
            filter: (!filter.is_empty()).then(|| anchored(filter)).transpose()?,
            ids: None,
            languages: languages.to_vec(),
            difficulties: difficulties.to_vec(),
            slice: (!slice.is_empty()).then(|| slice.parse()).transpose()?,
        })
    }

    /// Only tasks with these ids.
    pub fn ids(ids: impl IntoIterator<Item = String>) -> Self {
        Self { ids: Some(ids.into_iter().collect()), ..Self::default() }
    }

    /// Whether the id passes the filter; the slice has no say.
    pub fn matches_id(&self, id: &str) -> bool {
        self.ids.as_ref().is_none_or(|ids| ids.contains(id))
            && self.filter.as_ref().is_none_or(|f| f.is_match(id))
    }

    /// Whether language and difficulty pass.
    pub fn matches_kind(&self, language: &str, difficulty: Option<&str>) -> bool {
        let among = |list: &[String], what: &str| list.is_empty() || list.iter().any(|l| l == what);
        among(&self.languages, language) && among(&self.difficulties, difficulty.unwrap_or("none"))
    }

    /// What the slice leaves of items that passed the rest, in order.
    pub fn cut<T>(&self, items: Vec<T>) -> Vec<T> {
        let Some(slice) = &self.slice else { return items };
        let mut items: Vec<Option<T>> = items.into_iter().map(Some).collect();
        slice.indices(items.len()).into_iter().filter_map(|i| items[i].take()).collect()
    }

    /// Whether everything passes.
    pub fn is_all(&self) -> bool {
        self.filter.is_none()
            && self.ids.is_none()
            && self.slice.is_none()
            && self.languages.is_empty()
            && self.difficulties.is_empty()
    }
}

/// Python's `re.match`: anywhere from the start, not necessarily to the end.
fn anchored(pattern: &str) -> Result<Regex, DatasetError> {
    let fail = |what: String| DatasetError::Filter { pattern: pattern.to_owned(), what };
    // Compiled alone first, so that an unmatched parenthesis cannot hide in the group.
    Regex::new(pattern).and_then(|_| Regex::new(&format!(r"\A(?:{pattern})"))).map_err(|e| {
        let text = e.to_string();
        let last = text.lines().last().unwrap_or_default().trim();
        fail(last.strip_prefix("error: ").unwrap_or(last).to_owned())
    })
}

/// Python's `slice(*(int(x) if x else None for x in spec.split(":")))`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slice {
    start: Option<i64>,
    stop: Option<i64>,
    step: i64,
}

impl FromStr for Slice {
    type Err = DatasetError;

    fn from_str(spec: &str) -> Result<Self, DatasetError> {
        let fail =
            |what: &str| DatasetError::Slice { spec: spec.to_owned(), what: what.to_owned() };
        let number = |text: &str| match text.trim() {
            "" if text.is_empty() => Ok(None),
            digits => digits.parse().map(Some).map_err(|_| fail("is not made of whole numbers")),
        };
        let parts = spec.split(':').map(number).collect::<Result<Vec<Option<i64>>, _>>()?;
        let (start, stop, step) = match parts[..] {
            [stop] => (None, stop, None),
            [start, stop] => (start, stop, None),
            [start, stop, step] => (start, stop, step),
            _ => return Err(fail("has more than three parts")),
        };
        match step.unwrap_or(1) {
            0 => Err(fail("the step cannot be zero")),
            step => Ok(Self { start, stop, step }),
        }
    }
}

impl Slice {
    /// The indices that it takes of `len` items.
    pub fn indices(&self, len: usize) -> Vec<usize> {
        let n = i128::try_from(len).unwrap_or(i128::MAX);
        let step = i128::from(self.step);
        // Where an index may stand: before the first item, too, when going down.
        let (low, high) = if step > 0 { (0, n) } else { (-1, n - 1) };
        let place = |given: Option<i64>, default: i128| match given.map(i128::from) {
            None => default,
            Some(i) if i < 0 => (i + n).clamp(low, high),
            Some(i) => i.clamp(low, high),
        };
        let (first, last) = if step > 0 { (low, high) } else { (high, low) };
        let (mut at, stop) = (place(self.start, first), place(self.stop, last));
        let mut out = Vec::new();
        while if step > 0 { at < stop } else { at > stop } {
            // Between low and high, and so an index.
            out.extend(usize::try_from(at));
            at += step;
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn indices(spec: &str, len: usize) -> Vec<usize> {
        spec.parse::<Slice>().unwrap().indices(len)
    }

    #[test]
    fn slices_are_pythons() {
        assert_eq!(indices("0:5", 200), [0, 1, 2, 3, 4]);
        assert_eq!(indices("3", 200), [0, 1, 2]);
        assert_eq!(indices("-2:", 5), [3, 4]);
        assert_eq!(indices(":-3", 5), [0, 1]);
        assert_eq!(indices("::2", 5), [0, 2, 4]);
        assert_eq!(indices("::-2", 5), [4, 2, 0]);
        assert_eq!(indices("1:-1:3", 9), [1, 4, 7]);
        assert_eq!(indices("10:20", 5), [0usize; 0]);
        assert_eq!(indices(" 1 :+3", 5), [1, 2]);
        assert_eq!(indices("-9223372036854775808::-1", 3), [0usize; 0]);
        for bad in ["a", "1:2:3:4", "::0", "1.5", "1: :2"] {
            assert!(bad.parse::<Slice>().is_err(), "{bad}");
        }
    }

    #[test]
    fn filters_are_anchored_at_the_start_only() {
        let select = |f: &str| Select::new(f, &[], &[], "").unwrap();
        assert!(select("jq").matches_id("jqlang__jq.b33a763"));
        assert!(!select("lang").matches_id("jqlang__jq.b33a763"));
        assert!(!select("x|lang").matches_id("jqlang__jq.b33a763"));
        assert!(select(".*jq$|x").matches_id("a__jq"));
        assert!(select("").is_all());
        for bad in ["(", "a)(b", "*"] {
            assert!(Select::new(bad, &[], &[], "").is_err(), "{bad}");
        }
    }

    #[test]
    fn languages_and_difficulties_are_alternatives() {
        let select =
            Select::new("", &["c".into(), "go".into()], &["none".into(), "easy".into()], "")
                .unwrap();
        assert!(select.matches_kind("go", None) && select.matches_kind("c", Some("easy")));
        assert!(!select.matches_kind("cpp", None) && !select.matches_kind("c", Some("hard")));
    }

    proptest! {
        // Against the definition: the elements whose index is start, start + step, … before stop, on a list made twice as
        // long by negative indices.
        #[test]
        fn a_slice_takes_what_its_definition_says(
            start in prop::option::of(-12i64..12), stop in prop::option::of(-12i64..12),
            step in (-4i64..5).prop_filter("not zero", |s| *s != 0), len in 0usize..9,
        ) {
            let n = len as i64;
            let slice = Slice { start, stop, step };
            let real = |i: i64| if i < 0 { i + n } else { i };
            let mut want = Vec::new();
            let all: Vec<i64> = if step > 0 { (0..n).collect() } else { (0..n).rev().collect() };
            let from = start.map(real).unwrap_or(if step > 0 { 0 } else { n - 1 });
            let anchor = if step > 0 { from.max(0) } else { from.min(n - 1) };
            for i in all {
                let begun = if step > 0 { i >= anchor } else { i <= anchor };
                let over = stop.map(real).is_some_and(|s| if step > 0 { i >= s } else { i <= s });
                if begun && !over && (i - anchor) % step == 0 {
                    want.push(i as usize);
                }
            }
            prop_assert_eq!(slice.indices(len), want);
        }
    }
}
