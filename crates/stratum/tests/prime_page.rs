//! The example in `docs/stratum-prime.md`, read out of the page and done by the page's own rules: what an author of a miner
//! would do with it.

use std::collections::HashMap;

use lode_pow::{ChainLength, check_prime_chain};
use lode_primitives::{Block, BlockHash, Decode, Encode, Form, encode_bytes, merkle, sha256d};
use lode_stratum::{
    Call, ServerMessage, parse_request, write_accepted, write_prime_submit, write_prime_subscribe_reply,
    write_set_target, write_subscribe,
};

/// The page's examples by name.
fn examples() -> HashMap<String, String> {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/stratum-prime.md"));
    page.unwrap()
        .split("<!-- example: ")
        .skip(1)
        .map(|part| {
            let (name, rest) = part.split_once(" -->\n```text\n").unwrap();
            (name.to_owned(), rest.split_once("\n```").unwrap().0.to_owned())
        })
        .collect()
}

fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8(out).unwrap().trim_end().to_owned()
}

#[test]
fn the_example_is_true_to_the_byte() {
    let page = examples();
    // The talk is what pool and miner here write.
    assert_eq!(written(|out| write_subscribe(1, "example/1.0", out)), page["subscribe"]);
    assert_eq!(written(|out| write_prime_subscribe_reply("1", &[0, 0, 0, 42], 8, out)), page["subscribed"]);
    let target = ChainLength(0x0240_0000);
    assert_eq!(written(|out| write_set_target(target, out)), page["target"]);
    assert_eq!(ServerMessage::parse(page["target"].as_bytes()), Ok(ServerMessage::SetTarget(target)));
    let Ok(ServerMessage::Notify(job)) = ServerMessage::parse(page["notify"].as_bytes()) else { panic!() };
    assert_eq!(written(|out| job.write(out)), page["notify"]);
    assert_eq!(written(|out| write_accepted("4", out)), page["accepted"]);
    let request = parse_request(page["submit"].as_bytes()).unwrap();
    let Call::Submit(submit) = request.call else { panic!() };
    let multiplier = submit.multiplier().unwrap();
    let extranonce2 = hex::decode(&*submit.extranonce2).unwrap();
    let (user, id) = (&submit.user, &submit.job_id);
    let again = written(|out| {
        write_prime_submit(4, user, id, &extranonce2, submit.time, submit.nonce, &multiplier, out);
    });
    assert_eq!(again, page["submit"]);
    assert_eq!((submit.job_id.as_ref(), submit.time), (job.job_id.as_str(), job.time + 5));

    // From the job to the header.
    let coinbase = [&job.coinbase1[..], &[0, 0, 0, 42], &extranonce2, &job.coinbase2].concat();
    assert_eq!(hex::encode(&coinbase), page["coinbase"]);
    let root = merkle::root_from_branch(sha256d(&coinbase), &job.branch, 0);
    assert_eq!(hex::encode(root.0), page["root"]);
    let mut header = Vec::new();
    header.extend_from_slice(&job.version.to_le_bytes());
    header.extend_from_slice(job.prev.as_bytes());
    header.extend_from_slice(&root.0);
    for number in [submit.time, job.bits, submit.nonce] {
        header.extend_from_slice(&number.to_le_bytes());
    }
    let hash = sha256d(&header);
    assert_eq!(hex::encode(hash), page["hash"]);
    let factors = [&hash[..], multiplier.as_bytes()].map(num_bigint::BigUint::from_bytes_le);
    assert_eq!((&factors[0] * &factors[1]).to_string(), page["origin"]);

    // The chain, as the page names it, is a block.
    let bytes: [u8; 80] = header.clone().try_into().unwrap();
    let chain = check_prime_chain(&bytes, &multiplier, ChainLength(job.bits), 2).unwrap();
    assert_eq!(chain.to_string(), "1CC03.950a76");
    encode_bytes(multiplier.as_bytes(), &mut header);
    assert_eq!(hex::encode(&header), page["header"]);
    assert_eq!(BlockHash(sha256d(&header)).to_string(), page["id"]);

    // The block as it goes to the node: what a node reads of it is what was mined, and its transactions are those of the root.
    let transaction = hex::decode(&page["transaction"]).unwrap();
    assert_eq!(job.branch, [sha256d(&transaction)]);
    let form = Form { witness: false, data: false, multiplier: true };
    let block = Block::from_bytes(&hex::decode(&page["block"]).unwrap(), form).unwrap();
    assert_eq!(block.to_bytes(), [&header[..], &[2], &coinbase, &transaction].concat());
    assert_eq!((block.hash().to_string(), &block.header.multiplier), (page["id"].clone(), &Some(multiplier)));
    let txids: Vec<[u8; 32]> = block.transactions.iter().map(|tx| tx.txid().0).collect();
    assert_eq!(merkle::root(txids).0.0, block.header.merkle_root.0);
    let paid: i64 = block.transactions[0].outputs.iter().map(|output| output.value.to_sat()).sum();
    assert_eq!(paid, 3_996_000_000);
}
