//! Manual pages as plain text: by groff in a cell where there is one, else by [`super::roff`].

use super::roff;
use super::text::{ascii_punctuation, decode, plain};
use crate::deb::apt::Apt;
use crate::error::ForgeError;
use reenact_bundle::Progress;
use reenact_bundle::shape::CellOptions;
use reenact_model::{Ended, Limits};
use reenact_sandbox::{Cell, CellSpec, Invocation, RootBase, Rootfs};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Requests in front of every page: no hyphenation, no filling-out of lines with blanks, no line break after a hyphen, and no
/// way for the page to change that. Options and examples must come out as they were typed.
const PREAMBLE: &str = ".nh\n.de hy\n..\n.na\n.de ad\n..\n.cflags 0 -\\[hy]\n.lf 1\n";
/// Columns of a formatted page.
const WIDTH: u32 = 100;
const GROFF: &str = "/usr/bin/groff";
/// No page of a real program takes groff longer.
const WALL_MS: u64 = 20_000;

/// Formats pages (name → roff). Returns name → text, and what did the formatting.
///
/// Pages come from outside, so groff runs in a cell, never on the host itself.
///
/// # Errors
/// [`ForgeError::Sandbox`] if the cell fails.
pub(crate) fn render_all(
    pages: &BTreeMap<String, Vec<u8>>,
    options: &CellOptions,
    work: &Path,
    progress: &dyn Progress,
) -> Result<(BTreeMap<String, String>, Option<String>), ForgeError> {
    if pages.is_empty() {
        return Ok((BTreeMap::new(), None));
    }
    progress.stage(&format!("formatting {} manual pages", pages.len()));
    let layer = if Path::new(GROFF).exists() { None } else { groff_layer(work, progress) };
    let mut cell = match (Path::new(GROFF).exists(), &layer) {
        (false, None) => None,
        (_, layer) => Some(Cell::start(&spec(layer.as_deref(), options))?),
    };
    let mut texts = BTreeMap::new();
    for (done, (name, source)) in pages.iter().enumerate() {
        let formatted = match &mut cell {
            Some(cell) => groff(cell, source)?,
            None => None,
        };
        let text = formatted.or_else(|| decode(source).map(|s| roff::render(&s)));
        match text {
            Some(text) => _ = texts.insert(name.clone(), tidy(&text)),
            None => progress.note(&format!("manual page {name} is not text; left out")),
        }
        progress.tick(done as u64 + 1, pages.len() as u64);
    }
    let renderer = if cell.is_some() { "groff" } else { "reenact's own roff reader" };
    Ok((texts, Some(renderer.to_owned())))
}

fn spec(layer: Option<&Path>, options: &CellOptions) -> CellSpec {
    CellSpec {
        rootfs: Rootfs {
            base: RootBase::Host,
            layers: layer.map(Path::to_path_buf).into_iter().collect(),
            ..Rootfs::default()
        },
        isolation: options.isolation,
        ..CellSpec::host()
    }
}

/// groff from the package mirror, where the host has apt; its absence is no error.
fn groff_layer(work: &Path, progress: &dyn Progress) -> Option<PathBuf> {
    let apt = Apt::new(work).ok()?;
    let package = apt.fetch_asked("groff-base", None, progress);
    match package {
        Ok(package) => package.tree.join("usr/bin/groff").exists().then_some(package.tree),
        Err(error) => {
            progress.note(&format!("no groff for manual pages ({error}); using a simple reader"));
            None
        }
    }
}

/// `None` if groff makes nothing of it.
fn groff(cell: &mut Cell, source: &[u8]) -> Result<Option<String>, ForgeError> {
    let length = format!("-rLL={WIDTH}n");
    let args = ["-Kutf8", "-t", "-mandoc", "-Tutf8", "-P-cbou", "-rHY=0", &length];
    let seen = cell.run(&Invocation {
        program: GROFF.to_owned(),
        args: args.iter().map(|s| (*s).to_owned()).collect(),
        stdin: Some([PREAMBLE.as_bytes(), source].concat()),
        limits: Limits {
            wall_ms: Some(WALL_MS),
            cpu_ms: Some(WALL_MS),
            output_bytes: Some(4 << 20),
        },
        ..Invocation::default()
    })?;
    let text = decode(seen.stdout.inline_bytes()).unwrap_or_default();
    let good = matches!(seen.ended, Ended::Exit { .. }) && !text.trim().is_empty();
    Ok(good.then_some(text))
}

/// Plain characters, no trailing blanks, no runs of empty lines, no lines of blanks at either end.
pub(crate) fn tidy(text: &str) -> String {
    let text = ascii_punctuation(&plain(text));
    let mut out = String::with_capacity(text.len());
    let mut blank = 0;
    for line in text.lines().map(str::trim_end) {
        blank = if line.is_empty() { blank + 1 } else { 0 };
        if blank <= 1 && !(line.is_empty() && out.is_empty()) {
            out.push_str(line);
            out.push('\n');
        }
    }
    while out.ends_with("\n\n") {
        out.pop();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tidying_keeps_words_and_drops_padding() {
        assert_eq!(tidy("\n\nN\u{8}NAME  \n\n\n\n\u{2212}\u{2212}x\n\n\n"), "NAME\n\n--x\n");
        assert_eq!(tidy(""), "");
    }
}
