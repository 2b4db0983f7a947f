//! What was typed. Nothing here touches the system.

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

/// Make, run, grade and explain program-reconstruction tasks: can an agent rebuild a program from nothing but its
/// executable and its documentation?
#[derive(Parser, Debug)]
#[command(version, propagate_version = true, arg_required_else_help = true, after_help = AFTER_HELP)]
pub struct Args {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

const AFTER_HELP: &str = "Exit codes: 0 done; 1 done, but a check failed; 2 wrong command line or input; 3 harness or \
                          environment; 4 nothing to do; 130 stopped (the same command resumes).\n\
                          First steps: `reenact doctor`, then `reenact demo`.";

/// Options of every command.
#[derive(ClapArgs, Debug, Clone)]
pub struct Global {
    /// Print machine-readable JSON on stdout
    #[arg(long, global = true)]
    pub json: bool,
    /// Print only what was asked for (a made thing's path), no progress
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Say more on stderr
    #[arg(short, long, global = true)]
    pub verbose: bool,
    /// When to use colour
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto, value_name = "WHEN")]
    pub color: Color,
    /// Root filesystem of cells: a directory (for instance made by debootstrap) instead of a view of the host
    #[arg(long, global = true, value_name = "DIR", env = "REENACT_ROOTFS")]
    pub rootfs: Option<PathBuf>,
    /// How memory and process limits are enforced; what was used is recorded in every manifest
    #[arg(long, global = true, value_enum, default_value_t = Limits::Auto, value_name = "HOW", env = "REENACT_LIMITS")]
    pub limits: Limits,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Limits {
    /// Control groups where they can be used, else rlimits and polling
    Auto,
    /// Control groups, or an error
    Cgroup,
    /// Rlimits and polling, even where control groups work
    Rlimit,
}

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Show which isolation layers and tools this host gives, with remedies
    Doctor,
    /// Make a task from a real crate, generate its suite, run the four baseline agents, grade them, write a report
    Demo(Demo),
    /// Make, look at, check and pack tasks
    #[command(subcommand)]
    Task(Task),
    /// Make, look at and check hidden suites
    #[command(subcommand)]
    Suite(Suite),
    /// Run an agent on tasks
    Run(Box<Run>),
    /// Build and grade the submissions of runs; resumes what was interrupted
    Grade(Grade),
    /// Judge stored observations again, without running anything
    Regrade(Regrade),
    /// Show the results of a run's task, or one case of it
    Show(Show),
    /// Write an HTML report of runs
    Report(Report),
    /// Show what an agent asked of the reference
    Probes(Probes),
    /// Look at and export trajectories
    #[command(subcommand)]
    Trajectory(Trajectory),
    /// Record a person's verdict on a result that was held for tampering
    Adjudicate(Adjudicate),
    /// Cleanrooms for a harness of your own: start, exec, cp, stop
    #[command(subcommand)]
    Cleanroom(Cleanroom),
    /// Write results and tasks in other people's formats: JUnit, CTRF, Harbor
    #[command(subcommand)]
    Export(crate::commands::export::Export),
    /// Read other people's results and trajectories into a run directory: Harbor, mini-swe-agent
    #[command(subcommand)]
    Import(crate::commands::import::Import),
    /// Container images without a daemon: pull, import, list, rm, gc, inspect
    Image(crate::commands::image::Image),
    /// ProgramBench: import its tasks, evaluate, package, verify, leaderboard
    #[command(subcommand)]
    Programbench(Box<crate::commands::programbench::Programbench>),
    /// A drop-in for the container command of harnesses (run, exec, cp, commit, stop, rm, rmi, images, pull, version)
    #[command(disable_help_flag = true)]
    Docker(crate::commands::docker::Docker),
    /// Measure this machine: sandbox overhead, grading throughput, start-up, memory
    Bench(Bench),
}

#[derive(ClapArgs, Debug)]
pub struct Demo {
    /// Directory for the demo's task, runs and report
    #[arg(short, long, default_value = "reenact-demo", value_name = "DIR")]
    pub out: PathBuf,
    /// What to make the task from
    #[arg(long, default_value = "crate:hexyl@0.17.0", value_name = "SOURCE")]
    pub source: String,
    /// Documentation of your own (required for path:)
    #[arg(long, value_name = "DIR")]
    pub docs: Option<PathBuf>,
    /// Cases of the suite, at most
    #[arg(long, default_value_t = 300)]
    pub cases: usize,
    /// Cells at work at once (default: cores)
    #[arg(long)]
    pub workers: Option<usize>,
}

#[derive(Subcommand, Debug)]
pub enum Task {
    /// Make a task: `crate:NAME[@VERSION]`, `deb:NAME[=VERSION]`, or `path:FILE --docs DIR`
    New(TaskNew),
    /// Show a task's manifest
    Show { task: String },
    /// Check a task: digests, documentation, the reference, the seal, leaks
    Check { task: String },
    /// List the tasks under a directory, ProgramBench's among them
    List {
        #[arg(default_value = "tasks")]
        dir: PathBuf,
        #[command(flatten)]
        select: crate::commands::programbench::tasks::SelectArgs,
    },
    /// Write the solver pack (public part) and the grader pack (all)
    Pack {
        task: String,
        /// Directory for the packs
        #[arg(short, long, default_value = ".", value_name = "DIR")]
        out: PathBuf,
    },
}

#[derive(ClapArgs, Debug)]
pub struct TaskNew {
    pub source: String,
    /// Root of tasks; the bundle becomes DIR/<id>
    #[arg(short, long, default_value = "tasks", value_name = "DIR")]
    pub out: PathBuf,
    /// Which executable, where the source ships several
    #[arg(long)]
    pub bin: Option<String>,
    /// Documentation of your own (required for path:)
    #[arg(long, value_name = "DIR")]
    pub docs: Option<PathBuf>,
    /// Mark the task as part of a private split
    #[arg(long)]
    pub private: bool,
    /// Replace a task of the same id, its suite included
    #[arg(long)]
    pub force: bool,
}

#[derive(Subcommand, Debug)]
pub enum Suite {
    /// Mine documentation, generate cases, record, calibrate, gate, select
    Generate(SuiteGenerate),
    /// Record expectations for cases that lack them (one JSON object a line)
    Record {
        task: String,
        /// Cases without expectations
        invocations: PathBuf,
        #[arg(long, default_value_t = 1)]
        seed: u64,
        #[arg(long)]
        workers: Option<usize>,
    },
    /// Take complete cases: validated, run on the reference, digested
    Import {
        task: String,
        /// Complete cases, one JSON object a line
        cases: PathBuf,
        #[arg(long)]
        workers: Option<usize>,
    },
    /// Run all gates again
    Check {
        task: String,
        #[arg(long)]
        workers: Option<usize>,
    },
    /// Show counts by group and tag, drop reasons, stability, dummy scores
    Show { task: String },
}

#[derive(ClapArgs, Debug)]
pub struct SuiteGenerate {
    pub task: String,
    /// Time after which generation stops early (the suite then says so)
    #[arg(long, default_value = "60s", value_parser = duration)]
    pub budget: Duration,
    /// Cases, at most
    #[arg(long, default_value_t = 400)]
    pub cases: usize,
    /// Same seed, same suite
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Cells at work at once (default: cores)
    #[arg(long)]
    pub workers: Option<usize>,
}

#[derive(ClapArgs, Debug)]
#[command(after_help = RUN_HELP)]
pub struct Run {
    /// Tasks: directories, or ids under ./tasks
    #[arg(required = true)]
    pub tasks: Vec<String>,
    /// null, help, memorizer, reference, bash, command:CMD or replay:FILE
    #[arg(long)]
    pub agent: String,
    /// Run directory; with several attempts, the directory of their run directories
    #[arg(short, long, value_name = "RUN")]
    pub out: PathBuf,
    #[command(flatten)]
    pub model: RunModel,
    /// Directory with the program of a command: agent, shown read-only at /opt/agent (its bin/ is in PATH)
    #[arg(long, value_name = "DIR")]
    pub agent_dir: Option<PathBuf>,
    #[command(flatten)]
    pub rules: RunRules,
    /// Attempts at each task; several go to RUN/attempt-1, RUN/attempt-2, …
    #[arg(long, default_value_t = 1, value_name = "K", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub attempts: u32,
    /// Attempts at work at once (default: cores)
    #[arg(long, value_name = "N")]
    pub workers: Option<usize>,
    /// Invocations of the reference that the memorizer may make
    #[arg(long, default_value_t = 500)]
    pub probes: usize,
    /// Seed of the memorizer's probes
    #[arg(long, default_value_t = 4242)]
    pub seed: u64,
    /// Begin anew, whatever the run directory holds of these tasks
    #[arg(long)]
    pub force: bool,
    /// Grade the submissions at once, as `reenact grade` would
    #[arg(long)]
    pub grade: bool,
}

const RUN_HELP: &str = "The same command resumes what was stopped: by Ctrl-C (once: the step is finished and saved; twice: at \
                        once), by a kill, or by an outage of the model's provider. See docs/agents.md.";

/// The model of agents that use one.
#[derive(ClapArgs, Debug)]
pub struct RunModel {
    /// openai/NAME (any server with OpenAI's chat completions) or anthropic/NAME
    #[arg(long)]
    pub model: Option<String>,
    /// Address of the model's server, where it is not the provider's own
    #[arg(long, value_name = "URL")]
    pub base_url: Option<String>,
    /// Environment variable that holds the key (default: OPENAI_API_KEY or ANTHROPIC_API_KEY)
    #[arg(long, value_name = "NAME")]
    pub key_env: Option<String>,
    /// Price table (TOML) instead of the built-in one
    #[arg(long, value_name = "FILE")]
    pub prices: Option<PathBuf>,
    /// Directory with prompt templates that replace built-in ones
    #[arg(long, value_name = "DIR")]
    pub prompts: Option<PathBuf>,
    /// How long to wait for a provider that limits, is overloaded, or is down
    #[arg(long, default_value = "20m", value_parser = duration, value_name = "TIME")]
    pub patience: Duration,
}

/// What the agent may use. These override the policy file.
#[derive(ClapArgs, Debug, Default)]
pub struct RunRules {
    /// Policy (TOML); fields that it leaves out have their defaults
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// Steps (replies of the model) per task
    #[arg(long, value_name = "N")]
    pub steps: Option<u64>,
    /// Dollars per task
    #[arg(long, value_name = "DOLLARS", value_parser = dollars)]
    pub cost_limit: Option<f64>,
    /// Tokens, in and out, per task
    #[arg(long, value_name = "N")]
    pub token_limit: Option<u64>,
    /// Wall-clock time per task
    #[arg(long, value_parser = duration, value_name = "TIME")]
    pub wall: Option<Duration>,
    /// Wall-clock time of one command
    #[arg(long, value_parser = duration, value_name = "TIME")]
    pub command_timeout: Option<Duration>,
    /// Dollars of the whole run, after which no further work is started
    #[arg(long, value_name = "DOLLARS", value_parser = dollars)]
    pub run_cost_limit: Option<f64>,
    /// Tokens of the whole run, after which no further work is started
    #[arg(long, value_name = "N")]
    pub run_token_limit: Option<u64>,
    /// Run tasks whose reference a determined agent could read; every report will say so
    #[arg(long)]
    pub accept_unsealed: bool,
}

#[derive(ClapArgs, Debug)]
pub struct Grade {
    /// Run directories
    #[arg(required = true)]
    pub runs: Vec<PathBuf>,
    /// Cells at work at once (default: cores)
    #[arg(long)]
    pub workers: Option<usize>,
    /// Look for tasks here first, by id
    #[arg(long, value_name = "DIR")]
    pub tasks: Option<PathBuf>,
    /// Grade only this task (may be repeated)
    #[arg(long, value_name = "ID")]
    pub only: Vec<String>,
    /// Wall-clock limit of compile.sh
    #[arg(long, value_parser = duration, value_name = "TIME")]
    pub build_timeout: Option<Duration>,
    /// Forget earlier verdicts and grade everything again
    #[arg(long)]
    pub force: bool,
    /// Exit with 1 if a valid score is below this (0 to 1)
    #[arg(long, value_name = "SCORE")]
    pub fail_under: Option<f64>,
    /// Also write the results as JUnit XML
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
    /// Also write the results as CTRF JSON
    #[arg(long, value_name = "FILE")]
    pub ctrf: Option<PathBuf>,
}

#[derive(ClapArgs, Debug)]
pub struct Regrade {
    pub run: PathBuf,
    /// Look for tasks here first, by id
    #[arg(long, value_name = "DIR")]
    pub tasks: Option<PathBuf>,
    /// Judge only this task again (may be repeated)
    #[arg(long, value_name = "ID")]
    pub only: Vec<String>,
}

#[derive(ClapArgs, Debug)]
pub struct Show {
    pub run: PathBuf,
    pub task: String,
    /// A case's id; a unique prefix will do
    pub case: Option<String>,
    /// List failures grouped by likeness
    #[arg(long)]
    pub failed: bool,
    /// Look for tasks here first, by id
    #[arg(long, value_name = "DIR")]
    pub tasks: Option<PathBuf>,
}

#[derive(ClapArgs, Debug)]
pub struct Report {
    /// Run directories
    #[arg(required = true)]
    pub runs: Vec<PathBuf>,
    #[arg(short, long, default_value = "report.html", value_name = "FILE")]
    pub out: PathBuf,
    /// Look for tasks here first, by id
    #[arg(long, value_name = "DIR")]
    pub tasks: Option<PathBuf>,
}

#[derive(ClapArgs, Debug)]
pub struct Probes {
    pub run: PathBuf,
    pub task: String,
    /// Which documented options, subcommands and error paths were ever probed
    #[arg(long)]
    pub coverage: bool,
    /// Look for tasks here first, by id
    #[arg(long, value_name = "DIR")]
    pub tasks: Option<PathBuf>,
}

#[derive(Subcommand, Debug)]
pub enum Trajectory {
    /// Write a trajectory in another format
    Export(TrajectoryExport),
}

#[derive(ClapArgs, Debug)]
pub struct TrajectoryExport {
    pub run: PathBuf,
    pub task: String,
    #[arg(long, value_enum, default_value_t = TrajectoryFormat::Atif)]
    pub format: TrajectoryFormat,
    /// File to write
    #[arg(short, long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TrajectoryFormat {
    /// Harbor's Agent Trajectory Interchange Format, v1.8
    Atif,
    /// mini-swe-agent-1.1, as it is stored, repaired where a kill cut it
    Mini,
}

#[derive(ClapArgs, Debug)]
pub struct Adjudicate {
    pub run: PathBuf,
    pub task: String,
    /// What the person found
    #[arg(long, value_enum)]
    pub verdict: Judgement,
    /// Why, in a sentence; kept with the verdict
    #[arg(long)]
    pub why: String,
    /// Who judged
    #[arg(long, env = "USER", default_value = "")]
    pub by: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Judgement {
    /// Nothing was broken: the result counts as graded
    Clean,
    /// The policy was broken: the result stays out of every score
    Tampered,
}

#[derive(Subcommand, Debug)]
pub enum Cleanroom {
    /// Start a cleanroom for a task; prints its id
    Start(CleanroomStart),
    /// Run a command in a cleanroom; its exit code is this command's
    Exec(CleanroomExec),
    /// Copy in or out: `cp FILE ID:/path` or `cp ID:/path FILE`
    Cp { from: String, to: String },
    /// List cleanrooms
    List,
    /// Write the submission of a cleanroom's /workspace into a run directory
    Submit {
        id: String,
        /// Run directory
        #[arg(short, long, value_name = "RUN")]
        out: PathBuf,
        /// Agent's name for the manifest
        #[arg(long, default_value = "external")]
        agent: String,
    },
    /// Stop a cleanroom; what was not copied out is gone
    Stop { id: String },
}

#[derive(ClapArgs, Debug)]
pub struct CleanroomStart {
    pub task: String,
    /// Stop by itself after this time
    #[arg(long, default_value = "2h", value_parser = duration, value_name = "TIME")]
    pub ttl: Duration,
    /// Accept a reference that can be read by a determined agent
    #[arg(long)]
    pub accept_unsealed: bool,
    /// Stay in the foreground
    #[arg(long, hide = true)]
    pub serve: Option<PathBuf>,
}

#[derive(ClapArgs, Debug)]
pub struct CleanroomExec {
    /// Pass standard input on
    #[arg(short, long)]
    pub interactive: bool,
    /// Working directory
    #[arg(short, long, value_name = "DIR")]
    pub workdir: Option<String>,
    /// Set a variable (may be repeated)
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub env: Vec<String>,
    /// Kill the command after this time (exit code 124)
    #[arg(long, value_parser = duration, value_name = "TIME")]
    pub timeout: Option<Duration>,
    pub id: String,
    #[arg(last = true, required = true)]
    pub command: Vec<String>,
}

#[derive(ClapArgs, Debug)]
pub struct Bench {
    /// Run only these parts
    #[arg(value_enum)]
    pub parts: Vec<BenchPart>,
    /// Invocations per measurement
    #[arg(long, default_value_t = 1000)]
    pub runs: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BenchPart {
    /// A sandboxed invocation against bare spawn and wait, same program, same run
    Invocation,
    /// Whole-suite grading with 1 and 2 workers
    Throughput,
    /// Cold start of `grade` to the first verdict
    Start,
    /// Memory of grading 10,000 cases
    Memory,
    /// An invocation through the oracle against the same program executed directly
    Oracle,
    /// Start of a cleanroom to the end of its first command
    Room,
    /// Append of one step to a trajectory
    Trajectory,
    /// Eight scripted agents at once
    Agents,
    /// An image's layer unpacked against `tar -x`, and a commit
    Image,
}

/// Zero or more dollars.
fn dollars(text: &str) -> Result<f64, String> {
    let amount: f64 = text.parse().map_err(|_| "expected dollars, such as 2.50".to_owned())?;
    if amount.is_finite() && amount >= 0.0 {
        Ok(amount)
    } else {
        Err("must be zero or more".to_owned())
    }
}

/// `90`, `60s`, `5m`, `1h`, `250ms`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let n: u64 = text[..digits]
        .parse()
        .map_err(|_| "expected a number and a unit, such as 60s".to_owned())?;
    match &text[digits..] {
        "ms" => Ok(Duration::from_millis(n)),
        "" | "s" => Ok(Duration::from_secs(n)),
        "m" => Ok(Duration::from_secs(n * 60)),
        "h" => Ok(Duration::from_secs(n * 3600)),
        other => Err(format!("unknown unit {other:?}; use ms, s, m or h")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("60s"), Ok(Duration::from_secs(60)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert!(duration("1d").is_err() && duration("s").is_err());
    }

    #[test]
    fn dollars_are_plain_amounts() {
        assert_eq!(dollars("2.50"), Ok(2.5));
        assert!(["-1", "nan", "inf", "$2", ""].into_iter().all(|t| dollars(t).is_err()));
    }
}
