//! `stop`, `kill`, `wait`, `rm`, `logs`.

use super::streams::write_all;
use super::{ask, note, plain, say, say_error};
use crate::error::DockerError;
use crate::flags::{self, Ends, Flag, Parsed, refused, switch, value};
use crate::output::{Reader, Stream};
use crate::place::{Place, Root, Status, short};
use crate::station;
use crate::units;
use crate::wire::{Answer, Request};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

const KILL: i32 = 9;

/// Does the same for each of the containers; the exit code is 1 if that failed for one, but for a missing one where `force`
/// is on, as docker has it.
fn each(
    command: &str,
    parsed: &Parsed,
    force: bool,
    mut one: impl FnMut(&Root, &str) -> Result<String, DockerError>,
) -> Result<i32, DockerError> {
    if parsed.rest.is_empty() {
        return Err(DockerError::Usage(format!("{command}: expected at least one container")));
    }
    let root = Root::open()?;
    let mut code = 0;
    for name in &parsed.rest {
        match one(&root, name) {
            Ok(text) => say(&text),
            Err(e) => {
                say_error(&e.to_string());
                if !(force && matches!(e, DockerError::NoContainer(_))) {
                    code = 1;
                }
            }
        }
    }
    Ok(code)
}

/// Asks a container to end, and waits until it is down; gives its exit code. One that is down already is as good.
fn end(place: &Place, request: &Request) -> Result<Option<i32>, DockerError> {
    match ask(place, request) {
        Ok(Answer::Exited { code }) => Ok(Some(code)),
        Ok(other) => Err(DockerError::Failed(format!("an unexpected answer: {other:?}"))),
        Err(DockerError::NotRunning { .. } | DockerError::NoContainer(_)) => Ok(place.state().code),
        Err(e) => Err(e),
    }
}

pub fn stop(words: &[String]) -> Result<i32, DockerError> {
    const FLAGS: [Flag; 4] = [
        value("timeout", Some('t')),
        flags::alias("timeout", "time"),
        value("signal", Some('s')),
        switch("quiet", Some('q')),
    ];
    let p = flags::parse("stop", &FLAGS, Ends::Never, words)?;
    let grace = match p.last("timeout") {
        None => None,
        Some("-1") => Some(None),
        Some(text) => Some(Some(options_seconds(text)?)),
    };
    let signal = p.last("signal").map(units::signal).transpose()?;
    each("stop", &p, false, |root, name| {
        let place = root.find(name)?;
        let config = place.config()?;
        let grace = grace.unwrap_or(Some(config.stop_seconds));
        let grace_ms = grace.map(|s| s.saturating_mul(1000));
        end(&place, &Request::Stop { signal: signal.unwrap_or(config.stop_signal), grace_ms })?;
        Ok(name.to_owned())
    })
}

fn options_seconds(text: &str) -> Result<u64, DockerError> {
    crate::options::seconds("-t", text)
}

pub fn kill(words: &[String]) -> Result<i32, DockerError> {
    const FLAGS: [Flag; 1] = [value("signal", Some('s'))];
    let p = flags::parse("kill", &FLAGS, Ends::Never, words)?;
    let signal = p.last("signal").map_or(Ok(KILL), units::signal)?;
    each("kill", &p, false, |root, name| {
        let place = root.find(name)?;
        if signal == KILL {
            // That it is down already is an error here, as docker's.
            ask(&place, &Request::Stop { signal, grace_ms: Some(0) })?;
        } else {
            ask(&place, &Request::Signal { signal })?;
        }
        Ok(name.to_owned())
    })
}

pub fn wait(words: &[String]) -> Result<i32, DockerError> {
    let p = flags::parse("wait", &[], Ends::Never, words)?;
    each("wait", &p, false, |root, name| {
        let place = root.find(name)?;
        Ok(end(&place, &Request::Wait)?.unwrap_or(137).to_string())
    })
}

pub fn rm(words: &[String]) -> Result<i32, DockerError> {
    const FLAGS: [Flag; 3] = [
        switch("force", Some('f')),
        switch("volumes", Some('v')),
        refused("link", Some('l'), "there are no links"),
    ];
    let p = flags::parse("rm", &FLAGS, Ends::Never, words)?;
    let force = p.on("force");
    each("rm", &p, force, |root, name| {
        remove(&root.find(name)?, name, force)?;
        Ok(name.to_owned())
    })
}

fn remove(place: &Place, name: &str, force: bool) -> Result<(), DockerError> {
    let config = match place.config() {
        Ok(config) => config,
        // It was never finished, or is gone.
        Err(_) if force => return place.remove(),
        Err(e) => return Err(e),
    };
    if force {
        end(place, &Request::Stop { signal: KILL, grace_ms: Some(0) })?;
    } else if matches!(place.state().status, Status::Running) {
        return Err(DockerError::Failed(format!(
            "cannot remove container {name}: container is running: stop the container before removing or force remove"
        )));
    }
    if place.dir.is_dir() {
        station::remove(place, &config)?;
    }
    Ok(())
}

pub fn logs(words: &[String]) -> Result<i32, DockerError> {
    const FLAGS: [Flag; 6] = [
        switch("follow", Some('f')),
        switch("details", None),
        refused("timestamps", Some('t'), "times are not kept"),
        refused("since", None, "times are not kept"),
        refused("until", None, "times are not kept"),
        refused("tail", Some('n'), "not supported by `reenact docker`; pipe it to tail"),
    ];
    let p = flags::parse("logs", &FLAGS, Ends::Never, words)?;
    let [name] = p.rest.as_slice() else {
        return Err(DockerError::usage("logs: expected one container"));
    };
    let place = Root::open()?.find(name)?;
    let path = place.file("output");
    let Ok(mut reader) = Reader::open(&path) else {
        note(&format!("{}: it has not been started", plain(short(&place.id))));
        return Ok(0);
    };
    let own = |error| DockerError::Io { what: "cannot write the log".to_owned(), error };
    let mut out = File::from(io::stdout().as_fd().try_clone_to_owned().map_err(own)?);
    let mut err = File::from(io::stderr().as_fd().try_clone_to_owned().map_err(own)?);
    let mut last_look = false;
    loop {
        while let Some((stream, bytes)) = reader.next().map_err(DockerError::io("read", &path))? {
            let to = if stream == Stream::Out { &mut out } else { &mut err };
            if write_all(to, &bytes).is_err() {
                return Ok(super::streams::NOBODY_READS);
            }
        }
        if last_look || !p.on("follow") {
            return Ok(0);
        }
        last_look = place.state().status != Status::Running;
        if !last_look {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}
