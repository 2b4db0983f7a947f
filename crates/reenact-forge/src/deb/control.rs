//! Debian control data: stanzas of `Field: value` with continuation lines, and dependency lists (policy 5.1, 7.1).

use std::collections::BTreeMap;

/// One stanza; field names as written, continuation lines joined by newlines (leading blank removed).
pub(crate) type Stanza = BTreeMap<String, String>;

/// Parses stanzas separated by blank lines. Lines that are neither field nor continuation are skipped.
pub(crate) fn stanzas(text: &str) -> Vec<Stanza> {
    let mut all = Vec::new();
    let mut current = Stanza::new();
    let mut field: Option<String> = None;
    for line in text.lines() {
        if line.trim().is_empty() {
            field = None;
            if !current.is_empty() {
                all.push(std::mem::take(&mut current));
            }
        } else if line.starts_with([' ', '\t']) {
            if let Some(value) = field.as_ref().and_then(|f| current.get_mut(f)) {
                value.push('\n');
                value.push_str(line.trim());
            }
        } else if let Some((name, value)) = line.split_once(':') {
            field = Some(name.to_owned());
            current.insert(name.to_owned(), value.trim().to_owned());
        }
    }
    if !current.is_empty() {
        all.push(current);
    }
    all
}

/// Names in a dependency field: one inner list per comma, its alternatives in order, versions and architectures dropped.
pub(crate) fn dependencies(field: &str) -> Vec<Vec<String>> {
    field
        .split(',')
        .map(|group| {
            group
                .split('|')
                .filter_map(|one| {
                    let name = one.trim().split([' ', '(', '[', '\t', '\n']).next()?;
                    let name = name.split(':').next()?;
                    (!name.is_empty()).then(|| name.to_owned())
                })
                .collect::<Vec<_>>()
        })
        .filter(|group| !group.is_empty())
        .collect()
}

/// Pre-Depends and Depends of a stanza.
pub(crate) fn needs(stanza: &Stanza) -> Vec<Vec<String>> {
    ["Pre-Depends", "Depends"]
        .iter()
        .filter_map(|field| stanza.get(*field))
        .flat_map(|value| dependencies(value))
        .collect()
}

/// Name of the source package: `Source` without its version, else `Package`.
pub(crate) fn source_of(stanza: &Stanza) -> &str {
    let name = stanza.get("Source").or_else(|| stanza.get("Package"));
    name.and_then(|s| s.split([' ', '(']).next()).unwrap_or_default()
}

/// `update-alternatives --install LINK NAME PATH` calls of a maintainer script: link → path, both absolute.
pub(crate) fn alternatives(script: &str) -> BTreeMap<String, String> {
    let joined = script.replace("\\\n", " ");
    let words: Vec<&str> = joined.split_whitespace().collect();
    let mut found = BTreeMap::new();
    for (i, word) in words.iter().enumerate() {
        if !matches!(*word, "--install" | "--slave") {
            continue;
        }
        if let (Some(link), Some(path)) = (words.get(i + 1), words.get(i + 3)) {
            let clean = |s: &str| s.trim_matches(['"', '\'', ';']).to_owned();
            let (link, path) = (clean(link), clean(path));
            if link.starts_with('/') && path.starts_with('/') {
                found.insert(link, path);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIGLET: &str = "Package: figlet\nSource: figlet (2.2.5-3)\nVersion: 2.2.5-3+b1\n\
        Pre-Depends: dpkg (>= 1.17)\nDepends: libc6 (>= 2.14), libreadline8:any | libedit2 [amd64],\n libfoo\n\
        Description: Make banners\n FIGlet (Frank) is\n .\n more\n\nPackage: other\n";

    #[test]
    fn stanzas_keep_fields_and_continuations() {
        let all = stanzas(FIGLET);
        assert_eq!(all.len(), 2);
        assert_eq!(all[0]["Version"], "2.2.5-3+b1");
        assert_eq!(all[0]["Description"], "Make banners\nFIGlet (Frank) is\n.\nmore");
        assert_eq!(source_of(&all[0]), "figlet");
        assert_eq!(source_of(&all[1]), "other");
    }

    #[test]
    fn dependencies_lose_versions_and_architectures() {
        let needs = needs(&stanzas(FIGLET)[0]);
        let names: Vec<Vec<&str>> =
            needs.iter().map(|g| g.iter().map(String::as_str).collect()).collect();
        assert_eq!(
            names,
            [vec!["dpkg"], vec!["libc6"], vec!["libreadline8", "libedit2"], vec!["libfoo"]]
        );
        assert!(dependencies(" , ").is_empty());
    }

    #[test]
    fn alternatives_are_read_from_a_script() {
        let script = "update-alternatives --install /usr/bin/figlet figlet \\\n  /usr/bin/figlet-figlet 100 \\\n\
            \t--slave /usr/share/man/man6/figlet.6.gz figlet.6.gz \"/usr/share/man/man6/figlet-figlet.6.gz\"\n";
        let found = alternatives(script);
        assert_eq!(found["/usr/bin/figlet"], "/usr/bin/figlet-figlet");
        assert_eq!(
            found["/usr/share/man/man6/figlet.6.gz"],
            "/usr/share/man/man6/figlet-figlet.6.gz"
        );
        assert!(alternatives("--install relative x /abs").is_empty());
    }
}
