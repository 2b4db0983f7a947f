//! The reference's bytes in what an agent made or saw: whole copies, and runs of its machine code.
//!
//! Only code counts. Help texts and tables are what an agent is meant to find out, and a source may well hold them.

use crate::audit::matching::is_toolchain;
use crate::audit::sample::samples;
use crate::error::CleanroomError;
use reenact_bundle::TaskBundle;
use reenact_bundle::fsx::read;
use reenact_model::Digest;
use reenact_model::integrity::Severity;
use std::cell::OnceCell;
use std::collections::HashSet;
use std::fs::File;
use std::path::{Path, PathBuf};

/// Shared samples from which a run of code is no chance. One sample stands for about 512 bytes.
pub const FEWEST: usize = 4;
/// Shares from which a run of code is a breach, and from which it is worth a note, per mille of the reference's own code: in
/// programs (which are linked with much the same libraries), and in everything else.
const IN_PROGRAMS: (usize, usize) = (300, 50);
const ELSEWHERE: (usize, usize) = (20, 0);
/// Bytes of the reference's beginning that no other program has: with its headers, and its build's identifier where it has one.
const HEAD: usize = 1024;
/// Code of linked libraries is excluded by blocks of this size: between two blocks with known library code …
const BLOCK: usize = 4096;
/// … that are at most so many blocks away, everything is library code.
const GAP: usize = 2;
/// Files of the toolchain that are read at most.
const TOOLCHAIN_FILES: usize = 2000;

/// What is looked for.
pub struct Secret {
    bytes: Vec<u8>,
    digest: Digest,
    /// Samples of its code, sorted.
    code: Vec<u64>,
    /// Those of them that the toolchain's own libraries have too; computed when a match makes them matter.
    common: OnceCell<HashSet<u64>>,
}

/// How much of the reference there is in something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// The whole of it, from this byte on.
    Whole { offset: u64 },
    /// Its beginning: the header, which no other program has.
    Head { offset: u64 },
    /// Samples of its code, and how many it has that are its own.
    Code { shared: usize, own: usize, offset: u64 },
}

impl Share {
    /// How it counts in bytes that hold a program (or not); `None` if it says nothing.
    pub fn severity(self, program: bool) -> Option<Severity> {
        let Self::Code { shared, own, .. } = self else { return Some(Severity::Breach) };
        let per_mille = shared * 1000 / own.max(1);
        let (breach, note) = if program { IN_PROGRAMS } else { ELSEWHERE };
        if per_mille >= breach {
            Some(Severity::Breach)
        } else {
            (per_mille >= note).then_some(Severity::Note)
        }
    }

    /// Where it is.
    pub fn offset(self) -> u64 {
        let (Self::Whole { offset } | Self::Head { offset } | Self::Code { offset, .. }) = self;
        offset
    }
}

impl std::fmt::Display for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Whole { .. } => f.write_str("the whole reference"),
            Self::Head { .. } => f.write_str("the beginning of the reference's file"),
            Self::Code { shared, own, .. } => {
                // A sample stands for about half a kibibyte.
                let (kib, percent) = (shared.div_ceil(2), shared * 100 / (*own).max(1));
                write!(f, "about {kib} KiB ({percent} %) of the reference's own machine code")
            }
        }
    }
}

impl Secret {
    /// The reference of a task.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn of(task: &TaskBundle) -> Result<Self, CleanroomError> {
        Ok(Self::new(read(&task.reference())?))
    }

    /// The secret that `bytes` are.
    pub fn new(bytes: Vec<u8>) -> Self {
        let mut code = Vec::new();
        for (from, to) in code_segments(&bytes) {
            // Reading from memory does not fail.
            code.extend(samples(bytes.get(from..to).unwrap_or_default()).unwrap_or_default());
        }
        code.sort_unstable();
        code.dedup();
        Self { digest: Digest::of(&bytes), bytes, code, common: OnceCell::new() }
    }

    /// Whether these bytes are the reference, by digest.
    pub fn is(&self, digest: &Digest) -> bool {
        *digest == self.digest
    }

    /// What `bytes` share with the reference, if it is more than chance.
    pub fn share(&self, bytes: &[u8]) -> Option<Share> {
        match self.head(bytes) {
            Some((offset, true)) => return Some(Share::Whole { offset: offset as u64 }),
            Some((offset, false)) => return Some(Share::Head { offset: offset as u64 }),
            None if self.code.len() < FEWEST => return None,
            None => {}
        }
        let found = self.shared(bytes);
        if found.len() < FEWEST {
            return None;
        }
        let common = self.common.get_or_init(|| self.in_toolchain());
        let own = |s: &u64| !common.contains(s);
        let found: Vec<u64> = found.into_iter().filter(own).collect();
        (found.len() >= FEWEST).then(|| Share::Code {
            shared: found.len(),
            own: self.code.iter().filter(|s| own(s)).count(),
            offset: self.first(bytes, &found),
        })
    }

    fn shared(&self, bytes: &[u8]) -> Vec<u64> {
        let all = samples(bytes).unwrap_or_default();
        all.into_iter().filter(|s| self.code.binary_search(s).is_ok()).collect()
    }

    /// Where the reference's header is (scripts have none), and whether the rest follows.
    fn head(&self, bytes: &[u8]) -> Option<(usize, bool)> {
        if self.bytes.len() < 64 {
            return None;
        }
        let head = &self.bytes[..self.bytes.len().min(HEAD)];
        let is_elf = head.starts_with(b"\x7fELF");
        let mut first = None;
        let mut at = 0;
        while let Some(found) = bytes.get(at..)?.windows(head.len()).position(|w| w == head) {
            at += found;
            if bytes[at..].starts_with(&self.bytes) {
                return Some((at, true));
            }
            first = first.or(is_elf.then_some((at, false)));
            at += 1;
        }
        first
    }

    /// Where about the first of the samples `found` is.
    fn first(&self, bytes: &[u8], found: &[u64]) -> u64 {
        const STEP: usize = 1 << 16;
        for from in (0..bytes.len()).step_by(STEP) {
            // Windows reach over the edge.
            let piece = &bytes[from..(from + STEP + 64).min(bytes.len())];
            let here = samples(piece).unwrap_or_default();
            if here.iter().any(|s| found.binary_search(s).is_ok()) {
                return from as u64;
            }
        }
        0
    }

    /// Samples of the reference's code that are library code: those of the toolchain's own libraries, and those between
    /// them, which the linker has changed.
    fn in_toolchain(&self) -> HashSet<u64> {
        let mut common = HashSet::new();
        for path in toolchain_files() {
            // What cannot be read is not excluded: the finding is for a person to look at.
            let Ok(file) = File::open(&path) else { continue };
            let here = samples(file).unwrap_or_default();
            common.extend(here.into_iter().filter(|s| self.code.binary_search(s).is_ok()));
        }
        if common.is_empty() {
            return common;
        }
        for (from, to) in code_segments(&self.bytes) {
            let code = self.bytes.get(from..to).unwrap_or_default();
            let blocks: Vec<Vec<u64>> = (0..code.len())
                .step_by(BLOCK)
                .map(|at| {
                    let piece = &code[at.saturating_sub(63)..(at + BLOCK).min(code.len())];
                    samples(piece).unwrap_or_default()
                })
                .collect();
            let known: Vec<bool> =
                blocks.iter().map(|b| b.iter().any(|s| common.contains(s))).collect();
            let near = |range: std::ops::Range<usize>| {
                known
                    .get(range.start..range.end.min(known.len()))
                    .is_some_and(|k| k.contains(&true))
            };
            for (i, block) in blocks.iter().enumerate() {
                if near(i.saturating_sub(GAP)..i + 1) && near(i..i + GAP + 1) {
                    common.extend(block);
                }
            }
        }
        common
    }
}

/// Offsets of the segments of an ELF file that are executed.
fn code_segments(bytes: &[u8]) -> Vec<(usize, usize)> {
    let number = |at: usize, len: usize| {
        let mut n = [0u8; 8];
        n[..len].copy_from_slice(bytes.get(at..at + len)?);
        usize::try_from(u64::from_le_bytes(n)).ok()
    };
    let segments = || {
        // 64 bits, little-endian: all that tasks may be.
        (bytes.get(..6)? == b"\x7fELF\x02\x01").then_some(())?;
        let (table, size, count) = (number(0x20, 8)?, number(0x36, 2)?, number(0x38, 2)?);
        let mut found = Vec::new();
        for i in 0..count {
            let at = table.checked_add(i * size)?;
            let (kind, flags) = (number(at, 4)?, number(at.checked_add(4)?, 4)?);
            let (offset, len) = (number(at + 8, 8)?, number(at + 0x20, 8)?);
            if kind == 1 && flags & 1 != 0 {
                found.push((offset, offset.saturating_add(len).min(bytes.len())));
            }
        }
        Some(found)
    };
    segments().unwrap_or_default()
}

/// The static libraries and start files that compilers link into every program.
fn toolchain_files() -> Vec<PathBuf> {
    let mut todo: Vec<PathBuf> = ["/usr/lib", "/usr/local/musl"].map(PathBuf::from).to_vec();
    todo.extend(reenact_sandbox::host::rust_sysroot().map(|r| r.join("lib/rustlib")));
    let mut found = Vec::new();
    // Deep enough for lib/gcc/<triple>/<version> and rustlib/<triple>/lib/self-contained.
    for _ in 0..5 {
        for dir in std::mem::take(&mut todo) {
            let Ok(entries) = std::fs::read_dir(&dir) else { continue };
            for entry in entries.flatten() {
                let path = entry.path();
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => todo.push(path),
                    Ok(kind) if kind.is_file() && is_part(&path) => found.push(path),
                    _ => {}
                }
            }
        }
    }
    found.sort();
    found.truncate(TOOLCHAIN_FILES);
    found
}

fn is_part(path: &Path) -> bool {
    use std::os::unix::ffi::OsStrExt;
    is_toolchain(path.as_os_str().as_bytes())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::audit::sample::tests::noise;

    /// An ELF file with `code` as its executed segment and `data` behind it.
    pub(crate) fn elf(code: &[u8], data: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0u8; 0x40 + 0x38];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        bytes[0x20] = 0x40;
        bytes[0x36] = 0x38;
        bytes[0x38] = 1;
        let header = bytes.len() as u64;
        bytes[0x40] = 1;
        bytes[0x44] = 5;
        bytes[0x48..0x50].copy_from_slice(&header.to_le_bytes());
        bytes[0x60..0x68].copy_from_slice(&(code.len() as u64).to_le_bytes());
        bytes.extend_from_slice(code);
        bytes.extend_from_slice(data);
        bytes
    }

    #[test]
    fn copies_and_runs_of_code_are_found_data_and_other_programs_are_not() {
        let (code, data) = (noise(1, 60_000), noise(2, 60_000));
        let reference = elf(&code, &data);
        let secret = Secret::new(reference.clone());
        assert!(secret.is(&Digest::of(&reference)));

        let mut wrapped = b"int x;\n".to_vec();
        wrapped.extend(&reference);
        assert_eq!(secret.share(&wrapped), Some(Share::Whole { offset: 7 }));

        let begun = secret.share(&reference[..5000]);
        assert_eq!(begun, Some(Share::Head { offset: 0 }));
        let mut part = noise(3, 200_000);
        part.extend(&code[10_000..30_000]);
        let share = secret.share(&part);
        let Some(Share::Code { shared, own, offset }) = share else { panic!("{share:?}") };
        assert!(shared >= 10 && own > shared, "{shared} of {own}");
        assert!((131_072..=200_000).contains(&offset), "{offset}");
        let share = Share::Code { shared, own, offset };
        assert_eq!(share.severity(false), Some(Severity::Breach));
        let little = Share::Code { shared: 4, own: 1000, offset };
        assert_eq!((little.severity(false), little.severity(true)), (Some(Severity::Note), None));

        assert_eq!(secret.share(&data), None, "data is no code");
        assert_eq!(secret.share(&elf(&noise(4, 60_000), &data)), None);
        assert_eq!(secret.share(&code[..600]), None, "too little to be told from chance");
        assert_eq!(secret.share(b""), None);
    }

    #[test]
    fn broken_headers_have_no_code() {
        let whole = elf(&noise(1, 1000), b"");
        for cut in 0..whole.len().min(0x80) {
            assert!(
                code_segments(&whole[..cut])
                    .iter()
                    .all(|(from, to)| from <= to && *to <= cut || to <= from)
            );
        }
        let mut wild = whole;
        wild[0x48..0x50].copy_from_slice(&u64::MAX.to_le_bytes());
        assert_eq!(Secret::new(wild).code, Vec::<u64>::new());
        assert_eq!(Secret::new(b"#!/bin/sh\n".to_vec()).share(&[0; 100]), None);
    }
}
