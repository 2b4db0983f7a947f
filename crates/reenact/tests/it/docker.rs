//! `reenact docker`: the real command, on an image of this host's packages.

use crate::support::*;
use reenact_image::{ImportOptions, Silent, Store};
use reenact_testkit::image::{SMALL_PACKAGES, debian_root};
use serde_json::Value;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const IMAGE: &str = "small:1";

/// A store with one image, and a state directory of its own. What is left of containers ends with it.
struct Docker {
    scratch: Scratch,
    store: tempfile::TempDir,
}

impl Docker {
    fn new() -> Self {
        let root = debian_root(SMALL_PACKAGES).expect("an image of this host's packages");
        // Not below /tmp: the store must be on a file system that can hold an overlay's changes.
        let store = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let options = ImportOptions { name: Some(IMAGE.to_owned()), ..ImportOptions::default() };
        Store::open(store.path()).unwrap().import(&root, &options, &Silent).unwrap();
        Self { scratch: Scratch::new(), store }
    }

    fn command<S: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = self.scratch.command();
        command
            .env("REENACT_IMAGES", self.store.path())
            .env("REENACT_DOCKER_STATE", self.state())
            .arg("docker")
            .args(args)
            .stdin(Stdio::null());
        command
    }

    fn state(&self) -> PathBuf {
        self.scratch.path("state")
    }

    /// Runs a command, given as words.
    fn docker(&self, line: &str) -> Ran {
        self.docker_words(&line.split_whitespace().collect::<Vec<_>>())
    }

    fn docker_words(&self, words: &[&str]) -> Ran {
        Ran::from(self.command(words).output().unwrap())
    }

    /// Runs a script in a container; gives what it wrote.
    fn bash(&self, container: &str, script: &str) -> String {
        self.docker_words(&["exec", container, "bash", "-c", script]).expect(0)
    }

    /// Starts a container that sleeps.
    fn start(&self, name: &str) -> String {
        let id = self.docker(&format!("run -d --name {name} {IMAGE} sleep 2h")).expect(0);
        id.trim().to_owned()
    }

    /// A command with bytes on its standard input.
    fn feed(&self, words: &[&str], input: &[u8]) -> Ran {
        let mut child = self
            .command(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        let feeding = std::thread::spawn(move || {
            // A command that does not read all of it ends on its own terms.
            let _fed = stdin.write_all(&input);
        });
        let ran = Ran::from(child.wait_with_output().unwrap());
        feeding.join().unwrap();
        ran
    }

    /// Waits until a script in the container succeeds.
    fn until(&self, container: &str, script: &str) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.docker_words(&["exec", container, "bash", "-c", script]).code != Some(0) {
            assert!(Instant::now() < deadline, "never true: {script}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn field(&self, container: &str, field: &str) -> String {
        let format = format!("{{{{{field}}}}}");
        self.docker_words(&["inspect", "-f", &format, container]).expect(0).trim().to_owned()
    }

    fn scratches(&self) -> usize {
        std::fs::read_dir(self.store.path().join("scratch")).unwrap().count()
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        let all = self.docker("ps -aq");
        for id in all.stdout.lines() {
            let _removed = self.docker(&format!("rm -f {id}")).code;
        }
    }
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn signal(child: &Child, signal: &str) {
    let sent = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

#[test]
fn a_container_lives_takes_commands_and_ends() {
    let d = Docker::new();
    let line = format!(
        "run -d --init --name box -w /made/here --cpus 10 -e A=1 -e B=two --memory 2g --memory-swap 2g \
         --network none --cap-drop SYS_PTRACE -h inner {IMAGE} sleep 2h"
    );
    let id = d.docker(&line).expect(0).trim().to_owned();
    assert_eq!(id.len(), 64, "{id}");
    assert!(id.bytes().all(|b| b.is_ascii_hexdigit()));
    let env = d.bash("box", "pwd; hostname; echo $A $B $HOME $HOSTNAME; id -u; cat /etc/hostname");
    assert_eq!(env, "/made/here\ninner\n1 two /root inner\n0\ninner\n");

    let words = ["exec", "-w", "/tmp", "-e", "A=3", "-u", "agent", &id[..12], "bash", "-c"];
    let script = "pwd; echo $A $B $HOME; id -un; id -u; echo err >&2; exit 7";
    let ran = d.docker_words(&[&words[..], &[script]].concat());
    assert_eq!(ran.stderr, "err\n");
    assert_eq!(ran.expect(7), "/tmp\n3 two /home/agent\nagent\n1000\n");

    // The network is a loopback interface and nothing else.
    assert_eq!(d.bash("box", "tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '"), "lo\n");
    assert_eq!(d.field("box", ".State.Status"), "running");
    assert_eq!(d.field("box", ".Config.Image"), IMAGE);
    assert!(d.docker("ps").expect(0).contains("box"));

    assert_eq!(d.docker("stop box").expect(0), "box\n");
    assert_eq!(d.field(&id, ".State.ExitCode"), "143");
    assert!(!d.docker("ps").expect(0).contains("box"));
    assert!(d.docker("ps -a").expect(0).contains("Exited (143)"));
    d.docker("exec box true").fails(125, &["is not running", "exited with 143"]);
    d.docker("stop box").expect(0);
    d.docker("rm box").expect(0);
    assert_eq!(d.scratches(), 0);
    d.docker("exec box true").fails(125, &["No such container: box"]);
    assert_eq!(d.docker("ps -aq").expect(0), "");
}

#[test]
fn exit_codes_are_dockers() {
    let d = Docker::new();
    d.start("box");
    for (words, code, says) in [
        (&["exec", "box", "true"][..], 0, ""),
        (&["exec", "box", "bash", "-c", "exit 255"], 255, ""),
        (&["exec", "box", "bash", "-c", "kill -9 $$"], 137, ""),
        (&["exec", "box", "bash", "-c", "kill -TERM $$"], 143, ""),
        (&["exec", "box", "frobnicate"], 127, "\"frobnicate\": executable file not found"),
        (&["exec", "box", "/no/such"], 127, "no such file"),
        (&["exec", "box", "/etc/passwd"], 126, "permission denied"),
        (&["exec", "box", "/etc"], 126, "permission denied"),
        (&["exec", "-w", "/nope", "box", "true"], 126, "chdir to cwd (\"/nope\")"),
        (&["exec", "-u", "stranger", "box", "true"], 126, "unable to find user stranger"),
        (&["exec", "-d", "box", "frobnicate"], 127, "executable file not found"),
        (&["exec", "--frob", "box", "true"], 125, "unknown flag: --frob"),
        (&["exec", "-t", "box", "true"], 125, "-t is refused"),
        (&["exec", "gone", "true"], 125, "No such container: gone"),
        (&["run", IMAGE, "bash", "-c", "exit 9"], 9, ""),
        (&["run", "--rm", IMAGE, "bash", "-c", "exit 9"], 9, ""),
        (&["run", "--rm", IMAGE, "frobnicate"], 127, "executable file not found"),
        (&["run", "-d", "--rm", IMAGE, "/etc/passwd"], 126, "permission denied"),
        (&["run", "--rm", "localhost:1/nosuch:9", "true"], 125, "localhost:1"),
        (&["run", "--pull", "never", "nosuch:9", "true"], 125, "No such image: nosuch:9"),
        (&["run", "--rm", IMAGE], 125, "no command specified"),
        (&["run", "--privileged", IMAGE, "true"], 125, "--privileged is refused"),
        (&["run", "-v", "/tmp:/x", IMAGE, "true"], 125, "--volume /tmp:/x: refused"),
        (&["run", "--name", "box", IMAGE, "true"], 125, "\"box\" is already in use by container"),
        (&["run", "--user", "stranger", "--rm", IMAGE, "true"], 126, "user stranger"),
        (&["stop", "gone"], 1, "No such container: gone"),
        (&["kill", "gone"], 1, "No such container: gone"),
        (&["rm", "gone"], 1, "No such container: gone"),
        (&["rm", "-f", "gone"], 0, "No such container: gone"),
        (&["rm", "-f", "gone", "other"], 0, "No such container: other"),
        (&["ps", "-aq", "-f", "name=^(box)$"], 125, "'(' is refused"),
        (&["ps", "-q", "-f", "frob=x"], 125, "--filter frob=x"),
        (&["rm", "box"], 1, "container is running"),
        (&["rmi", "gone:1"], 1, "No such image: gone:1"),
        (&["rmi", "-f", "gone:1"], 0, "No such image: gone:1"),
        (&["cp", "gone:/x", "."], 1, "No such container: gone"),
        (&["commit", "gone", "x:1"], 1, "No such container: gone"),
        (&["inspect", "gone"], 1, "No such object: gone"),
        (&["image", "inspect", "gone"], 1, "No such image: gone"),
        (&["run", "-d", "--cidfile", "/proc/no/such", IMAGE, "sleep", "2h"], 125, "/proc/no/such"),
        (&["run", "-d", "--cidfile", "/etc/passwd", IMAGE, "true"], 125, "container ID file found"),
        (&["logs", "gone"], 1, "No such container: gone"),
        (&["wait", "gone"], 1, "No such container: gone"),
        (&["stop", "-t", "soon", "box"], 125, "-t \"soon\""),
        (&["kill", "-s", "NOSUCH", "box"], 125, "Invalid signal: NOSUCH"),
        (&["frobnicate"], 125, "\"frobnicate\" is not understood"),
        (&["cp", "a", "b"], 125, "CONTAINER:PATH"),
        (&["version", "--format", "{{.Server.Version}}"], 0, ""),
        (&["--version"], 0, ""),
        (&["info"], 0, ""),
        (&["help"], 0, ""),
    ] {
        let ran = d.docker_words(words);
        let said = format!("{words:?}\nstdout:\n{}\nstderr:\n{}", ran.stdout, ran.stderr);
        assert_eq!(ran.code, Some(code), "{said}");
        assert!(ran.stderr.contains(says), "{says:?} is not in the errors of {said}");
        assert!(!ran.stderr.contains("panicked"), "{said}");
    }
    // Nothing of the failed ones is left but the one that ended by itself and was to stay.
    assert_eq!(d.docker("ps -aq").expect(0).lines().count(), 2);
}

#[test]
fn streams_are_whole_separate_and_bounded_in_memory() {
    let d = Docker::new();
    d.start("box");
    let many = 100_000_000;
    let mut child = d
        .command(["exec", "box", "head", "-c", "100000000", "/dev/zero"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = child.stdout.take().unwrap();
    let mut got = 0;
    let mut buffer = vec![0; 1 << 20];
    loop {
        match out.read(&mut buffer).unwrap() {
            0 => break,
            n => got += n,
        }
    }
    assert_eq!(got, many);
    assert!(child.wait().unwrap().success());
    let counted = d.feed(&["exec", "-i", "box", "wc", "-c"], &vec![b'x'; many]).expect(0);
    assert_eq!(counted.trim(), many.to_string());

    let pid = d.field("box", ".State.Pid");
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let peak = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak < 90_000, "the station grew to {peak} kB");

    // Input that nobody reads, or only a part of, holds nothing up.
    d.feed(&["exec", "-i", "box", "true"], &vec![b'x'; 10_000_000]).expect(0);
    let four = d.feed(&["exec", "-i", "box", "head", "-c", "4"], &vec![b'x'; 10_000_000]);
    assert_eq!(four.expect(0), "xxxx");
    // Without -i there is none.
    assert_eq!(d.feed(&["exec", "box", "wc", "-c"], b"abc").expect(0).trim(), "0");
    // A reader that goes away ends the client, and the container goes on.
    let mut child = d.command(["exec", "box", "yes"]).stdout(Stdio::piped()).spawn().unwrap();
    child.stdout.take().unwrap().read_exact(&mut [0; 2]).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(141));
    d.bash("box", "true");
}

#[test]
fn commands_outlive_their_clients_and_clients_do_not_wait_for_daemons() {
    let d = Docker::new();
    d.start("box");
    // What stays in the background holds the streams, but not the client.
    let pid = d.bash("box", "sleep 3600 & echo $!");
    d.bash("box", &format!("kill -0 {}", pid.trim()));

    let script =
        "touch /tmp/begun; until [ -e /tmp/go ]; do sleep 0.02; done; echo late; touch /tmp/done";
    // (Not SIGINT: whoever starts the tests in the background of a script has it ignored.)
    for (how, name) in [("-KILL", "a"), ("-TERM", "b")] {
        let script = script.replace("/tmp/", &format!("/tmp/{name}-"));
        let mut child = d
            .command(["exec", "box", "bash", "-c", &script])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        d.until("box", &format!("[ -e /tmp/{name}-begun ]"));
        signal(&child, how);
        assert_eq!(child.wait().unwrap().code(), None, "the client died of its signal");
        d.bash("box", &format!("touch /tmp/{name}-go"));
        d.until("box", &format!("[ -e /tmp/{name}-done ]"));
    }
    d.docker_words(&["exec", "-d", "box", "bash", "-c", "touch /tmp/detached"]).expect(0);
    d.until("box", "[ -e /tmp/detached ]");
}

#[test]
fn many_commands_at_once_keep_their_streams_apart() {
    let d = Docker::new();
    d.start("box");
    std::thread::scope(|scope| {
        for i in 0..12 {
            let d = &d;
            scope.spawn(move || {
                for j in 0..4 {
                    let text = format!("{i}-{j}");
                    let script = "cat; echo -n e >&2; exit 3";
                    let ran = d.feed(&["exec", "-i", "box", "bash", "-c", script], text.as_bytes());
                    assert_eq!((ran.stderr.as_str(), ran.stdout.as_str()), ("e", text.as_str()));
                    assert_eq!(ran.code, Some(3));
                }
            });
        }
    });
}

#[test]
fn a_sweep_ends_a_container_with_init_and_no_other() {
    let d = Docker::new();
    let sweep = "kill -KILL -1 2>/dev/null; sleep 0.2; kill -KILL -1 2>/dev/null; true";
    d.start("plain");
    d.bash("plain", "touch /kept; sleep 3600 & disown");
    d.bash("plain", sweep);
    assert_eq!(
        d.bash("plain", "ls /kept; cat /proc/[0-9]*/comm | grep -c sleep || true"),
        "/kept\n0\n"
    );
    d.docker("stop plain").expect(0);
    assert_eq!(d.field("plain", ".State.ExitCode"), "137");

    d.docker(&format!("run -d --init --name init {IMAGE} sleep 2h")).expect(0);
    let swept = d.docker_words(&["exec", "init", "bash", "-c", sweep]);
    assert!([Some(0), Some(137), Some(125)].contains(&swept.code), "{:?}", swept.code);
    assert_eq!(d.docker("wait init").expect(0), "137\n");

    // It goes when its own time is over.
    d.docker(&format!("run -d --name timed {IMAGE} sleep 1s")).expect(0);
    let _swept = d.docker_words(&["exec", "timed", "bash", "-c", sweep]).code;
    assert_eq!(d.docker("wait timed").expect(0), "137\n");
}

#[test]
fn a_killed_station_shows_as_dead_and_is_cleaned_up() {
    let d = Docker::new();
    d.start("box");
    d.bash("box", "echo x > /file");
    let pid = d.field("box", ".State.Pid");
    assert!(Command::new("kill").args(["-9", &pid]).status().unwrap().success());
    wait_for("it shows as dead", || d.field("box", ".State.Status") == "dead");
    assert!(d.docker("ps -a").expect(0).contains("Dead"));
    d.docker("exec box true").fails(125, &["its process was killed", "rm -f"]);
    d.docker("stop box").expect(0);
    d.docker("rm -f box").expect(0);
    assert_eq!(d.docker("ps -aq").expect(0), "");
    assert_eq!(d.scratches(), 0);
    d.start("box");
}

#[test]
fn files_are_copied_by_dockers_rules() {
    let d = Docker::new();
    let s = &d.scratch;
    d.start("box");
    s.write("file", "content");
    s.write("tree/sub/x", "x");
    std::os::unix::fs::symlink("sub/x", s.path("tree/link")).unwrap();
    d.bash("box", "mkdir /in; ln -s /in/target /in/link; echo old > /in/target");
    for line in [
        "cp file box:/in",
        "cp file box:/in/named",
        "cp file box:in/relative",
        "cp file box:/in/link",
        "cp tree box:/in/new",
        "cp tree box:/in",
        "cp tree/. box:/in/contents",
    ] {
        d.docker(line).expect(0);
    }
    let listed = d.bash(
        "box",
        "cd /in; find . | sort; cat file named relative target; readlink new/link; stat -c %U file",
    );
    let expected = "\
.\n./contents\n./contents/link\n./contents/sub\n./contents/sub/x\n./file\n./link\n./named\n./new\n./new/link\n./new/sub\n\
./new/sub/x\n./relative\n./target\n./tree\n./tree/link\n./tree/sub\n./tree/sub/x\ncontentcontentcontentcontentsub/x\nroot\n";
    assert_eq!(listed, expected);
    for (line, says) in [
        ("cp file box:/no/dir", "/no"),
        ("cp file box:/no/", "no such directory"),
        ("cp tree box:/in/file", "cannot copy a directory to a file"),
        ("cp box:/nope out", "Could not find the file /nope"),
        ("cp absent box:/in", "absent"),
    ] {
        d.docker(line).fails(1, &[says]);
    }

    std::fs::create_dir(s.path("out")).unwrap();
    std::fs::write(s.path("there"), "longer than what comes").unwrap();
    for line in [
        "cp box:/in/file out",
        "cp box:/in/file there",
        "cp box:/in/tree out",
        "cp box:/in/tree out/named",
        "cp box:/in/tree/. out/contents",
        "cp box:/in/link out/",
        "cp -L box:/in/link out/followed",
    ] {
        d.docker(line).expect(0);
    }
    assert_eq!(s.read("out/file"), "content");
    assert_eq!(s.read("there"), "content");
    for dir in ["tree", "named", "contents"] {
        assert_eq!(s.read(&format!("out/{dir}/sub/x")), "x");
        assert_eq!(s.read(&format!("out/{dir}/link")), "x");
    }
    assert!(s.path("out/link").symlink_metadata().unwrap().is_symlink());
    assert_eq!(s.read("out/followed"), "content");

    // As tar streams, both ways.
    let tar = d.command(["cp", "box:/in/tree", "-"]).output().unwrap();
    assert!(tar.status.success());
    let mut names: Vec<String> = tar::Archive::new(tar.stdout.as_slice())
        .entries()
        .unwrap()
        .map(|e| e.unwrap().path().unwrap().display().to_string())
        .collect();
    names.sort();
    assert_eq!(names, ["tree", "tree/link", "tree/sub", "tree/sub/x"]);
    d.bash("box", "mkdir /again");
    d.feed(&["cp", "-", "box:/again"], &tar.stdout).expect(0);
    assert_eq!(d.bash("box", "cat /again/tree/link"), "x");

    // What has ended can still be looked at.
    d.docker("stop box").expect(0);
    d.docker("cp box:/in/file late").expect(0);
    assert_eq!(s.read("late"), "content");
    d.docker("cp file box:/in/late").fails(1, &["is not running"]);
}

#[test]
fn copying_never_reaches_the_host_by_links_of_the_container() {
    let d = Docker::new();
    let s = &d.scratch;
    d.start("box");
    let outside = s.path("outside");
    std::fs::create_dir(&outside).unwrap();
    s.write("outside/secret", "the host's");
    s.write("tree/a", "1");
    let host = outside.display();
    d.bash("box", &format!("mkdir /w; ln -s {host} /w/tree; ln -s {host}/secret /w/secret; ln -s / /w/root; ln -s ../../../../../.. /w/up"));
    d.docker("cp tree/. box:/w/tree").fails(1, &["/w/tree"]);
    d.docker("cp box:/w/tree/secret got").fails(1, &["Could not find the file"]);
    d.docker("cp -L box:/w/secret got").fails(1, &["Could not find the file"]);
    d.docker(&format!("cp box:/w/up{host}/secret got")).fails(1, &["Could not find the file"]);
    d.docker("cp tree/a box:/w/up/etc/reenact-was-here").expect(0);
    assert!(!std::path::Path::new("/etc/reenact-was-here").exists());
    assert_eq!(d.bash("box", "cat /etc/reenact-was-here"), "1");
    // A stream with hostile names stays below its destination, in the container.
    let mut tar = tar::Builder::new(Vec::new());
    for name in ["../../escaped", "/absolute", "ok"] {
        let mut header = tar::Header::new_gnu();
        let field = &mut header.as_old_mut().name;
        field[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(1);
        header.set_mode(0o644);
        header.set_cksum();
        tar.append(&header, &b"x"[..]).unwrap();
    }
    d.bash("box", "mkdir -p /deep/er");
    let ran = d.feed(&["cp", "-", "box:/deep/er"], &tar.into_inner().unwrap());
    assert!(ran.stderr.contains("left out: ../../escaped"), "{}", ran.stderr);
    ran.expect(0);
    assert_eq!(
        d.bash("box", "find /deep | sort; ls /escaped /absolute 2>/dev/null || true"),
        "/deep\n/deep/er\n/deep/er/absolute\n/deep/er/ok\n"
    );
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 1);
    assert_eq!(s.read("outside/secret"), "the host's");
}

#[test]
fn a_container_becomes_an_image() {
    let d = Docker::new();
    d.start("box");
    d.bash(
        "box",
        "echo made > /made; rm /etc/motd 2>/dev/null; rm -rf /opt; mkdir /opt; touch /opt/new",
    );
    let words = [
        "commit",
        "-m",
        "text",
        "-c",
        "CMD [\"cat\", \"/made\"]",
        "-c",
        "ENV K=v",
        "box",
        "org/new:v1",
    ];
    let id = d.docker_words(&words).expect(0);
    assert!(id.starts_with("sha256:"), "{id}");
    assert_eq!(d.docker("run --rm org/new:v1").expect(0), "made\n");
    let again = d.docker_words(&["run", "--rm", "org/new:v1", "bash", "-c", "echo $K; ls /opt"]);
    assert_eq!(again.expect(0), "v\nnew\n");
    let listed = d.docker_words(&["images", "--format", "{{.Repository}}:{{.Tag}}"]).expect(0);
    assert!(listed.lines().any(|l| l == "org/new:v1"), "{listed}");
    let json = d.docker("images --format json org/new").expect(0);
    let json: Value = serde_json::from_str(json.trim()).unwrap();
    assert_eq!(json["Tag"], "v1");
    let short = d.docker("images -q org/new:v1").expect(0);
    assert!(id.contains(short.trim()));
    let inspected: Value =
        serde_json::from_str(&d.docker("inspect --type image org/new:v1").expect(0)).unwrap();
    assert_eq!(inspected[0]["Id"].as_str(), Some(id.trim()));
    d.docker("tag org/new:v1 other:2").expect(0);
    d.docker("rmi org/new:v1").expect(0);
    assert_eq!(d.docker("run --rm other:2").expect(0), "made\n");
    d.docker("rmi -f other:2").expect(0);
    d.docker("run --rm --pull never other:2").fails(125, &["No such image: other:2"]);
}

#[test]
fn an_attached_run_passes_streams_and_signals_on() {
    let d = Docker::new();
    let words = ["run", "--rm", "-i", IMAGE, "bash", "-c", "cat; echo err >&2; exit 4"];
    let ran = d.feed(&words, b"through");
    assert_eq!(ran.stderr, "err\n");
    assert_eq!(ran.expect(4), "through");
    d.docker(&format!("run -d --rm --name brief {IMAGE} sleep 1h")).expect(0);
    d.docker("stop brief").expect(0);
    assert_eq!(d.docker("ps -aq").expect(0), "");
    assert_eq!(d.scratches(), 0);

    let script = "trap 'echo int; exit 5' INT; trap 'echo term; exit 6' TERM; echo ready; while :; do sleep 0.02; done";
    for (how, says, code) in [("-INT", "int", 5), ("-TERM", "term", 6)] {
        let mut child = d
            .command(["run", "--name", says, IMAGE, "bash", "-c", script])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = child.stdout.take().unwrap();
        out.read_exact(&mut [0; 6]).unwrap();
        signal(&child, how);
        let mut rest = String::new();
        out.read_to_string(&mut rest).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(code));
        assert_eq!(rest.trim(), says);
        assert_eq!(d.docker(&format!("logs {says}")).expect(0), format!("ready\n{says}\n"));
    }
    d.docker_words(&[
        "run",
        "-d",
        "--name",
        "deaf",
        IMAGE,
        "bash",
        "-c",
        "trap '' TERM; echo up; while :; do sleep 0.02; done",
    ])
    .expect(0);
    wait_for("it is up", || d.docker("logs deaf").expect(0) == "up\n");
    let waiting = d.command(["wait", "deaf"]).stdout(Stdio::piped()).spawn().unwrap();
    d.docker("kill -s TERM deaf").expect(0);
    assert_eq!(d.field("deaf", ".State.Running"), "true");
    d.docker("stop -t 0 deaf").expect(0);
    let waited = Ran::from(waiting.wait_with_output().unwrap());
    assert_eq!(waited.expect(0), "137\n");
    d.docker("kill deaf").fails(1, &["is not running"]);
}

#[test]
fn rights_and_binds_are_as_asked() {
    let d = Docker::new();
    let s = &d.scratch;
    s.write("bound/file", "bound");
    let bind = format!("{}:/bound:ro", s.path("bound").display());
    let words = [
        "run",
        "-d",
        "--name",
        "box",
        "-v",
        &bind,
        "--cap-drop",
        "ALL",
        "--cap-add",
        "CHOWN",
        "--security-opt",
        "no-new-privileges",
        "--user",
        "0",
        IMAGE,
        "sleep",
        "1h",
    ];
    d.docker_words(&words).expect(0);
    let said = d.bash("box", "cat /bound/file; touch /bound/x 2>/dev/null || echo no; grep -E 'CapBnd|NoNewPrivs' /proc/self/status");
    assert!(said.starts_with("boundno\n"), "{said}");
    assert!(said.contains("NoNewPrivs:\t1"), "{said}");
    assert!(said.contains("CapBnd:\t0000000000000001"), "{said}");
    d.docker(&format!("run --cap-add SYS_ADMIN {IMAGE} true")).fails(125, &["--cap-add SYS_ADMIN"]);
    assert!(!s.path("bound/x").exists());
}

#[test]
fn a_second_copy_does_not_write_through_a_link_that_the_first_one_left() {
    let d = Docker::new();
    let s = &d.scratch;
    d.start("box");
    s.write("victim/file", "the host's");
    std::fs::create_dir(s.path("victim/.ssh")).unwrap();
    std::fs::create_dir(s.path("out")).unwrap();
    let victim = s.path("victim");
    let victim = victim.display();
    d.bash("box", &format!("mkdir /x; ln -s {victim}/file /x/log; ln -s {victim}/.ssh /x/d"));
    for name in ["log", "d"] {
        d.docker(&format!("cp box:/x/{name} out/")).expect(0);
        assert!(s.path(&format!("out/{name}")).is_symlink());
        // Named as a whole, it is told and not followed.
        d.docker(&format!("cp box:/etc/passwd out/{name}")).fails(1, &["a symbolic link"]);
    }
    d.bash("box", "rm /x/*; echo new > /x/log; mkdir /x/d; echo key > /x/d/authorized_keys");
    d.docker("cp box:/x/log out/").expect(0);
    d.docker("cp box:/x/d out").expect(0);
    assert_eq!(s.read("victim/file"), "the host's");
    assert_eq!(std::fs::read_dir(s.path("victim/.ssh")).unwrap().count(), 0);
    assert_eq!(
        (s.read("out/log"), s.read("out/d/authorized_keys")),
        ("new\n".into(), "key\n".into())
    );
}

#[test]
fn copying_in_does_not_reach_the_kernel_by_links() {
    let d = Docker::new();
    d.start("box");
    d.scratch.write("put", "7\n");
    let before = d.bash("box", "mkdir /w; ln -s /proc/1/oom_score_adj /w/o; ln -s /proc/1 /w/p; ln -s /tmp/t /w/t; touch /tmp/t; cat /proc/1/oom_score_adj");
    for to in ["/w/o", "/w/p/oom_score_adj", "/proc/1/oom_score_adj", "/w/p", "/proc"] {
        d.docker(&format!("cp put box:{to}")).fails(1, &["own files"]);
    }
    // Links to the container's own files are followed as before, and its tmpfs are its own.
    d.docker("cp put box:/w/t").expect(0);
    d.docker("cp put box:/dev/shm/put").expect(0);
    let after = d.bash("box", "cat /proc/1/oom_score_adj /tmp/t /dev/shm/put; ls -d /w/t");
    assert_eq!(after, format!("{before}7\n7\n/w/t\n"));
    d.docker(&format!("run --rm -w /proc/made {IMAGE} true")).fails(125, &["/proc/made"]);
}

#[test]
fn holes_stay_holes_and_too_much_is_refused() {
    use std::os::unix::fs::MetadataExt;
    let d = Docker::new();
    let s = &d.scratch;
    d.start("box");
    d.bash("box", "mkdir /f; truncate -s 300M /f/sparse; echo end >> /f/sparse; echo x > /f/dense");
    for to in ["running", "ended"] {
        d.docker(&format!("cp box:/f {to}")).expect(0);
        let meta = s.path(&format!("{to}/sparse")).metadata().unwrap();
        assert_eq!(meta.len(), (300 << 20) + 4);
        assert!(meta.blocks() * 512 < 16 << 20, "{} blocks", meta.blocks());
        assert!(std::fs::read(s.path(&format!("{to}/sparse"))).unwrap().ends_with(b"end\n"));
        assert_eq!(s.read(&format!("{to}/dense")), "x\n");
        if to == "running" {
            d.docker("commit box sparse:1").expect(0);
            d.docker("stop box").expect(0);
        }
    }
    let there = d.docker_words(&[
        "run",
        "--rm",
        "sparse:1",
        "bash",
        "-c",
        "stat -c '%s %b' /f/sparse; tail -c 4 /f/sparse",
    ]);
    let there = there.expect(0);
    let (line, end) = there.split_once('\n').unwrap();
    let (size, blocks) = line.split_once(' ').unwrap();
    assert_eq!((size, end), ("314572804", "end\n"));
    assert!(blocks.parse::<u64>().unwrap() * 512 < 16 << 20, "{line}");

    // Into a container too.
    let made = s.write("in/sparse", "begin");
    std::fs::File::options().write(true).open(&made).unwrap().set_len(300 << 20).unwrap();
    d.start("huge");
    d.docker("cp in huge:/in").expect(0);
    d.docker("cp in/sparse huge:/named").expect(0);
    for path in ["/in/sparse", "/named"] {
        let found = d.bash("huge", &format!("stat -c '%s %b' {path}; head -c 5 {path}"));
        let (line, begin) = found.split_once('\n').unwrap();
        let (size, blocks) = line.split_once(' ').unwrap();
        assert_eq!((size, begin), ("314572800", "begin"));
        assert!(blocks.parse::<u64>().unwrap() * 512 < 16 << 20, "{path}: {line}");
    }
    std::fs::File::options().write(true).open(&made).unwrap().set_len(1 << 40).unwrap();
    d.docker("cp in/sparse huge:/named").fails(1, &["64 GiB"]);

    // What would be a petabyte is told at once.
    d.bash("huge", "truncate -s 1T /huge");
    d.docker("cp huge:/huge out").fails(1, &["64 GiB"]);
    d.docker("commit huge huge:1").fails(1, &["larger than is allowed", "holes"]);
    d.docker("run --rm --pull never huge:1 true").fails(125, &["No such image"]);
}

#[test]
fn a_file_that_looks_like_a_removal_is_not_committed() {
    let d = Docker::new();
    d.start("box");
    let same_time = "touch -c -d @0 / /.wh.opt";
    d.bash("box", &format!("touch /.wh.opt; chmod 0 /.wh.opt; {same_time}"));
    d.docker("commit box one:1").fails(1, &[".wh.opt", "mark removals"]);
    d.bash("box", &format!("rm -r /.wh.opt; rm -rf /opt; {same_time}"));
    d.docker("commit box two:1").expect(0);
    let listed = d.docker_words(&[
        "run",
        "--rm",
        "two:1",
        "bash",
        "-c",
        "ls -d /opt 2>&1 | wc -l; ls -A / | grep -c wh || true",
    ]);
    assert_eq!(listed.expect(0), "1\n0\n");
}

#[test]
fn what_cannot_be_started_is_told_also_to_an_attached_client() {
    let d = Docker::new();
    let s = &d.scratch;
    d.start("box");
    s.write("long.env", &format!("A={}\n", "x".repeat(200 << 10)));
    let many: String = (0..100).map(|i| format!("V{i}={}\n", "x".repeat(100 << 10))).collect();
    s.write("many.env", &many);
    let nul = ["commit", "-c", "CMD [\"echo\", \"a\\u0000b\"]", "box", "nul:1"];
    d.docker_words(&nul).expect(0);
    for (line, says) in [
        (format!("run --rm --env-file long.env {IMAGE} true"), "too long"),
        (format!("run --rm --env-file many.env {IMAGE} true"), "too long"),
        ("run --rm nul:1".to_owned(), "NUL"),
        (format!("run --rm -u 4294967295 {IMAGE} true"), "0-2147483647"),
        (format!("run --rm -u 0:2147483648 {IMAGE} true"), "0-2147483647"),
        ("exec --env-file long.env box true".to_owned(), "too long"),
        ("exec -u 4294967295 box true".to_owned(), "0-2147483647"),
    ] {
        d.docker(&line).fails(126, &[says]);
    }
    d.bash("box", "echo evil:x:4294967295:4294967295::/:/bin/sh >> /etc/passwd");
    d.docker("exec -u evil box true").fails(126, &["user 4294967295", "0-2147483647"]);
    assert_eq!(d.docker("ps -aq").expect(0).lines().count(), 1);
}

#[test]
fn binds_never_show_sockets_and_images() {
    let d = Docker::new();
    let (state, store) = (d.state(), d.store.path().canonicalize().unwrap());
    d.start("box");
    let above = d.scratch.root().canonicalize().unwrap();
    for from in [&state, &above, &store, &store.join("layers"), &PathBuf::from("/")] {
        let bind = format!("{}:/in:ro", from.display());
        let ran = d.docker_words(&["run", "--rm", "-v", &bind, IMAGE, "true"]);
        ran.fails(125, &["refused, the container would see the directory of"]);
        let mount = format!("type=bind,source={},target=/in,readonly", from.display());
        d.docker_words(&["run", "--rm", "--mount", &mount, IMAGE, "true"]).fails(125, &["refused"]);
    }
}

/// Process 1 of a container, as the host numbers it: below its station, with 1 as its last number.
fn pid_one(station: &str) -> String {
    let mut todo = vec![station.to_owned()];
    while let Some(pid) = todo.pop() {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let numbers = status.lines().find_map(|l| l.strip_prefix("NSpid:")).unwrap_or_default();
        if numbers.split_whitespace().count() > 1 && numbers.split_whitespace().last() == Some("1")
        {
            return pid;
        }
        let threads =
            std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        for thread in threads {
            let children = std::fs::read_to_string(thread.path().join("children"));
            todo.extend(children.unwrap_or_default().split_whitespace().map(str::to_owned));
        }
    }
    panic!("no process 1 below {station}");
}

#[test]
fn a_container_whose_process_1_does_nothing_is_stopped_all_the_same() {
    let d = Docker::new();
    d.start("box");
    let mut busy = d.command(["exec", "box", "sleep", "1h"]).spawn().unwrap();
    d.until("box", "grep -q sleep /proc/[0-9]*/comm");
    let station = d.field("box", ".State.Pid");
    let one = pid_one(&station);
    let stopped = Command::new("kill").args(["-STOP", &one]).status().unwrap();
    assert!(stopped.success());
    let begun = Instant::now();
    d.docker("stop -t 1 box").expect(0);
    // It takes three seconds. A command's own last words, which were waited for before, are a minute.
    assert!(begun.elapsed() < Duration::from_secs(55), "{:?}", begun.elapsed());
    assert_eq!(busy.wait().unwrap().code(), Some(125), "no program's exit code");
    wait_for("process 1 is gone", || !std::path::Path::new(&format!("/proc/{one}")).exists());
    assert_eq!(d.field("box", ".State.Status"), "exited");
    d.docker("rm box").expect(0);
    assert_eq!(d.scratches(), 0);
}

/// A registry on loopback with one image, of one layer: enough of its interface to be pulled from.
struct SmallRegistry {
    port: u16,
    over: std::sync::Arc<std::sync::atomic::AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl SmallRegistry {
    fn start() -> Self {
        use reenact_image::Digest;
        let layer = std::fs::read(debian_root(SMALL_PACKAGES).unwrap()).unwrap();
        let config = format!(
            r#"{{"os":"linux","architecture":"amd64","config":{{"Env":["FROM=registry"],"Cmd":["bash","-c","echo $FROM"]}},"rootfs":{{"type":"layers","diff_ids":["{}"]}}}}"#,
            Digest::of(&layer)
        );
        let blob = |b: &[u8]| format!(r#"{{"digest":"{}","size":{}}}"#, Digest::of(b), b.len());
        let manifest = format!(
            r#"{{"schemaVersion":2,"config":{},"layers":[{}]}}"#,
            blob(config.as_bytes()),
            blob(&layer)
        );
        let files: std::collections::BTreeMap<String, Vec<u8>> = [
            ("/v2/org/small/manifests/v1".to_owned(), manifest.into_bytes()),
            (format!("/v2/org/small/blobs/{}", Digest::of(config.as_bytes())), config.into_bytes()),
            (format!("/v2/org/small/blobs/{}", Digest::of(&layer)), layer),
        ]
        .into();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let over = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let end = std::sync::Arc::clone(&over);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if end.load(std::sync::atomic::Ordering::SeqCst) {
                    break;
                }
                // One after the other: a client that has gone away is its own business.
                let _served = Self::serve(stream, &files);
            }
        });
        Self { port, over, thread: Some(thread) }
    }

    fn serve(
        mut stream: std::net::TcpStream,
        files: &std::collections::BTreeMap<String, Vec<u8>>,
    ) -> std::io::Result<()> {
        use std::io::BufRead;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let mut lines = std::io::BufReader::new(stream.try_clone()?).lines();
        let first = lines.next().unwrap_or_else(|| Ok(String::new()))?;
        lines.map_while(Result::ok).take_while(|l| !l.is_empty()).for_each(drop);
        let found = files.get(first.split(' ').nth(1).unwrap_or_default());
        let (status, body) = found.map_or((404, &b"{}"[..]), |b| (200, b.as_slice()));
        let head = format!(
            "HTTP/1.1 {status} x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)
    }
}

impl Drop for SmallRegistry {
    fn drop(&mut self) {
        self.over.store(true, std::sync::atomic::Ordering::SeqCst);
        drop(std::net::TcpStream::connect(("127.0.0.1", self.port)));
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

#[test]
fn images_of_a_registry_on_this_machine_are_pulled_and_run() {
    let d = Docker::new();
    let registry = SmallRegistry::start();
    let name = format!("127.0.0.1:{}/org/small:v1", registry.port);
    // What is missing is got by `run`, and told.
    d.docker(&format!("run --rm --pull never {name}")).fails(125, &["No such image"]);
    let ran = d.docker(&format!("run --rm {name}"));
    assert!(ran.stderr.contains("Unable to find image"), "{}", ran.stderr);
    assert_eq!(ran.expect(0), "registry\n");
    // And now it is there, also when the registry is not.
    d.docker(&format!("rmi {name}")).expect(0);
    assert_eq!(d.docker(&format!("pull -q {name}")).expect(0).trim(), name);
    drop(registry);
    assert_eq!(d.docker(&format!("run --rm {name}")).expect(0), "registry\n");
    let again = d.docker(&format!("run --rm --pull always {name}"));
    assert_eq!(again.code, Some(125), "{}", again.stderr);
}

#[test]
fn an_unprivileged_user_has_containers_too() {
    let root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
    if !root {
        // Every other test of this file is this one then.
        return;
    }
    use std::os::unix::fs::PermissionsExt;
    let s = Scratch::new();
    let place = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let open = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    open(place.path(), 0o777);
    open(s.root(), 0o777);
    let binary = s.path("reenact");
    std::fs::copy(REENACT, &binary).unwrap();
    open(&binary, 0o755);
    let image = s.path("root.tar");
    std::fs::copy(debian_root(SMALL_PACKAGES).unwrap(), &image).unwrap();
    open(&image, 0o644);
    let run = |args: &[&str]| {
        let ids = [
            "--reuid",
            "65534",
            "--regid",
            "65534",
            "--clear-groups",
            "--no-new-privs",
            "--inh-caps=-all",
        ];
        let output = Command::new("setpriv")
            .args(ids)
            .arg(&binary)
            .args(args)
            .current_dir(s.root())
            .env("HOME", s.root())
            .env("REENACT_IMAGES", place.path().join("images"))
            .env("REENACT_DOCKER_STATE", s.path("state"))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        Ran::from(output)
    };
    run(&["image", "import", image.to_str().unwrap(), "--name", IMAGE]).expect(0);
    let started =
        run(&["docker", "run", "-d", "--name", "box", "--user", "agent", IMAGE, "sleep", "1h"]);
    assert!(started.stderr.contains("WARNING: --user agent"), "{}", started.stderr);
    started.expect(0);
    assert_eq!(
        run(&["docker", "exec", "box", "bash", "-c", "echo x > /etc/x; id -u"]).expect(0),
        "0\n"
    );
    s.write("file", "y");
    run(&["docker", "cp", "file", "box:/root/file"]).expect(0);
    run(&["docker", "commit", "box", "new:1"]).expect(0);
    assert_eq!(
        run(&["docker", "run", "--rm", "new:1", "cat", "/etc/x", "/root/file"]).expect(0),
        "x\ny"
    );
    run(&["docker", "rm", "-f", "box"]).expect(0);
}

#[test]
fn names_are_filtered_as_they_are_written() {
    let d = Docker::new();
    for name in ["box", "box2", "mybox"] {
        d.docker(&format!("run --name {name} {IMAGE} true")).expect(0);
    }
    let named = |filters: &str| {
        let all = d.docker(&format!("ps -a {filters} --format {{{{.Names}}}}")).expect(0);
        let mut names: Vec<String> = all.lines().map(str::to_owned).collect();
        names.sort();
        names.join(" ")
    };
    assert_eq!(named("-f name=^box$"), "box");
    assert_eq!(named("-f name=^/box$ -f name=my"), "box mybox");
    assert_eq!(named("-f name=box"), "box box2 mybox");
    assert_eq!(named("-f name=box$ -f status=running"), "");
}

#[test]
fn several_may_remove_the_same_container() {
    let d = Docker::new();
    for _ in 0..3 {
        d.start("box");
        d.bash("box", "mkdir /d; for i in {1..300}; do echo x > /d/$i; done");
        let all: Vec<Child> = (0..4)
            .map(|_| {
                let mut command = d.command(["rm", "-f", "box"]);
                command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
            })
            .collect();
        for one in all {
            Ran::from(one.wait_with_output().unwrap()).expect(0);
        }
        assert_eq!(d.docker("ps -aq").expect(0), "");
        assert_eq!(d.scratches(), 0);
    }
}

#[test]
fn a_file_names_the_container_that_runs() {
    let d = Docker::new();
    let run = format!("run -d --cidfile id {IMAGE} sleep 2h");
    let id = d.docker(&run).expect(0);
    assert_eq!(d.scratch.read("id"), id.trim());
    d.docker(&run).fails(125, &["container ID file found", "delete id"]);
    // One of no container does not stay.
    d.docker("run --cidfile other --pull never nosuch:1 true").fails(125, &["No such image"]);
    d.docker(&format!("run --cidfile other --user stranger {IMAGE} true")).fails(126, &[]);
    assert_eq!(d.docker("ps -q").expect(0).lines().count(), 1);
}

#[test]
fn what_a_copy_reads_stays_until_it_has_been_read() {
    let d = Docker::new();
    d.start("box");
    d.docker("stop -t 0 box").expect(0);
    let whole = d.command(["cp", "box:/usr", "-"]).output().unwrap();
    assert!(whole.status.success() && whole.stdout.len() > 4 << 20, "{}", whole.stdout.len());

    let mut command = d.command(["cp", "box:/usr", "-"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut read = vec![0; 1];
    stdout.read_exact(&mut read).unwrap();
    // It has begun, and waits for us. The image's layer is now that process's alone.
    let gc = || {
        let mut command = d.scratch.command();
        command.env("REENACT_IMAGES", d.store.path()).args(["image", "gc"]);
        Ran::from(command.output().unwrap()).expect(0)
    };
    d.docker(&format!("rmi {IMAGE}")).expect(0);
    gc();
    stdout.read_to_end(&mut read).unwrap();
    let ran = Ran::from(child.wait_with_output().unwrap());
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    assert!(read == whole.stdout, "{} bytes, not {}", read.len(), whole.stdout.len());
    // Nobody has it any more: nothing is copied, and that is told.
    gc();
    d.docker("cp box:/usr out").fails(1, &[IMAGE, "get it again"]);
}

#[test]
fn the_store_s_limit_holds_for_containers_too() {
    let d = Docker::new();
    let registry = SmallRegistry::start();
    let name = format!("127.0.0.1:{}/org/small:v1", registry.port);
    let limited = |words: &[&str], limit: &str| {
        Ran::from(d.command(words).env("REENACT_IMAGES_LIMIT", limit).output().unwrap())
    };
    let there = |name: &str| !d.docker(&format!("images -q {name}")).expect(0).is_empty();
    d.start("box");
    d.bash("box", "head -c 100000 /dev/urandom > /own");
    d.docker("commit box one:1").expect(0);
    for words in [&["pull", &name][..], &["run", &name], &["commit", "box", "no:1"]] {
        limited(words, "much").fails(125, &["REENACT_IMAGES_LIMIT", "much"]);
    }
    assert!(!there(&name) && !there("no:1"));
    let pulled = limited(&["pull", &name], "20G");
    assert_eq!(pulled.stderr, "");
    pulled.expect(0);
    assert!(there("one:1"));
    // What made room before, and what it made room for; what a container uses stays.
    d.bash("box", "head -c 100000 /dev/urandom > /own");
    let told = |ran: Ran, gone: &str| {
        assert!(ran.stderr.contains(gone) && ran.stderr.contains("was removed"), "{}", ran.stderr);
        assert!(!there(gone) && there(IMAGE) && there(&name));
        ran.expect(0)
    };
    told(limited(&["commit", "box", "two:1"], "1"), "one:1");
    told(limited(&["pull", &name], "1"), "two:1");
    d.docker("commit box three:1").expect(0);
    d.docker(&format!("rmi {name}")).expect(0);
    assert_eq!(told(limited(&["run", "--rm", &name], "1"), "three:1"), "registry\n");
}

#[test]
fn the_store_may_be_named_from_where_the_caller_is() {
    let d = Docker::new();
    let parent = d.store.path().parent().unwrap();
    let name = d.store.path().file_name().unwrap();
    let mut command = d.command(["run", "--rm", IMAGE, "bash", "-c", "echo here"]);
    command.current_dir(parent).env("REENACT_IMAGES", name);
    assert_eq!(Ran::from(command.output().unwrap()).expect(0), "here\n");
}
