//! `reenact import mini`.

use super::files::{Import, directories, plain};
use super::{IMPORTED, To, unknown};
use crate::commands::Done;
use crate::context::{Context, harness};
use crate::error::CommandError;
use reenact_bundle::{TaskBundle, now_rfc3339};
use reenact_interop::causes::mini_outcome;
use reenact_interop::trajectory::{Adopted, MAX_BYTES, adopt};
use reenact_model::run::{RunTask, Tokens, Work};
use reenact_model::task::is_valid_id;
use reenact_model::{RunManifest, SCHEMA, Seal};
use reenact_report::visible;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Largest submission and evaluation that are copied, bytes.
const MAX_SUBMISSION: u64 = 1 << 30;

/// A trajectory to be imported.
struct Found {
    file: PathBuf,
    /// The task's id where the trajectory does not say it.
    stem: String,
}

pub fn import(paths: &[PathBuf], bundles: Option<&Path>, to: &To, context: &Context) -> Done {
    let mut found = Vec::new();
    for path in paths {
        found.extend(trajectories(path)?);
    }
    let mut import = Import::begin(to)?;
    let mut tasks = BTreeMap::new();
    let mut settings = BTreeMap::from([(IMPORTED.to_owned(), "mini-swe-agent".to_owned())]);
    let mut broken = None;
    for one in &found {
        match task(one, &mut settings, &tasks, &mut import, context) {
            Ok((id, mut entry)) => {
                if let Some(root) = bundles {
                    known(&mut entry, &root.join(&id), &mut import, context)?;
                }
                tasks.insert(id, entry);
            }
            Err(error) if found.len() == 1 => return Err(error),
            Err(error) => {
                import.note(context, format!("left out: {}", error.what()), true);
                broken = broken.or(Some(error));
            }
        }
    }
    if let (true, Some(error)) = (tasks.is_empty(), broken) {
        return Err(error);
    }
    let manifest = RunManifest {
        schema: SCHEMA,
        agent: "mini-swe-agent".to_owned(),
        upper_bound: false,
        created: now_rfc3339(),
        harness: harness(),
        isolation: BTreeMap::new(),
        settings,
        setup: None,
        tasks,
    };
    import.manifest("", &manifest)?;
    import.finish("mini-swe-agent", context)
}

/// Names the bundle that a submission is to be graded with, if there is one.
fn known(
    entry: &mut RunTask,
    path: &Path,
    import: &mut Import,
    context: &Context,
) -> Result<(), CommandError> {
    if !path.join("task.toml").is_file() {
        import.note(context, format!("{}: no such task", path.display()), false);
        return Ok(());
    }
    let bundle = TaskBundle::open(&path.display().to_string())?;
    entry.path = bundle.root.display().to_string();
    entry.task = bundle.digest;
    entry.reference = bundle.manifest.reference.sha256;
    Ok(())
}

/// The trajectories at `path`: itself; that of an instance's directory; those of a run's instances.
fn trajectories(path: &Path) -> Result<Vec<Found>, CommandError> {
    let named = |path: &Path| {
        path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
    };
    if path.is_file() {
        let stem = named(path);
        let stem = stem.strip_suffix(".traj.json").or(stem.strip_suffix(".json")).unwrap_or(&stem);
        return Ok(vec![Found { file: path.to_path_buf(), stem: stem.to_owned() }]);
    }
    let of = |dir: &Path| {
        let stem = named(dir);
        let file = dir.join(format!("{stem}.traj.json"));
        file.is_file().then_some(Found { file, stem })
    };
    let found: Vec<Found> = match of(path) {
        Some(own) => vec![own],
        None => directories(path)?.iter().filter_map(|dir| of(dir)).collect(),
    };
    if found.is_empty() {
        let what = format!("{}: no trajectories there", path.display());
        return Err(CommandError::nothing(what)
            .hint("give *.traj.json files, or a directory that holds ID/ID.traj.json"));
    }
    Ok(found)
}

fn task(
    found: &Found,
    settings: &mut BTreeMap<String, String>,
    tasks: &BTreeMap<String, RunTask>,
    import: &mut Import,
    context: &Context,
) -> Result<(String, RunTask), CommandError> {
    let file = &found.file;
    let Some(bytes) = plain(file, MAX_BYTES)? else {
        return Err(CommandError::usage(format!("{}: no such file", file.display())));
    };
    let one = adopt(file, &bytes).map_err(CommandError::usage)?;
    let id = one.instance_id.clone().filter(|id| !id.is_empty()).unwrap_or(found.stem.clone());
    if !is_valid_id(&id) {
        let what = format!("{}: {id:?} is no task id", file.display());
        return Err(CommandError::usage(what).hint("ids hold letters, digits, '.', '_' and '-'"));
    }
    if tasks.contains_key(&id) {
        let what = format!("{}: task {id} is there twice", file.display());
        return Err(CommandError::usage(what).hint("import each attempt into a run of its own"));
    }
    same_agent(&one, file, settings)?;
    import.write("", &id, &format!("{id}.traj.json"), &one.bytes)?;
    if one.torn {
        import.note(
            context,
            format!("{}: its end is torn; what is whole was taken", file.display()),
            false,
        );
    }
    beside(found, &id, import, context)?;
    let entry = entry(&one, &id);
    Ok((id, entry))
}

/// Copies what the runner left beside the trajectory: the submission, and the official evaluation.
fn beside(
    found: &Found,
    id: &str,
    import: &mut Import,
    context: &Context,
) -> Result<(), CommandError> {
    let dir = found.file.parent().unwrap_or(Path::new("."));
    // A lone file's neighbours are none of its business.
    if dir.file_name().is_none_or(|n| n.to_string_lossy() != found.stem) {
        return Ok(());
    }
    let evaluation = format!("{}.eval.json", found.stem);
    for (from, to) in [
        ("submission.tar.gz", "submission.tar.gz".to_owned()),
        (evaluation.as_str(), format!("{id}.eval.json")),
    ] {
        match plain(&dir.join(from), MAX_SUBMISSION) {
            Ok(Some(bytes)) => import.write("", id, &to, &bytes)?,
            Ok(None) => {}
            Err(error) => import.note(context, format!("left out: {}", error.what()), true),
        }
    }
    Ok(())
}

/// Takes over who worked, and refuses another one: a run directory has one agent.
fn same_agent(
    one: &Adopted,
    file: &Path,
    settings: &mut BTreeMap<String, String>,
) -> Result<(), CommandError> {
    let config = |key: &str| one.info.config.get(key).and_then(Value::as_str);
    let known = [
        ("model", one.model()),
        ("agent_type", config("agent_type")),
        ("environment_type", config("environment_type")),
        ("agent_version", one.info.mini_version.as_deref()),
    ];
    for (name, value) in known {
        let Some(value) = value.map(|v| visible::text(v.as_bytes())) else { continue };
        match settings.get(name) {
            Some(other) if *other != value => {
                let what = format!("{}: {name} is {value}, but {other} in others", file.display());
                return Err(CommandError::usage(what)
                    .hint("a run directory holds one agent: import them one by one"));
            }
            _ => drop(settings.insert(name.to_owned(), value)),
        }
    }
    Ok(())
}

fn entry(one: &Adopted, id: &str) -> RunTask {
    let usage = one.stats.usage;
    let status = one.exit_status();
    let stats = &one.info.model_stats;
    let why = one.info.rest.get("exception_str").and_then(Value::as_str);
    let why = why.and_then(|w| w.lines().next()).map(|w| visible::text(w.as_bytes()));
    let cost = if stats.instance_cost > 0.0 { stats.instance_cost } else { one.stats.cost };
    RunTask {
        path: format!("mini-swe-agent:{id}"),
        task: unknown(),
        reference: unknown(),
        agent_outcome: mini_outcome(&status),
        probes: 0,
        wall_ms: one.wall_ms,
        work: Some(Work {
            // Nobody vouches for more.
            seal: Seal::Unsealable,
            accepted_unsealed: false,
            exit_status: visible::text(status.as_bytes()),
            why,
            steps: one.steps,
            calls: stats.api_calls.max(one.stats.calls),
            cost_usd: (cost.is_finite() && cost > 0.0).then_some(cost),
            resumed: 0,
            probes_refused: 0,
            notes: vec![
                "imported: how well the reference was kept from the agent is not known".to_owned(),
            ],
            tokens: Tokens {
                input: usage.prompt_tokens.saturating_sub(usage.cached_tokens),
                cached_input: usage.cached_tokens,
                cache_write: 0,
                output: usage.completion_tokens,
            },
        }),
    }
}
