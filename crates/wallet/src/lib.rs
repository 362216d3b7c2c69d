//! Keys, coin choice, signing, history.
