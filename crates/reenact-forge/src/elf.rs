//! What an ELF file says about itself: interpreter, libraries, imports, oddities. Facts only; [`crate::seal`] judges.

use object::elf;
use object::read::elf::{Dyn, FileHeader, ProgramHeader};
use object::{Endianness, Object, ObjectSymbol};
use std::collections::BTreeSet;

type Header = elf::FileHeader64<Endianness>;

/// Facts about one 64-bit ELF executable or shared library.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ElfFacts {
    /// PT_INTERP.
    pub interpreter: Option<String>,
    /// DT_NEEDED, in file order.
    pub needed: Vec<String>,
    pub soname: Option<String>,
    /// DT_RPATH and DT_RUNPATH entries, split at colons.
    pub rpaths: Vec<String>,
    /// Undefined dynamic symbols.
    pub imports: BTreeSet<String>,
    /// Defined symbols of `.symtab`; empty when stripped.
    pub defined: BTreeSet<String>,
    /// The loader must write into code pages.
    pub text_relocations: bool,
    /// PT_GNU_STACK is absent or executable.
    pub exec_stack: bool,
    /// There is a dynamic section but no section header leads to its tables: imports are unknown.
    pub opaque: bool,
}

impl ElfFacts {
    /// Neither interpreter nor shared libraries.
    pub fn is_static(&self) -> bool {
        self.interpreter.is_none() && self.needed.is_empty()
    }
}

/// Whether `bytes` begin like an ELF file.
pub(crate) fn is_elf(bytes: &[u8]) -> bool {
    bytes.starts_with(&elf::ELFMAG)
}

/// Whether `bytes` begin like a script, and with which interpreter.
pub(crate) fn shebang(bytes: &[u8]) -> Option<String> {
    let line = bytes.strip_prefix(b"#!")?.split(|b| *b == b'\n').next()?;
    Some(String::from_utf8_lossy(line).trim().to_owned())
}

/// Reads the facts of an x86-64 ELF file.
///
/// # Errors
/// What makes it unreadable, as a fragment.
pub(crate) fn read(bytes: &[u8]) -> Result<ElfFacts, String> {
    if !is_elf(bytes) {
        return Err("is not an ELF file".to_owned());
    }
    let bad = |e: object::Error| format!("is a damaged ELF file: {e}");
    let header = Header::parse(bytes).map_err(|_| "is not a 64-bit ELF file".to_owned())?;
    let endian = header.endian().map_err(bad)?;
    if header.e_machine(endian) != elf::EM_X86_64 {
        return Err("is an ELF file for another machine than x86-64".to_owned());
    }
    let mut facts = ElfFacts { exec_stack: true, ..ElfFacts::default() };
    let mut has_dynamic = false;
    for segment in header.program_headers(endian, bytes).map_err(bad)? {
        if let Some(path) = segment.interpreter(endian, bytes).map_err(bad)? {
            facts.interpreter = Some(String::from_utf8_lossy(path).into_owned());
        }
        has_dynamic |= segment.p_type(endian) == elf::PT_DYNAMIC;
        if segment.p_type(endian) == elf::PT_GNU_STACK {
            facts.exec_stack = segment.p_flags(endian) & elf::PF_X != 0;
        }
    }
    let found = read_dynamic(header, endian, bytes, &mut facts).map_err(bad)?;
    facts.opaque = has_dynamic && !found;
    read_symbols(bytes, &mut facts).map_err(bad)?;
    Ok(facts)
}

/// Fills in what the dynamic section says; `false` if section headers do not lead to one.
fn read_dynamic(
    header: &Header,
    endian: Endianness,
    bytes: &[u8],
    facts: &mut ElfFacts,
) -> object::Result<bool> {
    let sections = header.sections(endian, bytes)?;
    let Some((entries, link)) = sections.dynamic(endian, bytes)? else {
        return Ok(false);
    };
    let strings = sections.strings(endian, bytes, link)?;
    for entry in entries {
        let Some(tag) = entry.tag32(endian) else { continue };
        let text =
            || entry.string(endian, strings).map(|s| String::from_utf8_lossy(s).into_owned());
        match tag {
            elf::DT_NEEDED => facts.needed.push(text()?),
            elf::DT_SONAME => facts.soname = Some(text()?),
            elf::DT_RPATH | elf::DT_RUNPATH => {
                facts.rpaths.extend(text()?.split(':').map(str::to_owned));
            }
            elf::DT_TEXTREL => facts.text_relocations = true,
            elf::DT_FLAGS => {
                let flags: u64 = entry.d_val(endian);
                facts.text_relocations |= flags & u64::from(elf::DF_TEXTREL) != 0;
            }
            _ => {}
        }
    }
    Ok(true)
}

fn read_symbols(bytes: &[u8], facts: &mut ElfFacts) -> object::Result<()> {
    let file = object::read::elf::ElfFile64::<Endianness>::parse(bytes)?;
    for symbol in file.dynamic_symbols().filter(|s| s.is_undefined()) {
        // Names may carry a version, "dlopen@GLIBC_2.34", in odd tables.
        let name = symbol.name().unwrap_or_default();
        facts.imports.insert(name.split('@').next().unwrap_or_default().to_owned());
    }
    for symbol in file.symbols().filter(|s| s.is_definition()) {
        facts.defined.insert(symbol.name().unwrap_or_default().to_owned());
    }
    facts.imports.remove("");
    facts.defined.remove("");
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A minimal static ELF: one PT_LOAD, one non-executable PT_GNU_STACK, `mov eax,60; xor edi,edi; syscall`.
    pub(crate) fn tiny_static() -> Vec<u8> {
        let mut out = Vec::new();
        out.extend(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
        out.extend(2u16.to_le_bytes());
        out.extend(62u16.to_le_bytes());
        out.extend(1u32.to_le_bytes());
        out.extend(0x40_00b0u64.to_le_bytes());
        out.extend(64u64.to_le_bytes());
        out.extend(0u64.to_le_bytes());
        out.extend(0u32.to_le_bytes());
        for half in [64u16, 56, 2, 64, 0, 0] {
            out.extend(half.to_le_bytes());
        }
        for (kind, flags, size) in [(1u32, 5u32, 0xb9u64), (elf::PT_GNU_STACK, 6, 0)] {
            out.extend(kind.to_le_bytes());
            out.extend(flags.to_le_bytes());
            for word in [0u64, 0x40_0000, 0x40_0000, size, size, 0x1000] {
                out.extend(word.to_le_bytes());
            }
        }
        assert_eq!(out.len(), 0xb0);
        out.extend([0xb8, 60, 0, 0, 0, 0x31, 0xff, 0x0f, 0x05]);
        out
    }

    #[test]
    fn a_hand_made_static_executable_needs_nothing() {
        let facts = read(&tiny_static()).unwrap();
        assert!(facts.is_static() && !facts.exec_stack && !facts.opaque, "{facts:?}");
        assert!(facts.imports.is_empty());
    }

    #[test]
    fn a_host_program_shows_interpreter_libraries_and_imports() {
        let facts = read(&std::fs::read("/bin/true").unwrap()).unwrap();
        assert!(facts.interpreter.as_deref().unwrap().contains("ld-linux"), "{facts:?}");
        assert!(facts.needed.iter().any(|n| n == "libc.so.6"), "{facts:?}");
        assert!(facts.imports.contains("exit"), "{facts:?}");
    }

    #[test]
    fn what_is_no_elf_is_refused_with_a_reason() {
        assert!(read(b"#!/bin/sh\n").unwrap_err().contains("not an ELF"));
        assert!(read(b"\x7fELF\x01\x01\x01").unwrap_err().contains("64-bit"));
        let mut other = tiny_static();
        other[18] = 183; // EM_AARCH64
        assert!(read(&other).unwrap_err().contains("another machine"));
        assert_eq!(shebang(b"#! /usr/bin/env python3\nx").as_deref(), Some("/usr/bin/env python3"));
        assert_eq!(shebang(b"\x7fELF"), None);
    }
}
