//! Trajectories in mini-swe-agent's format, appended after every step.
//!
//! `RUN/<id>/<id>.traj.json` is one valid JSON value after each append; an append costs what it adds plus the short tail
//! (`reenact_interop::trajectory::lines` describes the layout). A kill at any byte loses at most the append under way, and
//! [`Trajectory::open`] repairs the file. Full outputs of commands go to `RUN/<id>/blobs` where they are not small.

use super::blobs::Blobs;
use crate::error::CleanroomError;
use reenact_bundle::fsx::{fs_error, read, write_atomic};
use reenact_interop::trajectory::{BlobRef, Extra, Info, Message, Stats, lines};
use reenact_model::FormatError;
use serde_json::{Map, Value, json};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Outputs up to this many bytes stand in the trajectory itself, if they are text.
pub const INLINE_OUTPUT: usize = 4096;

/// What is fixed when a trajectory begins.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Header {
    /// The task.
    pub instance_id: String,
    /// `info.config`, as mini-swe-agent has it: `agent`, `agent_type`, `model`, `model_type`, `environment`,
    /// `environment_type`. Written again with every append: keep it short, and keep secrets out.
    pub config: Map<String, Value>,
    /// Further keys of the root's own `reenact` object: digests of policy and prompts, the attempt, the harness.
    pub reenact: Map<String, Value>,
}

/// A trajectory being written.
///
/// ```text
/// let mut t = Trajectory::open_or_create(&path, &header)?;       // a resumed attempt goes on where it was
/// let mut extra = Extra { returncode: Some(0), timestamp: Some(now_s()), ..Extra::default() };
/// t.keep_output(&mut extra, &everything_it_printed)?;
/// t.append(&[Message::tool("call_1", shown).with_extra(extra)])?; // one step's messages in one call
/// t.append(&[Message::exit("Submitted", "")])?;                   // sets info.exit_status and info.submission
/// ```
///
/// `info.model_stats`, `info.exit_status` and `info.submission` follow from the messages: a message with `extra.cost`, or of
/// role `assistant`, is one call of the model; its tokens are read from `extra.response.usage`
/// ([`reenact_interop::trajectory::Usage::to_response`]).
#[derive(Debug)]
pub struct Trajectory {
    path: PathBuf,
    file: File,
    blobs: Blobs,
    info: Info,
    stats: Stats,
    messages: usize,
    /// Where the tail begins.
    tail: u64,
    /// The file's length.
    len: u64,
    /// [`Trajectory::open`] found the file torn and repaired it.
    pub repaired: bool,
}

/// Seconds since the epoch, for `extra.timestamp`.
pub fn now_s() -> f64 {
    jiff::Timestamp::now().as_duration().as_secs_f64()
}

impl Trajectory {
    /// Begins a trajectory at `path`, which is replaced if it is there; blobs go to `blobs` beside it.
    ///
    /// # Errors
    /// I/O, naming the path.
    pub fn create(path: &Path, header: &Header) -> Result<Self, CleanroomError> {
        let mut ours = header.reenact.clone();
        ours.insert("config".to_owned(), Value::Object(header.config.clone()));
        let rest = Map::from_iter([("reenact".to_owned(), Value::Object(ours))]);
        let mut bytes = lines::head(&header.instance_id, &rest).into_bytes();
        let info = fresh_info(Value::Object(header.config.clone()));
        bytes.extend_from_slice(&block(path, true, &[], &info)?.0);
        write_atomic(path, &bytes)?;
        Self::open(path)
    }

    /// Opens a trajectory to go on with it, and repairs what a kill left of it.
    ///
    /// # Errors
    /// I/O; [`FormatError`] if the file was not begun by [`Trajectory::create`].
    pub fn open(path: &Path) -> Result<Self, CleanroomError> {
        let bytes = read(path)?;
        let scan = lines::scan(&bytes).ok_or_else(|| {
            FormatError::file(path, "is no trajectory of reenact's own that could be continued")
        })?;
        let head = lines::head_value(&bytes[..scan.head]).unwrap_or_default();
        let config = head.get("reenact").and_then(|r| r.get("config")).cloned();
        let mut stats = Stats::default();
        for range in &scan.messages {
            stats.add(&parse(path, &bytes[range.clone()])?);
        }
        let stored = if scan.whole { lines::info(&bytes[scan.tail..]) } else { None };
        let file =
            OpenOptions::new().read(true).write(true).open(path).map_err(fs_error(path, "open"))?;
        let mut trajectory = Self {
            path: path.to_path_buf(),
            file,
            blobs: Blobs::of(path.parent().unwrap_or(Path::new("."))),
            info: stored.unwrap_or_else(|| fresh_info(config.unwrap_or_else(|| json!({})))),
            stats,
            messages: scan.messages.len(),
            tail: scan.tail as u64,
            len: bytes.len() as u64,
            repaired: !scan.whole,
        };
        if trajectory.repaired {
            trajectory.write(&[])?;
        }
        Ok(trajectory)
    }

    /// [`Trajectory::open`] if the file is there, else [`Trajectory::create`].
    ///
    /// # Errors
    /// As both.
    pub fn open_or_create(path: &Path, header: &Header) -> Result<Self, CleanroomError> {
        if path.exists() { Self::open(path) } else { Self::create(path, header) }
    }

    /// Appends messages: all of them are on disk when this returns, or (after a kill) none beyond a prefix of them.
    ///
    /// # Errors
    /// I/O; after an error the trajectory stands as before, and the append may be tried again.
    pub fn append(&mut self, messages: &[Message]) -> Result<(), CleanroomError> {
        self.write(messages)
    }

    /// Sets a key of `info` (for instance `traceback`); keys that follow from the messages are set anew at the next write.
    ///
    /// # Errors
    /// As [`Trajectory::append`].
    pub fn set_info(&mut self, key: &str, value: Value) -> Result<(), CleanroomError> {
        self.info.rest.insert(key.to_owned(), value);
        self.write(&[])
    }

    /// Keeps everything a command printed: in `extra.raw_output` if it is small text, else as a blob that
    /// `extra.raw_output_blob` names.
    ///
    /// # Errors
    /// I/O.
    pub fn keep_output(&self, extra: &mut Extra, output: &[u8]) -> Result<(), CleanroomError> {
        if output.len() <= INLINE_OUTPUT
            && let Ok(text) = std::str::from_utf8(output)
        {
            extra.raw_output = Some(text.to_owned());
            return Ok(());
        }
        let taken = self.blobs.put(output)?;
        extra.raw_output_blob = Some(BlobRef { sha256: taken.sha256, size: taken.size });
        Ok(())
    }

    /// All messages, read from the file: it is the truth.
    ///
    /// # Errors
    /// I/O.
    pub fn messages(&self) -> Result<Vec<Message>, CleanroomError> {
        let bytes = read(&self.path)?;
        let scan = lines::scan(&bytes);
        let ranges = scan.into_iter().flat_map(|s| s.messages);
        Ok(ranges.map(|r| parse(&self.path, &bytes[r])).collect::<Result<_, _>>()?)
    }

    /// Number of messages.
    pub fn len(&self) -> usize {
        self.messages
    }

    /// Whether there is no message yet.
    pub fn is_empty(&self) -> bool {
        self.messages == 0
    }

    /// Totals over the messages.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// The attempt's blobs.
    pub fn blobs(&self) -> &Blobs {
        &self.blobs
    }

    fn write(&mut self, messages: &[Message]) -> Result<(), CleanroomError> {
        let mut stats = self.stats.clone();
        messages.iter().for_each(|m| stats.add(m));
        let mut info = self.info.clone();
        stats.write(&mut info);
        let (mut bytes, tail) = block(&self.path, self.messages == 0, messages, &info)?;
        // The write covers the old tail to its end, so that whatever it leaves is whole.
        let end = self.tail + bytes.len() as u64;
        bytes
            .resize(bytes.len() + usize::try_from(self.len.saturating_sub(end)).unwrap_or(0), b' ');
        if let Err(error) = self.file.write_all_at(&bytes, self.tail) {
            let grown = self.file.metadata().map_or(end, |m| m.len());
            self.len = self.len.max(grown);
            return Err(fs_error(&self.path, "write")(error).into());
        }
        self.len = self.len.max(end);
        self.tail += tail as u64;
        self.messages += messages.len();
        (self.stats, self.info) = (stats, info);
        Ok(())
    }
}

fn fresh_info(config: Value) -> Info {
    Info { config, ..Info::default() }.derived(&[])
}

fn parse(path: &Path, line: &[u8]) -> Result<Message, FormatError> {
    serde_json::from_slice(line).map_err(|e| FormatError::file(path, e.to_string()))
}

fn block(
    path: &Path,
    first: bool,
    messages: &[Message],
    info: &Info,
) -> Result<(Vec<u8>, usize), CleanroomError> {
    lines::block(first, messages, info).map_err(|e| {
        fs_error(path, "write")(std::io::Error::new(std::io::ErrorKind::InvalidData, e)).into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use reenact_interop::trajectory::{MiniTrajectory, ToolCall, Usage, read_mini};

    fn header() -> Header {
        let config = Map::from_iter([("agent_type".to_owned(), json!("bash"))]);
        Header { instance_id: "t".to_owned(), config, ..Header::default() }
    }

    /// A step: a reply with a command, and its output.
    fn step(n: usize, output: &str) -> [Message; 2] {
        let call = ToolCall::new(format!("c{n}"), "bash", "{\"command\":\"ls\"}");
        let mut said = Message::assistant(Some(format!("step {n}")), vec![call]);
        said.extra.cost = Some(0.5);
        let usage = Usage { prompt_tokens: 10, completion_tokens: 2, cached_tokens: 4 };
        said.extra.response = Some(usage.to_response("m"));
        [said, Message::tool(format!("c{n}"), output)]
    }

    #[test]
    fn every_append_leaves_one_valid_document_with_its_totals() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("t.traj.json");
        let mut t = Trajectory::create(&path, &header()).unwrap();
        assert!(t.is_empty());
        let mut all = Vec::new();
        for n in 0..5 {
            let messages = step(n, "out\n\"]},\n");
            t.append(&messages).unwrap();
            all.extend(messages);
            let bytes = std::fs::read(&path).unwrap();
            let plain: MiniTrajectory = serde_json::from_slice(&bytes).unwrap();
            assert_eq!(plain.messages, all);
            assert_eq!(plain.info.model_stats.api_calls, n as u64 + 1);
            assert_eq!(plain.info.config["agent_type"], "bash");
            assert_eq!(plain.instance_id.as_deref(), Some("t"));
        }
        t.set_info("traceback", json!("a very long text that goes away")).unwrap();
        t.set_info("traceback", json!("")).unwrap();
        let end = Message::exit("Submitted", "bye");
        t.append(std::slice::from_ref(&end)).unwrap();
        all.push(end);
        assert_eq!((t.len(), t.messages().unwrap()), (11, all.clone()));

        let read = read_mini(&path, &std::fs::read(&path).unwrap()).unwrap();
        assert!(!read.torn);
        let info = read.trajectory.info;
        assert_eq!(info.exit_status.as_deref(), Some("Submitted"));
        assert_eq!(info.submission.as_deref(), Some("bye"));
        assert_eq!(
            (info.model_stats.instance_cost, info.rest["traceback"].as_str()),
            (2.5, Some(""))
        );
        assert_eq!(info.model_stats.rest["prompt_tokens"], 50);
    }

    #[test]
    fn a_reopened_trajectory_goes_on_as_if_nothing_had_happened() {
        let temp = tempfile::tempdir().unwrap();
        let (once, twice) = (temp.path().join("a.traj.json"), temp.path().join("b.traj.json"));
        let mut whole = Trajectory::create(&once, &header()).unwrap();
        for n in 0..4 {
            whole.append(&step(n, "x")).unwrap();
        }
        for n in 0..4 {
            let mut t = Trajectory::open_or_create(&twice, &header()).unwrap();
            assert!(!t.repaired);
            t.append(&step(n, "x")).unwrap();
        }
        assert_eq!(std::fs::read(&once).unwrap(), std::fs::read(&twice).unwrap());
    }

    #[test]
    fn what_a_kill_leaves_is_repaired_and_loses_only_the_append_under_way() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("t.traj.json");
        let mut t = Trajectory::create(&path, &header()).unwrap();
        t.append(&step(0, "first")).unwrap();
        let old = std::fs::read(&path).unwrap();
        t.append(&step(1, "second")).unwrap();
        let new = std::fs::read(&path).unwrap();
        let all = t.messages().unwrap();
        drop(t);
        for cut in 0..=new.len() {
            let mut torn = new[..cut].to_vec();
            torn.extend(old.get(cut..).unwrap_or_default());
            std::fs::write(&path, &torn).unwrap();
            let mut t = Trajectory::open(&path).unwrap();
            let kept = t.len();
            assert!((2..=4).contains(&kept), "cut {cut}: {kept}");
            assert_eq!(t.messages().unwrap(), all[..kept]);
            let repaired: MiniTrajectory =
                serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            assert_eq!(repaired.messages, all[..kept]);
            assert_eq!(repaired.info.config["agent_type"], "bash");
            t.append(&all[kept..]).unwrap();
            let plain: MiniTrajectory =
                serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            assert_eq!(plain.messages, all);
            assert_eq!(plain.info.model_stats.api_calls, 2);
        }
    }

    #[test]
    fn outputs_are_kept_whole_inline_or_beside() {
        let temp = tempfile::tempdir().unwrap();
        let t = Trajectory::create(&temp.path().join("t.traj.json"), &header()).unwrap();
        let keep = |bytes: &[u8]| {
            let mut extra = Extra::default();
            t.keep_output(&mut extra, bytes).unwrap();
            extra
        };
        assert_eq!(keep(b"small").raw_output.as_deref(), Some("small"));
        for big in [vec![b'a'; INLINE_OUTPUT + 1], vec![0xff; 3]] {
            let extra = keep(&big);
            let blob = extra.raw_output_blob.unwrap();
            assert_eq!((extra.raw_output, blob.size), (None, big.len() as u64));
            assert_eq!(t.blobs().get(&blob.sha256).unwrap(), big);
        }
    }

    #[test]
    fn only_our_own_files_are_continued_and_a_full_disk_is_an_error_that_heals() {
        let temp = tempfile::tempdir().unwrap();
        let foreign = temp.path().join("foreign.traj.json");
        std::fs::write(&foreign, "{\"messages\": []}").unwrap();
        let error = Trajectory::open(&foreign).unwrap_err();
        assert!(error.to_string().contains("foreign.traj.json"), "{error}");
        assert_eq!(std::fs::read(&foreign).unwrap(), b"{\"messages\": []}", "left alone");

        let path = temp.path().join("t.traj.json");
        let mut t = Trajectory::create(&path, &header()).unwrap();
        t.append(&step(0, "x")).unwrap();
        // A handle that cannot write stands for the full disk.
        let good = std::mem::replace(&mut t.file, File::open(&path).unwrap());
        assert!(t.append(&step(1, "y")).is_err());
        assert_eq!((t.len(), t.messages().unwrap().len()), (2, 2));
        t.file = good;
        t.append(&step(1, "y")).unwrap();
        assert_eq!(t.messages().unwrap().len(), 4);
    }
}
