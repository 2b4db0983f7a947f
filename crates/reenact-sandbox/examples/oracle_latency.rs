//! What the oracle adds to one invocation: the reference behind the stub against the same file executed directly, by turns, in
//! the same room. `cargo run -p reenact-sandbox --example oracle_latency [ROUNDS]`; needs cc, and root or user namespaces.
//! Only the ratio means anything on a machine that does other things as well.

use reenact_sandbox::host::HostCommand;
use reenact_sandbox::room::{Exec, Input, OracleSpec, Room, RoomSpec};
use reenact_sandbox::spec::{CellLimits, PROGRAM};
use reenact_sandbox::{Isolation, Rootfs};
use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};

/// A program that only exits, without a C library.
const TINY: &str = "void _start(void){__asm__ volatile(\"mov $60,%eax; xor %edi,%edi; syscall\");}";
const EMPTY: &str = "int main(void){return 0;}";

fn main() -> Result<(), Box<dyn Error>> {
    let rounds = std::env::args().nth(1).unwrap_or_else(|| "500".to_owned());
    let dir = tempfile::tempdir()?;
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let timer = compile(&fixtures.join("latency.c"), &dir.path().join("timer"), &["-static"])?;
    let source = |name: &str, text: &str| -> Result<PathBuf, Box<dyn Error>> {
        let path = dir.path().join(name);
        std::fs::write(&path, text)?;
        Ok(path)
    };
    let (tiny, empty) = (source("tiny.c", TINY)?, source("empty.c", EMPTY)?);
    println!(
        "{:<22}{:>26}{:>26}{:>10}",
        "", "direct p10/median/p90", "oracle p10/median/p90", "added"
    );
    for (name, source, flags) in [
        ("tiny, static", &tiny, &["-static", "-nostdlib"][..]),
        ("C library, static", &empty, &["-static"]),
        ("C library, dynamic", &empty, &[]),
    ] {
        let program = compile(source, &dir.path().join("program"), flags)?;
        let [direct, oracle] = measure(&timer, &program, &rounds)?;
        let show = |t: &[f64; 3]| format!("{:.0} / {:.0} / {:.0}", t[0], t[1], t[2]);
        println!(
            "{name:<22}{:>26}{:>26}{:>10.0}",
            show(&direct),
            show(&oracle),
            oracle[1] - direct[1]
        );
    }
    println!("microseconds, {rounds} rounds");
    Ok(())
}

fn compile(source: &Path, to: &Path, flags: &[&str]) -> Result<PathBuf, Box<dyn Error>> {
    let mut args: Vec<String> = vec!["-O2".to_owned()];
    args.extend(flags.iter().map(|f| (*f).to_owned()));
    args.extend([source.display().to_string(), "-o".to_owned(), to.display().to_string()]);
    let done = HostCommand::new("cc", args).run()?;
    if !done.ok() {
        return Err(format!("cc: {}", done.last_line()).into());
    }
    Ok(to.to_owned())
}

/// Percentiles of the direct invocation and of the oracle's.
fn measure(timer: &Path, program: &Path, rounds: &str) -> Result<[[f64; 3]; 2], Box<dyn Error>> {
    let spec = RoomSpec {
        rootfs: Rootfs::default(),
        limits: CellLimits::default(),
        isolation: Isolation::default(),
        mounts: Vec::new(),
        hostname: "localhost".to_owned(),
        env: BTreeMap::new(),
        oracle: Some(OracleSpec {
            reference: program.to_owned(),
            layers: Vec::new(),
            secure: false,
            own_terminal: false,
        }),
    };
    let room = Room::start(&spec, Box::new(drop))?;
    room.put_file("/tmp/timer", 0o755, &std::fs::read(timer)?)?;
    room.put_file("/tmp/direct", 0o755, &std::fs::read(program)?)?;
    let done = room.exec(Exec {
        argv: ["/tmp/timer", rounds, "/tmp/direct", PROGRAM].map(str::to_owned).into(),
        env: BTreeMap::new(),
        cwd: None,
        stdin: Input::Null,
        merge_stderr: false,
        wall: None,
        keep_bytes: 4096,
        max_bytes: None,
    })?;
    let text = String::from_utf8(done.stdout)?;
    let mut lines = text.lines().map(|line| {
        let mut n = line.split(' ').filter_map(|n| n.parse::<f64>().ok());
        Some([n.next()?, n.next()?, n.next()?])
    });
    match (lines.next().flatten(), lines.next().flatten()) {
        (Some(direct), Some(oracle)) => Ok([direct, oracle]),
        _ => Err(format!("the timer failed: {:?} {text}", done.end).into()),
    }
}
