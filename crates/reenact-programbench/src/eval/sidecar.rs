//! `<id>.reenact.json`: what the official result has no place for. What pytest told is kept, so that the strict score follows
//! today's lists of tests, as the official one does.

use super::channel::Evidence;
use super::official::{Score, score};
use super::options::Options;
use super::strict::{self, Difference, StrictBranch};
use crate::dataset::Instance;
use reenact_bundle::fsx::{FsError, fs_error, write_atomic};
use reenact_interop::programbench::EvalJson;
use reenact_model::run::Harness;
use reenact_sandbox::container::Network;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The form of this document. The first had no tests in its sessions, so that its strict score cannot be worked out again.
pub const SCHEMA: u32 = 2;
const FIRST: u32 = 1;

/// What `kind` says.
pub const KIND: &str = "programbench-eval";

/// Contents of `<id>.reenact.json` of an evaluated ProgramBench instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sidecar {
    pub schema: u32,
    /// [`KIND`].
    pub kind: String,
    pub instance: String,
    /// `<id>.eval.json` is being replaced: nothing in it or in here may be taken for the other's until this is gone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unfinished: bool,
    pub harness: Harness,
    /// RFC 3339.
    pub evaluated_at: String,
    pub official: Score,
    /// `None`: it cannot be told; `strict_missing` says why.
    pub strict: Option<Score>,
    pub strict_missing: Option<String>,
    /// The official result's code, where there is one.
    pub error_code: Option<String>,
    pub policy: Policy,
    pub isolation: BTreeMap<String, String>,
    /// Image name, and `sha256:…` of its configuration.
    pub image: Option<(String, String)>,
    /// SHA-256 of submission.tar.gz, hex.
    pub submission: Option<String>,
    pub executable: Option<String>,
    /// Why the strict score has runs of its own.
    pub separate_runs: Vec<String>,
    pub branches: BTreeMap<String, SidecarBranch>,
    pub differences: Vec<Difference>,
    /// Seconds.
    pub build_s: f64,
    pub wall_s: f64,
    pub notes: Vec<String>,
}

/// Settings that a score depends on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    /// `none` or `host`.
    pub network: String,
    pub image_tag: String,
    pub cpus: u32,
    pub compile_timeout_s: u64,
    pub test_timeout_s: u64,
    pub branch_retries: u32,
    pub accept_aliases: bool,
}

impl Policy {
    pub(super) fn of(options: &Options) -> Self {
        Self {
            network: match options.network {
                Network::None => "none",
                Network::Host => "host",
            }
            .to_owned(),
            image_tag: options.image_tag.clone(),
            cpus: options.cpus,
            compile_timeout_s: options.compile_timeout.as_secs(),
            test_timeout_s: options.test_timeout.as_secs(),
            branch_retries: options.branch_retries,
            accept_aliases: options.accept_aliases,
        }
    }
}

/// One branch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SidecarBranch {
    pub strict: Option<StrictBranch>,
    /// What pytest told; `None`: nothing that the submission had no hand in, or nothing here.
    pub session: Option<Evidence>,
    /// Why there is no session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
    pub separate_run: bool,
    pub wall_s: f64,
    pub notes: Vec<String>,
}

/// Why a branch has no session that was tested elsewhere.
pub(super) const ELSEWHERE: &str = "evaluated by another tool; --force evaluates it here";

impl Sidecar {
    /// Where it is, beside `<id>.eval.json`.
    pub fn path(run: &Path, id: &str) -> PathBuf {
        run.join(id).join(format!("{id}.reenact.json"))
    }

    /// Reads one; `None` if there is none, or what is there is something else.
    ///
    /// # Errors
    /// [`FsError`] for one that is there and cannot be read: what it says of the submission may not be passed over.
    pub fn load(run: &Path, id: &str) -> Result<Option<Self>, FsError> {
        let path = Self::path(run, id);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(fs_error(&path, "read")(e)),
        };
        let Ok(mut sidecar) = serde_json::from_slice::<Self>(&bytes) else { return Ok(None) };
        if sidecar.kind != KIND || ![FIRST, SCHEMA].contains(&sidecar.schema) {
            return Ok(None);
        }
        if sidecar.schema == FIRST {
            for branch in sidecar.branches.values_mut() {
                branch.session = None;
                branch.missing =
                    Some("evaluated by an earlier version; --force evaluates it again".to_owned());
            }
        }
        Ok(Some(sidecar))
    }

    /// The one that belongs to the stored result of this executable.
    ///
    /// # Errors
    /// Why there is none.
    pub fn of(run: &Path, id: &str, executable: Option<&str>) -> Result<Self, String> {
        match Self::load(run, id) {
            Err(e) => Err(e.to_string()),
            Ok(None) => Err(ELSEWHERE.to_owned()),
            Ok(Some(s)) => match s.foreign(executable) {
                Some(why) => Err(format!("{why}; evaluate it again")),
                None => Ok(s),
            },
        }
    }

    /// Why it does not speak of the stored result of this executable.
    pub(super) fn foreign(&self, executable: Option<&str>) -> Option<&'static str> {
        if self.unfinished {
            Some("storing its result was cut short")
        } else if self.executable.as_deref() != executable {
            Some("its eval.json is about another program")
        } else {
            None
        }
    }

    /// Every branch that counts, judged by today's lists.
    fn judged(&self, instance: &Instance) -> BTreeMap<String, Option<StrictBranch>> {
        let judge = |branch: &str| {
            let session = self.branches.get(branch)?.session.as_ref()?;
            Some(strict::judge(instance, branch, session, self.policy.accept_aliases))
        };
        instance.active_branches().into_iter().map(|b| (b.to_owned(), judge(b))).collect()
    }

    /// The strict score by today's lists, or why there is none.
    ///
    /// # Errors
    /// The reason, by branch.
    pub fn strict_today(&self, instance: &Instance) -> Result<Score, String> {
        let judged = self.judged(instance);
        strict::score(&judged).ok_or_else(|| self.missing(&judged))
    }

    fn missing(&self, judged: &BTreeMap<String, Option<StrictBranch>>) -> String {
        let mut reasons: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (branch, _) in judged.iter().filter(|(_, s)| s.is_none()) {
            let reason = match self.branches.get(branch) {
                None => "not tested yet; evaluate it",
                Some(known) => known.missing.as_deref().unwrap_or(ELSEWHERE),
            };
            reasons.entry(reason).or_default().push(branch);
        }
        let lines = reasons.iter().map(|(reason, b)| format!("{}: {reason}", b.join(", ")));
        lines.collect::<Vec<_>>().join("; ")
    }

    /// Works out both scores again, by today's lists; `result` is what it lies beside.
    pub(super) fn rework(&mut self, result: &EvalJson, instance: &Instance) {
        let judged = self.judged(instance);
        self.official = score(result, instance);
        self.strict = strict::score(&judged);
        self.strict_missing = self.strict.is_none().then(|| self.missing(&judged));
        self.differences = strict::differences(result, &judged, instance);
        for (name, branch) in &mut self.branches {
            branch.strict = judged.get(name).cloned().flatten();
        }
    }

    pub(super) fn store(&self, run: &Path) -> Result<(), super::EvalError> {
        // Plain data with string keys: it cannot fail.
        let mut bytes = serde_json::to_vec_pretty(self).unwrap_or_default();
        bytes.push(b'\n');
        Ok(write_atomic(&Self::path(run, &self.instance), &bytes)?)
    }
}
