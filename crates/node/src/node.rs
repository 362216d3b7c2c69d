//! placeholder
use lode_coins::Coin;
/// placeholder
pub(crate) struct Node {
    pub(crate) coin: &'static Coin,
}
