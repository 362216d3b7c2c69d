//! The dashboard: pages made on the server, the read-only JSON API behind them, live events, and metrics.
//!
//! It knows nothing of how a pool works. What it shows is in [`view`], and the program hands it a [`Source`] of
//! views; so the pages can be looked at without a pool, and the pool runs without pages.
//!
//! - [`view`]: what is shown, with its units; the JSON API is these structs as they are.
//! - `pages`: the same as HTML. `chart`: lines as SVG. `format`: numbers as people read them.
//! - `server`: routes, headers, live events, start and stop.

#![warn(clippy::unwrap_used)]

mod chart;
mod format;
mod pages;
mod server;
pub mod view;

pub use server::{ServeError, Server, router};
pub use view::Source;
