//! The whole miner over real loopback TCP, against a small pool that checks what it gets.

use std::collections::HashSet;
use std::time::Duration;

use lode_miner::{Event, Miner, MinerConfig, MinerError, PoolUrl};
use lode_pow::PowAlgorithm;
use lode_primitives::{BlockHash, Target, U256, merkle, sha256d};
use lode_stratum::{
    Call, Difficulty, Notify, Reject, parse_request, write_accepted, write_error, write_result,
    write_set_difficulty, write_subscribe_reply,
};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

const MASK: u32 = 0x0000_6000;

fn job(id: &str) -> Notify {
    Notify {
        job_id: id.into(),
        prev: BlockHash([3; 32]),
        coinbase1: vec![1, 2, 3],
        coinbase2: vec![4, 5],
        branch: vec![[7; 32], [8; 32]],
        version: 0x2000_0000,
        bits: 0x207f_ffff,
        time: 1_700_000_000,
        clean_jobs: true,
    }
}

/// A difficulty that takes about 256 hashes.
fn easy(algorithm: PowAlgorithm) -> Difficulty {
    let one = algorithm.difficulty_one_target().unwrap();
    Difficulty::of_target(Target(U256::MAX >> 8), one)
}

/// Serves one connection until `shares` good shares came; the difficulty is `easy`, the user must be `addr.rig`.
async fn serve(stream: TcpStream, algorithm: PowAlgorithm, extranonce1: u8, shares: usize) {
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader).lines();
    let mut seen = HashSet::new();
    while let Some(line) = lines.next_line().await.unwrap() {
        let request = parse_request(line.as_bytes()).unwrap();
        let mut out = Vec::new();
        match request.call {
            Call::Configure(_) => write_result(
                request.id,
                r#"{"version-rolling":true,"version-rolling.mask":"00006000"}"#,
                &mut out,
            ),
            Call::Subscribe { .. } => write_subscribe_reply(request.id, &[extranonce1; 4], 8, &mut out),
            Call::Authorize { user, .. } if user == "addr.rig" => {
                write_accepted(request.id, &mut out);
                write_set_difficulty(easy(algorithm), &mut out);
                job("j1").write(&mut out);
            }
            Call::Authorize { .. } => write_error(request.id, Reject::Unauthorized, &mut out),
            Call::Submit(share) => {
                assert_eq!((&*share.user, &*share.job_id), ("addr.rig", "j1"));
                let rolled = share.version_bits().unwrap().unwrap();
                assert_eq!(rolled & !MASK, 0);
                let job = job("j1");
                let extranonce2 = hex::decode(&*share.extranonce2).unwrap();
                assert_eq!(extranonce2.len(), 8);
                let coinbase = [&job.coinbase1[..], &[extranonce1; 4], &extranonce2, &job.coinbase2].concat();
                let root = merkle::root_from_branch(sha256d(&coinbase), &job.branch, 0);
                let mut header = Vec::new();
                header.extend_from_slice(&(job.version | rolled).to_le_bytes());
                header.extend_from_slice(job.prev.as_bytes());
                header.extend_from_slice(root.as_bytes());
                header.extend_from_slice(&share.time.to_le_bytes());
                header.extend_from_slice(&job.bits.to_le_bytes());
                header.extend_from_slice(&share.nonce.to_le_bytes());
                let header: [u8; 80] = header.try_into().unwrap();
                let target = easy(algorithm).to_target(algorithm.difficulty_one_target().unwrap());
                assert!(target.is_met_by(&algorithm.hash(&header).unwrap()));
                assert!(seen.insert(header), "the same share twice");
                write_accepted(request.id, &mut out);
                if seen.len() == shares {
                    writer.write_all(&out).await.unwrap();
                    return;
                }
            }
            _ => {}
        }
        writer.write_all(&out).await.unwrap();
    }
    panic!("the miner left after {} shares", seen.len());
}

fn config(listener: &TcpListener, user: &str, algorithm: PowAlgorithm) -> MinerConfig {
    let url = PoolUrl::new("127.0.0.1", listener.local_addr().unwrap().port());
    let mut config = MinerConfig::new(url, user, algorithm);
    config.threads = 2;
    config.retry_pause_max = Duration::from_millis(10);
    config
}

#[tokio::test]
async fn shares_are_good_and_a_broken_connection_is_made_again() {
    for algorithm in [PowAlgorithm::Sha256d, PowAlgorithm::Scrypt] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let miner = Miner::start(config(&listener, "addr.rig", algorithm)).unwrap();
        let mut events = miner.events();
        for connection in 0..2 {
            let (stream, _) = listener.accept().await.unwrap();
            serve(stream, algorithm, connection, 5).await;
        }
        let last = miner.stop().await;
        assert!(last.accepted >= 5, "{last:?}");
        assert!(last.hashes > 0 && last.refused == 0 && last.reconnects >= 1, "{last:?}");
        let mut names = HashSet::new();
        while let Ok(event) = events.try_recv() {
            names.insert(match event {
                Event::Connected { .. } => "connected",
                Event::Job { .. } => "job",
                Event::Accepted { .. } => "accepted",
                Event::Disconnected { .. } => "disconnected",
                _ => "other",
            });
        }
        assert_eq!(names, HashSet::from(["connected", "job", "accepted", "disconnected"]));
    }
}

#[tokio::test]
async fn a_refused_user_name_ends_it_with_the_pools_words() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut miner = Miner::start(config(&listener, "nobody", PowAlgorithm::Sha256d)).unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    let pool = tokio::spawn(serve(stream, PowAlgorithm::Sha256d, 0, 1));
    let error = miner.ended().await.unwrap_err();
    assert!(matches!(&error, MinerError::LoginRefused { user, .. } if user == "nobody"), "{error}");
    assert!(error.to_string().contains("Unauthorized worker"), "{error}");
    pool.abort();
}

#[tokio::test]
async fn retries_are_counted() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = config(&listener, "addr.rig", PowAlgorithm::Sha256d);
    drop(listener);
    config.retries = Some(2);
    let error = Miner::start(config).unwrap().ended().await.unwrap_err();
    assert!(matches!(error, MinerError::GaveUp { tries: 3, .. }), "{error}");
}
