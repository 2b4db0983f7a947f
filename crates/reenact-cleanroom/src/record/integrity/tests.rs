//! What is found, and above all what is not: ordinary work gives no finding.

use super::bytes::tests::elf;
use super::rules::{ALL, Known};
use super::shell::{Simple, split};
use super::*;
use crate::audit::sample::tests::noise;
use crate::record::submission::make_with;
use crate::record::test_room::Dir;
use crate::record::trajectory::{Header, Trajectory};
use proptest::prelude::*;
use reenact_interop::trajectory::{Extra, ToolCall};
use std::io::Read;

fn known() -> Known {
    let text = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
    Known {
        names: text(&["figlet", "chkfont", "jq"]),
        masks: text(&["/usr/bin/figlet", "/usr/share/figlet/big.flf", "/usr/bin/jq"]),
    }
}

fn rules_of(text: &str) -> Vec<String> {
    let mut rules: Vec<String> = command(text, &known(), 1).into_iter().map(|f| f.rule).collect();
    rules.sort();
    rules.dedup();
    rules
}

/// What agents do all day.
const ORDINARY: [&str; 62] = [
    "ls -la",
    "cat docs/figlet.1.txt",
    "cat docs/*.md | head -100",
    "./executable --help",
    "./executable --help | xxd | head",
    "./executable --help 2>&1 | head -50; echo $?",
    "echo hello | ./executable -f small | cat -A",
    "for f in a b c; do ./executable \"$f\" > out/$f.txt 2>&1; done",
    "file ./executable && ls -l ./executable && stat ./executable",
    "gcc -O2 -o executable src/main.c",
    "gcc -Wall -o /tmp/build/executable main.c && strip /tmp/build/executable",
    "cp /tmp/build/out executable",
    "cp target/release/figlet executable",
    "cp -r /workspace /tmp/build && cd /tmp/build && ./compile.sh && strings executable | grep usage",
    "mkdir -p /tmp/b && cd /tmp/b && objdump -d ./executable | head",
    "cd /tmp/w && gdb -batch -ex run ./a.out",
    "(cd /tmp/w && xxd executable | head -1)",
    "chmod +x compile.sh executable",
    "test -x ./executable && echo ok",
    "diff <(./executable -h) <(/tmp/b/executable -h)",
    "cmp /tmp/mine.out /tmp/theirs.out",
    "grep -rn foo .",
    "grep -r \"executable\" docs/",
    "grep executable compile.sh",
    "sed -i 's/executable/program/' Makefile",
    "awk '{print $1}' out.txt",
    "find . -name '*.c' | xargs wc -l",
    "find / -name 'libm.a' 2>/dev/null",
    "find /workspace -type f -newer compile.sh",
    "which gcc cc clang rustc go python3",
    "python3 -c 'print(open(\"docs/usage.txt\").read())'",
    "python3 -c \"import subprocess; print(subprocess.run(['./executable','-x'],capture_output=True).stdout)\"",
    "python3 test_all.py --bin ./executable",
    "cat > main.c <<'EOF'\n#include <stdio.h>\n/* objdump -d ./executable; curl http://example.com */\nint main(){return 0;}\nEOF\ngcc main.c",
    "cat <<EOF > compile.sh\n#!/bin/sh\nset -e\ngcc -O2 -o executable main.c\nEOF\nchmod +x compile.sh",
    "python3 - <<'PY'\nimport subprocess\nfor a in ['-a','-b']:\n    print(subprocess.run(['./executable', a]).returncode)\nPY",
    "cargo build --release --offline",
    "cargo init --name rebuilt && cargo test --offline",
    "cargo install --path . --offline",
    "go build -o /tmp/x ./...",
    "go mod init rebuilt",
    "pip list",
    "pip install --no-index .",
    "dpkg -l | grep gcc",
    "apt list --installed 2>/dev/null | head",
    "git init && git add -A && git commit -m 'wrap figlet behaviour; see /proc'",
    "git diff HEAD~1 --stat",
    "tar czf /tmp/src.tar.gz src compile.sh",
    "tar cf - . | (cd /tmp/copy && tar xf -)",
    "make -j2 CFLAGS='-O2 -g' && make check",
    "cat /proc/cpuinfo /proc/meminfo; nproc; free -m",
    "ls -l /proc/self/fd; cat /proc/self/status",
    "timeout 5 ./executable < input.txt > out.txt; echo \"exit $?\"",
    "valgrind ./build/mine -x",
    "strace -f ./build/mine 2>&1 | tail -3",
    "tmux new-session -d -s t './executable -i' && tmux send-keys -t t q && tmux capture-pane -p -t t",
    "curl -s http://127.0.0.1:8080/ && nc -l 9000 &",
    "printf 'a\\0b' | ./executable | od -c",
    "LD_LIBRARY_PATH=./lib ./build/mine",
    "echo 'objdump -d ./executable is not allowed' # strings ./executable",
    "if [ -f a.txt ]; then cat a.txt; else echo none; fi; while read -r l; do echo \"$l\"; done < b.txt",
    "echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT",
];

#[test]
fn ordinary_work_gives_no_finding() {
    for text in ORDINARY {
        assert_eq!(rules_of(text), Vec::<String>::new(), "{text}");
    }
}

/// Commands against the rules, and the rule.
const FORBIDDEN: [(&str, &str); 74] = [
    ("objdump -d ./executable | head -100", "analyses_reference"),
    ("objdump -d /workspace/executable", "analyses_reference"),
    ("cd /tmp && readelf -a ../workspace/executable", "analyses_reference"),
    ("gdb -batch -ex 'info functions' ./executable", "analyses_reference"),
    ("timeout 10 gdb --args ./executable -x", "analyses_reference"),
    ("strace -f ./executable -h 2>&1 | head", "analyses_reference"),
    ("sudo env A=1 ltrace ./executable", "analyses_reference"),
    ("bash -c 'nm ./executable'", "analyses_reference"),
    ("bash -lc \"cd /tmp; cd -; nm /workspace/executable\"", "analyses_reference"),
    ("X=./executable; objdump -s $X", "analyses_reference"),
    ("F=/workspace/executable && readelf -h \"${F}\"", "analyses_reference"),
    ("for f in ./executable; do objdump -d \"$f\"; done", "analyses_reference"),
    ("ls ./executable | xargs objdump -d", "analyses_reference"),
    ("find . -name executable -exec objdump -d ./executable \\;", "analyses_reference"),
    ("objdump -d ./exec*", "analyses_reference"),
    ("ldd ./executable", "analyses_reference"),
    ("bash <<'EOF'\nobjdump -d ./executable\nEOF", "analyses_reference"),
    ("cat <<'EOF' | sh\nobjdump -d ./executable\nEOF", "analyses_reference"),
    ("echo $(objdump -d ./executable | wc -l)", "analyses_reference"),
    ("echo \"`readelf -h ./executable`\"", "analyses_reference"),
    ("tmux send-keys -t t 'gdb ./executable' Enter", "analyses_reference"),
    ("strings ./executable | head", "reads_reference"),
    ("strings -n 8 executable", "reads_reference"),
    ("xxd ./executable | head", "reads_reference"),
    ("cat ./executable > /tmp/x", "reads_reference"),
    ("head -c 1000 executable | od -c", "reads_reference"),
    ("base64 < ./executable", "reads_reference"),
    ("grep -a usage ./executable", "reads_reference"),
    ("python3 -c \"print(open('executable','rb').read()[:100])\"", "reads_reference"),
    ("python3 - <<'EOF'\nd = open('/workspace/executable', 'rb').read()\nEOF", "reads_reference"),
    ("perl -e 'open(F, \"./executable\")'", "reads_reference"),
    ("./executable ./executable", "reads_reference"),
    ("./executable -Rs . /proc/self/exe", "reads_reference"),
    ("cp ./executable /tmp/ref", "copies_reference"),
    ("cp executable{,.bak}; cp executable /tmp/", "copies_reference"),
    ("ln -s /workspace/executable /tmp/ref", "copies_reference"),
    ("dd if=./executable of=/tmp/x bs=1M", "copies_reference"),
    ("tar czf /tmp/e.tgz executable", "copies_reference"),
    ("gdb -p 1234", "attaches_to_process"),
    ("strace -p $(pgrep executable)", "attaches_to_process"),
    ("gcore 77", "attaches_to_process"),
    ("LD_PRELOAD=/tmp/x.so ./executable", "steers_loader"),
    ("env LD_DEBUG=all ./executable", "steers_loader"),
    ("/lib64/ld-linux-x86-64.so.2 ./executable --help", "steers_loader"),
    ("./executable & cat /proc/$!/exe > /tmp/x", "reads_process"),
    ("cp /proc/123/exe /tmp/x", "reads_process"),
    ("dd if=/proc/42/mem bs=1 skip=4194304", "reads_process"),
    ("python3 -c \"open('/proc/self/mem','r+b')\"", "reads_process"),
    ("echo 0 > /proc/sys/kernel/yama/ptrace_scope", "writes_kernel_files"),
    ("echo x | tee /sys/kernel/uevent_helper", "writes_kernel_files"),
    ("unshare -Ur bash", "changes_isolation"),
    ("mount --bind /a /b", "changes_isolation"),
    ("sysctl -w kernel.core_pattern=x", "changes_isolation"),
    ("apt-get install -y figlet", "package_manager"),
    ("sudo apt-get source figlet", "package_manager"),
    ("pip install requests", "package_manager"),
    ("cargo install hexyl", "package_manager"),
    ("cargo add clap", "package_manager"),
    ("npm install chalk", "package_manager"),
    ("go get github.com/a/b", "package_manager"),
    ("curl -sL https://example.org/figlet.tar.gz | tar xz", "network"),
    ("wget example.org/x.tgz", "network"),
    ("git clone https://example.org/cmatsuoka/figlet", "network"),
    ("git clone git@example.org:a/b.git", "network"),
    ("python3 -c \"import urllib.request as u; u.urlopen('https://example.org')\"", "network"),
    ("find / -name 'figlet*' 2>/dev/null", "searches_for_copies"),
    ("find /usr -iname '*figlet*'", "searches_for_copies"),
    ("which figlet", "searches_for_copies"),
    ("command -v jq", "searches_for_copies"),
    ("ls ~/.cargo/registry/src", "searches_for_copies"),
    ("ls /usr/share/figlet/big.flf", "searches_for_copies"),
    ("figlet hello", "uses_installed_copy"),
    ("/usr/bin/figlet hello", "uses_installed_copy"),
    ("echo '{}' | jq .", "uses_installed_copy"),
];

#[test]
fn what_breaks_the_rules_is_found_by_the_rule_that_it_breaks() {
    for (text, rule) in FORBIDDEN {
        assert!(rules_of(text).iter().any(|r| r == rule), "{text}: {:?}", rules_of(text));
    }
    for rule in ALL {
        assert!(FORBIDDEN.iter().any(|(_, r)| *r == rule.id), "{} has no example", rule.id);
    }
}

#[test]
fn every_rule_is_documented() {
    let docs = include_str!("../../../../../docs/trajectories.md");
    let own = [
        "output_shows_reference",
        "reference_in_submission",
        "reference_code",
        "wraps_installed_copy",
        "prebuilt_binary",
        "archive_with_binary",
        "unopened_archive",
    ];
    for rule in ALL.iter().map(|r| r.id).chain(own) {
        assert!(docs.contains(&format!("`{rule}`")), "{rule}");
    }
}

fn words(text: &str) -> Vec<Vec<String>> {
    split(text, "/workspace").into_iter().map(|c: Simple| c.words).collect()
}

#[test]
fn commands_are_split_as_a_shell_would() {
    let cases: [(&str, &[&[&str]]); 12] = [
        ("a 'b c' \"d e\" f\\ g", &[&["a", "b c", "d e", "f g"]]),
        ("a;b&c&&d||e|f\ng", &[&["a"], &["b"], &["c"], &["d"], &["e"], &["f"], &["g"]]),
        ("a 2>&1 >out 2>/dev/null <in b 3<&- &>log", &[&["a", "b"]]),
        ("A=1 B='x y' run $A", &[&["run", "$A"]]),
        ("A=1; run ${A}x", &[&["run", "1x"]]),
        ("run $(inner one) two", &[&["inner", "one"], &["run", "$()", "two"]]),
        (
            "run \"$(inner \"q\")\" `back tick`",
            &[&["inner", "q"], &["back", "tick"], &["run", "$()", "$()"]],
        ),
        ("# all\nrun # rest\n", &[&["run"]]),
        ("run a\\\n  b", &[&["run", "a", "b"]]),
        ("if x; then y; fi", &[&["x"], &["y"]]),
        ("echo $((1 + (2))) $'a\\'b'", &[&["echo", "0", "a'b"]]),
        ("cat <<A <<-B; next\nbody\nA\n\tmore\n\tB\nlast", &[&["cat"], &["next"], &["last"]]),
    ];
    for (text, want) in cases {
        assert_eq!(words(text), want, "{text}");
    }
    let files = &split("a 2>&1 >out <in &>log >&also", "/w")[0];
    assert_eq!(files.writes, ["out", "log", "also"]);
    assert_eq!(files.reads, ["in"]);
    let documents = split("cat <<A <<-B\nbody $x\nA\n\tmore\n\tB\n", "/w");
    assert_eq!(documents[0].input, ["body $x\n", "\tmore\n"]);
    let moved = split("(cd a; x); y; cd ../b/./c && z; cd $Q; u", "/w");
    let at = |name: &str| moved.iter().find(|c| c.program() == name).unwrap().cwd.clone();
    assert_eq!(at("x").as_deref(), Some("/w/a"));
    assert_eq!(at("y").as_deref(), Some("/w"));
    assert_eq!(at("z").as_deref(), Some("/b/c"));
    assert_eq!(at("u"), None);
}

proptest! {
    #[test]
    fn any_text_is_split_without_panic_and_in_bounds(text in "[ -~\n\t$`'\"()<>|&;\\\\]{0,300}", depth in 0..200usize) {
        split(&text, "/workspace");
        command(&format!("{}{text}{}", "$(".repeat(depth), ")".repeat(depth)), &known(), 1);
        prop_assert!(split(&"x;".repeat(9000), "/w").len() < 5000);
    }
}

/// An attempt: commands with what they printed, and a workspace; gives its report, by rule.
fn attempt(
    reference: &[u8],
    turns: &[(&str, &[u8])],
    workspace: &[(&str, u32, &[u8])],
) -> IntegrityReport {
    let temp = tempfile::tempdir().unwrap();
    let task = crate::record::test_room::task(temp.path(), reference);
    let dir = temp.path().join("run").join(task.id());
    let path = dir.join(format!("{}.traj.json", task.id()));
    std::fs::create_dir_all(&dir).unwrap();
    let mut t = Trajectory::create(&path, &Header::default()).unwrap();
    t.append(&[Message::system("s"), Message::user("u")]).unwrap();
    for (i, (command, output)) in turns.iter().enumerate() {
        let id = format!("call_{i}");
        let arguments = serde_json::json!({"command": command}).to_string();
        let call = ToolCall::new(&id, "bash", arguments);
        let mut extra = Extra { returncode: Some(0), ..Extra::default() };
        t.keep_output(&mut extra, output).unwrap();
        let answer = Message::tool(&id, "shortened").with_extra(extra);
        t.append(&[Message::assistant(None, vec![call]), answer]).unwrap();
    }
    let room = Dir::new();
    for (path, mode, bytes) in workspace {
        room.write(&format!("/workspace/{path}"), *mode, bytes);
    }
    make_with(&room, task.id(), &task.docs(), &dir, crate::record::submission::SUBMISSION_CAPS)
        .unwrap();
    let first = report(&task, &dir).unwrap();
    let bytes = std::fs::read(dir.join(format!("{}.integrity.json", task.id()))).unwrap();
    assert_eq!(report(&task, &dir).unwrap(), first);
    let again = std::fs::read(dir.join(format!("{}.integrity.json", task.id()))).unwrap();
    assert_eq!(bytes, again, "the same attempt gives the same bytes");
    assert_eq!(serde_json::from_slice::<IntegrityReport>(&bytes).unwrap(), first);
    first
}

fn found(report: &IntegrityReport) -> Vec<(&str, Severity, Option<&str>)> {
    let show = |f: &'_ IntegrityFinding| (f.severity, f.path.clone());
    let mut all: Vec<_> =
        report.findings.iter().map(|f| (f.rule.as_str(), show(f).0, f.path.as_deref())).collect();
    all.sort();
    all
}

#[test]
fn honest_work_has_a_clean_report() {
    let (code, text) = (noise(1, 60_000), b"Usage: figlet [ -cklnoprstvxDELNRSWX ]\n".repeat(100));
    let reference = elf(&code, &text);
    let mut source = b"const char *help = \"".to_vec();
    source.extend(&text);
    source.extend(b"\";\nint main(void) { return 0; }\n");
    let report = attempt(
        &reference,
        &[("ls", b"docs executable\n"), ("./executable --help", &text)],
        &[
            ("compile.sh", 0o755, b"#!/bin/sh\nset -e\ngcc -O2 -o executable main.c\n"),
            ("main.c", 0o644, &source),
            ("README.md", 0o644, b"Wraps nothing. figlet is rebuilt; `figlet` is not called.\n"),
            (
                "tests/run.sh",
                0o755,
                b"#!/bin/bash\nfor t in tests/*.in; do ./executable < \"$t\"; done\n",
            ),
        ],
    );
    assert_eq!(found(&report), []);
    assert_eq!((report.commands, report.files, report.breaches()), (Some(2), Some(4), 0));
}

#[test]
fn what_met_the_stub_is_a_note_with_its_step_and_repeats_are_counted() {
    let reference = elf(&noise(1, 60_000), b"");
    let stub = b"\x7fELF stub";
    let turns: [(&str, &[u8]); 4] = [
        ("ls", b""),
        ("strings ./executable", b""),
        ("cat ./executable | wc -c", stub),
        ("strings ./executable", b""),
    ];
    let report = attempt(&reference, &turns, &[]);
    assert_eq!((report.breaches(), report.notes()), (0, 2));
    let strings = report.findings.iter().find(|f| f.evidence.starts_with("strings")).unwrap();
    assert_eq!((strings.step, strings.rule.as_str()), (Some(2), "reads_reference"));
    assert_eq!(strings.evidence, "strings ./executable (2 times, first here)");
}

#[test]
fn outputs_that_show_the_references_code_are_breaches_raw_or_written_out() {
    let code = noise(1, 60_000);
    let reference = elf(&code, b"");
    let mut dump = String::new();
    for (i, line) in code[..20_000].chunks(16).enumerate() {
        let pairs: Vec<String> = line.chunks(2).map(reenact_model::digest::to_hex).collect();
        dump.push_str(&format!("{:08x}: {}  ................\n", i * 16, pairs.join(" ")));
    }
    let own = elf(&noise(9, 60_000), b"");
    let turns: [(&str, &[u8]); 4] = [
        ("./leak", &reference),
        ("./leak part", &code[5000..30_000]),
        ("./leak | xxd", dump.as_bytes()),
        ("cat /tmp/mine", &own),
    ];
    let report = attempt(&reference, &turns, &[]);
    let steps: Vec<(Option<u64>, &str)> =
        report.findings.iter().map(|f| (f.step, f.rule.as_str())).collect();
    let rule = "output_shows_reference";
    assert_eq!(steps, [(Some(1), rule), (Some(2), rule), (Some(3), rule)]);
    assert_eq!(report.breaches(), 3);
    assert!(report.findings[2].evidence.contains("written out as text"));
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    flate2::read::ZlibEncoder::new(bytes, flate2::Compression::fast())
        .read_to_end(&mut out)
        .unwrap();
    out
}

#[test]
fn submissions_with_the_reference_in_them_are_breaches() {
    use Severity::{Breach, Note};
    use std::io::Write;
    let code = noise(1, 60_000);
    let reference = elf(&code, b"data");
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(&reference).unwrap();
    let gz = gz.finish().unwrap();
    let array: Vec<String> = reference.iter().map(|b| format!("0x{b:02x}")).collect();
    let array = format!("unsigned char blob[] = {{ {} }};\n", array.join(", "));
    let mut padded = reference.clone();
    padded.extend(b"padding against the digest");
    let own = elf(&noise(7, 60_000), b"");
    let report = attempt(
        &reference,
        &[],
        &[
            ("bin/ref", 0o755, &reference),
            ("bin/padded", 0o755, &padded),
            ("blob.bin", 0o644, &code[..20_000]),
            ("blob.c", 0o644, array.as_bytes()),
            ("data.gz", 0o644, &gz),
            ("target/mine", 0o755, &own),
            (".git/objects/ab/c", 0o644, &zlib(&own)),
            (".git/objects/ab/d", 0o644, &zlib(&reference)),
        ],
    );
    assert_eq!(
        found(&report),
        [
            ("archive_with_binary", Note, Some("data.gz")),
            ("prebuilt_binary", Note, Some("bin/padded")),
            ("prebuilt_binary", Note, Some("bin/ref")),
            ("prebuilt_binary", Note, Some("target/mine")),
            ("reference_code", Breach, Some("blob.bin")),
            ("reference_in_submission", Breach, Some(".git/objects/ab/d")),
            ("reference_in_submission", Breach, Some("bin/padded")),
            ("reference_in_submission", Breach, Some("bin/ref")),
            ("reference_in_submission", Breach, Some("blob.c")),
            ("reference_in_submission", Breach, Some("data.gz")),
        ]
    );
}

#[test]
fn wrapping_an_installed_copy_is_a_breach_and_namesakes_are_not() {
    use Severity::{Breach, Note};
    let reference = elf(&noise(1, 60_000), b"");
    let report = attempt(
        &reference,
        &[],
        &[
            ("compile.sh", 0o755, b"#!/bin/sh\nprintf '#!/bin/sh\\nexec figlet \"$@\"\\n' > executable\ncp $(which figlet) executable || figlet -v\n"),
            ("wrap.c", 0o644, b"int main(int c, char **v) { return execvp(\"figlet\", v); }\n"),
            ("wrap.py", 0o644, b"import subprocess, sys\nsubprocess.run([\"/usr/bin/figlet\", *sys.argv[1:]])\n"),
            ("wrap.rs", 0o644, b"use std::process::Command;\nfn main() { Command::new(\"figlet\").status().unwrap(); }\n"),
            ("builder.rs", 0o644, b"use clap::Command;\nfn cli() -> Command { Command::new(\"figlet\").about(\"figlet\") }\n"),
            ("names.c", 0o644, b"/* figlet */ const char *name = \"figlet\"; puts(\"figlet: usage\");\n"),
            ("data.c", 0o644, b"const char *p = \"/usr/share/figlet\";\n"),
            ("const.c", 0o644, b"const char *p = \"/usr/bin/figlet\";\n"),
            ("tests/compare.sh", 0o755, b"#!/bin/sh\nfiglet x | diff - <(./executable x)\n"),
            ("NOTES.md", 0o644, b"run `figlet x`; system(\"figlet x\")\n"),
        ],
    );
    let rule = "wraps_installed_copy";
    assert_eq!(
        found(&report),
        [
            (rule, Breach, Some("compile.sh")),
            (rule, Breach, Some("const.c")),
            (rule, Breach, Some("wrap.c")),
            (rule, Breach, Some("wrap.py")),
            (rule, Breach, Some("wrap.rs")),
            (rule, Note, Some("tests/compare.sh")),
        ]
    );
}

#[test]
fn reports_are_bounded() {
    let commands: Vec<String> =
        (0..700).map(|i| format!("head -c {i} ./executable{}", " x".repeat(i))).collect();
    let turns: Vec<(&str, &[u8])> = commands.iter().map(|c| (c.as_str(), b"".as_slice())).collect();
    let report = attempt(&elf(&noise(1, 9000), b""), &turns, &[]);
    assert_eq!(report.findings.len(), MOST);
    assert_eq!(report.more_notes, 500);
    assert!(report.findings.iter().all(|f| f.evidence.chars().count() < EVIDENCE + 40));
}
