//! The pages. Each is a function from a view to HTML; the frame around them is the same.

use lode_primitives::Amount;
use maud::{DOCTYPE, Markup, html};

use crate::chart;
use crate::format::{ago, counted, percent, rate, scaled, short, span};
use crate::view::{
    BlockContent, BlockState, BlockView, LuckView, MinerView, PayoutsView, PoolView, WorkUnit,
};

/// Transactions whose data a block's page lists at most; the API has them all.
const DATA_SHOWN_MAX: usize = 100;
/// Characters of a text that are shown; its download has the rest.
const TEXT_SHOWN_MAX: usize = 4_000;

/// The frame: head, navigation, and `main`, which the script replaces when something changed.
fn frame(title: &str, pool: &PoolView, main: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) " · Lode" }
                link rel="stylesheet" href="/style.css";
                link rel="icon" href="/icon.svg" type="image/svg+xml";
                script src="/live.js" defer {}
            }
            body {
                header {
                    nav {
                        a.brand href="/" { "Lode" }
                        a href="/" { "Pool" }
                        a href="/blocks" { "Blocks" }
                        form action="/miner" method="get" role="search" {
                            input name="address" placeholder="Your payout address" aria-label="Your payout address"
                                maxlength="127" required;
                            button { "Show miner" }
                        }
                    }
                    p.coin { (pool.coin) " " (pool.network) span #live title="updates as things happen" { "live" } }
                }
                main { (main) }
                footer {
                    "Paid straight from each block's coinbase: this pool never holds its miners' money. "
                    a href="/api/v1/pool" { "API" } " · " a href="/metrics" { "Metrics" }
                }
            }
        }
    }
}

fn figure(label: &str, value: impl std::fmt::Display, note: impl std::fmt::Display) -> Markup {
    html! { div.figure { dt { (label) } dd { (value.to_string()) small { (note.to_string()) } } } }
}

fn amount(value: Amount) -> Markup {
    let text = value.to_string();
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    html! { span.amount { (whole) "." span { (fraction) } } }
}

fn miner_link(address: &str) -> Markup {
    html! { a.id href=(format!("/miner/{address}")) title=(address) { (short(address)) } }
}

fn block_link(hash: &str) -> Markup {
    html! { a.id href=(format!("/block/{hash}")) title=(hash) { (short(hash)) } }
}

fn state(state: &BlockState) -> Markup {
    let (class, text) = match state {
        BlockState::Found => ("wait", "found, given to the nodes".to_owned()),
        BlockState::Confirmed { depth } if *depth >= 100 => ("good", "buried".to_owned()),
        BlockState::Confirmed { depth: 1 } => ("good", "1 confirmation".to_owned()),
        BlockState::Confirmed { depth } => ("good", format!("{depth} confirmations")),
        BlockState::Orphaned => ("bad", "orphaned".to_owned()),
        BlockState::Rejected { reason } => ("bad", format!("refused: {reason}")),
    };
    html! { span.state.(class) { (text) } }
}

/// What a rate in chains is.
const CHAINS_IN_WORDS: &str =
    "Chains a second: shares are counted by what their length is worth in chains of six primes.";
/// And of one miner, what is credited to it.
const CREDIT_IN_WORDS: &str = "What is credited, counted in chains of six primes. It follows the blocks that this address finds, spread over its \
     shares, so it comes in waves.";

/// A miner's rate: on prime chains its credit, which follows its blocks.
fn miner_rate_label(pool: &PoolView) -> &'static str {
    match pool.work_unit {
        WorkUnit::Hashes => "Hash rate",
        WorkUnit::Chains => "Credited",
    }
}

fn rate_label(pool: &PoolView) -> &'static str {
    match pool.work_unit {
        WorkUnit::Hashes => "Hash rate",
        WorkUnit::Chains => "Chains found",
    }
}

fn rate_chart(pool: &PoolView, history: &[(u64, f64)], label: &str) -> Markup {
    let top = history.iter().map(|point| point.1).fold(0.0, f64::max);
    chart::line(history, &rate(pool.work_unit, top), label)
}

/// How `lode mine` is told what to search with, where it would not by itself.
fn algorithm_flag(algorithm: &str) -> String {
    match algorithm {
        "sha256d" => String::new(),
        other => format!(" -a {other}"),
    }
}

/// The front page.
pub(crate) fn pool(pool: &PoolView, blocks: &[BlockView]) -> Markup {
    let refused: u64 = pool.shares_refused.iter().map(|(_, count)| count).sum();
    let wait = pool.work_per_block / pool.hash_rate;
    let main = html! {
        @for notice in &pool.notices { p.notice role="alert" { (notice) } }
        h1 { "Pool" }
        dl.figures {
            (figure(rate_label(pool), rate(pool.work_unit, pool.hash_rate), format!("a block in {} on average", span(wait))))
            (figure("Miners", pool.miners, counted(pool.connections, "connection")))
            (figure("Blocks found", pool.blocks_found, pool.luck.map_or_else(
                || "none yet".to_owned(), |luck| format!("luck {}", percent(luck)))))
            (figure("This block so far", percent(pool.effort), "of the work one takes"))
            (figure("Shares", pool.shares_accepted, format!("{refused} refused")))
            @match pool.chain_length {
                Some(length) => (figure("Network", format!("{length:.4}"), format!("primes in a chain at height {}", pool.tip_height))),
                None => (figure("Network", scaled(pool.difficulty), format!("difficulty at height {}", pool.tip_height))),
            }
        }
        (rate_chart(pool, &pool.hash_rate_history, rate_label(pool)))
        @if pool.work_unit == WorkUnit::Chains { p.empty { (CHAINS_IN_WORDS) } }
        @if !pool.shares_refused.is_empty() {
            p.refused { "Refused: " @for (i, (reason, count)) in pool.shares_refused.iter().enumerate() {
                @if i > 0 { ", " } (count) " " (reason)
            } }
        }
        section {
            h2 { "Mine here" }
            pre { "lode mine" (algorithm_flag(&pool.algorithm)) " -o " (pool.stratum_url) " -u YOUR-ADDRESS.worker" }
            p { (match pool.work_unit {
                    WorkUnit::Hashes => "Any Stratum V1 miner will do.",
                    WorkUnit::Chains => "Any miner will do that speaks Stratum V1 with multipliers (Lode's docs/stratum-prime.md).",
                }) " Paid by " (pool.window) ", fee "
                (percent(f64::from(pool.fee_basis_points) / 10_000.0)) ", in the coinbase of each block found." }
        }
        section { h2 { "Last blocks" } (block_table(pool, blocks)) p { a href="/blocks" { "All blocks" } } }
        section {
            h2 { "The next block would pay" }
            (payout_table(pool, &pool.next_block))
        }
    };
    frame("Pool", pool, &main)
}

/// All found blocks.
pub(crate) fn blocks(pool: &PoolView, blocks: &[BlockView]) -> Markup {
    frame("Blocks", pool, &html! { h1 { "Blocks found" } (block_table(pool, blocks)) })
}

fn block_table(pool: &PoolView, blocks: &[BlockView]) -> Markup {
    if blocks.is_empty() {
        return html! { p.empty { "No block yet. The first takes " (span(pool.work_per_block / pool.hash_rate))
        " on average at this hash rate." } };
    }
    html! {
        div.wide { table.blocks {
            thead { tr {
                th { "Height" } th.extra { "Block" } th { "Found" } th.extra { "By" } th.number { "Reward, " (pool.ticker) }
                th.number.extra { "Payees" } th.number.extra { "Effort" } th { "State" }
            } }
            tbody { @for block in blocks { tr {
                td { a href=(format!("/block/{}", block.hash)) { (block.payouts.height) } }
                td.extra { (block_link(&block.hash)) }
                td { (ago(pool.now, block.time)) }
                td.extra { (miner_link(&block.finder)) }
                td.number { (amount(block.payouts.reward)) }
                td.number.extra { (block.payouts.outputs.len()) }
                td.number.extra { (percent(block.effort)) }
                td { (state(&block.state)) }
            } } }
        } }
    }
}

/// One found block with its payouts.
pub(crate) fn block(pool: &PoolView, block: &BlockView, content: Option<&BlockContent>) -> Markup {
    let main = html! {
        h1 { "Block " (block.payouts.height) }
        p { (state(&block.state)) }
        dl.facts {
            dt { "Id" } dd.id { (block.hash) }
            dt { "Coinbase" } dd.id { (block.coinbase_txid) }
            dt { "Found" } dd { (ago(pool.now, block.time)) " by " (miner_link(&block.finder))
                @if !block.worker.is_empty() { " (" (block.worker) ")" } }
            dt { "Effort" } dd { (percent(block.effort)) " of the work a block takes" }
            dt { "Reward" } dd.reward { (amount(block.payouts.reward)) " " (pool.ticker) }
            @if let Some(chain) = content.and_then(|content| content.chain.as_ref()) {
                dt { "Chain" } dd { (chain.kind_in_words) " (" (chain.kind) ")" }
                dt { "Length" } dd { (format!("{:.4}", chain.length)) " primes" }
                dt { "Origin" } dd.id { (chain.origin) }
                dt { "Multiplier" } dd.id { (chain.multiplier) }
            }
        }
        h2 { "Who was paid what, and why" }
        (payout_table(pool, &block.payouts))
        p { "Every line above the sum is an output of the coinbase, in order: check them in any block explorer." }
        @if let Some(content) = content.filter(|content| !content.data.is_empty()) { (data(&block.hash, content)) }
    };
    frame(&format!("Block {}", block.payouts.height), pool, &main)
}

/// What people put into a block. They are strangers: texts are shown as text, and nothing of theirs is ever run.
fn data(hash: &str, content: &BlockContent) -> Markup {
    let left = content.data.len().saturating_sub(DATA_SHOWN_MAX);
    html! {
        section.data {
            h2 { "Data in this block" }
            @for carried in content.data.iter().take(DATA_SHOWN_MAX) {
                p { "Transaction " span.id title=(carried.txid) { (short(&carried.txid)) } ": "
                    a href=(format!("/block/{hash}/data/{}", carried.txid)) download rel="nofollow" { "download" }
                    ", " (counted(carried.size as u64, "byte")) }
                @if let Some(text) = carried.text() { (shown(text)) }
            }
            @if left > 0 { p.empty { (left) " more are listed by the API" } }
        }
    }
}

fn shown(text: &str) -> Markup {
    let end = text.char_indices().nth(TEXT_SHOWN_MAX).map(|(end, _)| end);
    html! {
        pre dir="auto" { (&text[..end.unwrap_or(text.len())]) @if end.is_some() { "…" } }
        @if end.is_some() { p.empty { "The download has the rest." } }
    }
}

fn payout_table(pool: &PoolView, payouts: &PayoutsView) -> Markup {
    if payouts.outputs.is_empty() {
        return html! { p.empty { "No share in the window yet." } };
    }
    let work: f64 = payouts.outputs.iter().map(|output| output.work).sum();
    let paid: Amount = payouts.outputs.iter().map(|output| output.amount).sum();
    html! {
        div.wide { table.payouts {
            thead { tr {
                th { "To" } th.number.extra { "Work" } th.number { "Part" } th.number.extra { "Earned, " (pool.ticker) }
                th.number { "Paid, " (pool.ticker) } th.number.extra { "Owed after" }
            } }
            tbody { @for output in &payouts.outputs { tr {
                td { @if output.is_fee { "pool fee " } (miner_link(&output.address)) }
                td.number.extra { @if output.is_fee { "" } @else { (scaled(output.work)) } }
                td.number { @if output.is_fee || work <= 0.0 { "" } @else { (percent(output.work / work)) } }
                td.number.extra { (amount(output.earned)) }
                td.number.paid { (amount(output.amount)) }
                td.number.extra { (amount(output.owed_after)) }
            } } }
            tfoot { tr {
                td { "Sum, equal to the reward" } td.number.extra { (scaled(work)) } td {} td.extra {} td.number.paid { (amount(paid)) } td.extra {}
            } }
        } }
    }
}

fn owed_in_words(owed: Amount) -> &'static str {
    match owed {
        Amount::ZERO => "all it earned is paid",
        owed if owed < Amount::ZERO => "paid ahead by this much",
        _ => "joins a coming block's payout",
    }
}

/// A miner's blocks against its shares, and whether that is luck.
fn blocks_and_luck(luck: &LuckView) -> Markup {
    let per_expected = f64::from(luck.blocks) / luck.expected;
    html! {
        section.luck {
            h2 { "Blocks and luck" }
            p {
                "Found " (counted(luck.blocks.into(), "block")) "; its shares are worth " (format!("{:.2}", luck.expected))
                " by the pool's measure. That is " (format!("{per_expected:.2}")) " for each block expected; the other miners found "
                (format!("{:.2}", luck.others)) ". " (luck_in_words(luck))
            }
        }
    }
}

fn luck_in_words(luck: &LuckView) -> String {
    let expected = luck.expected * luck.others;
    if luck.blocks == 0 && expected < 1.0 {
        return "It is too early to tell.".to_owned();
    }
    let few = f64::from(luck.blocks) < expected;
    let so = if few { "so few" } else { "so many" };
    if luck.odds > 0.1 {
        return format!("That is luck: {:.0} in 100 who search like them have {so}.", luck.odds * 100.0);
    }
    let often = match 1.0 / luck.odds {
        cases if cases < 1e6 => format!("once in {cases:.0} cases"),
        _ => "less than once in a million cases".to_owned(),
    };
    let advice = match few && luck.odds < 0.001 {
        true => {
            " So it is hardly luck: the search is for shorter chains than a block needs, and is paid by its blocks."
        }
        false => "",
    };
    format!("Luck alone brings {so} {often}.{advice}")
}

/// One miner.
pub(crate) fn miner(pool: &PoolView, miner: &MinerView) -> Markup {
    let main = html! {
        h1 { "Miner" }
        p.id { (miner.address) }
        dl.figures {
            (figure(miner_rate_label(pool), rate(pool.work_unit, miner.hash_rate), counted(miner.workers.len() as u64, "worker")))
            (figure("Work in the window", scaled(miner.work), format!("{} of all", percent(miner.part))))
            (figure("Next block would pay", miner.next_block, &pool.ticker))
            (figure("Paid", miner.paid, format!("{} in {}", pool.ticker, counted(miner.payments.len() as u64, "block"))))
            (figure("Owed", miner.owed, owed_in_words(miner.owed)))
        }
        (rate_chart(pool, &miner.hash_rate_history, miner_rate_label(pool)))
        @if pool.work_unit == WorkUnit::Chains { p.empty { (CREDIT_IN_WORDS) } }
        @if let Some(luck) = &miner.luck { (blocks_and_luck(luck)) }
        section {
            h2 { "Workers" }
            @if miner.workers.is_empty() { p.empty { "None with a share in the window." } } @else { div.wide { table.workers {
                thead { tr { th { "Name" } th.number { (miner_rate_label(pool)) } th.number.extra { "Difficulty" } th.number { "Accepted" }
                    th.number { "Refused" } th { "Last share" } } }
                tbody { @for worker in &miner.workers { tr {
                    td { @if worker.name.is_empty() { "(unnamed)" } @else { (worker.name) }
                        @if !worker.connected { " " span.state.wait { "away" } } }
                    td.number { (rate(pool.work_unit, worker.hash_rate)) }
                    td.number.extra { (scaled(worker.difficulty)) }
                    td.number.accepted { (worker.accepted) }
                    td.number { (worker.refused) }
                    td { (ago(pool.now, worker.last_share)) }
                } } }
            } } }
        }
        section {
            h2 { "Payments" }
            @if miner.payments.is_empty() { p.empty { "No block has paid this address yet." } } @else { div.wide { table.payments {
                thead { tr { th { "Height" } th.extra { "Block" } th.extra { "Found" } th.number { "Amount, " (pool.ticker) } th { "State" } } }
                tbody { @for payment in &miner.payments { tr {
                    td { a href=(format!("/block/{}", payment.hash)) { (payment.height) } }
                    td.extra { (block_link(&payment.hash)) }
                    td.extra { (ago(pool.now, payment.time)) }
                    td.number { (amount(payment.amount)) }
                    td { (state(&payment.state)) }
                } } }
            } } }
        }
    };
    frame("Miner", pool, &main)
}

/// A page that is not there, and what to do.
pub(crate) fn not_found(pool: &PoolView, what: &str) -> Markup {
    frame(
        "Not found",
        pool,
        &html! {
            h1 { "Not found" }
            p { (what) }
            p { a href="/" { "To the pool's front page" } }
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn luck_is_told_as_what_it_is() {
        let words = |blocks, expected, odds| luck_in_words(&LuckView { blocks, expected, others: 1.0, odds });
        assert!(words(0, 0.4, 0.67).contains("too early"));
        assert!(words(3, 4.0, 0.43).contains("43 in 100 who search like them have so few"));
        assert!(words(9, 4.0, 0.02).contains("so many once in 50 cases."));
        let short = words(2, 30.0, 1e-9);
        assert!(short.contains("less than once in a million") && short.contains("hardly luck"), "{short}");
    }
}
