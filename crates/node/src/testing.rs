//! For fuzz targets: what reads outside bytes in here, without a socket or a file around it.

use lode_coins::Coin;
use lode_primitives::Form;

use crate::NodeHandle;
use crate::rpc::testing::{GROUPS, execute, to_script};

/// Carries out an RPC request's body; the HTTP status and the reply, if there is one.
pub async fn call(node: &NodeHandle, body: &[u8]) -> (u16, Option<Vec<u8>>) {
    let (status, reply) = execute(node.inner(), body).await;
    (status.as_u16(), reply)
}

/// Every RPC method's name.
pub fn methods() -> Vec<&'static str> {
    GROUPS.iter().flat_map(|(_, methods)| methods.iter()).map(|method| method.name).collect()
}

/// The output script of an address or a descriptor.
pub fn output_script(coin: &Coin, text: &str) -> Option<Vec<u8>> {
    to_script(coin, text)
}

/// Reads a saved mempool; the number of its transactions, where it reads.
pub fn read_mempool(bytes: &[u8], form: Form) -> Option<usize> {
    crate::mempool_file::read(bytes, form).ok().map(|kept| kept.len())
}
