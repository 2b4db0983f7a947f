//! A tar stream as 512-byte blocks, decompressed and metered: no reader above this can be made to swallow a bomb.

use super::error::{Limit, UnpackError};
use flate2::read::MultiGzDecoder;
use std::io::{ErrorKind, Read};

/// Size of a tar block.
pub(super) const BLOCK: usize = 512;
const CHUNK: usize = 64 << 10;

pub(super) struct Blocks<R> {
    inner: MultiGzDecoder<R>,
    consumed: u64,
    /// Decompressed bytes that may be consumed in all.
    limit: u64,
    /// The cap named when `limit` is passed.
    named_limit: u64,
}

impl<R: Read> Blocks<R> {
    pub(super) fn new(reader: R, limit: u64, named_limit: u64) -> Self {
        Self { inner: MultiGzDecoder::new(reader), consumed: 0, limit, named_limit }
    }

    /// The next block; `None` at a clean end of the compressed stream.
    pub(super) fn block(&mut self) -> Result<Option<[u8; BLOCK]>, UnpackError> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            match self.read(&mut block[filled..], "inside a header")? {
                0 if filled == 0 => return Ok(None),
                0 => return Err(UnpackError::Truncated("inside a header")),
                n => filled += n,
            }
        }
        Ok(Some(block))
    }

    /// Hands the next `size` bytes to `sink` in pieces, and skips their padding. `entry` names the entry in errors.
    pub(super) fn data(
        &mut self,
        size: u64,
        entry: &str,
        sink: &mut dyn FnMut(&[u8]) -> Result<(), UnpackError>,
    ) -> Result<(), UnpackError> {
        let mut buffer = vec![0; CHUNK.min(usize::try_from(size.max(1)).unwrap_or(CHUNK))];
        let mut left = size;
        while left > 0 {
            let want = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            match self.read_for(&mut buffer[..want], entry)? {
                0 => return Err(UnpackError::Truncated("inside a file")),
                n => {
                    sink(&buffer[..n])?;
                    left -= n as u64;
                }
            }
        }
        let mut padding = (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64;
        while padding > 0 {
            let mut rest = [0; BLOCK];
            let want = usize::try_from(padding).unwrap_or(BLOCK).min(BLOCK);
            match self.read_for(&mut rest[..want], entry)? {
                0 => return Err(UnpackError::Truncated("inside a file")),
                n => padding -= n as u64,
            }
        }
        Ok(())
    }

    /// Reads on to the end of the compressed stream, so that its checksum is verified.
    pub(super) fn drain(&mut self) -> Result<(), UnpackError> {
        let mut rest = vec![0; CHUNK];
        while self.read(&mut rest, "after the last entry")? > 0 {}
        Ok(())
    }

    fn read_for(&mut self, buffer: &mut [u8], entry: &str) -> Result<usize, UnpackError> {
        self.read(buffer, "inside a file").map_err(|e| match e {
            UnpackError::Limit { what, .. } => UnpackError::Limit { entry: entry.to_owned(), what },
            other => other,
        })
    }

    fn read(&mut self, buffer: &mut [u8], place: &'static str) -> Result<usize, UnpackError> {
        if self.consumed >= self.limit {
            let what = Limit::Bytes(self.named_limit);
            return Err(UnpackError::Limit { entry: "(between entries)".to_owned(), what });
        }
        loop {
            match self.inner.read(buffer) {
                Ok(n) => {
                    self.consumed += n as u64;
                    return Ok(n);
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(self.classify(e, place)),
            }
        }
    }

    /// flate2 reports bad bytes by kind; an error with an errno comes from the file below.
    fn classify(&self, error: std::io::Error, place: &'static str) -> UnpackError {
        match error.kind() {
            _ if error.raw_os_error().is_some() => UnpackError::Read(error),
            ErrorKind::UnexpectedEof => UnpackError::Truncated(place),
            _ if self.consumed == 0 => UnpackError::NotGzip,
            ErrorKind::InvalidInput | ErrorKind::InvalidData => {
                UnpackError::Corrupt(error.to_string())
            }
            _ => UnpackError::Read(error),
        }
    }
}
