//! Our tasks as Harbor's task directories, schema 1.4: everything in them that is text.
//!
//! The verifier is a container of its own (`environment_mode = "separate"`): Harbor brings `/workspace` from the agent's container to
//! it as an artifact, and the hidden suite is never where the agent is. An image with `tests/Dockerfile` has to hold `/tests`
//! itself.

use reenact_model::{Digest, Seal, TaskManifest};
use serde::Serialize;

/// Base image and packages of both containers, unless the user says otherwise.
pub const BASE: &str = "debian:12";
/// Compilers and interpreters of the agent's and the verifier's container.
pub const PACKAGES: &[&str] = &[
    "build-essential",
    "ca-certificates",
    "cargo",
    "cmake",
    "gawk",
    "golang-go",
    "less",
    "passwd",
    "perl",
    "pkg-config",
    "procps",
    "python3",
    "rustc",
    "tmux",
];

/// Seconds of the agent, as ProgramBench gives (6 hours).
const AGENT_SEC: f64 = 21_600.0;

/// What a task directory is made of, beside the manifest.
#[derive(Clone, Debug, PartialEq)]
pub struct Export<'a> {
    pub manifest: &'a TaskManifest,
    /// Digest of `task.toml`.
    pub task_digest: Digest,
    pub suite_digest: Digest,
    pub cases: usize,
    pub has_docs: bool,
    /// Organisation in the task's name.
    pub org: &'a str,
    pub base: &'a str,
    pub packages: &'a [String],
    /// This harness's version.
    pub version: &'a str,
    /// The grader's binary needs a C library of the base image.
    pub dynamic: bool,
}

/// A text file of the directory; `true`: it is to be executable.
pub type TextFile = (&'static str, String, bool);

impl Export<'_> {
    /// Every text file, by its path in the task directory.
    ///
    /// # Errors
    /// The manifest cannot be written as TOML.
    pub fn files(&self) -> Result<Vec<TextFile>, toml::ser::Error> {
        let fill = |template: &str| self.fill(template);
        let mut files = vec![
            ("README.md", fill(include_str!("templates/README.md")), false),
            ("instruction.md", fill(include_str!("templates/instruction.md")), false),
            ("task.toml", toml::to_string(&self.task_toml())?, false),
            (
                "environment/Dockerfile",
                fill(include_str!("templates/environment.Dockerfile")),
                false,
            ),
            ("tests/Dockerfile", fill(include_str!("templates/tests.Dockerfile")), false),
            (
                "tests/docker-compose.yaml",
                fill(include_str!("templates/tests.compose.yaml")),
                false,
            ),
            ("tests/test.sh", fill(include_str!("templates/test.sh")), true),
        ];
        if self.manifest.reference.source_tree {
            files.push(("solution/solve.sh", include_str!("templates/solve.sh").to_owned(), true));
        }
        Ok(files)
    }

    fn fill(&self, template: &str) -> String {
        let m = self.manifest;
        let (reference, source) = (&m.reference, &m.source);
        let docs = if self.has_docs { "COPY docs/ /workspace/docs/\n" } else { "" };
        let runtime = "COPY runtime/ /tmp/runtime/\nRUN tar -C /tmp/runtime -cf - . | tar -C / --keep-directory-symlink \
                       -xf - && rm -rf /tmp/runtime\n";
        let and_docs =
            if self.has_docs { " and its documentation in `/workspace/docs`" } else { "" };
        let no_docs = "There is no documentation: find out what it can do by running it (start with `./executable --help`).\n";
        let solution = if reference.source_tree {
            "the original's own source, for Harbor's oracle agent"
        } else {
            "none: the original's source is not part of the task"
        };
        let binary = if self.dynamic {
            "; it is dynamically linked, so the image's C library must not be older than that of the machine it was built on"
        } else {
            "; it is static"
        };
        let source = format!("{} {} {}", source.kind, source.name, source.version);
        let minutes = m.limits.build_wall_ms.div_ceil(60_000);
        let values = [
            ("@ID@", m.task.id.as_str()),
            ("@TITLE@", &one_line(&m.task.title)),
            ("@SOURCE@", &one_line(&source)),
            ("@LICENCE@", &one_line(&m.source.licence)),
            ("@VERSION@", self.version),
            ("@CASES@", &self.cases.to_string()),
            ("@SUITE@", &self.suite_digest.to_string()),
            ("@SOLUTION@", solution),
            ("@SEAL@", seal(reference.seal)),
            ("@BINARY@", binary),
            ("@BASE@", self.base),
            ("@PACKAGES@", &self.packages.join(" ")),
            ("@MASKS@", &self.masks()),
            ("@RUNTIME@", if reference.runtime { runtime } else { "" }),
            ("@DOCS@", docs),
            ("@AND_DOCS@", and_docs),
            ("@NO_DOCS@", if self.has_docs { "" } else { no_docs }),
            ("@BUILD_MINUTES@", &minutes.to_string()),
        ];
        fill(template, &values)
    }

    /// The reference's own package is not to be found in the agent's container.
    fn masks(&self) -> String {
        let masks = &self.manifest.reference.masks;
        if masks.is_empty() {
            return String::new();
        }
        let mut command = vec!["rm", "-rf", "--"];
        command.extend(masks.iter().map(String::as_str));
        // The exec form is JSON, and no shell reads the paths.
        format!("RUN {}\n", serde_json::Value::from(command))
    }

    fn task_toml(&self) -> TaskToml<'_> {
        let m = self.manifest;
        let limits = &m.limits;
        // The build, and for each case two steps' worth of a tenth of the limit; most take milliseconds.
        let suite = self.cases as f64 * limits.wall_ms as f64 / 1000.0 / 5.0;
        let build = limits.build_wall_ms as f64 / 1000.0;
        let environment = |workdir| Environment {
            build_timeout_sec: 1800.0,
            network_mode: "no-network",
            cpus: 2,
            memory_mb: 4096,
            storage_mb: 10_240,
            workdir,
        };
        TaskToml {
            schema_version: "1.4",
            artifacts: ["/workspace"],
            task: Package {
                name: format!("{}/{}", self.org, short_name(&m.task.id)),
                version: "1",
                description: one_line(&m.task.title),
                keywords: ["program-reconstruction", "reenact"],
            },
            metadata: Metadata {
                reenact_id: &m.task.id,
                reenact_version: self.version,
                task_digest: self.task_digest,
                suite_digest: self.suite_digest,
                reference: m.reference.sha256,
                cases: self.cases,
                source: format!("{} {} {}", m.source.kind, m.source.name, m.source.version),
                licence: &m.source.licence,
                homepage: m.source.homepage.as_deref(),
            },
            agent: Agent { timeout_sec: AGENT_SEC, user: "agent" },
            verifier: Verifier {
                timeout_sec: (build + suite.max(600.0)).ceil(),
                environment_mode: "separate",
                environment: environment(None),
            },
            environment: environment(Some("/workspace")),
        }
    }
}

/// Each placeholder's value in one pass, so that a value that looks like one stays as it is.
fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let mut out = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(at) = rest.find('@') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        match values.iter().find(|(name, _)| rest.starts_with(name)) {
            Some((name, value)) => {
                out.push_str(value);
                rest = &rest[name.len()..];
            }
            None => {
                out.push('@');
                rest = &rest[1..];
            }
        }
    }
    out.push_str(rest);
    out
}

fn one_line(text: &str) -> String {
    crate::clean::name(text)
}

/// Harbor's names allow what our ids allow, but for two dots in a row and a `_` at the beginning.
fn short_name(id: &str) -> String {
    let name = id.replace("..", "._").replace("..", "._");
    if name.starts_with('_') { format!("t{name}") } else { name }
}

fn seal(seal: Seal) -> &'static str {
    match seal {
        Seal::Sealed => {
            "The original is static and loads no code: as an ordinary user's, its bytes stay unread."
        }
        Seal::Guarded => {
            "The original is dynamically linked: code that is preloaded into it (LD_PRELOAD, LD_AUDIT) can read it from inside. \
             A cleanroom prevents that; this container does not."
        }
        Seal::Unsealable => {
            "The original can load code or read memory for its caller: a determined agent can read it, here as anywhere."
        }
    }
}

#[derive(Serialize)]
struct TaskToml<'a> {
    schema_version: &'static str,
    artifacts: [&'static str; 1],
    task: Package,
    metadata: Metadata<'a>,
    agent: Agent,
    verifier: Verifier,
    environment: Environment,
}

#[derive(Serialize)]
struct Package {
    name: String,
    version: &'static str,
    description: String,
    keywords: [&'static str; 2],
}

#[derive(Serialize)]
struct Metadata<'a> {
    reenact_id: &'a str,
    reenact_version: &'a str,
    task_digest: Digest,
    suite_digest: Digest,
    reference: Digest,
    cases: usize,
    source: String,
    licence: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    homepage: Option<&'a str>,
}

#[derive(Serialize)]
struct Agent {
    timeout_sec: f64,
    user: &'static str,
}

#[derive(Serialize)]
struct Verifier {
    timeout_sec: f64,
    environment_mode: &'static str,
    environment: Environment,
}

#[derive(Serialize)]
struct Environment {
    build_timeout_sec: f64,
    network_mode: &'static str,
    cpus: u32,
    memory_mb: u32,
    storage_mb: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    workdir: Option<&'static str>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    const TASK: &str = r#"
schema = 1
[task]
id = "crate__x.1"
title = "x: does @ID@ things"
split = "public"
created = "2026-01-01T00:00:00Z"
[source]
kind = "crate"
name = "x"
version = "1"
sha256 = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
licence = "MIT"
[reference]
sha256 = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
size = 1
static = true
seal = "sealed"
masks = ["/usr/bin/x", "/usr/bin/a b"]
[platform]
os = "linux"
arch = "x86_64"
rootfs = "host"
"#;

    fn files(edit: impl Fn(&mut TaskManifest), has_docs: bool) -> Vec<TextFile> {
        let mut manifest = TaskManifest::parse(Path::new("task.toml"), TASK).unwrap();
        edit(&mut manifest);
        let packages = ["gcc".to_owned(), "perl".to_owned()];
        let digest = Digest::of(b"");
        let export = Export {
            manifest: &manifest,
            task_digest: digest,
            suite_digest: digest,
            cases: 300,
            has_docs,
            org: "reenact",
            base: BASE,
            packages: &packages,
            version: "0.1.0",
            dynamic: false,
        };
        export.files().unwrap()
    }

    fn text<'a>(files: &'a [TextFile], path: &str) -> &'a str {
        &files.iter().find(|f| f.0 == path).unwrap().1
    }

    #[test]
    fn every_placeholder_is_filled_once() {
        for (source_tree, runtime, docs) in [(true, true, true), (false, false, false)] {
            let edit = |m: &mut TaskManifest| {
                m.reference.source_tree = source_tree;
                m.reference.runtime = runtime;
            };
            let files = files(edit, docs);
            assert_eq!(files.iter().any(|f| f.0 == "solution/solve.sh"), source_tree);
            for (path, text, _) in &files {
                let left = text.replace("does @ID@ things", "");
                let rest = left
                    .split('@')
                    .skip(1)
                    .find(|t| t.starts_with(|c: char| c.is_ascii_uppercase()));
                assert_eq!(rest, None, "{path}");
            }
            let docker = text(&files, "environment/Dockerfile");
            assert_eq!(docker.contains("COPY runtime/"), runtime);
            assert_eq!(docker.contains("COPY docs/"), docs);
            assert!(
                docker.contains(r#"RUN ["rm","-rf","--","/usr/bin/x","/usr/bin/a b"]"#),
                "{docker}"
            );
            assert_eq!(text(&files, "instruction.md").contains("There is no documentation"), !docs);
        }
        assert!(text(&files(|_| {}, true), "README.md").contains("x: does @ID@ things"));
    }

    #[test]
    fn the_manifest_asks_for_a_verifier_of_its_own_and_no_network() {
        let files = files(|_| {}, true);
        let value: toml::Table = text(&files, "task.toml").parse().unwrap();
        assert_eq!(value["schema_version"].as_str(), Some("1.4"));
        assert_eq!(value["task"]["name"].as_str(), Some("reenact/crate__x.1"));
        assert_eq!(value["verifier"]["environment_mode"].as_str(), Some("separate"));
        for environment in [&value["environment"], &value["verifier"]["environment"]] {
            assert_eq!(environment["network_mode"].as_str(), Some("no-network"));
        }
        assert_eq!(value["artifacts"][0].as_str(), Some("/workspace"));
        assert_eq!(value["verifier"]["timeout_sec"].as_float(), Some(1500.0));
        assert!(files.iter().filter(|f| f.2).all(|f| f.1.starts_with("#!/bin/sh\n")));
    }

    #[test]
    fn names_keep_harbors_rules() {
        assert_eq!(short_name("a...b"), "a._.b");
        assert_eq!(short_name("a....b"), "a._._b");
        assert_eq!(short_name("_x"), "t_x");
    }
}
