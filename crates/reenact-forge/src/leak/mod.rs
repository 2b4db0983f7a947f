//! The leak check: a solver pack holds no byte run of what is sealed (DESIGN 5, invariant 5).

mod policy;
mod scan;

use crate::archive::read_tar_gz;
use crate::docs::HELP_FILE;
use crate::docs::collect::is_public_prose;
use crate::elf;
use crate::error::ForgeError;
use crate::walk::{self, Node};
use policy::{Class, Words};
use reenact_bundle::fsx::read;
use reenact_bundle::{Suite, TaskBundle};
use reenact_model::{Case, Digest};
use scan::Index;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Reported leaks; more say nothing new.
const MAX_LEAKS: usize = 50;
/// Bytes of a sample.
const SAMPLE: usize = 60;
/// Files shorter than this are not compared by digest: two of them may well be equal by chance.
const DIGEST_MIN: usize = 32;

/// A run of sealed bytes in a public file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Leak {
    /// Public file, relative to the bundle.
    pub public: String,
    /// Byte offset in it.
    pub at: usize,
    /// Sealed file, relative to the bundle; `source.tar.gz!path` inside the source tree.
    pub sealed: String,
    /// Length of the run, bytes.
    pub len: usize,
    pub why: String,
    /// Its first bytes, escaped.
    pub sample: String,
}

/// What a leak check looked at and found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LeakReport {
    pub public_files: u64,
    pub sealed_files: u64,
    pub sealed_bytes: u64,
    /// At most 50 of them.
    pub leaks: Vec<Leak>,
}

impl LeakReport {
    /// No leak was found.
    pub fn clean(&self) -> bool {
        self.leaks.is_empty()
    }
}

/// Paths (relative to the bundle) that make up the public part: `task.toml` and `docs/`.
///
/// # Errors
/// [`ForgeError::Fs`].
pub(crate) fn public_paths(task: &TaskBundle) -> Result<Vec<(PathBuf, Node)>, ForgeError> {
    let mut all = vec![
        (PathBuf::from("docs"), Node::Dir),
        (PathBuf::from("task.toml"), walk::node(&task.root.join("task.toml"))?),
    ];
    for (path, node) in walk::tree(&task.docs())? {
        all.push((Path::new("docs").join(path), node));
    }
    all.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(all)
}

/// Compares everything public of a bundle with everything sealed, the suite included.
///
/// # Errors
/// [`ForgeError`] if a part of the bundle cannot be read.
pub fn scan_bundle(task: &TaskBundle) -> Result<LeakReport, ForgeError> {
    let mut names = Vec::new();
    let mut files = Vec::new();
    for (path, node) in public_paths(task)? {
        if matches!(node, Node::File { .. }) {
            files.push(read(&task.root.join(&path))?);
            names.push(path.display().to_string());
        }
    }
    let reference = read(&task.reference())?;
    let help = std::fs::read(task.docs().join(HELP_FILE)).unwrap_or_default();
    let mut check = Check {
        index: Index::new(&files),
        digests: files.iter().zip(&names).map(|(b, n)| (Digest::of(b), n.as_str())).collect(),
        names: &names,
        files: &files,
        words: Words { reference: &reference, help: &help },
        report: LeakReport { public_files: files.len() as u64, ..LeakReport::default() },
    };
    // A script is source code, whatever it is called.
    let class = if elf::is_elf(&reference) { Class::Program } else { Class::Source };
    check.file("sealed/reference", class, &reference);
    runtime(task, &mut check)?;
    source_tree(task, &mut check)?;
    suite(task, &mut check)?;
    Ok(check.report)
}

struct Check<'a> {
    index: Index<'a>,
    digests: BTreeMap<Digest, &'a str>,
    names: &'a [String],
    files: &'a [Vec<u8>],
    words: Words<'a>,
    report: LeakReport,
}

impl Check<'_> {
    fn file(&mut self, label: &str, class: Class, bytes: &[u8]) {
        self.report.sealed_files += 1;
        self.report.sealed_bytes += bytes.len() as u64;
        let mut found = Vec::new();
        // Data of a package may stand in its documentation too; its code may not.
        let by_digest = class != Class::Program || policy::as_text(bytes).is_none();
        if by_digest
            && bytes.len() >= DIGEST_MIN
            && let Some(name) = self.digests.get(&Digest::of(bytes))
            && !(class == Class::Blob && bytes == self.words.help)
        {
            found.push(Leak {
                public: (*name).to_owned(),
                at: 0,
                sealed: label.to_owned(),
                len: bytes.len(),
                why: "the whole file".to_owned(),
                sample: sample(bytes),
            });
        }
        let (names, words) = (self.names, &self.words);
        let files = self.files;
        self.index.scan(bytes, |run| {
            if let Some(why) = policy::leak(class, run, bytes, words) {
                found.push(Leak {
                    public: names[run.file].clone(),
                    at: run.public_at,
                    sealed: label.to_owned(),
                    len: run.len,
                    why,
                    sample: sample(&files[run.file][run.public_at..]),
                });
            }
        });
        self.report.leaks.extend(found);
        self.report.leaks.truncate(MAX_LEAKS);
    }
}

fn runtime(task: &TaskBundle, check: &mut Check<'_>) -> Result<(), ForgeError> {
    let Some(root) = task.runtime() else { return Ok(()) };
    for (path, node) in walk::tree(&root)? {
        if matches!(node, Node::File { .. }) {
            let bytes = read(&root.join(&path))?;
            check.file(&format!("sealed/runtime/{}", path.display()), Class::Program, &bytes);
        }
    }
    Ok(())
}

/// Code of the source tree. Its prose is public by nature: the crate's README is the task's README.
fn source_tree(task: &TaskBundle, check: &mut Check<'_>) -> Result<(), ForgeError> {
    let Some(archive) = task.source_tree() else { return Ok(()) };
    read_tar_gz(&archive, |path, bytes| {
        if !is_public_prose(path) {
            let label = format!("sealed/source.tar.gz!{}", path.display());
            check.file(&label, Class::Source, bytes);
        }
    })
}

/// Case lines, and blobs that expectations refer to. Inputs are left out: many are examples of the documentation.
fn suite(task: &TaskBundle, check: &mut Check<'_>) -> Result<(), ForgeError> {
    let dir = task.suite_dir();
    if !dir.join("suite.toml").exists() {
        return Ok(());
    }
    let suite = Suite::load(&dir)?;
    check.file("suite/cases.jsonl", Class::Cases, &read(&dir.join("cases.jsonl"))?);
    for digest in expected_blobs(&suite.cases) {
        let bytes = read(&dir.join("blobs").join(digest.hex()))?;
        check.file(&format!("suite/blobs/{}", digest.hex()), Class::Blob, &bytes);
    }
    Ok(())
}

fn expected_blobs(cases: &[Case]) -> BTreeSet<Digest> {
    let mut inputs = BTreeSet::new();
    let mut all = BTreeSet::new();
    for case in cases {
        all.extend(case.blobs());
        let mut given = case.clone();
        given.after.clear();
        given.steps.iter_mut().for_each(|s| s.expect = None);
        inputs.extend(given.blobs());
    }
    all.difference(&inputs).copied().collect()
}

fn sample(bytes: &[u8]) -> String {
    bytes[..bytes.len().min(SAMPLE)].escape_ascii().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf::tests::tiny_static;
    use crate::testing::bundle;

    fn leaky(write: impl Fn(&Path)) -> LeakReport {
        let dir = tempfile::tempdir().unwrap();
        let code = scan::tests::noise(600, 9);
        let reference = [
            tiny_static(),
            b"Usage: tiny [options] file, see the manual page of tiny(1) for all of them".to_vec(),
            code,
        ]
        .concat();
        let task = bundle(dir.path(), &reference);
        write(dir.path());
        scan_bundle(&task).unwrap()
    }

    #[test]
    fn shared_text_is_no_leak() {
        let report = leaky(|root| {
            let text = "Usage: tiny [options] file, see the manual page of tiny(1) for all of them";
            std::fs::write(root.join("docs/help.txt"), text).unwrap();
        });
        assert!(report.clean(), "{report:?}");
        assert!(report.sealed_files >= 1 && report.public_files >= 2, "{report:?}");
    }

    #[test]
    fn a_piece_of_the_executable_is_a_leak() {
        let report = leaky(|root| {
            let bytes = std::fs::read(root.join("sealed/reference")).unwrap();
            let piece = [b"text before ".to_vec(), bytes[bytes.len() - 100..].to_vec()].concat();
            std::fs::write(root.join("docs/notes.txt"), piece).unwrap();
        });
        assert_eq!(report.leaks.len(), 1, "{report:?}");
        let leak = &report.leaks[0];
        assert_eq!(
            (leak.public.as_str(), leak.sealed.as_str()),
            ("docs/notes.txt", "sealed/reference")
        );
        assert_eq!((leak.at, leak.len), (12, 100));
    }

    #[test]
    fn the_whole_executable_under_another_name_is_a_leak() {
        let report = leaky(|root| {
            std::fs::copy(root.join("sealed/reference"), root.join("docs/tool")).unwrap();
        });
        assert!(report.leaks.iter().any(|l| l.why == "the whole file"), "{report:?}");
    }

    /// A bundle with a suite of one case, whose recorded output is a blob.
    fn with_suite(root: &Path) -> (TaskBundle, String, String) {
        let task = bundle(root, &tiny_static());
        let output: String = (0..400).map(|i| format!("row {i}: {}\n", i * i * 7919)).collect();
        let digest = Digest::of(output.as_bytes());
        let line = format!(
            r#"{{"id":"c-1","group":"g","steps":[{{"argv":["--table","squares of all numbers"],"expect":{{"exit":0,"stdout":[{{"exact":{{"blob":"{digest}"}}}}]}}}}],"origin":{{"kind":"mined"}}}}"#
        );
        let case = Case::parse(Path::new("cases.jsonl"), 1, &line).unwrap();
        let manifest: reenact_model::SuiteManifest = toml::from_str(&format!(
            "schema = 1\ndigest = \"{0}\"\nreference = \"{0}\"\ncases = 1\nkind = \"imported\"\ncreated = \"x\"\n\
             generator = \"x\"\n[quality]\n",
            task.manifest.reference.sha256
        ))
        .unwrap();
        let blobs = BTreeMap::from([(digest, output.clone().into_bytes())]);
        let draft = reenact_bundle::SuiteDraft { manifest, cases: vec![case.clone()], blobs };
        draft.write(&task.suite_dir()).unwrap();
        (task, case.to_line(), output)
    }

    #[test]
    fn hidden_cases_and_recorded_outputs_are_leaks() {
        let dir = tempfile::tempdir().unwrap();
        let (task, line, output) = with_suite(dir.path());
        assert!(scan_bundle(&task).unwrap().clean());
        std::fs::write(task.docs().join("examples.txt"), format!("see {line}")).unwrap();
        let report = scan_bundle(&task).unwrap();
        assert!(report.leaks.iter().any(|l| l.sealed == "suite/cases.jsonl"), "{report:?}");
        std::fs::write(task.docs().join("examples.txt"), format!("prints\n{output}")).unwrap();
        let report = scan_bundle(&task).unwrap();
        assert!(report.leaks.iter().any(|l| l.sealed.starts_with("suite/blobs/")), "{report:?}");
        // What the program itself says openly may be expected of it.
        std::fs::remove_file(task.docs().join("examples.txt")).unwrap();
        std::fs::write(task.docs().join(HELP_FILE), format!("$ x --table\n{output}")).unwrap();
        assert!(scan_bundle(&task).unwrap().clean());
    }

    #[test]
    fn source_code_is_a_leak_and_the_readme_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let mut task = bundle(dir.path(), &tiny_static());
        let tree = tempfile::tempdir().unwrap();
        let code: String =
            (0..60).map(|i| format!("fn f{i}() -> u32 {{ {} }}\n", i * 31)).collect();
        let readme = "Tiny is a program that does nothing.\n".repeat(30);
        std::fs::create_dir(tree.path().join("src")).unwrap();
        std::fs::write(tree.path().join("src/main.rs"), &code).unwrap();
        std::fs::write(tree.path().join("README.md"), &readme).unwrap();
        crate::archive::write_tar_gz(tree.path(), &task.sealed().join("source.tar.gz")).unwrap();
        task.manifest.reference.source_tree = true;
        std::fs::write(task.docs().join("README.md"), &readme).unwrap();
        assert!(scan_bundle(&task).unwrap().clean());
        std::fs::write(task.docs().join("design.txt"), format!("It goes so:\n{code}")).unwrap();
        let report = scan_bundle(&task).unwrap();
        assert!(
            report.leaks.iter().any(|l| l.sealed == "sealed/source.tar.gz!src/main.rs"),
            "{report:?}"
        );
    }
}
