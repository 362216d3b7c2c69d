//! Consensus rules, best chain, UTXO set, block store, mempool.
