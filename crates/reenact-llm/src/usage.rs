//! Tokens of one or many replies, from the different shapes in which APIs report them.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::iter::Sum;
use std::ops::{Add, AddAssign};

/// Tokens, in disjoint kinds as they are priced: what a request sent is `input + cached_input + cache_write`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Input tokens at full price: neither read from nor written to a prompt cache.
    pub input: u64,
    /// Input tokens read from a prompt cache.
    #[serde(default)]
    pub cached_input: u64,
    /// Input tokens written to a prompt cache.
    #[serde(default)]
    pub cache_write: u64,
    /// Output tokens, reasoning included.
    pub output: u64,
    /// The part of `output` that was reasoning, where the API tells.
    #[serde(default)]
    pub reasoning: u64,
}

impl Usage {
    /// All tokens of the request.
    pub fn total_input(&self) -> u64 {
        self.input.saturating_add(self.cached_input).saturating_add(self.cache_write)
    }

    /// All tokens, in and out: what token budgets count.
    pub fn total(&self) -> u64 {
        self.total_input().saturating_add(self.output)
    }

    /// Reads a `usage` object of any of the known APIs, told apart by its field names; `None` if it is none of them.
    ///
    /// - Chat completions: `prompt_tokens` *includes* `prompt_tokens_details.cached_tokens`.
    /// - Responses: `input_tokens` *includes* `input_tokens_details.cached_tokens`.
    /// - Anthropic messages: `input_tokens` *excludes* `cache_read_input_tokens` and `cache_creation_input_tokens`.
    pub fn from_json(usage: &Value) -> Option<Self> {
        if usage.get("prompt_tokens").is_some() || usage.get("completion_tokens").is_some() {
            return Some(Self::inclusive(usage, "prompt_tokens", "completion_tokens"));
        }
        if usage.get("input_tokens").is_none() && usage.get("output_tokens").is_none() {
            return None;
        }
        if usage.get("input_tokens_details").is_some() {
            return Some(Self::inclusive(usage, "input_tokens", "output_tokens"));
        }
        Some(Self {
            input: count(usage, "/input_tokens"),
            cached_input: count(usage, "/cache_read_input_tokens"),
            cache_write: count(usage, "/cache_creation_input_tokens"),
            output: count(usage, "/output_tokens"),
            reasoning: 0,
        })
    }

    /// The APIs whose input count includes the cached tokens.
    fn inclusive(usage: &Value, input: &str, output: &str) -> Self {
        let all = count(usage, &format!("/{input}"));
        let details = format!("/{input}_details");
        // DeepSeek names the hits at the top level; OpenRouter also tells of writes.
        let hits = count(usage, &format!("{details}/cached_tokens"))
            .max(count(usage, "/prompt_cache_hit_tokens"));
        let cached_input = hits.min(all);
        let cache_write =
            count(usage, &format!("{details}/cache_write_tokens")).min(all - cached_input);
        let output_all = count(usage, &format!("/{output}"));
        Self {
            input: all - cached_input - cache_write,
            cached_input,
            cache_write,
            output: output_all,
            reasoning: count(usage, &format!("/{output}_details/reasoning_tokens")).min(output_all),
        }
    }
}

/// The count at `pointer`; 0 where it is missing, null or no count.
fn count(value: &Value, pointer: &str) -> u64 {
    value.pointer(pointer).and_then(Value::as_u64).unwrap_or(0)
}

impl Add for Usage {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            input: self.input.saturating_add(other.input),
            cached_input: self.cached_input.saturating_add(other.cached_input),
            cache_write: self.cache_write.saturating_add(other.cache_write),
            output: self.output.saturating_add(other.output),
            reasoning: self.reasoning.saturating_add(other.reasoning),
        }
    }
}

impl AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sum for Usage {
    fn sum<I: Iterator<Item = Self>>(items: I) -> Self {
        items.fold(Self::default(), Add::add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn each_api_counts_cached_tokens_in_its_own_way() {
        let wanted =
            Usage { input: 30, cached_input: 60, cache_write: 10, output: 7, reasoning: 0 };
        let messages = json!({"input_tokens": 30, "cache_read_input_tokens": 60,
            "cache_creation_input_tokens": 10, "output_tokens": 7});
        let chat = json!({"prompt_tokens": 100, "completion_tokens": 7,
            "prompt_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 10}});
        let responses = json!({"input_tokens": 100, "output_tokens": 7,
            "input_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 10}});
        for usage in [messages, chat, responses] {
            assert_eq!(Usage::from_json(&usage), Some(wanted), "{usage}");
        }
        let deepseek = json!({"prompt_tokens": 9, "prompt_cache_hit_tokens": 4,
            "completion_tokens": 5, "completion_tokens_details": {"reasoning_tokens": 3}});
        let wanted = Usage { input: 5, cached_input: 4, cache_write: 0, output: 5, reasoning: 3 };
        assert_eq!(Usage::from_json(&deepseek), Some(wanted));
    }

    #[test]
    fn what_is_no_usage_is_none_and_not_zero() {
        for none in [json!(null), json!({}), json!({"total_tokens": 5}), json!([]), json!("x")] {
            assert_eq!(Usage::from_json(&none), None, "{none}");
        }
        let nulls = json!({"prompt_tokens": 3, "completion_tokens": null,
            "prompt_tokens_details": null});
        assert_eq!(Usage::from_json(&nulls), Some(Usage { input: 3, ..Usage::default() }));
    }

    prop_compose! {
        fn usage()(input: u64, cached_input: u64, cache_write: u64, output: u64, part in 0.0..1.0f64)
            -> Usage
        {
            let reasoning = (output as f64 * part) as u64;
            Usage { input, cached_input, cache_write, output, reasoning: reasoning.min(output) }
        }
    }

    proptest! {
        /// The disjoint kinds add up to what an inclusive API counted, whatever it claims of its parts.
        #[test]
        fn kinds_of_inclusive_apis_add_up(all: u64, cached: u64, write: u64, out: u64, thought: u64) {
            let chat = json!({"prompt_tokens": all, "completion_tokens": out,
                "prompt_tokens_details": {"cached_tokens": cached, "cache_write_tokens": write},
                "completion_tokens_details": {"reasoning_tokens": thought}});
            let usage = Usage::from_json(&chat).unwrap();
            prop_assert_eq!(usage.total_input(), all);
            prop_assert_eq!(usage.output, out);
            prop_assert!(usage.reasoning <= usage.output);
        }

        /// Sums never overflow, do not depend on order, and lose nothing that fits.
        #[test]
        fn sums_are_sums(list in prop::collection::vec(usage(), 0..6)) {
            let sum: Usage = list.iter().copied().sum();
            let backwards: Usage = list.iter().rev().copied().sum();
            prop_assert_eq!(sum, backwards);
            let exact = list.iter().map(|u| u128::from(u.input)).sum::<u128>();
            prop_assert_eq!(u128::from(sum.input), exact.min(u128::from(u64::MAX)));
            prop_assert!(list.iter().all(|u| sum.total() >= u.total()));
        }

        /// A usage survives being written to a manifest or a trajectory.
        #[test]
        fn usages_round_trip(usage in usage()) {
            let text = serde_json::to_string(&usage).unwrap();
            prop_assert_eq!(serde_json::from_str::<Usage>(&text).unwrap(), usage);
        }
    }
}
