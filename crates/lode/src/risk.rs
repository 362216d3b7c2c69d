//! `lode risk`: what an attacker could do to a payment under so many blocks.

use std::process::ExitCode;

use lode_light::risk::{self, MAJORITY};

/// What `lode risk` takes.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The attacker's share of all hash power, 0 to 1
    #[arg(long, default_value_t = 0.1, value_name = "SHARE")]
    attacker: f64,
    /// Blocks from the payment's to the tip, both counted in [default: a table]
    #[arg(long, value_name = "BLOCKS")]
    confirmations: Option<u32>,
    /// The probability that is put up with
    #[arg(long, default_value_t = risk::ACCEPTABLE, value_name = "PROBABILITY")]
    acceptable: f64,
}

/// Prints what section 11 of the Bitcoin paper gives.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let Args { attacker, confirmations, acceptable } = *args;
    anyhow::ensure!((0.0..=1.0).contains(&attacker), "--attacker is a share from 0 to 1, not {attacker}");
    anyhow::ensure!(
        acceptable > 0.0 && acceptable < 1.0,
        "--acceptable is a probability between 0 and 1, not {acceptable}"
    );
    if attacker >= MAJORITY {
        println!(
            "With half of all hash power or more an attacker succeeds in the end, however long you wait."
        );
        return Ok(ExitCode::SUCCESS);
    }
    println!("An attacker with {} of all hash power undoes a payment", percent(attacker));
    let line = |confirmations: u32| {
        let blocks = if confirmations == 1 { "block" } else { "blocks" };
        println!(
            "  under {confirmations:>3} {blocks:<6} {}",
            likelihood(risk::success(attacker, confirmations))
        );
    };
    match confirmations {
        Some(confirmations) => line(confirmations),
        None => (1..=10).for_each(line),
    }
    match risk::confirmations_for(attacker, acceptable) {
        Some(wanted) => println!("Below {} from {wanted} blocks on.", percent(acceptable)),
        None => {
            println!("No number of blocks that anybody waits for brings it below {}.", percent(acceptable));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// `12.5 %`, with as many digits as say something.
fn percent(share: f64) -> String {
    let text = format!("{:.6}", share * 100.0);
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

/// A probability as both a share and odds: `0.0243 % of the time (once in 4119 tries)`.
pub(crate) fn likelihood(probability: f64) -> String {
    match probability {
        p if p >= 0.1 => format!("{:.4} % of the time", p * 100.0),
        p if p >= 1e-5 => format!("{:.4} % of the time (once in {:.0} tries)", p * 100.0, 1.0 / p),
        p if p >= 1e-12 => format!("once in {:.0} tries", 1.0 / p),
        _ => "less than once in 10^12 tries".to_owned(),
    }
}
