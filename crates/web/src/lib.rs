//! Dashboard pages, API, metrics.
