//! Reading probe logs.

use crate::error::CleanroomError;
use reenact_bundle::fsx::fs_error;
use reenact_model::FormatError;
use reenact_model::probe::Probe;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

/// Bytes of one line. The longest that the log writes is well below: its parts are bounded by the oracle.
const MAX_LINE: u64 = 8 << 20;

/// All probes of the log at `path`, in its order. A torn last line is left out.
///
/// # Errors
/// I/O; [`FormatError`] with line and field.
pub fn read(path: &Path) -> Result<Vec<Probe>, CleanroomError> {
    let mut probes = Vec::new();
    each(path, |probe| probes.push(probe))?;
    Ok(probes)
}

/// Calls `take` with each probe; gives the length of the file in whole lines.
pub(super) fn each(path: &Path, mut take: impl FnMut(Probe)) -> Result<u64, CleanroomError> {
    let file = File::open(path).map_err(fs_error(path, "open"))?;
    let mut reader = BufReader::new(file);
    let (mut whole, mut number, mut line) = (0, 0, Vec::new());
    loop {
        line.clear();
        number += 1;
        let mut limited = (&mut reader).take(MAX_LINE);
        let n = limited.read_until(b'\n', &mut line).map_err(fs_error(path, "read"))? as u64;
        if n == 0 {
            return Ok(whole);
        }
        if line.last() != Some(&b'\n') {
            if n == MAX_LINE {
                let what = format!("is longer than {MAX_LINE} bytes");
                return Err(
                    FormatError { line: Some(number), ..FormatError::file(path, what) }.into()
                );
            }
            // The harness was killed while it wrote.
            return Ok(whole);
        }
        take(Probe::parse(path, number, &line)?);
        whole += n;
    }
}
