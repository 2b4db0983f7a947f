//! What cargo says about a crate: its binaries, its licence, and which dependencies this platform uses.

use crate::error::ForgeError;
use crate::tool::{cargo, run_ok};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<PackageInfo>,
    resolve: Option<Resolve>,
}

/// The parts of a package that the forge looks at.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct PackageInfo {
    pub id: String,
    pub name: String,
    pub version: String,
    pub license: Option<String>,
    pub description: Option<String>,
    pub homepage: Option<String>,
    pub repository: Option<String>,
    #[serde(default)]
    pub targets: Vec<Target>,
}

/// A build target of a package.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Target {
    pub name: String,
    pub kind: Vec<String>,
    #[serde(default, rename = "required-features")]
    pub required_features: Vec<String>,
}

#[derive(Deserialize)]
struct Resolve {
    root: Option<String>,
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dep>,
}

#[derive(Deserialize)]
struct Dep {
    pkg: String,
    dep_kinds: Vec<DepKind>,
}

#[derive(Deserialize)]
struct DepKind {
    kind: Option<String>,
}

/// The crate in `tree`, without looking at its dependencies.
///
/// # Errors
/// [`ForgeError::Host`] if cargo cannot read the manifest.
pub(crate) fn describe(tree: &Path) -> Result<PackageInfo, ForgeError> {
    let metadata = query(tree, &["--no-deps"])?;
    metadata.packages.into_iter().next().ok_or_else(|| malformed(tree, "describes no package"))
}

/// Names and versions of the packages that a build for `target` with `features` compiles: reachable from the root
/// through normal and build dependencies.
///
/// # Errors
/// [`ForgeError::Host`].
pub(crate) fn used(
    tree: &Path,
    target: &str,
    features: &[String],
) -> Result<BTreeSet<(String, String)>, ForgeError> {
    let features = features.join(",");
    let mut args = vec!["--locked", "--filter-platform", target];
    if !features.is_empty() {
        args.extend(["--features", &features]);
    }
    let metadata = query(tree, &args)?;
    let resolve = metadata.resolve.ok_or_else(|| malformed(tree, "has no resolution"))?;
    let root = resolve.root.ok_or_else(|| malformed(tree, "has no root package"))?;
    let nodes: BTreeMap<&str, &Node> = resolve.nodes.iter().map(|n| (n.id.as_str(), n)).collect();
    let mut reached: BTreeSet<&str> = BTreeSet::new();
    let mut pending = vec![root.as_str()];
    while let Some(id) = pending.pop() {
        let Some(node) = nodes.get(id).filter(|_| reached.insert(id)) else { continue };
        let compiled = |d: &&Dep| d.dep_kinds.iter().any(|k| k.kind.as_deref() != Some("dev"));
        pending.extend(node.deps.iter().filter(compiled).map(|d| d.pkg.as_str()));
    }
    Ok(metadata
        .packages
        .iter()
        .filter(|p| reached.contains(p.id.as_str()))
        .map(|p| (p.name.clone(), p.version.clone()))
        .collect())
}

fn query(tree: &Path, args: &[&str]) -> Result<Metadata, ForgeError> {
    let mut all = vec!["metadata", "--format-version", "1", "--offline"];
    all.extend(args);
    let output = run_ok(&cargo(tree, &all), "reading the crate's manifest")?;
    serde_json::from_slice(&output.stdout)
        .map_err(|e| malformed(tree, &format!("is not what cargo metadata promises: {e}")))
}

fn malformed(tree: &Path, what: &str) -> ForgeError {
    ForgeError::Malformed { path: tree.join("Cargo.toml"), what: what.to_owned() }
}

/// The binary to build: `bin`, or the one named like the crate, or the only one.
///
/// # Errors
/// [`ForgeError::Input`] that lists the binaries.
pub(crate) fn choose_bin(package: &PackageInfo, bin: Option<&str>) -> Result<Target, ForgeError> {
    let bins: Vec<&Target> =
        package.targets.iter().filter(|t| t.kind.iter().any(|k| k == "bin")).collect();
    let list = || bins.iter().map(|t| t.name.as_str()).collect::<Vec<_>>().join(", ");
    let spec = format!("crate:{}@{}", package.name, package.version);
    if bins.is_empty() {
        return Err(ForgeError::input(
            format!("{spec} ships no binary: it is a library"),
            "name a crate that installs a program (its command-line tool may be a crate of its own)",
        ));
    }
    if let Some(name) = bin {
        return bins.iter().find(|t| t.name == name).map(|t| (*t).clone()).ok_or_else(|| {
            ForgeError::input(
                format!("{spec} ships no binary {name:?}"),
                format!("it ships: {}", list()),
            )
        });
    }
    if let [only] = bins.as_slice() {
        return Ok((*only).clone());
    }
    bins.iter().find(|t| t.name == package.name).map(|t| (*t).clone()).ok_or_else(|| {
        ForgeError::input(
            format!("{spec} ships several binaries and none is named like it"),
            format!("choose one with --bin: {}", list()),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(bins: &[&str]) -> PackageInfo {
        let target = |name: &str, kind: &str| Target {
            name: name.to_owned(),
            kind: vec![kind.to_owned()],
            required_features: Vec::new(),
        };
        let mut targets = vec![target("x", "lib"), target("build-script-build", "custom-build")];
        targets.extend(bins.iter().map(|b| target(b, "bin")));
        PackageInfo { name: "x".into(), version: "1.0.0".into(), targets, ..PackageInfo::default() }
    }

    #[test]
    fn the_binary_is_chosen_by_name_or_because_it_is_the_only_one() {
        assert_eq!(choose_bin(&package(&["y"]), None).unwrap().name, "y");
        assert_eq!(choose_bin(&package(&["y", "x"]), None).unwrap().name, "x");
        assert_eq!(choose_bin(&package(&["y", "x"]), Some("y")).unwrap().name, "y");
        for (bins, bin, want) in [
            (&[][..], None, "library"),
            (&["y", "z"], None, "y, z"),
            (&["y"], Some("q"), "it ships: y"),
        ] {
            let error = choose_bin(&package(bins), bin).unwrap_err();
            assert!(error.is_usage() && error.to_string().contains(want), "{error}");
        }
    }
}
