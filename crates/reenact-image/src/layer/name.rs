//! What a name in a layer means.

use super::UnpackLimits;

/// Longest name in a directory (Linux).
const LONGEST_PART: usize = 255;
const WHITEOUT: &[u8] = b".wh.";
/// Files of aufs's own; only one of them means something to layers.
const RESERVED: &[u8] = b".wh..wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// A path without its dots: parts joined by single slashes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Name {
    /// The layer's root.
    Root,
    Plain(Vec<u8>),
    /// This name is removed from the layers below.
    Whiteout(Vec<u8>),
    /// This directory hides what the layers below have in it.
    Opaque(Vec<u8>),
    /// Bookkeeping of aufs, of no meaning here.
    Reserved,
}

/// Reads a name. Leading slashes and `.` say nothing; `..` is refused even where it would stay inside.
pub(super) fn read(path: &[u8], limits: &UnpackLimits) -> Result<Name, &'static str> {
    let clean = clean(path, limits)?;
    let Some((up, name)) = split(&clean) else { return Ok(Name::Root) };
    if up.split(|b| *b == b'/').chain([name]).any(|part| part.starts_with(RESERVED)) {
        return Ok(if name == OPAQUE && !has_mark(up) {
            Name::Opaque(up.to_vec())
        } else {
            Name::Reserved
        });
    }
    if has_mark(up) {
        return Err("a directory whose name marks a removal");
    }
    let Some(removed) = name.strip_prefix(WHITEOUT) else { return Ok(Name::Plain(clean)) };
    if matches!(removed, b"" | b"." | b"..") {
        return Err("a removal of no name");
    }
    Ok(Name::Whiteout(if up.is_empty() { removed.to_vec() } else { [up, b"/", removed].concat() }))
}

/// The target of a hard link: a plain name of the same layer.
pub(super) fn target(path: &[u8], limits: &UnpackLimits) -> Result<Vec<u8>, &'static str> {
    match read(path, limits)? {
        Name::Plain(path) => Ok(path),
        _ => Err("a hard link to no file"),
    }
}

fn has_mark(path: &[u8]) -> bool {
    path.split(|b| *b == b'/').any(|part| part.starts_with(WHITEOUT))
}

fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.is_empty() {
        return None;
    }
    Some(match path.iter().rposition(|b| *b == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"", path),
    })
}

fn clean(path: &[u8], limits: &UnpackLimits) -> Result<Vec<u8>, &'static str> {
    let mut out = Vec::with_capacity(path.len());
    let mut depth = 0;
    for part in path.split(|b| *b == b'/') {
        match part {
            b"" | b"." => continue,
            b".." => return Err("its name goes up (..)"),
            _ => {}
        }
        if part.len() > LONGEST_PART {
            return Err("a name of more than 255 bytes");
        }
        if part.contains(&0) {
            return Err("a name with a NUL byte");
        }
        if !out.is_empty() {
            out.push(b'/');
        }
        out.extend_from_slice(part);
        depth += 1;
    }
    if out.len() > limits.path {
        return Err("its name is too long");
    }
    if depth > limits.depth {
        return Err("it is nested too deep");
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn limits() -> UnpackLimits {
        UnpackLimits { path: 1000, depth: 4, ..UnpackLimits::default() }
    }

    #[test]
    fn names_say_what_is_made_and_what_is_removed() {
        let plain = |t: &[u8]| Ok(Name::Plain(t.to_vec()));
        let gone = |t: &[u8]| Ok(Name::Whiteout(t.to_vec()));
        for (text, name) in [
            (&b"./"[..], Ok(Name::Root)),
            (b"/", Ok(Name::Root)),
            (b"", Ok(Name::Root)),
            (b"./a/./b//c/", plain(b"a/b/c")),
            (b"/etc/passwd", plain(b"etc/passwd")),
            (b"a/.wh.b", gone(b"a/b")),
            (b".wh.b", gone(b"b")),
            (b"a/.wh..wh..opq", Ok(Name::Opaque(b"a".to_vec()))),
            (b".wh..wh..opq", Ok(Name::Opaque(b"".to_vec()))),
            (b".wh..wh.plnk/1.2", Ok(Name::Reserved)),
            (b".wh..wh.aufs", Ok(Name::Reserved)),
            (b".wh.x/.wh..wh..opq", Ok(Name::Reserved)),
        ] {
            assert_eq!(read(text, &limits()), name, "{}", String::from_utf8_lossy(text));
        }
        for bad in [
            &b"../a"[..],
            b"a/..",
            b"a/../b",
            b".wh.",
            b".wh..",
            b".wh...",
            b".wh.a/b",
            b"a/b/c/d/e",
            b"a\0b",
        ] {
            assert!(read(bad, &limits()).is_err(), "{}", String::from_utf8_lossy(bad));
        }
        assert!(read(&[b'n'; 256], &limits()).is_err());
        assert!(target(b".wh.a", &limits()).is_err() && target(b"./", &limits()).is_err());
    }

    proptest! {
        #[test]
        fn what_is_read_never_leads_up(path in proptest::collection::vec(
            proptest::sample::select(b"a./.wh\0".to_vec()), 0..40)) {
            let found = match read(&path, &limits()) {
                Ok(Name::Plain(p) | Name::Whiteout(p)) => p,
                Ok(Name::Opaque(p)) if !p.is_empty() => p,
                _ => return Ok(()),
            };
            for part in found.split(|b| *b == b'/') {
                prop_assert!(!matches!(part, b"" | b"." | b".."), "{:?}", found);
            }
        }
    }
}
