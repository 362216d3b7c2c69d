//! The pool's end of the socket.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use anyhow::{Context, bail};
use lode_pool::PoolHandle;
use lode_pool::front::Who;
use lode_pool::guard::{NetworkBlock, Refusal};
use lode_stratum::{Difficulty, Reject};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};

use super::{ORDER_MAX, Order, SOCKET};
use crate::stack::unix_ms;

/// An operator's order must come within this time.
const ORDER_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest ban: a year.
const BAN_MINUTES_MAX: u64 = 366 * 24 * 60;

/// Answers orders until its runtime ends. Only the user that runs the pool may open the socket.
pub(crate) fn serve(directory: &Path, pool: PoolHandle) -> anyhow::Result<()> {
    let path = directory.join(SOCKET);
    let shown = path.display();
    // What a killed pool left behind.
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot replace {shown}"));
        }
        _ => {}
    }
    // Bound under another name, so that it is nobody else's for a moment.
    let private = path.with_extension("new");
    let _ = std::fs::remove_file(&private);
    let listener = UnixListener::bind(&private).with_context(|| format!("cannot make the socket {shown}"))?;
    std::fs::set_permissions(&private, std::fs::Permissions::from_mode(0o600))
        .and_then(|()| std::fs::rename(&private, &path))
        .with_context(|| format!("cannot make the socket {shown} private"))?;
    tokio::spawn(async move {
        loop {
            match listener.accept().await {
                // One after the other: there is one operator.
                Ok((stream, _)) => {
                    let _ = tokio::time::timeout(ORDER_TIMEOUT, answer(stream, &pool)).await;
                }
                Err(_) => tokio::time::sleep(Duration::from_secs(1)).await,
            }
        }
    });
    Ok(())
}

async fn answer(mut stream: UnixStream, pool: &PoolHandle) -> std::io::Result<()> {
    let (read, mut write) = stream.split();
    let mut line = String::new();
    BufReader::new(read.take(ORDER_MAX)).read_line(&mut line).await?;
    let answer = match serde_json::from_str::<Order>(&line) {
        Ok(order) => {
            let pool = pool.clone();
            // Asks the serving threads and waits for them.
            let done = tokio::task::spawn_blocking(move || obey(&order, &pool)).await;
            done.unwrap_or_else(|error| Err(error.into()))
        }
        Err(error) => Err(anyhow::anyhow!("no such order: {error}")),
    };
    let answer = answer.unwrap_or_else(|error| json!({ "error": format!("{error:#}") }));
    write.write_all(format!("{answer}\n").as_bytes()).await
}

fn obey(order: &Order, pool: &PoolHandle) -> anyhow::Result<Value> {
    Ok(match order {
        Order::Status => status(pool),
        Order::Who { who, limit } => sessions(pool, who.as_deref().map(Who::parse).as_ref(), *limit),
        Order::Top { limit } => json!({ "blocks": pool.top(*limit) }),
        Order::Bans => json!({ "bans": pool.bans() }),
        Order::Ban { block, minutes } => {
            let network: NetworkBlock = block.parse()?;
            if *minutes == 0 {
                bail!("a ban lasts at least a minute");
            }
            let until_ms = unix_ms() + (*minutes).min(BAN_MINUTES_MAX) * 60_000;
            json!({ "network": network, "until_ms": until_ms, "closed": pool.ban(network, until_ms) })
        }
        Order::Unban { block } => {
            let network: NetworkBlock = block.parse()?;
            json!({ "network": network, "ended": pool.unban(network) })
        }
        Order::Why { who } => match who.parse() {
            Ok(address) => {
                let why = pool.why(address);
                let words = why.now.or(why.block.as_ref().and_then(|block| Some(block.last_refusal?.0)));
                json!({ "why": why, "reason": words.map(Refusal::reason) })
            }
            Err(_) => sessions(pool, Some(&Who::parse(who)), usize::MAX),
        },
        Order::Difficulty { who, difficulty } => {
            let wish = match difficulty {
                Some(value) => Some(
                    Difficulty::new(*value).with_context(|| format!("{value} is no positive difficulty"))?,
                ),
                None => None,
            };
            let found = pool.set_difficulty(Who::parse(who), wish);
            if found == 0 {
                bail!("{who} is not connected: `lode admin who` lists who is");
            }
            json!({ "connections": found, "difficulty": difficulty })
        }
        Order::Drain { off } => {
            pool.drain(!off);
            status(pool)
        }
    })
}

fn status(pool: &PoolHandle) -> Value {
    let stats = pool.stats();
    let refused: serde_json::Map<String, Value> = Reject::ALL
        .iter()
        .map(|reason| (reason.label().to_owned(), stats.refused[reason.index()].load(Relaxed).into()))
        .collect();
    json!({
        "connections": stats.connections.load(Relaxed),
        "connections_max": pool.connections_max(),
        "connected": stats.connected.load(Relaxed),
        "turned_away": stats.turned_away.load(Relaxed),
        "accepted": stats.accepted.load(Relaxed),
        "refused": refused,
        "bans": pool.bans().len(),
        "draining": pool.is_draining(),
        "limits": pool.limits(),
    })
}

/// The sessions of some miners, those that sent most first.
fn sessions(pool: &PoolHandle, who: Option<&Who>, limit: usize) -> Value {
    let mut sessions = pool.sessions();
    sessions.retain(|session| who.is_none_or(|who| who.is(&session.worker)));
    sessions.sort_by_key(|session| std::cmp::Reverse(session.bytes));
    let count = sessions.len();
    let shown: Vec<Value> = sessions
        .iter()
        .take(limit)
        .map(|session| {
            json!({
                "account": session.worker.account().name(),
                "worker": session.worker.name(),
                "address": session.address,
                "difficulty": session.difficulty,
                "accepted": session.accepted,
                "refused": session.refused,
                "last_refusal": session.last_refusal.map(|reason| json!({
                    "reason": reason.label(), "words": reason.message(),
                })),
                "active_ms": session.active_ms,
                "bytes": session.bytes,
            })
        })
        .collect();
    json!({ "count": count, "sessions": shown })
}
