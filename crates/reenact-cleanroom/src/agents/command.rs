//! `command:CMD`: any agent program, in the cleanroom. Its only way out is the relay; its calls of the model become the
//! trajectory.

mod conversation;
mod steps;

use super::relay::{Books, Relay};
use super::talk::PricedClient;
use crate::error::CleanroomError;
use crate::site::{Agent, AgentEnd, Budget, Site};
use minijinja::{Environment, context};
use reenact_bundle::fsx::fs_error;
use reenact_model::Digest;
use reenact_sandbox::room::{CommandHandle, Exec, ExecEnd, Executed, Input, Sinks};
use reenact_sandbox::spec::HOME;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use steps::Steps;

/// Where an agent's own files are mounted, and its `bin` in PATH.
pub const AGENT_DIR: &str = "/opt/agent";
/// The task's text, in the room. Not in /workspace: it is no part of a submission.
const TASK_FILE: &str = "task.md";
/// Bytes of the agent's output that are kept.
const MOST_LOG: u64 = 64 << 20;
/// Bytes of a trajectory that the agent left.
const MOST_TRAJECTORY: u64 = 256 << 20;
/// How long an agent may go on after its budget is spent.
const GRACE: Duration = Duration::from_secs(60);
/// Provider failures in a row, up to the agent's end, that are an outage.
const OUTAGE: u64 = 1;

const INSTRUCTIONS: &str = include_str!("command/task.jinja");

/// See the module.
pub struct CommandAgent {
    /// Run by `bash -c`, or `sh -c` where there is no bash.
    pub command: String,
    pub model: Arc<PricedClient>,
}

impl CommandAgent {
    /// Digest of the instructions' template.
    pub fn instructions_digest() -> Digest {
        Digest::of(INSTRUCTIONS.as_bytes())
    }
}

impl Agent for CommandAgent {
    fn name(&self) -> &str {
        "command"
    }

    fn drive(&self, site: &Site<'_>) -> Result<AgentEnd, CleanroomError> {
        let listener = site.room.listen(0)?;
        let address = listener.local_addr().map_err(fs_error(site.dir, "listen for"))?;
        let relay = Relay::new(listener, Arc::clone(&self.model), site.policy);
        let books = relay.books();
        let text = instructions(site)?;
        site.room.put_file(&format!("{HOME}/{TASK_FILE}"), 0o644, text.as_bytes())?;
        site.live.doing(&self.command);
        let mut steps = Steps::begin(site, &self.command, &text, self.model.client.endpoint())?;
        let over = AtomicBool::new(false);
        let (executed, served) = std::thread::scope(|scope| {
            let server = scope.spawn(|| {
                let served = relay.serve(&over, |call| steps.record(call));
                if served.is_err() {
                    // Without a record the agent's work would be worth nothing: end it.
                    site.room.stopper().stop();
                }
                served
            });
            let executed = self.execute(site, address.port(), &books, &over);
            over.store(true, Ordering::SeqCst);
            let served = server.join().unwrap_or_else(|_| {
                Err(CleanroomError::Agent { what: "the relay's thread panicked".to_owned() })
            });
            (executed, served)
        });
        served?;
        let executed = executed?;
        let end = self.end(site, &executed, &books)?;
        keep_trajectory(site)?;
        steps.end(&end)?;
        Ok(end)
    }
}

impl CommandAgent {
    /// Runs the program to its end, or to the end of its time, budget, or the user's patience.
    fn execute(
        &self,
        site: &Site<'_>,
        port: u16,
        books: &Books,
        over: &AtomicBool,
    ) -> Result<Executed, CleanroomError> {
        let path = site.dir.join("agent.log");
        let file = File::create(&path).map_err(fs_error(&path, "create"))?;
        let mut log = Log { file, left: MOST_LOG };
        let bash = self.run(site, "bash", port, &mut log, books, over)?;
        match bash.end {
            ExecEnd::NotFound { .. } => self.run(site, "sh", port, &mut log, books, over),
            _ => Ok(bash),
        }
    }

    fn run(
        &self,
        site: &Site<'_>,
        shell: &str,
        port: u16,
        log: &mut Log,
        books: &Books,
        over: &AtomicBool,
    ) -> Result<Executed, CleanroomError> {
        let exec = Exec {
            argv: [shell, "-c", &self.command].map(str::to_owned).to_vec(),
            env: self.env(site, port),
            cwd: None,
            stdin: Input::Null,
            merge_stderr: true,
            wall: Some(Duration::from_secs(site.policy.wall_s)),
            keep_bytes: 0,
            max_bytes: None,
        };
        let ended = AtomicBool::new(false);
        let handle: Mutex<Option<CommandHandle>> = Mutex::new(None);
        let executed = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !ended.load(Ordering::SeqCst) && !over.load(Ordering::SeqCst) {
                    if must_stop(site, books)
                        && let Some(handle) =
                            handle.lock().unwrap_or_else(PoisonError::into_inner).as_ref()
                    {
                        handle.stop();
                    }
                    std::thread::sleep(Duration::from_millis(50));
                }
            });
            let sinks = Sinks { stdout: log, stderr: &mut io::sink() };
            let executed = site.room.exec_with_handle(exec, sinks, |h| {
                *handle.lock().unwrap_or_else(PoisonError::into_inner) = Some(h);
            });
            ended.store(true, Ordering::SeqCst);
            executed
        });
        Ok(executed?)
    }

    /// Where the usual libraries look for a model's address. The key is a word that they accept; the relay adds the real one.
    fn env(&self, site: &Site<'_>, port: u16) -> BTreeMap<String, String> {
        let base = format!("http://127.0.0.1:{port}");
        let endpoint = self.model.client.endpoint();
        let path = site.room.base_env().get("PATH").cloned().unwrap_or_default();
        [
            ("OPENAI_BASE_URL", format!("{base}/v1")),
            ("OPENAI_API_BASE", format!("{base}/v1")),
            ("OPENAI_API_KEY", "local".to_owned()),
            ("ANTHROPIC_BASE_URL", base.clone()),
            ("ANTHROPIC_API_BASE", base),
            ("ANTHROPIC_API_KEY", "local".to_owned()),
            ("MODEL", endpoint.spec()),
            ("MODEL_NAME", endpoint.model().to_owned()),
            ("TASK_INSTRUCTIONS", format!("{HOME}/{TASK_FILE}")),
            ("PATH", format!("{AGENT_DIR}/bin:{path}")),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }

    fn end(
        &self,
        site: &Site<'_>,
        executed: &Executed,
        books: &Books,
    ) -> Result<AgentEnd, CleanroomError> {
        let ledger = books.read();
        for line in &ledger.refusals {
            site.live.note(&format!("network attempt refused by the relay: {line}"));
        }
        if ledger.refused > ledger.refusals.len() as u64 {
            site.live.note(&format!("network attempts refused by the relay: {}", ledger.refused));
        }
        let status = describe(executed.end);
        let fine = executed.end == ExecEnd::Exit { code: 0 };
        if !fine {
            site.live.note(&format!("the agent's program {status}"));
        }
        if executed.end == ExecEnd::Stopped && site.stop.soon() {
            return Ok(AgentEnd::Interrupted);
        }
        if let Some((which, _)) = ledger.exhausted {
            return Ok(AgentEnd::ExhaustedBudget { which });
        }
        if executed.end == ExecEnd::WallLimit {
            return Ok(AgentEnd::ExhaustedBudget { which: Budget::Wall });
        }
        if ledger.failures >= OUTAGE && !(fine && ledger.answered > 0) {
            return Ok(AgentEnd::ProviderFailed { why: ledger.failure });
        }
        if !fine && ledger.answered == 0 {
            let what = format!(
                "the agent's program {status} before it asked the model anything; its output is in {}",
                site.dir.join("agent.log").display()
            );
            return Err(CleanroomError::Agent { what });
        }
        Ok(AgentEnd::Submitted)
    }
}

/// Whether the program has to end now.
fn must_stop(site: &Site<'_>, books: &Books) -> bool {
    site.stop.soon() || books.read().exhausted.is_some_and(|(_, since)| since.elapsed() > GRACE)
}

fn describe(end: ExecEnd) -> String {
    match end {
        ExecEnd::Exit { code } => format!("exited with {code}"),
        ExecEnd::Signal { signal } => format!("was ended by signal {signal}"),
        ExecEnd::WallLimit => "was stopped when its time was up".to_owned(),
        ExecEnd::OutputLimit | ExecEnd::Stopped => "was stopped".to_owned(),
        ExecEnd::NotFound { errno } => {
            format!("has no shell to run it ({})", io::Error::from_raw_os_error(errno))
        }
    }
}

/// What the agent's program is told of the task.
fn instructions(site: &Site<'_>) -> Result<String, CleanroomError> {
    let docs = site.task.docs();
    let has_docs = std::fs::read_dir(&docs).is_ok_and(|mut d| d.next().is_some());
    let p = site.policy;
    let values = context! {
        has_docs, steps => p.steps, tokens => p.tokens, cost => p.cost_usd, minutes => p.wall_s.div_ceil(60),
        memory => p.memory_bytes >> 20, disk => p.disk_bytes >> 20,
    };
    let bad = |e: minijinja::Error| CleanroomError::Agent { what: format!("task.jinja: {e}") };
    Environment::new().render_str(INSTRUCTIONS, values).map_err(bad)
}

/// A trajectory that the program wrote itself, kept beside ours.
fn keep_trajectory(site: &Site<'_>) -> Result<(), CleanroomError> {
    let Some(file) = site.room.open_file(HOME, b"trajectory.json")? else { return Ok(()) };
    let path = site.dir.join("agent.trajectory.json");
    let mut to = File::create(&path).map_err(fs_error(&path, "create"))?;
    io::copy(&mut file.take(MOST_TRAJECTORY), &mut to).map_err(fs_error(&path, "write"))?;
    Ok(())
}

/// The agent's output, bounded; what does not fit is dropped, so that the agent never waits for our disk.
struct Log {
    file: File,
    left: u64,
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = bytes.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if n > 0 {
            self.left -= n as u64;
            self.file.write_all(&bytes[..n])?;
            if self.left == 0 {
                self.file.write_all(b"\n[the rest of the output is not kept]\n")?;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
