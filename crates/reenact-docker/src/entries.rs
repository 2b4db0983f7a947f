//! Entries of tar streams, as both directions of `cp` read and write them.

use reenact_image::UnpackLimits;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::time::{Duration, SystemTime};

/// What one copy may still have: as many files and bytes, holes counted, as a layer may have. A hole of any size costs nothing
/// to send, but somebody has to look at its zeros.
#[derive(Default)]
pub struct Allowance {
    limits: UnpackLimits,
    entries: u64,
    bytes: u64,
}

impl Allowance {
    /// One more entry.
    ///
    /// # Errors
    /// It is one too many.
    pub fn entry(&mut self) -> io::Result<()> {
        self.entries += 1;
        let most = self.limits.entries;
        if self.entries > most {
            return Err(io::Error::other(format!("more than {most} files; copy it in parts")));
        }
        Ok(())
    }

    /// More bytes of files.
    ///
    /// # Errors
    /// They are too many.
    pub fn bytes(&mut self, bytes: u64) -> io::Result<()> {
        self.bytes = self.bytes.saturating_add(bytes);
        let most = self.limits.bytes;
        if self.bytes > most {
            let most = most >> 30;
            let why = format!("more than {most} GiB of files, their holes counted; copy less");
            return Err(io::Error::other(why));
        }
        Ok(())
    }
}

/// Whether an entry has the content of a file.
pub fn is_file(kind: tar::EntryType) -> bool {
    kind.is_file() || kind.is_contiguous() || kind.is_gnu_sparse()
}

/// When what an entry describes was changed.
pub fn time(header: &tar::Header) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(header.mtime().unwrap_or(0).min(1 << 40))
}

/// Writes an entry's content to a file that is empty. Holes stay holes where the file can have some.
///
/// # Errors
/// Reading the stream; writing.
pub fn fill(file: &File, entry: &mut tar::Entry<'_, impl Read>) -> io::Result<()> {
    if entry.header().entry_type().is_gnu_sparse() && file.metadata()?.is_file() {
        return holes(file, entry);
    }
    let mut to = io::BufWriter::with_capacity(256 << 10, file);
    io::copy(&mut BufReader::with_capacity(256 << 10, &mut *entry), &mut to)?;
    to.flush()
}

/// Writes what is not zeros: the stream has told where holes are, and they come as zeros.
fn holes(mut file: &File, entry: &mut impl Read) -> io::Result<()> {
    const BLOCK: usize = 4096;
    const ZEROS: [u8; BLOCK] = [0; BLOCK];
    let mut buffer = vec![0; 64 * BLOCK];
    let mut size = 0u64;
    loop {
        let mut n = 0;
        while n < buffer.len() {
            match entry.read(&mut buffer[n..]) {
                Ok(0) => break,
                Ok(more) => n += more,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        if n == 0 {
            return file.set_len(size);
        }
        for block in buffer[..n].chunks(BLOCK) {
            if block != &ZEROS[..block.len()] {
                file.seek(SeekFrom::Start(size))?;
                file.write_all(block)?;
            }
            size += block.len() as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_too_many_is_told() {
        let mut left = Allowance::default();
        left.limits.entries = 2;
        assert!(left.entry().is_ok() && left.entry().is_ok());
        assert!(left.entry().unwrap_err().to_string().contains("more than 2 files"));
        assert!(left.bytes(64 << 30).is_ok());
        assert!(left.bytes(1).unwrap_err().to_string().contains("64 GiB"));
        assert!(left.bytes(u64::MAX).is_err());
    }
}
