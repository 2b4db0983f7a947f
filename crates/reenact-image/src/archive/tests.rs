use super::*;
use crate::progress::Silent;
use crate::testing::{Made, tar_of};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

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

    fn import(&self, path: &str, name: Option<&str>) -> Result<Vec<Image>, ImageError> {
        let name = name.map(str::to_owned);
        let options = ImportOptions { name, ..ImportOptions::default() };
        Store::open(&self.path("store")).unwrap().import(&self.path(path), &options, &Silent)
    }

    fn file_of(&self, image: &Image, path: &str) -> Option<String> {
        let store = Store::open(&self.path("store")).unwrap();
        store.roots(image).unwrap().iter().find_map(|r| std::fs::read_to_string(r.join(path)).ok())
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

fn layer() -> Vec<u8> {
    tar_of(&[Made::dir("etc"), Made::file("etc/file", b"content")])
}

fn config() -> String {
    format!(r#"{{"rootfs":{{"type":"layers","diff_ids":["{}"]}}}}"#, Digest::of(&layer()))
}

/// Members of an archive.
type Files = BTreeMap<String, Vec<u8>>;

/// As `docker save` writes it, with other members in front.
fn saved(change: &dyn Fn(&mut Files)) -> Vec<u8> {
    let config = config();
    let hex = Digest::of(config.as_bytes()).hex().to_owned();
    let mut files = BTreeMap::new();
    files.insert(format!("{hex}.json"), config.into_bytes());
    files.insert("0/layer.tar".to_owned(), layer());
    let manifest = format!(
        r#"[{{"Config":"{hex}.json","RepoTags":["some/name:v1","other"],"Layers":["0/layer.tar"]}}]"#
    );
    files.insert("manifest.json".to_owned(), manifest.into_bytes());
    change(&mut files);
    tar_of(&files.iter().map(|(name, data)| Made::file(name, data)).collect::<Vec<_>>())
}

/// An OCI layout with two names for one image, one of them through an index.
fn layout() -> Files {
    let (config, packed) = (config(), gzip(&layer()));
    let blob = |bytes: &[u8]| format!(r#""digest":"{}","size":{}"#, Digest::of(bytes), bytes.len());
    let manifest = format!(
        r#"{{"schemaVersion":2,"config":{{{}}},"layers":[{{{}}}]}}"#,
        blob(config.as_bytes()),
        blob(&packed)
    );
    let inner = format!(
        r#"{{"manifests":[{{{},"platform":{{"os":"linux","architecture":"amd64"}}}}]}}"#,
        blob(manifest.as_bytes())
    );
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[
            {{{},"annotations":{{"org.opencontainers.image.ref.name":"tag"}}}},
            {{{},"annotations":{{"io.containerd.image.name":"docker.io/org/x:2"}}}}]}}"#,
        blob(manifest.as_bytes()),
        blob(inner.as_bytes())
    );
    let mut files = BTreeMap::new();
    for bytes in [config.into_bytes(), packed, manifest.into_bytes(), inner.into_bytes()] {
        files.insert(format!("blobs/sha256/{}", Digest::of(&bytes).hex()), bytes);
    }
    files.insert("index.json".to_owned(), index.into_bytes());
    files.insert("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec());
    files
}

#[test]
fn saved_archives_are_read_in_any_compression() {
    let tar = saved(&|_| {});
    let zstd = zstd::encode_all(tar.as_slice(), 1).unwrap();
    for bytes in [tar.clone(), gzip(&tar), zstd] {
        let place = Place::new();
        std::fs::write(place.path("saved"), bytes).unwrap();
        let image = place.import("saved", None).unwrap().remove(0);
        assert_eq!(image.names, ["docker.io/library/other:latest", "docker.io/some/name:v1"]);
        assert_eq!(place.file_of(&image, "etc/file").as_deref(), Some("content"));
        let renamed = place.import("saved", Some("mine")).unwrap().remove(0);
        assert_eq!(renamed.id, image.id);
        assert!(renamed.names.contains(&"docker.io/library/mine:latest".to_owned()));
    }
}

#[test]
fn layouts_are_read_as_directories_and_as_archives() {
    let place = Place::new();
    let files = layout();
    for (name, bytes) in &files {
        let path = place.path("layout").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    let tar = tar_of(&files.iter().map(|(n, d)| Made::file(n, d)).collect::<Vec<_>>());
    std::fs::write(place.path("layout.tar"), &tar).unwrap();
    std::fs::write(place.path("layout.tar.gz"), gzip(&tar)).unwrap();
    for source in ["layout", "layout.tar", "layout.tar.gz"] {
        let images = place.import(source, None).unwrap();
        assert_eq!(images.len(), 1, "{source}");
        assert_eq!(images[0].names, ["docker.io/library/tag:latest", "docker.io/org/x:2"]);
        assert_eq!(place.file_of(&images[0], "etc/file").as_deref(), Some("content"));
    }
}

#[test]
fn plain_roots_are_read_in_any_compression() {
    let zstd = zstd::encode_all(layer().as_slice(), 1).unwrap();
    for bytes in [layer(), gzip(&layer()), zstd] {
        let place = Place::new();
        std::fs::write(place.path("root"), bytes).unwrap();
        assert!(place.import("root", None).unwrap_err().to_string().contains("--name"));
        let image = place.import("root", Some("x")).unwrap().remove(0);
        assert_eq!(place.file_of(&image, "etc/file").as_deref(), Some("content"));
    }
}

#[test]
fn links_between_members_are_followed_inside_the_archive_only() {
    let linked = |target: &str| {
        let mut entries = vec![
            Made::file("shared/layer.tar", &layer()),
            Made::symlink("0/layer.tar", target),
            Made::file("c.json", config().as_bytes()),
        ];
        let manifest = r#"[{"Config":"c.json","RepoTags":["x"],"Layers":["0/layer.tar"]}]"#;
        entries.push(Made::file("manifest.json", manifest.as_bytes()));
        let place = Place::new();
        std::fs::write(place.path("saved"), tar_of(&entries)).unwrap();
        place.import("saved", None).map(|_| ())
    };
    linked("../shared/layer.tar").unwrap();
    for bad in ["../../shared/layer.tar", "/etc/passwd", "layer.tar", "../none"] {
        let error = linked(bad).unwrap_err();
        assert!(matches!(error, ImageError::Archive { .. }), "{bad}: {error:?}");
        assert!(error.to_string().contains("0/layer.tar is not in it"), "{error}");
    }
}

#[test]
fn damaged_archives_are_told_apart_and_leave_nothing() {
    type Change = &'static dyn Fn(&mut Files);
    let cases: [(Change, &str); 6] = [
        (
            &|f| {
                f.insert("0/layer.tar".to_owned(), tar_of(&[Made::file("x", b"")]));
            },
            "wrong digest",
        ),
        (
            &|f| {
                f.remove("0/layer.tar");
            },
            "0/layer.tar is not in it",
        ),
        (
            &|f| {
                f.insert("manifest.json".to_owned(), b"[]".to_vec());
            },
            "0 images",
        ),
        (
            &|f| {
                f.insert("manifest.json".to_owned(), b"{".to_vec());
            },
            "manifest.json cannot be read",
        ),
        (
            &|f| {
                f.insert(
                    "manifest.json".to_owned(),
                    br#"[{"Config":"../../etc/passwd"}]"#.to_vec(),
                );
            },
            "is not in it",
        ),
        (
            &|f| {
                let name = f.keys().find(|k| k.ends_with(".json") && k.len() > 60).unwrap().clone();
                f.insert(name, b"{}".to_vec());
            },
            "wrong digest",
        ),
    ];
    for (change, why) in cases {
        let place = Place::new();
        std::fs::write(place.path("saved"), saved(change)).unwrap();
        let error = place.import("saved", None).unwrap_err().to_string();
        assert!(error.contains(why), "{why}: {error}");
        let left = |d: &str| std::fs::read_dir(place.path("store").join(d)).unwrap().count();
        assert_eq!((left("layers"), left("images"), left("tmp")), (0, 0, 0), "{why}");
    }
    // Truncated anywhere, whatever it then looks like.
    let whole = saved(&|_| {});
    for cut in [100, 700, 1500, 2100, 3000] {
        let place = Place::new();
        std::fs::write(place.path("saved"), &whole[..cut]).unwrap();
        let error = place.import("saved", Some("x")).unwrap_err();
        assert!(error.is_usage(), "{cut}: {error:?}");
    }
    let place = Place::new();
    assert!(place.import("nothing", None).unwrap_err().to_string().contains("nothing"));
}

#[test]
fn members_of_a_directory_that_are_no_regular_files_are_refused() {
    use std::os::unix::fs::symlink;
    let place = Place::new();
    std::fs::write(place.path("secret.json"), config()).unwrap();
    let fill = |name: &str| {
        for (file, bytes) in layout() {
            let path = place.path(name).join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
    };
    let hex = Digest::of(config().as_bytes()).hex().to_owned();
    let blob = format!("blobs/sha256/{hex}");
    let refused = |dir: &str, why: &str| {
        let error = place.import(dir, None).unwrap_err();
        assert!(matches!(error, ImageError::Archive { .. }), "{error:?}");
        assert!(error.to_string().contains(why), "{error}");
    };
    fill("fifo");
    std::fs::remove_file(place.path("fifo").join(&blob)).unwrap();
    let mut writer = reenact_sandbox::unpack::TreeWriter::new(&place.path("fifo")).unwrap();
    writer.fifo(blob.as_bytes(), &reenact_sandbox::unpack::Meta::default()).unwrap();
    refused("fifo", "not a regular file");
    // A link to what it should be is refused as well: where it leads is not the archive's to say.
    fill("link");
    std::fs::remove_file(place.path("link").join(&blob)).unwrap();
    symlink(place.path("secret.json"), place.path("link").join(&blob)).unwrap();
    refused("link", "symbolic link");
    fill("through");
    std::fs::rename(place.path("through/blobs"), place.path("elsewhere")).unwrap();
    symlink(place.path("elsewhere"), place.path("through/blobs")).unwrap();
    refused("through", "symbolic link");
    // The directory itself is the user's to name.
    fill("whole");
    symlink(place.path("whole"), place.path("named")).unwrap();
    assert!(place.import("named", None).is_ok());
}
