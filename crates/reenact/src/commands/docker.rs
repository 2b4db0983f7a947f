//! `reenact docker`: the container command of harnesses, without a daemon.

use super::Done;
use crate::context::Context;
use crate::error::CommandError;
use clap::Args as ClapArgs;
use reenact_docker::Settings;
use reenact_image::Store;
use reenact_sandbox::Setting;

/// The command line as docker's users write it; `reenact-docker` reads it, since its options are docker's and not ours.
#[derive(ClapArgs, Debug)]
pub struct Docker {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    pub words: Vec<String>,
}

/// Ends the process: exit codes are docker's, or those of programs in containers.
pub fn docker(args: &Docker, context: &Context) -> Done {
    let program = std::env::current_exe()
        .map_err(|e| CommandError::environment(format!("cannot find our own program: {e}")))?;
    let store = Store::default_root().ok_or_else(|| {
        CommandError::environment("there is no home directory for images; set REENACT_IMAGES")
    })?;
    // A container's own process works elsewhere.
    let store = std::path::absolute(&store)
        .map_err(|e| CommandError::environment(format!("{}: {e}", store.display())))?;
    let limits = match context.cells.isolation.cgroup {
        Setting::Auto => "auto",
        Setting::Require => "cgroup",
        Setting::Fallback => "rlimit",
    };
    let settings = Settings { program, store, limits: limits.to_owned() };
    std::process::exit(reenact_docker::main(&args.words, &settings))
}
