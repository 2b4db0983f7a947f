//! One task.

use reenact_interop::programbench::{Branch, TaskYaml};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Where images and blobs come from: what the official tool takes from its environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The organisation of image names.
    pub org: String,
    /// A directory `<id>/tests/<branch>.tar.gz` that takes the place of every other.
    pub blobs: Option<PathBuf>,
}

impl Default for Place {
    fn default() -> Self {
        Self { org: "programbench".to_owned(), blobs: None }
    }
}

impl Place {
    /// From `PROGRAMBENCH_DOCKER_ORG` and `PROGRAMBENCH_BLOB_DIR`.
    pub fn from_env() -> Self {
        let set = |name| std::env::var_os(name).filter(|v| !v.is_empty());
        let org = set("PROGRAMBENCH_DOCKER_ORG").map(|v| v.to_string_lossy().into_owned());
        Self {
            org: org.unwrap_or_else(|| Self::default().org),
            blobs: set("PROGRAMBENCH_BLOB_DIR").map(PathBuf::from),
        }
    }
}

/// A task: what is to be rebuilt, and which tests judge it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// `owner__name.sha7`: the directory's name.
    pub id: String,
    /// The task's directory.
    pub dir: PathBuf,
    /// `owner/name`.
    pub repository: String,
    pub commit: String,
    pub language: String,
    pub difficulty: Option<String>,
    /// SHA-256 (bare hex) of files that a submission may not ship.
    pub clean_hashes: Vec<String>,
    /// In the order of `tests.json`, which is the order of evaluation. Ignored ones included.
    pub branches: Vec<(String, Branch)>,
    /// The directory that holds `<branch>.tar.gz`: the one that was asked for, or what is attached, where there is any.
    pub blobs: Option<PathBuf>,
    /// Organisation of the image's name.
    pub org: String,
}

impl Instance {
    pub(super) fn new(
        id: String,
        dir: PathBuf,
        task: TaskYaml,
        branches: Vec<(String, Branch)>,
        place: &Place,
    ) -> Self {
        // A directory that was asked for takes the place of what is attached even where it lacks this task: tests that are
        // not in it are missing, and not those of another place.
        let blobs = match &place.blobs {
            Some(root) => Some(root.join(&id).join("tests")),
            None => Some(dir.join("tests")).filter(|d| d.is_dir()),
        };
        Self {
            blobs,
            id,
            dir,
            repository: task.repository,
            commit: task.commit,
            language: task.language,
            difficulty: task.difficulty,
            clean_hashes: task.eval_clean_hashes,
            branches,
            org: place.org.clone(),
        }
    }

    /// A branch by its name.
    pub fn branch(&self, name: &str) -> Option<&Branch> {
        self.branches.iter().find(|(n, _)| n == name).map(|(_, b)| b)
    }

    /// Branches that count, in order.
    pub fn active_branches(&self) -> Vec<&str> {
        self.branches.iter().filter(|(_, b)| !b.ignored).map(|(n, _)| n.as_str()).collect()
    }

    /// Branches that do not count.
    pub fn ignored_branches(&self) -> BTreeSet<&str> {
        self.branches.iter().filter(|(_, b)| b.ignored).map(|(n, _)| n.as_str()).collect()
    }

    /// `branch/name` of every test that does not count, in every branch.
    pub fn ignored_tests(&self) -> BTreeSet<String> {
        self.branches
            .iter()
            .flat_map(|(n, b)| b.ignored_tests.iter().map(move |t| format!("{n}/{}", t.name)))
            .collect()
    }

    /// `branch/name` of every test that counts: listed, in a branch that counts, and not ignored. In order, each once.
    pub fn active_tests(&self) -> Vec<String> {
        let mut active = Vec::new();
        for (name, branch) in self.branches.iter().filter(|(_, b)| !b.ignored) {
            let ignored: BTreeSet<&str> =
                branch.ignored_tests.iter().map(|t| t.name.as_str()).collect();
            let kept = branch.tests.iter().filter(|t| !ignored.contains(t.as_str()));
            active.extend(kept.map(|t| format!("{name}/{t}")));
        }
        active
    }

    /// The image's reference: `programbench/owner_1776_name.sha7:tag`.
    pub fn image(&self, tag: &str) -> String {
        format!("{}/{}:{tag}", self.org, self.id.replace("__", "_1776_"))
    }

    /// The tests of a branch, `<branch>.tar.gz`, if they are here.
    pub fn blob(&self, branch: &str) -> Option<PathBuf> {
        let path = self.blobs.as_deref()?.join(format!("{branch}.tar.gz"));
        path.is_file().then_some(path)
    }

    /// Where the tests of a branch are looked for, whether they are there or not; for messages.
    pub fn blob_path(&self, branch: &str) -> PathBuf {
        let tests = self.dir.join("tests");
        self.blobs.as_deref().unwrap_or(Path::new(&tests)).join(format!("{branch}.tar.gz"))
    }

    /// Whether it is the package's fixture, no part of the benchmark.
    pub fn is_fixture(&self) -> bool {
        self.id.starts_with(super::FIXTURE_PREFIX)
    }

    /// How much it holds.
    pub fn counts(&self) -> Counts {
        let tests = |b: &Branch| b.tests.len();
        Counts {
            branches: self.branches.len(),
            tests: self.branches.iter().map(|(_, b)| tests(b)).sum(),
            ignored: self.branches.iter().map(|(_, b)| b.ignored_tests.len()).sum(),
            active: self.active_tests().len(),
        }
    }
}

/// Totals of a task or of many. Ignored branches and tests are counted among all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Counts {
    pub branches: usize,
    /// Listed.
    pub tests: usize,
    /// Listed as ignored, one by one.
    pub ignored: usize,
    /// Listed, in a branch that counts, and not ignored.
    pub active: usize,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.branches += other.branches;
        self.tests += other.tests;
        self.ignored += other.ignored;
        self.active += other.active;
    }
}
