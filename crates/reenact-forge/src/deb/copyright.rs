//! Licence of a Debian package from its machine-readable copyright file (DEP-5).

use super::control::stanzas;

/// What is said when no licence could be read.
pub(crate) const UNKNOWN: &str = "unknown";

/// The licence of `Files: *`, as the file names it; the header's where no such paragraph has one; else `unknown`.
pub(crate) fn licence(copyright: &str) -> String {
    let all = stanzas(copyright);
    if !all.first().is_some_and(|h| h.contains_key("Format")) {
        return UNKNOWN.to_owned();
    }
    let all_files = all.iter().find(|s| {
        s.get("Files").is_some_and(|f| f.split_whitespace().any(|pattern| pattern == "*"))
    });
    [all_files, all.first()]
        .into_iter()
        .flatten()
        .filter_map(|s| s.get("License"))
        .filter_map(|l| l.lines().next())
        .map(|l| l.trim().to_owned())
        .find(|l| !l.is_empty())
        .unwrap_or_else(|| UNKNOWN.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_licence_of_all_files_is_taken() {
        let text = "Format: https://example.org/copyright-format/1.0/\nUpstream-Name: jq\n\n\
            Files: *\nCopyright: 2012 Stephen\nLicense: Expat\n Permission is hereby granted\n\n\
            Files: debian/*\nLicense: GPL-2+\n";
        assert_eq!(licence(text), "Expat");
        assert_eq!(licence("Format: x\nLicense: BSD-3-clause\n\nFiles: a\n"), "BSD-3-clause");
    }

    #[test]
    fn free_text_is_not_guessed_at() {
        assert_eq!(licence("This package is licensed under the GPL.\n"), UNKNOWN);
        assert_eq!(licence(""), UNKNOWN);
        assert_eq!(licence("Format: x\n\nFiles: *\nCopyright: y\n"), UNKNOWN);
    }
}
