//! What a main process wrote, kept for `logs`: pieces of both streams in the order of their arrival.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes that are kept; what comes after is dropped, and the log says so.
const MOST: u64 = 64 << 20;
/// Longest piece.
const PIECE: usize = 1 << 20;

/// Which stream a piece is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Stream {
    Out = b'o',
    Err = b'e',
}

struct Log {
    file: File,
    kept: u64,
}

/// The log that is written.
#[derive(Clone)]
pub struct Recorder(Arc<Mutex<Log>>);

impl Recorder {
    /// # Errors
    /// The file cannot be made.
    pub fn create(path: &Path) -> io::Result<Self> {
        Ok(Self(Arc::new(Mutex::new(Log { file: File::create(path)?, kept: 0 }))))
    }

    fn keep(&self, stream: Stream, bytes: &[u8]) {
        let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let full = log.kept >= MOST;
        log.kept += bytes.len() as u64;
        let note = b"\n[the rest is not kept: more than 64 MiB]\n";
        let (stream, bytes) = match (full, log.kept >= MOST) {
            (true, _) => return,
            (false, true) => (Stream::Err, &note[..]),
            (false, false) => (stream, bytes),
        };
        for piece in bytes.chunks(PIECE) {
            let mut record = Vec::with_capacity(piece.len() + 5);
            record.push(stream as u8);
            record.extend(u32::try_from(piece.len()).unwrap_or(u32::MAX).to_le_bytes());
            record.extend(piece);
            // A full disk costs the log, not the program.
            let _kept = log.file.write_all(&record);
        }
    }

    /// A sink for one stream; `listener` gets it as well, as long as it listens.
    pub fn sink(&self, stream: Stream, listener: Option<UnixStream>) -> Sink {
        Sink { recorder: self.clone(), stream, listener }
    }
}

/// One stream on its way to the log.
pub struct Sink {
    recorder: Recorder,
    stream: Stream,
    listener: Option<UnixStream>,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.recorder.keep(self.stream, bytes);
        if let Some(listener) = &mut self.listener
            && listener.write_all(bytes).is_err()
        {
            self.listener = None;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A log that is read, piece by piece, also while it is being written.
pub struct Reader {
    from: BufReader<File>,
    partial: Vec<u8>,
}

impl Reader {
    /// # Errors
    /// The file cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { from: BufReader::new(File::open(path)?), partial: Vec::new() })
    }

    /// The next piece; `None` if there is no whole one (yet).
    ///
    /// # Errors
    /// Reading; a damaged log.
    pub fn next(&mut self) -> io::Result<Option<(Stream, Vec<u8>)>> {
        loop {
            let want = match self.partial.get(1..5) {
                Some(len) => 5 + u32::from_le_bytes([len[0], len[1], len[2], len[3]]) as usize,
                None => 5,
            };
            if want > 5 + PIECE {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "the log is damaged"));
            }
            if self.partial.len() >= 5 && self.partial.len() == want {
                let stream = match self.partial[0] {
                    b'o' => Stream::Out,
                    _ => Stream::Err,
                };
                let piece = self.partial.split_off(5);
                self.partial.clear();
                return Ok(Some((stream, piece)));
            }
            let missing = (want - self.partial.len()) as u64;
            if (&mut self.from).take(missing).read_to_end(&mut self.partial)? == 0 {
                return Ok(None);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_come_back_in_order_also_while_written() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("output");
        let recorder = Recorder::create(&path).unwrap();
        let (mut out, mut err) =
            (recorder.sink(Stream::Out, None), recorder.sink(Stream::Err, None));
        let mut reader = Reader::open(&path).unwrap();
        assert_eq!(reader.next().unwrap(), None);
        out.write_all(b"one").unwrap();
        assert_eq!(reader.next().unwrap(), Some((Stream::Out, b"one".to_vec())));
        err.write_all(b"two").unwrap();
        out.write_all(b"three").unwrap();
        assert_eq!(reader.next().unwrap(), Some((Stream::Err, b"two".to_vec())));
        assert_eq!(reader.next().unwrap(), Some((Stream::Out, b"three".to_vec())));
        assert_eq!(reader.next().unwrap(), None);
    }

    #[test]
    fn a_log_does_not_grow_for_ever() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("output");
        let recorder = Recorder::create(&path).unwrap();
        let mut out = recorder.sink(Stream::Out, None);
        for _ in 0..70 {
            out.write_all(&vec![b'x'; 1 << 20]).unwrap();
        }
        assert!(path.metadata().unwrap().len() <= MOST + 4096);
        let (mut reader, mut last) = (Reader::open(&path).unwrap(), None);
        while let Some(piece) = reader.next().unwrap() {
            last = Some(piece);
        }
        let (stream, text) = last.unwrap();
        assert_eq!(stream, Stream::Err);
        assert!(String::from_utf8(text).unwrap().contains("not kept"));
    }
}
