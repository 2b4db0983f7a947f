use super::sample::tests::noise;
use super::*;
use reenact_bundle::Quiet;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

/// A make-believe room with a reference outside it.
struct Stage {
    temp: tempfile::TempDir,
}

fn program(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = b"\x7fELF".to_vec();
    bytes.extend(noise(seed, len));
    bytes
}

impl Stage {
    fn new() -> Self {
        let stage = Self { temp: tempfile::tempdir().unwrap() };
        stage.put("sealed/reference", &program(1, 100_000));
        stage.put("sealed/libown.so", &program(2, 60_000));
        stage.put("room/usr/lib/other", &program(3, 80_000));
        std::fs::create_dir_all(stage.path("room/home/user")).unwrap();
        stage
    }

    fn path(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    }

    fn secret(&self) -> Secret {
        let files = [
            ("the reference".to_owned(), self.path("sealed/reference")),
            ("its private libown.so".to_owned(), self.path("sealed/libown.so")),
        ];
        Secret::from_files(&files, &[]).unwrap()
    }

    fn audit(&self) -> AuditReport {
        audit(&self.path("room"), &self.secret(), &Cache::none(), &Quiet).unwrap()
    }

    /// The way through the cache, for a tree that in a real room would be a mount.
    fn cached(&self) -> AuditReport {
        let (root, secret) = (self.path("room"), self.secret());
        let cache = Cache::at(&self.path("cache"));
        let mut auditor = Auditor {
            root: &root,
            secret: &secret,
            cache: &cache,
            progress: &Quiet,
            user: user(&root),
            pattern: None,
            report: AuditReport::default(),
        };
        auditor.cached(b"usr", "usr").unwrap();
        auditor.report
    }
}

#[test]
fn unrelated_files_are_no_findings_and_a_copy_anywhere_is_one() {
    let s = Stage::new();
    let clean = s.audit();
    assert_eq!((clean.findings.as_slice(), clean.files), (&[][..], 1));
    s.put("room/tmp/.hidden/_inject_exe", &std::fs::read(s.path("sealed/reference")).unwrap());
    let report = s.audit();
    let exposed = report.exposed().unwrap();
    assert!(exposed.exact);
    assert_eq!(exposed.to_string(), "/tmp/.hidden/_inject_exe is a copy of the reference");
    assert!(exposed.remedy().contains("task.toml"), "{}", exposed.remedy());
}

#[test]
fn a_private_runtime_file_is_guarded_like_the_reference() {
    let s = Stage::new();
    s.put("room/usr/lib/libown.so.1", &std::fs::read(s.path("sealed/libown.so")).unwrap());
    let report = s.audit();
    assert_eq!(report.exposed().unwrap().of, "its private libown.so");
}

#[test]
fn most_of_the_reference_inside_another_file_exposes_it_and_some_of_it_is_a_note() {
    let s = Stage::new();
    let reference = std::fs::read(s.path("sealed/reference")).unwrap();
    let with = |part: &[u8]| {
        let mut bytes = noise(50, 33_333);
        bytes.extend(part);
        bytes.extend(noise(51, 4_444));
        bytes
    };
    s.put("room/usr/share/archive.tar", &with(&reference[..80_000]));
    s.put("room/usr/lib/cousin", &with(&reference[20_000..40_000]));
    s.put("room/usr/lib/stranger", &with(&reference[..1_000]));
    let report = s.audit();
    let exposed = report.exposed().unwrap();
    assert_eq!((exposed.path.as_str(), exposed.exact), ("/usr/share/archive.tar", false));
    assert!((600..950).contains(&exposed.per_mille), "{exposed}");
    let notes = report.notes();
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert!(notes[0].starts_with("related code readable: /usr/lib/cousin holds "), "{notes:?}");
}

#[test]
fn what_every_static_program_holds_does_not_count() {
    let s = Stage::new();
    let libc = noise(9, 60_000);
    let mut reference = program(4, 40_000);
    reference.extend(&libc);
    s.put("sealed/reference", &reference);
    let mut neighbour = program(5, 70_000);
    neighbour.extend(&libc);
    s.put("room/usr/bin/neighbour", &neighbour);
    assert!(s.audit().exposed().is_some(), "60 % are shared");
    s.put("room/usr/lib/x86_64-linux-gnu/libc.a", &libc);
    let report = s.audit();
    assert_eq!(report.findings, [], "but the C library has them too");
    s.put("room/usr/bin/copy", &reference[..reference.len() - 10]);
    assert!(s.audit().exposed().is_some(), "its own code still counts");
}

#[test]
fn what_the_user_cannot_read_is_no_finding() {
    let s = Stage::new();
    let copy = "room/usr/lib/copy";
    s.put(copy, &std::fs::read(s.path("sealed/reference")).unwrap());
    let mode = |m| {
        std::fs::set_permissions(s.path(copy), std::fs::Permissions::from_mode(m)).unwrap();
    };
    mode(0);
    assert_eq!(s.audit().findings, [], "a mask");
    mode(0o644);
    assert!(s.audit().exposed().is_some());
}

#[test]
fn the_cache_is_used_and_never_believed_against_the_tree() {
    let s = Stage::new();
    let first = s.cached();
    assert_eq!((first.read_files, first.findings.len()), (1, 0));
    let again = s.cached();
    assert_eq!((again.read_files, again.files), (0, 1), "nothing is read twice");

    let reference = std::fs::read(s.path("sealed/reference")).unwrap();
    s.put("room/usr/local/tool", &reference);
    let found = s.cached();
    assert_eq!((found.read_files, found.findings.len()), (1, 1), "a new file is seen");
    assert_eq!(s.cached().findings, found.findings, "and stays a finding");

    std::fs::remove_file(s.path("room/usr/local/tool")).unwrap();
    assert_eq!(s.cached().findings, []);

    for entry in std::fs::read_dir(s.path("cache")).unwrap() {
        std::fs::write(entry.unwrap().path(), b"rnctvdt1 broken").unwrap();
    }
    s.put("room/usr/local/tool", &reference);
    assert_eq!(s.cached().findings.len(), 1, "a broken cache costs time alone");
}
