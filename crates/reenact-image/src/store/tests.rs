use super::*;
use crate::archive::ImportOptions;
use crate::config::ImageConfig;
use crate::layer::UnpackLimits;
use crate::progress::Silent;
use crate::testing::{Made, tar_of};
use std::os::unix::fs::{MetadataExt, PermissionsExt};

mod keeping;

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn store(&self) -> Store {
        Store::open(&self.path("store")).unwrap()
    }

    /// An image of one layer with these files.
    fn import(&self, name: &str, entries: &[Made]) -> Image {
        let tar = self.path("root.tar");
        std::fs::write(&tar, tar_of(entries)).unwrap();
        let options = ImportOptions { name: Some(name.to_owned()), ..ImportOptions::default() };
        self.store().import(&tar, &options, &Silent).unwrap().remove(0)
    }

    fn layers(&self) -> usize {
        std::fs::read_dir(self.path("store/layers")).unwrap().count()
    }

    fn staged(&self) -> usize {
        std::fs::read_dir(self.path("store/tmp")).unwrap().count()
    }
}

#[test]
fn an_image_is_found_by_its_names_and_ids() {
    let place = Place::new();
    let image = place.import("debian", &[Made::file("f", b"1")]);
    let store = place.store();
    assert_eq!(image.names, ["docker.io/library/debian:latest"]);
    let hex = image.id.strip_prefix("sha256:").unwrap();
    for name in ["debian", "debian:latest", "docker.io/library/debian", &image.id, hex, &hex[..12]]
    {
        assert_eq!(store.get(name).unwrap().id, image.id, "{name}");
    }
    for name in ["debian:12", &hex[..11], "sha256:", "", "no such", "../../names.json", "\u{1b}[2J"]
    {
        let error = store.get(name).unwrap_err();
        assert!(matches!(error, ImageError::NotFound { .. }), "{error:?}");
        assert!(!error.to_string().contains('\u{1b}'));
    }
    store.tag(&image, "org/other:v1").unwrap();
    assert_eq!(store.get("org/other:v1").unwrap().names.len(), 2);
    let roots = store.roots(&image).unwrap();
    assert_eq!(std::fs::read(roots[0].join("f")).unwrap(), b"1");
    // Nobody else may reach what may be set-uid.
    let mode = std::fs::metadata(place.path("store/layers")).unwrap().mode();
    assert_eq!(mode & 0o077, 0);
}

#[test]
fn a_name_moves_to_the_newest_image_and_the_old_one_stays_by_id() {
    let place = Place::new();
    let old = place.import("x", &[Made::file("f", b"old")]);
    let new = place.import("x", &[Made::file("f", b"new")]);
    let store = place.store();
    assert_eq!(store.get("x").unwrap().id, new.id);
    assert!(store.get(&old.id).unwrap().names.is_empty());
    store.remove(&old.id).unwrap();
    assert!(store.get(&old.id).is_err());
    store.tag(&new, "y").unwrap();
    store.remove("x").unwrap();
    assert_eq!(store.get("y").unwrap().id, new.id);
    store.remove("y").unwrap();
    assert!(store.list().unwrap().is_empty());
    assert_eq!(place.layers(), 0);
    assert!(matches!(store.remove("y"), Err(ImageError::NotFound { .. })));
}

#[test]
fn a_refused_import_leaves_nothing() {
    let place = Place::new();
    let tar = place.path("bad.tar");
    std::fs::write(&tar, tar_of(&[Made::file("a/b/c", b"x"), Made::file("../x", b"x")])).unwrap();
    let options = ImportOptions { name: Some("x".to_owned()), ..ImportOptions::default() };
    let error = place.store().import(&tar, &options, &Silent).unwrap_err();
    assert!(error.is_usage() && error.to_string().contains("../x"), "{error}");
    std::fs::write(&tar, b"").unwrap();
    let error = place.store().import(&tar, &options, &Silent).unwrap_err();
    assert!(error.to_string().contains("empty"), "{error}");
    assert_eq!((place.layers(), place.staged()), (0, 0));
    assert!(place.store().list().unwrap().is_empty());
    let nameless = place.store().import(&tar, &ImportOptions::default(), &Silent).unwrap_err();
    assert!(nameless.to_string().contains("--name"), "{nameless}");
}

/// What is in a directory, in words.
fn listing(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    reenact_sandbox::unpack::walk(root, 50, &mut |e| {
        use reenact_sandbox::unpack::Kind;
        let kind = match e.kind {
            Kind::Dir { opaque } => format!("dir opaque={opaque}"),
            Kind::File { mut file, .. } => {
                let mut text = String::new();
                std::io::Read::read_to_string(&mut file, &mut text)?;
                format!("file {text} links={}", e.links)
            }
            Kind::Symlink { target } => format!("link {}", String::from_utf8_lossy(&target)),
            Kind::Fifo => "fifo".to_owned(),
            Kind::Whiteout => "gone".to_owned(),
            Kind::Other => "other".to_owned(),
        };
        let m = &e.meta;
        let xattrs = m.xattrs.len();
        // A whiteout's own time means nothing.
        let mtime = if kind == "gone" { (0, 0) } else { m.mtime };
        found.push(format!(
            "{} {kind} {:o} {:?} {xattrs}",
            String::from_utf8_lossy(e.path),
            m.mode,
            mtime
        ));
        Ok(())
    })
    .unwrap();
    found
}

/// A directory as overlayfs leaves it after a container.
fn upper(dir: &Path) {
    use reenact_sandbox::unpack::{Meta, TreeWriter};
    std::fs::create_dir(dir).unwrap();
    let mut writer = TreeWriter::new(dir).unwrap();
    let meta = |mode| Meta { mode, mtime: (1_600_000_000, 123_456_789), ..Meta::default() };
    for (path, text) in [("work/file", "text"), ("empty", "")] {
        let mut file = writer.file(path.as_bytes()).unwrap();
        file.write(text.as_bytes()).unwrap();
        let mut meta = meta(0o4751);
        meta.xattrs.push((b"user.mine".to_vec(), b"v".to_vec()));
        writer.end_file(file, &meta).unwrap();
    }
    writer.hard_link(b"again", b"work/file").unwrap();
    writer.symlink(b"link", b"work/file", &meta(0o777)).unwrap();
    writer.whiteout(b"etc/removed").unwrap();
    writer.opaque(b"new").unwrap();
    writer.fifo(b"fifo", &meta(0o600)).unwrap();
    writer.directory(b"work", meta(0o1777)).unwrap();
    writer.directory(b"", meta(0o755)).unwrap();
    writer.finish().unwrap();
}

#[test]
fn a_commit_keeps_what_an_upper_directory_means() {
    let place = Place::new();
    let parent = place.import("base", &[Made::file("etc/removed", b"x")]);
    let store = place.store();
    let scratch = store.scratch().unwrap();
    upper(&scratch.join("upper"));
    let config = ImageConfig { working_dir: "/work".to_owned(), ..ImageConfig::default() };
    let made = store.commit(&parent, &scratch.join("upper"), "made:v1", &config).unwrap();
    assert_eq!(made.names, ["docker.io/library/made:v1"]);
    assert_eq!(made.layers[0], parent.layers[0]);
    assert_eq!(made.config, config);
    let roots = store.roots(&made).unwrap();
    assert_eq!(roots.len(), 2);
    assert_eq!(listing(&roots[0]), listing(&scratch.join("upper")));
    // The same changes are the same layer; and what comes after does not change it.
    std::fs::write(scratch.join("upper/empty"), "written later").unwrap();
    assert_eq!(std::fs::read(roots[0].join("empty")).unwrap(), b"");
    let other = place.path("other");
    upper(&other);
    let again = store.commit(&parent, &other, "made:v2", &config).unwrap();
    let mine = |i: &Image| i.layers[1].clone();
    // Parents that nobody described (etc, new) have the time of their making.
    assert_eq!(again.layers.len(), 2);
    let third = store.commit(&parent, &other, "made:v3", &config).unwrap();
    assert_eq!(mine(&again), mine(&third));
    store.remove_scratch(&scratch).unwrap();
    assert!(!scratch.exists());
    assert!(store.remove_scratch(&other).is_err(), "not the store's");
}

#[test]
fn a_committed_layer_s_id_is_the_digest_of_its_archive() {
    let place = Place::new();
    let dir = place.path("tree");
    upper(&dir);
    let to = place.path("copy");
    std::fs::create_dir(&to).unwrap();
    let copied = crate::copy::copy_tree(&dir, &to, true, &UnpackLimits::default()).unwrap();
    assert_eq!(copied.bytes, 4);
    assert!(copied.entries >= 10, "{}", copied.entries);
    // Nothing but content and attributes goes into it.
    let to = place.path("copy2");
    std::fs::create_dir(&to).unwrap();
    assert_eq!(
        crate::copy::copy_tree(&dir, &to, true, &UnpackLimits::default()).unwrap().diff_id,
        copied.diff_id
    );
    std::fs::set_permissions(dir.join("empty"), std::fs::Permissions::from_mode(0o600)).unwrap();
    let to = place.path("copy3");
    std::fs::create_dir(&to).unwrap();
    assert_ne!(
        crate::copy::copy_tree(&dir, &to, true, &UnpackLimits::default()).unwrap().diff_id,
        copied.diff_id
    );
}

#[test]
fn a_directory_becomes_an_image() {
    let place = Place::new();
    std::fs::create_dir_all(place.path("root/etc")).unwrap();
    std::fs::write(place.path("root/etc/os-release"), "ID=x").unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(place.path("root/socket")).unwrap();
    let options = ImportOptions { name: Some("rootfs".to_owned()), ..ImportOptions::default() };
    let store = place.store();
    let image = store.import(&place.path("root"), &options, &Silent).unwrap().remove(0);
    let root = store.roots(&image).unwrap().remove(0);
    assert_eq!(std::fs::read_to_string(root.join("etc/os-release")).unwrap(), "ID=x");
    assert!(!root.join("socket").exists());
}

#[test]
fn gc_removes_what_nobody_uses_and_keeps_what_somebody_does() {
    let place = Place::new();
    let one = place.import("one", &[Made::file("f", &[1; 1000])]);
    let two = place.import("two", &[Made::file("f", &[2; 1000])]);
    place.import("three", &[Made::file("f", &[3; 1000])]);
    let store = place.store();
    // One was used last, two is in use.
    let age = |image: &Image, seconds| {
        let hex = image.id.strip_prefix("sha256:").unwrap();
        let path = place.path("store/images").join(format!("{hex}.json"));
        let then = std::time::SystemTime::now() - std::time::Duration::from_secs(seconds);
        std::fs::File::options().write(true).open(path).unwrap().set_modified(then).unwrap();
    };
    age(&two, 300);
    age(&store.get("three").unwrap(), 200);
    age(&one, 100);
    let lease = store.lease(&two.layers).unwrap();
    let gc = store.gc(&GcOptions { limit: Some(2000), ..GcOptions::default() }).unwrap();
    assert_eq!(gc.images, ["docker.io/library/three:latest"]);
    assert_eq!((gc.layers, gc.bytes, gc.left), (1, 1000, 2000));
    let gc = store.gc(&GcOptions { limit: Some(0), ..GcOptions::default() }).unwrap();
    assert_eq!(gc.images, ["docker.io/library/one:latest"]);
    assert_eq!(gc.left, 1000);
    // Removing the image leaves its layer to whoever uses it.
    store.remove("two").unwrap();
    assert_eq!(place.layers(), 1);
    drop(lease);
    let gc = store.gc(&GcOptions::default()).unwrap();
    assert_eq!((gc.layers, gc.left), (1, 0));
    assert_eq!(place.layers(), 0);
}

#[test]
fn gc_removes_what_dead_processes_left() {
    let place = Place::new();
    let store = place.store();
    let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(30 * 24 * 3600);
    let make_old = |path: &Path| {
        std::fs::File::open(path).unwrap().set_modified(long_ago).unwrap();
    };
    // A scratch directory of a living process (this one), of a dead one, and a kept one of a dead one.
    let mine = store.scratch().unwrap();
    let dead = |name: &str| {
        let dir = place.path("store/scratch").join(name);
        std::fs::create_dir_all(dir.join("work/work")).unwrap();
        std::fs::write(dir.join(".owner"), "").unwrap();
        let closed = std::fs::Permissions::from_mode(0o000);
        std::fs::set_permissions(dir.join("work/work"), closed).unwrap();
        dir
    };
    let (gone, kept, over) = (dead("s-gone"), dead("s-kept"), dead("s-over"));
    store.keep_scratch(&kept).unwrap();
    store.keep_scratch(&over).unwrap();
    make_old(&over.join(".keep"));
    // A stage of a dead process, one that is being made now, and a lease of a dead one.
    let stale = place.path("store/tmp/stage-dead");
    std::fs::create_dir_all(stale.join("root")).unwrap();
    std::fs::write(place.path("store/tmp/stage-dead.lock"), "").unwrap();
    let stage = store.stage().unwrap();
    std::fs::create_dir(place.path("store/tmp/stage-new")).unwrap();
    std::fs::write(place.path("store/leases/1-dead"), "sha256:0").unwrap();
    let part = place.path("store/blobs").join("0.part");
    std::fs::write(&part, "x").unwrap();
    make_old(&part);
    let gc = store.gc(&GcOptions::default()).unwrap();
    assert_eq!(gc.scratch, 2);
    assert!(mine.exists() && !gone.exists() && kept.exists() && !over.exists());
    assert!(!stale.exists() && stage.path().exists() && place.path("store/tmp/stage-new").exists());
    assert_eq!(std::fs::read_dir(place.path("store/leases")).unwrap().count(), 0);
    assert!(!part.exists());
    drop(stage);
    store.remove_scratch(&mine).unwrap();
}

#[test]
fn several_threads_import_the_same_at_once() {
    let place = Place::new();
    let tar = place.path("root.tar");
    let files: Vec<Made> = (0..200).map(|i| Made::file(&format!("d{i}/f"), &[7; 3000])).collect();
    std::fs::write(&tar, tar_of(&files)).unwrap();
    std::thread::scope(|scope| {
        for i in 0..8 {
            let (place, tar) = (&place, &tar);
            scope.spawn(move || {
                let name = Some(format!("x{}", i % 3));
                let options = ImportOptions { name, ..ImportOptions::default() };
                let store = place.store();
                let image = store.import(tar, &options, &Silent).unwrap().remove(0);
                assert!(store.roots(&image).unwrap()[0].join("d7/f").exists());
                store.gc(&GcOptions::default()).unwrap();
            });
        }
    });
    assert_eq!(place.layers(), 1);
    assert_eq!(place.staged(), 0);
    assert!(place.store().get("x2").is_ok());
}

#[test]
fn damaged_files_of_the_store_are_named() {
    let place = Place::new();
    let image = place.import("x", &[Made::file("f", b"1")]);
    let store = place.store();
    let hex = image.layers[0].strip_prefix("sha256:").unwrap().to_owned();
    reenact_sandbox::unpack::remove_tree(&place.path("store/layers").join(&hex)).unwrap();
    let error = store.roots(&image).unwrap_err().to_string();
    assert!(error.contains(&hex) && error.contains("get it again"), "{error}");
    std::fs::write(place.path("store/names.json"), "{").unwrap();
    let error = store.get("x").unwrap_err().to_string();
    assert!(error.contains("names.json"), "{error}");
}

#[test]
fn a_store_that_others_can_change_is_refused() {
    let place = Place::new();
    let root = place.path("store");
    let refused = |path: &Path, why: &str| {
        let error = Store::open(path).unwrap_err();
        assert!(matches!(error, ImageError::Foreign { .. }), "{error:?}");
        let said = error.to_string();
        assert!(said.contains(why) && said.contains("REENACT_IMAGES"), "{said}");
    };
    place.store();
    let open = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    for part in ["store", "store/scratch", "store/layers", "store/tmp"] {
        open(&place.path(part), 0o702);
        refused(&root, "mode 0702");
        open(&place.path(part), 0o755);
        place.store();
    }
    // A part that leads elsewhere: `gc` would remove what is there.
    let precious = place.path("precious");
    std::fs::create_dir_all(precious.join("old")).unwrap();
    std::fs::remove_dir(place.path("store/scratch")).unwrap();
    std::os::unix::fs::symlink(&precious, place.path("store/scratch")).unwrap();
    refused(&root, "symbolic link");
    assert!(precious.join("old").is_dir());
    std::os::unix::fs::symlink(&root, place.path("link")).unwrap();
    refused(&place.path("link"), "symbolic link");
    refused(&place.path("link").join(""), "symbolic link");
    std::fs::write(place.path("file"), "").unwrap();
    refused(&place.path("file"), "not a directory");
}

#[test]
fn a_store_of_another_user_is_refused() {
    let place = Place::new();
    place.store();
    if reenact_sandbox::unpack::effective_user() != 0 {
        eprintln!("SKIPPED: only root can give a directory to another user");
        return;
    }
    for part in ["store", "store/layers"] {
        std::os::unix::fs::chown(place.path(part), Some(65534), None).unwrap();
        let said = Store::open(&place.path("store")).unwrap_err().to_string();
        assert!(said.contains("belongs to user 65534"), "{said}");
        std::os::unix::fs::chown(place.path(part), Some(0), None).unwrap();
    }
    place.store();
}

#[test]
fn a_commit_on_the_most_layers_is_refused() {
    let place = Place::new();
    let base = place.import("base", &[Made::file("f", b"x")]);
    let store = place.store();
    let empty = place.path("empty");
    std::fs::create_dir(&empty).unwrap();
    let mut parent = base.clone();
    parent.layers = vec![base.layers[0].clone(); 124];
    let full = store.commit(&parent, &empty, "full:1", &ImageConfig::default()).unwrap();
    assert_eq!(full.layers.len(), 125);
    let error = store.commit(&full, &empty, "more:1", &ImageConfig::default()).unwrap_err();
    let said = error.to_string();
    assert!(said.contains("more:1") && said.contains("126 layers"), "{said}");
    assert!(store.get("more:1").is_err());
}
