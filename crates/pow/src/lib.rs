//! Proof of work: verify one, search many.
