//! Headers: one entry with its GNU and POSIX extensions resolved.

use super::block::{BLOCK, Blocks};
use super::error::{Limit, Refusal, UnpackError};
use reenact_model::observe::path_key;
use std::io::Read;
use tar::{EntryType, Header};

/// Largest extended header read into memory.
const MAX_EXTENSION: u64 = 64 << 10;

/// One entry; its data of `size` bytes follows in the stream.
#[derive(Debug)]
pub(super) struct RawEntry {
    pub kind: EntryType,
    pub name: Vec<u8>,
    pub link: Vec<u8>,
    pub size: u64,
    pub mode: u32,
    /// Seconds since the epoch.
    pub mtime: u64,
}

impl RawEntry {
    /// The name for messages.
    pub(super) fn label(&self) -> String {
        path_key(&self.name)
    }
}

#[derive(Default)]
struct Extensions {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    sparse: bool,
}

/// Reads headers up to the next entry; `None` at the end-of-archive block. `count` is told of every header block, so that
/// extension headers cannot be repeated without end.
pub(super) fn next_entry<R: Read>(
    blocks: &mut Blocks<R>,
    count: &mut dyn FnMut(&str) -> Result<(), UnpackError>,
) -> Result<Option<RawEntry>, UnpackError> {
    let mut extensions = Extensions::default();
    loop {
        let Some(block) = blocks.block()? else {
            return Err(UnpackError::Truncated("before the end-of-archive mark"));
        };
        if block.iter().all(|b| *b == 0) {
            return Ok(None);
        }
        let entry = parse_header(&block)?;
        count(&entry.label())?;
        match entry.kind {
            EntryType::GNULongName => {
                extensions.name = Some(without_nul(read_extension(blocks, &entry)?));
            }
            EntryType::GNULongLink => {
                extensions.link = Some(without_nul(read_extension(blocks, &entry)?));
            }
            EntryType::XHeader => {
                let data = read_extension(blocks, &entry)?;
                parse_pax(&data, &mut extensions)
                    .ok_or_else(|| refused(&entry, Refusal::BadExtension))?;
            }
            // Comments such as git archive's commit id; nothing in it concerns us, and it must not set paths for all.
            EntryType::XGlobalHeader => {
                read_extension(blocks, &entry)?;
            }
            _ => return finish(entry, extensions).map(Some),
        }
    }
}

fn refused(entry: &RawEntry, why: Refusal) -> UnpackError {
    UnpackError::Refused { entry: entry.label(), why }
}

fn finish(mut entry: RawEntry, extensions: Extensions) -> Result<RawEntry, UnpackError> {
    if let Some(name) = extensions.name {
        entry.name = name;
    }
    if let Some(link) = extensions.link {
        entry.link = link;
    }
    if extensions.sparse || entry.kind == EntryType::GNUSparse {
        return Err(refused(&entry, Refusal::Sparse));
    }
    // Links and directories carry no data, whatever their size field says (POSIX ustar).
    match entry.kind {
        EntryType::Regular | EntryType::Continuous => {
            entry.size = extensions.size.unwrap_or(entry.size);
        }
        _ => entry.size = 0,
    }
    Ok(entry)
}

fn parse_header(block: &[u8; BLOCK]) -> Result<RawEntry, UnpackError> {
    let header = Header::from_byte_slice(block);
    let corrupt = |what: &str| {
        let name = path_key(&header.path_bytes());
        UnpackError::Corrupt(format!("the header of \"{name}\" {what}"))
    };
    let sum: u32 = block
        .iter()
        .enumerate()
        .map(|(i, b)| if (148..156).contains(&i) { 32 } else { u32::from(*b) })
        .sum();
    if header.cksum().ok() != Some(sum) {
        return Err(UnpackError::Corrupt("a header's checksum does not match".to_owned()));
    }
    let name = header.path_bytes().into_owned();
    let mut kind = header.entry_type();
    // Before POSIX a directory was a regular entry whose name ends in a slash.
    if kind == EntryType::Regular && name.ends_with(b"/") {
        kind = EntryType::Directory;
    }
    Ok(RawEntry {
        kind,
        link: header.link_name_bytes().map(std::borrow::Cow::into_owned).unwrap_or_default(),
        size: header.entry_size().map_err(|_| corrupt("has a malformed size"))?,
        mode: header.mode().map_err(|_| corrupt("has a malformed mode"))?,
        // A negative or absent time is no reason to refuse: times only order files for `make`.
        mtime: header.mtime().unwrap_or(0),
        name,
    })
}

fn read_extension<R: Read>(
    blocks: &mut Blocks<R>,
    entry: &RawEntry,
) -> Result<Vec<u8>, UnpackError> {
    let label = entry.label();
    if entry.size > MAX_EXTENSION {
        return Err(UnpackError::Limit { entry: label, what: Limit::Header(MAX_EXTENSION) });
    }
    let mut data = Vec::new();
    blocks.data(entry.size, &label, &mut |piece| {
        data.extend_from_slice(piece);
        Ok(())
    })?;
    Ok(data)
}

fn without_nul(mut name: Vec<u8>) -> Vec<u8> {
    if name.last() == Some(&0) {
        name.pop();
    }
    name
}

/// Records of a POSIX extended header, `<length> <key>=<value>\n`, where the length counts the whole record. (The `tar` crate
/// splits at newlines, which a path may hold.)
fn parse_pax(mut data: &[u8], extensions: &mut Extensions) -> Option<()> {
    while !data.is_empty() {
        let space = data.iter().position(|b| *b == b' ')?;
        let length: usize = std::str::from_utf8(&data[..space]).ok()?.parse().ok()?;
        let record = data.get(space + 1..length)?.strip_suffix(b"\n")?;
        let equals = record.iter().position(|b| *b == b'=')?;
        let (key, value) = (&record[..equals], &record[equals + 1..]);
        match key {
            b"path" => extensions.name = Some(value.to_vec()),
            b"linkpath" => extensions.link = Some(value.to_vec()),
            b"size" => extensions.size = Some(std::str::from_utf8(value).ok()?.parse().ok()?),
            key if key.starts_with(b"GNU.sparse.") => extensions.sparse = true,
            _ => {}
        }
        data = &data[length..];
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pax_records_may_hold_newlines_and_must_add_up() {
        let mut found = Extensions::default();
        assert!(parse_pax(b"12 path=a\nb\n13 size=1234\n", &mut found).is_some());
        assert_eq!(found.name.as_deref(), Some(&b"a\nb"[..]));
        assert_eq!(found.size, Some(1234));
        let bads: [&[u8]; 6] = [
            b"99 path=a\n",
            b"x path=a\n",
            b"0 \n",
            b"9 path=ab\n",
            b"7 path\n\n",
            b"13 size=-234\n",
        ];
        for bad in bads {
            assert!(parse_pax(bad, &mut Extensions::default()).is_none(), "{bad:?}");
        }
    }
}
