//! The oracle as its callers see it: a reference behaves behind the stub as it would if it were called directly, and the host
//! hears of it. The reference is the host's bash, which can be told to do anything.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod oracle_support;

use oracle_support::{Bench, SHELL, sha256, spec};
use reenact_model::Ended;
use reenact_model::probe::StreamKind;
use reenact_sandbox::room::oracle::OracleEvent;

/// Runs each script with the stub, and again with the reference itself in its place; both must do the same. As root, and in a
/// user namespace.
fn same_as_direct(scripts: &[&str]) {
    for force_userns in [false, true] {
        let mut spec = spec(SHELL);
        spec.isolation.force_userns = force_userns;
        let bench = Bench::with(&spec);
        scripts.iter().for_each(|script| compare(&bench, script));
    }
}

fn compare(bench: &Bench, script: &str) {
    let run = |name: &str, program: &str| {
        let done = bench.sh(&format!("mkdir {name} && cd {name} && R={program}; {script}"));
        bench.out(&format!("chmod -R u+rwx {name} && rm -rf {name}"));
        let plain = |text: &str| {
            text.replace(program, "PROGRAM").replace(&format!("/workspace/{name}"), "DIR")
        };
        (done.code, plain(&done.out), plain(&done.err))
    };
    assert_eq!(run("behind", "/workspace/executable"), run("direct", "/bin/bash"), "{script}");
}

#[test]
fn arguments_output_and_exit_codes() {
    same_as_direct(&[
        r#"$R -c 'printf "<%s>" "$@"; echo err >&2; exit 7' x 'a b' '' $'new\nline' $'\xff'"#,
        "for i in 0 1 2 125 126 127 128 200 255; do $R -c \"exit $i\"; echo $?; done",
        "$R -c 'echo ${BASH_ARGV0:-$0}' 2>&1; (exec -a other $R -c 'echo $0')",
        "$R /nonexistent 2>/dev/null; echo $?",
        "$R <<< 'echo from stdin; read x; echo $x\nthe next line'",
    ]);
}

#[test]
fn what_a_process_inherits() {
    same_as_direct(&[
        "umask 027; $R -c 'umask; > made'; stat -c %a made",
        "(ulimit -n 77; $R -c 'ulimit -n'); (ulimit -S -v 900000; $R -c 'ulimit -v'); (ulimit -f 5; $R -c 'ulimit -f')",
        "nice -n 7 $R -c nice; $R -c nice",
        "(trap '' PIPE USR1; $R -c trap); $R -c trap",
        "FOO=bar A= $R -c 'echo $FOO ${A-unset} $HOME $PATH'",
        "exec 5> five 7< /etc/hostname; $R -c 'echo to five >&5; cat <&7; ls /proc/self/fd'; cat five",
        "exec 200> far; $R -c 'echo far away >&200'; cat far",
        "$R -c 'cat $1 $2' x <(echo one) <(echo two)",
        "$R -c 'echo x' >&-; echo $?; $R -c 'read x; echo $?' <&- 2>&-; $R -c 'ls /proc/self/fd' <&- 2>&-",
        "setarch -R $R -c 'cat /proc/self/personality 2>/dev/null; true'",
    ]);
}

#[test]
fn pipes() {
    same_as_direct(&[
        "$R -c 'seq 1000000' | head -1; echo ${PIPESTATUS[@]}",
        "seq 100000 | $R -c 'head -1; exit 3'; echo ${PIPESTATUS[@]}",
        "$R -c 'echo a; echo b >&2; echo c; echo d >&2' 2>&1 | tr '\\n' ' '",
        "head -c 20000000 /dev/zero | tr '\\0' z | $R -c cat | sha256sum",
        "mkfifo gate; $R -c 'exec >&-; read x < gate' | (cat; echo end; echo > gate)",
        "(read a; $R -c 'read b; echo got $b'; read c; echo $c) <<< $'1\\n2\\n3'",
        "printf 'x\\ny\\n' | (read a; $R -c cat; echo $a)",
        "$R -c 'printf no-newline'; $R -c 'exec 1>&2; echo x' 2>&1 >/dev/null | cat",
        "(trap '' PIPE; $R -c 'sleep 0; until echo x 2>/dev/null; [ $? != 0 ]; do :; done; echo $? >&2' | true; echo ${PIPESTATUS[0]})",
        "mkfifo p; cat p > got & $R -c 'echo into a named pipe' > p; wait; cat got",
        "mkfifo p; $R -c 'cat' < p & echo through > p; wait",
        "$R -c 'echo a; echo b >&2' > >(sed s/^/out:/ > o) 2> >(sed s/^/err:/ > e); wait; until [ -s o ] && [ -s e ]; do sleep 0.02; done; cat o e",
    ]);
}

#[test]
fn regular_files() {
    same_as_direct(&[
        "$R -c 'echo one' > f; $R -c 'echo two' >> f; cat f",
        "(echo before; $R -c 'echo mid'; echo after) > f; cat f",
        "echo 0123456789 > f; $R -c 'printf xx' 1<> f; cat f",
        "printf '1\\n2\\n3\\n' > in; (read a; $R -c 'read b; echo got $b'; read c; echo $c) < in",
        "$R -c 'echo a; echo b >&2' > f 2>&1; cat f",
        "$R -c 'echo x' > /dev/null; $R -c 'echo x' > /dev/full; echo $?",
    ]);
}

#[test]
fn sockets_as_standard_streams() {
    let bench = Bench::new(SHELL);
    let script = r#"
import socket, subprocess, sys
def talk(*args, data=b''):
    a, b = socket.socketpair()
    c, d = socket.socketpair()
    a.sendall(data); a.shutdown(socket.SHUT_WR)
    p = subprocess.Popen(['/workspace/executable', *args], stdin=b, stdout=d, stderr=subprocess.STDOUT)
    b.close(); d.close()
    out = b''
    while True:
        x = c.recv(65536)
        if not x: break
        out += x
    return out, p.wait()
print(talk('-c', 'cat; echo err >&2; exit 4', data=b'hello '))
print(len(talk('-c', 'head -c 3000000 /dev/zero')[0]))
# One socket for both directions is a conversation.
a, b = socket.socketpair()
p = subprocess.Popen(['/workspace/executable', '-c', 'read x; echo "you said $x"; read y <&1; echo "and $y" >&0'], stdin=b, stdout=b)
b.close()
a.sendall(b'hi\nbye\n')
f = a.makefile()
print(f.readline() + f.readline(), p.wait())
"#;
    bench.room.put_file("/workspace/t.py", 0o644, script.as_bytes()).unwrap();
    assert_eq!(
        bench.out("python3 t.py"),
        "(b'hello err\\n', 4)\n3000000\nyou said hi\nand bye\n 0\n"
    );
    let (began, ended) = bench.probe(1);
    assert_eq!(
        (began.stdin.kind, began.stdin.head.as_slice()),
        (StreamKind::Socket, &b"hello "[..])
    );
    assert!(began.stdin.complete && ended.merged && ended.stdout.complete);
    assert_eq!(ended.stdout.sha256, Some(sha256(b"hello err\n")));
    let (_, ended) = bench.probe(3);
    assert_eq!((ended.stdout.kind, ended.stdout.sha256), (StreamKind::Socket, None));
}

#[test]
fn signals_to_the_stub_reach_the_reference() {
    same_as_direct(&[
        // The children of the reference, too; otherwise the pipe would not end.
        "timeout 0.2 $R -c 'sleep 1000; echo' | cat; echo ${PIPESTATUS[0]}",
        // The reference says when it is ready, so that nothing here depends on time.
        "mkfifo g; $R -c 'trap \"echo got; exit 9\" TERM; echo > g; while :; do sleep 0.01; done' & p=$!; read x < g; kill -TERM $p; wait $p; echo $?",
        "mkfifo g h; $R -c 'trap \"echo got > h\" USR1; echo > g; while :; do sleep 0.01; done' & p=$!; read x < g; kill -USR1 $p; read x < h; echo $x; kill $p; wait $p 2>/dev/null; echo $?",
        "mkfifo g; $R -c 'echo > g; exec sleep 1000' & p=$!; read x < g; kill -QUIT $p; kill -HUP $p; wait $p 2>/dev/null; echo $?",
        "{ timeout 0.2 $R -c 'exec sleep 1000'; echo $?; timeout -s KILL 0.2 $R -c 'exec sleep 1000'; echo $?; } 2>/dev/null",
        "{ timeout -k 0.1 0.1 $R -c 'trap \"\" TERM; while :; do sleep 0.01; done'; echo $?; } 2>/dev/null",
    ]);
}

#[test]
fn the_stub_dies_of_what_the_reference_dies_of() {
    same_as_direct(&[
        "for s in HUP INT QUIT ILL ABRT FPE KILL SEGV PIPE ALRM TERM USR1 BUS SYS; do $R -c \"kill -$s \\$\\$\" 2>/dev/null; echo $s $?; done 2>/dev/null; ls core* 2>/dev/null; true",
        "{ $R -c 'ulimit -t 1; while :; do :; done'; echo $?; } 2>/dev/null",
    ]);
}

#[test]
fn stopping_and_going_on() {
    let bench = Bench::new(SHELL);
    let script = "
import os, signal, subprocess
p = subprocess.Popen(['./executable', '-c', 'kill -STOP $$; echo went on; kill -TSTP $$; exit 3'])
for _ in range(2):
    _, status = os.waitpid(p.pid, os.WUNTRACED)
    print('stopped', os.WIFSTOPPED(status), flush=True)
    os.kill(p.pid, signal.SIGCONT)
_, status = os.waitpid(p.pid, 0)
print(os.WEXITSTATUS(status))
";
    bench.room.put_file("/workspace/t.py", 0o644, script.as_bytes()).unwrap();
    assert_eq!(bench.out("python3 t.py"), "stopped True\nwent on\nstopped True\n3\n");
}

#[test]
fn killing_the_stub_kills_the_reference_and_no_more() {
    let bench = Bench::new(SHELL);
    let script = "mkfifo g; (sleep 1000 & echo $! > other)
        /workspace/executable -c 'echo $$ > g; exec sleep 1000' & p=$!
        read r < g; kill -9 $p; wait $p 2>/dev/null; echo $?
        while kill -0 $r 2>/dev/null; do sleep 0.01; done
        kill -0 $(cat other) && echo other lives
        ./executable -c 'sleep 1000 & echo $! > g; wait' & p=$!
        read r < g; kill -9 $p; while kill -0 $r 2>/dev/null; do sleep 0.01; done";
    assert_eq!(bench.out(script), "137\nother lives\n");
    assert_eq!(bench.probe(1).1.ended, Ended::Signal { signal: 9 });
}

#[test]
fn three_hundred_at_once() {
    let bench = Bench::new(SHELL);
    let script = "mkdir o; exec 9<> /dev/null; mkfifo go
        for i in $(seq 300); do ./executable -c 'read x < go; echo $1; exit $(($1 % 7))' x $i > o/$i 2>> said & p[$i]=$!; done
        # Every one of them waits at the gate before it opens.
        until [ $(cat /proc/[0-9]*/comm 2>/dev/null | grep -c '^executable$') -ge 600 ] || [ -e enough ]; do sleep 0.05; [ $((n++)) -gt 400 ] && > enough; done
        exec 8<> go; for i in $(seq 300); do echo x >&8; done
        for i in $(seq 300); do wait ${p[$i]}; [ $? = $((i % 7)) ] || echo bad $i; done
        cat o/* | sort -n | uniq | wc -l; [ -e enough ] && echo not at once; cat said";
    assert_eq!(bench.out(&format!("{script}; true")), "300\n");
    let began = bench.events().iter().filter(|e| matches!(e, OracleEvent::Began(_))).count();
    assert_eq!(began, 300);
}

#[test]
fn long_arguments_and_deep_directories() {
    let bench = Bench::new(SHELL);
    let script = "x=$(head -c 100000 /dev/zero | tr '\\0' a); set -- $x $x $x $x $x $x $x $x $x $x
        ./executable -c 'echo $# ${#1} ${#5}' x \"$@\"
        d=$(printf 'd%.0s' $(seq 200)); for i in $(seq 25); do mkdir $d; cd $d; done
        /workspace/executable -c 'pwd -P | wc -c; > here'; ls; cd /workspace
        mkdir gone; cd gone; rmdir ../gone; /workspace/executable -c 'echo still; ls -a | wc -l' 2>/dev/null";
    let out = bench.out(script);
    assert_eq!(
        out,
        format!("10 100000 100000\n{}\nhere\nstill\n0\n", "/workspace".len() + 25 * 201 + 1)
    );
    let (began, _) = bench.probe(1);
    assert!(began.argv_cut, "a megabyte is not kept");
    assert_eq!(began.argv.first().map(Vec::as_slice), Some(&b"./executable"[..]));
    assert!(began.argv.iter().map(Vec::len).sum::<usize>() <= 64 << 10);
}

#[test]
fn called_by_other_tools() {
    same_as_direct(&[
        "seq 20 | xargs -n 3 $R -c 'echo \"$@\"' x",
        "seq 40 | xargs -P 8 -n 1 $R -c 'echo $1' x | sort -n | md5sum",
        "touch f1 f2 f3; find . -name 'f*' -exec $R -c 'echo $1' x {} \\; | sort; find . -name 'f*' -exec $R -c 'echo $#' x {} +",
        "env -i $R -c 'echo $PATH' 2>&1; command -v env",
        "printf 'all:\\n\\t@%s -c \"echo made\"\\n' $R > Makefile; make 2>/dev/null || echo made",
        "python3 -c 'import subprocess,sys; r = subprocess.run([sys.argv[1], \"-c\", \"cat; exit 5\"], input=b\"in\", capture_output=True); print(r.returncode, r.stdout)' $R",
        "ln -s $R link; ./link -c 'echo by link'",
    ]);
}

#[test]
fn what_it_leaves_behind_lives_on() {
    let bench = Bench::new(SHELL);
    // Its output is passed on after its end, too, and the pipe ends when the last writer does.
    let script = "mkfifo g; (./executable -c '(read x < g; echo late) & echo early'; echo > g) | cat; echo end";
    assert_eq!(bench.out(script), "early\nlate\nend\n");
    let script = "./executable -c 'nohup setsid sh -c \"until [ -e go ]; do sleep 0.01; done; echo done > came\" > /dev/null 2>&1 &'
        > go; until [ -s came ]; do sleep 0.01; done; cat came";
    assert_eq!(bench.out(script), "done\n");
    let (_, ended) = bench.probe(1);
    assert_eq!((ended.stdout.bytes, ended.stdout.complete), (6, false));
    // A daemon that holds a pipe does not keep the room.
    bench.out("(./executable -c 'sleep 1000 & echo' | cat > /dev/null) & true");
    drop(bench);
}

#[test]
fn what_cannot_start_says_so() {
    let bench = Bench::new(SHELL);
    let done = bench.sh("mkdir closed; cd closed; chmod 0 .; /workspace/executable -c true");
    assert_eq!((done.code, done.err.as_str()), (126, "executable: Permission denied\n"));
    let (_, ended) = bench.probe(1);
    assert!(matches!(ended.ended, Ended::ExecFailed { errno: 13, .. }), "{ended:?}");
    let done = bench
        .sh("chmod 700 closed; cd closed; exec 2>&-; chmod 0 .; /workspace/executable -c true");
    assert_eq!((done.code, done.out.as_str(), done.err.as_str()), (126, "", ""));
}

#[test]
fn loaders_get_no_orders() {
    let bench = Bench::new(SHELL);
    let script = "LD_PRELOAD=/x.so LD_DEBUG=all GLIBC_TUNABLES=a=b GCONV_PATH=/x KEPT=1 ./executable -c env | grep -E '^(LD_|GLIBC|GCONV|KEPT)'";
    assert_eq!(bench.out(script), "KEPT=1\n");
    let (began, _) = bench.probe(1);
    assert!(began.env.contains(&b"KEPT=1".to_vec()));
    assert!(!began.env.iter().any(|v| v.starts_with(b"LD_")));
}

#[test]
fn reports_tell_what_happened() {
    let bench = Bench::new(SHELL);
    bench.out("echo old > changed; mkdir dir; ./executable -c 'cat; echo n > new; echo more >> changed; echo > dir/deep; echo e >&2' x dir/deep 2> err <<< abc | cat");
    let (began, ended) = bench.probe(1);
    assert_eq!(began.cwd, b"/workspace");
    assert_eq!(began.argv.len(), 5);
    assert!(began.parent.first().is_some_and(|p| p.ends_with(b"bash")), "{:?}", began.parent);
    assert_eq!((began.stdin.kind, began.stdin.bytes), (StreamKind::Pipe, 4));
    assert_eq!((began.stdin.head.as_slice(), began.stdin.complete), (&b"abc\n"[..], true));
    assert_eq!(began.stdin.sha256, Some(sha256(b"abc\n")));
    assert_eq!(ended.ended, Ended::Exit { code: 0 });
    assert_eq!(
        (ended.stdout.kind, ended.stdout.head.as_slice()),
        (StreamKind::Pipe, &b"abc\n"[..])
    );
    assert!(ended.stdout.complete && !ended.merged && ended.wall_us > 0);
    assert_eq!((ended.stderr.kind, ended.stderr.head.as_slice()), (StreamKind::File, &b"e\n"[..]));
    let mut files = ended.files.clone();
    files.sort();
    let expected = [("changed", false), ("dir/deep", true), ("err", false), ("new", true)];
    assert_eq!(files, expected.map(|(n, new)| (n.as_bytes().to_vec(), new)));
}

#[test]
fn reports_on_regular_files_cover_what_was_used() {
    let bench = Bench::new(SHELL);
    bench.out("seq 10 > in; (read a; ./executable -c 'read b; echo $b'; ./executable -c 'cat > /dev/null') < in > out");
    let (_, first) = bench.probe(1);
    let stdin = first.stdin.unwrap();
    assert_eq!(
        (stdin.kind, stdin.head.as_slice(), stdin.bytes),
        (StreamKind::File, &b"2\n"[..], 2)
    );
    assert_eq!((first.stdout.head.as_slice(), first.stdout.complete), (&b"2\n"[..], true));
    assert_eq!(first.stdout.sha256, Some(sha256(b"2\n")));
    let stdin = bench.probe(2).1.stdin.unwrap();
    assert_eq!((stdin.bytes, stdin.sha256), (17, Some(sha256(b"3\n4\n5\n6\n7\n8\n9\n10\n"))));
    // Appended, and large; read back with the caller's rights.
    bench.out("echo x > log; ./executable -c 'head -c 3000000 /dev/zero' >> log");
    let (_, ended) = bench.probe(3);
    assert_eq!((ended.stdout.bytes, ended.stdout.complete), (3_000_000, true));
    assert_eq!(ended.stdout.sha256, Some(sha256(&vec![0; 3_000_000])));
    // What the caller may not read is not read for it.
    bench.out("> secret; chmod 200 secret; ./executable -c 'echo x' > secret");
    let (_, ended) = bench.probe(4);
    assert_eq!((ended.stdout.bytes, ended.stdout.sha256), (2, None));
}

#[test]
fn a_pipe_that_stays_open_is_looked_at_and_left_alone() {
    let bench = Bench::new(SHELL);
    let script = "mkfifo done; (printf 'line one\\nline two\\n'; read x < done) |
        (./executable -c 'read x; echo $x'; read y; echo $y; echo > done)";
    assert_eq!(bench.out(script), "line one\nline two\n");
    let (began, _) = bench.probe(1);
    assert!(!began.stdin.complete);
    assert!(b"line one\nline two\n".starts_with(&began.stdin.head));
}
