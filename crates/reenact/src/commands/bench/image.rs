//! Benches of images: unpacking against `tar -x`, and a commit of a few changes.

use super::{Line, median};
use crate::context::Context;
use crate::error::CommandError;
use reenact_image::{ImageConfig, ImportOptions, Silent, Store, UnpackLimits, unpack_layer};
use reenact_sandbox::host::HostCommand;
use reenact_sandbox::unpack::remove_tree;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Runs of each, interleaved.
const RUNS: usize = 5;
/// Directories of the host that are most like an image's, as far as they are there; small enough to stay in memory.
const SOURCE: [&str; 3] = ["usr/bin", "usr/share/perl", "usr/lib/python3"];

/// Work that is timed.
type Work<'a> = &'a mut dyn FnMut(&Path) -> Result<(), CommandError>;

/// (i) A layer unpacked, plain and compressed, against `tar -x` of the same archive; (j) a commit of ten changed files.
pub fn image(context: &Context) -> Result<Vec<Line>, CommandError> {
    let near = Store::default_root().unwrap_or_else(std::env::temp_dir);
    std::fs::create_dir_all(&near).map_err(CommandError::environment)?;
    // On the file system where images are.
    let dir = tempfile::tempdir_in(&near).map_err(CommandError::environment)?;
    let plain = dir.path().join("layer.tar");
    let there: Vec<&str> = SOURCE.into_iter().filter(|s| Path::new("/").join(s).is_dir()).collect();
    let mut args = vec!["-C", "/", "-cf"];
    let name = plain.display().to_string();
    args.push(&name);
    args.extend(there);
    tool("tar", &args)?;
    let bytes = std::fs::metadata(&plain).map_err(CommandError::environment)?.len();
    let mut lines = Vec::new();
    for (packer, flag, suffix) in [("", "", ""), ("gzip", "-z", ".gz"), ("zstd", "--zstd", ".zst")]
    {
        let archive = PathBuf::from(format!("{name}{suffix}"));
        if !packer.is_empty() {
            if reenact_sandbox::host::find(packer).is_none() {
                context.say(&format!("note: no {packer} here"));
                continue;
            }
            tool(packer, &["-k", "-q", &name])?;
        }
        lines.push(unpack(dir.path(), &archive, flag, bytes)?);
    }
    lines.push(commit(dir.path(), &plain)?);
    Ok(lines)
}

fn tool(program: &str, args: &[&str]) -> Result<(), CommandError> {
    let output = HostCommand::new(program, args.iter().copied()).run()?;
    if output.ok() {
        return Ok(());
    }
    Err(CommandError::environment(format!("{program}: {}", output.last_line())))
}

/// Times work in a fresh directory each.
fn timed(dir: &Path, name: &str, work: Work<'_>) -> Result<Duration, CommandError> {
    let dest = dir.join(name);
    std::fs::create_dir(&dest).map_err(CommandError::environment)?;
    let begun = Instant::now();
    work(&dest)?;
    let time = begun.elapsed();
    remove_tree(&dest).map_err(CommandError::environment)?;
    Ok(time)
}

fn unpack(dir: &Path, archive: &Path, flag: &str, bytes: u64) -> Result<Line, CommandError> {
    let name = archive.display().to_string();
    let mut by_tar = |dest: &Path| {
        let dest = dest.display().to_string();
        let mut args = vec!["-C", &dest, "-xpf", &name];
        args.extend((!flag.is_empty()).then_some(flag));
        tool("tar", &args)
    };
    let mut by_us = |dest: &Path| {
        let file = std::fs::File::open(archive).map_err(CommandError::environment)?;
        unpack_layer(file, dest, &UnpackLimits::default(), &name, true)?;
        Ok(())
    };
    let (mut floor, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        floor.push(timed(dir, "tar", &mut by_tar)?);
        ours.push(timed(dir, "ours", &mut by_us)?);
    }
    let rate = |time: Duration| bytes as f64 / 1e6 / time.as_secs_f64();
    let (floor, ours) = (rate(median(floor)), rate(median(ours)));
    let packed = if flag.is_empty() { "plain" } else { flag.trim_start_matches('-') };
    let packed = if packed == "z" { "gzip" } else { packed };
    Ok(Line {
        what: format!(
            "a layer of {} MB ({packed}) unpacked and its digests checked",
            bytes / 1_000_000
        ),
        floor: format!("{floor:.0} MB/s (tar -x, checks nothing)"),
        ours: format!("{ours:.0} MB/s"),
        ratio: ours / floor,
    })
}

/// Ten files of 10 kB, committed; against copying them with `cp -a`.
fn commit(dir: &Path, plain: &Path) -> Result<Line, CommandError> {
    const COMMITS: usize = 20;
    let store = Store::open(&dir.join("store"))?;
    let options = ImportOptions { name: Some("bench".to_owned()), ..ImportOptions::default() };
    let parent = store.import(plain, &options, &Silent)?.remove(0);
    let upper = dir.join("upper");
    std::fs::create_dir(&upper).map_err(CommandError::environment)?;
    for i in 0..10 {
        std::fs::write(upper.join(i.to_string()), [b'x'; 10_000])
            .map_err(CommandError::environment)?;
    }
    let from = upper.display().to_string();
    let (mut floor, mut ours) = (Vec::new(), Vec::new());
    for i in 0..COMMITS {
        let mut copy = |dest: &Path| tool("cp", &["-a", &from, &dest.display().to_string()]);
        floor.push(timed(dir, "copy", &mut copy)?);
        let begun = Instant::now();
        // Other bytes each time, or the layer would be there already.
        std::fs::write(upper.join("0"), i.to_string()).map_err(CommandError::environment)?;
        store.commit(&parent, &upper, "bench:commit", &ImageConfig::default())?;
        ours.push(begun.elapsed());
    }
    let ms = |d: Duration| d.as_secs_f64() * 1e3;
    let (floor, ours) = (ms(median(floor)), ms(median(ours)));
    Ok(Line {
        what: format!("commit of ten changed files, median of {COMMITS}"),
        floor: format!("{floor:.1} ms (cp -a)"),
        ours: format!("{ours:.1} ms"),
        ratio: ours / floor,
    })
}
