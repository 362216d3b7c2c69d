//! Script interpreter and signature hashes.
