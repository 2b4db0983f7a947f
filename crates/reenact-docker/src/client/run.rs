//! `run`.

use super::cidfile::IdFile;
use super::streams::Attached;
use super::{Settings, answer, ask, lost, note, say, token};
use crate::error::DockerError;
use crate::images::{self, Chosen};
use crate::options::{self, RunOptions};
use crate::place::{Config, Place, Root, now, short};
use crate::wire::{self, Answer, Request};
use reenact_sandbox::host::HostCommand;
use reenact_sandbox::interrupt;
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Processes at once, where nobody says.
const PROCESSES: u32 = 4096;
/// Bytes of /dev/shm, where nobody says; as docker's.
const SHM: u64 = 64 << 20;
/// Seconds from the signal of `stop` to the kill, where nobody says; as docker's.
const GRACE: u64 = 10;
const TERM: i32 = 15;

pub fn run(words: &[String], settings: &Settings) -> Result<i32, DockerError> {
    let host = std::env::var("REENACT_DOCKER_NETWORK").is_ok_and(|v| v == "host");
    let options = options::run(words, host)?;
    for warning in &options.warnings {
        note(&format!("WARNING: {warning}"));
    }
    let root = Root::open()?;
    check_binds(&options.mounts, &[("containers", root.path()), ("images", &settings.store)])?;
    let mut cidfile = options.cidfile.as_deref().map(IdFile::create).transpose()?;
    let chosen = images::choose(&options.image, options.pull, options.quiet, settings)?;
    let (place, name) = root.make(options.name.as_deref())?;
    let told = cidfile.as_mut().map_or(Ok(()), |file| file.write(&place.id));
    let config = match told.and_then(|()| config(&options, &chosen, &place, &name, settings)) {
        Ok(config) => config,
        Err(e) => {
            place.discard(&name);
            return Err(e);
        }
    };
    let launched = place.write("config.json", &config).and_then(|()| launch(&place, settings));
    let connection = match launched {
        Ok(connection) => connection,
        Err(e) => {
            // Nothing ran in it.
            place.discard(&name);
            let _removed = images::remove_scratch(&config.store, &config.scratch);
            return Err(e);
        }
    };
    if let Some(file) = &mut cidfile {
        file.stays = true;
    }
    start(&place, connection, &options)
}

/// Refuses binds by which a container would see our own directories: with root's rights it could speak to the sockets of all
/// containers there, and read their files and images.
fn check_binds(binds: &[(PathBuf, String)], private: &[(&str, &Path)]) -> Result<(), DockerError> {
    for (what, place) in private {
        // One that is not there yet is made after this.
        let place = std::path::absolute(place).unwrap_or_else(|_| place.to_path_buf());
        let there = place.ancestors().find_map(|up| {
            let rest = place.strip_prefix(up).ok()?;
            let there = up.canonicalize().ok()?.join(rest);
            Some(there.components().collect::<PathBuf>())
        });
        let place = there.unwrap_or(place);
        for (from, to) in binds {
            if from.starts_with(&place) || place.starts_with(from) {
                return Err(DockerError::Usage(format!(
                    "bind of {} to {to}: refused, the container would see the directory of {what} ({})",
                    from.display(),
                    place.display()
                )));
            }
        }
    }
    Ok(())
}

fn config(
    options: &RunOptions,
    chosen: &Chosen,
    place: &Place,
    name: &str,
    settings: &Settings,
) -> Result<Config, DockerError> {
    let image = &chosen.image.config;
    let mut env: BTreeMap<String, String> = BTreeMap::new();
    for text in &image.env {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        env.insert(name.to_owned(), value.to_owned());
    }
    env.extend(options.env.iter().cloned());
    let mut labels = image.labels.clone();
    labels.extend(options.labels.clone());
    let cwd = options.workdir.clone().unwrap_or_else(|| image.working_dir.clone());
    Ok(Config {
        id: place.id.clone(),
        name: name.to_owned(),
        image: options.image.clone(),
        image_id: chosen.image.id.clone(),
        created: now(),
        argv: argv(options, chosen)?,
        env,
        user: options.user.clone().unwrap_or_else(|| image.user.clone()),
        cwd: crate::inside::absolute(&cwd),
        hostname: options.hostname.clone().unwrap_or_else(|| short(&place.id).to_owned()),
        init: options.init,
        remove: options.remove,
        interactive: options.interactive,
        layers: chosen.layers.clone(),
        store: settings.store.clone(),
        scratch: chosen.scratch()?,
        host_network: options.host_network,
        memory: options.memory,
        cpus: options.cpus,
        processes: options.processes.unwrap_or(PROCESSES),
        shm_bytes: options.shm_bytes.unwrap_or(SHM),
        capabilities: options.capabilities,
        no_new_privileges: options.no_new_privileges,
        mounts: options.mounts.clone(),
        labels,
        stop_signal: options.stop_signal.unwrap_or(TERM),
        stop_seconds: options.stop_seconds.unwrap_or(GRACE),
        limits: settings.limits.clone(),
    })
}

/// The image's entry point and command, or what replaces them. An entry point of the caller's drops the image's command.
fn argv(options: &RunOptions, chosen: &Chosen) -> Result<Vec<String>, DockerError> {
    let image = &chosen.image.config;
    let (mut argv, command) = match &options.entrypoint {
        Some(own) => {
            (Some(own).filter(|e| !e.is_empty()).into_iter().cloned().collect(), Vec::new())
        }
        None => {
            (image.entrypoint.clone().unwrap_or_default(), image.cmd.clone().unwrap_or_default())
        }
    };
    argv.extend(if options.command.is_empty() { command } else { options.command.clone() });
    if argv.is_empty() {
        return Err(DockerError::usage(format!(
            "no command specified, and the image {} has none",
            options.image
        )));
    }
    Ok(argv)
}

/// Starts the station and waits until it can be asked.
fn launch(place: &Place, settings: &Settings) -> Result<UnixStream, DockerError> {
    let path = place.file("log");
    let log = File::create(&path).map_err(DockerError::io("create", &path))?;
    let args = ["docker".to_owned(), super::STATION.to_owned(), place.dir.display().to_string()];
    let mut command = HostCommand::new(&settings.program.display().to_string(), args);
    // It must not keep a directory of its caller's from being removed.
    command.cwd = Some("/".into());
    let mut child = command.spawn_background(&log)?;
    let mut pause = Duration::from_micros(500);
    loop {
        if let Ok(connection) = place.connect() {
            return Ok(connection);
        }
        let ended = child.has_ended();
        if let Some(failure) = place.failure() {
            return Err(DockerError::Answered { what: failure.what, code: failure.code });
        }
        if ended {
            let log = std::fs::read(&path).unwrap_or_default();
            let log = String::from_utf8_lossy(&log);
            let last = log.lines().rev().find(|l| !l.trim().is_empty());
            let last = last.unwrap_or("it said nothing").trim();
            return Err(DockerError::Failed(format!("the container did not start: {last}")));
        }
        std::thread::sleep(pause);
        pause = (pause * 5 / 4).min(Duration::from_millis(10));
    }
}

/// Has the main process started, and stays with it unless it is detached.
fn start(
    place: &Place,
    mut connection: UnixStream,
    options: &RunOptions,
) -> Result<i32, DockerError> {
    let token = token();
    let attach = (!options.detach).then_some(token);
    let stdin = options.interactive && !options.detach;
    wire::send(&mut connection, &Request::Start { attach, stdin }).map_err(lost(place))?;
    let started = match attach {
        None => begun(place, &mut connection).map(|()| None),
        Some(token) => attached(place, &mut connection, token, stdin, options).map(Some),
    };
    match started {
        Ok(None) => {
            say(&place.id);
            Ok(0)
        }
        Ok(Some(code)) => Ok(code),
        Err(e) => {
            // So that its name is free when we are gone, where that was asked for. It may have ended already.
            let _over = ask(place, &Request::Wait);
            Err(e)
        }
    }
}

/// The main process has been started.
fn begun(place: &Place, connection: &mut UnixStream) -> Result<(), DockerError> {
    if let Answer::Done { notes } = answer(place, connection)? {
        for line in notes {
            note(&format!("WARNING: {line}"));
        }
    }
    Ok(())
}

fn attached(
    place: &Place,
    connection: &mut UnixStream,
    token: u64,
    stdin: bool,
    options: &RunOptions,
) -> Result<i32, DockerError> {
    let streams = Attached::connect(place, token, stdin)?;
    begun(place, connection)?;
    if options.proxy_signals {
        let place = place.clone();
        let asked = interrupt::stop_flag();
        // Ends with us.
        std::thread::spawn(move || {
            while !asked.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(20));
            }
            let signal = interrupt::last_signal().unwrap_or(TERM);
            // A container that has ended meanwhile is what was wanted.
            let _sent = ask(&place, &Request::Signal { signal });
        });
    }
    streams.join();
    match answer(place, connection)? {
        Answer::Exited { code } => Ok(code),
        other => Err(DockerError::Failed(format!("an unexpected answer: {other:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binds_show_nothing_of_ours() {
        let temp = tempfile::tempdir().unwrap();
        let base = temp.path().canonicalize().unwrap();
        let (state, other) = (base.join("state"), base.join("other"));
        std::fs::create_dir_all(state.join("names")).unwrap();
        std::fs::create_dir(&other).unwrap();
        std::os::unix::fs::symlink(&state, base.join("link")).unwrap();
        let check = |from: &Path, private: &Path| {
            let binds = [(from.to_path_buf(), "/in".to_owned())];
            check_binds(&binds, &[("containers", private)]).map_err(|e| e.to_string())
        };
        for from in [&state, &state.join("names"), &base, Path::new("/")] {
            for private in [&state, &base.join("link")] {
                let said = check(from, private).unwrap_err();
                assert!(said.contains("directory of containers"), "{said}");
            }
        }
        assert!(check(&other, &state).is_ok());
        assert!(check(&base.join("state2"), &state).is_ok());
        // Not there yet.
        assert!(check(&other, &other.join("a/b")).is_err());
        assert!(check(&state, &other.join("a/b")).is_ok());
    }
}
