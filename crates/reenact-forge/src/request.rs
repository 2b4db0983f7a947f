//! What a user asks of the forge.

use crate::error::ForgeError;
use reenact_bundle::shape::CellOptions;
use reenact_model::task::Split;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Where a reference comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceSpec {
    /// `crate:NAME[@VER]`: a crate with a binary, from cargo's registry.
    Crate { name: String, version: Option<String> },
    /// `deb:NAME[=VER]`: a Debian binary package, from the host's apt sources.
    Deb { name: String, version: Option<String> },
    /// `path:FILE`: an executable at hand.
    Path { file: PathBuf },
}

/// A request for a new task.
#[derive(Clone, Debug)]
pub struct NewTask {
    pub source: SourceSpec,
    /// Root of tasks; the bundle becomes `out/<id>`.
    pub out: PathBuf,
    /// Which executable, where the source ships several.
    pub bin: Option<String>,
    /// Documentation of the user's own; required for `path:`, added to what the source ships otherwise.
    pub docs: Option<PathBuf>,
    pub split: Split,
    /// Replace a bundle of the same id, its suite included.
    pub force: bool,
    pub cells: CellOptions,
}

/// The kinds, as an error message lists them.
const KINDS: &str =
    "known sources: crate:NAME[@VERSION], deb:NAME[=VERSION], path:FILE (with --docs DIR)";

impl FromStr for SourceSpec {
    type Err = ForgeError;

    fn from_str(text: &str) -> Result<Self, ForgeError> {
        let Some((kind, rest)) = text.split_once(':') else {
            return Err(ForgeError::input(format!("{text:?} is not a source"), KINDS));
        };
        match kind {
            "crate" => {
                let (name, version) = split_version(text, rest, '@', is_crate_name)?;
                Ok(Self::Crate { name, version })
            }
            "deb" => {
                let (name, version) = split_version(text, rest, '=', is_deb_name)?;
                Ok(Self::Deb { name, version })
            }
            "path" if !rest.is_empty() => Ok(Self::Path { file: PathBuf::from(rest) }),
            "path" => Err(ForgeError::input(format!("{text:?} names no file"), KINDS)),
            _ => Err(ForgeError::input(format!("unknown source kind {kind:?} in {text:?}"), KINDS)),
        }
    }
}

impl fmt::Display for SourceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Crate { name, version: None } => write!(f, "crate:{name}"),
            Self::Crate { name, version: Some(v) } => write!(f, "crate:{name}@{v}"),
            Self::Deb { name, version: None } => write!(f, "deb:{name}"),
            Self::Deb { name, version: Some(v) } => write!(f, "deb:{name}={v}"),
            Self::Path { file } => write!(f, "path:{}", file.display()),
        }
    }
}

/// Splits `NAME[sep VERSION]`. Names and versions go to host tools as arguments, so a leading dash or an odd byte is refused.
fn split_version(
    whole: &str,
    rest: &str,
    sep: char,
    is_name: fn(&str) -> bool,
) -> Result<(String, Option<String>), ForgeError> {
    let (name, version) = match rest.split_once(sep) {
        Some((name, version)) => (name, Some(version)),
        None => (rest, None),
    };
    if !is_name(name) {
        return Err(ForgeError::input(format!("{whole:?}: {name:?} is not a package name"), KINDS));
    }
    if let Some(v) = version.filter(|v| !is_version(v)) {
        return Err(ForgeError::input(format!("{whole:?}: {v:?} is not a version"), KINDS));
    }
    Ok((name.to_owned(), version.map(str::to_owned)))
}

fn is_crate_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.len() <= 64
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
}

/// Debian policy 5.6.7: lower-case letters, digits, `+-.`, at least two, the first alphanumeric.
fn is_deb_name(name: &str) -> bool {
    (2..=100).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b))
}

/// Digits first (semver and Debian policy 5.6.12 agree), then the union of what both allow.
fn is_version(version: &str) -> bool {
    version.starts_with(|c: char| c.is_ascii_digit())
        && version.len() <= 100
        && version.bytes().all(|b| b.is_ascii_alphanumeric() || b".+-~:".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_parses_and_prints_back() {
        for text in [
            "crate:hexyl",
            "crate:hexyl@0.17.0",
            "deb:figlet",
            "deb:figlet=2.2.5-3+b1",
            "deb:7zip=22.01+dfsg-8",
            "path:/usr/bin/true",
        ] {
            let spec: SourceSpec = text.parse().unwrap();
            assert_eq!(spec.to_string(), text);
        }
        let spec: SourceSpec = "deb:libfoo++-bin=1:2.0~rc1".parse().unwrap();
        assert_eq!(
            spec,
            SourceSpec::Deb { name: "libfoo++-bin".into(), version: Some("1:2.0~rc1".into()) }
        );
    }

    #[test]
    fn malformed_sources_are_usage_errors_that_list_the_kinds() {
        for bad in [
            "hexyl",
            "",
            ":",
            "npm:left-pad",
            "crate:",
            "crate:-x",
            "crate:a b",
            "crate:a@",
            "crate:a@--x",
            "deb:A",
            "deb:../x",
            "deb:figlet=",
            "deb:figlet=-o",
            "path:",
        ] {
            let error = bad.parse::<SourceSpec>().unwrap_err();
            assert!(error.is_usage(), "{bad}");
            assert!(error.to_string().contains("crate:NAME"), "{bad}: {error}");
        }
    }
}
