//! `lode data` against a node: a file goes in, is mined, and comes back the same; one too long is refused before a key is read.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

/// The key 7 and its address on Datacoin's test networks.
const KEY: [u8; 32] = {
    let mut key = [0; 32];
    key[31] = 7;
    key
};

struct Node(Child);

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn lode(args: &[&str], dir: &Path, rpc: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lode"));
    command.args(args).args(["--coin", "datacoin", "--network", "regtest", "--rpc", rpc]);
    command.arg("--data-dir").arg(dir).env_remove("LODE_KEY").stdin(Stdio::null()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_owned()
}

/// Asks the node; what it answers, as text.
fn ask(words: &[&str], dir: &Path, rpc: &str) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lode"));
    command.args(["cli", "--coin", "datacoin", "--network", "regtest", "--rpc", rpc]);
    let output = command.arg("--data-dir").arg(dir).args(words).output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

#[test]
fn a_file_goes_in_and_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let rpc = lode_testkit::free_address().to_string();
    let child = Command::new(env!("CARGO_BIN_EXE_lode"))
        .args(["node", "--coin", "datacoin", "--network", "regtest", "--rpc-bind", &rpc])
        .args(["--p2p-bind", "127.0.0.1:0", "--data-dir"])
        .arg(dir.path())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut node = Node(child);
    // The log ends with the process, so that it never fills the pipe.
    let log = BufReader::new(node.0.stderr.take().unwrap());
    std::thread::spawn(move || log.lines().map_while(Result::ok).for_each(drop));
    let began = std::time::Instant::now();
    let up = || {
        let mut cli = Command::new(env!("CARGO_BIN_EXE_lode"));
        cli.args(["cli", "--coin", "datacoin", "--network", "regtest", "--rpc", &rpc, "--data-dir"]);
        cli.arg(dir.path()).arg("getblockcount").output().unwrap().status.success()
    };
    while !up() {
        assert!(began.elapsed().as_secs() < 60, "the node does not come up");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }

    let coin = lode_coins::find("datacoin", "regtest").unwrap();
    let public = secp256k1::SecretKey::from_slice(&KEY).unwrap().public_key(secp256k1::SECP256K1);
    let script = lode_script::build::p2pkh(&lode_primitives::hash160(&public.serialize()));
    let address = coin.script_to_address(&script).unwrap();
    let key = dir.path().join("key");
    std::fs::write(&key, coin.encode_wif(&KEY)).unwrap();
    let key = key.to_str().unwrap();
    ask(&["generatetoaddress", "15", &address], dir.path(), &rpc);

    // As long as may be, and no bytes alike for a hash to overlook.
    let content: Vec<u8> = (0..131_072u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let file = dir.path().join("file");
    std::fs::write(&file, &content).unwrap();
    let file = file.to_str().unwrap();
    let unasked = lode(&["data", "put", file, "--from", key], dir.path(), &rpc);
    assert!(!unasked.status.success());
    let said = text(&unasked.stderr);
    assert!(said.contains("fee 6.60000000 DTC") && said.contains("Nothing was signed"), "{said}");

    let put = lode(&["data", "put", file, "--from", key, "--yes"], dir.path(), &rpc);
    assert!(put.status.success(), "{}", text(&put.stderr));
    let txid = text(&put.stdout);
    let checksum = format!("sha256 {}", hex::encode(lode_primitives::sha256(&content)));
    assert!(text(&put.stderr).contains(&checksum));
    let block = ask(&["generatetoaddress", "1", &address], dir.path(), &rpc);
    let block: serde_json::Value = serde_json::from_str(&block).unwrap();
    let shown = ask(&["getblock", block[0].as_str().unwrap()], dir.path(), &rpc);
    assert!(shown.contains(&txid), "not mined: {shown}");

    let out = dir.path().join("out");
    let get = lode(&["data", "get", &txid, "--out", out.to_str().unwrap()], dir.path(), &rpc);
    assert!(get.status.success(), "{}", text(&get.stderr));
    assert!(text(&get.stderr).contains(&checksum));
    assert_eq!(std::fs::read(&out).unwrap(), content);
    // A file that is there is left alone.
    assert!(
        !lode(&["data", "get", &txid, "--out", out.to_str().unwrap()], dir.path(), &rpc).status.success()
    );

    // One byte more: refused though the key file is not even there.
    let long = dir.path().join("long");
    std::fs::write(&long, [content.as_slice(), &[0]].concat()).unwrap();
    let refused =
        lode(&["data", "put", long.to_str().unwrap(), "--from", "/no/key", "--yes"], dir.path(), &rpc);
    assert!(!refused.status.success());
    let said = text(&refused.stderr);
    assert!(said.contains("131073 bytes") && said.contains("nothing was signed"), "{said}");
    // A second file is paid for by the first one's change.
    let small = dir.path().join("small");
    std::fs::write(&small, "a text").unwrap();
    let put = lode(&["data", "put", small.to_str().unwrap(), "--from", key, "--yes"], dir.path(), &rpc);
    assert!(put.status.success(), "{}", text(&put.stderr));
    let get = lode(&["data", "get", &text(&put.stdout)], dir.path(), &rpc);
    assert_eq!(get.stdout, b"a text", "from the mempool too");
}
