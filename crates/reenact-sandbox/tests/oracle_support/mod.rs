//! Shared by the oracle's tests: a room with a real program as its reference.
#![allow(dead_code, reason = "each test binary uses a part")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use reenact_sandbox::room::oracle::{OracleEvent, ProbeBegan, ProbeEnded};
use reenact_sandbox::room::{Exec, ExecEnd, Input, OracleSpec, Room, RoomSpec};
use reenact_sandbox::spec::CellLimits;
use reenact_sandbox::{Isolation, Rootfs};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A reference that can be told to do anything: the shell.
pub const SHELL: &str = "/bin/bash";

/// A room and what its oracle reported.
pub struct Bench {
    pub room: Room,
    events: Arc<Mutex<Vec<OracleEvent>>>,
}

/// What a command did.
#[derive(Debug)]
pub struct Done {
    /// Exit code; 128 and the signal if it was killed by one; -1 if we ended it.
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// A room's spec with `reference` under the stub.
pub fn spec(reference: &str) -> RoomSpec {
    RoomSpec {
        rootfs: Rootfs::default(),
        limits: CellLimits {
            memory_bytes: 2 << 30,
            processes: 2000,
            disk_bytes: 512 << 20,
            file_bytes: 512 << 20,
            ..CellLimits::default()
        },
        isolation: Isolation::default(),
        mounts: Vec::new(),
        hostname: "localhost".to_owned(),
        env: BTreeMap::new(),
        oracle: Some(OracleSpec {
            reference: PathBuf::from(reference),
            layers: Vec::new(),
            secure: false,
            own_terminal: false,
        }),
    }
}

impl Bench {
    pub fn new(reference: &str) -> Self {
        Self::with(&spec(reference))
    }

    /// A room whose reference gets terminals of its own.
    pub fn with_terminals(reference: &str) -> Self {
        let mut spec = spec(reference);
        spec.oracle.as_mut().unwrap().own_terminal = true;
        Self::with(&spec)
    }

    pub fn with(spec: &RoomSpec) -> Self {
        let events = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&events);
        let room = Room::start(spec, Box::new(move |e| seen.lock().unwrap().push(e)))
            .unwrap_or_else(|e| panic!("these tests need root or user namespaces: {e}"));
        Self { room, events }
    }

    /// Runs a script with bash in /workspace.
    pub fn sh(&self, script: &str) -> Done {
        self.sh_with(script, Input::Null)
    }

    pub fn sh_with(&self, script: &str, stdin: Input) -> Done {
        let done = self
            .room
            .exec(Exec {
                argv: ["/bin/bash", "-c", script].map(str::to_owned).into(),
                env: BTreeMap::new(),
                cwd: None,
                stdin,
                merge_stderr: false,
                wall: Some(Duration::from_secs(60)),
                keep_bytes: 4 << 20,
                max_bytes: None,
            })
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let code = match done.end {
            ExecEnd::Exit { code } => code,
            ExecEnd::Signal { signal } => 128 + signal,
            _ => -1,
        };
        Done { code, out: text(&done.stdout), err: text(&done.stderr) }
    }

    /// Output of a script that must succeed.
    pub fn out(&self, script: &str) -> String {
        let done = self.sh(script);
        assert_eq!(done.code, 0, "{script}: {done:?}");
        done.out
    }

    pub fn events(&self) -> Vec<OracleEvent> {
        self.events.lock().unwrap().clone()
    }

    /// Both reports of invocation `seq`. The end of one may be reported just after its caller went on.
    pub fn probe(&self, seq: u64) -> (ProbeBegan, ProbeEnded) {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let (mut began, mut ended) = (None, None);
            for event in self.events() {
                match event {
                    OracleEvent::Began(b) if b.seq == seq => began = Some(*b),
                    OracleEvent::Ended(e) if e.seq == seq => ended = Some(*e),
                    _ => {}
                }
            }
            if let (Some(began), Some(ended)) = (began, ended) {
                return (began, ended);
            }
            assert!(Instant::now() < deadline, "no report of {seq}: {:?}", self.events());
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    use sha2::Digest;
    sha2::Sha256::digest(bytes).into()
}
