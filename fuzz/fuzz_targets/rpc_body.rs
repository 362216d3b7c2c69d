//! A caller's JSON-RPC body, put to a real node with some blocks: raw, or as the parameters of a method that the first
//! byte picks. Every answer must be JSON.
#![no_main]

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use lode_node::{NodeHandle, NodeOptions, testing};
use tokio::runtime::Runtime;

/// Methods that would end the run, wait, or compute as long as they are told to.
const LEFT_OUT: [&str; 9] = [
    "stop",
    "waitfornewblock",
    "waitforblock",
    "waitforblockheight",
    "generate",
    "generatetoaddress",
    "generatetodescriptor",
    "generateblock",
    "setmocktime",
];

struct World {
    runtime: Runtime,
    node: NodeHandle,
    methods: Vec<&'static str>,
    _dir: tempfile::TempDir,
}

thread_local! {
    static WORLD: RefCell<World> = RefCell::new({
        let dir = tempfile::tempdir_in("/dev/shm").expect("a temporary directory");
        let coin = lode_coins::find("bitcoin", "regtest").expect("in the table");
        let mut options = NodeOptions::new(coin, dir.path());
        options.network = false;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1).max_blocking_threads(2).enable_all().build().expect("threads");
        let node = runtime.block_on(lode_node::start(options)).expect("an empty directory");
        let blocks = br#"{"method":"generatetodescriptor","params":[20,"raw(51)"]}"#;
        let (status, _) = runtime.block_on(testing::call(&node, blocks));
        assert_eq!(status, 200);
        let methods = testing::methods();
        World { runtime, node, methods, _dir: dir }
    });
}

fuzz_target!(|data: &[u8]| {
    let Some((&pick, data)) = data.split_first() else { return };
    WORLD.with_borrow(|world| {
        let body = match world.methods.get(usize::from(pick)) {
            Some(method) => {
                [br#"{"id":1,"method":""#, method.as_bytes(), br#"","params":"#, data, b"}"].concat()
            }
            None => data.to_vec(),
        };
        if LEFT_OUT.iter().any(|name| body.windows(name.len()).any(|part| part == name.as_bytes()))
            || body.windows(4).any(|part| part == b"long" || part == b"\\u00")
        {
            return;
        }
        let (_, reply) = world.runtime.block_on(testing::call(&world.node, &body));
        if let Some(reply) = reply {
            serde_json::from_slice::<serde_json::Value>(&reply).expect("an answer in JSON");
        }
    });
});
