//! What crosses the oracle's borders: every value survives the way there and back, and no bytes do harm.

extern crate std;
use super::files::Look;
use super::proto::{Body, Head, LIMITS, MAX_CWD, Packet, Words, with};
use super::report::{self, Began, Ended, How, Kind, Report, Stream};
use super::streams::kind_of;
use crate::buf::Buf;
use crate::proto::Sink;
use crate::sys::{CStr, Stat};
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use std::string::String;
use std::vec::Vec;

struct Out(Vec<u8>);

impl Sink for Out {
    fn put(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
}

/// A word as the kernel passes it: anything but NUL.
fn word() -> impl Strategy<Value = Vec<u8>> {
    vec(1u8.., 0..40)
}

fn joined(words: &[Vec<u8>]) -> Vec<u8> {
    words.iter().flat_map(|w| w.iter().copied().chain([0])).collect()
}

fn numbers(fds: &std::collections::BTreeSet<u32>) -> Vec<u8> {
    fds.iter().flat_map(|n| n.to_le_bytes()).collect()
}

proptest! {
    #[test]
    fn requests_arrive_as_they_were_sent(
        argv in vec(word(), 1..8),
        env in vec(word(), 0..8),
        path in word(),
        fds in btree_set(0u32..65_536, 0..20),
        flags in 0u32..=with::ALL,
        (umask, nice, pid) in (0u32..=0o777, -20i32..20, any::<u32>()),
        (ignored, blocked, limit) in any::<(u64, u64, (u64, u64))>(),
    ) {
        let numbers = numbers(&fds);
        let strings = [joined(&argv), joined(&env)].concat();
        let cwd = if flags & with::CWD != 0 { Vec::new() } else { [b"/", &path[..], b"\0"].concat() };
        let mut head = Head::new(&numbers);
        head.flags = flags;
        head.argc = argv.len() as u32;
        head.envc = env.len() as u32;
        head.strings = strings.len() as u32;
        head.cwd = cwd.len() as u32;
        head.umask = umask;
        head.nice = nice;
        head.pid = pid;
        head.ignored = ignored;
        head.blocked = blocked;
        head.limits = [limit; LIMITS.len()];
        let mut message = Out(Vec::new());
        head.encode(&mut message);
        prop_assert_eq!(message.0.len(), Head::FIXED + numbers.len());
        message.put(b"rest");
        let (got, rest) = Head::decode(&message.0).expect("a sound head is read");
        prop_assert_eq!(&got, &head);
        prop_assert_eq!(rest, b"rest");
        prop_assert_eq!(got.descriptors(), fds.len() + flags.count_ones() as usize);
        let places: Vec<usize> =
            [with::TERMINAL, with::CWD, with::MEMORY].iter().filter_map(|f| got.place(*f)).collect();
        let expected: Vec<usize> = (fds.len()..got.descriptors()).collect();
        prop_assert_eq!(places, expected, "one place each, after the inherited ones");

        let bytes = [strings, cwd].concat();
        let body = Body::parse(&got, &bytes).expect("its strings are read");
        prop_assert_eq!(body.argv.map(<[u8]>::to_vec).collect::<Vec<_>>(), argv);
        prop_assert_eq!(body.env.map(<[u8]>::to_vec).collect::<Vec<_>>(), env);
        prop_assert_eq!(body.cwd.is_none(), flags & with::CWD != 0);
        prop_assert!(Body::parse(&got, &bytes[..bytes.len() - 1]).is_none());
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..600)) {
        if let Some((head, rest)) = Head::decode(&bytes) {
            prop_assert!(head.body() <= super::proto::MAX_STRINGS + MAX_CWD);
            let _strings = Body::parse(&head, rest);
        }
        let _packet = Packet::decode(&bytes);
        let _report = Report::decode(&bytes);
    }

    #[test]
    fn one_wrong_byte_is_no_harm(at in 0usize..250, value in any::<u8>()) {
        let numbers = numbers(&[0, 1, 2, 9].into());
        let mut head = Head::new(&numbers);
        (head.argc, head.envc, head.strings, head.cwd) = (1, 1, 8, 2);
        let mut message = Out(Vec::new());
        head.encode(&mut message);
        message.put(b"abc\0d=e\0/\0");
        let at = at % message.0.len();
        message.0[at] = value;
        if let Some((head, rest)) = Head::decode(&message.0)
            && let Some(body) = Body::parse(&head, rest)
        {
            prop_assert_eq!(body.argv.count(), head.argc as usize);
            prop_assert_eq!(body.env.count(), head.envc as usize);
        }
    }

    #[test]
    fn packets_survive(signal in any::<i32>(), group in any::<bool>()) {
        for packet in [
            Packet::Signal { signal, group },
            Packet::Exited { code: signal },
            Packet::Killed { signal },
            Packet::Stopped { signal },
            Packet::Failed { errno: signal },
            Packet::Terminal,
        ] {
            prop_assert_eq!(Packet::decode(&packet.encode()), Some(packet));
            prop_assert_eq!(Packet::decode(&packet.encode()[..11]), None);
        }
    }

    #[test]
    fn reports_survive(
        seq in any::<u64>(),
        lists in (vec(word(), 0..6), vec(word(), 0..6), vec(word(), 0..3)),
        (head, digest, bytes) in (vec(any::<u8>(), 0..50), any::<Option<[u8; 32]>>(), any::<u64>()),
        files in vec((word(), any::<bool>()), 0..6),
        (how, value) in (0..3u8, any::<i32>()),
    ) {
        let stream = Stream { kind: Kind::Pipe, bytes, sha256: digest, head: &head, complete: digest.is_some() };
        let (argv, env, parent) = (joined(&lists.0), joined(&lists.1), joined(&lists.2));
        let mut out = Out(Vec::new());
        Began {
            seq,
            argv: Words(&argv),
            argv_cut: false,
            env: Words(&env),
            env_cut: true,
            cwd: b"/w",
            parent: Words(&parent),
            stdin: stream,
            stdout: Kind::Terminal,
            stderr: Kind::Closed,
        }
        .encode(&mut out);
        let Some(Report::Began(began)) = Report::decode(&out.0) else { panic!("not read back") };
        prop_assert_eq!((began.seq, began.stdin, began.stdout, began.stderr), (seq, stream, Kind::Terminal, Kind::Closed));
        prop_assert_eq!((began.argv_cut, began.env_cut), (false, true));
        prop_assert!(began.argv.eq(lists.0.iter().map(Vec::as_slice)));
        prop_assert!(began.env.eq(lists.1.iter().map(Vec::as_slice)));
        prop_assert!(began.parent.eq(lists.2.iter().map(Vec::as_slice)));
        prop_assert!(Report::decode(&out.0[..out.0.len() - 1]).is_none());

        let how = [How::Exited(value), How::Killed(value), How::NotStarted(value)][how as usize];
        let changed = files.iter().map(|(p, n)| (p.as_slice(), *n));
        let mut out = Out(Vec::new());
        Ended {
            seq,
            how,
            stdin: digest.map(|_| stream),
            stdout: stream,
            stderr: Stream::unseen(Kind::Null),
            merged: true,
            files: changed.clone(),
            wall_us: 1,
            user_us: 2,
            sys_us: bytes,
        }
        .encode(&mut out);
        let Some(Report::Ended(ended)) = Report::decode(&out.0) else { panic!("not read back") };
        prop_assert_eq!((ended.seq, ended.how, ended.stdout, ended.merged), (seq, how, stream, true));
        prop_assert_eq!((ended.stdin.is_some(), ended.sys_us), (digest.is_some(), bytes));
        prop_assert!(ended.files.eq(changed));
    }
}

#[test]
fn requests_that_cannot_be_are_refused() {
    let refused = |change: fn(&mut Head<'_>)| {
        let numbers = numbers(&[0, 1].into());
        let mut head = Head::new(&numbers);
        (head.argc, head.strings, head.cwd) = (1, 1, 2);
        let mut good = Out(Vec::new());
        head.encode(&mut good);
        assert!(Head::decode(&good.0).is_some());
        change(&mut head);
        let mut message = Out(Vec::new());
        head.encode(&mut message);
        Head::decode(&message.0).is_none()
    };
    assert!(refused(|h| h.argc = 0));
    assert!(refused(|h| h.argc = 2), "more words than bytes");
    assert!(refused(|h| h.envc = u32::MAX));
    assert!(refused(|h| h.strings = u32::MAX));
    assert!(refused(|h| h.cwd = 5000));
    assert!(refused(|h| h.cwd = 0), "no directory at all");
    assert!(refused(|h| h.flags = with::CWD), "two directories");
    assert!(refused(|h| h.flags = 8));
    assert!(refused(|h| h.umask = 0o1000));
    for bad in [&[1, 0][..], &[2, 2], &[65_536]] {
        let bytes: Vec<u8> = bad.iter().flat_map(|n: &u32| n.to_le_bytes()).collect();
        let mut head = Head::new(&bytes);
        (head.argc, head.strings, head.cwd) = (1, 1, 2);
        let mut message = Out(Vec::new());
        head.encode(&mut message);
        assert!(Head::decode(&message.0).is_none(), "{bad:?}");
    }
}

#[test]
fn strings_that_do_not_fit_their_counts_are_refused() {
    let parse = |argc, envc, strings: &[u8], cwd: &[u8]| {
        let mut head = Head::new(&[]);
        (head.argc, head.envc) = (argc, envc);
        (head.strings, head.cwd) = (strings.len() as u32, cwd.len() as u32);
        Body::parse(&head, &[strings, cwd].concat()).is_some()
    };
    assert!(parse(1, 1, b"a\0b\0", b"/\0"));
    assert!(!parse(1, 1, b"a\0b\0c\0", b"/\0"), "one too many");
    assert!(!parse(2, 1, b"a\0b\0", b"/\0"), "one too few");
    assert!(!parse(1, 1, b"a\0b", b"/\0"), "no end");
    assert!(!parse(1, 1, b"a\0b\0", b"w\0"), "not absolute");
    assert!(!parse(1, 1, b"a\0b\0", b"/a\0b\0"), "a NUL inside");
    assert!(!parse(1, 1, b"a\0b\0", b"/a"), "no NUL");
}

#[test]
fn the_largest_report_fits_into_a_message() {
    let words: Vec<u8> = joined(&[std::vec![b'x'; 300]]).repeat(4000);
    let long = std::vec![b'y'; 255];
    let head = std::vec![b'h'; report::INPUT_HEAD];
    let mut out = Out(Vec::new());
    Began {
        seq: 1,
        argv: Words(&words),
        argv_cut: false,
        env: Words(&words),
        env_cut: false,
        cwd: &[b'/'; MAX_CWD],
        parent: Words(&words[..511]),
        stdin: Stream { head: &head, ..Stream::unseen(Kind::Pipe) },
        stdout: Kind::Pipe,
        stderr: Kind::Pipe,
    }
    .encode(&mut out);
    assert!(out.0.len() <= report::MAX_REPORT, "{}", out.0.len());
    let Some(Report::Began(began)) = Report::decode(&out.0) else { panic!("not read back") };
    assert!(began.argv_cut && began.env_cut);
    assert_eq!(began.argv.count(), (64 << 10) / 304);

    let stream = Stream { head: &head[..report::OUTPUT_HEAD], ..Stream::unseen(Kind::Pipe) };
    let mut out = Out(Vec::new());
    Ended {
        seq: 1,
        how: How::Exited(0),
        stdin: Some(Stream { head: &head, ..stream }),
        stdout: stream,
        stderr: stream,
        merged: false,
        files: (0..2000).map(|_| (&long[..], true)),
        wall_us: 0,
        user_us: 0,
        sys_us: 0,
    }
    .encode(&mut out);
    assert!(out.0.len() <= report::MAX_REPORT, "{}", out.0.len());
}

#[test]
fn kinds_of_descriptors() {
    let kind = |mode: u32, major: u64, minor: u64| {
        kind_of(&Stat { mode, rdev: major << 8 | minor, ..Stat::default() })
    };
    assert_eq!(kind(0o100644, 0, 0), Kind::File);
    assert_eq!(kind(0o010600, 0, 0), Kind::Pipe);
    assert_eq!(kind(0o140777, 0, 0), Kind::Socket);
    assert_eq!(kind(0o020666, 1, 3), Kind::Null);
    assert_eq!(kind(0o020666, 1, 7), Kind::Device);
    assert_eq!(kind(0o020620, 136, 0), Kind::Terminal);
    assert_eq!(kind(0o020666, 5, 0), Kind::Terminal);
    assert_eq!(kind(0o060660, 8, 0), Kind::Device);
    assert_eq!(kind(0o040755, 0, 0), Kind::Other);
    assert_eq!(kind(0, 0, 0), Kind::Other, "anonymous inodes have no type");
}

/// A directory of this test's own.
fn fresh(name: &str) -> (std::path::PathBuf, Vec<u8>) {
    let dir = std::env::temp_dir().join(std::format!("look-{name}-{}", std::process::id()));
    // Left by a run that was killed, with the same number.
    let _old = std::fs::remove_dir_all(&dir);
    std::fs::create_dir(&dir).unwrap();
    let path = [dir.as_os_str().as_encoded_bytes(), b"\0"].concat();
    (dir, path)
}

fn changes(before: &Look, after: &Look) -> Vec<(String, bool)> {
    let mut changes: Vec<_> = after
        .since(before)
        .map(|(path, new)| (String::from_utf8_lossy(path).into_owned(), new))
        .collect();
    changes.sort();
    changes
}

#[test]
fn a_second_look_finds_what_is_new_and_what_changed() {
    let (dir, path) = fresh("changes");
    std::fs::create_dir(dir.join("sub")).unwrap();
    for name in ["same", "grown", "replaced", "removed", "sub/same", "sub/grown"] {
        std::fs::write(dir.join(name), "a").unwrap();
    }
    let argv = Words(b"prog\0sub/grown\0sub/same\0sub/new\0-x/y\0/nonexistent/z\0");
    let mut names = Buf::new(4096);
    let mut before = Look::new();
    before.take(CStr::new(&path).unwrap(), argv, &mut names);
    for name in ["grown", "sub/grown", "sub/new", "new"] {
        std::fs::write(dir.join(name), "longer").unwrap();
    }
    std::fs::write(dir.join("other"), "b").unwrap();
    std::fs::rename(dir.join("other"), dir.join("replaced")).unwrap();
    std::fs::remove_file(dir.join("removed")).unwrap();
    let mut after = before.successor();
    after.take(CStr::new(&path).unwrap(), argv, &mut names);
    let expected = [
        ("grown", false),
        ("new", true),
        ("replaced", false),
        ("sub/grown", false),
        ("sub/new", true),
    ];
    assert_eq!(changes(&before, &after), expected.map(|(n, new)| (String::from(n), new)));
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn of_a_large_directory_only_arguments_are_looked_at() {
    let (dir, path) = fresh("large");
    for i in 0..600 {
        std::fs::write(dir.join(std::format!("f{i}")), "").unwrap();
    }
    let argv = Words(b"prog\0f7\0out\0");
    let mut names = Buf::new(4096);
    let mut before = Look::new();
    before.take(CStr::new(&path).unwrap(), argv, &mut names);
    for name in ["f7", "f8", "out", "unnamed"] {
        std::fs::write(dir.join(name), "changed").unwrap();
    }
    // Even if it is small by then.
    for i in 100..600 {
        std::fs::remove_file(dir.join(std::format!("f{i}"))).unwrap();
    }
    let mut after = before.successor();
    after.take(CStr::new(&path).unwrap(), argv, &mut names);
    let expected = [("f7", false), ("out", true)];
    assert_eq!(changes(&before, &after), expected.map(|(n, new)| (String::from(n), new)));
    std::fs::remove_dir_all(dir).unwrap();
}
