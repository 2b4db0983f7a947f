//! A stream that is read, decompressed and hashed in a thread of its own while the caller uses what came out.

use crate::digest::Digest;
use sha2::{Digest as _, Sha256};
use std::io::{self, BufRead, BufReader, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Scope, ScopedJoinHandle};

/// Bytes in a piece, and pieces on their way: memory is bounded by their product.
const PIECE: usize = 256 << 10;
const PIECES: usize = 6;

/// Bounds of what a stream may become.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Bytes after decompression.
    pub bytes: u64,
    /// Largest quotient of bytes after and before, asked once `ratio_from` bytes have come out.
    pub ratio: u64,
    pub ratio_from: u64,
}

/// Digests of a whole stream.
#[derive(Clone, Debug)]
pub(crate) struct Digests {
    /// As it came.
    pub packed: Digest,
    /// Decompressed.
    pub plain: Digest,
    pub plain_bytes: u64,
}

/// Marks that a stream went beyond its bounds, in an [`io::Error`].
#[derive(Debug)]
pub(crate) struct TooLarge(pub String);

impl std::fmt::Display for TooLarge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TooLarge {}

enum Piece {
    Bytes(Vec<u8>),
    End(Result<Digests, io::Error>),
}

/// The decompressed stream.
pub(crate) struct Pipe<'scope> {
    /// `None` when dropped.
    pieces: Option<Receiver<Piece>>,
    /// Used buffers go back to be filled again.
    used: SyncSender<Vec<u8>>,
    current: Vec<u8>,
    at: usize,
    end: Option<Result<Digests, io::Error>>,
    thread: Option<ScopedJoinHandle<'scope, ()>>,
}

impl Drop for Pipe<'_> {
    fn drop(&mut self) {
        // It stops at its next piece. A scope waits for its threads' work only, not for their end.
        self.pieces = None;
        if let Some(thread) = self.thread.take() {
            // A panic in it was reported by itself, and the stream ended with an error.
            thread.join().ok();
        }
    }
}

/// Starts the thread. `hash_packed`: whether the packed digest is asked for; where it is not, it is that of
/// nothing (or, of a stream that is not compressed, the plain one).
pub(crate) fn start<'scope, R: Read + Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    input: R,
    bounds: Bounds,
    hash_packed: bool,
) -> Pipe<'scope> {
    let (sender, pieces) = sync_channel(PIECES);
    let (used, buffers) = sync_channel(PIECES + 2);
    let thread = scope.spawn(move || {
        let end = produce(input, bounds, hash_packed, &sender, &buffers);
        // Whoever does not listen any more needs no end.
        sender.send(Piece::End(end)).ok();
    });
    let (pieces, thread) = (Some(pieces), Some(thread));
    Pipe { pieces, used, current: Vec::new(), at: 0, end: None, thread }
}

fn produce<R: Read>(
    input: R,
    bounds: Bounds,
    hash_packed: bool,
    sender: &SyncSender<Piece>,
    buffers: &Receiver<Vec<u8>>,
) -> io::Result<Digests> {
    let counted = Counted { input, bytes: 0, hasher: hash_packed.then(Sha256::new) };
    let mut stream = Decoder::new(BufReader::with_capacity(PIECE, counted))?;
    let is_plain = stream.is_plain();
    let mut hasher = Sha256::new();
    let mut total = 0u64;
    loop {
        let mut piece = buffers.try_recv().unwrap_or_default();
        piece.resize(PIECE, 0);
        let n = fill(&mut stream, &mut piece)?;
        if n == 0 {
            break;
        }
        piece.truncate(n);
        hasher.update(&piece);
        total += n as u64;
        let packed = stream.get_ref().bytes.max(1);
        if total > bounds.bytes {
            return Err(too_large(format!("more than {} bytes unpacked", bounds.bytes)));
        }
        if total >= bounds.ratio_from && total / packed > bounds.ratio {
            return Err(too_large(format!(
                "{total} bytes came out of {packed}, more than {} times as many",
                bounds.ratio
            )));
        }
        if sender.send(Piece::Bytes(piece)).is_err() {
            break;
        }
    }
    let counted = stream.finish()?;
    let plain = Digest::from_hasher(hasher);
    let packed = if is_plain {
        plain.clone()
    } else {
        Digest::from_hasher(counted.hasher.unwrap_or_default())
    };
    Ok(Digests { packed, plain, plain_bytes: total })
}

fn too_large(why: String) -> io::Error {
    io::Error::other(TooLarge(why))
}

fn fill(stream: &mut impl Read, piece: &mut [u8]) -> io::Result<usize> {
    let mut have = 0;
    while have < piece.len() {
        match stream.read(&mut piece[have..]) {
            Ok(0) => break,
            Ok(n) => have += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(have)
}

/// Counts and hashes what passes.
struct Counted<R> {
    input: R,
    bytes: u64,
    hasher: Option<Sha256>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.input.read(buffer)?;
        self.bytes += n as u64;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buffer[..n]);
        }
        Ok(n)
    }
}

/// By its first bytes, not by what somebody calls it: engines do the same, and some registries are wrong about it.
enum Decoder<R: Read> {
    Plain(BufReader<Counted<R>>),
    Gzip(Box<flate2::bufread::MultiGzDecoder<BufReader<Counted<R>>>>),
    Zstd(Box<zstd::stream::read::Decoder<'static, BufReader<Counted<R>>>>),
}

/// Largest window of a zstd stream that is accepted, as a power of two: its decoder's memory.
const ZSTD_WINDOW: u32 = 27;

impl<R: Read> Decoder<R> {
    fn new(mut input: BufReader<Counted<R>>) -> io::Result<Self> {
        let head = input.fill_buf()?;
        let unsupported = |name: &str| {
            let what =
                format!("compressed with {name}, which is not supported: gzip, zstd or nothing");
            Err(io::Error::new(io::ErrorKind::InvalidData, what))
        };
        match head {
            [0x1f, 0x8b, ..] => {
                Ok(Self::Gzip(Box::new(flate2::bufread::MultiGzDecoder::new(input))))
            }
            // A skippable frame may come first (as in zstd:chunked, where it comes last).
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?;
                decoder.window_log_max(ZSTD_WINDOW)?;
                Ok(Self::Zstd(Box::new(decoder)))
            }
            [b'B', b'Z', b'h', ..] => unsupported("bzip2"),
            [0xfd, b'7', b'z', b'X', b'Z', ..] => unsupported("xz"),
            _ => {
                // The same bytes are not hashed twice.
                input.get_mut().hasher = None;
                Ok(Self::Plain(input))
            }
        }
    }

    fn is_plain(&self) -> bool {
        matches!(self, Self::Plain(_))
    }

    fn get_ref(&self) -> &Counted<R> {
        match self {
            Self::Plain(r) => r.get_ref(),
            Self::Gzip(r) => r.get_ref().get_ref(),
            Self::Zstd(r) => r.get_ref().get_ref(),
        }
    }

    /// Reads what is behind the compressed stream, which belongs to the packed digest.
    fn finish(self) -> io::Result<Counted<R>> {
        let mut rest = match self {
            Self::Plain(r) => r,
            Self::Gzip(r) => r.into_inner(),
            Self::Zstd(r) => r.finish(),
        };
        io::copy(&mut rest, &mut io::sink())?;
        Ok(rest.into_inner())
    }
}

impl<R: Read> Read for Decoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(r) => r.read(buffer),
            Self::Gzip(r) => r.read(buffer),
            Self::Zstd(r) => r.read(buffer),
        }
    }
}

impl Pipe<'_> {
    /// Reads to the end and gives the digests.
    pub(crate) fn finish(mut self) -> io::Result<Digests> {
        loop {
            if let Some(end) = self.end.take() {
                return end;
            }
            let rest = self.fill_buf()?.len();
            self.consume(rest);
        }
    }
}

impl Read for Pipe<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let chunk = self.fill_buf()?;
        let n = chunk.len().min(buffer.len());
        buffer[..n].copy_from_slice(&chunk[..n]);
        self.consume(n);
        Ok(n)
    }
}

impl BufRead for Pipe<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == self.current.len() && self.end.is_none() {
            let used = std::mem::take(&mut self.current);
            self.at = 0;
            if used.capacity() > 0 {
                // A full channel, or a thread that has ended, does not need it.
                self.used.try_send(used).ok();
            }
            match self.pieces.as_ref().and_then(|p| p.recv().ok()) {
                Some(Piece::Bytes(bytes)) => self.current = bytes,
                Some(Piece::End(Ok(digests))) => self.end = Some(Ok(digests)),
                Some(Piece::End(Err(error))) => return Err(self.broken(error)),
                None => return Err(self.broken(io::Error::other("the reading thread died"))),
            }
        }
        if let Some(Err(error)) = &self.end {
            return Err(io::Error::new(error.kind(), error.to_string()));
        }
        Ok(&self.current[self.at..])
    }

    fn consume(&mut self, n: usize) {
        self.at += n;
    }
}

impl Pipe<'_> {
    /// The error, and one like it for whoever asks again.
    fn broken(&mut self, error: io::Error) -> io::Error {
        self.end = Some(Err(io::Error::new(error.kind(), error.to_string())));
        error
    }
}
