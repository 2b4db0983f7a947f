//! The live table of a run: a line for each attempt at work on a terminal; otherwise a line for each finished one, and one
//! for each at work every 30 s.

use crate::commands::run::{line, name};
use crate::context::Context;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use reenact_cleanroom::CleanroomError;
use reenact_cleanroom::run::{RunReporter, WorkId};
use reenact_cleanroom::site::Live;
use reenact_model::run::RunTask;
use reenact_report::visible;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Between two looks at what is at work, on a terminal.
const LOOK: Duration = Duration::from_millis(250);
/// Between two lines about the same work elsewhere.
const SAY_EVERY: Duration = Duration::from_secs(30);
/// Columns of the last command.
const COMMAND: usize = 48;
/// Columns of a name, at most.
const WIDEST: usize = 48;

/// Shows a run while it is made.
pub struct LiveTable {
    shared: Arc<Shared>,
    ticker: Option<JoinHandle<()>>,
}

struct Shared {
    live: bool,
    silent: bool,
    bars: MultiProgress,
    rows: Mutex<BTreeMap<WorkId, Row>>,
    over: AtomicBool,
    /// Columns of the name of a piece of work.
    width: usize,
}

struct Row {
    live: Arc<Live>,
    begun: Instant,
    bar: Option<ProgressBar>,
    said: Instant,
}

impl LiveTable {
    /// A table; `width`: columns of the longest name of a piece of work.
    pub fn new(context: &Context, width: usize) -> Self {
        let shared = Arc::new(Shared {
            live: context.live,
            silent: context.quiet || context.json,
            bars: MultiProgress::new(),
            rows: Mutex::default(),
            over: AtomicBool::new(false),
            width: width.min(WIDEST),
        });
        let seen = Arc::clone(&shared);
        let ticker = std::thread::spawn(move || {
            while !seen.over.load(Ordering::SeqCst) {
                seen.look();
                std::thread::park_timeout(LOOK);
            }
        });
        Self { shared, ticker: Some(ticker) }
    }

    /// Takes the table off the screen.
    pub fn finish(&self) {
        self.shared.over.store(true, Ordering::SeqCst);
        if let Some(ticker) = &self.ticker {
            ticker.thread().unpark();
        }
        // A terminal that is gone needs no clearing.
        let _cleared = self.shared.bars.clear();
    }

    /// A way for other threads to say a line without tearing the table.
    pub fn speaker(&self) -> impl Fn(&str) + Send + 'static {
        let shared = Arc::clone(&self.shared);
        move |text| shared.say(text)
    }
}

impl Drop for LiveTable {
    fn drop(&mut self) {
        self.finish();
        if let Some(ticker) = self.ticker.take() {
            // A panic of the ticker has been printed; there is nothing to save.
            let _joined = ticker.join();
        }
    }
}

impl Shared {
    fn rows(&self) -> std::sync::MutexGuard<'_, BTreeMap<WorkId, Row>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say(&self, text: &str) {
        if self.silent {
            return;
        }
        if self.live {
            // If stderr is gone there is nobody to tell.
            let _told = self.bars.println(text);
        } else {
            eprintln!("{text}");
        }
    }

    fn look(&self) {
        let mut lines = Vec::new();
        for (id, row) in self.rows().iter_mut() {
            if let Some(bar) = &row.bar {
                bar.set_message(show(id, &row.live, row.begun.elapsed(), self.width));
            } else if row.said.elapsed() >= SAY_EVERY {
                row.said = Instant::now();
                lines.push(show(id, &row.live, row.begun.elapsed(), self.width));
            }
        }
        lines.iter().for_each(|text| self.say(text));
    }
}

/// `task  step   12   $0.0312      4310 tokens    17 probes    61 s  make test`, in columns.
fn show(id: &WorkId, live: &Live, since: Duration, width: usize) -> String {
    let get = |n: &std::sync::atomic::AtomicU64| n.load(Ordering::Relaxed);
    let spent = live.spent();
    let cost = spent.cost().map_or_else(String::new, |c| format!("${c:.4}"));
    let seconds = (since + spent.wall_before).as_secs();
    // The agent's bytes: made visible before they reach a terminal.
    let last = visible::text(live.last().as_bytes());
    let cut: String = last.chars().take(COMMAND).collect();
    let dots = if cut.len() < last.len() { "…" } else { "" };
    format!(
        "{:<width$}  step {:>4} {cost:>10} {:>9} tokens {:>5} probes {seconds:>5} s  {cut}{dots}",
        name(id),
        get(&live.step),
        get(&live.tokens),
        get(&live.probes),
    )
}

impl RunReporter for LiveTable {
    fn began(&self, id: &WorkId, live: &Arc<Live>, resumed: bool) {
        if resumed {
            self.shared.say(&format!("{}: resumed", name(id)));
        }
        let bar = self.shared.live.then(|| {
            let bar = self.shared.bars.add(ProgressBar::new_spinner());
            if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        let row = Row { live: Arc::clone(live), begun: Instant::now(), bar, said: Instant::now() };
        self.shared.rows().insert(id.clone(), row);
    }

    fn ended(&self, id: &WorkId, entry: &RunTask) {
        self.remove(id);
        self.shared.say(&line(id, entry));
    }

    fn failed(&self, id: &WorkId, error: &CleanroomError) {
        self.remove(id);
        let text = error.to_string();
        let first = text.lines().next().unwrap_or_default();
        self.shared.say(&format!("{}: failed: {}", name(id), visible::text(first.as_bytes())));
    }

    fn note(&self, text: &str) {
        self.shared.say(&format!("note: {text}"));
    }
}

impl LiveTable {
    fn remove(&self, id: &WorkId) {
        if let Some(row) = self.shared.rows().remove(id)
            && let Some(bar) = row.bar
        {
            bar.finish_and_clear();
            self.shared.bars.remove(&bar);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reenact_model::run::Tokens;

    #[test]
    fn a_row_shows_figures_and_makes_commands_visible() {
        let id = WorkId { attempt: 2, task: "t".to_owned() };
        let live = Live::default();
        live.step.store(12, Ordering::Relaxed);
        live.spend(Tokens { input: 4000, ..Tokens::default() }, Some(0.03125));
        live.doing(&format!("printf '\u{1b}[2J' {}", "x".repeat(100)));
        let text = show(&id, &live, Duration::from_secs(61), 2);
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            words.starts_with("t (attempt 2) step 12 $0.0312 4000 tokens 0 probes 61 s printf"),
            "{text}"
        );
        assert!(!text.contains('\u{1b}') && text.ends_with('…'), "{text}");
    }
}
