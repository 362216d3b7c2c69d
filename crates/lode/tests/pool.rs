//! `lode pool` as an operator runs it, on a real bitcoind, with `lode mine` as its miner.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use lode_testkit::{Daemon, Peer, peer};
use serde_json::{Value, json};

/// P2WPKH and P2WSH of BIP173, on the network whose prefix is asked for.
fn addresses(network: &str) -> (&'static str, &'static str) {
    match network {
        "signet" => (
            "tb1qw508d6qejxtdg4y5r3zarvary0c5xw7kxpjzsx",
            "tb1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccefvpysxf3q0sl5k7",
        ),
        _ => (
            "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080",
            "bcrt1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccefvpysxf3qzf4jry",
        ),
    }
}

fn lode(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lode"));
    command.args(arguments).stdin(Stdio::null());
    command
}

fn config(directory: &Path, network: &str, node: &Daemon) -> String {
    let path = directory.join("lode.toml");
    let (_, fee) = addresses(network);
    let challenge = if network == "signet" { "[node]\nsignet_challenge = \"51\"\n" } else { "" };
    let text = format!(
        "coin = \"bitcoin\"\nnetwork = \"{network}\"\ndata_dir = {:?}\n{challenge}\
         [[node.external]]\nurl = \"http://{}\"\ncookie_file = {:?}\n\
         [payout]\nfee_basis_points = 100\nfee_address = \"{fee}\"\n\
         [web]\nbind = \"127.0.0.1:0\"\n\
         [pool]\nports = [{{ bind = \"127.0.0.1:0\", start_difficulty = 0.0001, min_difficulty = 1e-9 }}]\n",
        directory.display().to_string(),
        node.rpc,
        node.network_directory().join(".cookie").display().to_string(),
    );
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

/// Ends a child with the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_pool_on_bitcoind_pays_its_miner_and_its_fee_in_blocks_the_node_keeps() {
    let Some(path) = peer(Peer::Bitcoind) else { return };
    mined_and_paid(&Daemon::start(&path, "regtest", &[]), "regtest");
}

/// A signet of one's own has real difficulties: most shares are no blocks there.
#[test]
fn the_same_on_a_private_signet() {
    let Some(path) = peer(Peer::Bitcoind) else { return };
    mined_and_paid(&Daemon::start(&path, "signet", &["-signetchallenge=51"]), "signet");
}

fn mined_and_paid(node: &Daemon, network: &str) {
    let (miner, fee) = addresses(network);
    let directory = tempfile::tempdir().unwrap();
    let config = config(directory.path(), network, node);

    let check = lode(&["pool", "--check", "--config", &config]).output().unwrap();
    let said = String::from_utf8_lossy(&check.stdout);
    assert!(check.status.success() && said.contains("gives work for block 1"), "{said}");

    let mut pool = Ended(
        lode(&["pool", "--config", &config, "--log-format", "json"]).stderr(Stdio::piped()).spawn().unwrap(),
    );
    let mut lines = BufReader::new(pool.0.stderr.take().unwrap()).lines();
    let stratum = lines
        .by_ref()
        .find_map(|line| {
            Some(line.unwrap().split_once("miners connect to ")?.1.split('"').next()?.to_owned())
        })
        .expect("the pool says where miners connect");
    // The log goes on being read, so that the pool never waits for its reader.
    std::thread::spawn(move || lines.count());

    let user = format!("{miner}.attic");
    let _miner = Ended(lode(&["mine", "-o", &stratum, "-u", &user, "-t", "1", "--quiet"]).spawn().unwrap());
    let found = node.rpc("waitforblockheight", json!([3, 100_000]));
    assert!(found["height"].as_u64() >= Some(3), "{found}");
    let hash = node.rpc("getblockhash", json!([2]));
    let block = node.rpc("getblock", json!([hash, 2]));
    let outputs: Vec<(String, f64)> = block["tx"][0]["vout"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|output: &Value| {
            let address = output["scriptPubKey"]["address"].as_str()?;
            Some((address.to_owned(), output["value"].as_f64().unwrap()))
        })
        .collect();
    assert_eq!(outputs, [(miner.to_owned(), 49.5), (fee.to_owned(), 0.5)]);

    let killed = Command::new("kill").args(["-TERM", &pool.0.id().to_string()]).status().unwrap();
    assert!(killed.success() && pool.0.wait().unwrap().success());
}

#[test]
fn check_names_everything_that_would_fail() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("lode.toml");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let text = format!(
        "network = \"regtest\"\ndata_dir = {:?}\n[web]\nbind = \"{}\"\n[payout]\nfee_basis_points = 5\n\
         [[node.external]]\nurl = \"http://127.0.0.1:1\"\nuser = \"u\"\npassword_file = \"/nowhere\"\n\
         [[node.external]]\nurl = \"http://127.0.0.1:1\"\ncookie_file = \"/nowhere\"\nzmq = \"ipc:///zmq\"\n",
        directory.path().display().to_string(),
        taken.local_addr().unwrap(),
    );
    std::fs::write(&path, text).unwrap();
    let check = lode(&["pool", "--check", "--config", path.to_str().unwrap()]).output().unwrap();
    let said = String::from_utf8_lossy(&check.stdout);
    assert!(!check.status.success());
    for failure in
        ["payout.fee_address is not set", "cannot be listened on", "cannot read /nowhere", "tcp://HOST:PORT"]
    {
        assert!(said.contains(failure), "{failure}: {said}");
    }
    assert!(said.ends_with("4 things would fail\n"), "{said}");

    std::fs::write(&path, "[pool]\ntga = \"x\"\n").unwrap();
    let refused = lode(&["pool", "--config", path.to_str().unwrap()]).output().unwrap();
    let error = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && error.contains("did you mean `pool.tag`?"), "{error}");
}

/// The commands of the README, as they stand there, by someone who has just installed it.
#[test]
fn the_readmes_way_to_a_pool_of_ones_own_works() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md")).unwrap();
    let steps: Vec<&str> = readme
        .lines()
        .map(str::trim)
        .filter(|line| line.starts_with("lode config > ") || line.starts_with("lode pool --check"))
        .collect();
    assert_eq!(steps.len(), 2, "{steps:?}");
    let home = tempfile::tempdir().unwrap();
    let bin = Path::new(env!("CARGO_BIN_EXE_lode")).parent().unwrap();
    let path = std::env::join_paths(
        std::iter::once(bin.to_path_buf()).chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
    );
    let run = |step: &str| {
        let mut shell = Command::new("sh");
        shell
            .args(["-c", step])
            .current_dir(&home)
            .env("HOME", home.path())
            .env("PATH", path.as_ref().unwrap());
        shell.output().unwrap()
    };
    assert!(run(steps[0]).status.success());
    let check = run(steps[1]);
    let said = String::from_utf8_lossy(&check.stdout);
    // On a machine where something runs already a port may be taken: nothing else may be wrong.
    let wrong: Vec<&str> = said
        .lines()
        .filter(|line| line.starts_with("FAIL") && !line.contains("cannot be listened on"))
        .collect();
    assert!(said.contains("coin and network: bitcoin main") && wrong.is_empty(), "{said}");
    assert!(check.status.success() || said.contains("cannot be listened on"), "{said}");
}
