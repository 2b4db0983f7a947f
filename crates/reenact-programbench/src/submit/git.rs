//! `submission.ref.yaml`: a submission that is a tree in a git repository.

use super::error::SubmitError;
use super::fetch::checked;
use super::files::{SMALL_MAX, plain_text};
use reenact_bundle::fsx::fs_error;
use reenact_sandbox::SandboxError;
use reenact_sandbox::host::HostCommand;
use serde::Deserialize;
use std::fs::File;
use std::io::Write;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Between two looks at how much was cloned.
const PAUSE: Duration = Duration::from_millis(100);
/// Files and directories of a clone, at most.
const ENTRIES: usize = 1_000_000;

/// Contents of the file.
#[derive(Debug, Deserialize)]
struct Reference {
    repo: String,
    /// Branch or tag.
    r#ref: String,
    #[serde(default)]
    subpath: Option<String>,
}

/// Fetches the tree that `file` names and packs it as a submission, at most `limit` bytes of it.
///
/// # Errors
/// [`SubmitError::Fetch`] if there is no such tree to be had, [`SubmitError::Unreachable`] if it cannot be told now,
/// [`SubmitError::File`] if what it names is not allowed.
pub(super) fn pack(file: &Path, to: &Path, limit: u64) -> Result<(), SubmitError> {
    let text = plain_text(file, SMALL_MAX)?;
    let reference: Reference = serde_yaml_ng::from_str(&text)
        .map_err(|e| SubmitError::file(file, format!("is no reference: {e}")))?;
    let work = tempfile::tempdir()
        .map_err(|e| SubmitError::Evaluation(format!("no temporary directory: {e}")))?;
    let tree = work.path().join("src");
    // The objects and the tree that is checked out of them.
    clone(&reference, file, &tree, limit.saturating_mul(2))?;
    pack_tree(&root_of(&reference, file, &tree)?, to, limit)
}

/// Clones one revision. Only http and https, no prompts, none of the user's configuration, no hooks, no submodules.
fn clone(reference: &Reference, file: &Path, to: &Path, limit: u64) -> Result<(), SubmitError> {
    let url = checked(&reference.repo)?.to_owned();
    let fail = |what: String| SubmitError::Fetch { url: url.clone(), what };
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-/+".contains(c);
    if reference.r#ref.is_empty()
        || reference.r#ref.starts_with('-')
        || !reference.r#ref.chars().all(plain)
    {
        return Err(SubmitError::file(file, "names a ref that is no branch and no tag"));
    }
    match watched(command(&url, &reference.r#ref, to), to, limit) {
        Ok(Ended::Whole) => Ok(()),
        Ok(Ended::TooLarge) => Err(fail(format!("is larger than {limit} bytes once it is cloned"))),
        Ok(Ended::Refused(why)) => Err(fail(why)),
        Ok(Ended::Failed(why)) => Err(SubmitError::Unreachable { url, what: why }),
        Err(e) => Err(SubmitError::Unreachable { url, what: e.to_string() }),
    }
}

fn command(url: &str, revision: &str, to: &Path) -> HostCommand {
    let to = to.display().to_string();
    let args = [
        "-c",
        "core.hooksPath=/dev/null",
        "-c",
        "core.symlinks=true",
        "clone",
        "-q",
        "--depth",
        "1",
    ];
    let more = ["--no-recurse-submodules", "--branch", revision, "--", url, &to];
    let mut git = HostCommand::new("git", args.iter().chain(&more).copied());
    git.timeout = Duration::from_secs(600);
    for (name, value) in [
        ("GIT_TERMINAL_PROMPT", "0"),
        ("GIT_ALLOW_PROTOCOL", "http:https"),
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("GIT_CONFIG_GLOBAL", "/dev/null"),
        ("GIT_ASKPASS", "true"),
        // What it says is read.
        ("LC_ALL", "C"),
    ] {
        git.env.insert(name.to_owned(), value.to_owned());
    }
    git
}

/// How a clone ended.
#[derive(Debug, PartialEq, Eq)]
enum Ended {
    Whole,
    TooLarge,
    /// The server was asked, and has none or gives none: the submission's affair.
    Refused(String),
    /// Whatever else, which may go another time.
    Failed(String),
}

/// Whether git says that the server gave an answer, and which: neither addresses nor refs have blanks, and what the server
/// prints itself stands behind `remote:`.
fn is_refusal(stderr: &[u8]) -> bool {
    let text = String::from_utf8_lossy(stderr);
    text.lines().filter_map(|l| l.strip_prefix("fatal: ")).any(|line| {
        let status = line
            .split_once("The requested URL returned error: ")
            .and_then(|(_, code)| code.get(..3).and_then(|c| c.parse::<u16>().ok()));
        (line.starts_with("Remote branch ") && line.contains(" not found in upstream "))
            || (line.starts_with("repository ") && line.ends_with(" not found"))
            || line.ends_with(" not valid: is this a git repository?")
            || line.starts_with("Authentication failed for ")
            || line.starts_with("could not read Username for ")
            || line.starts_with("could not read Password for ")
            // As for other downloads.
            || status.is_some_and(|s| matches!(s, 400..=407 | 409..=428 | 430..=499))
    })
}

/// Runs a command that fills `tree`, which git has no limit for, until it is done or the tree is larger than `limit`.
fn watched(mut git: HostCommand, tree: &Path, limit: u64) -> Result<Ended, SandboxError> {
    let (stop, done) = (Arc::new(AtomicBool::new(false)), AtomicBool::new(false));
    git.stop = Some(Arc::clone(&stop));
    let output = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                if size_over(tree, limit) {
                    stop.store(true, Ordering::SeqCst);
                    return;
                }
                std::thread::sleep(PAUSE);
            }
        });
        let output = git.run();
        done.store(true, Ordering::SeqCst);
        output
    })?;
    // It may have been quicker than we are.
    Ok(match (output.ok(), output.timed_out) {
        _ if stop.load(Ordering::SeqCst) || size_over(tree, limit) => Ended::TooLarge,
        (true, _) => Ended::Whole,
        (false, true) => Ended::Failed("the clone took too long".to_owned()),
        (false, false) => {
            let why = format!("cannot be cloned: {}", output.last_line());
            if is_refusal(&output.stderr) { Ended::Refused(why) } else { Ended::Failed(why) }
        }
    })
}

/// Whether there are more bytes below `dir` than that, on the disk or by their length, or more entries than a submission has.
/// What vanishes while it is looked at is not counted.
fn size_over(dir: &Path, limit: u64) -> bool {
    let (mut size, mut entries) = (0u64, 0usize);
    let mut todo = vec![dir.to_path_buf()];
    while let Some(dir) = todo.pop() {
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            let Ok(meta) = entry.path().symlink_metadata() else { continue };
            size = size.saturating_add(meta.len());
            entries += 1;
            if size > limit || entries > ENTRIES {
                return true;
            }
            if meta.is_dir() {
                todo.push(entry.path());
            }
        }
    }
    false
}

/// The directory to pack: the tree, or a part of it that no link leads out of.
fn root_of(reference: &Reference, file: &Path, tree: &Path) -> Result<PathBuf, SubmitError> {
    let Some(sub) = reference.subpath.as_deref().filter(|s| !s.is_empty()) else {
        return Ok(tree.to_path_buf());
    };
    let inside =
        Path::new(sub).components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
    let root = tree.join(sub);
    let real = root.canonicalize().ok();
    let base = tree.canonicalize().map_err(fs_error(tree, "open"))?;
    match real {
        Some(real) if inside && real.starts_with(&base) && real.is_dir() => Ok(real),
        _ => Err(SubmitError::file(
            file,
            format!("names a subpath, {sub:?}, that is no directory of the repository"),
        )),
    }
}

/// Packs everything but `.git`: files, directories, and links as links, in the order of their names.
fn pack_tree(root: &Path, to: &Path, limit: u64) -> Result<(), SubmitError> {
    let file = File::create(to).map_err(fs_error(to, "create"))?;
    let gzip = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
    let mut builder = tar::Builder::new(gzip);
    builder.follow_symlinks(false);
    let mut size = 0;
    let mut todo = vec![PathBuf::new()];
    while let Some(at) = todo.pop() {
        let dir = root.join(&at);
        let mut names: Vec<_> = std::fs::read_dir(&dir)
            .map_err(fs_error(&dir, "list"))?
            .flatten()
            .map(|e| e.file_name())
            .filter(|n| !at.as_os_str().is_empty() || n != ".git")
            .collect();
        names.sort();
        for name in names.into_iter().rev() {
            let (rel, path) = (at.join(&name), dir.join(&name));
            let meta = path.symlink_metadata().map_err(fs_error(&path, "read"))?;
            size += meta.len();
            if size > limit {
                return Err(SubmitError::TooLarge { path: root.to_path_buf(), size, limit });
            }
            builder.append_path_with_name(&path, &rel).map_err(fs_error(to, "write"))?;
            if meta.is_dir() {
                todo.push(rel);
            }
        }
    }
    let gzip = builder.into_inner().map_err(fs_error(to, "write"))?;
    gzip.finish().and_then(|mut f| f.flush()).map_err(fs_error(to, "write"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_reference_may_not_name_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("submission.ref.yaml");
        let to = dir.path().join("out.tar.gz");
        for (text, word) in [
            ("repo: /etc\nref: main\n", "not fetched"),
            ("repo: ext::sh -c touch% /x\nref: main\n", "not fetched"),
            ("repo: http://127.0.0.1:9/x\nref: --upload-pack=x\n", "no branch"),
            ("repo: http://127.0.0.1:9/x\nref: 'a b'\n", "no branch"),
            ("ref: main\n", "no reference"),
        ] {
            std::fs::write(&file, text).unwrap();
            let error = pack(&file, &to, 1 << 20).unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
        assert!(!to.exists());
    }

    #[test]
    fn a_clone_without_end_is_ended() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("src");
        let run = |script: &str, limit| {
            let script = format!("mkdir -p {0} && cd {0} && {script}", tree.display());
            watched(HostCommand::new("sh", ["-c".to_owned(), script]), &tree, limit).unwrap()
        };
        let endless = "while :; do head -c 65536 /dev/zero >> pack; done";
        assert_eq!(run(endless, 1 << 20), Ended::TooLarge);
        assert_eq!(run("true", 1 << 10), Ended::TooLarge, "it is what it has become that counts");
        std::fs::remove_dir_all(&tree).unwrap();
        assert_eq!(run("true", 1 << 20), Ended::Whole);
        assert!(matches!(run("echo no >&2; false", 1 << 20), Ended::Failed(e) if e.contains("no")));
    }

    #[test]
    fn what_a_server_refuses_is_told_from_one_that_is_not_there() {
        for line in [
            "Remote branch none not found in upstream origin",
            "repository 'http://h/x/' not found",
            "Authentication failed for 'http://h/x/'",
            "could not read Username for 'https://h': terminal prompts disabled",
            "unable to access 'http://h/x/': The requested URL returned error: 403",
            "http://h/x/info/refs not valid: is this a git repository?",
        ] {
            assert!(is_refusal(format!("warning: x\nfatal: {line}\n").as_bytes()), "{line}");
            assert!(!is_refusal(format!("remote: fatal: {line}\n").as_bytes()), "{line}");
        }
        for line in [
            "unable to access 'http://h/x/': Failed to connect to h port 80: Connection refused",
            "unable to access 'http://h/x/': The requested URL returned error: 503",
            "unable to access 'http://h/x/': The requested URL returned error: 429",
            "unable to access 'http://h/x/': Could not resolve host: h",
            "early EOF",
            "write error: No space left on device",
        ] {
            assert!(!is_refusal(format!("fatal: {line}\n").as_bytes()), "{line}");
        }
    }

    /// With git itself, and a server with one answer.
    #[test]
    fn git_says_what_is_read() {
        use std::io::Read as _;
        let dir = tempfile::tempdir().unwrap();
        for (status, refused) in
            [("404 x", true), ("401 x", true), ("403 x", true), ("503 x", false)]
        {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let challenge = "WWW-Authenticate: Basic realm=\"x\"\r\n";
            let reply = format!(
                "HTTP/1.1 {status}\r\n{challenge}Content-Length: 0\r\nConnection: close\r\n\r\n"
            );
            // It ends with the tests.
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    let mut stream = stream.unwrap();
                    let _request = stream.read(&mut [0; 4096]);
                    let _sent = stream.write_all(reply.as_bytes());
                }
            });
            let to = dir.path().join(status);
            let mut git = command(&format!("http://{address}/x"), "main", &to);
            git.env.insert("no_proxy".to_owned(), "127.0.0.1".to_owned());
            let ended = watched(git, &to, 1 << 20).unwrap();
            assert_eq!(matches!(ended, Ended::Refused(_)), refused, "{status}: {ended:?}");
        }
    }

    #[test]
    fn a_tree_is_packed_without_its_history_and_without_following_links() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("src");
        for sub in [".git", "sub/.git", "sub/a"] {
            std::fs::create_dir_all(tree.join(sub)).unwrap();
        }
        std::fs::write(tree.join("compile.sh"), "#!/bin/sh\n").unwrap();
        std::fs::write(tree.join("sub/.git/x"), "x").unwrap();
        std::os::unix::fs::symlink("/etc", tree.join("sub/out")).unwrap();
        let to = dir.path().join("out.tar.gz");
        pack_tree(&tree, &to, 1 << 20).unwrap();
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(File::open(&to).unwrap()));
        let mut names: Vec<String> = archive
            .entries()
            .unwrap()
            .map(|e| {
                e.unwrap().path().unwrap().display().to_string().trim_end_matches('/').to_owned()
            })
            .collect();
        names.sort();
        assert_eq!(names, ["compile.sh", "sub", "sub/.git", "sub/.git/x", "sub/a", "sub/out"]);
        assert!(pack_tree(&tree, &to, 3).is_err());
        let reference = |sub: &str| Reference {
            repo: String::new(),
            r#ref: String::new(),
            subpath: Some(sub.into()),
        };
        let root = |sub: &str| root_of(&reference(sub), Path::new("x"), &tree);
        assert!(root("sub").is_ok() && root("").is_ok());
        for bad in ["..", "/etc", "sub/out", "compile.sh", "none"] {
            assert!(root(bad).is_err(), "{bad}");
        }
    }
}
