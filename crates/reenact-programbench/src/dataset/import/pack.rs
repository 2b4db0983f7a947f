//! A suite that is shipped unpacked (the fixture's `tests/<branch>/…`), packed as the others are: `<branch>.tar.gz`.

use super::source::Files;
use std::collections::BTreeMap;
use std::io::Write;

/// The archives of the suites in `files`, by branch. Equal files give equal bytes.
pub(super) fn pack(files: &Files) -> std::io::Result<BTreeMap<String, Vec<u8>>> {
    let mut branches: BTreeMap<&str, Vec<(&str, &[u8])>> = BTreeMap::new();
    for (path, data) in files {
        let inside = path.strip_prefix("tests/").and_then(|p| p.split_once('/'));
        if let Some((branch, inside)) = inside {
            branches.entry(branch).or_default().push((inside, data));
        }
    }
    let mut packed = BTreeMap::new();
    for (branch, entries) in branches {
        packed.insert(branch.to_owned(), archive(&entries)?);
    }
    Ok(packed)
}

fn archive(entries: &[(&str, &[u8])]) -> std::io::Result<Vec<u8>> {
    let gzip = flate2::GzBuilder::new().write(Vec::new(), flate2::Compression::new(6));
    let mut builder = tar::Builder::new(gzip);
    for (path, data) in entries {
        let mut header = tar::Header::new_ustar();
        header.set_size(data.len() as u64);
        header.set_mode(if data.starts_with(b"#!") { 0o755 } else { 0o644 });
        header.set_mtime(0);
        builder.append_data(&mut header, path, *data)?;
    }
    let mut gzip = builder.into_inner()?;
    gzip.flush()?;
    gzip.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn suites_are_packed_by_branch_and_scripts_are_executable() {
        let file = |path: &str, text: &str| (path.to_owned(), text.as_bytes().to_vec());
        let files: Files = [
            file("task.yaml", "x"),
            file("tests/b1/eval/run.sh", "#!/bin/bash\n"),
            file("tests/b1/eval/tests/test_x.py", "import os\n"),
            file("tests/stray", "x"),
        ]
        .into();
        let packed = pack(&files).unwrap();
        assert_eq!(packed.keys().collect::<Vec<_>>(), ["b1"]);
        assert_eq!(packed, pack(&files).unwrap());
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(&packed["b1"][..]));
        let mut seen = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            let mode = entry.header().mode().unwrap();
            seen.push((entry.path().unwrap().display().to_string(), mode, text));
        }
        assert_eq!(seen[0], ("eval/run.sh".into(), 0o755, "#!/bin/bash\n".into()));
        assert_eq!(seen[1], ("eval/tests/test_x.py".into(), 0o644, "import os\n".into()));
    }
}
