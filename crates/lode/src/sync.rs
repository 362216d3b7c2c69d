//! How a node's sync goes on: a bar on a terminal, a line now and then in a log.

use std::io::IsTerminal;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use indicatif::{HumanDuration, ProgressBar, ProgressStyle};
use lode_node::NodeHandle;

use crate::logging;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(250);
/// Between two lines in a log.
const LINE: Duration = Duration::from_secs(10);
/// A sync that is over sooner is not worth a word.
const WORTH_TELLING: Duration = Duration::from_secs(2);
/// Where the last header is older than this and came a moment ago, more headers are to come before blocks.
const OLD_HEADER: Duration = Duration::from_secs(24 * 60 * 60);

/// A run of blocks that are missing.
struct Run {
    began: Instant,
    from: u32,
    /// The time and height at the last line and at the one before: the rate shown is that of 10 to 20 seconds.
    marks: [(Instant, u32); 2],
    bar: Option<ProgressBar>,
}

impl Run {
    fn begin(height: u32) -> Self {
        let now = Instant::now();
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{bar:30} {msg}");
            let bar = ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            logging::BARS.add(bar)
        });
        Self { began: now, from: height, marks: [(now, height); 2], bar }
    }

    fn show(&mut self, height: u32, end: u32, headers_come: bool) {
        let [(since, from), (last, _)] = self.marks;
        let rate = f64::from(height.saturating_sub(from)) / since.elapsed().as_secs_f64().max(0.001);
        let text = line(height, end, rate, headers_come);
        let due = last.elapsed() >= LINE;
        if due {
            self.marks = [self.marks[1], (Instant::now(), height)];
        }
        match &self.bar {
            Some(bar) => {
                bar.set_length(end.into());
                bar.set_position(height.into());
                bar.set_message(text);
            }
            None if due => tracing::info!("{text}"),
            None => {}
        }
    }

    fn end(self, height: u32) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        let took = self.began.elapsed();
        if took >= WORTH_TELLING {
            let rate = f64::from(height.saturating_sub(self.from)) / took.as_secs_f64();
            let took = HumanDuration(took);
            tracing::info!("synced to block {height} in {took}, {rate:.0} blocks a second");
        }
    }
}

/// Shows how the node's chain catches up with its headers, for ever.
pub(crate) async fn show(node: &NodeHandle) {
    let mut run: Option<Run> = None;
    let mut headers = (node.best_header_height(), Instant::now());
    loop {
        tokio::time::sleep(LOOK).await;
        let (height, end) = (node.tip().height, node.best_header_height());
        if end != headers.0 {
            headers = (end, Instant::now());
        }
        let headers_come = headers.1.elapsed() < LINE && age(node.best_header_time()) > OLD_HEADER;
        if end.saturating_sub(height) > 1 {
            run.get_or_insert_with(|| Run::begin(height)).show(height, end, headers_come);
        } else if let Some(run) = run.take() {
            run.end(height);
        }
    }
}

/// How long ago a header's time is.
fn age(time: u32) -> Duration {
    let time = UNIX_EPOCH + Duration::from_secs(time.into());
    SystemTime::now().duration_since(time).unwrap_or_default()
}

/// Height, percent, rate and time left.
fn line(height: u32, end: u32, rate: f64, headers_come: bool) -> String {
    let more = if headers_come { ", and more headers are coming" } else { "" };
    let percent = 100.0 * f64::from(height) / f64::from(end.max(1));
    let left = match f64::from(end.saturating_sub(height)) / rate {
        left if left < 1e8 => format!("{} left", HumanDuration(Duration::from_secs_f64(left))),
        _ => "waiting for blocks".to_owned(),
    };
    format!("block {height} of {end}{more} ({percent:.1} %), {rate:.0} blocks a second, {left}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_height_percent_rate_and_time_left() {
        assert_eq!(
            line(250, 1000, 25.0, false),
            "block 250 of 1000 (25.0 %), 25 blocks a second, 30 seconds left"
        );
        assert_eq!(
            line(0, 1000, 0.0, true),
            "block 0 of 1000, and more headers are coming (0.0 %), 0 blocks a second, waiting for blocks"
        );
    }
}
