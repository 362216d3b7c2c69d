//! `lode mine --benchmark`: what each kernel does on this machine.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lode_pow::{ChainLength, PowAlgorithm, PrimeSearcher, ScryptKernel, Searcher, Sha256dKernel};
use lode_primitives::{Target, U256};

use crate::cli::line;
use crate::event::HashRate;
use crate::stats::Counted;

/// How long each kernel is measured.
const EACH: Duration = Duration::from_secs(5);

/// Length of the chains searched for: what the main networks ask for.
const PRIME_LENGTH: ChainLength = ChainLength(10 << 24);

/// A search on a thread of its own: until told to stop, gives how much it counted.
type Search = Box<dyn FnOnce(&AtomicBool) -> u64 + Send>;

/// Measures all kernels of the algorithm that run here, slowest first, each on `threads` threads.
pub(crate) async fn run(algorithm: PowAlgorithm, threads: usize, json: bool) {
    let makers: Vec<Box<dyn Fn() -> Option<Searcher>>> = match algorithm {
        PowAlgorithm::Sha256d => Sha256dKernel::ALL
            .into_iter()
            .map(|kernel| Box::new(move || Searcher::sha256d(kernel)) as _)
            .collect(),
        PowAlgorithm::Scrypt => ScryptKernel::ALL
            .into_iter()
            .map(|kernel| Box::new(move || Searcher::scrypt(kernel)) as _)
            .collect(),
        PowAlgorithm::PrimeChain => {
            let rate = measure((0..threads).map(|_| chains()).collect()).await;
            return tell(algorithm, "sieve and test", threads, rate, json);
        }
    };
    for make in makers {
        let searchers: Vec<Searcher> = (0..threads).map_while(|_| make()).collect();
        let Some(first) = searchers.first() else { continue };
        let kernel = first.kernel_name();
        let rate = measure(searchers.into_iter().map(hashes).collect()).await;
        tell(algorithm, kernel, threads, rate, json);
    }
}

fn tell(algorithm: PowAlgorithm, kernel: &str, threads: usize, rate: f64, json: bool) {
    let (counted, key) = match algorithm {
        PowAlgorithm::PrimeChain => (Counted::Tests, "tests_per_second"),
        _ => (Counted::Hashes, "hashes_per_second"),
    };
    if json {
        let result = serde_json::json!({
            "event": "benchmark", "algorithm": algorithm.name(), "kernel": kernel, "threads": threads, key: rate,
        });
        line(&result.to_string());
    } else {
        line(&format!("{algorithm} {kernel}, {threads} threads: {}", HashRate(rate, counted)));
    }
}

fn hashes(mut searcher: Searcher) -> Search {
    // No hash is below target zero.
    Box::new(move |stop| searcher.search(&[0x5a; 80], Target(U256::ZERO), 0..1 << 32, stop, |_| ()))
}

fn chains() -> Search {
    let lengths = (PRIME_LENGTH, PRIME_LENGTH);
    Box::new(move |stop| PrimeSearcher::new().search(&[0x5a; 80], lengths, 0..1 << 32, stop, |_| ()).tests)
}

/// What these searches count a second together, each on a thread of its own.
async fn measure(searches: Vec<Search>) -> f64 {
    let stop = Arc::new(AtomicBool::new(false));
    // Ends the threads also where this future is dropped.
    let _guard = StopOnDrop(stop.clone());
    let start = Instant::now();
    let threads: Vec<_> = searches
        .into_iter()
        .map(|search| {
            let stop = stop.clone();
            tokio::task::spawn_blocking(move || search(&stop))
        })
        .collect();
    tokio::time::sleep(EACH).await;
    stop.store(true, Ordering::Relaxed);
    let mut counted = 0;
    for thread in threads {
        counted += thread.await.unwrap_or(0);
    }
    counted as f64 / start.elapsed().as_secs_f64()
}

struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
