//! What a process uses stays, whatever `gc` does at the same time; and what nobody can use makes room.

use super::*;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// Makes an image's last use so many seconds old.
fn age(place: &Place, image: &Image, seconds: u64) {
    let hex = image.id.strip_prefix("sha256:").unwrap();
    let path = place.path("store/images").join(format!("{hex}.json"));
    let then = SystemTime::now() - Duration::from_secs(seconds);
    File::options().write(true).open(path).unwrap().set_modified(then).unwrap();
}

/// An image on another one's layers, with a file of a thousand bytes of its own.
fn derived(place: &Place, parent: &Image, name: &str, byte: u8) -> Image {
    let dir = place.path(&format!("changes-{byte}"));
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("own"), [byte; 1000]).unwrap();
    place.store().commit(parent, &dir, name, &ImageConfig::default()).unwrap()
}

#[test]
fn a_lease_is_never_taken_for_a_dead_one() {
    let place = Place::new();
    let store = place.store();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                let changing = place.store().change().unwrap();
                place.store().leased(&changing).unwrap();
            }
        });
        let lost = (0..500).find(|n| {
            let layer = format!("sha256:{n:064x}");
            let held = store.lease(std::slice::from_ref(&layer)).unwrap();
            let leased = store.change().and_then(|changing| store.leased(&changing)).unwrap();
            drop(held);
            !leased.contains(&layer)
        });
        over.store(true, Ordering::SeqCst);
        assert_eq!(lost, None, "unlinked while it was held");
    });
}

/// Whether somebody waits for the store's lock.
fn is_waited_for(store: &Store) -> bool {
    let inode = format!(":{} ", store.root.join("lock").metadata().unwrap().ino());
    let locks = std::fs::read_to_string("/proc/locks").unwrap();
    locks.lines().any(|line| line.contains("->") && line.contains(&inode))
}

#[test]
fn what_is_being_removed_is_not_given_to_anybody() {
    let place = Place::new();
    let image = place.import("x", &[Made::file("f", b"1")]);
    let (store, other) = (place.store(), place.store());
    let wanted = image.clone();
    // As `sweep` does it: it has seen that nobody uses the layer, somebody wants it, it goes.
    let changing = store.change().unwrap();
    assert!(store.leased(&changing).unwrap().is_empty());
    let asking = std::thread::spawn(move || other.roots(&wanted));
    let deadline = Instant::now() + Duration::from_secs(60);
    while !asking.is_finished() && !is_waited_for(&store) {
        assert!(Instant::now() < deadline, "neither waits nor ends");
        std::thread::sleep(Duration::from_millis(1));
    }
    let digest = Digest::required(&image.layers[0], "x").unwrap();
    store.set_aside(&store.layer_dir(&digest)).unwrap().unwrap();
    drop(changing);
    match asking.join().unwrap() {
        Err(error) => assert!(error.to_string().contains("get it again"), "{error}"),
        Ok(roots) => panic!("given and gone: {roots:?}"),
    }
}

#[test]
fn layers_are_held_by_their_directories_when_their_image_is_gone() {
    let place = Place::new();
    let image = place.import("x", &[Made::file("f", b"1")]);
    let store = place.store();
    let digest = Digest::required(&image.layers[0], "x").unwrap();
    let roots = [store.layer_dir(&digest).join("root")];
    store.hold(&roots, "x").unwrap();
    store.remove("x").unwrap();
    store.gc(&GcOptions::default()).unwrap();
    assert!(roots[0].join("f").exists());
    let gone = store.layers().join("0".repeat(64)).join("root");
    for missing in [gone, PathBuf::from("/"), PathBuf::from("/etc/passwd")] {
        assert!(store.hold(&[missing], "x").is_err());
    }
}

#[test]
fn one_that_shares_layers_with_one_in_use_makes_room() {
    let place = Place::new();
    let base = place.import("base", &[Made::file("f", &[1; 1000])]);
    let one = derived(&place, &base, "one", 2);
    let two = derived(&place, &base, "two", 3);
    let store = place.store();
    age(&place, &base, 300);
    age(&place, &one, 200);
    age(&place, &two, 100);
    let _lease = store.lease(&base.layers).unwrap();
    let gc = store.gc(&GcOptions { limit: Some(2500), ..GcOptions::default() }).unwrap();
    assert_eq!(gc.images, ["docker.io/library/one:latest"]);
    assert_eq!(gc.left, 2000);
    assert!(store.get("base").is_ok() && store.get("two").is_ok());
}

#[test]
fn one_whose_layers_others_keep_does_not_go_in_vain() {
    let place = Place::new();
    let base = place.import("base", &[Made::file("f", &[1; 1000])]);
    let middle = place.import("middle", &[Made::file("f", &[2; 1000])]);
    let top = derived(&place, &base, "top", 3);
    age(&place, &base, 300);
    age(&place, &middle, 200);
    age(&place, &top, 100);
    let store = place.store();
    let gc = store.gc(&GcOptions { limit: Some(2000), ..GcOptions::default() }).unwrap();
    assert_eq!(gc.images, ["docker.io/library/middle:latest"]);
    // With the one that shared it, it goes.
    let gc = store.gc(&GcOptions { limit: Some(0), ..GcOptions::default() }).unwrap();
    assert_eq!(gc.images, ["docker.io/library/base:latest", "docker.io/library/top:latest"]);
    assert_eq!(gc.left, 0);
}

#[test]
fn a_layer_that_a_crash_has_damaged_is_replaced() {
    let place = Place::new();
    let files = [Made::file("f", b"1")];
    let image = place.import("x", &files);
    let store = place.store();
    let digest = Digest::required(&image.layers[0], "x").unwrap();
    let dir = store.layer_dir(&digest);
    for damage in ["", "{", "no record", "no root"] {
        let record = dir.join("layer.json");
        std::fs::write(dir.join("root/f"), "").unwrap();
        match damage {
            "no record" => std::fs::remove_file(&record).unwrap(),
            "no root" => std::fs::remove_dir_all(dir.join("root")).unwrap(),
            text => std::fs::write(&record, text).unwrap(),
        }
        let said = store.roots(&image).unwrap_err().to_string();
        assert!(said.contains("get it again"), "{said}");
        place.import("x", &files);
        let root = store.roots(&image).unwrap().remove(0);
        assert_eq!(std::fs::read(root.join("f")).unwrap(), b"1");
    }
    assert_eq!((place.layers(), place.staged()), (1, 0));
}

#[test]
fn two_who_remove_a_container_s_changes_leave_nothing() {
    let place = Place::new();
    let store = place.store();
    for _ in 0..20 {
        let scratch = store.scratch().unwrap();
        for n in 0..100 {
            std::fs::create_dir_all(scratch.join(format!("upper/{n}/a"))).unwrap();
        }
        let all = std::thread::scope(|scope| {
            let remove = || scope.spawn(|| place.store().remove_scratch(&scratch));
            [remove(), remove(), remove()].map(|one| one.join().unwrap())
        });
        assert!(all.iter().all(Result::is_ok), "{all:?}");
        assert!(!scratch.exists());
    }
    assert_eq!(place.staged(), 0);
}
