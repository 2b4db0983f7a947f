//! The rules of ATIF that its types do not express.

use super::atif::{Atif, Observation, Part, Source, Step, Text};
use std::collections::BTreeSet;
use std::fmt;

/// A broken rule: where, and what is wrong there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Path of the field, such as `steps[3].tool_calls`.
    pub field: String,
    pub what: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}", self.field, self.what)
    }
}

const IMAGES: [&str; 4] = ["image/jpeg", "image/png", "image/gif", "image/webp"];
const AUDIO: [&str; 8] = [
    "audio/wav",
    "audio/mpeg",
    "audio/mp4",
    "audio/aac",
    "audio/ogg",
    "audio/flac",
    "audio/webm",
    "audio/aiff",
];

/// Every rule that `document` breaks; empty if it is valid.
pub fn check_atif(document: &Atif) -> Vec<Broken> {
    let mut found = Vec::new();
    trajectory(document, "", &mut found);
    found
}

fn trajectory(document: &Atif, at: &str, found: &mut Vec<Broken>) {
    let mut broken = |field: String, what: String| found.push(Broken { field, what });
    let version = document.schema_version.strip_prefix("ATIF-v1.").and_then(|v| v.parse().ok());
    if version.is_none_or(|v: u8| v > 8) {
        broken(format!("{at}schema_version"), "is none of ATIF-v1.0 to ATIF-v1.8".to_owned());
    }
    if document.steps.is_empty() {
        broken(format!("{at}steps"), "needs at least one step".to_owned());
    }
    for (i, s) in document.steps.iter().enumerate() {
        let want = i as u64 + 1;
        if s.step_id != want {
            broken(format!("{at}steps[{i}].step_id"), format!("is {}, not {want}", s.step_id));
        }
    }
    for (i, s) in document.steps.iter().enumerate() {
        step(s, &format!("{at}steps[{i}]."), found);
    }
    let mut seen = BTreeSet::new();
    for (i, sub) in document.subagent_trajectories.iter().flatten().enumerate() {
        let at = format!("{at}subagent_trajectories[{i}].");
        match &sub.trajectory_id {
            None => found.push(Broken {
                field: format!("{at}trajectory_id"),
                what: "an embedded trajectory needs one".to_owned(),
            }),
            Some(id) if !seen.insert(id) => found.push(Broken {
                field: format!("{at}trajectory_id"),
                what: format!("{id:?} is there twice"),
            }),
            Some(_) => {}
        }
        trajectory(sub, &at, found);
    }
}

fn step(step: &Step, at: &str, found: &mut Vec<Broken>) {
    let mut broken = |name: &str, what: &str| {
        found.push(Broken { field: format!("{at}{name}"), what: what.to_owned() })
    };
    if let Some(time) = &step.timestamp
        && time.parse::<jiff::Timestamp>().is_err()
        && time.parse::<jiff::civil::DateTime>().is_err()
    {
        broken("timestamp", "is not an ISO 8601 time");
    }
    let agents = [
        ("model_name", step.model_name.is_some()),
        ("reasoning_effort", step.reasoning_effort.is_some()),
        ("reasoning_content", step.reasoning_content.is_some()),
        ("tool_calls", step.tool_calls.is_some()),
        ("metrics", step.metrics.is_some()),
    ];
    for (name, there) in agents {
        if there && step.source != Source::Agent {
            broken(name, "is only for steps of the agent");
        }
    }
    if let Some(effort) = &step.reasoning_effort
        && !effort.is_string()
        && !effort.is_number()
    {
        broken("reasoning_effort", "is neither text nor a number");
    }
    if step.llm_call_count == Some(0) && step.source == Source::Agent {
        for (name, there) in [agents[2], agents[4]] {
            if there {
                broken(name, "must be absent where llm_call_count is 0");
            }
        }
    }
    parts(&step.message, &format!("{at}message"), found);
    if let Some(observation) = &step.observation {
        results(step, observation, at, found);
    }
}

fn results(step: &Step, observation: &Observation, at: &str, found: &mut Vec<Broken>) {
    let calls: BTreeSet<&str> =
        step.tool_calls.iter().flatten().map(|c| c.tool_call_id.as_str()).collect();
    for (i, result) in observation.results.iter().enumerate() {
        let at = format!("{at}observation.results[{i}]");
        if let Some(id) = &result.source_call_id
            && !calls.contains(id.as_str())
        {
            found.push(Broken {
                field: format!("{at}.source_call_id"),
                what: format!("{id:?} is no call of this step"),
            });
        }
        if let Some(content) = &result.content {
            parts(content, &format!("{at}.content"), found);
        }
        for (k, sub) in result.subagent_trajectory_ref.iter().flatten().enumerate() {
            if sub.trajectory_id.is_none() && sub.trajectory_path.is_none() {
                found.push(Broken {
                    field: format!("{at}.subagent_trajectory_ref[{k}]"),
                    what: "needs a trajectory_id or a trajectory_path".to_owned(),
                });
            }
        }
    }
}

fn parts(text: &Text, at: &str, found: &mut Vec<Broken>) {
    let Text::Parts(parts) = text else { return };
    for (i, p) in parts.iter().enumerate() {
        if let Some(what) = part(p) {
            found.push(Broken { field: format!("{at}[{i}]"), what: what.to_owned() });
        }
    }
}

fn part(part: &Part) -> Option<&'static str> {
    let known: &[&str] = match part.kind.as_str() {
        "text" if part.text.is_none() => return Some("a text part needs text"),
        "text" if part.source.is_some() => return Some("a text part has no source"),
        "text" => return None,
        "image" => &IMAGES,
        "audio" => &AUDIO,
        _ => return Some("its type is none of text, image, audio"),
    };
    match &part.source {
        None => Some("an image or a recording needs a source"),
        Some(_) if part.text.is_some() => Some("an image or a recording has no text"),
        Some(source) if !known.contains(&source.media_type.as_str()) => {
            Some("its media type does not fit its type")
        }
        Some(source) if part.kind == "image" && source.duration_sec.is_some() => {
            Some("an image has no duration")
        }
        Some(_) => None,
    }
}
