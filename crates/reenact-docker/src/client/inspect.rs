//! `inspect`, `version`, `info`.

use super::{Settings, say, say_error};
use crate::error::DockerError;
use crate::flags::{self, Ends, Flag, switch, value};
use crate::images;
use crate::place::{Config, Place, Root, State, Status};
use crate::template;
use serde_json::{Value, json};

const NEVER: &str = "0001-01-01T00:00:00Z";

pub fn inspect(
    words: &[String],
    settings: &Settings,
    kind: Option<&str>,
) -> Result<i32, DockerError> {
    const FLAGS: [Flag; 3] =
        [value("format", Some('f')), value("type", None), switch("size", Some('s'))];
    let p = flags::parse("inspect", &FLAGS, Ends::Never, words)?;
    if p.rest.is_empty() {
        return Err(DockerError::usage("inspect: expected at least one name"));
    }
    let kind = p.last("type").or(kind);
    let mut found = Vec::new();
    let mut code = 0;
    for name in &p.rest {
        match one(name, kind, settings) {
            Ok(value) => found.push(value),
            Err(e) => {
                say_error(&e.to_string());
                code = 1;
            }
        }
    }
    match p.last("format") {
        Some(format) => {
            for value in &found {
                say(&template::fill(format, value)?);
            }
        }
        None => say(&serde_json::to_string_pretty(&found).unwrap_or_default()),
    }
    Ok(code)
}

fn one(name: &str, kind: Option<&str>, settings: &Settings) -> Result<Value, DockerError> {
    let wants = |what: &str| kind.is_none_or(|k| k == what);
    if let Some(other) = kind.filter(|k| !["container", "image"].contains(k)) {
        return Err(DockerError::Usage(format!("inspect: --type {other} is not understood")));
    }
    if wants("container") {
        match Root::open()?.find(name) {
            Ok(place) => return Ok(container(&place, &place.config()?, &place.state())),
            Err(e @ DockerError::NoContainer(_)) if kind.is_some() => return Err(e),
            Err(DockerError::NoContainer(_)) => {}
            Err(e) => return Err(e),
        }
    }
    match images::store(settings)?.get(name) {
        Ok(image) => Ok(images::inspect(&image)),
        Err(e) if kind.is_some() => Err(images::missing(name, e)),
        Err(_) => Err(DockerError::Failed(format!("No such object: {name}"))),
    }
}

fn container(place: &Place, config: &Config, state: &State) -> Value {
    let or_never = |time: &str| if time.is_empty() { NEVER.to_owned() } else { time.to_owned() };
    json!({
        "Id": place.id,
        "Created": config.created,
        "Path": config.argv.first(),
        "Args": config.argv.get(1..).unwrap_or_default(),
        "Name": format!("/{}", config.name),
        "Image": config.image_id,
        "Platform": "linux",
        "State": {
            "Status": state.status.word(),
            "Running": state.status == Status::Running,
            "Paused": false,
            "Restarting": false,
            "OOMKilled": false,
            "Dead": state.status == Status::Dead,
            "Pid": if state.status == Status::Running { state.pid } else { 0 },
            "ExitCode": state.code.unwrap_or(0),
            "Error": state.error,
            "StartedAt": or_never(&state.started),
            "FinishedAt": or_never(&state.finished),
        },
        "Config": {
            "Hostname": config.hostname,
            "User": config.user,
            "Env": config.env.iter().map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>(),
            "Cmd": config.argv,
            "Image": config.image,
            "WorkingDir": config.cwd,
            "Labels": config.labels,
            "OpenStdin": config.interactive,
            "Tty": false,
        },
        "HostConfig": {
            "NetworkMode": if config.host_network { "host" } else { "none" },
            "Memory": config.memory.unwrap_or(0),
            // Billionths of a CPU; rounding is docker's too.
            "NanoCpus": (config.cpus.unwrap_or(0.0) * 1e9).round() as u64,
            "PidsLimit": config.processes,
            "ShmSize": config.shm_bytes,
            "AutoRemove": config.remove,
            "Init": config.init,
            "Privileged": false,
            "Binds": config.mounts.iter().map(|(from, to)| format!("{}:{to}:ro", from.display())).collect::<Vec<_>>(),
        },
        "Mounts": config.mounts.iter().map(|(from, to)| json!({
            "Type": "bind", "Source": from, "Destination": to, "Mode": "ro", "RW": false,
        })).collect::<Vec<_>>(),
    })
}

pub fn version(words: &[String]) -> Result<i32, DockerError> {
    const FLAGS: [Flag; 1] = [value("format", Some('f'))];
    let p = flags::parse("version", &FLAGS, Ends::Never, words)?;
    let version = env!("CARGO_PKG_VERSION");
    let side = json!({
        "Version": version, "Os": "linux", "Arch": "amd64",
        "Platform": {"Name": "reenact docker"},
    });
    let value = json!({"Client": side, "Server": side});
    match p.last("format") {
        Some(format) => say(&template::fill(format, &value)?),
        None => say(&format!(
            "Client: reenact docker\n Version:  {version}\n OS/Arch:  linux/amd64\n\nServer: none; a process of its own for each container\n Version:  {version}\n OS/Arch:  linux/amd64"
        )),
    }
    Ok(0)
}

pub fn info(words: &[String], settings: &Settings) -> Result<i32, DockerError> {
    const FLAGS: [Flag; 1] = [value("format", Some('f'))];
    let p = flags::parse("info", &FLAGS, Ends::Never, words)?;
    let all = Root::open()?.all()?;
    let running = all.iter().filter(|(p, _)| p.state().status == Status::Running).count();
    let value = json!({
        "ServerVersion": env!("CARGO_PKG_VERSION"),
        "Driver": "overlay",
        "OSType": "linux",
        "Architecture": "x86_64",
        "NCPU": std::thread::available_parallelism().map_or(1, usize::from),
        "Containers": all.len(),
        "ContainersRunning": running,
        "Images": images::rows(settings, false)?.len(),
        "DockerRootDir": settings.store,
    });
    match p.last("format") {
        Some(format) => say(&template::fill(format, &value)?),
        None => {
            for (name, value) in value.as_object().into_iter().flatten() {
                say(&format!(
                    "{name}: {}",
                    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
                ));
            }
        }
    }
    Ok(0)
}
