//! Reading a stored result without its observations, so that reloading a finished run costs no more memory than its verdicts.

use reenact_model::Verdict;
use reenact_model::run::{CaseResult, TaskResult};
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use std::fmt;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

/// The result at `path`, its cases without observations; `None` if there is none that can be read.
pub(crate) fn load(path: &Path) -> Option<TaskResult> {
    let file = File::open(path).ok()?;
    let Lean(result) = serde_json::from_reader(BufReader::with_capacity(1 << 16, file)).ok()?;
    (result.schema == reenact_model::run::RUN_SCHEMA).then_some(result)
}

struct Lean(TaskResult);

#[derive(serde::Deserialize)]
struct LeanCase {
    id: String,
    group: String,
    #[serde(flatten)]
    verdict: Verdict,
    wall_us: u64,
    #[serde(default)]
    retries: u32,
    #[serde(default, rename = "observation")]
    _observation: Option<IgnoredAny>,
}

impl<'de> Deserialize<'de> for Lean {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(LeanVisitor)
    }
}

struct LeanVisitor;

impl<'de> Visitor<'de> for LeanVisitor {
    type Value = Lean;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a task result")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Lean, A::Error> {
        let mut fields = serde_json::Map::new();
        let mut cases: Vec<LeanCase> = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            if key == "cases" {
                cases = map.next_value()?;
                fields.insert(key, serde_json::Value::Array(Vec::new()));
            } else {
                fields.insert(key, map.next_value()?);
            }
        }
        let mut result: TaskResult =
            serde_json::from_value(serde_json::Value::Object(fields)).map_err(A::Error::custom)?;
        result.cases = cases
            .into_iter()
            .map(|case| CaseResult {
                id: case.id,
                group: case.group,
                verdict: case.verdict,
                wall_us: case.wall_us,
                retries: case.retries,
                observation: None,
            })
            .collect();
        Ok(Lean(result))
    }
}
