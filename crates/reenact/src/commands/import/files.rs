//! Reading what other harnesses left, and writing an import as a whole or not at all.

use super::To;
use crate::context::Context;
use crate::error::CommandError;
use reenact_bundle::fsx::{fs_error, read};
use reenact_bundle::write_atomic;
use reenact_model::{ExitCode, RunManifest};
use serde_json::json;
use std::path::{Path, PathBuf};

/// Entries of a directory that are looked at, at most.
const MAX_ENTRIES: usize = 100_000;

/// Marks a directory as an import, so that `--force` replaces nothing else.
const MARK: &str = "import.json";

/// A plain file's bytes; `None` if there is none. Links are not followed: they may lead anywhere.
pub fn plain(path: &Path, most: u64) -> Result<Option<Vec<u8>>, CommandError> {
    let meta = match std::fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(fs_error(path, "read")(e).into()),
    };
    if !meta.is_file() {
        return Err(CommandError::usage(format!("{}: is no plain file", path.display())));
    }
    if meta.len() > most {
        let most = most >> 20;
        let what = format!("{}: is larger than {most} MiB, the most that is read", path.display());
        return Err(CommandError::usage(what));
    }
    Ok(Some(read(path)?))
}

/// As [`plain`], of a file in a directory of `dir` that must not be a link either.
pub fn plain_below(
    dir: &Path,
    [parent, name]: [&str; 2],
    most: u64,
) -> Result<Option<Vec<u8>>, CommandError> {
    let parent = dir.join(parent);
    match std::fs::symlink_metadata(&parent) {
        Ok(meta) if meta.is_dir() => plain(&parent.join(name), most),
        Ok(_) => Err(CommandError::usage(format!("{}: is no directory", parent.display()))),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(fs_error(&parent, "read")(e).into()),
    }
}

/// Directories in `dir`, by name; links are left out.
pub fn directories(dir: &Path) -> Result<Vec<PathBuf>, CommandError> {
    let mut found = Vec::new();
    let entries = std::fs::read_dir(dir).map_err(|e| {
        if e.kind() == std::io::ErrorKind::NotFound {
            return CommandError::usage(format!("{}: no such directory", dir.display()));
        }
        fs_error(dir, "read")(e).into()
    })?;
    for (i, entry) in entries.enumerate() {
        if i == MAX_ENTRIES {
            let what = format!("{}: holds more than {MAX_ENTRIES} entries", dir.display());
            return Err(CommandError::usage(what));
        }
        let entry = entry.map_err(fs_error(dir, "read"))?;
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

/// An import being written beside its place.
pub struct Import {
    out: PathBuf,
    temp: tempfile::TempDir,
    /// What a reader should know, one line each.
    pub notes: Vec<String>,
    /// Something could not be read.
    pub incomplete: bool,
    runs: Vec<PathBuf>,
    tasks: usize,
}

impl Import {
    /// Begins one.
    pub fn begin(to: &To) -> Result<Self, CommandError> {
        if to.out.exists() {
            let mark = to.out.join(MARK);
            let empty = std::fs::read_dir(&to.out).is_ok_and(|mut d| d.next().is_none());
            if !empty && !mark.is_file() {
                let what = format!("{}: exists, and is no import", to.out.display());
                return Err(CommandError::usage(what).hint("choose another directory with -o"));
            }
            if !empty && !to.force {
                let what = format!("{}: was imported already", to.out.display());
                return Err(CommandError::usage(what).hint("--force imports again"));
            }
        }
        let parent = to.out.parent().filter(|p| !p.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        std::fs::create_dir_all(parent).map_err(fs_error(parent, "create"))?;
        let temp = tempfile::Builder::new()
            .prefix(".import-")
            .tempdir_in(parent)
            .map_err(fs_error(parent, "write in"))?;
        let (notes, runs) = (Vec::new(), Vec::new());
        Ok(Self { out: to.out.clone(), temp, notes, incomplete: false, runs, tasks: 0 })
    }

    /// A file of a run's task.
    pub fn write(&self, run: &str, id: &str, name: &str, bytes: &[u8]) -> Result<(), CommandError> {
        Ok(write_atomic(&self.temp.path().join(run).join(id).join(name), bytes)?)
    }

    /// The manifest of a run.
    pub fn manifest(&mut self, run: &str, manifest: &RunManifest) -> Result<(), CommandError> {
        let text = toml::to_string(manifest).map_err(CommandError::environment)?;
        write_atomic(&self.temp.path().join(run).join("run.toml"), text.as_bytes())?;
        self.runs.push(if run.is_empty() { self.out.clone() } else { self.out.join(run) });
        self.tasks += manifest.tasks.len();
        Ok(())
    }

    /// A note for people, and what it costs.
    pub fn note(&mut self, context: &Context, what: String, incomplete: bool) {
        context.say(&format!("note: {what}"));
        self.notes.push(what);
        self.incomplete |= incomplete;
    }

    /// Puts it in its place and says so.
    pub fn finish(self, from: &str, context: &Context) -> Result<ExitCode, CommandError> {
        let mark = json!({"schema": 1, "from": from, "tasks": self.tasks, "notes": self.notes});
        let bytes = serde_json::to_vec_pretty(&mark).map_err(CommandError::environment)?;
        write_atomic(&self.temp.path().join(MARK), &bytes)?;
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(self.temp.path(), mode).map_err(fs_error(&self.out, "write"))?;
        if self.out.exists() {
            std::fs::remove_dir_all(&self.out).map_err(fs_error(&self.out, "replace"))?;
        }
        let made = self.temp.keep();
        std::fs::rename(&made, &self.out).map_err(fs_error(&self.out, "write"))?;
        if context.json {
            let (runs, notes) = (&self.runs, &self.notes);
            context.print_json(&json!({"runs": runs, "tasks": self.tasks, "notes": notes}));
        } else {
            if !context.quiet {
                let plural = if self.tasks == 1 { "" } else { "s" };
                context.out(&format!("{} attempt{plural} at tasks imported", self.tasks));
            }
            self.runs.iter().for_each(|run| context.out(&run.display().to_string()));
        }
        Ok(if self.incomplete { ExitCode::CheckFailed } else { ExitCode::Done })
    }
}
