//! Prompt templates (minijinja). The built-in ones are files beside this one; a directory can replace any of them.

use crate::error::CleanroomError;
use crate::policy::Policy;
use minijinja::{Environment, UndefinedBehavior, context};
use reenact_bundle::fsx::fs_error;
use reenact_model::Digest;
use std::collections::BTreeMap;
use std::path::Path;

/// The templates by name; in a directory of the user's, NAME.jinja.
const BUILT_IN: [(&str, &str); 4] = [
    ("system", include_str!("system.jinja")),
    ("instance", include_str!("instance.jinja")),
    ("observation", include_str!("observation.jinja")),
    ("format_error", include_str!("format_error.jinja")),
];

/// Largest template file that is read, bytes.
const LARGEST: u64 = 1 << 20;

/// What the `bash` agent says to its model.
#[derive(Debug)]
pub struct Prompts {
    environment: Environment<'static>,
    digest: Digest,
}

/// One command's outcome, as the model is told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told<'a> {
    /// Something that the harness has to say (the time was up, the directory is gone, …).
    pub note: Option<&'a str>,
    /// Exit code; for a signal, its negative number.
    pub returncode: i32,
    /// All of the output, or its first part.
    pub head: &'a str,
    pub tail: &'a str,
    /// Characters between the two.
    pub elided: u64,
    /// Bytes that were not even kept.
    pub lost: u64,
}

impl Prompts {
    /// The built-in templates.
    ///
    /// # Errors
    /// Never for the templates as they are; a test holds that.
    pub fn built_in() -> Result<Self, CleanroomError> {
        Self::make(
            BUILT_IN.map(|(n, t)| (n.to_owned(), t.to_owned())).into(),
            Path::new("built-in prompts"),
        )
    }

    /// The built-in templates, replaced by the files NAME.jinja that `dir` holds.
    ///
    /// # Errors
    /// A directory that holds none of them, a file that is no template, I/O.
    pub fn load(dir: &Path) -> Result<Self, CleanroomError> {
        let mut texts: BTreeMap<String, String> =
            BUILT_IN.map(|(n, t)| (n.to_owned(), t.to_owned())).into();
        let mut found = 0;
        for (name, text) in &mut texts {
            let file = dir.join(format!("{name}.jinja"));
            match std::fs::metadata(&file) {
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
                Err(e) => return Err(fs_error(&file, "read")(e).into()),
                Ok(m) if m.len() > LARGEST => {
                    return Err(bad(&file, format!("is larger than {LARGEST} bytes")));
                }
                Ok(_) => {}
            }
            *text = std::fs::read_to_string(&file).map_err(fs_error(&file, "read"))?;
            found += 1;
        }
        if found == 0 {
            let names = BUILT_IN.map(|(n, _)| format!("{n}.jinja")).join(", ");
            return Err(bad(dir, format!("holds none of {names}")));
        }
        let prompts = Self::make(texts, dir)?;
        // A mistake in a template must show before a model is paid.
        prompts.instance(&Policy::default(), true)?;
        prompts.system()?;
        prompts.format_error("x")?;
        let told = Told { note: None, returncode: 0, head: "", tail: "", elided: 0, lost: 0 };
        prompts.observation(&told)?;
        Ok(prompts)
    }

    fn make(texts: BTreeMap<String, String>, from: &Path) -> Result<Self, CleanroomError> {
        let mut hasher = reenact_model::digest::Hasher::default();
        let mut environment = Environment::new();
        // A misspelt variable is an error, not an empty word.
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        // Prompts are text; nothing is to be escaped for HTML.
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.add_function("duration", |s: u64| duration(s));
        environment.add_function("gib", |b: u64| gib(b));
        for (name, text) in texts {
            hasher.update(format!("{name} {}\n", text.len()).as_bytes());
            hasher.update(text.as_bytes());
            environment
                .add_template_owned(name.clone(), text)
                .map_err(|e| bad(&from.join(format!("{name}.jinja")), e.to_string()))?;
        }
        Ok(Self { environment, digest: hasher.finish() })
    }

    /// Digest over all templates, for manifests.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The system prompt.
    ///
    /// # Errors
    /// The template cannot be rendered.
    pub fn system(&self) -> Result<String, CleanroomError> {
        self.render("system", context! {})
    }

    /// The first message of the user: the task.
    ///
    /// # Errors
    /// As [`Prompts::system`].
    pub fn instance(&self, policy: &Policy, has_docs: bool) -> Result<String, CleanroomError> {
        let policy = minijinja::Value::from_serialize(Shown::of(policy));
        self.render("instance", context! { policy, has_docs })
    }

    /// What a command did.
    ///
    /// # Errors
    /// As [`Prompts::system`].
    pub fn observation(&self, told: &Told<'_>) -> Result<String, CleanroomError> {
        let Told { note, returncode, head, tail, elided, lost } = told;
        self.render("observation", context! { note, returncode, head, tail, elided, lost })
    }

    /// The answer to a reply that holds no command.
    ///
    /// # Errors
    /// As [`Prompts::system`].
    pub fn format_error(&self, problem: &str) -> Result<String, CleanroomError> {
        self.render("format_error", context! { problem })
    }

    fn render(&self, name: &str, values: minijinja::Value) -> Result<String, CleanroomError> {
        let fault = |e: minijinja::Error| bad(Path::new(&format!("{name}.jinja")), e.to_string());
        let template = self.environment.get_template(name).map_err(fault)?;
        template.render(values).map_err(fault)
    }
}

/// The policy as templates see it: every field is there, so that `{% if policy.tokens %}` is no undefined name.
#[derive(serde::Serialize)]
struct Shown {
    steps: u64,
    wall_s: u64,
    command_s: u64,
    cost_usd: Option<f64>,
    tokens: Option<u64>,
    memory_bytes: u64,
    disk_bytes: u64,
    processes: u32,
    shown_chars: usize,
}

impl Shown {
    fn of(p: &Policy) -> Self {
        Self {
            steps: p.steps,
            wall_s: p.wall_s,
            command_s: p.command_s,
            cost_usd: p.cost_usd,
            tokens: p.tokens,
            memory_bytes: p.memory_bytes,
            disk_bytes: p.disk_bytes,
            processes: p.processes,
            shown_chars: p.shown_chars,
        }
    }
}

fn bad(path: &Path, what: String) -> CleanroomError {
    CleanroomError::Prompt { path: path.to_path_buf(), what }
}

/// `90 seconds`, `3 minutes`, `6 hours`.
fn duration(seconds: u64) -> String {
    let (n, unit) = match seconds {
        s if s > 0 && s % 3600 == 0 => (s / 3600, "hour"),
        s if s > 0 && s % 60 == 0 => (s / 60, "minute"),
        s => (s, "second"),
    };
    format!("{n} {unit}{}", if n == 1 { "" } else { "s" })
}

/// `2 GiB`, `512 MiB`.
fn gib(bytes: u64) -> String {
    if bytes > 0 && bytes.is_multiple_of(1 << 30) {
        format!("{} GiB", bytes >> 30)
    } else {
        format!("{} MiB", bytes >> 20)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_prompts_state_the_rules_and_limits() {
        let prompts = Prompts::built_in().unwrap();
        let policy = Policy { command_s: 90, cost_usd: Some(2.5), ..Policy::default() };
        let text = prompts.instance(&policy, true).unwrap();
        for part in [
            "/workspace/docs",
            "compile.sh",
            "against the rules",
            "without network",
            "echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT",
            "1000 replies, 6 hours in all, $2.5",
            "90 seconds for one command",
            "4 GiB of memory, 2 GiB of disk",
            "at most 10000 characters",
            "cp -r /workspace /tmp/build",
        ] {
            assert!(text.contains(part), "{part:?} is not in:\n{text}");
        }
        assert!(!prompts.instance(&policy, false).unwrap().contains("/workspace/docs"));
        assert!(prompts.system().unwrap().contains("`bash`"));
    }

    #[test]
    fn observations_show_all_or_head_and_tail() {
        let prompts = Prompts::built_in().unwrap();
        let mut told =
            Told { note: None, returncode: 3, head: "<a&b>", tail: "", elided: 0, lost: 0 };
        let text = prompts.observation(&told).unwrap();
        assert_eq!(text, "<returncode>3</returncode>\n<output>\n<a&b>\n</output>");
        told = Told { note: Some("killed"), tail: "end", elided: 77, lost: 5, ..told };
        let text = prompts.observation(&told).unwrap();
        for part in [
            "<note>killed</note>",
            "77 characters",
            "5 bytes",
            "/tmp/out.txt",
            "<output_tail>\nend\n",
        ] {
            assert!(text.contains(part), "{part:?} is not in:\n{text}");
        }
    }

    #[test]
    fn a_directory_replaces_templates_and_changes_the_digest() {
        let temp = tempfile::tempdir().unwrap();
        let none = Prompts::load(temp.path()).unwrap_err();
        assert!(none.is_usage() && none.to_string().contains("system.jinja"), "{none}");
        std::fs::write(temp.path().join("system.jinja"), "Be brief.").unwrap();
        let prompts = Prompts::load(temp.path()).unwrap();
        assert_eq!(prompts.system().unwrap(), "Be brief.");
        assert_ne!(prompts.digest(), Prompts::built_in().unwrap().digest());
        std::fs::write(temp.path().join("instance.jinja"), "{{ polcy.steps }}").unwrap();
        let error = Prompts::load(temp.path()).unwrap_err();
        assert!(error.is_usage() && error.to_string().contains("instance.jinja"), "{error}");
        std::fs::write(temp.path().join("instance.jinja"), "{% if %}").unwrap();
        assert!(Prompts::load(temp.path()).unwrap_err().is_usage());
    }

    #[test]
    fn units_read_well() {
        assert_eq!(
            [duration(1), duration(120), duration(21_600)],
            ["1 second", "2 minutes", "6 hours"]
        );
        assert_eq!([gib(4 << 30), gib(512 << 20)], ["4 GiB", "512 MiB"]);
    }
}
