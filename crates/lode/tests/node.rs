//! `lode node` as a user meets it: wrong use is told in a sentence that says the way out, damaged files by their name,
//! and signals are heeded at any moment.

mod running;

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use lode_testkit::{Daemon, Peer, peer};
use running::{ADDRESS, Node, PATIENCE, lode_node, refused};
use serde_json::json;

const REGTEST: &str = "bitcoin/regtest";

/// A directory with a chain of 300 blocks, its node stopped.
fn grown() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &[]);
    node.call("generatetoaddress", json!([300, ADDRESS]));
    node.stop();
    dir
}

#[test]
fn a_directory_in_use_is_refused_and_its_node_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &[]);
    let said = refused(lode_node(dir.path(), &[]));
    assert!(
        said.contains(dir.path().to_str().unwrap()) && said.contains("in use by another process"),
        "{said}"
    );
    assert_eq!(node.call("getblockcount", json!([])), 0, "the cookie is still the first node's");
    node.stop();
    Node::start(dir.path(), &[]).stop();
}

/// The node is held while it reads one of its files, a pipe that nobody writes to yet.
#[test]
fn while_it_opens_every_call_is_told_so() {
    let dir = tempfile::tempdir().unwrap();
    Node::start(dir.path(), &[]).stop();
    let pipe = dir.path().join(REGTEST).join("fee_estimates.json");
    let _ = fs::remove_file(&pipe);
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let rpc = lode_testkit::free_address();
    let mut node = Node::spawn(dir.path(), &["--rpc-bind", &rpc.to_string()]);
    node.rpc = rpc;
    let began = Instant::now();
    let (code, message) = loop {
        match node.try_call("getblockcount", json!([])) {
            Err((0, _)) if began.elapsed() < PATIENCE => std::thread::sleep(Duration::from_millis(10)),
            told => break told.unwrap_err(),
        }
    };
    assert!(code == -28 && message.starts_with("starting: "), "{code} {message}");
    let told = Command::new(env!("CARGO_BIN_EXE_lode"))
        .args(["cli", "--network", "regtest", "--rpc", &rpc.to_string(), "--data-dir"])
        .arg(dir.path())
        .arg("getblockcount")
        .output()
        .unwrap();
    assert_eq!(told.status.code(), Some(28), "{told:?}");
    fs::write(&pipe, "").unwrap();
    node.wait_until_up();
    assert_eq!(node.call("getblockcount", json!([])), 0);
    node.stop();
}

#[test]
fn a_taken_port_is_named_with_the_flag_for_another() {
    let dir = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for flag in ["--rpc-bind", "--p2p-bind"] {
        let said = refused(lode_node(dir.path(), &[flag, &address]));
        assert!(said.contains(&address) && said.contains(flag), "{said}");
    }
}

#[test]
fn wrong_words_are_told_with_the_right_ones() {
    let dir = tempfile::tempdir().unwrap();
    for (arguments, told) in [
        (&["--prun", "600"][..], "'--prune'"),
        (&["--network", "regtst"], "regtest"),
        (&["--coin", "bitcoins"], "bitcoin"),
        (&["--network", "main", "--no-listen", "--prune", "10"], "at least 550 MiB"),
        (&["--connect", "127.0.0.1:99999"], "a number from 1 to 65535"),
        (&["--connect", "[::1"], "bracket"),
        (&["--addnode", "no such host"], "neither a name nor an IP address"),
        (&["--rpc-bind", "here"], "--rpc-bind"),
        (&["--rpc-user", "me"], "--rpc-password-file"),
        (&["--signetchallenge", "51"], "--network signet"),
        (&["--cache", "much"], "--cache"),
        (&["--mine-to", ADDRESS], "prime chains"),
    ] {
        // A flag that is refused before it is asked what it goes with.
        let mut command = Command::new(env!("CARGO_BIN_EXE_lode"));
        command.args(["node", "--data-dir"]).arg(dir.path());
        if !arguments.contains(&"--network") {
            command.args(["--network", "regtest"]);
        }
        if !arguments.contains(&"--rpc-bind") {
            command.args(["--rpc-bind", "127.0.0.1:0"]);
        }
        let said = refused({
            command.args(arguments);
            command
        });
        assert!(said.contains(told), "{arguments:?}: {said}");
    }
}

#[test]
fn a_directory_of_another_network_is_refused() {
    let dir = grown();
    fs::rename(dir.path().join(REGTEST), dir.path().join("bitcoin/local")).unwrap();
    let said = refused(lode_node(dir.path(), &["--network", "local"]));
    assert!(said.contains("belongs to bitcoin regtest") && said.contains("another directory"), "{said}");
}

/// Overwrites some bytes of a file.
fn damage(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at..at + 4].iter_mut().for_each(|byte| *byte ^= 0x5a);
    fs::write(path, bytes).unwrap();
}

/// What is written about a file that cannot be done without: its name, and how to mend it.
fn assert_names(said: &str, file: &Path) {
    assert!(said.contains(file.to_str().unwrap()), "{said}");
    assert!(said.contains("put back a copy") && said.contains("delete the directory"), "{said}");
}

#[test]
fn a_damaged_block_or_undo_file_is_named_when_it_is_read_and_stops_the_node() {
    for name in ["blk00000.dat", "rev00000.dat"] {
        let dir = grown();
        let file = dir.path().join(REGTEST).join("blocks").join(name);
        let middle = fs::metadata(&file).unwrap().len() as usize / 2;
        damage(&file, middle);
        let node = Node::start(dir.path(), &[]);
        let early = node.call("getblockhash", json!([2]));
        let (code, message) = node.try_call("invalidateblock", json!([early])).unwrap_err();
        assert_eq!(code, -20);
        assert_names(&message, &file);
        let (status, said) = node.wait();
        assert!(!status.success());
        assert_names(&said, &file);
    }
}

#[test]
fn a_damaged_database_is_named_at_the_start() {
    let dir = grown();
    let outputs = dir.path().join(REGTEST).join("outputs");
    let kept = |name: &str| fs::read(outputs.join(name)).unwrap();
    // The index of blocks and the unspent outputs are one database.
    for name in ["version", "keyspaces/1/v0", "keyspaces/1/current", "0.jnl"] {
        let good = kept(name);
        damage(&outputs.join(name), 0);
        let said = refused(lode_node(dir.path(), &[]));
        assert_names(&said, &outputs);
        fs::write(outputs.join(name), good).unwrap();
    }
    fs::write(dir.path().join(REGTEST).join("chain.format"), "7\n").unwrap();
    let said = refused(lode_node(dir.path(), &[]));
    assert!(said.contains("has format 7") && said.contains("the version that wrote it"), "{said}");
}

#[test]
fn files_that_can_be_done_without_are_named_and_left_out() {
    let dir = grown();
    for name in ["mempool", "peers", "fee_estimates.json"] {
        fs::write(dir.path().join(REGTEST).join(name), "nonsense").unwrap();
    }
    let said = Node::start(dir.path(), &[]).stop();
    for name in ["mempool", "peers", "fee_estimates.json"] {
        let path = dir.path().join(REGTEST).join(name).display().to_string();
        assert!(said.lines().any(|line| line.contains("WARN") && line.contains(&path)), "{name}: {said}");
    }
    let said = Node::start(dir.path(), &[]).stop();
    assert!(!said.contains("WARN"), "mended by the last stop: {said}");
}

/// A disk of a few MiB of its own. None where this user may not mount one and `LODE_SMALL_DISK` names none.
struct SmallDisk(std::path::PathBuf, Option<tempfile::TempDir>);

impl SmallDisk {
    fn mount() -> Option<Self> {
        if let Some(path) = std::env::var_os("LODE_SMALL_DISK") {
            return Some(Self(path.into(), None));
        }
        let dir = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=72m", "none"])
            .arg(dir.path())
            .stderr(std::process::Stdio::null())
            .status();
        if mounted.is_ok_and(|status| status.success()) {
            return Some(Self(dir.path().to_owned(), Some(dir)));
        }
        eprintln!(
            "SKIPPED: cannot mount a small disk; LODE_SMALL_DISK may name an empty directory on one of 72 MiB"
        );
        None
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if self.1.is_some() {
            let _ = Command::new("umount").arg("-l").arg(&self.0).status();
        }
    }
}

#[test]
fn a_full_disk_stops_the_node_and_with_room_it_goes_on() {
    let Some(disk) = SmallDisk::mount() else { return };
    let node = Node::start(&disk.0, &[]);
    node.call("generatetoaddress", json!([100, ADDRESS]));
    // Something else takes the room.
    let ballast = disk.0.join("ballast");
    let mut filled = fs::File::create(&ballast).unwrap();
    while filled.write_all(&[7; 1 << 10]).is_ok() {}
    let refusal = (0..1_000).find_map(|_| node.try_call("generatetoaddress", json!([10, ADDRESS])).err());
    let (_, message) = refusal.expect("no room for 10,000 blocks");
    let (status, said) = node.wait();
    assert!(!status.success(), "{said}");
    for said in [said, message] {
        assert!(said.contains("disk full") && said.contains("make room and start again"), "{said}");
    }
    fs::remove_file(&ballast).unwrap();
    let node = Node::start(&disk.0, &[]);
    assert!(node.call("getblockcount", json!([])).as_u64() >= Some(100));
    node.call("generatetoaddress", json!([10, ADDRESS]));
    node.stop();
}

#[test]
fn an_interrupt_ends_a_sync_cleanly_and_the_next_start_goes_on() {
    let Some(path) = peer(Peer::Bitcoind) else { return };
    let core = Daemon::start(&path, "regtest", &[]);
    for _ in 0..8 {
        core.rpc("generatetoaddress", json!([250, ADDRESS]));
    }
    let dir = tempfile::tempdir().unwrap();
    let connect = core.p2p.to_string();
    let mut last = 0;
    for signal in ["-INT", "-TERM", "-INT"] {
        let node = Node::start(dir.path(), &["--connect", &connect]);
        let height = node.call("getblockcount", json!([])).as_u64().unwrap();
        assert!(height >= last, "at {height} after {last}");
        // Some blocks on, wherever that is by then.
        let next = json!([(height + 1).min(2_000), 30_000]);
        last = node.call("waitforblockheight", next)["height"].as_u64().unwrap();
        node.signal(signal);
        let (status, said) = node.wait();
        assert!(status.success() && said.contains("stopped"), "{said}");
    }
    // As soon as it runs at all, before the chain is open.
    let mut node = Node::spawn(dir.path(), &["--connect", &connect]);
    node.wait_for("opening the chain");
    assert!(!node.stop().contains("ERROR"));
    let node = Node::start(dir.path(), &["--connect", &connect]);
    assert!(node.call("getblockcount", json!([])).as_u64().unwrap() >= last);
    node.wait_for_tip(&core.rpc("getbestblockhash", json!([])));
    assert_eq!(
        node.call("gettxoutsetinfo", json!([]))["hash_serialized_3"],
        core.rpc("gettxoutsetinfo", json!([]))["hash_serialized_3"]
    );
    node.stop();
}
