//! One module per command.

mod adjudicate;
mod bench;
mod cleanroom;
mod demo;
pub mod docker;
mod doctor;
pub mod export;
mod grade;
pub mod image;
pub mod import;
mod probes;
pub mod programbench;
mod report;
pub mod run;
mod show;
mod suite;
mod task;
mod trajectory;

use crate::args::Command;
use crate::context::Context;
use crate::error::CommandError;
use reenact_model::ExitCode;

/// How a command ends.
pub type Done = Result<ExitCode, CommandError>;

/// One call per command.
pub fn dispatch(command: &Command, context: &Context) -> Done {
    match command {
        Command::Doctor => Ok(doctor::doctor(context)),
        Command::Demo(args) => demo::demo(args, context),
        Command::Task(args) => task::task(args, context),
        Command::Suite(args) => suite::suite(args, context),
        Command::Run(args) => run::run(args, context),
        Command::Grade(args) => grade::grade(args, context),
        Command::Regrade(args) => grade::regrade(args, context),
        Command::Show(args) => show::show(args, context),
        Command::Report(args) => report::report(args, context),
        Command::Probes(args) => probes::probes(args, context),
        Command::Trajectory(args) => trajectory::trajectory(args, context),
        Command::Adjudicate(args) => adjudicate::adjudicate(args, context),
        Command::Cleanroom(args) => cleanroom::cleanroom(args, context),
        Command::Export(args) => export::export(args, context),
        Command::Import(args) => import::import(args, context),
        Command::Image(args) => image::image(args, context),
        Command::Programbench(args) => programbench::programbench(args, context),
        Command::Docker(args) => docker::docker(args, context),
        Command::Bench(args) => bench::bench(args, context),
    }
}
