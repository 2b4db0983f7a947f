//! What this machine can do to a grading: a full disk, a read-only directory. An error that names the path, never a score,
//! and the same grading goes on afterwards.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod common;

use common::bench::{Bench, ID, REFERENCE, neighbours};
use reenact_grade::GradeError;
use reenact_sandbox::host::HostCommand;
use std::path::Path;

/// A small tmpfs at a directory, unmounted when dropped.
struct Tmpfs<'a>(&'a Path);

fn run(program: &str, args: &[&str]) -> bool {
    HostCommand::new(program, args.iter().copied()).run().is_ok_and(|out| out.ok())
}

impl<'a> Tmpfs<'a> {
    /// `None` where this user may not mount.
    fn mount(at: &'a Path, options: &str) -> Option<Self> {
        let path = at.to_str().unwrap();
        run("mount", &["-t", "tmpfs", "-o", options, "none", path]).then_some(Self(at))
    }

    fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        assert!(run("mount", &["-o", &options, self.0.to_str().unwrap()]));
    }
}

impl Drop for Tmpfs<'_> {
    fn drop(&mut self) {
        run("umount", &["-l", self.0.to_str().unwrap()]);
    }
}

/// Moves the bench's run directory onto `tmpfs`.
fn move_run(bench: &Bench, to: &Path) {
    for entry in std::fs::read_dir(bench.run_dir()).unwrap() {
        let entry = entry.unwrap();
        assert!(run("cp", &["-a", entry.path().to_str().unwrap(), to.to_str().unwrap()]));
    }
}

fn fails_with_path(bench: &Bench, run_dir: &Path) {
    match reenact_grade::grade(run_dir, &bench.options(), &reenact_grade::Silent) {
        Err(e @ GradeError::Fs(_)) => {
            assert!(!e.is_usage());
            assert!(e.to_string().contains(run_dir.to_str().unwrap()), "{e}");
        }
        other => panic!("{other:?}"),
    }
    assert!(!run_dir.join(ID).join(format!("{ID}.reenact.json")).exists());
}

#[test]
fn a_read_only_run_directory_is_an_error_that_names_it() {
    let bench = Bench::new(neighbours("x"));
    bench.submit_script(REFERENCE);
    let place = bench.dir.path().join("runs/mounted");
    std::fs::create_dir(&place).unwrap();
    let Some(tmpfs) = Tmpfs::mount(&place, "size=8m") else {
        eprintln!("not run: this user may not mount");
        return;
    };
    move_run(&bench, &place);
    tmpfs.remount("ro");
    fails_with_path(&bench, &place);
    tmpfs.remount("rw");
    let results = reenact_grade::grade(&place, &bench.options(), &reenact_grade::Silent).unwrap();
    assert!(results[0].resolved);
}

#[test]
fn a_full_disk_is_an_error_that_names_the_path_and_the_grading_resumes() {
    let bench = Bench::new(neighbours("x"));
    bench.submit_script(REFERENCE);
    let place = bench.dir.path().join("runs/mounted");
    std::fs::create_dir(&place).unwrap();
    let Some(tmpfs) = Tmpfs::mount(&place, "size=256k") else {
        eprintln!("not run: this user may not mount");
        return;
    };
    move_run(&bench, &place);
    let mut failures = 0;
    // From no room at all to enough, a page at a time: it must fail cleanly wherever the room ends.
    for pages in 0..40_u64 {
        let filler = place.join("filler");
        let used = std::fs::write(&filler, vec![0; 1 << 20]);
        assert!(used.is_err(), "the disk is full");
        let size = std::fs::metadata(&filler).unwrap().len();
        let file = std::fs::OpenOptions::new().write(true).open(&filler).unwrap();
        file.set_len(size.saturating_sub(pages * 4096)).unwrap();
        match reenact_grade::grade(&place, &bench.options(), &reenact_grade::Silent) {
            Ok(results) => {
                assert!(results[0].resolved, "{:?}", results[0].why);
                break;
            }
            Err(e @ GradeError::Fs(_)) => {
                failures += 1;
                assert!(e.to_string().contains(place.to_str().unwrap()), "{e}");
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert!(failures > 0);
    drop(tmpfs);
}
