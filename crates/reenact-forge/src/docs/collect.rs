//! What counts as documentation in a crate, a Debian package, or a directory of the user's.

use super::text::unpack;
use crate::draft::RawDocs;
use crate::error::ForgeError;
use crate::walk::{self, Node};
use std::path::{Path, PathBuf};

/// Endings of files that people read.
const PROSE: [&str; 7] = ["md", "txt", "rst", "adoc", "asciidoc", "org", "markdown"];
/// Stems, lower case, that tell of the project's inside, its history or its law rather than of the program's use.
const NOT_USE: [&str; 26] = [
    "sponsor",
    "funding",
    "changelog",
    "changes",
    "news",
    "history",
    "release",
    "todo",
    "hacking",
    "contributing",
    "code_of_conduct",
    "security",
    "license",
    "licence",
    "copying",
    "copyright",
    "authors",
    "thanks",
    "credits",
    "notice",
    "developer",
    "architecture",
    "internals",
    "install",
    "buildinfo",
    "maintainers",
];
/// Largest example or completion file taken from a package, bytes.
const SMALL: u64 = 64 << 10;

/// Whether the path `relative` of a crate's own tree is documentation (and hence may be public).
pub(crate) fn is_crate_doc(relative: &Path) -> bool {
    let name = file_name(relative);
    let lower = name.to_lowercase();
    if is_not_use(&lower) {
        return false;
    }
    let first =
        relative.components().next().map(|c| c.as_os_str().to_string_lossy().to_lowercase());
    let top = relative.components().count() == 1;
    let in_doc_dir =
        matches!(first.as_deref(), Some("doc" | "docs" | "man" | "manual" | "manpage"));
    let in_completions = first.as_deref().is_some_and(|f| f.starts_with("complet"));
    let prose = extension(&lower).is_some_and(|e| PROSE.contains(&e));
    (top && (lower.starts_with("readme")
        || lower.starts_with("usage")
        || lower.starts_with("guide")))
        || (in_doc_dir && prose)
        || (in_completions && !lower.ends_with(".rs"))
        || (is_manual(&lower) && (top || in_doc_dir))
}

/// Whether a path of a source tree, vendored packages included, is prose: published with the package, hence no secret.
pub(crate) fn is_public_prose(relative: &Path) -> bool {
    let lower = file_name(relative).to_lowercase();
    is_crate_doc(relative)
        || extension(&lower).is_some_and(|e| PROSE.contains(&e))
        || (is_not_use(&lower) && !lower.ends_with(".rs"))
        || lower.starts_with("readme")
        || is_manual(&lower)
}

/// Documentation of an unpacked crate.
///
/// # Errors
/// [`ForgeError::Fs`].
pub(crate) fn from_crate(root: &Path) -> Result<RawDocs, ForgeError> {
    let mut docs = RawDocs::default();
    for (path, node) in walk::tree(root)? {
        let outside = path.starts_with("vendor") || path.starts_with("target");
        let Node::File { size, .. } = node else { continue };
        if outside || !is_crate_doc(&path) || (is_completion(&path) && size > SMALL) {
            continue;
        }
        let bytes = reenact_bundle::fsx::read(&root.join(&path))?;
        add(&mut docs, &path.display().to_string(), &file_name(&path), bytes);
    }
    Ok(docs)
}

/// Documentation of an unpacked Debian package: its `usr/share/doc` and its manual pages, untranslated ones.
///
/// # Errors
/// [`ForgeError::Fs`].
pub(crate) fn from_deb(tree: &Path, package: &str) -> Result<RawDocs, ForgeError> {
    let mut docs = RawDocs::default();
    let doc_dir = walk::resolve(tree, &Path::new("usr/share/doc").join(package));
    if let Some(dir) = doc_dir.map(|d| tree.join(d)).filter(|d| d.is_dir()) {
        for (path, node) in walk::tree(&dir)? {
            let Node::File { size, .. } = node else { continue };
            if is_deb_doc(&path, size) {
                let bytes = reenact_bundle::fsx::read(&dir.join(&path))?;
                let name = path.display().to_string();
                add(&mut docs, name.strip_suffix(".gz").unwrap_or(&name), &file_name(&path), bytes);
            }
        }
    }
    let man = tree.join("usr/share/man");
    if man.is_dir() {
        for path in walk::tree(&man)?.into_keys() {
            let section = path.parent().map(|p| p.display().to_string()).unwrap_or_default();
            if ["man1", "man5", "man6", "man7", "man8"].contains(&section.as_str())
                && let Some(bytes) = read_page(tree, &Path::new("usr/share/man").join(&path), 0)
            {
                docs.pages.insert(page_name(&file_name(&path)), bytes);
            }
        }
    }
    Ok(docs)
}

/// Everything textual in a directory that the user names as documentation.
///
/// # Errors
/// [`ForgeError::Fs`].
pub(crate) fn from_dir(dir: &Path) -> Result<RawDocs, ForgeError> {
    let mut docs = RawDocs::default();
    for (path, node) in walk::tree(dir)? {
        if matches!(node, Node::File { .. }) {
            let bytes = reenact_bundle::fsx::read(&dir.join(&path))?;
            let name = path.display().to_string();
            add(&mut docs, name.strip_suffix(".gz").unwrap_or(&name), &file_name(&path), bytes);
        }
    }
    Ok(docs)
}

fn add(docs: &mut RawDocs, path: &str, name: &str, bytes: Vec<u8>) {
    let Some(bytes) = unpack(bytes) else { return };
    if is_manual(&name.to_lowercase()) && is_roff(&bytes) {
        docs.pages.insert(page_name(name), bytes);
    } else {
        docs.files.insert(path.to_owned(), bytes);
    }
}

/// Reads a manual page, following links and `.so` lines inside the tree.
fn read_page(tree: &Path, path: &Path, depth: u32) -> Option<Vec<u8>> {
    const MAX_DEPTH: u32 = 5;
    let found = [path.to_path_buf(), PathBuf::from(format!("{}.gz", path.display()))]
        .iter()
        .find_map(|p| walk::resolve(tree, p))?;
    let bytes = unpack(std::fs::read(tree.join(found)).ok()?)?;
    let first = String::from_utf8_lossy(bytes.split(|b| *b == b'\n').next()?).into_owned();
    match first.strip_prefix(".so ") {
        Some(target) if depth < MAX_DEPTH => {
            let target = Path::new("usr/share/man").join(target.trim());
            read_page(tree, &target, depth + 1)
        }
        Some(_) => None,
        None => Some(bytes),
    }
}

fn is_deb_doc(path: &Path, size: u64) -> bool {
    let name = file_name(path).to_lowercase();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    if is_not_use(name) || name.starts_with("readme.source") {
        return false;
    }
    let in_examples = path.starts_with("examples");
    let ending = extension(name);
    let prose = ending.is_some_and(|e| PROSE.contains(&e) || e == "html" || e == "htm");
    name.starts_with("readme") || name.starts_with("faq") || prose || (in_examples && size <= SMALL)
}

fn is_not_use(lower_name: &str) -> bool {
    NOT_USE.iter().any(|stem| lower_name.starts_with(stem))
}

fn is_completion(path: &Path) -> bool {
    path.components().next().is_some_and(|c| c.as_os_str().to_string_lossy().starts_with("complet"))
}

/// `name.1` to `name.8`, packed or not; not `1.2` (a version).
fn is_manual(lower_name: &str) -> bool {
    let name = lower_name.strip_suffix(".gz").unwrap_or(lower_name);
    name.rsplit_once('.').is_some_and(|(stem, section)| {
        matches!(section, "1" | "5" | "6" | "7" | "8")
            && stem.starts_with(|c: char| c.is_alphabetic())
    })
}

/// A line that begins with a title macro.
fn is_roff(bytes: &[u8]) -> bool {
    bytes.split(|b| *b == b'\n').take(200).any(|l| l.starts_with(b".TH") || l.starts_with(b".Dd"))
}

/// The name of a page from its path: `figlet.6` of `/usr/share/man/man6/figlet.6.gz`.
pub(crate) fn page_name(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.strip_suffix(".gz").unwrap_or(name).to_owned()
}

fn extension(name: &str) -> Option<&str> {
    name.rsplit_once('.').map(|(_, e)| e)
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crate_documentation_is_prose_about_use() {
        for yes in [
            "README.md",
            "readme.rst",
            "README",
            "doc/usage.md",
            "docs/guide/a.txt",
            "hexyl.1",
            "man/x.1",
            "completions/_x",
        ] {
            assert!(is_crate_doc(Path::new(yes)), "{yes}");
        }
        for no in [
            "src/main.rs",
            "CHANGELOG.md",
            "LICENSE",
            "doc/x.rs",
            "docs/CONTRIBUTING.md",
            "tests/README.md",
            "build.rs",
            "Cargo.toml",
            "src/README.md",
            "completions/gen.rs",
            "docs/architecture.md",
        ] {
            assert!(!is_crate_doc(Path::new(no)), "{no}");
        }
    }

    #[test]
    fn a_package_gives_pages_with_links_followed() {
        let dir = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        put("usr/share/man/man1/a.1", ".TH A 1\n");
        put("usr/share/man/man1/b.1", ".so man1/a.1\n");
        put("usr/share/man/man3/c.3", ".TH C 3\n");
        put("usr/share/man/de/man1/a.1", ".TH A 1\n");
        put("usr/share/doc/a/README", "read me");
        put("usr/share/doc/a/changelog", "no");
        put("usr/share/doc/a/copyright", "no");
        put("usr/share/doc/a/examples/x.sh", "echo");
        let docs = from_deb(dir.path(), "a").unwrap();
        assert_eq!(docs.pages.keys().collect::<Vec<_>>(), ["a.1", "b.1"]);
        assert_eq!(docs.pages["b.1"], b".TH A 1\n");
        assert_eq!(docs.files.keys().collect::<Vec<_>>(), ["README", "examples/x.sh"]);
    }
}
