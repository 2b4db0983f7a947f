//! `reenact cleanroom`: rooms for a harness of one's own.

use super::Done;
use crate::args::{Cleanroom, CleanroomExec, CleanroomStart};
use crate::context::{Context, harness};
use crate::error::CommandError;
use crate::ui::Ui;
use reenact_bundle::{Progress, TaskBundle};
use reenact_cleanroom::open::Setup;
use reenact_cleanroom::policy::Policy;
use reenact_cleanroom::station::client::{self, Client, Feed, Listed};
use reenact_cleanroom::station::server::{self, StationPlan};
use reenact_cleanroom::station::state::Place;
use reenact_cleanroom::station::wire::{ExecRequest, Exited};
use reenact_model::ExitCode;
use reenact_report::visible;
use reenact_sandbox::{RootBase, Setting, interrupt};
use std::collections::BTreeMap;
use std::io::{Read, Write};

/// Exit code of `exec` for everything that is not the command's own end.
const EXEC_FAILED: i32 = 125;

pub fn cleanroom(args: &Cleanroom, context: &Context) -> Done {
    match args {
        Cleanroom::Start(args) => match &args.serve {
            Some(dir) => serve(args, &Place::at(dir), context),
            None => start(args, context),
        },
        Cleanroom::Exec(args) => match exec(args) {
            Ok(exited) => {
                if exited == Exited::Stopped {
                    context.err("the cleanroom was stopped");
                }
                std::process::exit(exited.code())
            }
            Err(error) => {
                error.print(context);
                std::process::exit(EXEC_FAILED)
            }
        },
        Cleanroom::Cp { from, to } => {
            notes(&client::copy(from, to)?, context);
            Ok(ExitCode::Done)
        }
        Cleanroom::List => list(context),
        Cleanroom::Submit { id, out, agent } => {
            notes(&Client::find(id)?.submit(out, agent, harness())?, context);
            if context.json {
                context.print_json(&serde_json::json!({"run": out, "agent": agent}));
            } else {
                context.made("", out);
            }
            Ok(ExitCode::Done)
        }
        Cleanroom::Stop { id } => {
            Client::find(id)?.stop()?;
            Ok(ExitCode::Done)
        }
    }
}

fn notes(notes: &[String], context: &Context) {
    for note in notes {
        context.say(&format!("note: {}", visible::text(note.as_bytes())));
    }
}

fn policy(args: &CleanroomStart) -> Policy {
    Policy { accept_unsealed: args.accept_unsealed, ..Policy::default() }
}

/// Starts the background process, and waits until it serves.
fn start(args: &CleanroomStart, context: &Context) -> Done {
    // Opened here as well, so that a typing error is told at once.
    let task = TaskBundle::open(&args.task)?;
    let program = std::env::current_exe()
        .map_err(|e| CommandError::environment(format!("cannot find our own program: {e}")))?;
    let ui = Ui::new(context);
    ui.stage(&format!("{}: opening a cleanroom", task.id()));
    let info = client::start(&program, &serve_args(args, &task, context))?;
    drop(ui);
    notes(&info.notes, context);
    if context.json {
        context.print_json(&info);
    } else {
        context.out(&info.id);
    }
    Ok(ExitCode::Done)
}

/// The command line of the background process, but for `--serve`.
fn serve_args(args: &CleanroomStart, task: &TaskBundle, context: &Context) -> Vec<String> {
    let mut line = vec!["--color=never".to_owned()];
    if let RootBase::Dir(dir) = &context.cells.base {
        line.extend(["--rootfs".to_owned(), dir.display().to_string()]);
    }
    match context.cells.isolation.cgroup {
        Setting::Auto => {}
        Setting::Require => line.push("--limits=cgroup".to_owned()),
        Setting::Fallback => line.push("--limits=rlimit".to_owned()),
    }
    line.extend(["cleanroom", "start", "--ttl"].map(str::to_owned));
    line.push(format!("{}ms", args.ttl.as_millis()));
    if args.accept_unsealed {
        line.push("--accept-unsealed".to_owned());
    }
    line.push(task.root.display().to_string());
    line
}

/// What the background process does, from its main thread: the room ends with the thread that started it.
fn serve(args: &CleanroomStart, place: &Place, context: &Context) -> Done {
    let plan = StationPlan {
        task: TaskBundle::open(&args.task)?,
        policy: policy(args),
        cells: context.cells.clone(),
        setup: Setup::default(),
        ttl: args.ttl,
        place: place.clone(),
    };
    server::serve(plan, &interrupt::stop_flag(), &Ui::new(context))?;
    Ok(ExitCode::Done)
}

fn exec(args: &CleanroomExec) -> Result<Exited, CommandError> {
    let mut env = BTreeMap::new();
    for pair in &args.env {
        let Some((name, value)) = pair.split_once('=').filter(|(n, _)| !n.is_empty()) else {
            return Err(CommandError::usage(format!("{pair:?}: expected NAME=VALUE")));
        };
        env.insert(name.to_owned(), value.to_owned());
    }
    let request = ExecRequest {
        argv: args.command.clone(),
        env,
        cwd: args.workdir.clone(),
        stdin: args.interactive,
        timeout_ms: args.timeout.map(|t| u64::try_from(t.as_millis()).unwrap_or(u64::MAX)),
    };
    let feed: Option<Feed> = args.interactive.then(|| Box::new(pass_stdin) as Feed);
    let (mut out, mut err) = (Unbuffered(std::io::stdout()), std::io::stderr());
    Ok(Client::find(&args.id)?.exec(request, feed, &mut out, &mut err)?)
}

/// Copies our standard input until its end. That the command does not read it is no error of ours.
fn pass_stdin(to: &mut dyn Write) -> Result<(), reenact_cleanroom::station::StationError> {
    let mut stdin = std::io::stdin().lock();
    let mut buffer = [0u8; 64 << 10];
    loop {
        match stdin.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => {
                if to.write_all(&buffer[..n]).is_err() {
                    return Ok(());
                }
            }
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return Ok(()),
        }
    }
}

/// Standard output of Rust waits for the end of a line; a prompt has none.
struct Unbuffered(std::io::Stdout);

impl Write for Unbuffered {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let n = self.0.write(bytes)?;
        self.0.flush()?;
        Ok(n)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

fn list(context: &Context) -> Done {
    let all = client::list()?;
    if context.json {
        let row = |l: &Listed| serde_json::json!({"id": l.id, "state": state(l), "info": l.info});
        context.print_json(&all.iter().map(row).collect::<Vec<_>>());
        return Ok(ExitCode::Done);
    }
    if all.is_empty() {
        context.say("no cleanrooms");
    }
    for one in &all {
        let (task, until) = one.info.as_ref().map_or(("", ""), |i| (&i.task, &i.until));
        context.out(&format!(
            "{}  {:<8}  until {until:<20}  {}",
            one.id,
            state(one),
            visible::text(task.as_bytes())
        ));
    }
    Ok(ExitCode::Done)
}

fn state(one: &Listed) -> &'static str {
    match (one.alive, &one.info) {
        (true, Some(_)) => "running",
        (true, None) => "starting",
        (false, _) => "dead",
    }
}
