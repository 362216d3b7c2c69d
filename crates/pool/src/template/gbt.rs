//! `getblocktemplate` (BIP22, BIP23) as bitcoind and litecoind answer it, made into a [`Template`].

use bytes::Bytes;
use lode_coins::Coin;
use lode_primitives::{Amount, BlockHash, Txid, compact_size_len, merkle, sha256d};
use serde::Deserialize;

use super::{Template, TemplateTx};

/// Rules offered to a node: each insists on those it needs (bitcoind on `segwit`, on signet also `signet`,
/// litecoind on `segwit` and `mweb`) and ignores the others. Where a coin has no witnesses nothing is offered: nodes that know of them all the
/// same would commit to them, with an output too small for the coin.
pub(super) fn rules(coin: &Coin) -> &'static [&'static str] {
    if coin.form.witness { &["segwit", "mweb", "signet"] } else { &[] }
}

/// The reply, as far as a pool needs it.
#[derive(Debug, Deserialize)]
pub(super) struct Reply {
    version: i32,
    previousblockhash: String,
    transactions: Vec<ReplyTx>,
    coinbasevalue: i64,
    pub(super) longpollid: Option<String>,
    mintime: Option<u32>,
    curtime: u32,
    bits: String,
    height: u32,
    sigoplimit: Option<usize>,
    weightlimit: Option<usize>,
    sizelimit: Option<usize>,
    default_witness_commitment: Option<String>,
    signet_challenge: Option<String>,
    mweb: Option<String>,
}

#[derive(Debug, Deserialize)]
struct ReplyTx {
    data: String,
    txid: Option<String>,
    hash: Option<String>,
    sigops: Option<usize>,
    weight: Option<usize>,
}

/// Why a reply is no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A field that cannot be read.
    #[error("the template's {0} cannot be read")]
    Field(&'static str),
    /// A signet whose blocks need a signature.
    #[error(
        "this signet's blocks must be signed by whoever holds the keys of {0}; a pool can only mine on a signet with the challenge 51"
    )]
    Signed(String),
}

/// The challenge that anyone satisfies: `OP_TRUE`.
const OPEN_CHALLENGE: &str = "51";
/// BIP141's prefix of the commitment output's script: `OP_RETURN`, 36 bytes, the magic.
const COMMITMENT_PREFIX: [u8; 6] = [0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed];

impl Reply {
    /// As a template of `coin`. `heard_us`: when it came, Unix microseconds.
    pub(super) fn into_template(self, coin: &Coin, heard_us: u64) -> Result<Template, TemplateError> {
        if let Some(challenge) = self.signet_challenge.filter(|challenge| challenge != OPEN_CHALLENGE) {
            return Err(TemplateError::Signed(challenge.chars().take(80).collect()));
        }
        let mut wtxids = Vec::with_capacity(self.transactions.len() + 1);
        // The coinbase's place: its witness id is taken as zero (BIP141).
        wtxids.push([0; 32]);
        let (mut weight, mut sigops) = (0usize, 0usize);
        let mut transactions = Vec::with_capacity(self.transactions.len());
        for tx in self.transactions {
            let bytes = hex::decode(&tx.data).map_err(|_| TemplateError::Field("transaction data"))?;
            // Before witnesses a transaction had only a hash.
            let id = tx.txid.as_ref().or(tx.hash.as_ref());
            let txid: Txid = match id {
                Some(id) => id.parse().map_err(|_| TemplateError::Field("transaction id"))?,
                None => Txid(sha256d(&bytes)),
            };
            let wtxid: Txid = match &tx.hash {
                Some(hash) => hash.parse().map_err(|_| TemplateError::Field("transaction hash"))?,
                None => txid,
            };
            wtxids.push(wtxid.0);
            weight = weight.saturating_add(tx.weight.unwrap_or(bytes.len() * 4));
            sigops = sigops.saturating_add(tx.sigops.unwrap_or(0));
            transactions.push(TemplateTx { bytes: Bytes::from(bytes), txid });
        }
        let witness_commitment = match self.default_witness_commitment.filter(|_| coin.form.witness) {
            Some(theirs) => {
                let ours = commitment(wtxids);
                if !theirs.eq_ignore_ascii_case(&hex::encode(&ours)) {
                    tracing::warn!(
                        "the node's witness commitment {theirs} is not that of its transactions; ours is used: {}",
                        hex::encode(&ours)
                    );
                }
                Some(ours)
            }
            None => None,
        };
        let mweb = match self.mweb {
            Some(hex) => Some(Bytes::from(hex::decode(&hex).map_err(|_| TemplateError::Field("mweb"))?)),
            None => None,
        };
        let head = 4 * (80 + compact_size_len(transactions.len() as u64 + 1));
        let room =
            self.weightlimit.or(self.sizelimit.map(|size| size.saturating_mul(4))).unwrap_or(4_000_000);
        Ok(Template {
            height: self.height,
            prev: self
                .previousblockhash
                .parse::<BlockHash>()
                .map_err(|_| TemplateError::Field("previousblockhash"))?,
            version: self.version as u32,
            bits: u32::from_str_radix(&self.bits, 16).map_err(|_| TemplateError::Field("bits"))?,
            time: self.curtime,
            min_time: self.mintime.unwrap_or(self.curtime),
            coinbase_value: Amount::from_sat(self.coinbasevalue),
            transactions,
            witness_commitment,
            mweb,
            coinbase_weight_max: room.saturating_sub(head + weight),
            coinbase_sigops_max: self.sigoplimit.unwrap_or(80_000).saturating_sub(sigops),
            heard_us,
        })
    }
}

/// The script of the commitment to the witnesses of a block: SHA-256d of their root and 32 zero bytes (BIP141).
fn commitment(wtxids: Vec<[u8; 32]>) -> Vec<u8> {
    let hash = merkle::parent(&merkle::root(wtxids).0.0, &[0; 32]);
    [&COMMITMENT_PREFIX[..], &hash].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn coin() -> &'static Coin {
        lode_coins::find("bitcoin", "regtest").unwrap()
    }

    fn reply() -> serde_json::Value {
        serde_json::json!({
            "version": 536870912, "previousblockhash": "0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206",
            "transactions": [], "coinbaseaux": {}, "coinbasevalue": 5000000000i64, "longpollid": "x1",
            "target": "7fffff0000000000000000000000000000000000000000000000000000000000",
            "mintime": 1296688603, "curtime": 1700000000, "bits": "207fffff", "height": 1, "sigoplimit": 80000,
            "sizelimit": 4000000, "weightlimit": 4000000,
            "default_witness_commitment": "6a24aa21a9ede2f61c3f71d1defd3fa999dfa36953755c690689799962b48bebd836974e8cf9"
        })
    }

    #[test]
    fn an_empty_template_of_regtest() {
        let template = serde_json::from_value::<Reply>(reply()).unwrap().into_template(coin(), 0).unwrap();
        assert_eq!((template.height, template.bits, template.time), (1, 0x207f_ffff, 1_700_000_000));
        let theirs = reply()["default_witness_commitment"].as_str().unwrap().to_owned();
        assert_eq!(hex::encode(template.witness_commitment.unwrap()), theirs);
        assert_eq!(template.coinbase_weight_max, 4_000_000 - 4 * 81);
    }

    #[test]
    fn a_coin_without_witnesses_commits_to_none() {
        let coin = lode_coins::find("primecoin", "main").unwrap();
        assert!(rules(coin).is_empty());
        let template = serde_json::from_value::<Reply>(reply()).unwrap().into_template(coin, 0).unwrap();
        assert_eq!(template.witness_commitment, None);
    }

    #[test]
    fn a_signet_that_needs_signatures_is_refused_with_the_reason() {
        let mut signed = reply();
        signed["signet_challenge"] = "5121aa".into();
        let error = serde_json::from_value::<Reply>(signed).unwrap().into_template(coin(), 0).unwrap_err();
        assert!(error.to_string().contains("5121aa"));
    }

    #[test]
    fn bad_fields_are_named() {
        for (field, value) in [("previousblockhash", "xx"), ("bits", "zz"), ("mweb", "0")] {
            let mut bad = reply();
            bad[field] = value.into();
            let error = serde_json::from_value::<Reply>(bad).unwrap().into_template(coin(), 0).unwrap_err();
            assert!(error.to_string().contains(field), "{error}");
        }
    }
}
