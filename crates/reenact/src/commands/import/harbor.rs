//! `reenact import harbor`.

use super::files::{Import, directories, plain, plain_below};
use super::{IMPORTED, To};
use crate::commands::Done;
use crate::commands::grade::name;
use crate::context::{Context, harness};
use crate::error::CommandError;
use reenact_bundle::now_rfc3339;
use reenact_interop::ctrf::{ReadTest, read_ctrf};
use reenact_interop::harbor::{MAX_BYTES, Place, Trial, arrange, import as translate, read_trial};
use reenact_interop::trajectory::atif::{Atif, Source};
use reenact_interop::trajectory::check_atif;
use reenact_model::error::parse_json;
use reenact_model::{RunManifest, SCHEMA};
use reenact_report::visible;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A trial and where it lies.
struct Found {
    dir: PathBuf,
    /// `result.json` as it stands.
    bytes: Vec<u8>,
}

pub fn import(job: &Path, to: &To, context: &Context) -> Done {
    let mut import = Import::begin(to)?;
    let (trials, found) = trials(job, &mut import, context)?;
    if trials.is_empty() {
        let what = format!("{}: no trial with a result", job.display());
        return Err(CommandError::nothing(what)
            .hint("a job's directory holds one directory a trial, each with result.json"));
    }
    let places = arrange(&trials);
    for place in &places {
        run(place, &trials, &found, &name(job), &mut import, context)?;
    }
    import.finish("harbor", context)
}

/// The trials of a job's directory, or the one whose directory it is.
fn trials(
    job: &Path,
    import: &mut Import,
    context: &Context,
) -> Result<(Vec<Trial>, Vec<Found>), CommandError> {
    let (mut trials, mut found) = (Vec::new(), Vec::new());
    if let Some(bytes) = plain(&job.join("result.json"), MAX_BYTES)?
        && let Ok(Some(trial)) = read_trial(job, &bytes)
    {
        return Ok((vec![trial], vec![Found { dir: job.to_path_buf(), bytes }]));
    }
    let mut broken = None;
    for dir in directories(job)? {
        let file = dir.join("result.json");
        let read = plain(&file, MAX_BYTES).and_then(|bytes| match bytes {
            None => Ok(None),
            Some(bytes) => {
                let trial = read_trial(&file, &bytes).map_err(CommandError::usage)?;
                Ok(trial.map(|trial| (trial, bytes)))
            }
        });
        match read {
            Ok(Some((trial, bytes))) => {
                trials.push(trial);
                found.push(Found { dir, bytes });
            }
            // A trial that is still at work, or that was never finished.
            Ok(None) if dir.join("config.json").is_file() => {
                let what = format!("{}: left out: it has no result yet", dir.display());
                import.note(context, what, false);
            }
            Ok(None) => {}
            Err(error) => {
                import.note(context, format!("left out: {}", error.what()), true);
                broken = broken.or(Some(error));
            }
        }
    }
    match broken {
        Some(error) if trials.is_empty() => Err(error),
        _ => Ok((trials, found)),
    }
}

fn run(
    place: &Place,
    trials: &[Trial],
    found: &[Found],
    job: &str,
    import: &mut Import,
    context: &Context,
) -> Result<(), CommandError> {
    let mut tasks = BTreeMap::new();
    let mut created: Option<&str> = None;
    let mut dataset = None;
    for (id, i) in &place.tasks {
        let (trial, at) = (&trials[*i], &found[*i]);
        let tests = tests(&at.dir, import, context);
        let mut one = translate(trial, id, job, tests.as_deref(), &harness());
        let steps = trajectory(place, id, &at.dir, import, context)?;
        if let Some(work) = &mut one.entry.work {
            work.steps = steps;
            work.calls = steps;
        }
        let result = serde_json::to_vec(&one.result).map_err(CommandError::environment)?;
        import.write(&place.dir, id, &format!("{id}.reenact.json"), &result)?;
        import.write(&place.dir, id, &format!("{id}.harbor.json"), &at.bytes)?;
        tasks.insert(id.clone(), one.entry);
        let at = trial.started_at.as_deref();
        created = created.into_iter().chain(at).min();
        dataset = dataset.or(trial.source.clone());
    }
    let mut settings = BTreeMap::from([
        (IMPORTED.to_owned(), "harbor".to_owned()),
        ("job".to_owned(), job.to_owned()),
        ("agent_version".to_owned(), place.version.clone()),
    ]);
    settings.extend(place.model.clone().map(|m| ("model".to_owned(), m)));
    settings.extend(dataset.map(|d| ("dataset".to_owned(), visible::text(d.as_bytes()))));
    let manifest = RunManifest {
        schema: SCHEMA,
        agent: place.agent.clone(),
        upper_bound: false,
        created: created.map_or_else(now_rfc3339, |t| visible::text(t.as_bytes())),
        harness: harness(),
        isolation: BTreeMap::new(),
        settings,
        setup: None,
        tasks,
    };
    import.manifest(&place.dir, &manifest)
}

/// The verifier's CTRF report. One that cannot be read costs the tests, not the trial.
fn tests(dir: &Path, import: &mut Import, context: &Context) -> Option<Vec<ReadTest>> {
    let file = dir.join("verifier").join("ctrf.json");
    let read = plain_below(dir, ["verifier", "ctrf.json"], MAX_BYTES).and_then(|bytes| {
        bytes.map(|b| read_ctrf(&file, &b).map_err(CommandError::usage)).transpose()
    });
    read.unwrap_or_else(|error| {
        import.note(context, format!("imported without its tests: {}", error.what()), true);
        None
    })
}

/// Copies the agent's trajectory (ATIF) and gives the agent's steps in it.
fn trajectory(
    place: &Place,
    id: &str,
    dir: &Path,
    import: &mut Import,
    context: &Context,
) -> Result<u64, CommandError> {
    let file = dir.join("agent").join("trajectory.json");
    let read = plain_below(dir, ["agent", "trajectory.json"], MAX_BYTES).and_then(|bytes| {
        let Some(bytes) = bytes else { return Ok(None) };
        let text = String::from_utf8_lossy(&bytes);
        let document: Atif = parse_json(&file, None, &text).map_err(CommandError::usage)?;
        Ok(Some((document, bytes)))
    });
    match read {
        Ok(None) => Ok(0),
        Ok(Some((document, bytes))) => {
            if let Some(broken) = check_atif(&document).first() {
                let what = format!("{}: breaks a rule of ATIF: {broken}", file.display());
                import.note(context, what, false);
            }
            import.write(&place.dir, id, &format!("{id}.atif.json"), &bytes)?;
            Ok(document.steps.iter().filter(|s| s.source == Source::Agent).count() as u64)
        }
        Err(error) => {
            let what = format!("imported without its trajectory: {}", error.what());
            import.note(context, what, true);
            Ok(0)
        }
    }
}
