//! Whom a command runs as: names of the command line and the image, looked up in the container's own tables.
//!
//! `/etc/passwd` and `/etc/group` are the container's, and so untrusted: read to a bound, and wrong lines are no lines.

use crate::error::DockerError;
use reenact_sandbox::container::{Container, User};
use std::io::Read;

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

/// Name, number and members.
fn group(line: &str) -> Option<(&str, u32, &str)> {
    let mut fields = line.split(':');
    let (name, _, gid) = (fields.next()?, fields.next()?, fields.next()?);
    Some((name, gid.parse().ok()?, fields.next().unwrap_or_default()))
}

/// Looks up `user`, `uid`, `user:group`, `uid:gid`; empty is root.
///
/// # Errors
/// [`DockerError::Program`] (126, as docker's): a name that the container does not know.
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
    let number = who.parse::<u32>().ok();
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
            let gid = known.or_else(|| wanted.parse().ok());
            (gid.ok_or_else(|| unknown("group", wanted, "group file"))?, Vec::new())
        }
        None => {
            let member = |members: &str| !name.is_empty() && members.split(',').any(|m| m == name);
            let of = groups.lines().filter_map(group).filter(|g| member(g.2)).map(|g| g.1);
            (gid, of.take(64).collect())
        }
    };
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
