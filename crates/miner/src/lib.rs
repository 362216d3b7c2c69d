//! CPU miner: work from a pool or a node, search, submit.
