//! `reenact export harbor` and `reenact export reward`.

use crate::commands::Done;
use crate::commands::grade::results;
use crate::context::{Context, harness};
use crate::error::CommandError;
use reenact_bundle::fsx::{fs_error, now_rfc3339};
use reenact_bundle::{FsError, Suite, TaskBundle, write_atomic};
use reenact_interop::harbor::task::{BASE, Export as TaskExport, PACKAGES};
use reenact_model::run::{AgentOutcome, RunTask, Standing};
use reenact_model::{ExitCode, RunManifest, SCHEMA};
use reenact_programbench::dataset::TaskToml;
use serde_json::json;
use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// `reenact export harbor`
#[derive(clap::Args, Debug)]
pub struct Harbor {
    /// Tasks: directories, or ids under ./tasks
    #[arg(required = true)]
    pub tasks: Vec<String>,
    /// Directory of Harbor tasks; each becomes DIR/<id>
    #[arg(short, long, value_name = "DIR")]
    pub out: PathBuf,
    /// Grader for the verifier's container (default: this program); best a static build
    #[arg(long, value_name = "FILE")]
    pub reenact_bin: Option<PathBuf>,
    /// Base image of both containers
    #[arg(long, value_name = "IMAGE", default_value = BASE)]
    pub base: String,
    /// Packages of both containers, instead of compilers for C, C++, Go and Rust, and Perl and Python
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub packages: Vec<String>,
    /// Organisation in the tasks' names
    #[arg(long, default_value = "reenact", value_name = "NAME")]
    pub org: String,
    /// Replace earlier exports of the same tasks
    #[arg(long)]
    pub force: bool,
}

/// `reenact export reward`
#[derive(clap::Args, Debug)]
pub struct Reward {
    pub run: PathBuf,
    pub task: String,
    /// File to write (default: standard output)
    #[arg(short, long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

pub fn harbor(args: &Harbor, context: &Context) -> Done {
    check(args)?;
    let own = std::env::current_exe().map_err(CommandError::environment)?;
    let binary = args.reenact_bin.clone().unwrap_or(own);
    let dynamic = is_dynamic(&binary)?;
    if dynamic {
        context.say(&format!(
            "note: {} is dynamically linked: {} needs a C library that is as new as this machine's",
            binary.display(),
            args.base
        ));
    }
    let mut made = Vec::new();
    for name in &args.tasks {
        let task = open(name)?;
        made.push(one(&task, args, &binary, dynamic)?);
    }
    if context.json {
        context.print_json(&json!({"tasks": made}));
    } else {
        made.iter().for_each(|path| context.out(&path.display().to_string()));
    }
    Ok(ExitCode::Done)
}

fn open(name: &str) -> Result<TaskBundle, CommandError> {
    let paths = [PathBuf::from(name), Path::new("tasks").join(name)];
    if paths.iter().any(|path| matches!(TaskToml::read(path), Ok(Some(_)))) {
        let what = format!("{name}: is a ProgramBench task, which is not written for Harbor");
        return Err(
            CommandError::usage(what).hint("grade its runs with `reenact programbench eval`")
        );
    }
    Ok(TaskBundle::open(name)?)
}

/// What goes into a Dockerfile must be one word there.
fn check(args: &Harbor) -> Result<(), CommandError> {
    let word = |text: &str, more: &str| {
        let first = text.starts_with(|c: char| c.is_ascii_alphanumeric());
        first && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
    };
    if !word(&args.base, "._-/:@") {
        return Err(CommandError::usage(format!("--base {:?} is no image's name", args.base)));
    }
    if let Some(bad) = args.packages.iter().find(|p| !word(p, ".+-:=~")) {
        return Err(CommandError::usage(format!("--packages: {bad:?} is no package's name")));
    }
    if !word(&args.org, "._-") || args.org.contains("..") {
        let what = format!("--org {:?} is no organisation's name", args.org);
        return Err(CommandError::usage(what).hint("letters, digits, '.', '_' and '-'"));
    }
    Ok(())
}

fn one(
    task: &TaskBundle,
    args: &Harbor,
    binary: &Path,
    dynamic: bool,
) -> Result<PathBuf, CommandError> {
    task.verify_reference()?;
    let suite = Suite::load(&task.suite_dir())
        .map_err(|e| CommandError::from(e).hint("a task needs a suite: reenact suite generate"))?;
    let out = args.out.join(task.id());
    if out.exists() && !args.force {
        let what = format!("{}: is there already", out.display());
        return Err(CommandError::usage(what).hint("--force replaces it"));
    }
    if out.exists() && !out.join("tests/run.toml").is_file() {
        let what = format!("{}: is no export of ours, and is not replaced", out.display());
        return Err(CommandError::usage(what));
    }
    let leaks = reenact_forge::leak_check(task)?;
    if !leaks.clean() {
        let what = format!("{}: its documentation leaks what is sealed", task.root.display());
        return Err(CommandError::check_failed(what).hint("`reenact task check` shows where"));
    }
    std::fs::create_dir_all(&args.out).map_err(fs_error(&args.out, "create"))?;
    let temp = tempfile::Builder::new()
        .prefix(".export-")
        .tempdir_in(&args.out)
        .map_err(fs_error(&args.out, "write in"))?;
    fill(task, &suite, args, binary, dynamic, temp.path())?;
    set_mode(temp.path(), 0o755)?;
    if out.exists() {
        std::fs::remove_dir_all(&out).map_err(fs_error(&out, "replace"))?;
    }
    std::fs::rename(temp.keep(), &out).map_err(fs_error(&out, "write"))?;
    Ok(out)
}

/// Everything of one task directory.
fn fill(
    task: &TaskBundle,
    suite: &Suite,
    args: &Harbor,
    binary: &Path,
    dynamic: bool,
    to: &Path,
) -> Result<(), CommandError> {
    let has_docs = std::fs::read_dir(task.docs()).is_ok_and(|mut d| d.next().is_some());
    let version = harness().version;
    let packages: Vec<String> = match args.packages.as_slice() {
        [] => PACKAGES.iter().map(|p| (*p).to_owned()).collect(),
        given => given.to_vec(),
    };
    let export = TaskExport {
        manifest: &task.manifest,
        task_digest: task.digest,
        suite_digest: suite.manifest.digest,
        cases: suite.cases.len(),
        has_docs,
        org: &args.org,
        base: &args.base,
        packages: &packages,
        version: &version,
        dynamic,
    };
    for (path, text, executable) in export.files().map_err(CommandError::environment)? {
        write_atomic(&to.join(path), text.as_bytes())?;
        if executable {
            set_mode(&to.join(path), 0o755)?;
        }
    }
    let environment = to.join("environment");
    if has_docs {
        copy_tree(&task.docs(), &environment.join("docs"))?;
    }
    copy_file(&task.reference(), &environment.join("reference"))?;
    if let Some(runtime) = task.runtime() {
        copy_tree(&runtime, &environment.join("runtime"))?;
    }
    let tests = to.join("tests");
    copy_file(binary, &tests.join("bin/reenact"))?;
    set_mode(&tests.join("bin/reenact"), 0o755)?;
    // What grading reads of a bundle: not the original's sources, and not its runtime files.
    let bundle = tests.join("task").join(task.id());
    copy_file(&task.root.join("task.toml"), &bundle.join("task.toml"))?;
    if has_docs {
        copy_tree(&task.docs(), &bundle.join("docs"))?;
    }
    copy_file(&task.reference(), &bundle.join("sealed/reference"))?;
    copy_tree(&task.suite_dir(), &bundle.join("suite"))?;
    write_atomic(&tests.join("run.toml"), run_manifest(task)?.as_bytes())?;
    if let Some(source) = task.source_tree() {
        copy_file(&source, &to.join("solution/source.tar.gz"))?;
    }
    Ok(())
}

/// The manifest of the run that the verifier grades.
fn run_manifest(task: &TaskBundle) -> Result<String, CommandError> {
    let entry = RunTask {
        path: task.id().to_owned(),
        task: task.digest,
        reference: task.manifest.reference.sha256,
        agent_outcome: AgentOutcome::Submitted,
        probes: 0,
        wall_ms: 0,
        work: None,
    };
    let manifest = RunManifest {
        schema: SCHEMA,
        agent: "harbor".to_owned(),
        upper_bound: false,
        created: now_rfc3339(),
        harness: harness(),
        isolation: BTreeMap::new(),
        settings: BTreeMap::new(),
        setup: None,
        tasks: [(task.id().to_owned(), entry)].into(),
    };
    toml::to_string(&manifest).map_err(CommandError::environment)
}

fn set_mode(path: &Path, mode: u32) -> Result<(), FsError> {
    let permissions = std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(path, permissions).map_err(fs_error(path, "write"))
}

fn copy_file(from: &Path, to: &Path) -> Result<(), FsError> {
    let parent = to.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent).map_err(fs_error(parent, "create"))?;
    std::fs::copy(from, to).map_err(fs_error(from, "copy"))?;
    Ok(())
}

/// Copies directories, plain files and symlinks; there is nothing else in a bundle.
fn copy_tree(from: &Path, to: &Path) -> Result<(), FsError> {
    std::fs::create_dir_all(to).map_err(fs_error(to, "create"))?;
    for entry in std::fs::read_dir(from).map_err(fs_error(from, "list"))? {
        let entry = entry.map_err(fs_error(from, "list"))?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().map_err(fs_error(&source, "read"))?;
        if kind.is_dir() {
            copy_tree(&source, &target)?;
        } else if kind.is_symlink() {
            let link = std::fs::read_link(&source).map_err(fs_error(&source, "read"))?;
            std::os::unix::fs::symlink(link, &target).map_err(fs_error(&target, "write"))?;
        } else if kind.is_file() {
            copy_file(&source, &target)?;
        }
    }
    Ok(())
}

/// Whether a program names an interpreter (PT_INTERP), which a static one does not.
fn is_dynamic(path: &Path) -> Result<bool, CommandError> {
    let mut head = Vec::new();
    let file = std::fs::File::open(path).map_err(fs_error(path, "open"))?;
    file.take(1 << 16).read_to_end(&mut head).map_err(fs_error(path, "read"))?;
    if !head.starts_with(b"\x7fELF\x02\x01") {
        let what = format!("{}: is no 64-bit ELF program", path.display());
        return Err(CommandError::usage(what).hint("--reenact-bin names the grader's binary"));
    }
    let number = |at: usize, len: usize| {
        let bytes = head.get(at..at + len)?;
        Some(bytes.iter().rev().fold(0_usize, |n, b| n << 8 | usize::from(*b)))
    };
    // Elf64_Ehdr: e_phoff, e_phentsize, e_phnum.
    let (offset, size, count) = (number(32, 8), number(54, 2), number(56, 2));
    let (Some(offset), Some(size), Some(count)) = (offset, size, count) else { return Ok(true) };
    let kinds = (0..count).filter_map(|i| number(offset.checked_add(i * size)?, 4));
    Ok(kinds.into_iter().any(|kind| kind == 3))
}

pub fn reward(args: &Reward, context: &Context) -> Done {
    let all = results(&args.run)?;
    let Some(result) = all.iter().find(|r| r.task == args.task) else {
        let known: Vec<&str> = all.iter().map(|r| r.task.as_str()).collect();
        let what = format!("{}: no result for task {:?}", args.run.display(), args.task);
        return Err(CommandError::usage(what).hint(format!("it has: {}", known.join(", "))));
    };
    if result.outcome.standing() != Standing::Valid {
        let why = result.why.as_deref().unwrap_or("see `reenact show`");
        let what = format!("{}: {} is no score: {why}", args.task, result.outcome.name());
        return Err(CommandError::environment(what).hint("no reward was written"));
    }
    let reward = json!({
        "reward": result.score,
        "resolved": u8::from(result.resolved),
        "near_resolved": u8::from(result.almost_resolved),
        "n_passed": result.passed,
        "n_tests": result.total,
    });
    match &args.out {
        Some(file) => write_atomic(file, format!("{reward}\n").as_bytes())?,
        None => context.out(&reward.to_string()),
    }
    Ok(ExitCode::Done)
}
