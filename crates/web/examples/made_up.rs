//! Serves the dashboard over made-up figures, to look at pages without a pool:
//! `cargo run -p lode-web --example made_up -- 127.0.0.1:8080`, and `prime` behind it for a coin with chains of primes.

#[path = "../tests/made_up/mod.rs"]
mod made_up;

use std::sync::Arc;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".to_owned()).parse()?;
    let source = match std::env::args().nth(2).as_deref() {
        Some("prime") => made_up::MadeUp::of_primes(),
        _ => made_up::MadeUp::new(),
    };
    let server = lode_web::Server::bind(address, Arc::new(source), None).await?;
    println!(
        "http://{} shows made-up miner {} and block {}",
        server.address()?,
        made_up::MINER,
        made_up::HASH
    );
    Ok(server.serve(std::future::pending()).await?)
}
