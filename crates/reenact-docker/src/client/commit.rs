//! `commit`.

use super::{Settings, note, say};
use crate::error::DockerError;
use crate::flags::{self, Ends, Flag, Parsed, switch, value};
use crate::images;
use crate::place::{Root, short};
use reenact_image::ImageConfig;

pub fn commit(words: &[String], settings: &Settings) -> Result<i32, DockerError> {
    const FLAGS: [Flag; 4] = [
        value("change", Some('c')),
        value("message", Some('m')),
        value("author", Some('a')),
        switch("pause", Some('p')),
    ];
    let p = flags::parse("commit", &FLAGS, Ends::Never, words)?;
    let (container, name) = match p.rest.as_slice() {
        [container] => (container, None),
        [container, name] => (container, Some(name.clone())),
        _ => return Err(DockerError::usage("commit: expected CONTAINER [IMAGE]")),
    };
    let place = Root::open()?.find(container)?;
    let config = place.config()?;
    for line in ignored(&p) {
        note(&format!("WARNING: {line}"));
    }
    let (store, limit) = (images::store(settings)?, images::limit()?);
    let parent = store.get(&config.image_id)?;
    let mut new = ImageConfig {
        env: config.env.iter().map(|(n, v)| format!("{n}={v}")).collect(),
        user: config.user.clone(),
        working_dir: config.cwd.clone(),
        labels: config.labels.clone(),
        ..parent.config.clone()
    };
    for text in p.all("change") {
        change(&mut new, text)?;
    }
    // An image without a name is found by its id, which the store gives under any name.
    let name = name.unwrap_or_else(|| format!("reenact-commit:{}", short(&place.id)));
    let image = store.commit(&parent, &config.scratch.join("upper"), &name, &new)?;
    images::make_room(&store, limit, &image)?;
    say(&image.id);
    Ok(0)
}

/// What was accepted without being done.
fn ignored(p: &Parsed) -> Vec<String> {
    let kept = ["message", "author"].into_iter().filter(|name| p.last(name).is_some());
    let mut all: Vec<String> =
        kept.map(|name| format!("--{name}: images keep none, it is left out")).collect();
    if p.on("pause") {
        all.push(
            "--pause: nothing is paused, files that change meanwhile are as they are then"
                .to_owned(),
        );
    }
    all
}

/// One line of a Dockerfile: CMD, ENTRYPOINT, ENV, USER, WORKDIR, LABEL.
fn change(config: &mut ImageConfig, line: &str) -> Result<(), DockerError> {
    let (word, rest) = line.trim().split_once([' ', '\t']).unwrap_or((line.trim(), ""));
    let rest = rest.trim();
    let pair = || match rest.split_once('=') {
        Some((name, value)) => Ok((name.to_owned(), value.trim_matches('"').to_owned())),
        None => rest
            .split_once(' ')
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .ok_or_else(|| DockerError::Usage(format!("--change {line:?}: expected NAME=VALUE"))),
    };
    match word.to_ascii_uppercase().as_str() {
        "CMD" => config.cmd = Some(words(rest)),
        "ENTRYPOINT" => config.entrypoint = Some(words(rest)),
        "USER" => config.user = rest.to_owned(),
        "WORKDIR" => config.working_dir = rest.to_owned(),
        "ENV" => {
            let (name, value) = pair()?;
            let prefix = format!("{name}=");
            config.env.retain(|e| !e.starts_with(&prefix));
            config.env.push(format!("{name}={value}"));
        }
        "LABEL" => {
            let (name, value) = pair()?;
            config.labels.insert(name, value);
        }
        _ => {
            return Err(DockerError::Usage(format!(
                "--change {line:?}: only CMD, ENTRYPOINT, ENV, USER, WORKDIR and LABEL are understood"
            )));
        }
    }
    Ok(())
}

/// `["a", "b"]`, or a line for the shell.
fn words(text: &str) -> Vec<String> {
    serde_json::from_str(text)
        .unwrap_or_else(|_| vec!["/bin/sh".to_owned(), "-c".to_owned(), text.to_owned()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_lines_of_a_dockerfile() {
        let mut config = ImageConfig { env: vec!["A=0".to_owned()], ..ImageConfig::default() };
        for line in [
            r#"CMD ["sleep", "1"]"#,
            "entrypoint echo hi",
            "ENV A=1",
            "ENV B two words",
            "USER agent",
            "WORKDIR /w",
            r#"LABEL x="y""#,
        ] {
            change(&mut config, line).unwrap();
        }
        assert_eq!(config.cmd.unwrap(), ["sleep", "1"]);
        assert_eq!(config.entrypoint.unwrap(), ["/bin/sh", "-c", "echo hi"]);
        assert_eq!(config.env, ["A=1", "B=two words"]);
        assert_eq!((config.user.as_str(), config.working_dir.as_str()), ("agent", "/w"));
        assert_eq!(config.labels["x"], "y");
        let said = change(&mut ImageConfig::default(), "RUN x").unwrap_err().to_string();
        assert!(said.contains("RUN x"), "{said}");
    }
}
