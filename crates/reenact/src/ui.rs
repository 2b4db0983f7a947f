//! Progress: a moving bar on a terminal, one line a stage or task otherwise, nothing when quiet.

use crate::context::Context;
use indicatif::{ProgressBar, ProgressStyle};
use reenact_bundle::Progress;
use reenact_grade::GradeReporter;
use reenact_model::run::TaskResult;
use std::cell::RefCell;
use std::time::{Duration, Instant};

/// Shows stages and ticks.
pub struct Ui<'a> {
    context: &'a Context,
    bar: RefCell<Option<ProgressBar>>,
    begun: Instant,
}

impl<'a> Ui<'a> {
    pub fn new(context: &'a Context) -> Self {
        Self { context, bar: RefCell::new(None), begun: Instant::now() }
    }

    fn start(&self, text: &str, total: u64) {
        self.finish();
        if self.context.live {
            let bar = if total > 0 { ProgressBar::new(total) } else { ProgressBar::new_spinner() };
            let style = if total > 0 {
                "{msg} {wide_bar} {pos}/{len} {elapsed}"
            } else {
                "{spinner} {msg} {elapsed}"
            };
            if let Ok(style) = ProgressStyle::with_template(style) {
                bar.set_style(style);
            }
            bar.set_message(text.to_owned());
            bar.enable_steady_tick(Duration::from_millis(120));
            *self.bar.borrow_mut() = Some(bar);
        } else if self.context.verbose || total == 0 {
            self.context.say(&format!("[{:>6.1}s] {text}", self.begun.elapsed().as_secs_f64()));
        }
    }

    fn position(&self, done: u64, total: u64) {
        if let Some(bar) = self.bar.borrow().as_ref() {
            if bar.length() != Some(total) {
                bar.set_length(total);
                if let Ok(style) =
                    ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} {elapsed}")
                {
                    bar.set_style(style);
                }
            }
            bar.set_position(done);
        }
    }

    /// Removes the bar.
    pub fn finish(&self) {
        if let Some(bar) = self.bar.borrow_mut().take() {
            bar.finish_and_clear();
        }
    }

    fn line(&self, text: &str) {
        match self.bar.borrow().as_ref() {
            Some(bar) => bar.suspend(|| self.context.say(text)),
            None => self.context.say(text),
        }
    }
}

impl Drop for Ui<'_> {
    fn drop(&mut self) {
        self.finish();
    }
}

impl Progress for Ui<'_> {
    fn stage(&self, text: &str) {
        self.start(text, 0);
    }

    fn tick(&self, done: u64, total: u64) {
        self.position(done, total);
    }

    fn note(&self, text: &str) {
        self.line(&format!("note: {text}"));
    }
}

impl GradeReporter for Ui<'_> {
    fn task_started(&self, task: &str, total: u64, resumed: u64) {
        if resumed > 0 {
            self.line(&format!("{task}: {resumed} of {total} cases were judged before"));
        }
        if self.context.live {
            self.start(task, total);
        }
    }

    fn building(&self, task: &str) {
        if self.context.live {
            self.start(&format!("{task}: building"), 0);
        }
    }

    fn judged(&self, _: &str, done: u64, total: u64, _: u64) {
        self.position(done, total);
    }

    fn task_finished(&self, r: &TaskResult) {
        self.finish();
        let seconds = (r.suite_ms + r.build.wall_ms) as f64 / 1000.0;
        self.line(&format!(
            "{}: {} {}/{} in {seconds:.1} s",
            r.task,
            r.outcome.name(),
            r.passed,
            r.total
        ));
    }

    fn note(&self, text: &str) {
        self.line(&format!("note: {text}"));
    }
}
