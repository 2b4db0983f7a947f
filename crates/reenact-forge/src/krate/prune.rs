//! Emptying vendored packages that this platform never compiles (mostly Windows bindings: tens of megabytes that every
//! build would carry into its cell). Manifests stay, because cargo reads them all when it checks the lock file.

use super::metadata;
use crate::error::ForgeError;
use crate::walk::{self, Node};
use reenact_bundle::fsx::{fs_error, read};
use std::path::Path;

/// Manifest keys that name files, or need a build script.
/// Dev-dependencies stay: features may name them.
const FILE_KEYS: [&str; 9] =
    ["lib", "bin", "example", "test", "bench", "badges", "lints", "profile", "workspace"];
const PACKAGE_FILE_KEYS: [&str; 7] =
    ["build", "links", "readme", "license-file", "include", "exclude", "default-run"];

/// Replaces every package of `tree/vendor` that a build for `target` does not compile by an empty library. Returns how many.
///
/// # Errors
/// [`ForgeError`] if cargo cannot tell what is used, or a file cannot be changed.
pub(crate) fn prune(tree: &Path, target: &str, features: &[String]) -> Result<u64, ForgeError> {
    let used = metadata::used(tree, target, features)?;
    let keep: std::collections::BTreeSet<String> =
        used.iter().map(|(name, version)| format!("{name}-{version}")).collect();
    let vendor = tree.join("vendor");
    let mut emptied = 0;
    for (path, node) in walk::tree(&vendor)? {
        let is_package = node == Node::Dir && path.components().count() == 1;
        if is_package && !keep.contains(&path.display().to_string()) {
            empty(&vendor.join(&path))?;
            emptied += 1;
        }
    }
    Ok(emptied)
}

fn empty(package: &Path) -> Result<(), ForgeError> {
    let malformed = |file: &str, what: &str| ForgeError::Malformed {
        path: package.join(file),
        what: what.to_owned(),
    };
    let manifest = String::from_utf8_lossy(&read(&package.join("Cargo.toml"))?).into_owned();
    let manifest = stub_manifest(&manifest)
        .ok_or_else(|| malformed("Cargo.toml", "is not a package manifest"))?;
    let sums: serde_json::Value =
        serde_json::from_slice(&read(&package.join(".cargo-checksum.json"))?)
            .map_err(|_| malformed(".cargo-checksum.json", "is not a checksum file"))?;
    let sums = serde_json::json!({ "files": {}, "package": sums.get("package") });
    std::fs::remove_dir_all(package).map_err(fs_error(package, "empty"))?;
    let write =
        |name: &str, text: &str| reenact_bundle::write_atomic(&package.join(name), text.as_bytes());
    write("Cargo.toml", &manifest)?;
    write("src/lib.rs", "")?;
    write(".cargo-checksum.json", &sums.to_string())?;
    Ok(())
}

/// The manifest without anything that names a file; name, version, dependencies and features stay as they are.
fn stub_manifest(text: &str) -> Option<String> {
    let mut table: toml::Table = toml::from_str(text).ok()?;
    let proc_macro = table.get("lib").and_then(|l| l.get("proc-macro")).cloned();
    for key in FILE_KEYS {
        table.remove(key);
    }
    let package = table.get_mut("package")?.as_table_mut()?;
    for key in PACKAGE_FILE_KEYS {
        package.remove(key);
    }
    package.insert("build".to_owned(), toml::Value::Boolean(false));
    let mut lib = toml::Table::new();
    lib.insert("path".to_owned(), toml::Value::String("src/lib.rs".to_owned()));
    if let Some(flag) = proc_macro {
        lib.insert("proc-macro".to_owned(), flag);
    }
    table.insert("lib".to_owned(), toml::Value::Table(lib));
    toml::to_string(&table).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stub_keeps_what_resolution_needs() {
        let stub = stub_manifest(
            "[package]\nname = \"w\"\nversion = \"1.2.3\"\nbuild = \"b.rs\"\nlinks = \"w\"\n[lib]\npath = \"x/y.rs\"\n\
             [[bin]]\nname = \"z\"\npath = \"z.rs\"\n[dependencies.a]\nversion = \"1\"\noptional = true\n\
             [dev-dependencies.d]\nversion = \"3\"\n[features]\nf = [\"dep:a\", \"d/x\"]\n[target.\"cfg(windows)\".dependencies.b]\nversion = \"2\"\n",
        )
        .unwrap();
        let table: toml::Table = toml::from_str(&stub).unwrap();
        assert_eq!(table["package"]["version"].as_str(), Some("1.2.3"));
        assert_eq!(table["package"]["build"].as_bool(), Some(false));
        assert!(table["package"].get("links").is_none() && table.get("bin").is_none());
        assert_eq!(table["lib"]["path"].as_str(), Some("src/lib.rs"));
        assert_eq!(table["dependencies"]["a"]["optional"].as_bool(), Some(true));
        assert!(table["target"]["cfg(windows)"]["dependencies"].get("b").is_some());
        // A feature may name a dev-dependency, so these stay as well.
        assert!(table["features"].get("f").is_some() && table.get("dev-dependencies").is_some());
        assert!(stub_manifest("x = 1").is_none());
    }
}
