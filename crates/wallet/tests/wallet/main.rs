//! The wallet from outside: published vectors, money on a chain in memory, and a kill at any moment.

mod chain;
mod kill;
mod money;
mod restore;
mod vectors;
