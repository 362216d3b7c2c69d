//! A chain in memory that checks what it is handed, for the wallet to live on.

use std::collections::HashMap;
use std::path::Path;

use lode_coins::Coin;
use lode_primitives::{
    Amount, BlockHash, Encode as _, Height, OutPoint, ScriptBuf, Transaction, TxIn, TxOut, Txid, Witness,
    sha256d,
};
use lode_script::{Flags, TxSighashes, verify_input};
use lode_wallet::{
    BlockRef, ChainBlock, FeeHint, FeeRate, Keys, NewWallet, Seed, Source, SourceError, Wallet,
};

/// The words whose addresses BIP84 and BIP86 publish.
pub(crate) const WORDS: &str =
    "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about";

/// Blocks with a coinbase each, and transactions that wait. A fork is a new chain with a part of the old.
#[derive(Clone)]
pub(crate) struct TestChain {
    pub(crate) coin: &'static Coin,
    pub(crate) blocks: Vec<(BlockHash, Vec<Transaction>)>,
    pub(crate) waiting: Vec<Transaction>,
    /// Where true, no one can be reached.
    pub(crate) down: bool,
    salt: u8,
}

impl TestChain {
    pub(crate) fn new(coin: &'static Coin) -> Self {
        let genesis = coin.genesis_block();
        Self {
            coin,
            blocks: vec![(genesis.hash(), genesis.transactions)],
            waiting: Vec::new(),
            down: false,
            salt: 0,
        }
    }

    pub(crate) fn height(&self) -> Height {
        self.blocks.len() as Height - 1
    }

    /// Mines a block whose coinbase pays `outputs`, with all that waits.
    pub(crate) fn mine(&mut self, outputs: &[(ScriptBuf, i64)]) {
        let height = self.height() + 1;
        let mut script_sig = vec![4, self.salt];
        script_sig.extend_from_slice(&height.to_le_bytes());
        let coinbase = Transaction {
            version: 1,
            inputs: vec![TxIn {
                prevout: OutPoint::NULL,
                script_sig,
                sequence: u32::MAX,
                witness: Witness::default(),
            }],
            outputs: outputs
                .iter()
                .map(|(script, sat)| TxOut { value: Amount::from_sat(*sat), script_pubkey: script.clone() })
                .collect(),
            lock_time: 0,
            data: self.coin.form.data.then(Vec::new),
        };
        let mut transactions = vec![coinbase];
        transactions.append(&mut self.waiting);
        let bytes: Vec<u8> = transactions.iter().flat_map(|tx| tx.to_bytes()).collect();
        self.blocks.push((BlockHash(sha256d(&[&bytes[..], &height.to_le_bytes()].concat())), transactions));
    }

    pub(crate) fn mine_empty(&mut self, count: u32) {
        for _ in 0..count {
            self.mine(&[(vec![0x51], 1)]);
        }
    }

    /// The same chain without its last `blocks`; what is mined on it will differ.
    pub(crate) fn fork(&self, blocks: usize) -> Self {
        let mut fork = self.clone();
        fork.blocks.truncate(fork.blocks.len() - blocks);
        fork.salt += 1;
        fork.waiting.clear();
        fork
    }

    fn outputs(&self) -> HashMap<OutPoint, TxOut> {
        let all = self.blocks.iter().flat_map(|(_, transactions)| transactions).chain(&self.waiting);
        let mut outputs = HashMap::new();
        for tx in all {
            let txid = tx.txid();
            for (vout, output) in tx.outputs.iter().enumerate() {
                outputs.insert(OutPoint { txid, vout: vout as u32 }, output.clone());
            }
        }
        outputs
    }

    fn check_up(&self) -> Result<(), SourceError> {
        if self.down { Err(SourceError::Failed("nobody there".to_owned())) } else { Ok(()) }
    }
}

impl Source for TestChain {
    fn tip(&mut self) -> Result<BlockRef, SourceError> {
        self.check_up()?;
        Ok(BlockRef { height: self.height(), hash: self.blocks[self.blocks.len() - 1].0 })
    }

    fn block_hash(&mut self, height: Height) -> Result<Option<BlockHash>, SourceError> {
        self.check_up()?;
        Ok(self.blocks.get(height as usize).map(|(hash, _)| *hash))
    }

    /// Exact, as filters are but for their few false alarms: what the wallet does not ask for it does not see.
    fn matching(
        &mut self,
        scripts: &[ScriptBuf],
        from: Height,
        to: Height,
    ) -> Result<Vec<BlockRef>, SourceError> {
        self.check_up()?;
        let wanted: std::collections::HashSet<&ScriptBuf> = scripts.iter().collect();
        let outputs = self.outputs();
        let concerns = |tx: &Transaction| {
            tx.outputs.iter().any(|output| wanted.contains(&output.script_pubkey))
                || tx.inputs.iter().any(|input| {
                    outputs.get(&input.prevout).is_some_and(|output| wanted.contains(&output.script_pubkey))
                })
        };
        let range = (from..=to.min(self.height()))
            .filter(|height| self.blocks[*height as usize].1.iter().any(concerns));
        Ok(range.map(|height| BlockRef { height, hash: self.blocks[height as usize].0 }).collect())
    }

    fn block(&mut self, at: BlockRef) -> Result<ChainBlock, SourceError> {
        let (hash, transactions) = &self.blocks[at.height as usize];
        assert_eq!(*hash, at.hash);
        Ok(ChainBlock { at, time: 1_700_000_000 + at.height * 600, transactions: transactions.clone() })
    }

    fn waiting(&mut self, known: &dyn Fn(&Txid) -> bool) -> Result<Vec<Transaction>, SourceError> {
        Ok(self.waiting.iter().filter(|tx| !known(&tx.txid())).cloned().collect())
    }

    /// Judges as a node would: coins there and unspent, scripts satisfied, no more paid than taken, size.
    fn broadcast(&mut self, tx: &Transaction) -> Result<(), SourceError> {
        self.check_up()?;
        let refused = |reason: &str| Err(SourceError::Refused(reason.to_owned()));
        if self.waiting.contains(tx) {
            return Ok(());
        }
        let outputs = self.outputs();
        let Some(spent) =
            tx.inputs.iter().map(|input| outputs.get(&input.prevout).cloned()).collect::<Option<Vec<_>>>()
        else {
            return refused("missing inputs");
        };
        let mined = self.blocks.iter().flat_map(|(_, transactions)| transactions);
        let taken = |other: &Transaction| {
            other.inputs.iter().any(|input| tx.inputs.iter().any(|own| own.prevout == input.prevout))
        };
        if mined.into_iter().any(taken) {
            return refused("spent already");
        }
        let sighashes = TxSighashes::new(tx, &spent);
        for index in 0..tx.inputs.len() {
            if let Err(error) = verify_input(&sighashes, index, Flags::STANDARD, None) {
                return refused(&error.to_string());
            }
        }
        let taken_in: i64 = spent.iter().map(|output| output.value.to_sat()).sum();
        let paid: i64 = tx.outputs.iter().map(|output| output.value.to_sat()).sum();
        if taken_in - paid < self.coin.least_fee(tx.total_size()).to_sat() || paid > taken_in {
            return refused("fee");
        }
        if tx.weight() > self.coin.max_standard_weight {
            return refused("tx-size");
        }
        self.waiting.retain(|other| !taken(other));
        self.waiting.push(tx.clone());
        Ok(())
    }

    fn fee_hint(&mut self, _blocks: u16) -> Result<FeeHint, SourceError> {
        Ok(FeeHint { estimate: None, floor: FeeRate::from_sat_per_kvb(1_000) })
    }
}

/// A wallet of `words` in `directory`.
pub(crate) fn wallet_of(words: &str, directory: &Path, name: &str, coin: &'static Coin, gap: u32) -> Wallet {
    let seed = Seed::from_words(words, "").unwrap();
    let new = NewWallet { coin, keys: Keys::Own(seed), account: 0, birthday: 0, gap };
    Wallet::create(&directory.join(name), "pass", new).unwrap()
}

/// Brings it up to date.
pub(crate) fn sync(wallet: &mut Wallet, chain: &mut TestChain) {
    wallet.sync(chain, &mut |_| {}).unwrap();
}

/// The script of an address.
pub(crate) fn script(coin: &Coin, address: &str) -> ScriptBuf {
    coin.address_to_script(address).unwrap()
}
