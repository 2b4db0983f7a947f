//! `suite.toml`: digest, counts and quality figures of a suite.

use crate::SCHEMA;
use crate::digest::Digest;
use crate::error::{FormatError, parse_toml};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Contents of `suite.toml`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SuiteManifest {
    /// Format version; readers refuse another.
    pub schema: u32,
    /// Digest of the bytes of `cases.jsonl`. Blobs are bound by their names.
    pub digest: Digest,
    /// Digest of the reference that the expectations were recorded from.
    pub reference: Digest,
    /// Cases in the suite.
    pub cases: u64,
    /// How it was made: `generated`, `recorded` or `imported`.
    pub kind: String,
    /// Seed of the generator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// RFC 3339 time of creation, UTC.
    pub created: String,
    /// Version of reenact that made it.
    pub generator: String,
    pub quality: Quality,
    /// Cases by group.
    #[serde(default)]
    pub groups: BTreeMap<String, u64>,
    /// Cases by tag; a case may carry several.
    #[serde(default)]
    pub tags: BTreeMap<String, u64>,
    /// Candidates dropped, by reason.
    #[serde(default)]
    pub dropped: BTreeMap<String, u64>,
    /// Share of cases that each dummy program passes, 0 to 1.
    #[serde(default)]
    pub dummies: BTreeMap<String, f64>,
}

/// Quality figures.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Quality {
    /// Candidate cases before calibration and gates.
    pub candidates: u64,
    /// Cases with at least one masked channel.
    pub masked: u64,
    /// Share of candidates that gave the same observation under every perturbation, 0 to 1.
    pub stability: f64,
    /// Perturbations applied in calibration, by name.
    pub perturbations: Vec<String>,
    /// Times the reference passed the whole final suite.
    pub reference_passes: u64,
    /// Documented options found, and how many of them some case uses.
    pub options_documented: u64,
    pub options_exercised: u64,
}

impl SuiteManifest {
    /// Parses and checks `suite.toml`.
    ///
    /// # Errors
    /// [`FormatError`] that names line and field.
    pub fn parse(file: &Path, text: &str) -> Result<Self, FormatError> {
        let manifest: Self = parse_toml(file, text)?;
        if manifest.schema != SCHEMA {
            let what =
                format!("schema {} is not supported; this version reads {SCHEMA}", manifest.schema);
            return Err(FormatError::field(file, None, "schema", what));
        }
        let dummies =
            manifest.dummies.iter().map(|(name, share)| (format!("dummies.{name}"), share));
        let stability = ("quality.stability".to_owned(), &manifest.quality.stability);
        for (field, share) in dummies.chain([stability]) {
            // NaN is in no range.
            if !(0.0..=1.0).contains(share) {
                let what = format!("{share} is not a share from 0 to 1");
                return Err(FormatError::field(file, None, field, what));
            }
        }
        Ok(manifest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The fuzz target `task_toml` relies on it: TOML has `nan`, and a manifest that holds one does not equal itself.
    #[test]
    fn shares_are_numbers_from_0_to_1() {
        let digest = Digest::of(b"");
        let suite = |stability: &str, cat: &str| {
            let text = format!(
                "schema = 1\ndigest = \"{digest}\"\nreference = \"{digest}\"\ncases = 1\nkind = \"k\"\ncreated = \"c\"\n\
                 generator = \"g\"\n[quality]\nstability = {stability}\n[dummies]\ncat = {cat}\n"
            );
            SuiteManifest::parse(Path::new("suite.toml"), &text)
        };
        assert!(suite("1.0", "0.25").is_ok());
        for bad in ["nan", "-nan", "inf", "-0.1", "1.5"] {
            let field = |r: Result<SuiteManifest, FormatError>| r.unwrap_err().field;
            assert_eq!(field(suite(bad, "0.0")).as_deref(), Some("quality.stability"));
            assert_eq!(field(suite("0.0", bad)).as_deref(), Some("dummies.cat"));
        }
    }
}
