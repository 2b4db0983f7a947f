//! `task list`: what is in a directory of tasks, broken bundles included.

use crate::error::ForgeError;
use reenact_bundle::TaskBundle;
use reenact_bundle::fsx::fs_error;
use reenact_model::{Seal, SuiteManifest};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// One bundle of a directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ListEntry {
    /// From the manifest; the directory's name if that cannot be read.
    pub id: String,
    pub path: PathBuf,
    pub title: Option<String>,
    /// As it would be asked for: `deb:figlet=2.2.5-3+b1`.
    pub source: Option<String>,
    pub seal: Option<Seal>,
    /// Cases in the suite, if there is a suite.
    pub cases: Option<u64>,
    /// What is wrong with the bundle.
    pub error: Option<String>,
}

/// Lists the bundles directly under `root`, by name. A missing directory holds none.
///
/// # Errors
/// [`ForgeError::Fs`] if `root` cannot be read.
pub fn list(root: &Path) -> Result<Vec<ListEntry>, ForgeError> {
    if !root.exists() {
        return Ok(Vec::new());
    }
    let mut dirs = Vec::new();
    for entry in std::fs::read_dir(root).map_err(fs_error(root, "list"))? {
        let path = entry.map_err(fs_error(root, "list"))?.path();
        // Dot names are staging directories of running commands.
        let hidden = path.file_name().is_none_or(|n| n.to_string_lossy().starts_with('.'));
        if path.is_dir() && !hidden {
            dirs.push(path);
        }
    }
    dirs.sort();
    Ok(dirs.iter().map(|dir| entry(dir)).collect())
}

fn entry(dir: &Path) -> ListEntry {
    let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut entry = ListEntry {
        id: name.clone(),
        path: dir.to_path_buf(),
        title: None,
        source: None,
        seal: None,
        cases: None,
        error: None,
    };
    if !dir.join("task.toml").is_file() {
        entry.error = Some("has no task.toml".to_owned());
        return entry;
    }
    match TaskBundle::open(&dir.display().to_string()) {
        Err(error) => entry.error = Some(error.to_string()),
        Ok(bundle) => {
            let manifest = &bundle.manifest;
            let sep = if manifest.source.kind == "deb" { "=" } else { "@" };
            entry.source = Some(match manifest.source.kind.as_str() {
                "path" => format!("path:{}", manifest.source.name),
                kind => format!("{kind}:{}{sep}{}", manifest.source.name, manifest.source.version),
            });
            entry.title = Some(manifest.task.title.clone());
            entry.seal = Some(manifest.reference.seal);
            match cases(&bundle) {
                Ok(cases) => entry.cases = cases,
                Err(error) => entry.error = Some(error),
            }
            if bundle.id() != name {
                entry.error = Some(format!("calls itself {:?}", bundle.id()));
            }
        }
    }
    entry
}

/// The count that `suite.toml` states; the cases themselves are not read.
fn cases(bundle: &TaskBundle) -> Result<Option<u64>, String> {
    let file = bundle.suite_dir().join("suite.toml");
    if !file.exists() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
    SuiteManifest::parse(&file, &text).map(|m| Some(m.cases)).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broken_bundles_are_listed_with_their_error() {
        let root = tempfile::tempdir().unwrap();
        assert!(list(&root.path().join("none")).unwrap().is_empty());
        for (name, text) in [("a", None), ("b", Some("schema = 1\n[task]\nid = 7\n"))] {
            std::fs::create_dir(root.path().join(name)).unwrap();
            if let Some(text) = text {
                std::fs::write(root.path().join(name).join("task.toml"), text).unwrap();
            }
        }
        std::fs::create_dir(root.path().join(".forge-x")).unwrap();
        let all = list(root.path()).unwrap();
        assert_eq!(all.iter().map(|e| e.id.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert!(all[0].error.as_deref().unwrap().contains("no task.toml"));
        let error = all[1].error.as_deref().unwrap();
        assert!(error.contains("task.id") && error.contains("task.toml"), "{error}");
    }
}
