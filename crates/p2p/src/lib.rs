//! Peer protocol as a state machine without IO, and a tokio driver.
