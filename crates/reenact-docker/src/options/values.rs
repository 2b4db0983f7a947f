//! Values of single options.

use super::Pull;
use super::table::NO_NETWORKS;
use crate::error::DockerError;
use crate::flags::Parsed;
use crate::units;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Options that have one meaning here: every other value is refused.
pub fn accepted(p: &Parsed) -> Result<(), DockerError> {
    let allowed: [(&str, &[&str]); 5] = [
        ("platform", &["linux/amd64", "linux/x86_64", "linux/amd64/v1"]),
        ("restart", &["no"]),
        ("ipc", &["private", "none", "shareable"]),
        ("log-driver", &["json-file", "local"]),
        ("cgroupns", &["private"]),
    ];
    for (name, values) in allowed {
        if let Some(other) = p.all(name).find(|v| !values.contains(v)) {
            return Err(DockerError::Usage(format!(
                "run: --{name} {other} is refused: {}",
                match name {
                    "platform" => "containers are linux/amd64 here".to_owned(),
                    _ => format!("only {} is given here", values.join(", ")),
                }
            )));
        }
    }
    Ok(())
}

pub fn workdir(p: &Parsed) -> Result<Option<String>, DockerError> {
    match p.last("workdir") {
        Some(dir) if !dir.starts_with('/') => Err(DockerError::Usage(format!(
            "the working directory {dir:?} is invalid, it needs to be an absolute path"
        ))),
        other => Ok(other.map(str::to_owned)),
    }
}

pub fn environment(p: &Parsed) -> Result<Vec<(String, String)>, DockerError> {
    let mut env = Vec::new();
    for file in p.all("env-file") {
        let text = std::fs::read_to_string(file)
            .map_err(|e| DockerError::Usage(format!("--env-file {file}: {e}")))?;
        env.extend(units::env_file(&text)?);
    }
    for text in p.all("env") {
        env.extend(units::variable(text)?);
    }
    Ok(env)
}

pub fn cpus(p: &Parsed) -> Result<Option<f64>, DockerError> {
    let Some(text) = p.last("cpus") else { return Ok(None) };
    match text.parse::<f64>() {
        Ok(n) if n.is_finite() && n >= 0.0 => Ok(Some(n).filter(|n| *n > 0.0)),
        _ => Err(DockerError::Usage(format!("--cpus {text:?}: expected a number such as 1.5"))),
    }
}

pub fn processes(p: &Parsed) -> Result<Option<u32>, DockerError> {
    /// As many as a kernel of 64 bits can have, and takes as a limit: no limit.
    const ALL: u32 = 1 << 22;
    let Some(text) = p.last("pids-limit") else { return Ok(None) };
    let wrong = |_| DockerError::Usage(format!("--pids-limit {text:?}: expected a number"));
    let number: i64 = text.parse().map_err(wrong)?;
    // As docker's, 0 and -1 are no limit.
    let wanted = if number <= 0 { ALL } else { u32::try_from(number).unwrap_or(ALL).min(ALL) };
    Ok(Some(wanted))
}

/// Seconds, as a whole number.
///
/// # Errors
/// [`DockerError::Usage`].
pub fn seconds(flag: &str, text: &str) -> Result<u64, DockerError> {
    text.parse().map_err(|_| {
        DockerError::Usage(format!("{flag} {text:?}: expected seconds, a whole number"))
    })
}

pub fn host_network(p: &Parsed, host_by_default: bool) -> Result<bool, DockerError> {
    match p.last("network") {
        Some("host") => Ok(true),
        Some("none") => Ok(false),
        None | Some("bridge" | "default") => Ok(host_by_default),
        Some(other) => {
            Err(DockerError::Usage(format!("--network {other:?}: refused, {NO_NETWORKS}")))
        }
    }
}

pub fn no_new_privileges(p: &Parsed) -> Result<bool, DockerError> {
    let mut on = false;
    for text in p.all("security-opt") {
        match text.replace('=', ":").as_str() {
            "no-new-privileges" | "no-new-privileges:true" => on = true,
            "no-new-privileges:false" => on = false,
            _ => {
                return Err(DockerError::Usage(format!(
                    "--security-opt {text}: refused; no-new-privileges is the only one, and the filter of system calls has no switch"
                )));
            }
        }
    }
    Ok(on)
}

pub fn pull(p: &Parsed) -> Result<Pull, DockerError> {
    match p.last("pull") {
        None | Some("missing") => Ok(Pull::Missing),
        Some("always") => Ok(Pull::Always),
        Some("never") => Ok(Pull::Never),
        Some(other) => {
            Err(DockerError::Usage(format!("--pull {other:?}: expected missing, always or never")))
        }
    }
}

pub fn label(text: &str) -> (String, String) {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    (name.to_owned(), value.to_owned())
}

/// A container's name: `[a-zA-Z0-9][a-zA-Z0-9_.-]+`, so that it is a file name too.
pub fn name(text: &str) -> Result<String, DockerError> {
    let text = text.strip_prefix('/').unwrap_or(text);
    let good = text.len() >= 2
        && text.len() <= 200
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c));
    if good {
        Ok(text.to_owned())
    } else {
        Err(DockerError::Usage(format!(
            "Invalid container name ({text}), only [a-zA-Z0-9][a-zA-Z0-9_.-]+ (2 to 200 characters) are allowed"
        )))
    }
}

pub fn hostname(text: &str) -> Result<String, DockerError> {
    let good = !text.is_empty()
        && text.len() <= 63
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-.".contains(c));
    good.then(|| text.to_owned()).ok_or_else(|| {
        DockerError::Usage(format!(
            "--hostname {text:?}: expected up to 63 letters, digits, - and ."
        ))
    })
}

pub fn mounts(p: &Parsed) -> Result<Vec<(PathBuf, String)>, DockerError> {
    let mut all = Vec::new();
    for text in p.all("volume") {
        let parts: Vec<&str> = text.split(':').collect();
        let read_only = |mode: &str| mode.split(',').any(|m| m == "ro");
        match parts[..] {
            [from, to, mode] if read_only(mode) => all.push(bind(from, to)?),
            _ => {
                return Err(DockerError::Usage(format!(
                    "--volume {text}: refused; only read-only binds (HOST:CONTAINER:ro) are given, bring files back with `cp`"
                )));
            }
        }
    }
    for text in p.all("mount") {
        let fields: BTreeMap<&str, &str> =
            text.split(',').map(|f| f.split_once('=').unwrap_or((f, "true"))).collect();
        let get = |names: [&str; 3]| names.iter().find_map(|n| fields.get(n).copied());
        let read_only =
            get(["readonly", "ro", "readonly"]).is_some_and(|v| v == "true" || v == "1");
        match (
            fields.get("type"),
            get(["source", "src", "src"]),
            get(["target", "dst", "destination"]),
        ) {
            (Some(&"bind"), Some(from), Some(to)) if read_only => all.push(bind(from, to)?),
            _ => {
                return Err(DockerError::Usage(format!(
                    "--mount {text}: refused; only type=bind,source=…,target=…,readonly is given"
                )));
            }
        }
    }
    Ok(all)
}

fn bind(from: &str, to: &str) -> Result<(PathBuf, String), DockerError> {
    let wrong = |what: &str| DockerError::Usage(format!("bind of {from} to {to}: {what}"));
    if !Path::new(from).is_absolute() || !to.starts_with('/') || to == "/" {
        return Err(wrong("both must be absolute paths, the second one not /"));
    }
    if to.split('/').any(|part| part == "..") {
        return Err(wrong("no `..` please"));
    }
    let from = std::fs::canonicalize(from).map_err(|e| wrong(&e.to_string()))?;
    Ok((from, to.to_owned()))
}

pub fn warnings(p: &Parsed) -> Result<Vec<String>, DockerError> {
    let mut all = Vec::new();
    let size = |name: &str| match p.last(name) {
        None | Some("-1") => Ok(None),
        Some(text) => units::bytes(&format!("--{name}"), text).map(Some),
    };
    // Memory and swap together no more than memory alone: no swap, as all containers here.
    if let Some(text) = p.last("memory-swap")
        && size("memory-swap")?.filter(|b| *b > 0) != size("memory")?.filter(|b| *b > 0)
    {
        all.push(format!("--memory-swap {text}: left out, containers have no swap"));
    }
    if let Some(text) = p.last("memory-reservation") {
        size("memory-reservation")?;
        all.push(format!("--memory-reservation {text}: left out, --memory is the only limit"));
    }
    for text in p.all("ulimit") {
        if !text.starts_with("nofile=") {
            return Err(DockerError::Usage(format!(
                "--ulimit {text}: refused; only nofile is understood"
            )));
        }
        all.push(format!(
            "--ulimit {text}: containers have their own limit of open files, which stays"
        ));
    }
    Ok(all)
}
