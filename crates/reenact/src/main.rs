//! The `reenact` command. Parsing records what was typed ([`args`]); one module per command does the work and prints.

mod args;
mod commands;
mod context;
mod error;
mod live;
mod ui;

use clap::Parser;

fn main() -> std::process::ExitCode {
    let args = args::Args::parse();
    let context = context::Context::new(&args.global);
    match commands::dispatch(&args.command, &context) {
        Ok(code) => code.into(),
        Err(error) => {
            error.print(&context);
            error.code().into()
        }
    }
}
