//! A node's block template (BIP22, BIP23, BIP145) as work, and work found as a block. Used by [`crate::solo`].

use lode_coins::Coin;
use lode_primitives::{BlockHash, Txid, encode_bytes, encode_compact_size, merkle};
use lode_stratum::{Goal, Notify};
use serde::Deserialize;

/// Bytes of extranonce in the coinbase.
pub(crate) const EXTRANONCE_SIZE: usize = 8;
/// What the coinbase says of who made it.
const TAG: &[u8] = b"/lode/";

#[derive(Debug, Clone, Deserialize)]
struct TemplateTransaction {
    data: String,
    /// Older nodes have only `hash`, which is then the same.
    txid: Option<String>,
    hash: Option<String>,
}

/// The fields of `getblocktemplate` that a block is made of.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Template {
    version: i32,
    previousblockhash: String,
    transactions: Vec<TemplateTransaction>,
    coinbasevalue: u64,
    pub(crate) longpollid: Option<String>,
    curtime: u32,
    bits: String,
    pub(crate) height: u32,
    default_witness_commitment: Option<String>,
    /// Litecoin's extension block, to be put behind the transactions as it comes.
    mweb: Option<String>,
}

/// A field that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the node's block template has {field} {value:?}, which is not understood")]
pub(crate) struct TemplateError {
    field: &'static str,
    value: String,
}

/// A block but for its header and extranonce.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    /// In the form the search takes it; its coinbase has no witness.
    pub(crate) job: Notify,
    /// What the block must reach.
    pub(crate) goal: Goal,
    transactions: Vec<Vec<u8>>,
    has_witness: bool,
    mweb: Option<Vec<u8>>,
}

fn unhex(field: &'static str, text: &str) -> Result<Vec<u8>, TemplateError> {
    hex::decode(text).map_err(|_| TemplateError { field, value: text.chars().take(80).collect() })
}

impl Template {
    /// The block of `coin` that pays the whole value to `script`.
    pub(crate) fn draft(&self, coin: &Coin, script: &[u8]) -> Result<Draft, TemplateError> {
        let error = |field, value: &str| TemplateError { field, value: value.chars().take(80).collect() };
        let prev: BlockHash = self
            .previousblockhash
            .parse()
            .map_err(|_| error("previousblockhash", &self.previousblockhash))?;
        let bits = u32::from_str_radix(&self.bits, 16).map_err(|_| error("bits", &self.bits))?;
        let goal = Goal::of_bits(coin.pow, bits).map_err(|_| error("bits", &self.bits))?;
        let mut leaves = vec![[0; 32]];
        let mut transactions = Vec::with_capacity(self.transactions.len());
        for transaction in &self.transactions {
            let txid = transaction.txid.as_ref().or(transaction.hash.as_ref()).map_or("", String::as_str);
            leaves.push(txid.parse::<Txid>().map_err(|_| error("txid", txid))?.0);
            transactions.push(unhex("data", &transaction.data)?);
        }
        let commitment = self.default_witness_commitment.as_deref().filter(|_| coin.form.witness);
        let commitment = commitment.map(|text| unhex("default_witness_commitment", text)).transpose()?;
        let (coinbase1, mut coinbase2) = self.coinbase(script, commitment.as_deref());
        if coin.form.data {
            // No data: an empty byte vector behind the lock time.
            coinbase2.push(0);
        }
        let job = Notify {
            job_id: self.height.to_string(),
            prev,
            coinbase1,
            coinbase2,
            branch: merkle::branch(leaves, 0),
            version: self.version.cast_unsigned(),
            bits,
            time: self.curtime,
            clean_jobs: true,
        };
        let mweb = self.mweb.as_deref().map(|text| unhex("mweb", text)).transpose()?;
        Ok(Draft { job, goal, transactions, has_witness: commitment.is_some(), mweb })
    }

    /// The coinbase without witness, in front of and behind the extranonce.
    fn coinbase(&self, script: &[u8], commitment: Option<&[u8]>) -> (Vec<u8>, Vec<u8>) {
        let mut height = push_height(self.height);
        let script_len = height.len() + 1 + EXTRANONCE_SIZE + TAG.len();
        let mut front = 1u32.to_le_bytes().to_vec();
        front.push(1);
        front.extend_from_slice(&[0; 32]);
        front.extend_from_slice(&u32::MAX.to_le_bytes());
        encode_compact_size(script_len as u64, &mut front);
        front.append(&mut height);
        front.push(EXTRANONCE_SIZE as u8);

        let mut back = TAG.to_vec();
        back.extend_from_slice(&u32::MAX.to_le_bytes());
        back.push(1 + u8::from(commitment.is_some()));
        back.extend_from_slice(&self.coinbasevalue.to_le_bytes());
        encode_bytes(script, &mut back);
        if let Some(commitment) = commitment {
            back.extend_from_slice(&0u64.to_le_bytes());
            encode_bytes(commitment, &mut back);
        }
        back.extend_from_slice(&0u32.to_le_bytes());
        (front, back)
    }
}

/// The height as a script pushes it (BIP34): the shortest form.
fn push_height(height: u32) -> Vec<u8> {
    match height {
        0 => vec![0],
        // OP_1 to OP_16.
        1..=16 => vec![0x50 + height as u8],
        _ => {
            let mut number = height.to_le_bytes().to_vec();
            while number.last() == Some(&0) {
                number.pop();
            }
            if number.last().is_some_and(|&top| top & 0x80 != 0) {
                number.push(0);
            }
            number.insert(0, number.len() as u8);
            number
        }
    }
}

impl Draft {
    /// The whole block for `submitblock`. `header` has its multiplier, where the coin's has one.
    pub(crate) fn block(&self, header: &[u8], extranonce: &[u8]) -> Vec<u8> {
        let coinbase = [&self.job.coinbase1, extranonce, &self.job.coinbase2].concat();
        let mut block = header.to_vec();
        encode_compact_size(1 + self.transactions.len() as u64, &mut block);
        if self.has_witness {
            // BIP141: marker and flag behind the version; the reserved value, 32 zero bytes, in front of the lock time.
            let (version, rest) = coinbase.split_at(4);
            let (middle, lock_time) = rest.split_at(rest.len() - 4);
            block.extend_from_slice(version);
            block.extend_from_slice(&[0, 1]);
            block.extend_from_slice(middle);
            block.extend_from_slice(&[1, 32]);
            block.extend_from_slice(&[0; 32]);
            block.extend_from_slice(lock_time);
        } else {
            block.extend_from_slice(&coinbase);
        }
        for transaction in &self.transactions {
            block.extend_from_slice(transaction);
        }
        if let Some(mweb) = &self.mweb {
            block.push(1);
            block.extend_from_slice(mweb);
        }
        block
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lode_primitives::{Block, Decode, Encode, Form, sha256d};
    use serde_json::json;

    const WITNESS: Form = Form { witness: true, data: false, multiplier: false };

    fn template(commitment: bool) -> Template {
        // Any transaction will do: the coinbase of the main network's first block.
        let data = "01000000010000000000000000000000000000000000000000000000000000000000000000ffffffff4d04ffff001d0104\
                    455468652054696d65732030332f4a616e2f32303039204368616e63656c6c6f72206f6e206272696e6b206f662073\
                    65636f6e64206261696c6f757420666f722062616e6b73ffffffff0100f2052a01000000434104678afdb0fe55482719\
                    67f1a67130b7105cd6a828e03909a67962e0ea1f61deb649f6bc3f4cef38c4f35504e51ec112de5c384df7ba0b8d578a4c\
                    702b6bf11d5fac00000000"
            .replace(' ', "");
        let txid = "4a5e1e4baab89f3a32518a88c31bc87f618f76673e2cc77ab2127b7afdeda33b";
        serde_json::from_value(json!({
            "version": 0x2000_0000, "previousblockhash": "00".repeat(32), "coinbasevalue": 5_000_000_000u64,
            "transactions": [{ "data": data, "txid": txid }], "curtime": 1_700_000_000, "bits": "207fffff",
            "height": 300, "target": "ignored",
            "default_witness_commitment": commitment.then(|| format!("6a24aa21a9ed{}", "07".repeat(32))),
        }))
        .unwrap()
    }

    fn coin() -> &'static Coin {
        lode_coins::find("bitcoin", "regtest").unwrap()
    }

    #[test]
    fn a_block_is_made_that_decodes_to_the_same() {
        for commitment in [false, true] {
            let draft = template(commitment).draft(coin(), &[0x51]).unwrap();
            let extranonce = [9; EXTRANONCE_SIZE];
            let coinbase = [&draft.job.coinbase1[..], &extranonce, &draft.job.coinbase2].concat();
            let root = merkle::root_from_branch(sha256d(&coinbase), &draft.job.branch, 0);
            let mut header = [0; 80];
            header[36..68].copy_from_slice(root.as_bytes());
            let bytes = draft.block(&header, &extranonce);
            let block = Block::from_bytes(&bytes, WITNESS).unwrap();
            assert_eq!(block.to_bytes(), bytes);
            let txids: Vec<[u8; 32]> = block.transactions.iter().map(|tx| tx.txid().0).collect();
            assert_eq!(merkle::root(txids).0, root);
            assert_eq!(block.transactions[0].outputs.len(), 1 + usize::from(commitment));
        }
    }

    #[test]
    fn heights_are_pushed_in_their_shortest_form() {
        for (height, pushed) in [
            (0, "00"),
            (1, "51"),
            (16, "60"),
            (17, "0111"),
            (128, "028000"),
            (300, "022c01"),
            (840_000, "0340d10c"),
        ] {
            assert_eq!(hex::encode(push_height(height)), pushed);
        }
    }

    #[test]
    fn odd_templates_are_refused_with_the_field() {
        let mut odd = template(true);
        odd.bits = "zz".into();
        assert_eq!(odd.draft(coin(), &[]).unwrap_err().field, "bits");
        odd = template(true);
        odd.transactions[0].data = "0".into();
        assert_eq!(odd.draft(coin(), &[]).unwrap_err().field, "data");
    }
}
