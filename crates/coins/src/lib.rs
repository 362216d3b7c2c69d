//! The table of coins and their networks.
