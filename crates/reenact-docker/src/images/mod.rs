//! Images, by way of the store: the commands about them, and (in [`get`]) choosing one for `run`.

mod get;

pub use get::{Chosen, choose, limit, make_room, own, remove_scratch};

use crate::client::Settings;
use crate::error::DockerError;
use crate::flags::{self, Ends, Flag, switch, value};
use get::fetch;
use reenact_image::{Image, ImageError, Store};
use serde_json::{Value, json};
use std::io::Write;

/// The store.
///
/// # Errors
/// [`DockerError::Image`].
pub fn store(settings: &Settings) -> Result<Store, DockerError> {
    Ok(Store::open(&settings.store)?)
}

fn say_error(text: &str) {
    // Nobody may listen. Names and messages of registries are not ours.
    let _said = writeln!(std::io::stderr(), "{}", crate::client::plain(text));
}

/// In the words that scripts look for.
pub fn missing(name: &str, error: ImageError) -> DockerError {
    match error {
        ImageError::NotFound { store, .. } => DockerError::Failed(format!(
            "No such image: {name} in the store at {}; `pull {name}` or `reenact image import FILE` gets it",
            store.display()
        )),
        other => other.into(),
    }
}

fn find(store: &Store, name: &str) -> Result<Image, DockerError> {
    store.get(name).map_err(|e| missing(name, e))
}

pub fn pull_command(words: &[String], settings: &Settings) -> Result<i32, DockerError> {
    const FLAGS: [Flag; 2] = [switch("quiet", Some('q')), value("platform", None)];
    let p = flags::parse("pull", &FLAGS, Ends::Never, words)?;
    let [name] = p.rest.as_slice() else {
        return Err(DockerError::usage("pull: expected one image"));
    };
    if let Some(other) = p.last("platform").filter(|p| *p != "linux/amd64") {
        return Err(DockerError::Usage(format!(
            "pull: --platform {other} is refused: containers are linux/amd64 here"
        )));
    }
    let limit = limit()?;
    let image = fetch(&store(settings)?, name, p.on("quiet"), limit)?;
    say(image.names.first().unwrap_or(&image.id));
    Ok(0)
}

fn say(text: &str) {
    // Nobody may listen.
    let _said = writeln!(std::io::stdout(), "{text}");
}

pub fn rmi(words: &[String], settings: &Settings) -> Result<i32, DockerError> {
    const FLAGS: [Flag; 2] = [switch("force", Some('f')), switch("no-prune", None)];
    let p = flags::parse("rmi", &FLAGS, Ends::Never, words)?;
    if p.rest.is_empty() {
        return Err(DockerError::usage("rmi: expected at least one image"));
    }
    let store = store(settings)?;
    let mut code = 0;
    for name in &p.rest {
        match store.remove(name) {
            Ok(()) => say(&format!("Untagged: {name}")),
            Err(e) => {
                // An image that is not there is no failure with -f, as docker has it.
                if !(p.on("force") && matches!(e, ImageError::NotFound { .. })) {
                    code = 1;
                }
                let what = missing(name, e).to_string().replace('\n', "; ");
                say_error(&format!("error: {what}"));
            }
        }
    }
    Ok(code)
}

pub fn tag(words: &[String], settings: &Settings) -> Result<i32, DockerError> {
    let p = flags::parse("tag", &[], Ends::Never, words)?;
    let [image, name] = p.rest.as_slice() else {
        return Err(DockerError::usage("tag: expected IMAGE NAME"));
    };
    let store = store(settings)?;
    let image = find(&store, image)?;
    store.tag(&image, name)?;
    Ok(0)
}

/// A normalised name as docker shows it: without the registry and the library that are meant without them.
fn familiar(name: &str) -> &str {
    let short = name.strip_prefix("docker.io/").unwrap_or(name);
    short.strip_prefix("library/").unwrap_or(short)
}

/// Repository and tag; the tag follows the last colon that is not of a registry's port.
fn split(name: &str) -> (&str, &str) {
    let name = familiar(name);
    let name = name.split_once('@').map_or(name, |(n, _)| n);
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, tag),
        _ => (name, "<none>"),
    }
}

/// `images`: a row for each name, by the names that docker's formats have for fields.
///
/// # Errors
/// [`DockerError::Image`].
pub fn rows(settings: &Settings, whole: bool) -> Result<Vec<Value>, DockerError> {
    let mut rows = Vec::new();
    for image in store(settings)?.list()? {
        let digits = image.id.strip_prefix("sha256:").unwrap_or(&image.id);
        let id = if whole { &image.id } else { crate::place::short(digits) };
        let created = image.created.as_deref().unwrap_or_default();
        let names: Vec<&str> = match image.names.as_slice() {
            [] => vec![""],
            names => names.iter().map(String::as_str).collect(),
        };
        for name in names {
            let (repository, tag) =
                if name.is_empty() { ("<none>", "<none>") } else { split(name) };
            rows.push(json!({
                "Repository": repository,
                "Tag": tag,
                "ID": id,
                "Digest": "<none>",
                "CreatedAt": created,
                "CreatedSince": crate::client::ago(created).map_or_else(|| "N/A".to_owned(), |t| format!("{t} ago")),
                "Size": size(image.size),
                "Containers": "N/A",
            }));
        }
    }
    Ok(rows)
}

/// Bytes, as docker shows them (three digits, powers of 1000).
fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    let units = ["B", "kB", "MB", "GB", "TB"];
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    match value {
        v if v < 10.0 && unit > 0 => format!("{v:.2}{}", units[unit]),
        v if v < 100.0 && unit > 0 => format!("{v:.1}{}", units[unit]),
        v => format!("{v:.0}{}", units[unit]),
    }
}

/// `inspect`
pub fn inspect(image: &Image) -> Value {
    json!({
        "Id": image.id,
        "RepoTags": image.names.iter().map(|n| familiar(n)).collect::<Vec<_>>(),
        "Created": image.created,
        "Architecture": "amd64",
        "Os": "linux",
        "Size": image.size,
        "Config": {
            "Env": image.config.env,
            "Entrypoint": image.config.entrypoint,
            "Cmd": image.config.cmd,
            "User": image.config.user,
            "WorkingDir": image.config.working_dir,
            "Labels": image.config.labels,
        },
        "RootFS": {"Type": "layers", "Layers": image.layers},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_as_docker_shows_them() {
        assert_eq!(split("docker.io/library/debian:12"), ("debian", "12"));
        assert_eq!(split("docker.io/org/name:v1"), ("org/name", "v1"));
        assert_eq!(split("localhost:5000/x:v"), ("localhost:5000/x", "v"));
        assert_eq!(split("localhost:5000/x"), ("localhost:5000/x", "<none>"));
        assert_eq!(split("docker.io/library/a@sha256:00"), ("a", "<none>"));
    }

    #[test]
    fn sizes_have_three_digits() {
        for (bytes, is) in [
            (0, "0B"),
            (999, "999B"),
            (1500, "1.50kB"),
            (117_000_000, "117MB"),
            (12_340_000_000, "12.3GB"),
        ] {
            assert_eq!(size(bytes), is);
        }
    }
}
