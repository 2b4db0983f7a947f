//! `reenact image`: against images that other tools make, and a real registry on loopback.

use crate::support::*;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// For whatever a loaded machine holds up.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whether all tools are there. Where they must be (`REENACT_REQUIRE_TOOLS`, as in `.ci/run`), a missing one fails the test;
/// elsewhere it is told.
fn tools(names: &[&str]) -> bool {
    let missing: Vec<&&str> =
        names.iter().filter(|n| reenact_sandbox::host::find(n).is_none()).collect();
    if missing.is_empty() {
        return true;
    }
    assert!(std::env::var_os("REENACT_REQUIRE_TOOLS").is_none(), "not installed: {missing:?}");
    eprintln!("SKIPPED: not installed: {missing:?}");
    false
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().unwrap().stdout == b"0\n"
}

fn need_root() {
    assert!(is_root(), "this test makes files of other users and mounts; run it as root");
}

/// Runs a tool; its output.
fn tool(program: &str, args: &[&str], dir: &Path) -> String {
    let output = Command::new(program).args(args).current_dir(dir).output().unwrap();
    assert!(
        output.status.success(),
        "{program} {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn shell(script: &str, dir: &Path) -> String {
    tool("bash", &["-euo", "pipefail", "-c", script], dir)
}

/// A root file system of small files of every kind.
fn make_root(dir: &Path) {
    shell(
        r#"
        mkdir -p root/etc root/usr/bin root/home/user root/empty root/sticky root/deep/a/b/c/d/e
        cd root
        echo passwd > etc/passwd; chmod 640 etc/passwd; chown 0:42 etc/passwd
        printf '#!/bin/sh\necho hi\n' > usr/bin/tool; chmod 4755 usr/bin/tool
        ln usr/bin/tool usr/bin/same; ln -s usr/bin bin; ln -s /nowhere/at/all dangling
        ln -s etc/passwd etc/loop; mkfifo fifo; chmod 600 fifo
        chown -R 1000:1000 home/user; chmod 1777 sticky; chmod 700 home/user
        long=$(printf 'n%.0s' $(seq 200)); mkdir -p "deep/$long/$long"; echo long > "deep/$long/$long/$long"
        printf 'x' > $'deep/ünïcode \n and newline'
        truncate -s 3M sparse; printf end | dd of=sparse bs=1 seek=2000000 conv=notrunc status=none
        head -c 300000 /dev/urandom > random
        python3 -c 'import os; os.setxattr("etc/passwd", "user.key", b"value")'
        setcap cap_net_raw+ep usr/bin/same
        touch -d '2001-02-03 04:05:06.123456789' etc/passwd; touch -h -d '1999-12-31' dangling
        find . -exec touch -h -d '2020-01-01 00:00:00' {} +
        "#,
        dir,
    );
}

/// A tree in words: kinds, modes, owners, links, targets, contents, times (whole seconds: some archives keep no more).
const LIST: &str = r#"find . -printf '%P|%y|%m|%U:%G|%n|%l|%s|%Ts\n' | sed -E '/\|d\|/ s/\|[0-9]+\|([^|]*)\|[0-9]+\|/|-|\1|-|/' | LC_ALL=C sort
    find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum
    python3 - <<'END'
import os
for at, dirs, files in sorted(os.walk(".")):
    for name in sorted(dirs + files):
        path = os.path.join(at, name)
        for key in os.listxattr(path, follow_symlinks=False):
            if key in ("user.key", "security.capability"):
                print(path, key, os.getxattr(path, key, follow_symlinks=False).hex())
END"#;

fn list(root: &Path) -> String {
    shell(LIST, root)
}

fn assert_same(ours: &str, theirs: &str, what: &str) {
    let only = |a: &str, b: &str| -> Vec<String> {
        let b: std::collections::BTreeSet<&str> = b.lines().collect();
        a.lines().filter(|l| !b.contains(l)).map(str::to_owned).collect()
    };
    assert!(
        ours == theirs,
        "{what}: only ours: {:#?}\nonly theirs: {:#?}",
        only(ours, theirs),
        only(theirs, ours)
    );
}

/// What a container would see on these layers, topmost first.
fn list_stack(layers: &[PathBuf], dir: &Path) -> String {
    let lower: Vec<String> = layers.iter().map(|l| l.display().to_string()).collect();
    let mount = dir.join("mount");
    std::fs::create_dir_all(&mount).unwrap();
    let script = format!(
        "mount -t overlay overlay -o ro,userxattr,lowerdir={} {mount} && cd {mount} && {LIST}",
        lower.join(":"),
        mount = mount.display()
    );
    tool("unshare", &["-m", "bash", "-euo", "pipefail", "-c", &script], dir)
}

/// `reenact image` with a store of its own.
struct Images {
    s: Scratch,
}

impl Images {
    fn new() -> Self {
        Self { s: Scratch::new() }
    }

    fn command(&self) -> Command {
        let mut command = self.s.command();
        command.env("REENACT_IMAGES", self.s.path("store")).arg("image");
        command
    }

    fn run(&self, args: &[&str]) -> Ran {
        Ran::from(self.command().args(args).output().unwrap())
    }

    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.run(&[&["--json"], args].concat()).expect(0)).unwrap()
    }

    /// Unpacked layers of an image, topmost first.
    fn roots(&self, name: &str) -> Vec<PathBuf> {
        let image = self.json(&["inspect", name]);
        let layers = image["layers"].as_array().unwrap();
        let hex = |l: &Value| l.as_str().unwrap().trim_start_matches("sha256:").to_owned();
        layers.iter().rev().map(|l| self.s.path("store/layers").join(hex(l)).join("root")).collect()
    }

    fn count(&self, dir: &str) -> usize {
        std::fs::read_dir(self.s.path("store").join(dir)).map_or(0, Iterator::count)
    }
}

#[test]
fn roots_are_unpacked_as_tar_does() {
    need_root();
    if !tools(&["tar", "zstd", "python3", "setcap"]) {
        return;
    }
    let images = Images::new();
    let dir = images.s.root();
    make_root(dir);
    let with = "--xattrs --xattrs-include=*";
    for (name, make) in [
        ("gnu", "tar --format=gnu -C root -cf gnu.tar .".to_owned()),
        ("gnu-sparse", "tar --format=gnu --sparse -C root -cf gnu-sparse.tar .".to_owned()),
        ("pax", format!("tar --format=pax {with} -C root -cf pax.tar .")),
        ("pax-sparse", format!("tar --format=pax --sparse {with} -C root -czf pax-sparse.tar .")),
        ("pax-0-1", "tar --format=pax --sparse --sparse-version=0.1 -C root -cf pax-0-1.tar .".to_owned()),
        ("pax-0-0", "tar --format=pax --sparse --sparse-version=0.0 -C root -cf pax-0-0.tar .".to_owned()),
        ("zstd", format!("tar --format=pax {with} --zstd -C root -cf zstd.tar .")),
        ("names", "cd root && find . -mindepth 1 -print0 | tar --null --no-recursion -T - -cf ../names.tar".to_owned()),
    ] {
        shell(&make, dir);
        shell(&format!("mkdir {name}; tar {with} -C {name} --numeric-owner -xpf {name}.tar"), dir);
        images.run(&["import", &format!("{name}.tar"), "--name", name]).expect(0);
        let ours = images.roots(name).remove(0);
        // A root that no entry describes is ours alone.
        if name == "names" {
            shell(&format!("touch -d 2020-01-01 {name} {}", ours.display()), dir);
        }
        assert_same(&list(&ours), &list(&images.s.path(name)), name);
    }
    // A directory as it is.
    images.run(&["import", "root", "--name", "dir"]).expect(0);
    assert_same(&list(&images.roots("dir")[0]), &list(&images.s.path("root")), "dir");
    let blocks = shell("stat -c %b sparse", &images.roots("pax-sparse")[0]);
    assert!(blocks.trim().parse::<u64>().unwrap() < 1000, "holes stay holes: {blocks}");
}

/// An OCI layout of three layers by umoci: files, then removals and replacements, then more of them.
fn umoci_layout(dir: &Path) {
    make_root(dir);
    shell(
        r#"
        umoci init --layout layout && umoci new --image layout:v1
        umoci unpack --image layout:v1 bundle
        # umoci describes a directory anew only if its time, in whole seconds, is another.
        changed() { find . -type d -newermt "$1-06-01" -exec touch -d "$2-01-01 00:00:00" {} +; cd ../..; }
        cp -a root/. bundle/rootfs/ && umoci repack --refresh-bundle --image layout:v1 bundle
        cd bundle/rootfs
        rm -r deep home/user; rm bin usr/bin/same; mkdir bin; echo new > bin/new; mkdir deep; echo again > deep/file
        rm fifo; echo file > fifo; changed 2020 2021; umoci repack --refresh-bundle --image layout:v1 bundle
        cd bundle/rootfs; rm -r deep/file bin; echo x > bin; rm -r usr; chmod 711 sticky
        changed 2021 2022; umoci repack --refresh-bundle --image layout:v1 bundle
        umoci config --image layout:v1 --config.env A=b --config.workingdir /w --config.cmd sh
        rm -r bundle; umoci unpack --image layout:v1 bundle
        "#,
        dir,
    );
}

/// A registry of Debian's, on a port of its own, that ends with the test.
struct Registry {
    child: Child,
    port: u16,
}

impl Registry {
    fn start(dir: &Path) -> Self {
        Self::start_with(dir, "")
    }

    /// With more settings of `http`.
    fn start_with(dir: &Path, http: &str) -> Self {
        let deadline = Instant::now() + PATIENCE;
        loop {
            // Somebody else may take the port before the registry does; then another one is tried.
            let port =
                std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let data = dir.join("registry");
            let config = format!(
                "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: 127.0.0.1:{port}{http}}}\n",
                data.display()
            );
            std::fs::write(dir.join("registry.yml"), config).unwrap();
            let child = Command::new("docker-registry")
                .args(["serve", "registry.yml"])
                .current_dir(dir)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let mut registry = Self { child, port };
            while registry.child.try_wait().unwrap().is_none() {
                if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                    return registry;
                }
                assert!(Instant::now() < deadline, "the registry does not answer");
                std::thread::sleep(Duration::from_millis(20));
            }
            assert!(Instant::now() < deadline, "the registry does not start");
        }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[test]
fn images_of_umoci_come_through_a_real_registry_and_equal_its_own_unpacking() {
    need_root();
    if !tools(&["docker-registry", "skopeo", "umoci", "python3", "setcap"]) {
        return;
    }
    let images = Images::new();
    let dir = images.s.root();
    umoci_layout(dir);
    let registry = Registry::start(dir);
    let name = format!("127.0.0.1:{}/org/image", registry.port);
    for (tag, more) in [
        ("oci", ""),
        ("v2s2", "--format v2s2"),
        ("zstd", "--dest-compress-format zstd --dest-compress"),
    ] {
        let policy = "--insecure-policy copy -q --dest-tls-verify=false";
        shell(&format!("skopeo {policy} {more} oci:layout:v1 docker://{name}:{tag}"), dir);
        let out = images.run(&["pull", &format!("{name}:{tag}")]).expect(0);
        assert_eq!(out.trim(), format!("{name}:{tag}"));
        let roots = images.roots(&format!("{name}:{tag}"));
        assert_eq!(roots.len(), 3);
        assert_same(&list_stack(&roots, dir), &list(&images.s.path("bundle/rootfs")), tag);
    }
    let image = images.json(&["inspect", &format!("{name}:oci")]);
    assert_eq!(image["config"]["Env"], serde_json::json!(["A=b"]));
    assert_eq!(image["config"]["WorkingDir"], "/w");
    assert_eq!(images.count("layers"), 3, "the same layers, however they came");
    assert_eq!((images.count("blobs"), images.count("tmp")), (0, 0));
    // The layout itself, and what skopeo makes of it.
    shell("skopeo --insecure-policy copy -q oci:layout:v1 docker-archive:saved.tar:other:v9", dir);
    shell(
        "skopeo --insecure-policy copy -q oci:layout:v1 oci-archive:layout.tar:v1 && gzip -k saved.tar",
        dir,
    );
    for (source, name) in [
        ("layout", None),
        ("saved.tar", Some("other:v9")),
        ("saved.tar.gz", Some("other:v9")),
        ("layout.tar", None),
    ] {
        let got = images.run(&["import", source, "--json"]).expect(0);
        let got: Value = serde_json::from_str(&got).unwrap();
        assert_eq!(got[0]["layers"], image["layers"], "{source}");
        if let Some(name) = name {
            images.run(&["inspect", name]).expect(0);
        }
    }
    images.run(&["pull", &format!("{name}:none")]).fails(2, &["404", "check name and tag"]);
    let port = registry.port;
    drop(registry);
    // Nobody there: told after a few tries, each of which is told.
    let begun = images.run(&["pull", &format!("127.0.0.1:{port}/org/image:oci")]);
    let tries = begun.stderr.matches("of 3 tries").count();
    assert_eq!(tries, 2, "{}", begun.stderr);
    begun.fails(3, &["check the registry's name and port"]);
}

/// Stands before a registry, and lets so many bytes of its answers through.
struct Relay {
    port: u16,
    allowed: Arc<AtomicU64>,
    passed: Arc<AtomicU64>,
}

impl Relay {
    fn start(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (allowed, passed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let (most, count) = (Arc::clone(&allowed), Arc::clone(&passed));
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(("127.0.0.1", to)) else { continue };
                let (mut asks, mut asked) =
                    (client.try_clone().unwrap(), server.try_clone().unwrap());
                std::thread::spawn(move || std::io::copy(&mut asks, &mut asked));
                let (most, count) = (Arc::clone(&most), Arc::clone(&count));
                std::thread::spawn(move || Self::answers(server, client, &most, &count));
            }
        });
        Self { port, allowed, passed }
    }

    /// Ends when either side does.
    fn answers(mut from: TcpStream, mut to: TcpStream, most: &AtomicU64, count: &AtomicU64) {
        let mut buffer = [0; 16 << 10];
        while let Ok(n @ 1..) = from.read(&mut buffer) {
            while count.load(Ordering::SeqCst) + n as u64 > most.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(5));
            }
            if to.write_all(&buffer[..n]).is_err() {
                break;
            }
            count.fetch_add(n as u64, Ordering::SeqCst);
        }
        to.shutdown(std::net::Shutdown::Both).ok();
        from.shutdown(std::net::Shutdown::Both).ok();
    }
}

/// A layer that cannot be compressed, 8 MiB, in a layout `layout:v1`.
fn large_layout(dir: &Path) {
    shell(
        "umoci init --layout layout && umoci new --image layout:v1 && umoci unpack --image layout:v1 bundle && \
         head -c 8M /dev/urandom > bundle/rootfs/random && umoci repack --image layout:v1 bundle",
        dir,
    );
}

#[test]
fn a_killed_pull_goes_on_where_it_was() {
    need_root();
    if !tools(&["docker-registry", "skopeo", "umoci"]) {
        return;
    }
    const MIB: u64 = 1 << 20;
    let images = Images::new();
    let dir = images.s.root();
    large_layout(dir);
    let registry = Registry::start(dir);
    let copy = "skopeo --insecure-policy copy -q --dest-tls-verify=false oci:layout:v1";
    shell(&format!("{copy} docker://127.0.0.1:{}/big:v1", registry.port), dir);
    let relay = Relay::start(registry.port);
    let name = format!("127.0.0.1:{}/big:v1", relay.port);
    relay.allowed.store(5 * MIB, Ordering::SeqCst);
    let mut child = images.command().args(["pull", &name]).spawn().unwrap();
    let kept = || -> u64 {
        let list = std::fs::read_dir(images.s.path("store/blobs")).into_iter().flatten();
        list.flatten().filter_map(|e| Some(e.metadata().ok()?.len())).sum()
    };
    let deadline = Instant::now() + PATIENCE;
    while kept() < 4 * MIB {
        assert!(Instant::now() < deadline && child.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let kept = kept();
    assert_eq!((images.count("layers"), images.count("images")), (0, 0), "no half of an image");
    relay.passed.store(0, Ordering::SeqCst);
    relay.allowed.store(u64::MAX, Ordering::SeqCst);
    images.run(&["pull", &name]).expect(0);
    let again = relay.passed.load(Ordering::SeqCst);
    assert!(again < 8 * MIB - kept + MIB, "{kept} bytes were there, {again} came");
    let random = images.roots(&name)[0].join("random");
    assert_eq!(
        std::fs::read(random).unwrap(),
        std::fs::read(dir.join("bundle/rootfs/random")).unwrap()
    );
    assert_eq!((images.count("layers"), images.count("blobs"), images.count("tmp")), (1, 0, 0));
}

#[test]
fn a_registry_behind_tls_is_trusted_by_its_authority_alone() {
    need_root();
    if !tools(&["docker-registry", "skopeo", "umoci", "openssl"]) {
        return;
    }
    let images = Images::new();
    let dir = images.s.root();
    large_layout(dir);
    shell(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout ca.key -out ca.pem -days 2 \
           -subj /CN=authority 2>/dev/null
         openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout key.pem -out request.pem \
           -subj /CN=localhost 2>/dev/null
         printf 'subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\n' > extensions
         openssl x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile extensions \
           -out certificate.pem 2>/dev/null",
        dir,
    );
    let registry = Registry::start_with(
        dir,
        &format!(", tls: {{certificate: {0}/certificate.pem, key: {0}/key.pem}}", dir.display()),
    );
    let name = format!("localhost:{}/big:v1", registry.port);
    let copy = "skopeo --insecure-policy copy -q --dest-tls-verify=false oci:layout:v1";
    shell(&format!("{copy} docker://{name}"), dir);
    let pull = |roots: Option<&str>, more: &[&str]| {
        let mut pull = images.command();
        pull.arg("pull").args(more).arg(&name).env_remove("SSL_CERT_FILE");
        if let Some(roots) = roots {
            pull.env("SSL_CERT_FILE", dir.join(roots));
        }
        Ran::from(pull.output().unwrap())
    };
    // Not worth another try.
    let stranger = pull(None, &[]);
    assert!(!stranger.stderr.contains("tries"), "{}", stranger.stderr);
    stranger.fails(3, &["certificate", "SSL_CERT_FILE"]);
    pull(Some("none.pem"), &[]).fails(2, &["none.pem", "SSL_CERT_FILE"]);
    pull(Some("ca.pem"), &["--insecure"]).fails(3, &["HTTPS", "--insecure"]);
    assert_eq!(images.count("layers"), 0);
    pull(Some("ca.pem"), &[]).expect(0);
    assert_eq!(images.roots(&name).len(), 1);
}

#[test]
fn images_of_podman_are_read_as_podman_reads_them() {
    need_root();
    if !tools(&["podman", "python3", "setcap"]) {
        return;
    }
    let images = Images::new();
    let dir = images.s.root();
    make_root(dir);
    let podman = format!(
        "podman --root {0}/podman --runroot {0}/podrun --storage-driver vfs --cgroup-manager cgroupfs",
        dir.display()
    );
    shell("tar --format=pax --xattrs --xattrs-include=* -C root -cf root.tar .", dir);
    shell(
        &format!(
            "{podman} import -q --change CMD=sh --change ENV=A=b root.tar example.org/org/made:v1"
        ),
        dir,
    );
    for (format, source) in
        [("docker-archive", "p.tar"), ("oci-archive", "o.tar"), ("oci-dir", "o")]
    {
        let store = format!("store-{format}");
        shell(
            &format!("{podman} save -q --format {format} -o {source} example.org/org/made:v1"),
            dir,
        );
        let mut command = images.s.command();
        command.args(["--json", "image", "--store", &store, "import", source, "--name", "x"]);
        let got: Value =
            serde_json::from_str(&Ran::from(command.output().unwrap()).expect(0)).unwrap();
        assert_eq!(got[0]["config"]["Env"][0], "A=b", "{format}");
        let hex = got[0]["layers"][0].as_str().unwrap().trim_start_matches("sha256:").to_owned();
        let root = images.s.path(&store).join("layers").join(hex).join("root");
        let mounted = shell(&format!("{podman} image mount example.org/org/made:v1"), dir);
        // Podman does not keep the time of the root itself.
        shell(&format!("touch -d 2020-01-01 {} {}", root.display(), mounted.trim()), dir);
        assert_same(&list(&root), &list(Path::new(mounted.trim())), format);
        shell(&format!("{podman} image unmount example.org/org/made:v1"), dir);
    }
    shell(&format!("{podman} rmi -f -a"), dir);
}

#[test]
fn an_ordinary_user_has_a_store_too() {
    let s = Scratch::new();
    std::fs::set_permissions(s.root(), std::fs::Permissions::from_mode(0o777)).unwrap();
    shell(
        "mkdir -p root/closed/below root/etc; echo x > root/closed/below/f; echo p > root/etc/shadow
         chmod 000 root/etc/shadow; mkfifo root/fifo; printf x > root/etc/setuid; chmod 4755 root/etc/setuid
         chmod 000 root/closed/below; chmod 500 root/closed",
        s.root(),
    );
    // Read by the user that may: tar is made by whoever runs the test.
    shell(
        "chmod 700 root/closed root/closed/below; tar -C root --mode=a-w --owner=1234 -cf root.tar .; chmod 644 root.tar",
        s.root(),
    );
    let binary = s.path("reenact");
    std::fs::copy(REENACT, &binary).unwrap();
    std::fs::set_permissions(&binary, std::fs::Permissions::from_mode(0o755)).unwrap();
    let run = |args: &[&str]| {
        let mut command = if is_root() {
            let mut command = Command::new("setpriv");
            command.args([
                "--reuid",
                "65534",
                "--regid",
                "65534",
                "--clear-groups",
                "--inh-caps=-all",
            ]);
            command.arg(&binary);
            command
        } else {
            Command::new(&binary)
        };
        let output = command
            .args(args)
            .current_dir(s.root())
            .env("REENACT_IMAGES", s.path("store"))
            .output()
            .unwrap();
        Ran::from(output)
    };
    let ran = run(&["image", "import", "root.tar", "--name", "x"]);
    assert!(ran.stderr.contains("belong to us"), "{}", ran.stderr);
    ran.expect(0);
    let layer = std::fs::read_dir(s.path("store/layers")).unwrap().next().unwrap().unwrap().path();
    let mode = |p: &str| {
        std::fs::symlink_metadata(layer.join("root").join(p)).unwrap().permissions().mode() & 0o7777
    };
    assert_eq!(mode("etc/setuid"), 0o4555);
    assert_eq!(mode("closed/below"), 0o500);
    // Nobody else gets at a set-uid file of ours.
    assert_eq!(std::fs::metadata(s.path("store/layers")).unwrap().permissions().mode() & 0o077, 0);
    let listed = run(&["image", "list"]).expect(0);
    assert!(listed.contains("x:latest"), "{listed}");
    run(&["image", "rm", "x"]).expect(0);
    assert_eq!(
        std::fs::read_dir(s.path("store/layers")).unwrap().count(),
        0,
        "closed directories go too"
    );
}

#[test]
fn a_full_disk_is_one_clear_error_and_leaves_no_part() {
    need_root();
    let images = Images::new();
    let dir = images.s.root();
    std::fs::create_dir(images.s.path("small")).unwrap();
    shell("head -c 9000000 /dev/urandom > big; tar -cf big.tar big; tar -cf little.tar small", dir);
    let script = format!(
        "mount -t tmpfs -o size=4m none small
         {REENACT} image --store small/store import big.tar --name big; echo code=$?
         find small/store/layers small/store/tmp small/store/images -mindepth 1
         {REENACT} image --store small/store import little.tar --name little && echo fine"
    );
    let output = Command::new("unshare")
        .args(["-m", "bash", "-c", &script])
        .current_dir(dir)
        .env("NO_COLOR", "1")
        .env_remove("REENACT_IMAGES")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.starts_with("code=3\n"), "nothing is left: {text}\n{errors}");
    assert!(text.contains("fine"), "{text}\n{errors}");
    assert!(errors.contains("no room left") && errors.contains("reenact image gc"), "{errors}");
    assert_eq!(errors.matches("error:").count(), 1, "{errors}");
}

#[test]
fn gc_makes_room_where_not_one_more_file_can_be_made() {
    need_root();
    let images = Images::new();
    let dir = images.s.root();
    std::fs::create_dir(images.s.path("small")).unwrap();
    shell("mkdir d; echo x > d/f; tar -cf little.tar d", dir);
    let script = format!(
        "mount -t tmpfs -o size=16m,nr_inodes=400 none small
         {REENACT} image --store small/store import little.tar --name little
         mkdir -p small/store/scratch/s-left/upper; cd small/store/scratch/s-left; : > .owner
         n=0; while : > upper/$n; do n=$((n+1)); done 2>/dev/null
         cd ../../../..; mkdir small/none 2>/dev/null || echo full
         {REENACT} image --store small/store gc >&2; echo code=$?; ls small/store/scratch small/store/tmp; mkdir small/some && echo room"
    );
    let output = Command::new("unshare")
        .args(["-m", "bash", "-c", &script])
        .current_dir(dir)
        .env_remove("REENACT_IMAGES")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let told = "full\ncode=0\nsmall/store/scratch:\n\nsmall/store/tmp:\nroom\n";
    assert!(text.ends_with(told), "{text}\n{errors}");
}

#[test]
fn bad_input_is_one_clear_error() {
    let images = Images::new();
    let dir = images.s.root();
    images.s.write("text", "hello");
    shell(
        "mkdir d; echo x > d/f; tar -cf good.tar d; head -c 700 good.tar > cut.tar; : > empty; gzip -k good.tar; head -c 100 good.tar.gz > cut.gz; xz -k good.tar || true",
        dir,
    );
    for (args, parts) in [
        (&["import", "none.tar", "--name", "x"][..], &["none.tar"][..]),
        (&["import", "text", "--name", "x"], &["text", "truncated or damaged"]),
        (&["import", "cut.tar", "--name", "x"], &["cut.tar", "ends too early"]),
        (&["import", "cut.gz", "--name", "x"], &["cut.gz", "truncated or damaged"]),
        (&["import", "empty", "--name", "x"], &["empty"]),
        (&["import", "good.tar"], &["--name"]),
        (&["import", "good.tar", "--name", "UPPER"], &["UPPER", "lower-case"]),
        (&["inspect", "nothing"], &["no image nothing", "reenact image pull nothing"]),
        (&["rm", "nothing"], &["no image nothing"]),
        (&["pull", "a b"], &["a b"]),
    ] {
        images.run(args).fails(2, parts);
    }
    images.run(&["gc", "--limit", "much"]).fails(2, &["500M"]);
    if images.s.path("good.tar.xz").exists() {
        images.run(&["import", "good.tar.xz", "--name", "x"]).fails(2, &["xz", "not supported"]);
    }
    assert_eq!((images.count("layers"), images.count("tmp")), (0, 0));
    // Names are shown as they are written; the store forgets what is removed.
    images.run(&["import", "good.tar", "--name", "one:v1"]).expect(0);
    images.run(&["import", "good.tar.gz", "--name", "two"]).expect(0);
    let list = images.run(&["list"]).expect(0);
    assert!(list.contains("one:v1") && list.contains("two:latest"), "{list}");
    assert_eq!(images.count("layers"), 1);
    images.run(&["rm", "one:v1", "two"]).expect(0);
    assert_eq!((images.count("layers"), images.count("images")), (0, 0));
    let gc = images.json(&["gc", "--limit", "1M"]);
    assert_eq!(gc["left"], 0);
}

#[test]
fn a_killed_import_leaves_only_what_gc_removes() {
    let images = Images::new();
    let dir = images.s.root();
    shell(
        "mkdir d; for i in $(seq 3000); do echo $i > d/$i; done; head -c 150M /dev/zero > d/zeros; tar -cf big.tar d",
        dir,
    );
    let mut child = images.command().args(["import", "big.tar", "--name", "x"]).spawn().unwrap();
    let deadline = Instant::now() + PATIENCE;
    let staged = || {
        std::fs::read_dir(images.s.path("store/tmp"))
            .is_ok_and(|list| list.flatten().any(|e| e.path().join("root/d").exists()))
    };
    while !staged() && child.try_wait().unwrap().is_none() && Instant::now() < deadline {
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // Killed in the middle, or (on a very fast machine) just done.
    let done = images.count("images");
    assert_eq!(images.count("layers"), done);
    images.json(&["gc"]);
    assert_eq!(images.count("tmp"), 0);
    images.run(&["import", "big.tar", "--name", "x"]).expect(0);
    assert_eq!(images.count("layers"), 1);
}
