//! The `lode` program: command line, config, wiring, progress and exit.

fn main() {}
