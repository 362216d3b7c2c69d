//! The two miners of `lode up`: each a wallet, and a CPU miner that connects to the pool as any other does.

use anyhow::Context;
use lode_miner::{Miner, MinerConfig, PoolUrl, Snapshot};

use super::purses::Purses;
use crate::settings::Settings;
use crate::stack::Stack;

/// One of the two.
pub(crate) struct Player {
    /// Its name.
    pub(crate) name: String,
    /// Where it is paid.
    pub(crate) address: String,
    miner: Option<Miner>,
}

/// Both.
pub(crate) struct Miners {
    pub(crate) players: Vec<Player>,
    /// Their wallets.
    pub(crate) purses: Purses,
}

impl Miners {
    /// Opens their wallets, made at the first start, and puts both to work on `threads` threads together; none for 0.
    pub(crate) fn start(settings: &Settings, stack: &Stack, threads: usize) -> anyhow::Result<Self> {
        let node = stack.node.as_ref().context("no embedded node runs")?;
        let purses = Purses::open(&settings.data_dir, node)?;
        let entries = purses.payees();
        let address = stack.pool.addresses().first().context("the pool listens nowhere")?;
        let url: PoolUrl = format!("stratum+tcp://{address}").parse()?;
        let count = entries.len();
        let players = entries.into_iter().enumerate().map(|(index, (name, address))| {
            let user = format!("{address}.{name}");
            let mut config = MinerConfig::new(url.clone(), user, stack.coin.pow);
            // Fewer threads than miners are shared: each gets its part of the time.
            (config.threads, config.cpu_percent) = match threads {
                0 => (0, 100),
                few if few < count => (1, (100 * few / count) as u8),
                many => (many / count + usize::from(index < many % count), 100),
            };
            let miner = if config.threads == 0 { None } else { Some(Miner::start(config)?) };
            Ok(Player { name, address, miner })
        });
        Ok(Self { players: players.collect::<anyhow::Result<_>>()?, purses })
    }

    /// The name of the player paid at `address`; the address where it is neither's.
    pub(crate) fn name_of<'a>(&'a self, address: &'a str) -> &'a str {
        self.players.iter().find(|player| player.address == address).map_or(address, |player| &player.name)
    }

    /// Stops both.
    pub(crate) async fn stop(self) {
        for miner in self.players.into_iter().filter_map(|player| player.miner) {
            miner.stop().await;
        }
    }
}

impl Player {
    /// Its counters, while it mines.
    pub(crate) fn snapshot(&self) -> Option<Snapshot> {
        self.miner.as_ref().map(Miner::snapshot)
    }
}
