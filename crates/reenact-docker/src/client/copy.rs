//! `cp`, by docker's rules: what is copied goes into a destination that is a directory, else it takes the destination's name.

use super::streams::{self, write_all};
use super::{answer, connect, landing, local, lost, note, token};
use crate::error::DockerError;
use crate::flags::{self, Ends, Flag, switch};
use crate::inside;
use crate::place::{Place, Root, Status};
use crate::station;
use crate::wire::{self, Answer, Request, Target, Which};
use reenact_image::Store;
use reenact_sandbox::container::Container;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// One end of a copy.
enum End<'a> {
    Container(&'a str, &'a str),
    Local(&'a str),
}

/// `CONTAINER:PATH`; what begins with `/` or `.` is local whatever follows.
fn end(text: &str) -> End<'_> {
    match text.split_once(':') {
        Some((name, path)) if !text.starts_with(['/', '.']) && !name.is_empty() => {
            End::Container(name, path)
        }
        _ => End::Local(text),
    }
}

pub fn copy(words: &[String]) -> Result<i32, DockerError> {
    const FLAGS: [Flag; 3] = [
        switch("archive", Some('a')),
        switch("follow-link", Some('L')),
        switch("quiet", Some('q')),
    ];
    let p = flags::parse("cp", &FLAGS, Ends::Never, words)?;
    let [from, to] = p.rest.as_slice() else {
        return Err(DockerError::usage("cp: expected a source and a destination"));
    };
    let follow = p.on("follow-link");
    let notes = match (end(from), end(to)) {
        (End::Container(name, path), End::Local(to)) => {
            out(&Root::open()?.find(name)?, path, to, follow)?
        }
        (End::Local(from), End::Container(name, path)) => {
            let place = Root::open()?.find(name)?;
            into(&place, from, path, follow, p.on("archive"))?
        }
        (End::Container(..), End::Container(..)) => {
            return Err(DockerError::usage("cp: copying between containers is not supported"));
        }
        (End::Local(_), End::Local(_)) => {
            return Err(DockerError::usage("cp: one of the two must be CONTAINER:PATH"));
        }
    };
    for line in notes {
        note(&format!("WARNING: {line}"));
    }
    Ok(0)
}

/// Looks into a container that has ended: for a moment this process starts another one, on its layers and changes.
fn reopened<T>(
    place: &Place,
    work: impl FnOnce(&Container) -> Result<T, DockerError>,
) -> Result<T, DockerError> {
    let mut config = place.config()?;
    let store = Store::open(&config.store)?;
    // Nobody has a lease of them for the one that has ended.
    store.hold(&config.layers, &config.image)?;
    config.layers.insert(0, config.scratch.join("upper"));
    config.scratch = store.scratch()?;
    let done = station::start(&config).and_then(|container| work(&container));
    store.remove_scratch(&config.scratch)?;
    done
}

fn is_down(place: &Place) -> bool {
    matches!(place.state().status, Status::Exited | Status::Dead)
}

/// Fetches a tar stream; `take` is told whether it is of a directory.
fn fetch(
    place: &Place,
    path: &str,
    prefix: Option<String>,
    follow: bool,
    take: impl FnOnce(bool, &mut dyn Read) -> Result<Vec<String>, DockerError> + Send,
) -> Result<Vec<String>, DockerError> {
    if is_down(place) {
        return reopened(place, |container| {
            let thing = inside::look(container, path, follow)?;
            let (theirs, ours) = pair()?;
            let name = prefix.unwrap_or_else(|| if thing.is_dir { "." } else { "file" }.to_owned());
            std::thread::scope(|scope| {
                let packing = scope.spawn(|| {
                    let mut to = BufWriter::new(theirs);
                    let notes = inside::pack(&thing, Path::new(&name), &mut to)?;
                    to.flush().map(|()| notes)
                });
                let taken = take(thing.is_dir, &mut BufReader::new(ours))?;
                let packed =
                    packing.join().unwrap_or_else(|_| Err(io::Error::other("it panicked")));
                let mut notes = packed.map_err(|error| DockerError::Io {
                    what: format!("cannot copy {path}"),
                    error,
                })?;
                notes.extend(taken);
                Ok(notes)
            })
        });
    }
    let token = token();
    let mut connection = connect(place)?;
    let request = Request::Fetch { path: path.to_owned(), prefix, follow, token };
    wire::send(&mut connection, &request).map_err(lost(place))?;
    let archive = streams::stream(place, token, Which::Archive)?;
    let Answer::Begins { is_dir } = answer(place, &mut connection)? else {
        return Err(DockerError::Failed("an unexpected answer".to_owned()));
    };
    let mut archive = BufReader::with_capacity(256 << 10, archive);
    let mut notes = take(is_dir, &mut archive)?;
    // The padding of a tar stream, which nobody needed.
    let _rest = io::copy(&mut archive, &mut io::sink());
    match answer(place, &mut connection)? {
        Answer::Done { notes: more } => notes.extend(more),
        other => return Err(DockerError::Failed(format!("an unexpected answer: {other:?}"))),
    }
    Ok(notes)
}

fn pair() -> Result<(UnixStream, UnixStream), DockerError> {
    UnixStream::pair()
        .map_err(|error| DockerError::Io { what: "cannot make a socket pair".to_owned(), error })
}

/// Out of a container.
fn out(place: &Place, path: &str, to: &str, follow: bool) -> Result<Vec<String>, DockerError> {
    let name = inside::last_name(&inside::absolute(path)).to_string_lossy().into_owned();
    if to == "-" {
        let prefix = if name.is_empty() { ".".to_owned() } else { name };
        return fetch(place, path, Some(prefix), follow, |_, archive| pass(archive));
    }
    let contents = path == "." || path.ends_with("/.");
    fetch(place, path, None, follow, |is_dir, archive| {
        let target = local::target(Path::new(to), &name, is_dir, contents)?;
        landing::unpack(archive, &target, is_dir)
    })
}

/// A tar stream on standard output.
fn pass(archive: &mut dyn Read) -> Result<Vec<String>, DockerError> {
    let own = |error| DockerError::Io { what: "cannot write to standard output".to_owned(), error };
    let mut to = File::from(io::stdout().as_fd().try_clone_to_owned().map_err(own)?);
    let mut buffer = vec![0; 256 << 10];
    loop {
        match archive.read(&mut buffer) {
            Ok(0) => return Ok(Vec::new()),
            Ok(n) => write_all(&mut to, &buffer[..n]).map_err(own)?,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(own(e)),
        }
    }
}

/// Into a container.
fn into(
    place: &Place,
    from: &str,
    path: &str,
    follow: bool,
    keep_owner: bool,
) -> Result<Vec<String>, DockerError> {
    let path = path.to_owned();
    if from == "-" {
        let target = Target::Below { path, keep_owner };
        return put(place, target, |to| {
            io::copy(&mut io::stdin().lock(), to).map(|_| ()).map_err(|error| DockerError::Io {
                what: "cannot pass standard input on".to_owned(),
                error,
            })
        });
    }
    let source = PathBuf::from(from);
    let thing = local::look(&source, follow)?;
    let target = Target::Thing {
        path,
        name: thing.name.clone(),
        is_dir: thing.is_dir,
        contents: thing.contents,
        keep_owner,
    };
    put(place, target, |to| local::pack(&thing, to))
}

/// Sends a tar stream that `make` writes.
fn put(
    place: &Place,
    target: Target,
    make: impl FnOnce(&mut dyn Write) -> Result<(), DockerError>,
) -> Result<Vec<String>, DockerError> {
    let token = token();
    let mut connection = connect(place)?;
    wire::send(&mut connection, &Request::Put { target, token }).map_err(lost(place))?;
    let archive = streams::stream(place, token, Which::Archive)?;
    let mut to = BufWriter::with_capacity(256 << 10, &archive);
    let made = make(&mut to);
    // A station that no longer reads says why.
    let _flushed = to.flush();
    let _ended = archive.shutdown(Shutdown::Write);
    match answer(place, &mut connection) {
        Ok(Answer::Done { notes }) => made.map(|()| notes),
        Ok(other) => Err(DockerError::Failed(format!("an unexpected answer: {other:?}"))),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_told_apart() {
        let is_local = |t: &str| matches!(end(t), End::Local(_));
        assert!(is_local("/a:b") && is_local("./a:b") && is_local("plain") && is_local("-"));
        assert!(is_local(":x"));
        assert!(matches!(end("box:/a:b"), End::Container("box", "/a:b")));
        assert!(matches!(end("box:"), End::Container("box", "")));
    }
}
