//! The books: share log, payout window, balances, payout split.
