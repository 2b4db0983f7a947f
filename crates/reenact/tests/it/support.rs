//! A scratch directory with a task in it, and the binary under test with a scrubbed environment.

use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The binary under test.
pub const REENACT: &str = env!("CARGO_BIN_EXE_reenact");

/// What a command did.
#[must_use]
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    pub fn from(output: Output) -> Self {
        let text = |b: Vec<u8>| String::from_utf8_lossy(&b).into_owned();
        Self {
            code: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }

    /// It exited with `code`; gives stdout.
    pub fn expect(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self.stdout
    }

    /// It failed with `code` and one clear error that holds each of `parts`.
    pub fn fails(self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        for part in parts {
            assert!(self.stderr.contains(part), "{part:?} is not in:\n{}", self.stderr);
        }
        assert_eq!(self.stderr.matches("error:").count(), 1, "one error, not:\n{}", self.stderr);
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
    }
}

/// A scratch directory; tasks and runs live in it.
pub struct Scratch {
    dir: tempfile::TempDir,
}

impl Scratch {
    pub fn new() -> Self {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        Self { dir }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn root(&self) -> &Path {
        self.dir.path()
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    pub fn command(&self) -> Command {
        let mut command = Command::new(REENACT);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("REENACT_") {
                command.env_remove(name);
            }
        }
        command.current_dir(self.root()).env("NO_COLOR", "1");
        // The audit of the host's files is kept from one test to the next.
        command.env("XDG_CACHE_HOME", env!("CARGO_TARGET_TMPDIR"));
        command
    }

    pub fn reenact<S: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Ran {
        Ran::from(self.command().args(args).output().unwrap())
    }

    /// A task from the host's `sort`, with a short text as documentation. Gives its id.
    pub fn sort_task(&self) -> String {
        self.write("docs/sort.txt", SORT_DOC);
        let made =
            self.reenact(["-q", "task", "new", "path:/usr/bin/sort", "--docs", "docs"]).expect(0);
        made.trim().strip_prefix("tasks/").unwrap().to_owned()
    }

    /// The task with a recorded suite of `n` quick cases, each of its own behaviour.
    pub fn sort_suite(&self, n: usize) -> String {
        let id = self.sort_task();
        let lines: String = (0..n).map(|i| format!("{}\n", sort_invocation(i))).collect();
        self.write("invocations.jsonl", &lines);
        self.reenact(["suite", "record", &id, "invocations.jsonl"]).expect(0);
        id
    }

    /// Verdicts of a graded task by case id, and the digest over them.
    pub fn verdicts(&self, run: &str, id: &str) -> (Vec<(String, String)>, String) {
        let result = self.json(&format!("{run}/{id}/{id}.reenact.json"));
        let cases = result["cases"].as_array().unwrap();
        let list = cases
            .iter()
            .map(|c| (c["id"].as_str().unwrap().into(), c["verdict"].as_str().unwrap().into()))
            .collect();
        (list, result["verdicts_digest"].as_str().unwrap().to_owned())
    }

    pub fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.path(path)).unwrap()
    }

    pub fn json(&self, path: &str) -> Value {
        serde_json::from_slice(&std::fs::read(self.path(path)).unwrap()).unwrap()
    }
}

/// An invocation of `sort` whose output depends on `i`.
pub fn sort_invocation(i: usize) -> Value {
    let text = format!("b {i}\na {}\nc {}\n", i * 7 % 10, i * 3 % 11);
    let argv: &[&str] =
        [&["-r"][..], &["-k2", "-n"], &["-u", "-f"], &["in.txt"], &["-o", "out.txt", "in.txt"]]
            [i % 5];
    let mut case = json!({"id": format!("s{i}"), "group": (if i.is_multiple_of(2) { "even" } else { "odd" }), "steps": [{"argv": argv}]});
    if argv.contains(&"in.txt") {
        case["files"] = json!({"in.txt": {"text": text}});
    } else {
        case["steps"][0]["stdin"] = json!({"text": text});
    }
    case
}

const SORT_DOC: &str = "\
Usage: sort [OPTION]... [FILE]...
Write sorted concatenation of all FILE(s) to standard output.

  -b, --ignore-leading-blanks  ignore leading blanks
  -f, --ignore-case            fold lower case to upper case characters
  -n, --numeric-sort           compare according to string numerical value
  -r, --reverse                reverse the result of comparisons
  -u, --unique                 output only the first of an equal run
  -k, --key=KEYDEF             sort via a key; KEYDEF gives location and type
  -t, --field-separator=SEP    use SEP instead of non-blank to blank transition
  -o, --output=FILE            write result to FILE instead of standard output
      --help                   display this help and exit
";
