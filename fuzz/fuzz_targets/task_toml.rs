//! The three manifests, `task.toml`, `suite.toml` and `run.toml`: parsing never panics, and what it accepts can be written
//! and read back equal.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reenact_model::{FormatError, RunManifest, SuiteManifest, TaskManifest};
use serde::Serialize;
use std::fmt::Debug;
use std::path::Path;

fuzz_target!(|text: &str| {
    round_trip("task.toml", text, TaskManifest::parse);
    round_trip("suite.toml", text, SuiteManifest::parse);
    round_trip("run.toml", text, RunManifest::parse);
});

fn round_trip<T: Serialize + PartialEq + Debug>(
    name: &str,
    text: &str,
    parse: fn(&Path, &str) -> Result<T, FormatError>,
) {
    let file = Path::new(name);
    let manifest = match parse(file, text) {
        Ok(manifest) => manifest,
        Err(e) => {
            assert!(e.to_string().starts_with(name), "an error names the file: {e}");
            let lines = text.split('\n').count();
            assert!(e.line.is_none_or(|n| (1..=lines).contains(&n)), "{e} of {lines} lines");
            return;
        }
    };
    let written = toml::to_string(&manifest).expect("a manifest that was read can be written");
    let again = parse(file, &written).expect("a manifest that was written can be read");
    assert_eq!(manifest, again);
}
