//! What pytest tells us while it runs, over a socket that the program under test cannot speak on.
//!
//! A fresh key is put into the socket; the plugin reads it before any test runs, and authenticates each message with it and a
//! running number. Whoever gets hold of the descriptor later (the suite's shell has it too) can neither read the key nor make
//! a message that counts; at worst he spoils one, and a spoilt test has not passed.

use super::error::EvalError;
use reenact_sandbox::SandboxError;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Bytes of a message; names of tests can be long.
const LINE: usize = 1 << 20;
/// Bytes of a session.
const TOTAL: u64 = 1 << 30;
/// Tests of a session.
const TESTS: usize = 1_000_000;
/// Processes of pytest that are given a key, one after the other.
const KEYS: u32 = 100;
/// What a pytest says that finds no key.
const LATER: &[u8] = b"later";

/// What was told of one test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Told {
    Passed,
    Failed,
    Skipped,
    /// Told twice, with different outcomes.
    Contradictory,
    /// By a worker that replaced one that died, and so was started after the program under test.
    LateWorker,
    /// After code had been loaded that was changed while the tests ran.
    AfterChange,
}

/// Everything that a session told.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// By the name that JUnit has for it.
    pub tests: BTreeMap<String, Told>,
    /// pytest began.
    pub begun: bool,
    /// pytest came to its end.
    pub ended: bool,
    /// With this exit status.
    #[serde(default)]
    pub status: Option<i64>,
    /// Processes of pytest that came after one which had collected or run tests, and so had no key.
    #[serde(default)]
    pub later: u32,
    /// When it began: nanoseconds since 1970, by the clock that files have their times from.
    #[serde(default)]
    pub began: Option<u64>,
    /// Code that was changed while the tests ran and then loaded by pytest, at most 100 files; nothing told later counts.
    #[serde(default)]
    pub changed: Vec<String>,
    /// The process that told is closed to others of its user.
    pub hidden: bool,
    /// Lines that were not the plugin's.
    pub foreign: u64,
    /// Files that could not be collected.
    pub not_collected: Vec<String>,
    /// `pytest`'s and Python's version.
    pub versions: Option<(String, String)>,
}

#[derive(Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Message {
    Hello {
        pytest: String,
        python: String,
        hidden: bool,
        began: u64,
    },
    Changed {
        path: String,
    },
    Test {
        name: String,
        phases: BTreeMap<String, String>,
        late: bool,
    },
    Collect {
        name: String,
    },
    Bye {
        status: i64,
    },
    /// The process ends, and has loaded nothing of the suite: no test was collected.
    Untested {},
}

/// What the harness does on the channel.
#[derive(Debug, PartialEq, Eq)]
enum Reply {
    /// A key for the next process.
    Key([u8; 32]),
    /// Nobody gets another.
    NoMore,
}

/// Our end, listening.
pub(super) struct Channel {
    listener: JoinHandle<Evidence>,
    over: Arc<AtomicBool>,
}

impl Channel {
    /// A channel, and the descriptor to pass on.
    pub(super) fn open() -> Result<(Self, OwnedFd), EvalError> {
        let host = |what: &str| {
            let what = format!("cannot {what} the tests' channel");
            move |e| SandboxError::host(what, e)
        };
        let (mut ours, theirs) = UnixStream::pair().map_err(host("make"))?;
        let key = random_key().map_err(host("make a key for"))?;
        ours.write_all(hex(&key).as_bytes()).map_err(host("write to"))?;
        ours.set_read_timeout(Some(Duration::from_millis(20))).map_err(host("set up"))?;
        let over = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&over);
        let listener = std::thread::Builder::new()
            .name("channel".to_owned())
            .spawn(move || listen(ours, key, &flag))
            .map_err(host("listen on"))?;
        Ok((Self { listener, over }, theirs.into()))
    }

    /// After the command's end: what was told.
    pub(super) fn close(self) -> Evidence {
        self.over.store(true, Ordering::SeqCst);
        // It panics for no input; nothing told is the safe answer all the same.
        self.listener.join().unwrap_or_default()
    }
}

fn random_key() -> std::io::Result<[u8; 32]> {
    let mut key = [0; 32];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut key)?;
    Ok(key)
}

/// Reads until everybody has closed the other end, or the command has ended and nothing is left.
fn listen(mut socket: UnixStream, key: [u8; 32], over: &AtomicBool) -> Evidence {
    let mut reader = LineReader::new(&key);
    let mut buffer = [0; 64 << 10];
    let mut total = 0u64;
    loop {
        // Asked before reading: what was sent before the end is read after it.
        let last = over.load(Ordering::SeqCst);
        match socket.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => {
                total += n as u64;
                if total > TOTAL {
                    break;
                }
                reader.take(&buffer[..n]);
                // It has room: whoever asks has read the key before. Who gets none in time tells nothing.
                let _told = match reader.reply.take() {
                    Some(Reply::Key(key)) => socket.write_all(hex(&key).as_bytes()),
                    Some(Reply::NoMore) => socket.shutdown(Shutdown::Write),
                    None => Ok(()),
                };
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                if last {
                    break;
                }
            }
            Err(_) => break,
        }
    }
    reader.evidence
}

/// Takes bytes, keeps what is authentic.
struct LineReader {
    key: Vec<u8>,
    keys: u32,
    /// Nobody gets another key: pytest has been at the suite.
    closed: bool,
    reply: Option<Reply>,
    line: Vec<u8>,
    too_long: bool,
    next: u64,
    evidence: Evidence,
}

impl LineReader {
    fn new(key: &[u8]) -> Self {
        Self {
            key: key.to_vec(),
            keys: 1,
            closed: false,
            reply: None,
            line: Vec::new(),
            too_long: false,
            next: 0,
            evidence: Evidence::default(),
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        for part in bytes.split_inclusive(|b| *b == b'\n') {
            let (text, whole) = match part.split_last() {
                Some((b'\n', text)) => (text, true),
                _ => (part, false),
            };
            if self.line.len() + text.len() > LINE {
                self.too_long = true;
            } else {
                self.line.extend_from_slice(text);
            }
            if whole {
                let line = std::mem::take(&mut self.line);
                if std::mem::take(&mut self.too_long) || !(line.is_empty() || self.message(&line)) {
                    self.evidence.foreign += 1;
                }
            }
        }
    }

    /// One line: `<mac> <number> <json>`. False if it is not the plugin's.
    fn message(&mut self, line: &[u8]) -> bool {
        if line == LATER {
            // Anybody can say it, but a pytest has no reason to while it could still have a key.
            if self.closed {
                self.evidence.later = self.evidence.later.saturating_add(1);
            }
            return self.closed;
        }
        let Some(space) = line.iter().position(|b| *b == b' ') else { return false };
        let (mac, body) = (&line[..space], &line[space + 1..]);
        if mac != hex(&hmac(&self.key, body)).as_bytes() {
            return false;
        }
        let Some(space) = body.iter().position(|b| *b == b' ') else { return false };
        let number = std::str::from_utf8(&body[..space]).ok().and_then(|n| n.parse::<u64>().ok());
        // A message that was spoilt on its way is missing, which costs its test alone; an old one does not count again.
        let Some(number) = number.filter(|n| *n >= self.next) else { return false };
        let Ok(message) = serde_json::from_slice(&body[space + 1..]) else { return false };
        self.next = number + 1;
        self.record(message);
        true
    }

    /// Another key, if no test was collected: modules that are loaded can start the program under test, which could take the
    /// shell's descriptor then, and read a key that comes later.
    fn next_process(&mut self) {
        let untouched = !self.closed && self.evidence.tests.is_empty() && self.keys < KEYS;
        let Some(key) = random_key().ok().filter(|_| untouched) else { return };
        (self.key, self.next) = (key.to_vec(), 0);
        self.keys += 1;
        self.reply = Some(Reply::Key(key));
    }

    fn record(&mut self, message: Message) {
        let evidence = &mut self.evidence;
        match message {
            Message::Hello { pytest, python, hidden, began } => {
                evidence.hidden = hidden && (evidence.hidden || !evidence.begun);
                evidence.begun = true;
                // What changed since the first.
                evidence.began.get_or_insert(began);
                evidence.versions = Some((pytest, python));
            }
            Message::Changed { path } => {
                if evidence.changed.len() < 100 {
                    evidence.changed.push(path);
                }
            }
            Message::Bye { status } => {
                (evidence.ended, evidence.status) = (true, Some(status));
                // A session that ends has collected; others, as for `--version`, have none.
                self.closed = true;
                self.reply = Some(Reply::NoMore);
            }
            Message::Untested {} => self.next_process(),
            Message::Collect { name } => {
                if evidence.not_collected.len() < 1000 {
                    evidence.not_collected.push(name);
                }
            }
            Message::Test { name, phases, late } => {
                let told = match (evidence.changed.is_empty(), late) {
                    (false, _) => Told::AfterChange,
                    (true, true) => Told::LateWorker,
                    (true, false) => outcome(&phases),
                };
                if evidence.tests.len() >= TESTS {
                    return;
                }
                evidence
                    .tests
                    .entry(name)
                    .and_modify(|before| {
                        if *before != told {
                            *before = Told::Contradictory;
                        }
                    })
                    .or_insert(told);
            }
        }
    }
}

/// A test's outcome from those of its phases: `passed`, `failed`, `skipped`, `xfailed`, `xpassed`.
fn outcome(phases: &BTreeMap<String, String>) -> Told {
    let is = |what: &str| phases.values().any(|o| o == what);
    if is("failed") {
        return Told::Failed;
    }
    if is("skipped") || is("xfailed") {
        return Told::Skipped;
    }
    match phases.get("call").map(String::as_str) {
        Some("passed" | "xpassed") => Told::Passed,
        _ => Told::Failed,
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, b| {
        // Writing to a string cannot fail.
        let _written = write!(out, "{b:02x}");
        out
    })
}

/// HMAC-SHA256 (RFC 2104) with a key of at most 64 bytes.
fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let pad = |with: u8| {
        let mut block = [with; 64];
        block.iter_mut().zip(key).for_each(|(b, k)| *b ^= k);
        block
    };
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEY: &[u8] = b"a key that nobody else has";

    fn line(number: u64, json: &str) -> Vec<u8> {
        line_with(KEY, number, json)
    }

    fn line_with(key: &[u8], number: u64, json: &str) -> Vec<u8> {
        let body = format!("{number} {json}");
        format!("\n{} {body}\n", hex(&hmac(key, body.as_bytes()))).into_bytes()
    }

    fn test(number: u64, name: &str, call: &str) -> Vec<u8> {
        line(
            number,
            &format!(
                r#"{{"event":"test","name":"{name}","phases":{{"setup":"passed","call":"{call}","teardown":"passed"}},"late":false}}"#
            ),
        )
    }

    fn read(parts: &[Vec<u8>]) -> Evidence {
        let mut reader = LineReader::new(KEY);
        parts.iter().for_each(|p| reader.take(p));
        reader.evidence
    }

    #[test]
    fn hmac_is_the_standards() {
        // RFC 4231, test case 2.
        let mac = hmac(b"Jefe", b"what do ya want for nothing?");
        assert_eq!(hex(&mac), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }

    #[test]
    fn only_authentic_messages_in_order_count() {
        let mut forged = test(1, "b", "passed");
        forged[5] ^= 1;
        let old = test(0, "a", "passed");
        let got =
            read(&[test(0, "a", "failed"), forged, old, b"junk".to_vec(), test(2, "c", "passed")]);
        assert_eq!(
            got.tests,
            BTreeMap::from([("a".into(), Told::Failed), ("c".into(), Told::Passed)])
        );
        assert_eq!(got.foreign, 3);
    }

    #[test]
    fn nothing_counts_once_code_was_changed() {
        let got = read(&[
            line(0, r#"{"event":"hello","pytest":"7","python":"3","hidden":true,"began":5}"#),
            test(1, "a", "passed"),
            line(2, r#"{"event":"changed","path":"/workspace/json.py"}"#),
            test(3, "b", "passed"),
            test(4, "a", "passed"),
        ]);
        let told: Vec<Told> = got.tests.values().copied().collect();
        assert_eq!(told, [Told::Contradictory, Told::AfterChange]);
        assert_eq!((got.began, got.changed), (Some(5), vec!["/workspace/json.py".to_owned()]));
    }

    #[test]
    fn the_next_process_has_a_key_if_no_test_was_collected() {
        let hello = |hidden: bool, began: u64| {
            format!(
                r#"{{"event":"hello","pytest":"7","python":"3","hidden":{hidden},"began":{began}}}"#
            )
        };
        let (bye, untested) = (r#"{"event":"bye","status":0}"#, r#"{"event":"untested"}"#);
        let mut reader = LineReader::new(KEY);
        reader.take(&[line(0, &hello(true, 5)), line(1, untested)].concat());
        let Some(Reply::Key(key)) = reader.reply.take() else { panic!("no key") };
        // The old key is worth nothing now.
        reader.take(&test(3, "a", "passed"));
        let told = r#"{"event":"test","name":"b","phases":{"call":"passed"},"late":false}"#;
        reader.take(&[line_with(&key, 0, &hello(true, 9)), line_with(&key, 1, told)].concat());
        assert_eq!((reader.evidence.tests.len(), reader.evidence.foreign), (1, 1));
        assert_eq!((reader.evidence.began, reader.evidence.hidden), (Some(5), true));
        // Once tests were run, nobody gets another.
        reader.take(&line_with(&key, 2, untested));
        assert_eq!(reader.reply.take(), None);
        reader.take(&[line_with(&key, 3, bye), b"\nlater\n".to_vec()].concat());
        assert_eq!(reader.reply.take(), Some(Reply::NoMore));
        assert_eq!((reader.evidence.later, reader.evidence.status), (1, Some(0)));
        // After a session nobody does, even one without tests (`--collect-only`): it may have started the program.
        let mut reader = LineReader::new(KEY);
        reader.take(&[line(0, &hello(true, 5)), b"\nlater\n".to_vec(), line(1, bye)].concat());
        assert_eq!(reader.reply.take(), Some(Reply::NoMore));
        assert_eq!((reader.evidence.later, reader.evidence.foreign), (0, 1), "none before its end");
        reader.take(&[line(2, untested), b"\nlater\n".to_vec()].concat());
        assert_eq!((reader.reply.take(), reader.evidence.later), (None, 1));
        // One process that can be looked into is enough.
        let mut reader = LineReader::new(KEY);
        reader.take(&[line(0, &hello(false, 5)), line(1, untested)].concat());
        let Some(Reply::Key(key)) = reader.reply.take() else { panic!("no key") };
        reader.take(&line_with(&key, 0, &hello(true, 9)));
        assert!(!reader.evidence.hidden);
    }

    #[test]
    fn a_test_told_twice_must_be_told_the_same() {
        let got = read(&[
            test(0, "a", "passed"),
            test(1, "a", "passed"),
            test(2, "b", "failed"),
            test(3, "b", "passed"),
            line(4, r#"{"event":"test","name":"c","phases":{"call":"passed"},"late":true}"#),
            line(5, r#"{"event":"test","name":"d","phases":{"setup":"skipped"},"late":false}"#),
            line(
                6,
                r#"{"event":"test","name":"e","phases":{"call":"passed","teardown":"failed"},"late":false}"#,
            ),
            line(7, r#"{"event":"test","name":"f","phases":{"???":"failed"},"late":false}"#),
            line(8, r#"{"event":"bye","status":1}"#),
        ]);
        let told: Vec<Told> = got.tests.values().copied().collect();
        use Told::{Contradictory, Failed, LateWorker, Passed, Skipped};
        assert_eq!(told, [Passed, Contradictory, LateWorker, Skipped, Failed, Failed]);
        assert!(got.ended && got.foreign == 0);
    }

    proptest! {
        #[test]
        fn how_the_bytes_are_cut_does_not_matter(cuts in prop::collection::vec(1usize..50, 1..20), noise in "[a-f0-9 \n]{0,40}") {
            let all: Vec<u8> = [test(0, "a", "passed"), noise.into_bytes(), test(1, "b", "failed")].concat();
            let whole = read(std::slice::from_ref(&all));
            let (mut rest, mut parts) = (&all[..], Vec::new());
            for cut in cuts.iter().cycle() {
                if rest.is_empty() { break; }
                let (now, later) = rest.split_at((*cut).min(rest.len()));
                parts.push(now.to_vec());
                rest = later;
            }
            prop_assert_eq!(&read(&parts), &whole);
            prop_assert_eq!(whole.tests.len(), 2);
        }
    }
}
