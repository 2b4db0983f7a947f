//! Commands in a container: its main process, and what `exec` starts.

use super::{Station, lock};
use crate::error::DockerError;
use crate::output::Stream;
use crate::wire::{Answer, Exec, Which};
use crate::{inside, units, users};
use reenact_sandbox::container::{Run, User};
use reenact_sandbox::room::{self, ExecEnd, Input, Sinks};
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::sync::atomic::Ordering;
use std::thread::Scope;
use std::time::Duration;

/// PATH where neither image nor caller gives one.
const SEARCH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A command that could be started.
struct Ready {
    argv: Vec<String>,
    env: BTreeMap<String, String>,
    cwd: String,
    user: User,
}

impl Ready {
    fn run(self, stdin: Option<Box<dyn Read + Send>>) -> Run {
        let command = room::Exec {
            argv: self.argv,
            env: self.env,
            cwd: Some(self.cwd),
            stdin: stdin.map_or(Input::Null, Input::Stream),
            merge_stderr: false,
            wall: None,
            keep_bytes: 0,
            max_bytes: None,
        };
        Run { command, user: self.user, descriptors: Vec::new() }
    }
}

/// The exit code of an end, as a shell's; a program that could not be executed is an error.
fn code(end: &ExecEnd, name: &str) -> Result<i32, DockerError> {
    match end {
        ExecEnd::Exit { code } => Ok(*code),
        ExecEnd::Signal { signal } => Ok(128 + signal),
        // There is no limit of ours but the container's end.
        ExecEnd::WallLimit | ExecEnd::OutputLimit | ExecEnd::Stopped => Ok(137),
        ExecEnd::NotFound { errno } => Err(inside::not_executed(name, *errno)),
    }
}

/// Refuses what no program can be given: NUL bytes, and strings that the kernel does not take (execve(2)).
fn check_texts(exec: &Exec, env: &BTreeMap<String, String>) -> Result<(), DockerError> {
    /// Bytes of one string with its NUL (MAX_ARG_STRLEN).
    const LONGEST: usize = 128 << 10;
    let bad = |what: &str, why: &str| {
        let what = format!("unable to start container process: {what}: {why}");
        Err(DockerError::Program { what, code: 126 })
    };
    for word in exec.argv.iter().chain(&exec.cwd) {
        if word.contains('\0') {
            return bad("an argument", "a NUL byte");
        }
        if word.len() >= LONGEST {
            return bad("an argument", "argument list too long (128 KiB each)");
        }
    }
    for (name, value) in env.iter().chain(exec.env.iter().map(|(n, v)| (n, v))) {
        let shown: String = name.chars().filter(|c| !c.is_control()).take(40).collect();
        let what = format!("the environment variable {shown:?}");
        if name.contains('\0') || value.contains('\0') {
            return bad(&what, "a NUL byte");
        }
        if name.len() + 1 + value.len() >= LONGEST {
            return bad(&what, "argument list too long (128 KiB each)");
        }
    }
    Ok(())
}

impl Station {
    /// Environment, user and directory of a command.
    fn ready(&self, exec: Exec) -> Result<Ready, DockerError> {
        check_texts(&exec, &self.config.env)?;
        let config = &self.config;
        let who = users::resolve(exec.user.as_deref().unwrap_or(&config.user), &self.container)?;
        let mut env: BTreeMap<String, String> =
            [("PATH", SEARCH), ("HOSTNAME", &config.hostname), ("HOME", &who.home)]
                .map(|(n, v)| (n.to_owned(), v.to_owned()))
                .into();
        env.extend(config.env.clone());
        env.extend(exec.env);
        let cwd = exec.cwd.unwrap_or_else(|| config.cwd.clone());
        if let Err(e) = inside::open_dir(&self.container, &cwd)
            && e.kind() != io::ErrorKind::PermissionDenied
        {
            return Err(DockerError::Program {
                what: format!("unable to start container process: chdir to cwd ({cwd:?}): {e}"),
                code: 126,
            });
        }
        Ok(Ready { argv: exec.argv, env, cwd, user: who.user })
    }

    /// Registers a command, so that the end of the container waits for it; `None` if that has begun.
    fn enroll(&self) -> Result<u64, DockerError> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut commands = lock(&self.commands);
        if self.closing.load(Ordering::SeqCst) {
            return Err(DockerError::NotRunning {
                id: crate::place::short(&self.place.id).to_owned(),
                why: "it is being stopped".to_owned(),
            });
        }
        commands.insert(number, None);
        Ok(number)
    }

    /// Runs an enrolled command to its end.
    fn command(
        &self,
        number: u64,
        run: Run,
        stdout: &mut (dyn Write + Send),
        stderr: &mut (dyn Write + Send),
        is_main: bool,
    ) -> Result<ExecEnd, DockerError> {
        let ran = self.container.exec_with_handle(run, Sinks { stdout, stderr }, |handle| {
            if is_main {
                self.life.handle(handle.clone());
            }
            lock(&self.commands).insert(number, Some(handle));
        });
        Ok(ran?.end)
    }

    /// `exec`
    pub(super) fn exec<'s>(
        &'s self,
        scope: &'s Scope<'s, '_>,
        exec: Exec,
    ) -> Result<Answer, DockerError> {
        let name = exec.argv.first().cloned().unwrap_or_default();
        let Some(token) = exec.token else {
            let ready = self.ready(exec)?;
            let search = ready.env.get("PATH").map_or("", String::as_str);
            inside::find_program(&self.container, &name, search, &ready.cwd)?;
            let number = self.enroll()?;
            scope.spawn(move || {
                let (mut out, mut err) = (io::sink(), io::sink());
                // Nobody asks how it ended.
                let _end = self.command(number, ready.run(None), &mut out, &mut err, false);
                lock(&self.commands).remove(&number);
            });
            return Ok(Answer::Done { notes: Vec::new() });
        };
        // Taken before anything can fail, so that the client sees their ends.
        let (mut out, _out) = self.streams.take(token, Which::Output)?;
        let (mut err, _err) = self.streams.take(token, Which::Error)?;
        let input = exec.stdin.then(|| self.streams.take(token, Which::Input)).transpose()?;
        let (input, _input) = input.unzip();
        let ready = self.ready(exec)?;
        let number = self.enroll()?;
        let run = ready.run(input.map(|i| Box::new(i) as Box<dyn Read + Send>));
        let end = self.command(number, run, &mut out, &mut err, false);
        lock(&self.commands).remove(&number);
        Ok(Answer::Exited { code: code(&end?, &name)? })
    }

    /// Starts the main process. Its output goes to the log, and to the client of an attached `run`.
    pub(super) fn start_main<'s>(
        &'s self,
        scope: &'s Scope<'s, '_>,
        attach: Option<u64>,
        stdin: bool,
    ) -> Result<Answer, DockerError> {
        let take = |which| attach.map(|token| self.streams.take(token, which)).transpose();
        let (out, out_held) = take(Which::Output)?.unzip();
        let (err, err_held) = take(Which::Error)?.unzip();
        let (input, input_held) = if stdin { take(Which::Input)?.unzip() } else { (None, None) };
        if !self.life.begin() {
            return Err(DockerError::Failed("the container was started before".to_owned()));
        }
        let checked = self.main_ready().and_then(|ready| Ok((ready, self.enroll()?)));
        let (ready, number) = checked.inspect_err(|e| {
            self.life.failed(e.code(128), e.to_string());
        })?;
        let notes = self.shortcomings(&ready);
        scope.spawn(move || {
            let held = (out_held, err_held, input_held);
            let mut out = self.recorder.sink(Stream::Out, out);
            let mut err = self.recorder.sink(Stream::Err, err);
            let run = ready.run(input.map(|i| Box::new(i) as Box<dyn Read + Send>));
            let ended = self.command(number, run, &mut out, &mut err, true);
            lock(&self.commands).remove(&number);
            drop(held);
            self.main_over(ended);
        });
        Ok(Answer::Done { notes })
    }

    /// What was asked for and is not given on this host.
    fn shortcomings(&self, main: &Ready) -> Vec<String> {
        let config = &self.config;
        let layers = self.container.layers();
        let missing = |layer: &str| layers.get(layer).is_some_and(|l| l == "not limited");
        let host_cpus =
            std::thread::available_parallelism().map_or(f64::INFINITY, |n| n.get() as f64);
        let mut notes = Vec::new();
        if !self.container.has_users() && main.user.uid != 0 {
            notes.push(format!(
                "--user {}: without root, every program is the one user that the container has",
                config.user
            ));
        }
        if config.memory.is_some() && missing("memory") {
            notes.push(
                "--memory: no control group can be used here, so memory is not limited".to_owned(),
            );
        }
        if config.cpus.is_some_and(|c| c < host_cpus) && missing("cpu") {
            notes.push(
                "--cpus: no CPU controller can be used here, so CPU time is not limited".to_owned(),
            );
        }
        notes
    }

    fn main_ready(&self) -> Result<Ready, DockerError> {
        let exec = Exec { argv: self.config.argv.clone(), ..Exec::default() };
        let ready = self.ready(exec)?;
        let name = ready.argv.first().map_or("", String::as_str);
        let search = ready.env.get("PATH").map_or("", String::as_str);
        inside::find_program(&self.container, name, search, &ready.cwd)?;
        Ok(ready)
    }

    fn main_over(&self, ended: Result<ExecEnd, DockerError>) {
        let argv = &self.config.argv;
        let name = argv.first().map_or("", String::as_str);
        match ended.and_then(|end| Ok((code(&end, name)?, end))) {
            Ok((code, end)) => {
                let sleeps = name.rsplit('/').next() == Some("sleep");
                let own_time = sleeps
                    .then(|| units::sleep_seconds(&argv[1..]))
                    .flatten()
                    .and_then(|s| Duration::try_from_secs_f64(s).ok());
                self.life.over(&end, code, self.config.init, own_time);
            }
            Err(e) => self.life.failed(e.code(128), e.to_string()),
        }
    }
}
