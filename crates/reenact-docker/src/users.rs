//! Whom a command runs as: names of the command line and the image, looked up in the container's own tables.
//!
//! `/etc/passwd` and `/etc/group` are the container's, and so untrusted: read to a bound, and wrong lines are no lines.

use crate::error::DockerError;
use reenact_sandbox::container::{Container, User};
use std::io::Read;

/// Highest number of a user or group, as docker's: above it some file systems and the kernel's "nobody in particular" (-1)
/// begin.
const HIGHEST: u32 = i32::MAX as u32;
/// Bytes of a table that are read.
const MOST: u64 = 1 << 20;

/// Where passwd and group come from.
pub trait Tables {
    /// The text of `/etc/passwd` or `/etc/group`; empty if there is none.
    fn text(&self, path: &str) -> String;
}

impl Tables for Container {
    fn text(&self, path: &str) -> String {
        let mut bytes = Vec::new();
        let read = self.open(path).and_then(|f| {
            if f.metadata()?.is_file() { f.take(MOST).read_to_end(&mut bytes) } else { Ok(0) }
        });
        // An image without tables has no names, but numbers work.
        if read.is_err() {
            bytes.clear();
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// A user, and its home directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    pub user: User,
    pub home: String,
}

struct Passwd<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

fn passwd(line: &str) -> Option<Passwd<'_>> {
    let fields: Vec<&str> = line.split(':').collect();
    let [name, _, uid, gid, _, home, ..] = fields[..] else { return None };
    Some(Passwd { name, uid: uid.parse().ok()?, gid: gid.parse().ok()?, home })
}

/// Refuses numbers that cannot be a user or group.
fn in_range(what: &str, id: u32) -> Result<u32, DockerError> {
    if id <= HIGHEST {
        return Ok(id);
    }
    let what = format!("{what} {id}: uids and gids must be in range 0-{HIGHEST}");
    Err(DockerError::Program { what, code: 126 })
}

/// A number, if the text is one; those that do not even fit are out of range as well.
fn number(what: &str, text: &str) -> Result<Option<u32>, DockerError> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(None);
    }
    in_range(what, text.parse().unwrap_or(u32::MAX)).map(Some)
}

/// Name, number and members.
fn group(line: &str) -> Option<(&str, u32, &str)> {
    let mut fields = line.split(':');
    let (name, _, gid) = (fields.next()?, fields.next()?, fields.next()?);
    Some((name, gid.parse().ok()?, fields.next().unwrap_or_default()))
}

/// Looks up `user`, `uid`, `user:group`, `uid:gid`; empty is root.
///
/// # Errors
/// [`DockerError::Program`] (126, as docker's): a name that the container does not know, or a number out of range.
pub fn resolve(text: &str, tables: &impl Tables) -> Result<Resolved, DockerError> {
    let unknown = |what: &str, name: &str, table: &str| DockerError::Program {
        what: format!(
            "unable to find {what} {name}: no matching entries in the container's {table}"
        ),
        code: 126,
    };
    let (who, whose) = text.split_once(':').map_or((text, None), |(u, g)| (u, Some(g)));
    let who = if who.is_empty() { "0" } else { who };
    let accounts = tables.text("/etc/passwd");
    let number = number("user", who)?;
    let account =
        accounts.lines().filter_map(passwd).find(|p| number.map_or(p.name == who, |n| p.uid == n));
    let (name, uid, gid, home) = match (&account, number) {
        (Some(p), _) => (p.name, p.uid, p.gid, p.home),
        (None, Some(n)) => ("", n, 0, ""),
        (None, None) => return Err(unknown("user", who, "passwd file")),
    };
    let groups = tables.text("/etc/group");
    let (gid, supplementary) = match whose.filter(|g| !g.is_empty()) {
        Some(wanted) => {
            let known = groups.lines().filter_map(group).find(|g| g.0 == wanted).map(|g| g.1);
            let gid = match known {
                Some(gid) => Some(gid),
                None => self::number("group", wanted)?,
            };
            (gid.ok_or_else(|| unknown("group", wanted, "group file"))?, Vec::new())
        }
        None => {
            let member = |members: &str| !name.is_empty() && members.split(',').any(|m| m == name);
            let of = groups.lines().filter_map(group).filter(|g| member(g.2)).map(|g| g.1);
            (gid, of.take(64).collect::<Vec<u32>>())
        }
    };
    in_range("user", uid)?;
    for gid in supplementary.iter().chain([&gid]) {
        in_range("group", *gid)?;
    }
    let home = if home.starts_with('/') { home } else { "/" };
    Ok(Resolved { user: User { uid, gid, groups: supplementary }, home: home.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Text(&'static str, &'static str);

    impl Tables for Text {
        fn text(&self, path: &str) -> String {
            if path == "/etc/passwd" { self.0 } else { self.1 }.to_owned()
        }
    }

    const TABLES: Text = Text(
        "root:x:0:0:root:/root:/bin/bash\nbroken\nx:y:z:1::/\nagent:x:1000:1001:,,,:/home/agent:/bin/sh\nbad:x:7:7::relative:\n",
        "root:x:0:\nstaff:x:50:other,agent\nagent:x:1001:\nnonsense\n",
    );

    fn of(text: &str) -> (u32, u32, Vec<u32>, String) {
        let r = resolve(text, &TABLES).unwrap();
        (r.user.uid, r.user.gid, r.user.groups, r.home)
    }

    #[test]
    fn names_and_numbers() {
        assert_eq!(of(""), (0, 0, vec![], "/root".to_owned()));
        assert_eq!(of("agent"), (1000, 1001, vec![50], "/home/agent".to_owned()));
        assert_eq!(of("1000"), (1000, 1001, vec![50], "/home/agent".to_owned()));
        assert_eq!(of("agent:staff"), (1000, 50, vec![], "/home/agent".to_owned()));
        assert_eq!(of("1234:99"), (1234, 99, vec![], "/".to_owned()));
        assert_eq!(of("4242"), (4242, 0, vec![], "/".to_owned()));
        assert_eq!(of("bad").3, "/");
    }

    #[test]
    fn unknown_names_are_named() {
        let said = |t: &str| resolve(t, &TABLES).unwrap_err().to_string();
        assert!(said("nobody-here").contains("unable to find user nobody-here"));
        assert!(said("root:crew").contains("unable to find group crew"));
        assert!(resolve("agent", &Text("", "")).is_err());
        assert!(resolve("5", &Text("", "")).is_ok());
    }

    #[test]
    fn numbers_out_of_range_are_refused_wherever_they_come_from() {
        let tables = Text(
            "minus:x:4294967295:0::/:\ngroup:x:5:4294967295::/:\nok:x:2147483647:2147483647::/:\nmember:x:6:6::/:\n",
            "big:x:4294967295:\nother:x:2147483648:member\n",
        );
        for (text, names) in [
            ("4294967295", "user 4294967295"),
            ("2147483648", "user 2147483648"),
            ("99999999999999999999", "user"),
            ("0:4294967295", "group 4294967295"),
            ("0:99999999999", "group"),
            ("0:big", "group 4294967295"),
            ("minus", "user 4294967295"),
            ("group", "group 4294967295"),
            ("member", "group 2147483648"),
        ] {
            let error = resolve(text, &tables).unwrap_err();
            let said = error.to_string();
            assert!(said.contains(names) && said.contains("0-2147483647"), "{text}: {said}");
            assert_eq!(error.code(125), 126);
        }
        let of = |t: &str| resolve(t, &tables).unwrap().user;
        assert_eq!((of("ok").uid, of("2147483647:2147483647").gid), (HIGHEST, HIGHEST));
        assert!(resolve("-1", &tables).unwrap_err().to_string().contains("unable to find user -1"));
    }

    proptest::proptest! {
        #[test]
        fn no_table_makes_it_panic(user in "[a-z0-9:]{0,8}", passwd in "[a-z0-9:\\n/]{0,80}", group in "[a-z0-9:,\\n]{0,60}") {
            struct Any(String, String);
            impl Tables for Any {
                fn text(&self, path: &str) -> String {
                    if path == "/etc/passwd" { self.0.clone() } else { self.1.clone() }
                }
            }
            if let Ok(found) = resolve(&user, &Any(passwd, group)) {
                proptest::prop_assert!(found.home.starts_with('/') && found.user.groups.len() <= 64);
            }
        }
    }
}
