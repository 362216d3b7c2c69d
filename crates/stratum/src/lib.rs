//! Stratum V1 messages, used by pool and miner alike.
