//! Says what is going on, to a person or to a log.
//!
//! Problem: the steps take seconds to minutes. A terminal gets a spinner or a
//! bar that disappears when the work is done; a pipe gets one line a step, so
//! that a log of CI says where it stopped. Everything goes to standard error:
//! standard output belongs to the serial console.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// A running display of one task's steps.
#[derive(Debug)]
pub struct Progress {
    bar: Option<ProgressBar>,
    quiet: bool,
}

impl Progress {
    /// A spinner on a terminal, lines elsewhere.
    #[must_use]
    pub fn spinner() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        Self { bar, quiet: false }
    }

    /// A bar of `steps` steps on a terminal, lines elsewhere.
    #[must_use]
    pub fn steps(steps: u64) -> Self {
        Self::bar(steps, "{spinner} [{bar:24}] {pos}/{len} {msg}")
    }

    /// As [`Progress::steps`], of steps that take about the same time each: with
    /// the time that is left.
    #[must_use]
    pub fn timed(steps: u64) -> Self {
        Self::bar(steps, "{spinner} [{bar:24}] {pos}/{len} {msg}, {eta} left")
    }

    fn bar(steps: u64, template: &str) -> Self {
        let progress = Self::spinner();
        if let Some(bar) = &progress.bar {
            bar.set_length(steps);
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style.progress_chars("=> "));
            }
        }
        progress
    }

    /// Shows nothing at all.
    #[must_use]
    pub fn hidden() -> Self {
        Self {
            bar: None,
            quiet: true,
        }
    }

    /// The task is now at `message`.
    pub fn step(&self, message: &str) {
        match &self.bar {
            Some(bar) => bar.set_message(message.to_owned()),
            None => self.line(message),
        }
    }

    /// A detail of the step, too fine for a log.
    pub fn detail(&self, message: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(message.to_owned());
        }
    }

    /// One more step of a bar is done.
    pub fn advance(&self) {
        if let Some(bar) = &self.bar {
            bar.inc(1);
        }
    }

    /// A line that stays visible.
    pub fn note(&self, message: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{message}")),
            None => self.line(message),
        }
    }

    /// Takes the display away, for a program that writes to the terminal itself.
    pub fn pause<T>(&self, work: impl FnOnce() -> T) -> T {
        match &self.bar {
            Some(bar) => bar.suspend(work),
            None => work(),
        }
    }

    fn line(&self, message: &str) {
        if !self.quiet {
            eprintln!("{message}");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
