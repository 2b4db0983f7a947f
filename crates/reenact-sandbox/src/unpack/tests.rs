use super::*;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::PathBuf;

fn meta(mode: u32) -> Meta {
    Meta { mode, mtime: (1_000_000_000, 5), ..Meta::default() }
}

fn put(writer: &mut TreeWriter, path: &str, text: &str) -> io::Result<()> {
    let mut file = writer.file(path.as_bytes())?;
    file.write(text.as_bytes())?;
    writer.end_file(file, &meta(0o644))
}

/// An outer directory with something in it that must stay as it is, and the tree's own root.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("root")).unwrap();
        std::fs::create_dir(dir.path().join("outside")).unwrap();
        std::fs::write(dir.path().join("outside/file"), "untouched").unwrap();
        Self { dir }
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    fn writer(&self) -> TreeWriter {
        TreeWriter::new(&self.root()).unwrap()
    }

    fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.root().join(path)).unwrap()
    }

    fn assert_outside_untouched(&self) {
        let outside = self.dir.path().join("outside");
        let names: Vec<_> = std::fs::read_dir(&outside).unwrap().collect();
        assert_eq!(names.len(), 1);
        assert_eq!(std::fs::read(outside.join("file")).unwrap(), b"untouched");
    }
}

fn opaque(path: &Path) -> bool {
    let fd = sys::anchor(path).unwrap();
    sys::xattrs(fd.as_fd()).unwrap().contains(&(OPAQUE.to_vec(), b"y".to_vec()))
}

#[test]
fn attributes_are_given_and_directories_get_theirs_last() {
    let place = Place::new();
    let mut writer = place.writer();
    writer.directory(b"", meta(0o755)).unwrap();
    writer.directory(b"closed", meta(0o500)).unwrap();
    put(&mut writer, "closed/a/b", "text").unwrap();
    let file = writer.file(b"setuid").unwrap();
    let mut wanted = meta(0o4755);
    wanted.xattrs = vec![
        (b"user.kept".to_vec(), b"v".to_vec()),
        (b"user.overlay.opaque".to_vec(), b"y".to_vec()),
        (b"trusted.overlay.opaque".to_vec(), b"y".to_vec()),
    ];
    writer.end_file(file, &wanted).unwrap();
    writer.symlink(b"link", b"/etc/passwd", &meta(0o777)).unwrap();
    writer.fifo(b"fifo", &meta(0o620)).unwrap();
    writer.hard_link(b"other", b"closed/a/b").unwrap();
    let ignored = writer.finish().unwrap();
    assert_eq!(ignored.xattrs, 2, "what speaks to overlayfs is dropped");

    let at = |p: &str| std::fs::symlink_metadata(place.root().join(p)).unwrap();
    assert_eq!(at("closed").mode() & 0o7777, 0o500);
    assert_eq!(at("closed/a").mode() & 0o7777, 0o755, "a parent that nobody described");
    assert_eq!(at("setuid").mode() & 0o7777, 0o4755);
    assert!(at("fifo").file_type().is_fifo() && at("fifo").mode() & 0o7777 == 0o620);
    assert_eq!(at("other").ino(), at("closed/a/b").ino());
    for path in ["", "closed", "closed/a/b", "link", "fifo"] {
        assert_eq!((at(path).mtime(), at(path).mtime_nsec()), (1_000_000_000, 5), "{path}");
    }
    let fd = sys::anchor(&place.root()).unwrap();
    let file = sys::open_in(fd.as_fd(), b"setuid", libc::O_PATH).unwrap();
    assert_eq!(sys::xattrs(file.as_fd()).unwrap(), [(b"user.kept".to_vec(), b"v".to_vec())]);
}

#[test]
fn links_out_of_the_tree_lead_back_into_it() {
    let place = Place::new();
    let outside = place.dir.path().join("outside");
    let mut writer = place.writer();
    for (n, target) in [outside.to_str().unwrap(), "../outside", "../../../../../../tmp", "/"]
        .into_iter()
        .enumerate()
    {
        let link = format!("link{n}");
        writer.symlink(link.as_bytes(), target.as_bytes(), &meta(0o777)).unwrap();
        // Where it leads there is nothing in the tree, but for the last.
        let made = put(&mut writer, &format!("{link}/file"), "hostile");
        assert_eq!(made.is_ok(), target == "/", "{target}");
    }
    // A link in the tree is followed, as in a container.
    writer.directory(b"usr/lib", meta(0o755)).unwrap();
    writer.symlink(b"lib", b"/usr/lib", &meta(0o777)).unwrap();
    put(&mut writer, "lib/so", "library").unwrap();
    writer.symlink(b"loop", b"loop", &meta(0o777)).unwrap();
    assert!(put(&mut writer, "loop/file", "x").is_err());
    // The last part is replaced, not followed.
    writer.symlink(b"passwd", outside.join("file").to_str().unwrap().as_bytes(), &meta(0)).unwrap();
    put(&mut writer, "passwd", "new").unwrap();
    // A hard link to a symlink is one more symlink.
    writer.symlink(b"s", outside.join("file").to_str().unwrap().as_bytes(), &meta(0)).unwrap();
    writer.hard_link(b"h", b"s").unwrap();
    put(&mut writer, "h", "own").unwrap();
    writer.finish().unwrap();
    assert_eq!(place.read("usr/lib/so"), "library");
    assert_eq!(place.read("passwd"), "new");
    assert_eq!(place.read("file"), "hostile", "`/` is the tree's own root");
    place.assert_outside_untouched();
}

#[test]
fn paths_with_dots_are_no_paths() {
    let place = Place::new();
    let mut writer = place.writer();
    for bad in
        ["..", "../outside/file", "a/../../outside/file", "/etc/x", "a//b", ".", "a/", "a\0b"]
    {
        let error = put(&mut writer, bad, "hostile").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{bad:?}: {error}");
        assert!(writer.hard_link(b"h", bad.as_bytes()).is_err(), "{bad:?}");
        assert!(writer.whiteout(bad.as_bytes()).is_err(), "{bad:?}");
        assert!(writer.directory(bad.as_bytes(), meta(0o755)).is_err(), "{bad:?}");
    }
    place.assert_outside_untouched();
}

#[test]
fn whiteouts_hide_lower_layers_whatever_the_order() {
    let place = Place::new();
    let mut writer = place.writer();
    let char_device = |p: &str| {
        let meta = std::fs::symlink_metadata(place.root().join(p)).unwrap();
        meta.file_type().is_char_device() && meta.rdev() == 0
    };
    writer.whiteout(b"gone").unwrap();
    writer.whiteout(b"d/gone").unwrap();
    // Removed below and made anew here.
    writer.whiteout(b"file").unwrap();
    put(&mut writer, "file", "new").unwrap();
    writer.whiteout(b"dir").unwrap();
    put(&mut writer, "dir/inside", "new").unwrap();
    // The other way round.
    put(&mut writer, "file2", "new").unwrap();
    writer.whiteout(b"file2").unwrap();
    put(&mut writer, "dir2/inside", "new").unwrap();
    writer.whiteout(b"dir2").unwrap();
    writer.opaque(b"dir3/sub").unwrap();
    // A directory of the layers below became a file, a symlink, or nothing: its names are hidden with it.
    put(&mut writer, "was-dir", "new").unwrap();
    writer.symlink(b"was-dir-too", b"dir", &meta(0o777)).unwrap();
    for path in ["was-dir/a", "was-dir/a/b", "was-dir-too/inside", "was-dir-too/x", "gone/x"] {
        writer.whiteout(path.as_bytes()).unwrap();
        writer.opaque(path.as_bytes()).unwrap();
    }
    assert!(writer.hard_link(b"h", b"gone").is_err(), "a whiteout has one name");
    writer.finish().unwrap();
    assert!(char_device("gone") && char_device("d/gone"));
    for path in ["file", "dir/inside", "file2", "dir2/inside", "was-dir"] {
        assert_eq!(place.read(path), "new");
    }
    let root = place.root();
    assert!(!root.join("dir/x").exists() && char_device("gone"));
    assert!(
        opaque(&root.join("dir")) && opaque(&root.join("dir2")) && opaque(&root.join("dir3/sub"))
    );
    assert!(!opaque(&root.join("d")) && !opaque(&root.join("dir3")));
}

#[test]
fn later_entries_replace_earlier_ones_of_any_kind() {
    let place = Place::new();
    let mut writer = place.writer();
    put(&mut writer, "a/b/c", "deep").unwrap();
    writer.directory(b"a/b", meta(0o000)).unwrap();
    put(&mut writer, "a", "now a file").unwrap();
    assert!(put(&mut writer, "a/b", "x").is_err(), "a file is no directory");
    writer.directory(b"a", meta(0o711)).unwrap();
    put(&mut writer, "a/x", "again").unwrap();
    writer.fifo(b"f", &meta(0o600)).unwrap();
    put(&mut writer, "f", "file").unwrap();
    writer.hard_link(b"f", b"f").unwrap();
    writer.hard_link(b"f", b"a/x").unwrap();
    writer.finish().unwrap();
    assert_eq!(place.read("f"), "again");
    assert!(!place.root().join("a/b").exists());
    assert_eq!(std::fs::metadata(place.root().join("a")).unwrap().mode() & 0o7777, 0o711);
}

#[test]
fn sparse_files_stay_sparse() {
    let place = Place::new();
    let mut writer = place.writer();
    let mut file = writer.file(b"sparse").unwrap();
    file.seek(1 << 30).unwrap();
    file.write(b"end").unwrap();
    file.set_len(1 << 31).unwrap();
    writer.end_file(file, &meta(0o644)).unwrap();
    let found = std::fs::metadata(place.root().join("sparse")).unwrap();
    assert_eq!(found.len(), 1 << 31);
    assert!(found.blocks() < 1000);
}

#[test]
fn trees_that_are_deep_closed_and_full_of_links_are_removed() {
    let place = Place::new();
    let root = place.root();
    // Deeper than a path can be long.
    let top = sys::anchor(&root).unwrap();
    let mut at = top.as_fd().try_clone_to_owned().unwrap();
    let name = c"directory-with-a-rather-long-name";
    for level in 0..1500 {
        sys::mkdir(at.as_fd(), name, 0o700).unwrap();
        sys::symlink(at.as_fd(), c"link", c"/../../outside").unwrap();
        let below = sys::open_at(at.as_fd(), name, libc::O_PATH | libc::O_DIRECTORY, 0).unwrap();
        if level % 100 == 0 {
            sys::mkdir(below.as_fd(), c".lifted-1", 0o700).unwrap();
            sys::mkdir(below.as_fd(), c".lifted-2", 0o000).unwrap();
        }
        at = below;
    }
    std::fs::create_dir_all(root.join("closed/below")).unwrap();
    std::fs::write(root.join("closed/below/file"), "x").unwrap();
    let mode = |p: &str, m| {
        std::fs::set_permissions(root.join(p), std::fs::Permissions::from_mode(m)).unwrap();
    };
    mode("closed/below", 0o000);
    mode("closed", 0o000);
    std::os::unix::fs::symlink(place.dir.path().join("outside"), root.join("out")).unwrap();
    remove_tree(&root).unwrap();
    assert!(!root.exists());
    remove_tree(&root).unwrap();
    place.assert_outside_untouched();
    let link = place.dir.path().join("link");
    std::os::unix::fs::symlink("outside", &link).unwrap();
    remove_tree(&link).unwrap();
    assert!(link.symlink_metadata().is_err());
    place.assert_outside_untouched();
}

#[test]
fn a_walk_gives_everything_once_parents_first_and_follows_nothing() {
    let place = Place::new();
    let mut writer = place.writer();
    put(&mut writer, "b/file", "text").unwrap();
    writer.hard_link(b"b/again", b"b/file").unwrap();
    writer.symlink(b"a", b"../outside", &meta(0o777)).unwrap();
    writer.fifo(b"fifo", &meta(0o600)).unwrap();
    writer.whiteout(b"gone").unwrap();
    writer.opaque(b"opaque").unwrap();
    writer.directory(b"closed", meta(0o000)).unwrap();
    writer.finish().unwrap();
    let mut found = Vec::new();
    let mut ids = Vec::new();
    walk(&place.root(), 10, &mut |entry| {
        let path = String::from_utf8(entry.path.to_vec()).unwrap();
        let kind = match entry.kind {
            Kind::Dir { opaque } => format!("dir {opaque}"),
            Kind::File { size, .. } => {
                ids.push((entry.id, entry.links));
                format!("file {size}")
            }
            Kind::Symlink { target } => format!("link {}", String::from_utf8(target).unwrap()),
            Kind::Fifo => "fifo".to_owned(),
            Kind::Whiteout => "gone".to_owned(),
            Kind::Other => "other".to_owned(),
        };
        found.push(format!("{path}: {kind}"));
        Ok(())
    })
    .unwrap();
    assert_eq!(
        found,
        [
            ": dir false",
            "a: link ../outside",
            "b: dir false",
            "b/again: file 4",
            "b/file: file 4",
            "closed: dir false",
            "fifo: fifo",
            "gone: gone",
            "opaque: dir true"
        ]
    );
    assert_eq!(ids[0], ids[1]);
    assert_eq!(ids[0].1, 2);
    let closed = std::fs::metadata(place.root().join("closed")).unwrap();
    assert_eq!(closed.mode() & 0o7777, 0, "as it was");
    let mut none = |_: Entry<'_>| Ok(());
    std::fs::create_dir_all(place.root().join("1/2/3/4")).unwrap();
    let error = walk(&place.root(), 2, &mut none).unwrap_err().to_string();
    assert!(error.contains("too deep"), "{error}");
}
