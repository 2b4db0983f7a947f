//! Tar files around tar files: what `docker save` writes, and submissions and blobs.

use super::{ImageFixtureError, write_beside};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

/// Wraps a root file system (a tar file) as `docker save` would: one layer, these names, `/workspace` as working directory.
///
/// # Errors
/// [`ImageFixtureError::Io`].
pub fn save_archive(root: &Path, names: &[&str], out: &Path) -> Result<(), ImageFixtureError> {
    let fail = |path: &Path| ImageFixtureError::io(path.display().to_string());
    let mut layer = std::fs::File::open(root).map_err(fail(root))?;
    let mut hash = Sha256::new();
    std::io::copy(&mut layer, &mut hash).map_err(fail(root))?;
    layer.seek(SeekFrom::Start(0)).map_err(fail(root))?;
    let diff_id = hex(&hash.finalize());
    let config = json!({
        "architecture": "amd64",
        "os": "linux",
        "created": "2000-01-01T00:00:00Z",
        "config": {
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "Cmd": ["bash"],
            "WorkingDir": "/workspace",
        },
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{diff_id}")]},
        "history": [{"created": "2000-01-01T00:00:00Z"}],
    })
    .to_string();
    let config_name = format!("{}.json", hex(&Sha256::digest(&config)));
    let layer_name = format!("{diff_id}/layer.tar");
    let manifest =
        json!([{"Config": config_name, "RepoTags": names, "Layers": [layer_name]}]).to_string();
    write_beside(out, |file| {
        let mut tar = tar::Builder::new(std::io::BufWriter::with_capacity(1 << 20, file));
        let size = layer.metadata().map_err(fail(root))?.len();
        tar.append_data(&mut regular(0o644, size), &layer_name, &mut layer).map_err(fail(root))?;
        for (name, text) in [(config_name.as_str(), &config), ("manifest.json", &manifest)] {
            tar.append_data(&mut regular(0o644, text.len() as u64), name, text.as_bytes())
                .map_err(fail(out))?;
        }
        tar.into_inner().and_then(|mut inner| inner.flush()).map_err(fail(out))
    })
}

/// A `.tar.gz` of these files: (path, mode, bytes), in the order given, owned by root.
///
/// # Errors
/// [`ImageFixtureError::Io`].
pub fn gzip_tar(out: &Path, files: &[(String, u32, Vec<u8>)]) -> Result<(), ImageFixtureError> {
    let fail = || ImageFixtureError::io(out.display().to_string());
    write_beside(out, |file| {
        let gzip = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
        let mut tar = tar::Builder::new(gzip);
        for (path, mode, bytes) in files {
            let mut header = regular(*mode, bytes.len() as u64);
            tar.append_data(&mut header, path, bytes.as_slice()).map_err(fail())?;
        }
        tar.into_inner().and_then(flate2::write::GzEncoder::finish).map_err(fail())?;
        Ok(())
    })
}

fn regular(mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Regular);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(946_684_800);
    header.set_size(size);
    header
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
