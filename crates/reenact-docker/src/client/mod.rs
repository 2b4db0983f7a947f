//! The commands, as their users call them.

mod cidfile;
mod commit;
mod copy;
mod exec;
mod filter;
mod inspect;
mod landing;
mod life;
mod list;
mod local;
mod run;
mod streams;

use crate::error::DockerError;
use crate::images;
use crate::place::{Place, Status, short};
use crate::station;
use crate::wire::{self, Answer, Request};
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

pub use list::ago;

/// What the command line of `reenact` gives to all commands.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Our own program, which is started as stations: with `docker __station DIR`.
    pub program: PathBuf,
    /// Where images are.
    pub store: PathBuf,
    /// How limits are enforced: `auto`, `cgroup` or `rlimit`.
    pub limits: String,
}

/// The word that makes our program a station.
const STATION: &str = "__station";

/// Exit code for what is our failure, not a program's, in commands whose exit code is a program's.
const OURS: i32 = 125;

const HELP: &str = "\
reenact docker: what harnesses call of a container command, without a daemon

  run [OPTIONS] IMAGE [COMMAND…]       start a container: -d --init --name -w --cpus -m --network none|host -u
                                       --cap-drop --cap-add --security-opt no-new-privileges -e --env-file --rm -i
                                       --entrypoint -h -v HOST:CONTAINER:ro --mount --platform linux/amd64 --pull
                                       --shm-size --pids-limit -l --stop-signal --stop-timeout --cidfile
  exec [OPTIONS] CONTAINER COMMAND…    run a command in it: -i -d -w -e --env-file -u
  cp [-L] [-a] CONTAINER:PATH PATH|-   copy out; cp PATH|- CONTAINER:PATH copies in
  commit [-c CHANGE] [-m TEXT] [-a WHO] CONTAINER [IMAGE]
  stop [-t SECONDS] [-s SIGNAL], kill [-s SIGNAL], wait, rm [-f], logs [-f]   CONTAINER…
  ps [-a] [-q] [--no-trunc] [-f FILTER] [--format F]
  images [-q] [--no-trunc] [--format F] [NAME], pull [-q] IMAGE, rmi [-f] IMAGE…, tag IMAGE NAME
  inspect [-f FORMAT] [--type container|image] NAME…, version [-f FORMAT], info [-f FORMAT]

Containers are found by name, by id, or by a beginning of their id. Every other option is refused by name (exit code 125).
Exit codes: run and exec give the program's own, 128+signal, 127 if there is no such program, 126 if it cannot be executed,
125 for failures of ours; the others give 1.";

/// Runs one command; gives the exit code. Errors are printed as one line on standard error.
pub fn main(words: &[String], settings: &Settings) -> i32 {
    let (command, rest) = command(words);
    let failure = if matches!(command, "run" | "exec" | STATION) { OURS } else { 1 };
    match dispatch(command, rest, settings) {
        Ok(code) => code,
        Err(error) => {
            say_error(&error.to_string());
            error.code(failure)
        }
    }
}

/// The command, with `container X` and `image X` as their short forms.
fn command(words: &[String]) -> (&str, &[String]) {
    let word = |i: usize| words.get(i).map_or("", String::as_str);
    let short = match (word(0), word(1)) {
        ("container", "ls" | "list" | "ps") => "ps",
        ("container", other) if !other.is_empty() => other,
        ("image", "ls" | "list") => "images",
        ("image", "rm" | "remove") => "rmi",
        ("image", "inspect") => "inspect-image",
        ("image", other @ ("pull" | "tag")) => other,
        (first, _) => return (first, words.get(1..).unwrap_or_default()),
    };
    (short, &words[2..])
}

fn dispatch(command: &str, words: &[String], settings: &Settings) -> Result<i32, DockerError> {
    match command {
        "run" => run::run(words, settings),
        "exec" => exec::exec(words),
        "cp" => copy::copy(words),
        "commit" => commit::commit(words, settings),
        "stop" => life::stop(words),
        "kill" => life::kill(words),
        "wait" => life::wait(words),
        "rm" => life::rm(words),
        "logs" => life::logs(words),
        "ps" => list::ps(words),
        "images" => list::images(words, settings),
        "pull" => images::pull_command(words, settings),
        "rmi" => images::rmi(words, settings),
        "tag" => images::tag(words, settings),
        "inspect" => inspect::inspect(words, settings, None),
        "inspect-image" => inspect::inspect(words, settings, Some("image")),
        "version" => inspect::version(words),
        "info" => inspect::info(words, settings),
        "--version" | "-v" => {
            say(&format!("reenact docker version {}", env!("CARGO_PKG_VERSION")));
            Ok(0)
        }
        "" | "help" | "--help" | "-h" => {
            say(HELP);
            Ok(0)
        }
        STATION => {
            let [dir] = words else {
                return Err(DockerError::usage("a station needs a directory"));
            };
            station::serve(&Place::at(Path::new(dir)))?;
            Ok(0)
        }
        other if other.starts_with('-') => {
            Err(DockerError::Usage(format!("unknown flag: {other} (options follow the command)")))
        }
        other => Err(DockerError::Usage(format!(
            "{other:?} is not understood; `help` lists the commands that are"
        ))),
    }
}

/// One line (or several) on standard output. Whoever does not read it does not need it.
fn say(text: &str) {
    let _said = writeln!(std::io::stdout(), "{text}");
}

/// One line on standard error, harmless on a terminal: names and messages of containers are in it.
fn say_error(text: &str) {
    let line = plain(text.trim_end()).replace('\n', "; ");
    let _said = writeln!(std::io::stderr(), "error: {line}");
}

fn note(text: &str) {
    let _said = writeln!(std::io::stderr(), "{}", plain(text));
}

/// Without control characters.
pub(crate) fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c })
        .collect()
}

fn token() -> u64 {
    fastrand::u64(..)
}

/// A connection to a running container's station.
fn connect(place: &Place) -> Result<UnixStream, DockerError> {
    place.connect().map_err(|_| {
        let state = place.state();
        let why = match state.status {
            Status::Dead => "its process was killed; `rm -f` cleans up".to_owned(),
            Status::Exited => format!("it exited with {}", state.code.unwrap_or(0)),
            Status::Created | Status::Running => "it has not been started yet".to_owned(),
        };
        if place.dir.is_dir() {
            DockerError::NotRunning { id: short(&place.id).to_owned(), why }
        } else {
            DockerError::NoContainer(short(&place.id).to_owned())
        }
    })
}

/// The station ended while it was asked.
fn lost(place: &Place) -> impl Fn(std::io::Error) -> DockerError {
    let id = short(&place.id).to_owned();
    move |e| match e.kind() {
        std::io::ErrorKind::InvalidInput => DockerError::Usage(e.to_string()),
        _ => DockerError::NotRunning { id: id.clone(), why: "it ended meanwhile".to_owned() },
    }
}

/// The next answer; a failure is an error.
fn answer(place: &Place, connection: &mut UnixStream) -> Result<Answer, DockerError> {
    match wire::receive(connection).map_err(lost(place))? {
        Answer::Failed { what, code } => Err(DockerError::Answered { what, code }),
        other => Ok(other),
    }
}

/// One request and its answer.
fn ask(place: &Place, request: &Request) -> Result<Answer, DockerError> {
    let mut connection = connect(place)?;
    wire::send(&mut connection, request).map_err(lost(place))?;
    answer(place, &mut connection)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_forms_are_short_forms() {
        let of = |line: &str| {
            let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            let (command, rest) = command(&words);
            format!("{command}:{}", rest.join(","))
        };
        assert_eq!(of("run -d x"), "run:-d,x");
        assert_eq!(of("container rm -f x"), "rm:-f,x");
        assert_eq!(of("container ls"), "ps:");
        assert_eq!(of("image inspect x"), "inspect-image:x");
        assert_eq!(of("image prune"), "image:prune");
        assert_eq!(of(""), ":");
    }

    #[test]
    fn errors_are_harmless_on_a_terminal() {
        assert_eq!(plain("a\x1b[31mb\u{9b}c\td"), "a\u{fffd}[31mb\u{fffd}c\td");
    }
}
