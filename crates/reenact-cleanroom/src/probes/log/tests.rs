use super::*;
use crate::probes::read;
use proptest::prelude::*;
use reenact_model::probe::{FileChange, Probe, StreamKind};
use reenact_model::{Content, Digest};
use reenact_sandbox::room::oracle::StreamSeen;

fn seen(kind: StreamKind, bytes: &[u8]) -> StreamSeen {
    StreamSeen {
        kind,
        bytes: bytes.len() as u64,
        sha256: reenact_model::digest::from_hex(&Digest::of(bytes).hex())
            .and_then(|raw| raw.try_into().ok()),
        head: bytes.to_vec(),
        complete: true,
    }
}

fn began(seq: u64, args: &[&[u8]]) -> OracleEvent {
    let own: &[u8] = b"./executable";
    OracleEvent::Began(Box::new(ProbeBegan {
        seq,
        argv: [own].iter().chain(args).map(|a| a.to_vec()).collect(),
        argv_cut: false,
        env: [&b"HOME=/home/agent"[..], b"TZ=UTC", b"_=./executable", b"PWD=/workspace"]
            .map(<[u8]>::to_vec)
            .into(),
        env_cut: false,
        cwd: b"/workspace".to_vec(),
        parent: vec![b"bash".to_vec(), b"-c".to_vec()],
        stdin: seen(StreamKind::Pipe, b"in\n"),
        stdout: StreamKind::Pipe,
        stderr: StreamKind::File,
    }))
}

fn ended(seq: u64) -> OracleEvent {
    OracleEvent::Ended(Box::new(ProbeEnded {
        seq,
        ended: Ended::Exit { code: 3 },
        stdin: None,
        stdout: seen(StreamKind::Pipe, b"\xff\0"),
        stderr: seen(StreamKind::File, b""),
        merged: false,
        files: vec![(b"new".to_vec(), true), (b"old\xff".to_vec(), false)],
        wall_us: 120,
        user_us: 30,
        sys_us: 4,
    }))
}

fn base() -> BTreeMap<String, String> {
    [("HOME", "/home/agent"), ("LANG", "C.UTF-8"), ("OLDPWD", "/")]
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .into()
}

fn fresh() -> (tempfile::TempDir, PathBuf, ProbeLog) {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("run").join("t.probes.jsonl");
    let log = ProbeLog::create(&path, base()).unwrap();
    (temp, path, log)
}

fn ids(path: &Path) -> Vec<(u64, bool)> {
    read(path).unwrap().iter().map(|p| (p.id, p.ended.is_some())).collect()
}

#[test]
fn a_line_says_everything_and_the_environment_by_its_difference() {
    let (_temp, path, log) = fresh();
    let mut sink = log.sink();
    log.set_step(Some(7));
    sink(began(1, &[b"-x", b"a\\b\xfe"]));
    log.set_step(None);
    sink(ended(1));
    assert_eq!(std::fs::read(&path).unwrap().iter().filter(|b| **b == b'\n').count(), 1);
    let probe: Probe = read(&path).unwrap().remove(0);
    assert_eq!((probe.id, probe.step), (1, Some(7)), "the step in which it began");
    assert_eq!(probe.argv, ["./executable", "-x", "a\\\\b\\xfe"]);
    assert_eq!(
        probe.env,
        [("TZ".to_owned(), Some("UTC".to_owned())), ("LANG".to_owned(), None)].into()
    );
    assert_eq!((probe.cwd.as_str(), probe.parent.join(" ")), ("/workspace", "bash -c".to_owned()));
    assert_eq!(probe.stdin.head, Some(Content::Text("in\n".to_owned())));
    assert_eq!(probe.stdout.sha256, Some(Digest::of(b"\xff\0")));
    assert_eq!(
        probe.stdout.head.unwrap().bytes(&reenact_model::NoBlobs).unwrap().as_ref(),
        b"\xff\0"
    );
    assert_eq!((probe.stderr.kind, probe.stderr.head), (StreamKind::File, None));
    assert_eq!(
        probe.files,
        [("new".to_owned(), FileChange::Created), ("old\\xff".to_owned(), FileChange::Changed)]
            .into()
    );
    assert_eq!(probe.ended, Some(Ended::Exit { code: 3 }));
    assert_eq!((probe.wall_us, probe.cpu_us), (120, 34));
    assert_eq!(probe.time.len(), "2026-01-01T00:00:00.000Z".len(), "{}", probe.time);
}

#[test]
fn what_is_known_of_a_file_on_stdin_only_at_the_end_counts() {
    let (_temp, path, log) = fresh();
    let mut sink = log.sink();
    sink(began(1, &[]));
    let OracleEvent::Ended(mut end) = ended(1) else { unreachable!("made above") };
    end.stdin = Some(seen(StreamKind::File, b"consumed"));
    sink(OracleEvent::Ended(end));
    let stdin = read(&path).unwrap().remove(0).stdin;
    assert_eq!((stdin.kind, stdin.bytes), (StreamKind::File, 8));
}

#[test]
fn probes_end_in_any_order_and_those_of_a_room_that_ends_have_no_end() {
    let (_temp, path, log) = fresh();
    let (mut first, mut second) = (log.sink(), log.sink());
    first(began(1, &[]));
    first(began(2, &[]));
    second(began(1, &[]));
    first(ended(2));
    first(OracleEvent::Refused { why: "too many".to_owned() });
    drop(first);
    assert_eq!(ids(&path), [(2, true), (1, false)], "another room's probe is not touched");
    assert_eq!((log.count(), log.refused()), (3, 1));
    log.close().unwrap();
    assert_eq!(ids(&path).last(), Some(&(3, false)));
    second(began(2, &[]));
    log.close().unwrap();
    drop(second);
    assert_eq!((log.count(), ids(&path).len()), (3, 3), "nothing comes after the end");
}

#[test]
fn an_end_without_a_beginning_is_no_probe() {
    let (_temp, path, log) = fresh();
    log.sink()(ended(9));
    log.close().unwrap();
    assert_eq!((log.count(), ids(&path)), (0, vec![]));
}

#[test]
fn an_oracle_that_executes_nothing_is_told_from_a_single_bad_call() {
    let (_temp, _path, log) = fresh();
    let mut sink = log.sink();
    assert_eq!(log.never_executed(), None, "nothing was asked");
    let failed = |seq| {
        let OracleEvent::Ended(mut end) = ended(seq) else { unreachable!("made above") };
        end.ended = Ended::ExecFailed { errno: 1, what: "not permitted".to_owned() };
        OracleEvent::Ended(end)
    };
    for (seq, wanted) in [(1, Some("not permitted")), (2, Some("not permitted"))] {
        sink(began(seq, &[]));
        sink(failed(seq));
        assert_eq!(log.never_executed().as_deref(), wanted);
    }
    sink(began(3, &[]));
    sink(ended(3));
    assert_eq!(log.never_executed(), None);
}

#[test]
fn a_resumed_log_goes_on_and_a_torn_line_is_cut() {
    let (_temp, path, log) = fresh();
    let mut sink = log.sink();
    for seq in 1..=2 {
        sink(began(seq, &[]));
        sink(ended(seq));
    }
    drop((sink, log));
    let whole = std::fs::read(&path).unwrap();
    for torn in [&b"{\"id\":3,\"ti"[..], b"\xff", b"{}"] {
        std::fs::write(&path, [&whole, torn].concat()).unwrap();
        assert_eq!(ids(&path), [(1, true), (2, true)], "readers leave the torn line out");
        let log = ProbeLog::open(&path, base()).unwrap();
        assert_eq!(log.count(), 2);
        let mut sink = log.sink();
        sink(began(1, &[]));
        sink(ended(1));
        assert_eq!(ids(&path), [(1, true), (2, true), (3, true)]);
    }
    let missing = path.with_file_name("other.jsonl");
    assert_eq!(ProbeLog::open(&missing, base()).unwrap().count(), 0);
}

#[test]
fn a_bad_line_is_named_with_its_field() {
    let (_temp, path, log) = fresh();
    let mut sink = log.sink();
    sink(began(1, &[]));
    sink(ended(1));
    let good = std::fs::read_to_string(&path).unwrap();
    for (bad, wanted) in [
        (good.replace("\"wall_us\":120", "\"wall_us\":\"long\""), "line 2, field `wall_us`"),
        (good.replace("\"id\":1", "\"id\":0"), "line 2, field `id`: counts from 1"),
        (good.replace("\"cwd\"", "\"shoe\""), "line 2"),
        ("\n".to_owned(), "line 2"),
    ] {
        std::fs::write(&path, format!("{good}{bad}{good}")).unwrap();
        for error in [
            read(&path).map(drop).unwrap_err(),
            ProbeLog::open(&path, base()).map(drop).unwrap_err(),
        ] {
            assert!(error.is_usage() && error.to_string().contains(wanted), "{error}");
        }
    }
}

#[test]
fn a_huge_log_drops_heads_first_and_then_only_counts() {
    let (_temp, path, log) = fresh();
    lock(&log.shared).limits = Limits { heads_until: 1, lines_until: 1200 };
    let mut sink = log.sink();
    for seq in 1..=9 {
        sink(began(seq, &[]));
        sink(ended(seq));
    }
    let probes = read(&path).unwrap();
    assert!(probes[0].stdin.head.is_some() && probes[1].stdin.head.is_none());
    assert_eq!(probes[1].stdin.sha256, Some(Digest::of(b"in\n")), "digests stay");
    assert_eq!((log.count(), log.unwritten() + probes.len() as u64), (9, 9));
    assert!(log.unwritten() > 0);
}

#[test]
fn a_full_disk_is_an_error_at_the_end_and_not_a_silent_gap() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("full");
    std::os::unix::fs::symlink("/dev/full", &path).unwrap();
    let file = OpenOptions::new().append(true).open(&path).unwrap();
    let log = fresh().2;
    lock(&log.shared).file = file;
    let mut sink = log.sink();
    sink(began(1, &[]));
    sink(ended(1));
    assert_eq!((log.count(), log.unwritten()), (1, 1));
    let error = log.close().unwrap_err();
    assert!(!error.is_usage() && error.to_string().contains("cannot write"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    /// A harness may be killed at any byte: what was whole stays, and the log goes on.
    #[test]
    fn every_cut_of_a_log_is_a_log(cut in 0..2000_usize) {
        let (_temp, path, log) = fresh();
        let mut sink = log.sink();
        for seq in 1..=3 {
            sink(began(seq, &[b"a"]));
            sink(ended(seq));
        }
        drop((sink, log));
        let bytes = std::fs::read(&path).unwrap();
        let cut = cut.min(bytes.len());
        let whole = bytes[..cut].iter().filter(|b| **b == b'\n').count();
        std::fs::write(&path, &bytes[..cut]).unwrap();
        prop_assert_eq!(read(&path).unwrap().len(), whole);
        let log = ProbeLog::open(&path, base()).unwrap();
        let mut sink = log.sink();
        sink(began(1, &[]));
        sink(ended(1));
        prop_assert_eq!(read(&path).unwrap().len(), whole + 1);
    }
}
