//! `lode mine --benchmark`: what each kernel does on this machine.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lode_pow::{PowAlgorithm, ScryptKernel, Searcher, Sha256dKernel};
use lode_primitives::{Target, U256};

use crate::cli::line;
use crate::event::HashRate;

/// How long each kernel is measured.
const EACH: Duration = Duration::from_secs(5);

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
        PowAlgorithm::PrimeChain => Vec::new(),
    };
    for make in makers {
        let searchers: Vec<Searcher> = (0..threads).map_while(|_| make()).collect();
        let Some(first) = searchers.first() else { continue };
        let kernel = first.kernel_name();
        let rate = measure(searchers).await;
        if json {
            let result = serde_json::json!({
                "event": "benchmark", "algorithm": algorithm.name(), "kernel": kernel, "threads": threads,
                "hashes_per_second": rate,
            });
            line(&result.to_string());
        } else {
            line(&format!("{algorithm} {kernel}, {threads} threads: {}", HashRate(rate)));
        }
    }
}

/// Hashes a second of these searchers together, each on a thread of its own.
async fn measure(searchers: Vec<Searcher>) -> f64 {
    let stop = Arc::new(AtomicBool::new(false));
    // Ends the threads also where this future is dropped.
    let _guard = StopOnDrop(stop.clone());
    let start = Instant::now();
    let threads: Vec<_> = searchers
        .into_iter()
        .map(|mut searcher| {
            let stop = stop.clone();
            tokio::task::spawn_blocking(move || {
                // No hash is below target zero.
                searcher.search(&[0x5a; 80], Target(U256::ZERO), 0..1 << 32, &stop, |_| ())
            })
        })
        .collect();
    tokio::time::sleep(EACH).await;
    stop.store(true, Ordering::Relaxed);
    let mut hashes = 0;
    for thread in threads {
        hashes += thread.await.unwrap_or(0);
    }
    hashes as f64 / start.elapsed().as_secs_f64()
}

struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
