//! `lode data` against a node: a file goes in, is mined, and comes back the same; one too long is refused before a key is read.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;

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

/// A Datacoin node on a chain of its own, and who asks it.
struct Chain {
    _node: Node,
    dir: TempDir,
    rpc: String,
}

impl Chain {
    fn start() -> Self {
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
        let chain = Self { _node: node, dir, rpc };
        let began = std::time::Instant::now();
        while !chain.command(&["cli"]).arg("getblockcount").output().unwrap().status.success() {
            assert!(began.elapsed().as_secs() < 60, "the node does not come up");
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        chain
    }

    /// `lode` with these words, and how to reach the node behind them.
    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lode"));
        command.args(words).args(["--coin", "datacoin", "--network", "regtest", "--rpc", &self.rpc]);
        command.arg("--data-dir").arg(self.dir.path()).stdin(Stdio::null());
        command.env_remove("LODE_KEY").env_remove("LODE_WALLET_PASSPHRASE");
        command
    }

    fn lode(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// The same with a passphrase in the environment.
    fn with_passphrase(&self, passphrase: &str, words: &[&str]) -> Output {
        self.command(words).env("LODE_WALLET_PASSPHRASE", passphrase).output().unwrap()
    }

    /// Asks the node; what it answers, as text.
    fn ask(&self, words: &[&str]) -> String {
        let output = self.command(&["cli"]).args(words).output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// A file with this content.
    fn file(&self, name: &str, content: &[u8]) -> String {
        let path = self.dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Mines a block, which must hold the transaction.
    fn mine(&self, txid: &str, address: &str) {
        let block = self.ask(&["generatetoaddress", "1", address]);
        let block: serde_json::Value = serde_json::from_str(&block).unwrap();
        let shown = self.ask(&["getblock", block[0].as_str().unwrap()]);
        assert!(shown.contains(txid), "not mined: {shown}");
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_owned()
}

/// So many bytes, no stretch of which is like another for a hash to overlook.
fn content(size: u32) -> Vec<u8> {
    (0..size).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

#[test]
fn a_file_goes_in_and_comes_back() {
    let chain = Chain::start();
    let coin = lode_coins::find("datacoin", "regtest").unwrap();
    let public = secp256k1::SecretKey::from_slice(&KEY).unwrap().public_key(secp256k1::SECP256K1);
    let script = lode_script::build::p2pkh(&lode_primitives::hash160(&public.serialize()));
    let address = coin.script_to_address(&script).unwrap();
    let key = &*chain.file("key", coin.encode_wif(&KEY).as_bytes());
    chain.ask(&["generatetoaddress", "15", &address]);

    let content = content(131_072);
    let file = &*chain.file("file", &content);
    let unasked = chain.lode(&["data", "put", file, "--from", key]);
    assert!(!unasked.status.success());
    let said = text(&unasked.stderr);
    assert!(said.contains("fee 6.60000000 DTC") && said.contains("Nothing was signed"), "{said}");

    let put = chain.lode(&["data", "put", file, "--from", key, "--yes"]);
    assert!(put.status.success(), "{}", text(&put.stderr));
    let txid = text(&put.stdout);
    let checksum = format!("sha256 {}", hex::encode(lode_primitives::sha256(&content)));
    assert!(text(&put.stderr).contains(&checksum));
    chain.mine(&txid, &address);

    let out = chain.dir.path().join("out");
    let get = chain.lode(&["data", "get", &txid, "--out", out.to_str().unwrap()]);
    assert!(get.status.success(), "{}", text(&get.stderr));
    assert!(text(&get.stderr).contains(&checksum));
    assert_eq!(std::fs::read(&out).unwrap(), content);
    // A file that is there is left alone.
    assert!(!chain.lode(&["data", "get", &txid, "--out", out.to_str().unwrap()]).status.success());

    // One byte more: refused though the key file is not even there.
    let long = &*chain.file("long", &[content.as_slice(), &[0]].concat());
    let refused = chain.lode(&["data", "put", long, "--from", "/no/key", "--yes"]);
    assert!(!refused.status.success());
    let said = text(&refused.stderr);
    assert!(said.contains("131073 bytes") && said.contains("nothing was signed"), "{said}");
    // A second file is paid for by the first one's change.
    let small = &*chain.file("small", b"a text");
    let put = chain.lode(&["data", "put", small, "--from", key, "--yes"]);
    assert!(put.status.success(), "{}", text(&put.stderr));
    let get = chain.lode(&["data", "get", &text(&put.stdout)]);
    assert_eq!(get.stdout, b"a text", "from the mempool too");
}

#[test]
fn a_wallet_pays_for_a_file() {
    const SECRET: &str = "correct horse battery";
    let chain = Chain::start();
    let wallet = |words: &[&str]| {
        let words = [&["wallet", "--wallet", "purse"], words].concat();
        let output = chain.with_passphrase(SECRET, &words);
        assert!(output.status.success(), "{words:?}: {}", text(&output.stderr));
        text(&output.stdout)
    };
    wallet(&["create"]);
    let address = wallet(&["address", "--json"]);
    let address: serde_json::Value = serde_json::from_str(&address).unwrap();
    let address = address["address"].as_str().unwrap();

    let content = content(131_072);
    let file = &*chain.file("file", &content);
    let put = ["data", "put", file, "--from", "purse"];
    let refused = |passphrase: &str, words: &[&str]| {
        let output = chain.with_passphrase(passphrase, words);
        assert!(!output.status.success(), "{words:?} was not refused: {}", text(&output.stdout));
        assert_eq!(chain.ask(&["getrawmempool"]), "[]", "{words:?} sent something");
        text(&output.stderr)
    };
    // No money at all, then none of the right age.
    let said = refused(SECRET, &[&put[..], &["--yes"]].concat());
    assert!(said.contains("needed") && said.contains("spendable"), "{said}");
    chain.ask(&["generatetoaddress", "3", address]);
    let said = refused(SECRET, &[&put[..], &["--yes"]].concat());
    assert!(said.contains("needed") && said.contains("not mature yet"), "{said}");
    chain.ask(&["generatetoaddress", "12", address]);

    let said = refused("wrong", &[&put[..], &["--yes"]].concat());
    assert!(said.contains("passphrase"), "{said}");
    let long = &*chain.file("long", &[content.as_slice(), &[0]].concat());
    // Before the passphrase is looked at.
    let said = refused("wrong", &["data", "put", long, "--from", "purse", "--yes"]);
    assert!(said.contains("131073 bytes") && said.contains("nothing was signed"), "{said}");
    let said = refused(SECRET, &["data", "put", file, "--from", "nobody", "--yes"]);
    assert!(said.contains("no wallet nobody"), "{said}");
    let said = refused(SECRET, &put);
    let told = said.contains("fee 6.60000000 DTC") && said.contains("from wallet purse");
    assert!(told && said.contains("Nothing was signed"), "{said}");

    let done = chain.with_passphrase(SECRET, &[&put[..], &["--yes"]].concat());
    assert!(done.status.success(), "{}", text(&done.stderr));
    let txid = text(&done.stdout);
    let checksum = format!("sha256 {}", hex::encode(lode_primitives::sha256(&content)));
    assert!(text(&done.stderr).contains(&checksum));
    chain.mine(&txid, address);
    let get = chain.lode(&["data", "get", &txid]);
    assert!(get.stdout == content, "it came back changed: {}", text(&get.stderr));
    // The wallet knows of it, and its change pays for another.
    let history = wallet(&["history", "--json"]);
    assert!(history.contains(&txid), "{history}");
    let small = &*chain.file("small", b"a text");
    let wallet_file = chain.dir.path().join("datacoin/regtest/wallets/purse.wallet");
    let put = ["data", "put", small, "--from", wallet_file.to_str().unwrap(), "--yes"];
    let done = chain.with_passphrase(SECRET, &put);
    assert!(done.status.success(), "{}", text(&done.stderr));
    assert_eq!(chain.lode(&["data", "get", &text(&done.stdout)]).stdout, b"a text");
}
