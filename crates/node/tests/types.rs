//! The crate `corepc-types`, which others keep, reads what our JSON-RPC answers as the types of Bitcoin Core 31.

mod common;

use common::{ADDRESS, TestNode};
use corepc_types::v31 as core;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

async fn reads<T: DeserializeOwned>(node: &TestNode, method: &str, params: Value) {
    let answer = node.call(method, params.clone()).await;
    // Through text, as a client would.
    if let Err(error) = serde_json::from_str::<T>(&answer.to_string()) {
        panic!("{method} {params}: {error} in {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_of_cores_types() {
    let node = TestNode::start().await;
    let hashes = node.generate(101).await;
    let block = node.call("getblock", json!([hashes[0]])).await;
    let coinbase = block["tx"][0].clone();
    reads::<core::GetBestBlockHash>(&node, "getbestblockhash", json!([])).await;
    reads::<core::GetBlockVerboseZero>(&node, "getblock", json!([hashes[0], 0])).await;
    reads::<core::GetBlockVerboseOne>(&node, "getblock", json!([hashes[0], 1])).await;
    // Verbosity 2 and 3 are left to the comparison with bitcoind: their types use serde's `flatten`, which cannot read
    // floating numbers where serde_json keeps all digits, as it does in this workspace.
    reads::<core::GetBlockchainInfo>(&node, "getblockchaininfo", json!([])).await;
    reads::<core::GetBlockCount>(&node, "getblockcount", json!([])).await;
    reads::<core::GetBlockHash>(&node, "getblockhash", json!([1])).await;
    reads::<core::GetBlockHeader>(&node, "getblockheader", json!([hashes[0], false])).await;
    reads::<core::GetBlockHeaderVerbose>(&node, "getblockheader", json!([hashes[0]])).await;
    reads::<core::GetBlockStats>(&node, "getblockstats", json!([1])).await;
    reads::<core::GetChainTips>(&node, "getchaintips", json!([])).await;
    reads::<core::GetChainTxStats>(&node, "getchaintxstats", json!([])).await;
    reads::<core::GetDifficulty>(&node, "getdifficulty", json!([])).await;
    reads::<core::GetTxOut>(&node, "gettxout", json!([coinbase, 0])).await;
    reads::<core::GetTxOutSetInfo>(&node, "gettxoutsetinfo", json!([])).await;
    reads::<core::WaitForNewBlock>(&node, "waitfornewblock", json!([1])).await;
    reads::<core::GetBlockTemplate>(&node, "getblocktemplate", json!([{"rules": ["segwit"]}])).await;
    reads::<core::GetMiningInfo>(&node, "getmininginfo", json!([])).await;
    reads::<core::GenerateBlock>(&node, "generateblock", json!([ADDRESS, []])).await;
    reads::<core::GetMempoolInfo>(&node, "getmempoolinfo", json!([])).await;
    reads::<core::GetRawMempool>(&node, "getrawmempool", json!([])).await;
    reads::<core::GetRawMempoolVerbose>(&node, "getrawmempool", json!([true])).await;
    reads::<core::GetRawTransactionVerbose>(&node, "getrawtransaction", json!([coinbase, 1, hashes[0]]))
        .await;
    reads::<core::DecodeScript>(&node, "decodescript", json!(["51"])).await;
    reads::<core::GetNetworkInfo>(&node, "getnetworkinfo", json!([])).await;
    reads::<core::GetPeerInfo>(&node, "getpeerinfo", json!([])).await;
    reads::<core::GetConnectionCount>(&node, "getconnectioncount", json!([])).await;
    reads::<core::GetNetTotals>(&node, "getnettotals", json!([])).await;
    reads::<core::GetNodeAddresses>(&node, "getnodeaddresses", json!([])).await;
    node.call("setban", json!(["1.2.3.4", "add"])).await;
    reads::<core::ListBanned>(&node, "listbanned", json!([])).await;
    reads::<core::GetRpcInfo>(&node, "getrpcinfo", json!([])).await;
    reads::<core::GetMemoryInfoStats>(&node, "getmemoryinfo", json!([])).await;
    reads::<core::ValidateAddress>(&node, "validateaddress", json!([ADDRESS])).await;
    reads::<core::EstimateSmartFee>(&node, "estimatesmartfee", json!([6])).await;
    reads::<core::SaveMempool>(&node, "savemempool", json!([])).await;
    node.handle.shutdown().await;
}
