//! Benches of the cleanroom: the oracle against direct execution, and the start of a room.

use super::{Line, median, us};
use crate::context::Context;
use crate::error::CommandError;
use reenact_bundle::Quiet;
use reenact_cleanroom::open::{Setup, open_room};
use reenact_model::Policy;
use reenact_sandbox::host::HostCommand;
use reenact_sandbox::room::{Exec, ExecEnd, Input, OracleSpec, Room, RoomSpec};
use reenact_sandbox::spec::{CellLimits, PROGRAM};
use reenact_sandbox::{Rootfs, SandboxError};
use std::path::Path;
use std::time::{Duration, Instant};

const TINY: &str =
    "void _start(void){__asm__ volatile(\"mov $60,%eax; xor %edi,%edi; syscall\");}\n";
const EMPTY: &str = "int main(void){return 0;}\n";

fn cc(
    dir: &Path,
    name: &str,
    source: &str,
    flags: &[&str],
) -> Result<std::path::PathBuf, CommandError> {
    let (from, to) = (dir.join(format!("{name}.c")), dir.join(name));
    std::fs::write(&from, source).map_err(CommandError::environment)?;
    let mut args: Vec<String> =
        ["-O1", "-w"].iter().chain(flags).map(|s| (*s).to_owned()).collect();
    args.extend(["-o".to_owned(), to.display().to_string(), from.display().to_string()]);
    let done = HostCommand::new("cc", args).run()?;
    if !done.ok() {
        return Err(CommandError::environment(format!("cc: {}", done.last_line())));
    }
    Ok(to)
}

fn spec(context: &Context, reference: Option<(&Path, bool)>) -> RoomSpec {
    RoomSpec {
        rootfs: Rootfs {
            base: context.cells.base.clone(),
            rust_toolchain: true,
            ..Rootfs::default()
        },
        limits: CellLimits {
            memory_bytes: 1 << 30,
            disk_bytes: 256 << 20,
            file_bytes: 256 << 20,
            processes: 256,
            ..CellLimits::default()
        },
        isolation: context.cells.isolation,
        mounts: Vec::new(),
        hostname: "localhost".to_owned(),
        env: Default::default(),
        oracle: reference.map(|(path, secure)| OracleSpec {
            reference: path.to_path_buf(),
            layers: Vec::new(),
            secure,
            own_terminal: false,
        }),
    }
}

fn exec(argv: &[&str]) -> Exec {
    Exec {
        argv: argv.iter().map(|s| (*s).to_owned()).collect(),
        env: Default::default(),
        cwd: None,
        stdin: Input::Null,
        merge_stderr: false,
        wall: Some(Duration::from_secs(300)),
        keep_bytes: 16 << 20,
        max_bytes: None,
    }
}

/// (e) An invocation through the oracle against the same program executed directly in the same room, in turn, by the same
/// small driver in the room.
pub fn oracle(runs: usize, context: &Context) -> Result<Vec<Line>, CommandError> {
    let dir = tempfile::tempdir().map_err(CommandError::environment)?;
    let driver = cc(dir.path(), "spawn", include_str!("spawn.c"), &["-static"])?;
    let mut lines = Vec::new();
    for (name, source, flags, dynamic) in [
        ("tiny static program", TINY, &["-static", "-nostdlib"][..], false),
        ("empty program, static glibc", EMPTY, &["-static"][..], false),
        ("empty program, dynamic glibc", EMPTY, &[][..], true),
    ] {
        let program = cc(dir.path(), "program", source, flags)?;
        let room = match Room::start(&spec(context, Some((&program, dynamic))), Box::new(|_| {})) {
            Err(SandboxError::Layer { .. }) if dynamic => continue, // needs root
            other => other?,
        };
        for (path, file) in [("/tmp/spawn", &driver), ("/tmp/direct", &program)] {
            let bytes = std::fs::read(file).map_err(CommandError::environment)?;
            room.put_file(path, 0o755, &bytes)?;
        }
        let rounds = (runs + 20).to_string();
        let done = room.exec(exec(&["/tmp/spawn", &rounds, "/tmp/direct", PROGRAM]))?;
        if done.end != (ExecEnd::Exit { code: 0 }) {
            let what = String::from_utf8_lossy(&done.stderr).into_owned();
            return Err(CommandError::environment(format!(
                "the bench's driver failed: {:?} {what}",
                done.end
            )));
        }
        let text = String::from_utf8_lossy(&done.stdout).into_owned();
        let column = |i: usize| {
            let times = text.lines().skip(20).filter_map(|l| l.split(' ').nth(i)?.parse().ok());
            median(times.map(Duration::from_nanos).collect())
        };
        let (direct, ours) = (column(0), column(1));
        lines.push(Line {
            what: format!(
                "one probe through the oracle, {name}, median of {runs} (+{:.0} us)",
                us(ours) - us(direct)
            ),
            floor: format!("{:.0} us (direct, in the room)", us(direct)),
            ours: format!("{:.0} us", us(ours)),
            ratio: us(ours) / us(direct),
        });
    }
    Ok(lines)
}

/// (f) As an agent gets it: reference verified, room, documentation, audit with a warm cache, first command.
pub fn opened(context: &Context) -> Result<Line, CommandError> {
    let dir = tempfile::tempdir().map_err(CommandError::environment)?;
    let task = super::make_task(dir.path(), 1)?;
    let policy = Policy { accept_unsealed: true, ..Policy::default() };
    let setup = Setup::default();
    let floor = reenact_sandbox::floor::bare_spawn("/bin/true", &[])?;
    let mut times = Vec::new();
    // The first audit of a host reads its whole root file system, and the first of a task looks everything up.
    for i in 0..13 {
        let begun = Instant::now();
        let opened = open_room(&task, &policy, &context.cells, &setup, Box::new(|_| {}), &Quiet)?;
        opened.room.exec(exec(&["/bin/true"]))?;
        if i >= 2 {
            times.push(begun.elapsed());
        }
    }
    let ours = median(times);
    Ok(Line {
        what: "start of a cleanroom, audit (warm) included, to the end of its first command, median of 11"
            .to_owned(),
        floor: format!("{:.1} ms (one bare spawn)", us(floor) / 1000.0),
        ours: format!("{:.1} ms", us(ours) / 1000.0),
        ratio: us(ours) / us(floor),
    })
}

/// (f) From nothing to the end of the first command in a room with an oracle.
pub fn start(context: &Context) -> Result<Line, CommandError> {
    let dir = tempfile::tempdir().map_err(CommandError::environment)?;
    let program = cc(dir.path(), "program", TINY, &["-static", "-nostdlib"])?;
    let floor = reenact_sandbox::floor::bare_spawn("/bin/true", &[])?;
    let mut times = Vec::new();
    for _ in 0..11 {
        let begun = Instant::now();
        let room = Room::start(&spec(context, Some((&program, false))), Box::new(|_| {}))?;
        room.exec(exec(&["/bin/true"]))?;
        times.push(begun.elapsed());
    }
    let ours = median(times);
    Ok(Line {
        what: "start of a room with an oracle to the end of its first command, median of 11"
            .to_owned(),
        floor: format!("{:.1} ms (one bare spawn)", us(floor) / 1000.0),
        ours: format!("{:.1} ms", us(ours) / 1000.0),
        ratio: us(ours) / us(floor),
    })
}
