//! `submission.yaml`: what its author wrote is kept, the rest is written anew. No path of this machine is ever in it.

use super::error::SubmitError;
use super::files::{SMALL_MAX, plain_text};
use crate::dataset::PROGRAMBENCH_VERSION;
use serde_yaml_ng::Value;
use std::fmt::Write;
use std::path::Path;

/// What a field holds until its author fills it in; the registry refuses it.
const TODO: &str = "TODO";

/// A field of the author's: section, key, default, and a remark for those who fill it in.
struct Field {
    section: &'static str,
    key: &'static str,
    default: Default,
    remark: &'static str,
}

#[derive(Clone, Copy)]
enum Default {
    Text(&'static str),
    No,
}

/// The official template's fields, in its order.
const FIELDS: [Field; 10] = [
    field("submitter", "name", Default::Text(TODO), ""),
    field("submitter", "contact", Default::Text(TODO), "an e-mail address, or @name on GitHub"),
    field("submitter", "affiliation", Default::Text(""), ""),
    field("system", "agent", Default::Text(TODO), "the scaffold; \"none\" where a person wrote it"),
    field("system", "description_url", Default::Text("README.md"), ""),
    field("system", "is_os_model", Default::No, "true if anybody can get the model's weights"),
    field("system", "is_os_scaffold", Default::No, "true if the agent is open source"),
    field("system", "model", Default::Text(TODO), "as the leaderboard shall show it"),
    field("system", "provider", Default::Text(TODO), ""),
    field("system", "type", Default::Text("single-agent"), "single-agent, multi-agent or other"),
];

const fn field(
    section: &'static str,
    key: &'static str,
    default: Default,
    remark: &'static str,
) -> Field {
    Field { section, key, default, remark }
}

/// What a run's manifest holds now: the file's contents, or nothing.
pub(super) struct Manifest(Value);

impl Manifest {
    /// Reads `submission.yaml` of `dir`; one that is not there is empty.
    ///
    /// # Errors
    /// [`SubmitError`] if it is there and no YAML.
    pub(super) fn read(dir: &Path) -> Result<Self, SubmitError> {
        let path = dir.join("submission.yaml");
        if path.symlink_metadata().is_err() {
            return Ok(Self(Value::Null));
        }
        let text = plain_text(&path, SMALL_MAX)?;
        let value = serde_yaml_ng::from_str(&text)
            .map_err(|e| SubmitError::file(&path, format!("is no YAML: {e}")))?;
        Ok(Self(value))
    }

    /// A value by its path of keys.
    pub(super) fn get(&self, path: &[&str]) -> Option<&Value> {
        path.iter().try_fold(&self.0, |at, key| at.as_mapping()?.get(*key))
    }

    /// Fields that are still to be filled in, as `section.key`.
    pub(super) fn missing(&self) -> Vec<String> {
        FIELDS
            .iter()
            .filter(|f| match self.get(&[f.section, f.key]) {
                None | Some(Value::Null) => matches!(f.default, Default::Text(TODO)),
                Some(value) => value.as_str() == Some(TODO),
            })
            .map(|f| format!("{}.{}", f.section, f.key))
            .collect()
    }

    /// The manifest for submission `id`.
    pub(super) fn render(&self, id: &str) -> String {
        let mut out = String::from(
            "# Written by `reenact programbench submit package`. The lines marked [auto] are written anew each time;\n\
             # all others are yours and stay as you leave them.\n\
             schema_version: 1\n",
        );
        let _written = write!(out, "\nsubmission_id: {}   # [auto]\n", quoted(id));
        for section in ["submitter", "system"] {
            let _written = write!(out, "\n{section}:\n");
            for f in FIELDS.iter().filter(|f| f.section == section) {
                let remark = if f.remark.is_empty() { "" } else { "   # " };
                let _written = writeln!(out, "  {}: {}{remark}{}", f.key, self.value(f), f.remark);
            }
            self.extras(&mut out, "  ", &[section], |key| {
                FIELDS.iter().any(|f| f.section == section && f.key == key)
            });
        }
        let version = quoted(PROGRAMBENCH_VERSION);
        let _written = write!(out, "\neval:\n  programbench_version: {version}   # [auto]\n");
        self.extras(&mut out, "  ", &["eval"], |key| key == "programbench_version");
        self.extras(&mut out, "", &[], |key| {
            ["schema_version", "submission_id", "submitter", "system", "eval"].contains(&key)
        });
        out.push_str("# Scores are in _stats/score.json, by test: the leaderboard computes its rows from those.\n");
        out
    }

    fn value(&self, f: &Field) -> String {
        match (self.get(&[f.section, f.key]), f.default) {
            (None | Some(Value::Null), Default::Text(text)) => quoted(text),
            (None | Some(Value::Null), Default::No) => "false".to_owned(),
            // YAML 1.1, which the official tool reads, has more words for these.
            (Some(Value::String(word)), Default::No) => match word.to_ascii_lowercase().as_str() {
                "yes" | "on" | "true" => "true".to_owned(),
                "no" | "off" | "false" => "false".to_owned(),
                _ => quoted(word),
            },
            (Some(value), _) => flow(value),
        }
    }

    /// Keys that the template does not know: their author had a reason.
    fn extras(&self, out: &mut String, indent: &str, path: &[&str], known: impl Fn(&str) -> bool) {
        let Some(map) = self.get(path).and_then(Value::as_mapping) else { return };
        for (key, value) in map {
            if let Some(key) = key.as_str().filter(|k| !known(k)) {
                let _written = writeln!(out, "{indent}{}: {}", quoted(key), flow(value));
            }
        }
    }
}

/// A value in one line that YAML 1.1 and 1.2 read alike.
fn flow(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(b) => b.to_string(),
        Value::Number(n) => n.to_string(),
        Value::String(text) => quoted(text),
        Value::Sequence(items) => {
            format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", "))
        }
        Value::Mapping(map) => {
            let entries = map.iter().map(|(k, v)| format!("{}: {}", flow(k), flow(v)));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
        }
        Value::Tagged(tagged) => flow(&tagged.value),
    }
}

/// A double-quoted scalar. Printable text stays as it is; what YAML does not print is escaped.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            ' '..='~' => out.push(c),
            '\u{a1}'..='\u{d7ff}' if !matches!(c, '\u{2028}' | '\u{2029}') => out.push(c),
            '\u{e000}'..='\u{fffd}' if c != '\u{feff}' => out.push(c),
            c if u32::from(c) > 0xffff => out.push(c),
            c => {
                let _written = write!(out, "\\u{:04x}", u32::from(c));
            }
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn manifest(text: &str) -> Manifest {
        Manifest(serde_yaml_ng::from_str(text).unwrap())
    }

    #[test]
    fn a_new_manifest_asks_for_what_only_its_author_knows() {
        let empty = Manifest(Value::Null);
        let text = empty.render("my-run");
        let read = manifest(&text);
        let get = |path: &[&str]| read.get(path).unwrap().clone();
        assert_eq!(get(&["schema_version"]), Value::from(1));
        assert_eq!(get(&["submission_id"]), Value::from("my-run"));
        assert_eq!(get(&["submitter", "name"]), Value::from("TODO"));
        assert_eq!(get(&["system", "is_os_model"]), Value::from(false));
        assert_eq!(get(&["system", "type"]), Value::from("single-agent"));
        assert_eq!(get(&["eval", "programbench_version"]), Value::from("1.2.5"));
        let want = [
            "submitter.name",
            "submitter.contact",
            "system.agent",
            "system.model",
            "system.provider",
        ];
        assert_eq!(read.missing(), want);
        assert_eq!(empty.missing(), want);
    }

    #[test]
    fn what_its_author_wrote_stays() {
        let first = manifest(
            "# Generated by `programbench submit package` from: /home/me/secret/run\nsubmission_id: old\n\
             submitter: {name: \"Müller & <Co>\", contact: \"@x\", affiliation: null, orcid: [1, two]}\n\
             system: {is_os_model: yes, is_os_scaffold: false, model: 4.5, provider: \"\"}\nheadline: {n_instances_total: 200}\n",
        );
        let text = first.render("new");
        assert!(!text.contains("secret"), "{text}");
        let read = manifest(&text);
        let get = |path: &[&str]| read.get(path).unwrap().clone();
        assert_eq!(get(&["submission_id"]), Value::from("new"));
        assert_eq!(get(&["submitter", "name"]), Value::from("Müller & <Co>"));
        assert_eq!(get(&["submitter", "affiliation"]), Value::from(""));
        assert_eq!(get(&["submitter", "orcid"])[1], Value::from("two"));
        assert_eq!(get(&["system", "is_os_model"]), Value::from(true));
        assert_eq!(get(&["system", "model"]), Value::from(4.5));
        assert_eq!(get(&["system", "provider"]), Value::from(""));
        assert_eq!(get(&["headline", "n_instances_total"]), Value::from(200));
        assert_eq!(read.render("new"), text, "packaging again changes nothing");
    }

    proptest! {
        #[test]
        fn any_text_survives(text in "\\PC{0,20}|[\\x00-\\x7f]{0,20}|\\p{any}{0,9}") {
            let line = format!("k: {}\n", quoted(&text));
            let read: Value = serde_yaml_ng::from_str(&line).unwrap();
            prop_assert_eq!(read["k"].as_str().unwrap(), text);
        }
    }
}
