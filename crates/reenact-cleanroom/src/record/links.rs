//! Symlinks of a submission: grading refuses an archive with a link that leads out of it, so such links are found here.

use std::collections::BTreeMap;

/// As the kernel bounds it.
const MAX_HOPS: u32 = 40;
const MAX_STEPS: u32 = 4096;

/// A link's target as it goes into the archive: relative. An absolute one below `root` is rewritten; `None` if it leads
/// elsewhere.
pub(super) fn relative(root: &str, path: &[u8], target: &[u8]) -> Option<Vec<u8>> {
    if !target.starts_with(b"/") {
        return Some(target.to_vec());
    }
    let inside = target.strip_prefix(root.as_bytes())?;
    let rest = match inside {
        b"" => b"",
        _ => inside.strip_prefix(b"/")?,
    };
    let up = path.iter().filter(|b| **b == b'/').count();
    let mut out = b"../".repeat(up);
    out.extend_from_slice(rest);
    if out.is_empty() {
        out.push(b'.');
    }
    Some(out)
}

/// Whether the link at `path` leads out of the tree, through other links too. `links` are all of the tree's, with their
/// (relative) targets.
pub(super) fn leads_out(links: &BTreeMap<Vec<u8>, Vec<u8>>, path: &[u8]) -> bool {
    // Read word by word first: a `..` may come after a part that is no directory.
    let mut depth = path.iter().filter(|b| **b == b'/').count();
    let target = links.get(path).map(Vec::as_slice).unwrap_or_default();
    for part in target.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." if depth == 0 => return true,
            b".." => depth -= 1,
            _ => depth += 1,
        }
    }
    let (mut at, mut hops, mut steps): (Vec<&[u8]>, u32, u32) = (Vec::new(), 0, 0);
    let mut todo: Vec<&[u8]> = path.split(|b| *b == b'/').rev().collect();
    while let Some(part) = todo.pop() {
        steps += 1;
        match part {
            _ if steps > MAX_STEPS => return true,
            b"" | b"." => continue,
            b".." => {
                if at.pop().is_none() {
                    return true;
                }
                continue;
            }
            part => at.push(part),
        }
        if let Some(target) = links.get(&at.join(&b'/')) {
            hops += 1;
            if hops > MAX_HOPS {
                return false;
            }
            at.pop();
            todo.extend(target.split(|b| *b == b'/').rev());
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absolute_links_into_the_workspace_become_relative() {
        let to = |path: &str, target: &str| {
            relative("/workspace", path.as_bytes(), target.as_bytes())
                .map(|t| String::from_utf8(t).unwrap())
        };
        assert_eq!(to("a", "/workspace/src/b").as_deref(), Some("src/b"));
        assert_eq!(to("x/y/a", "/workspace/b").as_deref(), Some("../../b"));
        assert_eq!(to("a", "/workspace").as_deref(), Some("."));
        assert_eq!(to("a", "/workspaces/b"), None);
        assert_eq!(to("a", "/usr/bin/python3"), None);
        assert_eq!(to("a", "../b").as_deref(), Some("../b"));
    }

    #[test]
    fn links_that_lead_out_alone_or_together_are_found() {
        let links: BTreeMap<Vec<u8>, Vec<u8>> = [
            ("plain", "src/main.c"),
            ("up", "../etc/passwd"),
            ("d/in", "../src"),
            ("here", "."),
            ("trick", "here/.."),
            ("loop", "loop"),
            ("dangling", "nowhere/at/all"),
        ]
        .into_iter()
        .map(|(a, b)| (a.as_bytes().to_vec(), b.as_bytes().to_vec()))
        .collect();
        let out: Vec<&str> = ["plain", "up", "d/in", "here", "trick", "loop", "dangling"]
            .into_iter()
            .filter(|p| leads_out(&links, p.as_bytes()))
            .collect();
        assert_eq!(out, ["up", "trick"]);
    }
}
