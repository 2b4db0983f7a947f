//! Containers: layers, users, rights, files, signals. They run on a small image whose programs are the host's.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use reenact_sandbox::container::{Container, ContainerSpec, Network, Run, User};
use reenact_sandbox::room::{Exec, ExecEnd, Executed, Input, Sinks};
use reenact_sandbox::{Isolation, Mount};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// An image of two layers over the host's /usr.
struct Image {
    dir: tempfile::TempDir,
}

impl Image {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().join("base");
        for name in ["tmp", "root", "workspace", "usr", "etc", "run"] {
            std::fs::create_dir_all(base.join(name)).unwrap();
        }
        std::fs::set_permissions(base.join("tmp"), PermissionsExt::from_mode(0o1777)).unwrap();
        for name in ["bin", "sbin", "lib", "lib64"] {
            std::os::unix::fs::symlink(format!("usr/{name}"), base.join(name)).unwrap();
        }
        std::fs::write(base.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\n").unwrap();
        std::fs::write(base.join("etc/hosts"), "6.6.6.6 evil\n").unwrap();
        std::fs::write(base.join("below"), "below").unwrap();
        std::fs::write(base.join("both"), "below").unwrap();
        let top = dir.path().join("top");
        std::fs::create_dir(&top).unwrap();
        std::fs::write(top.join("both"), "above").unwrap();
        std::fs::create_dir(dir.path().join("scratch")).unwrap();
        for path in [dir.path(), &base, &top] {
            std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
        }
        Self { dir }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn spec(&self) -> ContainerSpec {
        let usr = Mount { source: PathBuf::from("/usr"), target: "/usr".to_owned() };
        ContainerSpec {
            mounts: vec![usr],
            ..ContainerSpec::new(vec![self.at("top"), self.at("base")], self.at("scratch"))
        }
    }

    fn start(&self) -> Container {
        Container::start(&self.spec()).unwrap()
    }
}

fn sh(script: &str) -> Run {
    let env = [("PATH", "/usr/bin:/bin:/usr/sbin:/sbin")];
    Run {
        command: Exec {
            argv: ["sh", "-c", script].map(str::to_owned).to_vec(),
            env: env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            cwd: None,
            stdin: Input::Null,
            merge_stderr: true,
            wall: Some(Duration::from_secs(60)),
            keep_bytes: 1 << 20,
            max_bytes: None,
        },
        user: User::default(),
        descriptors: Vec::new(),
    }
}

fn out(done: &Executed) -> String {
    String::from_utf8_lossy(&done.stdout).trim_end().to_owned()
}

fn run(container: &Container, script: &str) -> String {
    out(&container.exec(sh(script)).unwrap())
}

fn root() -> bool {
    // SAFETY: no arguments, cannot fail.
    unsafe { libc::geteuid() == 0 }
}

#[test]
fn layers_changes_and_what_is_ours() {
    let image = Image::new();
    let container = image.start();
    assert_eq!(run(&container, "cat /both /below; pwd; id -u"), "abovebelow/\n0");
    assert_eq!(
        run(&container, "rm /below; echo new > /both; echo x > /workspace/x; ls /below"),
        "ls: cannot access '/below': No such file or directory"
    );
    let upper = container.upper();
    assert_eq!(std::fs::read_to_string(upper.join("both")).unwrap(), "new\n");
    assert_eq!(std::fs::read_to_string(image.at("top/both")).unwrap(), "above");
    // Ours, and no part of the changes.
    assert!(run(&container, "cat /etc/hosts").contains("localhost"));
    assert!(!upper.join("etc").exists(), "the changes hold nothing of ours");
    assert_eq!(run(&container, "cat /etc/passwd"), "root:x:0:0::/root:/bin/sh");
    assert_eq!(run(&container, "echo more >> /etc/hosts && tail -1 /etc/hosts"), "more");
    assert_eq!(run(&container, "(echo x > /usr/x) 2>/dev/null || echo read-only"), "read-only");
    assert_eq!(run(&container, "cat /proc/net/route | wc -l"), "1");
    // A build's changes can be another container's layer.
    drop(container);
    std::fs::create_dir(image.at("second")).unwrap();
    let mut spec = image.spec();
    spec.layers.insert(0, upper);
    spec.scratch = image.at("second");
    let container = Container::start(&spec).unwrap();
    assert_eq!(
        run(&container, "cat /both /workspace/x; ls /below 2>&1 | wc -l; tail -1 /etc/hosts"),
        "new\nx\n1\n::1\tlocalhost ip6-localhost"
    );
}

#[test]
fn a_hostile_image_leads_nothing_out() {
    let image = Image::new();
    let victim = tempfile::tempdir().unwrap();
    for name in ["proc", "dev", "sys"] {
        std::os::unix::fs::symlink(victim.path(), image.at("top").join(name)).unwrap();
    }
    std::os::unix::fs::symlink(victim.path(), image.at("top/etc")).unwrap();
    let container = image.start();
    assert!(
        run(&container, "cat /etc/hosts; echo x > /dev/shm/y; ls /proc/1").contains("localhost")
    );
    assert_eq!(std::fs::read_dir(victim.path()).unwrap().count(), 0);
    // Links are followed below the root only.
    std::fs::write(victim.path().join("secret"), "secret").unwrap();
    let target = victim.path().display();
    run(&container, &format!("ln -s {target}/secret /link; ln -s ../../../../etc/hosts /up"));
    assert!(container.open("/link").is_err());
    let mut text = String::new();
    container.open("/up").unwrap().read_to_string(&mut text).unwrap();
    assert!(text.contains("localhost"), "the container's own: {text}");
}

#[test]
fn users_and_rights() {
    let image = Image::new();
    let container = image.start();
    if !root() {
        assert!(!container.has_users());
        return;
    }
    let mut as_agent = sh("id -u; id -g; id -G; touch /root/x 2>/dev/null || echo refused");
    as_agent.user = User { uid: 1000, gid: 1001, groups: vec![1001, 7, 8] };
    let done = container.exec(as_agent).unwrap();
    assert_eq!(out(&done), "1000\n1001\n1001 7 8\nrefused");
    // Root of the container: may chown and change users, but not mount, make devices, or touch the host's kernel.
    assert_eq!(run(&container, "touch /f; chown 5:6 /f; stat -c %u:%g /f"), "5:6");
    assert_eq!(run(&container, "mount -t tmpfs none /root 2>/dev/null || echo no"), "no");
    assert_eq!(run(&container, "mknod /d b 8 0 2>/dev/null || echo no"), "no");
    assert_eq!(
        run(&container, "echo x > /proc/sysrq-trigger || echo no").lines().last(),
        Some("no")
    );
    assert_eq!(
        run(&container, "echo 1 > /proc/sys/kernel/panic || echo no").lines().last(),
        Some("no")
    );
    assert_eq!(run(&container, "unshare -n true 2>/dev/null || echo no"), "no");
    assert_eq!(run(&container, "cat /proc/1/environ /proc/1/maps 2>/dev/null || echo no"), "no");
    // Device nodes are the host's: usable, and nothing else.
    assert_eq!(run(&container, "chmod 600 /dev/full 2>/dev/null || echo no"), "no");
    assert_eq!(run(&container, "chown 5 /dev/null 2>/dev/null || echo no"), "no");
    assert_eq!(run(&container, "echo x > /dev/null && head -c 3 /dev/zero | wc -c"), "3");
    let caps = run(&container, "sed -n 's/CapPrm:\\s*//p' /proc/1/status");
    let caps = u64::from_str_radix(&caps, 16).unwrap();
    assert_eq!(caps, reenact_sandbox::container::DEFAULT_CAPABILITIES, "of pid 1");
    // Root enters and executes what belongs to others, as in any container.
    run(&container, "mkdir -m 700 /theirs && cp /bin/true /theirs/ && chown -R 1000:1000 /theirs");
    let mut inside = sh("");
    inside.command.argv = vec!["/theirs/true".to_owned()];
    inside.command.cwd = Some("/theirs".to_owned());
    assert_eq!(container.exec(inside).unwrap().end, ExecEnd::Exit { code: 0 });
    let mut nobody = sh("id -u");
    nobody.user.uid = u32::MAX;
    assert_eq!(container.exec(nobody).unwrap().end, ExecEnd::NotFound { errno: libc::EINVAL });
    assert_eq!(run(&container, "cat /proc/kcore 2>/dev/null | head -c 9 | wc -c"), "0");
    let mask = run(&container, "sed -n 's/CapEff:\\s*//p' /proc/self/status");
    let mask = u64::from_str_radix(&mask, 16).unwrap();
    assert_eq!(mask, reenact_sandbox::container::DEFAULT_CAPABILITIES);
    let image = Image::new();
    let container = Container::start(&ContainerSpec { capabilities: 0, ..image.spec() }).unwrap();
    assert_eq!(run(&container, "chown 5:6 /both 2>/dev/null || echo no"), "no");
}

#[test]
fn descriptors_streams_and_signals() {
    let image = Image::new();
    let container = image.start();
    let (mut ours, theirs) = std::io::pipe().unwrap();
    let (mut second, more) = std::io::pipe().unwrap();
    let mut command = sh("echo three >&3; echo four >&4; ls /proc/self/fd | wc -l");
    command.descriptors = vec![theirs.into(), more.into()];
    // 0 to 4, and that of the directory itself.
    assert_eq!(out(&container.exec(command).unwrap()), "6");
    let (mut three, mut four) = (String::new(), String::new());
    ours.read_to_string(&mut three).unwrap();
    second.read_to_string(&mut four).unwrap();
    assert_eq!((three.as_str(), four.as_str()), ("three\n", "four\n"));
    // A signal to the command alone; a daemon of its lives on.
    let (mut line, mut writer) = std::io::pipe().unwrap();
    let (send, handle) = std::sync::mpsc::channel();
    let done = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let mut err = Vec::new();
            let script = "trap 'echo got; exit 7' TERM; (setsid sleep 1000 &) ; echo ready; while :; do sleep 0.05; done";
            let sinks = Sinks { stdout: &mut writer, stderr: &mut err };
            container.exec_with_handle(sh(script), sinks, |h| send.send(h).unwrap()).unwrap()
        });
        let handle = handle.recv().unwrap();
        line.read_exact(&mut [0; 6]).unwrap();
        handle.signal(libc::SIGTERM).unwrap();
        thread.join().unwrap()
    });
    assert_eq!((done.end, out(&done).as_str()), (ExecEnd::Exit { code: 7 }, "ready\ngot"));
    // It may not have come to its sleep yet. Not a pattern that grep's own arguments fit.
    let there = "until grep -qxz '100[0]' /proc/[0-9]*/cmdline; do :; done 2>/dev/null; echo there";
    assert_eq!(run(&container, there), "there");
    assert_eq!(run(&container, "kill -9 -1; echo alone"), "alone");
    // They are reaped at once, which is not the same moment.
    let gone = "while cat /proc/[0-9]*/comm 2>/dev/null | grep -q sleep; do :; done; echo gone";
    assert_eq!(run(&container, gone), "gone");
    assert!(container.is_alive());
}

#[test]
fn files_in_and_out() {
    let image = Image::new();
    let container = image.start();
    let (uid, gid) = if root() { (3, 4) } else { (0, 0) };
    let mine = if root() { (uid, gid) } else { ids() };
    container.create("/workspace/new", 0o750, mine.0, mine.1).unwrap().write_all(b"text").unwrap();
    assert_eq!(
        run(&container, "stat -c %a:%u:%g /workspace/new; cat /workspace/new"),
        format!("750:{uid}:{gid}\ntext")
    );
    assert!(container.create("/nowhere/new", 0o600, mine.0, mine.1).is_err());
    run(&container, "mkfifo /fifo");
    // Does not wait for a writer.
    assert!(!container.open("/fifo").unwrap().metadata().unwrap().is_file());
}

fn ids() -> (u32, u32) {
    // SAFETY: no arguments, cannot fail.
    unsafe { (libc::geteuid(), libc::getegid()) }
}

#[test]
fn many_layers_and_an_unprivileged_namespace() {
    let image = Image::new();
    let mut spec = image.spec();
    for i in 0..100 {
        let dir =
            image.at(&format!("a-layer-with-quite-a-long-name-so-that-a-page-would-not-do-{i}"));
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(dir.join(format!("f{i}")), "x").unwrap();
        spec.layers.insert(0, dir);
    }
    let container = Container::start(&spec).unwrap();
    assert_eq!(run(&container, "ls / | grep -c '^f[0-9]'"), "100");
    if !root() {
        return;
    }
    // As a user would. (What belongs to others than the one owner cannot be changed; an image unpacked without root has none.)
    let image = Image::new();
    let spec = ContainerSpec {
        isolation: Isolation { force_userns: true, ..Isolation::default() },
        network: Network::None,
        ..image.spec()
    };
    open_to_all(image.dir.path());
    let container = Container::start(&spec).unwrap();
    assert!(!container.has_users());
    assert_eq!(
        run(&container, "id -u; echo x > /dev/shm/x && cat /dev/shm/x /both"),
        "0\nx\nabove"
    );
}

/// The forced user namespace's owner is a number of its own.
fn open_to_all(path: &Path) {
    for entry in std::fs::read_dir(path).unwrap().flatten() {
        if entry.file_type().unwrap().is_dir() {
            open_to_all(&entry.path());
        }
    }
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o777)).unwrap();
}

/// A limit of a fifth of a processor, seen in the kernel's own count of throttled periods.
#[test]
fn cpu_time_is_limited_where_the_host_can() {
    let image = Image::new();
    let container = Container::start(&ContainerSpec { cpus: Some(0.2), ..image.spec() }).unwrap();
    let done = container.exec(sh("i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done")).unwrap();
    if container.layers()["cpu"] == "not limited" {
        eprintln!("NOT TESTED: this host gives no CPU controller");
        return;
    }
    // Never more CPU time than the quota allows, whatever else the machine does: a period's worth of slack.
    assert!(done.cpu_us <= done.wall_us / 5 + 100_000, "{} of {}", done.cpu_us, done.wall_us);
    assert!(done.cpu_us > 20_000, "it did compute");
}

#[test]
fn read_only_directories_stay_as_they_are() {
    let image = Image::new();
    std::fs::create_dir_all(image.at("base/opt/deep")).unwrap();
    std::fs::write(image.at("base/opt/deep/tool"), "as built").unwrap();
    std::fs::create_dir_all(image.at("base/srv/suite")).unwrap();
    std::fs::write(image.at("base/srv/suite/test"), "as built").unwrap();
    std::fs::write(image.at("base/srv/file"), "as built").unwrap();
    let spec = ContainerSpec {
        // `bin` is a link here, `none` is not there at all.
        read_only: ["opt", "bin", "none", "srv/suite", "srv/file", "bin/sh", "none/none"]
            .map(str::to_owned)
            .to_vec(),
        ..image.spec()
    };
    let container = Container::start(&spec).unwrap();
    let script = "(echo x > /opt/deep/tool) 2>/dev/null || echo no
        mv /opt/deep /opt/other 2>/dev/null || echo no
        rm -rf /opt 2>/dev/null || echo no
        mount -o remount,rw /opt 2>/dev/null || echo no
        (echo x > /srv/suite/test) 2>/dev/null || echo no
        (echo x > /srv/file) 2>/dev/null || echo no
        mv /srv/suite /srv/other 2>/dev/null || echo no
        mv /srv /other 2>/dev/null || echo no
        cat /opt/deep/tool; echo; echo x > /workspace/x && echo x > /srv/x && echo yes";
    assert_eq!(run(&container, script), "no\nno\nno\nno\nno\nno\nno\nno\nas built\nyes");
    assert!(!container.upper().join("opt").exists());
    let image = Image::new();
    let bad = ContainerSpec { read_only: vec!["../usr".to_owned()], ..image.spec() };
    assert!(Container::start(&bad).err().unwrap().to_string().contains("../usr"));
}

/// A program that stops whatever it can: a command of the same user, caught before it executed, must not take pid 1 with it.
#[test]
fn whoever_stops_everything_stops_no_one_else() {
    let image = Image::new();
    let container = image.start();
    let storm = "while :; do for p in /proc/[0-9]*; do p=${p#/proc/};
        [ $p = 1 ] || [ $p = $$ ] || kill -STOP $p 2>/dev/null; done; done";
    std::thread::scope(|scope| {
        let (send, handle) = std::sync::mpsc::channel();
        let (mut out, mut err) = (std::io::sink(), std::io::sink());
        let container = &container;
        let storming = scope.spawn(move || {
            let sinks = Sinks { stdout: &mut out, stderr: &mut err };
            container.exec_with_handle(sh(storm), sinks, |h| send.send(h).unwrap()).unwrap()
        });
        let handle = handle.recv().unwrap();
        for _ in 0..40 {
            let mut command = sh("true");
            command.command.wall = Some(Duration::from_millis(100));
            let done = container.exec(command).unwrap();
            assert!(matches!(done.end, ExecEnd::WallLimit | ExecEnd::Exit { code: 0 }), "{done:?}");
        }
        handle.stop();
        assert_eq!(storming.join().unwrap().end, ExecEnd::Stopped);
    });
    assert_eq!(run(&container, "echo fine"), "fine");
}

#[test]
fn wrong_specs_are_named() {
    let image = Image::new();
    let none = ContainerSpec { layers: Vec::new(), ..image.spec() };
    assert!(Container::start(&none).err().unwrap().to_string().contains("layer"));
    let mut bad = image.spec();
    bad.mounts.push(Mount { source: PathBuf::from("/usr"), target: "/a/../../b".to_owned() });
    assert!(Container::start(&bad).err().unwrap().to_string().contains("/a/../../b"));
    let image = Image::new();
    let first = image.start();
    let again = Container::start(&image.spec()).err().unwrap().to_string();
    assert!(again.contains("upper"), "{again}");
    drop(first);
}
