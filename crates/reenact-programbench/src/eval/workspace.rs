//! The workspace and the executable of a build, copied into a layer of its own by us: no program that the build could have
//! replaced has a hand in it.

use super::build::STASH;
use super::error::EvalError;
use super::images::{Base, Images, Scratch};
use super::options::Options;
use super::station::{Halt, Station, StepError, WORKSPACE};
use reenact_bundle::fsx::fs_error;
use reenact_sandbox::SandboxError;
use reenact_sandbox::unpack::{
    Entry, Kind, Meta, NewFile, TreeWriter, data_segments, is_full, walk,
};
use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

/// Directories within each other: more than a path has room for.
const DEPTH: usize = 2100;
/// What a walk so deep may need.
const STACK: usize = 128 << 20;
/// Stretches of data in one file that are kept apart.
const SEGMENTS: usize = 1 << 17;

/// Makes the layer: what the build left in the workspace, but for `leave_out`, and the executable.
pub(super) fn copy<'a>(
    built: &Path,
    base: &Base,
    leave_out: &[PathBuf],
    images: &'a dyn Images,
    options: &'a Options,
) -> Result<Scratch<'a>, Halt> {
    let scratch = Scratch::new(images)?;
    let to = scratch.upper();
    empty_layer(&to, base).map_err(fs_error(&to, "create"))?;
    // The executable may be a link, which only the container can follow.
    let station = Station::start(base, &[built.to_path_buf()], images, options, false)?;
    let executable = station.container().open(STASH);
    let leave_out: BTreeSet<&Path> = leave_out.iter().map(PathBuf::as_path).collect();
    let done = std::thread::scope(|scope| {
        let copying = || tree(&built.join(&WORKSPACE[1..]), &to, base, &leave_out, executable);
        let thread = std::thread::Builder::new().name("copy".to_owned()).stack_size(STACK);
        let lost = |e| SandboxError::host("cannot start a copying thread", e);
        let thread = thread.spawn_scoped(scope, copying).map_err(lost)?;
        let lost = |_| SandboxError::Lost("a copying thread panicked".to_owned());
        thread.join().map_err(lost)
    })?;
    match done {
        Ok(()) => Ok(scratch),
        Err(e) if is_full(&e) => Err(EvalError::from(fs_error(&to, "write")(e)).into()),
        // Whatever it is, the build has made it so.
        Err(e) => Err(Halt::Step(StepError {
            code: "clean_copy_failed".to_owned(),
            details: e.to_string(),
        })),
    }
}

/// A layer without anything: its root has what the image's has.
fn empty_layer(to: &Path, base: &Base) -> io::Result<()> {
    std::fs::create_dir(to)?;
    if let Some(root) = base.directory(Path::new("")) {
        std::fs::set_permissions(to, PermissionsExt::from_mode(root.mode() & 0o7777))?;
        // Without root there is one owner only.
        let _owned = chown(to, Some(root.uid()), Some(root.gid()));
    }
    Ok(())
}

fn tree(
    from: &Path,
    to: &Path,
    base: &Base,
    leave_out: &BTreeSet<&Path>,
    executable: io::Result<File>,
) -> io::Result<()> {
    let mut copy = Copy { writer: TreeWriter::new(to)?, seen: HashMap::new(), leave_out };
    let stash = Path::new(&STASH[1..]);
    if let Some(opt) = stash.parent()
        && let Some(theirs) = base.directory(opt)
    {
        let time = (theirs.mtime(), u32::try_from(theirs.mtime_nsec()).unwrap_or(0));
        let (mode, uid, gid) = (theirs.mode() & 0o7777, theirs.uid(), theirs.gid());
        let meta = Meta { mode, uid, gid, mtime: time, xattrs: Vec::new() };
        copy.writer.directory(opt.as_os_str().as_bytes(), meta)?;
    }
    let executable = executable?;
    let found = executable.metadata()?;
    if !found.is_file() {
        return Err(io::Error::other("the executable is no file"));
    }
    let meta = Meta { mode: 0o755, uid: found.uid(), gid: found.gid(), ..Meta::default() };
    copy.file(stash.as_os_str().as_bytes(), executable, found.len(), &meta)?;
    if from.symlink_metadata().is_ok_and(|m| m.is_dir()) {
        walk(from, DEPTH, &mut |entry| copy.entry(entry))?;
    } else {
        // Whatever a link leads to is no workspace: then there is nothing in it, not even what the image has.
        let place = &WORKSPACE.as_bytes()[1..];
        copy.writer.directory(place, Meta { mode: 0o755, ..Meta::default() })?;
        copy.writer.opaque(place)?;
    }
    copy.writer.finish().map(drop)
}

struct Copy<'a> {
    writer: TreeWriter,
    /// First names of files that have several.
    seen: HashMap<(u64, u64), Vec<u8>>,
    leave_out: &'a BTreeSet<&'a Path>,
}

impl Copy<'_> {
    fn entry(&mut self, entry: Entry<'_>) -> io::Result<()> {
        let Entry { path: inside, kind, meta, id, links } = entry;
        let place = Path::new(OsStr::from_bytes(inside));
        if place.ancestors().any(|p| self.leave_out.contains(p)) {
            return Ok(());
        }
        let mut path = WORKSPACE.as_bytes()[1..].to_vec();
        if !inside.is_empty() {
            path.push(b'/');
            path.extend_from_slice(inside);
        }
        if links > 1 && !matches!(kind, Kind::Dir { .. } | Kind::Whiteout | Kind::Other) {
            if let Some(first) = self.seen.get(&id) {
                return self.writer.hard_link(&path, first);
            }
            self.seen.insert(id, path.clone());
        }
        match kind {
            Kind::Dir { opaque } => {
                self.writer.directory(&path, meta)?;
                if opaque { self.writer.opaque(&path) } else { Ok(()) }
            }
            Kind::File { file, size } => self.file(&path, file, size, &meta),
            Kind::Symlink { target } => self.writer.symlink(&path, &target, &meta),
            Kind::Fifo => self.writer.fifo(&path, &meta),
            Kind::Whiteout => self.writer.whiteout(&path),
            Kind::Other => Ok(()),
        }
    }

    /// Holes stay holes.
    fn file(&mut self, path: &[u8], mut from: File, size: u64, meta: &Meta) -> io::Result<()> {
        let mut to = self.writer.file(path)?;
        let mut buffer = vec![0; 256 << 10];
        for (offset, length) in data_segments(&from, size, SEGMENTS)? {
            from.seek(SeekFrom::Start(offset))?;
            to.seek(offset)?;
            stretch(&mut from.by_ref().take(length), &mut to, &mut buffer)?;
        }
        to.set_len(size)?;
        self.writer.end_file(to, meta)
    }
}

fn stretch(from: &mut impl Read, to: &mut NewFile, buffer: &mut [u8]) -> io::Result<()> {
    loop {
        match from.read(buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => to.write(&buffer[..n])?,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}
