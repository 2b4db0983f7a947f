//! A suite on disk: `suite.toml`, `cases.jsonl`, `blobs/<hex>`.

use crate::bundle::BundleError;
use crate::fsx::{fs_error, read, write_atomic};
use reenact_model::{BlobSource, Case, Digest, FormatError, SuiteManifest};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A loaded suite. Blobs stay on disk and are verified when read.
#[derive(Clone, Debug)]
pub struct Suite {
    pub dir: PathBuf,
    pub manifest: SuiteManifest,
    pub cases: Vec<Case>,
}

/// A suite to be written.
#[derive(Clone, Debug)]
pub struct SuiteDraft {
    /// `digest` and `cases` are filled in by [`SuiteDraft::write`].
    pub manifest: SuiteManifest,
    pub cases: Vec<Case>,
    /// Blobs that the cases refer to.
    pub blobs: BTreeMap<Digest, Vec<u8>>,
}

impl Suite {
    /// Loads and checks a suite: digest, every line, unique ids, every blob present.
    ///
    /// # Errors
    /// [`BundleError`] naming file, line and field.
    pub fn load(dir: &Path) -> Result<Self, BundleError> {
        let toml_path = dir.join("suite.toml");
        let toml = read(&toml_path)?;
        let toml = std::str::from_utf8(&toml)
            .map_err(|_| FormatError::file(&toml_path, "is not UTF-8"))?;
        let manifest = SuiteManifest::parse(&toml_path, toml)?;
        let path = dir.join("cases.jsonl");
        let bytes = read(&path)?;
        let cases = parse_cases(&path, &bytes)?;
        let got = Digest::of(&bytes);
        if got != manifest.digest {
            return Err(BundleError::Digest {
                path,
                manifest: "suite.toml",
                want: manifest.digest,
                got,
            });
        }
        let suite = Self { dir: dir.to_path_buf(), manifest, cases };
        for digest in suite.cases.iter().flat_map(Case::blobs).collect::<BTreeSet<_>>() {
            suite.check_blob(&digest)?;
        }
        Ok(suite)
    }

    fn check_blob(&self, digest: &Digest) -> Result<(), BundleError> {
        let path = self.dir.join("blobs").join(digest.hex());
        let got = Digest::of(&read(&path)?);
        if got != *digest {
            return Err(BundleError::Digest { path, manifest: "its name", want: *digest, got });
        }
        Ok(())
    }
}

impl BlobSource for Suite {
    fn blob(&self, digest: &Digest) -> Option<Cow<'_, [u8]>> {
        let bytes = std::fs::read(self.dir.join("blobs").join(digest.hex())).ok()?;
        (Digest::of(&bytes) == *digest).then_some(Cow::Owned(bytes))
    }
}

/// Parses the lines of a `cases.jsonl` (blank lines are skipped) and refuses repeated ids.
///
/// # Errors
/// [`FormatError`] naming line and field.
pub fn parse_cases(path: &Path, bytes: &[u8]) -> Result<Vec<Case>, FormatError> {
    let mut cases = Vec::new();
    let mut seen = BTreeMap::new();
    for (i, line) in bytes.split(|b| *b == b'\n').enumerate() {
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let number = i + 1;
        let text = std::str::from_utf8(line).map_err(|_| FormatError {
            file: path.to_path_buf(),
            line: Some(number),
            field: None,
            what: "is not UTF-8".to_owned(),
        })?;
        let case = Case::parse(path, number, text)?;
        if let Some(first) = seen.insert(case.id.clone(), number) {
            let what = format!("{:?} already stands on line {first}", case.id);
            return Err(FormatError::field(path, Some(number), "id", what));
        }
        cases.push(case);
    }
    Ok(cases)
}

impl SuiteDraft {
    /// Writes the suite to `dir`, replacing what was there only once everything new is on disk. Sets digest, counts, groups
    /// and tags.
    ///
    /// # Errors
    /// [`BundleError`].
    pub fn write(mut self, dir: &Path) -> Result<Suite, BundleError> {
        let mut lines = String::new();
        for case in &self.cases {
            lines.push_str(&case.to_line());
            lines.push('\n');
        }
        self.manifest.digest = Digest::of(lines.as_bytes());
        self.manifest.cases = self.cases.len() as u64;
        self.manifest.groups = BTreeMap::new();
        self.manifest.tags = BTreeMap::new();
        for case in &self.cases {
            *self.manifest.groups.entry(case.group.clone()).or_default() += 1;
            for tag in &case.tags {
                *self.manifest.tags.entry(tag.clone()).or_default() += 1;
            }
        }
        let parent = dir.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(parent).map_err(fs_error(parent, "create"))?;
        let staging = tempfile::Builder::new()
            .prefix(".suite-")
            .tempdir_in(parent)
            .map_err(fs_error(parent, "write in"))?;
        let used: BTreeSet<Digest> = self.cases.iter().flat_map(Case::blobs).collect();
        for digest in &used {
            if let Some(bytes) = self.blobs.get(digest) {
                write_atomic(&staging.path().join("blobs").join(digest.hex()), bytes)?;
            }
        }
        write_atomic(&staging.path().join("cases.jsonl"), lines.as_bytes())?;
        let toml = toml::to_string(&self.manifest).map_err(|e| BundleError::Invalid {
            path: dir.join("suite.toml"),
            what: format!("cannot be serialised: {e}"),
        })?;
        write_atomic(&staging.path().join("suite.toml"), toml.as_bytes())?;
        Suite::load(staging.path())?;
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(staging.path(), std::fs::Permissions::from_mode(0o755))
            .map_err(fs_error(dir, "write"))?;
        // A directory cannot be exchanged atomically by rename alone: the old one is moved aside first, then removed.
        let old = parent.join(format!(".old-suite-{}", std::process::id()));
        let had_old = dir.exists();
        if had_old {
            std::fs::rename(dir, &old).map_err(fs_error(dir, "replace"))?;
        }
        std::fs::rename(staging.keep(), dir).map_err(fs_error(dir, "write"))?;
        if had_old {
            std::fs::remove_dir_all(&old).map_err(fs_error(&old, "remove"))?;
        }
        Suite::load(dir)
    }
}
