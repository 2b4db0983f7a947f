//! The tree as the archive describes it, kept in memory: what may be written where is decided here, never by asking the
//! file system, so that no write can go through a link.

use super::error::Refusal;
use std::collections::BTreeMap;

/// Longest path, bytes.
pub(super) const MAX_PATH: usize = 1024;
/// Longest component, bytes (NAME_MAX).
const MAX_NAME: usize = 255;
/// Link hops after which a path counts as a dead loop (the kernel's own limit).
const MAX_HOPS: u32 = 40;
/// Components looked at over all links of an archive; a bound on time, far above any honest tree.
const MAX_STEPS: u64 = 20_000_000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    Dir,
    File { size: u64 },
    Symlink(Vec<u8>),
}

#[derive(Default)]
pub(super) struct Tree {
    nodes: BTreeMap<Vec<u8>, Node>,
}

/// What placing an entry asks of the writer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Placement {
    /// Directories to make first, outermost first.
    pub make: Vec<Vec<u8>>,
    /// A regular file of that name is there and is to be replaced.
    pub replace: bool,
    /// The directory is there already.
    pub exists: bool,
}

/// A name as path bytes without `.` parts and repeated slashes; empty for the root itself.
pub(super) fn clean(name: &[u8]) -> Result<Vec<u8>, Refusal> {
    if name.is_empty() {
        return Err(Refusal::EmptyName);
    }
    if name.contains(&0) {
        return Err(Refusal::NulInName);
    }
    if name.starts_with(b"/") {
        return Err(Refusal::AbsolutePath);
    }
    let mut path = Vec::with_capacity(name.len());
    for part in name.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return Err(Refusal::ParentPath),
            part if part.len() > MAX_NAME => return Err(Refusal::LongName(MAX_NAME)),
            part => push(&mut path, part),
        }
    }
    if path.len() > MAX_PATH {
        return Err(Refusal::LongName(MAX_PATH));
    }
    Ok(path)
}

fn push(path: &mut Vec<u8>, part: &[u8]) {
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(part);
}

impl Tree {
    pub(super) fn get(&self, path: &[u8]) -> Option<&Node> {
        self.nodes.get(path)
    }

    /// Records `node` at `path` if that is allowed, with the directories it needs.
    pub(super) fn place(&mut self, path: &[u8], node: Node) -> Result<Placement, Refusal> {
        let mut make = Vec::new();
        for (at, _) in path.iter().enumerate().filter(|(_, b)| **b == b'/') {
            match self.nodes.get(&path[..at]) {
                Some(Node::Dir) => {}
                Some(_) => return Err(Refusal::ParentNotADirectory),
                None => make.push(path[..at].to_vec()),
            }
        }
        let (replace, exists) = match (self.nodes.get(path), &node) {
            (None, _) => (false, false),
            (Some(Node::File { .. }), Node::File { .. }) => (true, false),
            (Some(Node::Dir), Node::Dir) => (false, true),
            (Some(_), _) => return Err(Refusal::Replaces),
        };
        for dir in &make {
            self.nodes.insert(dir.clone(), Node::Dir);
        }
        self.nodes.insert(path.to_vec(), node);
        Ok(Placement { make, replace, exists })
    }

    /// Follows every symbolic link as the kernel would and refuses the first that leaves the tree. Dangling links and loops
    /// inside the tree are harmless and stay.
    pub(super) fn check_links(&self) -> Result<(), (Vec<u8>, Refusal)> {
        let mut steps = 0;
        for (path, node) in &self.nodes {
            if let Node::Symlink(_) = node {
                self.follow(path, &mut steps).map_err(|why| (path.clone(), why))?;
            }
        }
        Ok(())
    }

    fn follow(&self, path: &[u8], steps: &mut u64) -> Result<(), Refusal> {
        let mut at: Vec<u8> = Vec::new();
        // Parts still to walk, last first.
        let mut todo: Vec<&[u8]> = path.split(|b| *b == b'/').rev().collect();
        let mut hops = 0;
        while let Some(part) = todo.pop() {
            *steps += 1;
            if *steps > MAX_STEPS {
                return Err(Refusal::TangledLinks);
            }
            match part {
                b"" | b"." => continue,
                b".." if at.is_empty() => return Err(Refusal::EscapingLink),
                b".." => {
                    at.truncate(at.iter().rposition(|b| *b == b'/').unwrap_or(0));
                    continue;
                }
                part => push(&mut at, part),
            }
            match self.nodes.get(&at) {
                Some(Node::Dir) => {}
                Some(Node::Symlink(target)) => {
                    hops += 1;
                    if hops > MAX_HOPS {
                        return Ok(());
                    }
                    if target.starts_with(b"/") {
                        return Err(Refusal::AbsoluteLink);
                    }
                    at.truncate(at.iter().rposition(|b| *b == b'/').unwrap_or(0));
                    todo.extend(target.split(|b| *b == b'/').rev());
                }
                // A file, or nothing: the kernel stops here.
                Some(Node::File { .. }) | None => return Ok(()),
            }
        }
        Ok(())
    }
}

/// Whether a link's own text leads out of the tree from where it stands, read word by word. Catches what [`Tree::check_links`]
/// would catch later, before anything is written.
pub(super) fn leads_out(path: &[u8], target: &[u8]) -> bool {
    let mut depth = path.iter().filter(|b| **b == b'/').count();
    for part in target.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." if depth == 0 => return true,
            b".." => depth -= 1,
            _ => depth += 1,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(nodes: &[(&str, Node)]) -> Tree {
        let mut tree = Tree::default();
        for (path, node) in nodes {
            tree.place(path.as_bytes(), node.clone()).unwrap();
        }
        tree
    }

    fn link(to: &str) -> Node {
        Node::Symlink(to.as_bytes().to_vec())
    }

    #[test]
    fn names_are_cleaned_or_refused() {
        assert_eq!(clean(b"./a//b/./c/"), Ok(b"a/b/c".to_vec()));
        assert_eq!(clean(b"./"), Ok(Vec::new()));
        assert_eq!(clean(b"/etc/passwd"), Err(Refusal::AbsolutePath));
        assert_eq!(clean(b"a/../../b"), Err(Refusal::ParentPath));
        assert_eq!(clean(b"a\0b"), Err(Refusal::NulInName));
        assert_eq!(clean(b""), Err(Refusal::EmptyName));
        assert_eq!(clean(&[b'a'; 256]), Err(Refusal::LongName(255)));
        assert_eq!(clean(&b"ab/".repeat(400)), Err(Refusal::LongName(MAX_PATH)));
    }

    #[test]
    fn nothing_is_placed_under_a_link_or_over_a_directory() {
        let mut t = tree(&[("d/f", Node::File { size: 1 }), ("l", link("d"))]);
        assert_eq!(t.get(b"d"), Some(&Node::Dir));
        assert_eq!(t.place(b"l/x", Node::Dir), Err(Refusal::ParentNotADirectory));
        assert_eq!(t.place(b"d/f/x", Node::Dir), Err(Refusal::ParentNotADirectory));
        assert_eq!(t.place(b"l", Node::File { size: 0 }), Err(Refusal::Replaces));
        assert_eq!(t.place(b"d", Node::File { size: 0 }), Err(Refusal::Replaces));
        assert_eq!(t.place(b"d", link("x")), Err(Refusal::Replaces));
        assert!(t.place(b"d/f", Node::File { size: 2 }).unwrap().replace);
        assert!(t.place(b"d", Node::Dir).unwrap().exists);
        assert_eq!(t.place(b"x/y/z", Node::Dir).unwrap().make, [b"x".to_vec(), b"x/y".to_vec()]);
    }

    #[test]
    fn links_that_only_leave_by_way_of_other_links_are_found() {
        let up = ("a/b/c/up", link("../../.."));
        assert_eq!(tree(std::slice::from_ref(&up)).check_links(), Ok(()));
        let t = tree(&[up, ("a/b/c/esc", link("up/.."))]);
        assert!(!leads_out(b"a/b/c/esc", b"up/.."));
        assert_eq!(t.check_links(), Err((b"a/b/c/esc".to_vec(), Refusal::EscapingLink)));
        assert!(leads_out(b"a", b".."));
        assert!(!leads_out(b"a/b", b".."));
        let t = tree(&[("x", link("y")), ("y", link("x")), ("gone", link("no/../../../where"))]);
        assert_eq!(t.check_links(), Ok(()), "loops and dangling links stay inside");
    }
}
