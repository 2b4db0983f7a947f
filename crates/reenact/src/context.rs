//! What every command needs: how to print, how to build cells, who we are.

use crate::args::{Color, Global, Limits};
use owo_colors::OwoColorize;
use reenact_bundle::shape::CellOptions;
use reenact_model::run::Harness;
use reenact_sandbox::{Isolation, RootBase, Setting};
use std::io::{IsTerminal, Write};

/// Settings of this invocation.
pub struct Context {
    pub json: bool,
    pub quiet: bool,
    pub verbose: bool,
    /// Colour on stdout.
    pub color: bool,
    /// Colour and moving bars on stderr.
    pub live: bool,
    pub cells: CellOptions,
    color_err: bool,
}

impl Context {
    pub fn new(global: &Global) -> Self {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
        let wants = |terminal: bool| match global.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => terminal && !plain,
        };
        let cgroup = match global.limits {
            Limits::Auto => Setting::Auto,
            Limits::Cgroup => Setting::Require,
            Limits::Rlimit => Setting::Fallback,
        };
        Self {
            json: global.json,
            quiet: global.quiet,
            verbose: global.verbose,
            color: wants(std::io::stdout().is_terminal()) && !global.json,
            live: std::io::stderr().is_terminal() && !global.quiet && !global.json,
            cells: CellOptions {
                base: global.rootfs.clone().map_or(RootBase::Host, RootBase::Dir),
                isolation: Isolation { cgroup, force_userns: false },
            },
            color_err: wants(std::io::stderr().is_terminal()),
        }
    }

    /// One line (or several) on stdout. A reader that has gone away ends us quietly.
    pub fn out(&self, text: &str) {
        if writeln!(std::io::stdout(), "{text}").is_err() {
            std::process::exit(0);
        }
    }

    /// The result of a command that made something: prose unless quiet, then its path as the last line.
    pub fn made(&self, prose: &str, path: &std::path::Path) {
        if !self.quiet && !prose.is_empty() {
            self.out(prose.trim_end_matches('\n'));
        }
        self.out(&path.display().to_string());
    }

    /// One line on stderr.
    pub fn err(&self, text: &str) {
        // If stderr is gone there is nobody to tell.
        let _told = writeln!(std::io::stderr(), "{text}");
    }

    /// A line of progress for people; not in quiet or JSON mode.
    pub fn say(&self, text: &str) {
        if !self.quiet && !self.json {
            self.err(text);
        }
    }

    pub fn paint_error(&self, text: &str) -> String {
        if self.color_err { text.red().bold().to_string() } else { text.to_owned() }
    }

    pub fn print_json(&self, value: &impl serde::Serialize) {
        match serde_json::to_string_pretty(value) {
            Ok(text) => self.out(&text),
            Err(e) => self.err(&format!("cannot be serialised: {e}")),
        }
    }
}

/// Worker count: what was asked for, or the cores.
pub fn workers(asked: Option<usize>) -> usize {
    asked.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)).max(1)
}

/// This build of the harness.
pub fn harness() -> Harness {
    let dirty = option_env!("REENACT_DIRTY") == Some("true");
    reenact_model::run::this_harness(
        env!("CARGO_PKG_VERSION"),
        option_env!("REENACT_COMMIT"),
        dirty,
    )
}
