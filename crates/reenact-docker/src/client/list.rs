//! `ps` and `images`.

use super::filter::Filters;
use super::{Settings, plain, say};
use crate::error::DockerError;
use crate::flags::{self, Ends, Flag, switch, value};
use crate::images;
use crate::place::{Config, Place, Root, State, Status, short};
use crate::template;
use serde_json::{Value, json};
use std::time::SystemTime;

/// A row, by the names that docker's formats have for its fields.
type Row = Value;

/// Prints rows: ids alone, a format, or a table of some of the fields.
fn print(p: &flags::Parsed, rows: &[Row], columns: &[(&str, &str)]) -> Result<(), DockerError> {
    let format = p.last("format");
    if p.on("quiet") {
        for row in rows {
            say(row["ID"].as_str().unwrap_or_default());
        }
        return Ok(());
    }
    match format {
        None | Some("table") => table(rows, columns),
        Some(format) => {
            for row in rows {
                say(&plain(&template::fill(format.strip_prefix("table ").unwrap_or(format), row)?));
            }
        }
    }
    Ok(())
}

fn table(rows: &[Row], columns: &[(&str, &str)]) {
    let cell = |row: &Row, field: &str| plain(row[field].as_str().unwrap_or_default());
    let width = |(title, field): &(&str, &str)| {
        rows.iter().map(|r| cell(r, field).chars().count()).chain([title.len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = columns.iter().map(width).collect();
    let line = |cells: Vec<String>| {
        let padded: Vec<String> =
            cells.iter().zip(&widths).map(|(c, w)| format!("{c:<w$}", w = *w)).collect();
        say(padded.join("   ").trim_end());
    };
    line(columns.iter().map(|(title, _)| (*title).to_owned()).collect());
    for row in rows {
        line(columns.iter().map(|(_, field)| cell(row, field)).collect());
    }
}

pub fn ps(words: &[String]) -> Result<i32, DockerError> {
    const FLAGS: [Flag; 5] = [
        switch("all", Some('a')),
        switch("quiet", Some('q')),
        switch("no-trunc", None),
        value("filter", Some('f')),
        value("format", None),
    ];
    let p = flags::parse("ps", &FLAGS, Ends::Never, words)?;
    if let Some(word) = p.rest.first() {
        return Err(DockerError::Usage(format!("ps: {word:?} is not understood")));
    }
    let filters = Filters::read(p.all("filter"))?;
    let mut rows = Vec::new();
    for (place, config) in Root::open()?.all()? {
        let state = place.state();
        let shown = p.on("all") || filters.asks_status() || state.status == Status::Running;
        if shown && filters.keep(&config, &state) {
            rows.push(row(&place, &config, &state, p.on("no-trunc")));
        }
    }
    let columns = [
        ("CONTAINER ID", "ID"),
        ("IMAGE", "Image"),
        ("COMMAND", "Command"),
        ("CREATED", "RunningFor"),
        ("STATUS", "Status"),
        ("NAMES", "Names"),
    ];
    print(&p, &rows, &columns)?;
    Ok(0)
}

fn row(place: &Place, config: &Config, state: &State, whole: bool) -> Row {
    let age = |time: &str| ago(time).unwrap_or_else(|| "?".to_owned());
    let status = match state.status {
        Status::Running => format!("Up {}", age(&state.started)),
        Status::Exited => {
            format!("Exited ({}) {} ago", state.code.unwrap_or(0), age(&state.finished))
        }
        Status::Created => "Created".to_owned(),
        Status::Dead => "Dead".to_owned(),
    };
    let command = config.argv.join(" ");
    let command = match command.char_indices().nth(20) {
        Some((at, _)) if !whole => format!("{}…", &command[..at]),
        _ => command,
    };
    json!({
        "ID": if whole { &place.id } else { short(&place.id) },
        "Image": config.image,
        "Command": format!("\"{command}\""),
        "CreatedAt": config.created,
        "RunningFor": format!("{} ago", age(&config.created)),
        "State": state.status.word(),
        "Status": status,
        "Names": config.name,
        "Ports": "",
        "Labels": config.labels.iter().map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>().join(","),
    })
}

pub fn images(words: &[String], settings: &Settings) -> Result<i32, DockerError> {
    const FLAGS: [Flag; 6] = [
        switch("all", Some('a')),
        switch("quiet", Some('q')),
        switch("no-trunc", None),
        switch("digests", None),
        value("format", None),
        value("filter", Some('f')),
    ];
    let p = flags::parse("images", &FLAGS, Ends::Never, words)?;
    let wanted = match p.rest.as_slice() {
        [] => None,
        [one] => Some(one.as_str()),
        _ => return Err(DockerError::usage("images: expected at most one name")),
    };
    let mut wanted: Vec<&str> = wanted.into_iter().collect();
    for filter in p.all("filter") {
        match filter.split_once('=') {
            Some(("reference", name)) => wanted.push(name),
            _ => {
                return Err(DockerError::Usage(format!(
                    "images: --filter {filter}: only reference= is understood"
                )));
            }
        }
    }
    let rows: Vec<Row> = images::rows(settings, p.on("no-trunc"))?
        .into_iter()
        .filter(|row| wanted.iter().all(|name| is_called(row, name)))
        .collect();
    let columns = [
        ("REPOSITORY", "Repository"),
        ("TAG", "Tag"),
        ("IMAGE ID", "ID"),
        ("CREATED", "CreatedSince"),
        ("SIZE", "Size"),
    ];
    print(&p, &rows, &columns)?;
    Ok(0)
}

/// Whether a row is of this repository, or of this repository and tag.
fn is_called(row: &Row, name: &str) -> bool {
    let (repository, tag) = (row["Repository"].as_str(), row["Tag"].as_str());
    let name = name.strip_prefix("docker.io/library/").unwrap_or(name);
    let name = name.strip_prefix("docker.io/").unwrap_or(name);
    repository == Some(name) || repository.zip(tag).is_some_and(|(r, t)| format!("{r}:{t}") == name)
}

/// How long ago a time of RFC 3339 was, roughly, as docker says it.
pub fn ago(time: &str) -> Option<String> {
    let then: jiff::Timestamp = time.parse().ok()?;
    let then = SystemTime::from(then);
    let seconds = SystemTime::now().duration_since(then).unwrap_or_default().as_secs();
    let (n, unit) = match seconds {
        0..60 => (seconds, "second"),
        60..3600 => (seconds / 60, "minute"),
        3600..172_800 => (seconds / 3600, "hour"),
        _ => (seconds / 86400, "day"),
    };
    Some(format!("{n} {unit}{}", if n == 1 { "" } else { "s" }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_found_by_repository_and_tag() {
        let row = json!({"Repository": "org/name", "Tag": "v1"});
        assert!(is_called(&row, "org/name") && is_called(&row, "docker.io/org/name:v1"));
        assert!(!is_called(&row, "org/name:v2") && !is_called(&row, "name"));
    }

    #[test]
    fn times_are_rough() {
        assert_eq!(ago("2001-01-01T00:00:00Z").unwrap().split(' ').nth(1), Some("days"));
        assert_eq!(ago("soon"), None);
        assert_eq!(ago("2999-01-01T00:00:00Z").as_deref(), Some("0 seconds"));
    }
}
