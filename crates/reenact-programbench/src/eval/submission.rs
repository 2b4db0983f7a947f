//! A submission's archive, looked at before anything is started: whole, and of a size that a disk can hold.

use super::error::EvalError;
use flate2::read::MultiGzDecoder;
use reenact_bundle::fsx::fs_error;
use std::io::Read;
use std::path::Path;

/// Bytes of the unpacked tree.
const UNPACKED: u64 = 32 << 30;

/// SHA-256 of the archive (hex), or why it is none.
pub(super) fn check(path: &Path) -> Result<(String, Result<(), String>), EvalError> {
    let digest = digest(path)?;
    let file = std::fs::File::open(path).map_err(fs_error(path, "read"))?;
    let mut decoder = MultiGzDecoder::new(file);
    let (mut buffer, mut total) = (vec![0u8; 256 << 10], 0u64);
    let problem = loop {
        match decoder.read(&mut buffer) {
            Ok(0) if total == 0 => break Err("is empty".to_owned()),
            Ok(0) => break Ok(()),
            Ok(n) => {
                total += n as u64;
                if total > UNPACKED {
                    break Err(format!("unpacks to more than {UNPACKED} bytes"));
                }
            }
            Err(e) => break Err(format!("is truncated, or no gzip archive: {e}")),
        }
    };
    Ok((digest, problem.map_err(|what| format!("submission.tar.gz {what}"))))
}

/// SHA-256 of a file, hex.
pub(super) fn digest(path: &Path) -> Result<String, EvalError> {
    Ok(crate::dataset::file_digest(path)?.hex())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_cut_archive_is_told_from_a_whole_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("submission.tar.gz");
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(&(0..100_000u32).flat_map(u32::to_le_bytes).collect::<Vec<u8>>()).unwrap();
        let whole = gz.finish().unwrap();
        std::fs::write(&path, &whole).unwrap();
        assert_eq!(check(&path).unwrap().1, Ok(()));
        for bad in [&whole[..whole.len() / 2], &whole[..whole.len() - 4], b"", b"not gzip at all"] {
            std::fs::write(&path, bad).unwrap();
            assert!(check(&path).unwrap().1.unwrap_err().starts_with("submission.tar.gz is"));
        }
    }
}
