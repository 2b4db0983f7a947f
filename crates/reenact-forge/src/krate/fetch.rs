//! A crate's own source and everything it depends on, fetched outside by the host's cargo.

use crate::error::ForgeError;
use crate::provenance::ArchiveRecord;
use crate::tool::{cargo, failed, require, run_ok, text};
use crate::walk::{self, Node};
use reenact_bundle::Progress;
use reenact_bundle::fsx::{fs_error, read};
use reenact_model::Digest;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// A crate, unpacked, without its dependencies.
#[derive(Clone, Debug)]
pub(crate) struct Fetched {
    /// The tree; ours to change.
    pub tree: PathBuf,
    pub name: String,
    pub version: String,
    /// Digest of the .crate file, as the registry states it and cargo checked it.
    pub sha256: Digest,
    /// The crate shipped a lock file.
    pub ships_lock: bool,
}

#[derive(Deserialize)]
struct Lock {
    #[serde(default)]
    package: Vec<LockedPackage>,
}

#[derive(Deserialize)]
struct LockedPackage {
    name: String,
    version: String,
    checksum: Option<String>,
}

#[derive(Deserialize)]
struct Checksums {
    package: Option<String>,
}

/// Files that would change what cargo does in the tree, or that are not the crate's.
const LEFT_OUT: [&str; 9] = [
    ".cargo",
    ".cargo-checksum.json",
    ".cargo_vcs_info.json",
    "rust-toolchain",
    "rust-toolchain.toml",
    "vendor",
    "target",
    "executable",
    "compile.sh",
];

/// Resolves NAME (and VER) with cargo, in a wrapper package that depends on it, and takes the crate out of its vendor
/// directory: this works with every registry set-up that cargo itself works with.
///
/// # Errors
/// [`ForgeError::Input`] if there is no such crate or version; [`ForgeError::Host`] without cargo or network.
pub(crate) fn fetch(
    name: &str,
    version: Option<&str>,
    work: &Path,
    progress: &dyn Progress,
) -> Result<Fetched, ForgeError> {
    require("cargo", "a crate: source", "install Rust, or use deb:NAME or path:FILE --docs DIR")?;
    progress.stage(&format!("fetching crate:{name}"));
    let wrapper = wrapper(work)?;
    let spec = version.map_or_else(|| name.to_owned(), |v| format!("{name}@={v}"));
    let add = cargo(&wrapper, &["add", "--quiet", &spec]);
    let output = add.run()?;
    if !output.ok() {
        let said = text(&output);
        if ["could not be found in registry", "no matching package", "failed to select a version"]
            .iter()
            .any(|s| said.contains(s))
        {
            let spec = version.map_or_else(|| name.to_owned(), |v| format!("{name}@{v}"));
            return Err(ForgeError::input(
                format!("crate:{spec}: cargo's registry has no such crate or version"),
                format!("check the spelling; `cargo info {name}` shows what there is"),
            ));
        }
        return Err(failed(&add, &output, &format!("resolving crate:{name}")));
    }
    let doing = format!("fetching crate:{name}");
    run_ok(&cargo(&wrapper, &["vendor", "--quiet", "--versioned-dirs", "vendor"]), &doing)?;
    let locked = locked_packages(&wrapper)?;
    let (name, version) = resolved(&wrapper, &locked, name)?;
    let source = wrapper.join("vendor").join(format!("{name}-{version}"));
    let sha256 = package_digest(&source)?;
    let tree = work.join("source");
    copy_crate(&source, &tree)?;
    let ships_lock = tree.join("Cargo.lock").is_file();
    Ok(Fetched { tree, name, version, sha256, ships_lock })
}

fn wrapper(work: &Path) -> Result<PathBuf, ForgeError> {
    let dir = work.join("wrapper");
    let write =
        |name: &str, text: &str| reenact_bundle::write_atomic(&dir.join(name), text.as_bytes());
    // An own workspace: the directory may lie below somebody else's.
    write(
        "Cargo.toml",
        "[package]\nname = \"wrapper\"\nversion = \"0.0.0\"\nedition = \"2021\"\n\n[workspace]\n",
    )?;
    write("src/lib.rs", "")?;
    Ok(dir)
}

fn locked_packages(dir: &Path) -> Result<Vec<LockedPackage>, ForgeError> {
    let path = dir.join("Cargo.lock");
    let text = String::from_utf8_lossy(&read(&path)?).into_owned();
    let lock: Lock = toml::from_str(&text).map_err(|e| ForgeError::Malformed {
        path,
        what: format!("is not a lock file: {}", e.message()),
    })?;
    Ok(lock.package)
}

/// Canonical name and version of the wrapper's one dependency: cargo corrects `_` and `-`, so names are compared without.
fn resolved(
    wrapper: &Path,
    locked: &[LockedPackage],
    asked: &str,
) -> Result<(String, String), ForgeError> {
    let manifest = wrapper.join("Cargo.toml");
    let text = String::from_utf8_lossy(&read(&manifest)?).into_owned();
    let table: toml::Table = toml::from_str(&text).unwrap_or_default();
    let requirement = table
        .get("dependencies")
        .and_then(|d| d.as_table())
        .and_then(|d| d.iter().next())
        .map(|(name, value)| {
            let version = value.as_str().or_else(|| value.get("version").and_then(|v| v.as_str()));
            (name.clone(), version.unwrap_or_default().trim_start_matches('=').to_owned())
        });
    let malformed =
        |what: &str| ForgeError::Malformed { path: manifest.clone(), what: what.to_owned() };
    let (name, wanted) = requirement.ok_or_else(|| malformed("cargo add left no dependency"))?;
    let of_name: Vec<&LockedPackage> = locked.iter().filter(|p| p.name == name).collect();
    let found = of_name.iter().find(|p| p.version == wanted).or_else(|| of_name.last());
    found
        .map(|p| (p.name.clone(), p.version.clone()))
        .ok_or_else(|| malformed(&format!("{asked} is not in the lock file")))
}

fn package_digest(vendored: &Path) -> Result<Digest, ForgeError> {
    let path = vendored.join(".cargo-checksum.json");
    let malformed =
        |what: &str| ForgeError::Malformed { path: path.clone(), what: what.to_owned() };
    let sums: Checksums =
        serde_json::from_slice(&read(&path)?).map_err(|_| malformed("is not a checksum file"))?;
    let hex = sums.package.ok_or_else(|| malformed("states no digest of the package"))?;
    format!("sha256:{hex}").parse().map_err(|_| malformed("states no SHA-256"))
}

fn copy_crate(from: &Path, to: &Path) -> Result<(), ForgeError> {
    for (path, node) in walk::tree(from)? {
        let first = path.components().next().map(|c| c.as_os_str().to_string_lossy().into_owned());
        if first.is_some_and(|f| LEFT_OUT.contains(&f.as_str())) {
            continue;
        }
        if let Node::File { mode, .. } = node {
            let mode = if mode & 0o111 == 0 { 0o644 } else { 0o755 };
            walk::copy_file(&from.join(&path), &to.join(&path), mode)?;
        }
    }
    Ok(())
}

/// Puts the dependencies into `vendor/` of the tree and tells cargo to use nothing else. With `fresh`, a shipped lock file
/// is replaced by a new resolution. Returns what was fetched, and whether the shipped lock was obeyed.
///
/// # Errors
/// [`ForgeError::Host`].
pub(crate) fn vendor(
    fetched: &Fetched,
    fresh: bool,
) -> Result<(Vec<ArchiveRecord>, bool), ForgeError> {
    let tree = &fetched.tree;
    let doing = format!("fetching the dependencies of crate:{}", fetched.name);
    for stale in ["vendor", ".cargo"] {
        let path = tree.join(stale);
        if path.exists() {
            std::fs::remove_dir_all(&path).map_err(fs_error(&path, "remove"))?;
        }
    }
    let lock = tree.join("Cargo.lock");
    let mut obeyed = lock.is_file() && !fresh;
    if obeyed {
        let locked = cargo(tree, &["vendor", "--quiet", "--locked", "--versioned-dirs", "vendor"]);
        obeyed = locked.run()?.ok();
    }
    if !obeyed {
        if lock.is_file() {
            std::fs::remove_file(&lock).map_err(fs_error(&lock, "remove"))?;
        }
        run_ok(&cargo(tree, &["vendor", "--quiet", "--versioned-dirs", "vendor"]), &doing)?;
    }
    // A crate without dependencies gets no directory, but the configuration names one.
    let dir = tree.join("vendor");
    std::fs::create_dir_all(&dir).map_err(fs_error(&dir, "create"))?;
    const CONFIG: &str = "[source.crates-io]\nreplace-with = \"vendored-sources\"\n\n\
        [source.vendored-sources]\ndirectory = \"vendor\"\n";
    reenact_bundle::write_atomic(&tree.join(".cargo/config.toml"), CONFIG.as_bytes())?;
    let records = locked_packages(tree)?
        .into_iter()
        .filter_map(|p| {
            let sha256 = format!("sha256:{}", p.checksum?).parse().ok()?;
            let name = format!("{}-{}.crate", p.name, p.version);
            Some(ArchiveRecord { name, version: p.version, sha256, role: "dependency".to_owned() })
        })
        .collect();
    Ok((records, obeyed))
}
