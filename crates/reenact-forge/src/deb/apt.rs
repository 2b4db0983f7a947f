//! apt and dpkg on the host: candidates, downloads, unpacking.

use super::control::{Stanza, stanzas};
use crate::error::ForgeError;
use crate::tool::{apt, failed, require, run_ok, text};
use reenact_bundle::Progress;
use reenact_bundle::fsx::fs_error;
use reenact_model::Digest;
use std::path::{Path, PathBuf};

/// A binary package that was fetched and unpacked.
#[derive(Clone, Debug)]
pub(crate) struct Package {
    /// Control fields.
    pub fields: Stanza,
    /// File name of the archive.
    pub archive: String,
    pub sha256: Digest,
    /// Unpacked tree.
    pub tree: PathBuf,
    /// The script run after installation, if there is one.
    pub postinst: Option<String>,
}

impl Package {
    /// A control field, empty if absent.
    pub fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }

    pub fn name(&self) -> &str {
        self.field("Package")
    }
}

/// The host's apt, working in a directory of ours.
pub(crate) struct Apt<'a> {
    work: &'a Path,
}

impl<'a> Apt<'a> {
    /// # Errors
    /// [`ForgeError::Host`] naming `crate:` where the host has no apt or dpkg.
    pub fn new(work: &'a Path) -> Result<Self, ForgeError> {
        const REMEDY: &str = "use crate:NAME, or path:FILE --docs DIR, on this host";
        for program in ["apt-get", "apt-cache", "dpkg-deb"] {
            require(program, "a deb: source", REMEDY)?;
        }
        Ok(Self { work })
    }

    /// Fetches and unpacks what the user asked for; refreshes apt's lists once if they do not know it or are stale.
    ///
    /// # Errors
    /// [`ForgeError::Input`] if there is no such package or version; [`ForgeError::Host`] without network.
    pub fn fetch_asked(
        &self,
        name: &str,
        version: Option<&str>,
        progress: &dyn Progress,
    ) -> Result<Package, ForgeError> {
        let spec = version.map_or_else(|| name.to_owned(), |v| format!("{name}={v}"));
        let dir = self.fresh_dir(name)?;
        let download = apt(&dir, "apt-get", &["download", &spec]);
        let mut output = download.run()?;
        if !output.ok() {
            progress.note(&format!("apt cannot fetch {spec} yet: refreshing its package lists"));
            let update = apt(&dir, "apt-get", &["update"]);
            let updated = update.run()?;
            output = download.run()?;
            if !output.ok() && !updated.ok() {
                return Err(failed(&update, &updated, "refreshing package lists"));
            }
        }
        if !output.ok() {
            let said = text(&output);
            let unknown =
                ["Unable to locate package", "was not found", "no installation candidate"]
                    .iter()
                    .any(|s| said.contains(s));
            let virtual_only = said.contains("Can't select") || said.contains("purely virtual");
            if unknown || virtual_only {
                let what = format!("deb:{spec}: {}", output.last_line().trim_start_matches("E: "));
                let remedy = format!("see what there is with: apt-cache policy {name}");
                return Err(ForgeError::input(what, remedy));
            }
            return Err(failed(&download, &output, &format!("fetching deb:{spec}")));
        }
        let debs = debs_in(&dir)?;
        let deb = debs.first().ok_or_else(|| ForgeError::Malformed {
            path: dir.clone(),
            what: format!("apt-get download {spec} left no .deb behind"),
        })?;
        unpack(&dir, deb)
    }

    /// Fetches and unpacks packages that others depend on.
    ///
    /// # Errors
    /// [`ForgeError::Host`].
    pub fn fetch(&self, names: &[String]) -> Result<Vec<Package>, ForgeError> {
        let Some(first) = names.first() else { return Ok(Vec::new()) };
        let dir = self.fresh_dir(&format!("with-{first}"))?;
        let mut args = vec!["download"];
        args.extend(names.iter().map(String::as_str));
        run_ok(
            &apt(&dir, "apt-get", &args),
            &format!("fetching the dependencies {}", names.join(" ")),
        )?;
        let mut found = Vec::new();
        for deb in debs_in(&dir)? {
            found.push(unpack(&dir, &deb)?);
        }
        Ok(found)
    }

    /// Control data of the candidates of `names`; names that apt does not know (virtual packages) are left out.
    ///
    /// # Errors
    /// [`ForgeError::Sandbox`] if the tool cannot be started.
    pub fn candidates(&self, names: &[String]) -> Result<Vec<Stanza>, ForgeError> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let mut args = vec!["show", "--no-all-versions"];
        args.extend(names.iter().map(String::as_str));
        // Exit code 100 only says that one of the names is unknown.
        let output = apt(self.work, "apt-cache", &args).run()?;
        Ok(stanzas(&String::from_utf8_lossy(&output.stdout)))
    }

    /// apt's own version, for the record.
    pub fn version(&self) -> Option<String> {
        let output = apt(self.work, "apt-get", &["--version"]).run().ok()?;
        String::from_utf8_lossy(&output.stdout).lines().next().map(str::to_owned)
    }

    fn fresh_dir(&self, name: &str) -> Result<PathBuf, ForgeError> {
        let dir = self.work.join("debs").join(name);
        std::fs::create_dir_all(&dir).map_err(fs_error(&dir, "create"))?;
        Ok(dir)
    }
}

/// Archives in a directory, by name.
fn debs_in(dir: &Path) -> Result<Vec<PathBuf>, ForgeError> {
    let list = std::fs::read_dir(dir).map_err(fs_error(dir, "list"))?;
    let mut found: Vec<PathBuf> = list
        .flatten()
        .map(|e| e.path())
        .filter(|p| p.extension().is_some_and(|e| e == "deb"))
        .collect();
    found.sort();
    Ok(found)
}

/// Unpacks one archive beside itself and reads its control data.
fn unpack(dir: &Path, deb: &Path) -> Result<Package, ForgeError> {
    let archive = deb.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let deb_text = deb.display().to_string();
    let tree = deb.with_extension("tree");
    let tree_text = tree.display().to_string();
    let doing = format!("unpacking {archive}");
    run_ok(&apt(dir, "dpkg-deb", &["-x", &deb_text, &tree_text]), &doing)?;
    let fields = run_ok(&apt(dir, "dpkg-deb", &["-f", &deb_text]), &doing)?;
    let fields = String::from_utf8_lossy(&fields.stdout).into_owned();
    // Most packages have no such script; dpkg-deb then fails.
    let script = apt(dir, "dpkg-deb", &["-I", &deb_text, "postinst"]).run()?;
    let bytes = reenact_bundle::fsx::read(deb)?;
    Ok(Package {
        fields: stanzas(&fields).into_iter().next().unwrap_or_default(),
        archive,
        sha256: Digest::of(&bytes),
        tree,
        postinst: script.ok().then(|| String::from_utf8_lossy(&script.stdout).into_owned()),
    })
}
