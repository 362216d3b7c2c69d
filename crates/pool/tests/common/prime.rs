//! A miner of prime chains, by the page's rules (`docs/stratum-prime.md`) and nothing faster: for networks whose chains are short.

use lode_pow::{ChainLength, check_prime_chain};
use lode_primitives::{Multiplier, merkle, sha256d};

use super::Miner;

/// A nonce, written into the header, and a multiplier that make a chain of at least this length, and of less than `below`.
pub(crate) fn solve(header: &mut [u8; 80], length: ChainLength, below: ChainLength) -> Multiplier {
    for nonce in 0u32.. {
        header[76..].copy_from_slice(&nonce.to_le_bytes());
        if sha256d(header)[31] < 0x80 {
            continue;
        }
        for factor in 1u32..2_000 {
            // Multiples of the first primes have no small factors in the numbers beside them.
            let multiplier = Multiplier::from_le_magnitude(&(factor * 2_310).to_le_bytes());
            if check_prime_chain(header, &multiplier, length, 1).is_ok_and(|chain| chain.length < below) {
                return multiplier;
            }
        }
    }
    unreachable!("four billion nonces")
}

/// A miner logged in on the dialect.
pub(crate) struct PrimeMiner {
    pub(crate) miner: Miner,
    user: String,
    extranonce1: Vec<u8>,
    shares: u64,
}

impl PrimeMiner {
    /// Subscribes, authorises and takes its first job.
    pub(crate) fn login(address: std::net::SocketAddr, user: &str) -> Self {
        let mut miner = Miner::connect(address);
        miner.send("{\"id\":1,\"method\":\"mining.subscribe\",\"params\":[\"test/1\"]}\n");
        let subscribed = miner.answer(1);
        assert_eq!(subscribed["result"][0][0][0], "mining.set_target");
        let extranonce1 = hex::decode(subscribed["result"][1].as_str().unwrap()).unwrap();
        miner.send(&format!("{{\"id\":2,\"method\":\"mining.authorize\",\"params\":[\"{user}\",\"x\"]}}\n"));
        assert_eq!(miner.answer(2)["result"], true);
        miner.next_job();
        Self { miner, user: user.to_owned(), extranonce1, shares: 0 }
    }

    /// The block that the last job builds on, as people write it.
    pub(crate) fn parent(&self) -> String {
        let words = hex::decode(self.miner.job["params"][1].as_str().unwrap()).unwrap();
        let mut bytes: Vec<u8> = words.chunks(4).flat_map(|word| word.iter().rev().copied()).collect();
        bytes.reverse();
        hex::encode(bytes)
    }

    /// Takes jobs until one builds on this block.
    pub(crate) fn work_on(&mut self, parent: &str) {
        while self.parent() != parent {
            self.miner.next_job();
        }
    }

    /// Solves the last job and hands its block in.
    pub(crate) fn block(&mut self) {
        self.shares += 1;
        let params = &self.miner.job["params"];
        let text = |index: usize| params[index].as_str().unwrap();
        let bytes = |index: usize| hex::decode(text(index)).unwrap();
        let number = |index: usize| u32::from_str_radix(text(index), 16).unwrap();
        let extranonce2 = self.shares.to_be_bytes();
        let coinbase = [&bytes(2), &self.extranonce1, &extranonce2[..], &bytes(3)].concat();
        let branch: Vec<[u8; 32]> = params[4]
            .as_array()
            .unwrap()
            .iter()
            .map(|hash| hex::decode(hash.as_str().unwrap()).unwrap().try_into().unwrap())
            .collect();
        let root = merkle::root_from_branch(sha256d(&coinbase), &branch, 0);
        let mut header = [0; 80];
        header[..4].copy_from_slice(&number(5).to_le_bytes());
        for (to, word) in header[4..36].chunks_mut(4).zip(bytes(1).chunks(4)) {
            to.iter_mut().zip(word.iter().rev()).for_each(|(to, byte)| *to = *byte);
        }
        header[36..68].copy_from_slice(root.as_bytes());
        header[68..72].copy_from_slice(&number(7).to_le_bytes());
        header[72..76].copy_from_slice(&number(6).to_le_bytes());
        let multiplier = solve(&mut header, ChainLength(number(6)), ChainLength(u32::MAX));
        let digits: String = multiplier.as_bytes().iter().rev().map(|byte| format!("{byte:02x}")).collect();
        let nonce = u32::from_le_bytes(header[76..].try_into().unwrap());
        self.miner.send(&format!(
            "{{\"id\":9,\"method\":\"mining.submit\",\"params\":[\"{}\",{},\"{}\",{},\"{nonce:08x}\",\"{digits}\"]}}\n",
            self.user, params[0], hex::encode(extranonce2), params[7]
        ));
        let answer = self.miner.answer_or_job(9);
        assert_eq!(answer["result"], true, "{answer}");
    }
}
