//! Progress of what takes more than a second: on standard error, and only on a terminal.

use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};
use std::time::Duration;

/// A bar of that many steps, with the time left; it disappears when dropped.
pub fn bar(steps: usize, what: impl Into<String>) -> ProgressBar {
    styled(steps, what, "{prefix} {wide_bar} {pos}/{len} {eta}")
}

/// The same for steps that take long: it names the one under way, its message, and its clock goes on meanwhile.
pub fn steps(steps: usize, what: impl Into<String>) -> ProgressBar {
    let bar = styled(steps, what, "{prefix} {bar:30} {pos}/{len}, {eta} left  {wide_msg}");
    bar.enable_steady_tick(Duration::from_millis(250));
    bar
}

fn styled(steps: usize, what: impl Into<String>, template: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    // A bar on anything but a terminal is hidden by indicatif itself.
    ProgressBar::new(steps as u64)
        .with_style(style)
        .with_prefix(what.into())
        .with_finish(ProgressFinish::AndClear)
}

/// A sign of life for work whose length is not known; it disappears when dropped.
pub fn spinner(what: impl Into<String>) -> ProgressBar {
    let spinner = ProgressBar::new_spinner().with_message(what.into()).with_finish(ProgressFinish::AndClear);
    spinner.enable_steady_tick(Duration::from_millis(120));
    spinner
}
