//! Answers as people read them.

use std::fmt::Write as _;

use serde_json::Value;

use super::Order;
use crate::stack::unix_ms;

/// An answer in words and tables.
pub(super) fn show(order: &Order, answer: &Value) -> String {
    let mut out = String::new();
    let list = |key: &str| answer[key].as_array().cloned().unwrap_or_default();
    match order {
        Order::Status | Order::Drain { .. } => status(answer, &mut out),
        Order::Who { .. } => sessions(answer, &list("sessions"), &mut out),
        Order::Top { .. } => blocks(&list("blocks"), &mut out),
        Order::Bans => {
            let row = |ban: &Value| {
                let by = if ban["times"] == 0 {
                    "operator".into()
                } else {
                    format!("guard, {}", text(&ban["times"]))
                };
                vec![text(&ban["network"]), left(&ban["until_ms"]), by]
            };
            table(&["NETWORK", "ENDS IN", "BY, TIMES"], list("bans").iter().map(row), &mut out);
        }
        Order::Ban { .. } => {
            let (network, closed) = (text(&answer["network"]), text(&answer["closed"]));
            let ends = left(&answer["until_ms"]);
            let _ = writeln!(out, "{network} is banned for {ends}; {closed} connections closed");
        }
        Order::Unban { .. } => {
            let _ = writeln!(out, "{} bans of {} ended", text(&answer["ended"]), text(&answer["network"]));
        }
        Order::Why { who } if answer.get("why").is_some() => why(who, answer, &mut out),
        Order::Why { who } => {
            sessions(answer, &list("sessions"), &mut out);
            if answer["count"] == 0 {
                let _ = writeln!(
                    out,
                    "{who} is not connected; if it was turned away before it could log in, ask by its IP address"
                );
            }
        }
        Order::Difficulty { difficulty, .. } => {
            let count = text(&answer["connections"]);
            let _ = match difficulty {
                Some(difficulty) => {
                    writeln!(
                        out,
                        "{count} connections work at difficulty {difficulty} from their next job on"
                    )
                }
                None => writeln!(out, "{count} connections have their difficulty adjusted again"),
            };
        }
    }
    out
}

fn status(answer: &Value, out: &mut String) {
    let mut line = |what: &str, value: String| {
        let _ = writeln!(out, "{what:<16} {value}");
    };
    line("connections", format!("{} of {}", text(&answer["connections"]), text(&answer["connections_max"])));
    line("connected ever", text(&answer["connected"]));
    line("turned away", text(&answer["turned_away"]));
    line("bans in force", text(&answer["bans"]));
    line("shares accepted", text(&answer["accepted"]));
    for (reason, count) in
        answer["refused"].as_object().into_iter().flatten().filter(|(_, count)| **count != 0)
    {
        line("shares refused", format!("{} {reason}", text(count)));
    }
    for limit in answer["limits"].as_array().into_iter().flatten() {
        let part = limit["part"].as_f64().unwrap_or(0.0);
        let near = if part >= 0.9 { format!("  NEAR: {}", text(&limit["words"])) } else { String::new() };
        line(&text(&limit["what"]), format!("{:.1} % in use{near}", part * 100.0));
    }
    if answer["draining"] == true {
        line("draining", "new connections are turned away".into());
    }
}

fn sessions(answer: &Value, sessions: &[Value], out: &mut String) {
    let row = |session: &Value| {
        let quiet_ms = unix_ms().saturating_sub(session["active_ms"].as_u64().unwrap_or(0));
        let name = match session["worker"].as_str() {
            Some("") | None => text(&session["account"]),
            Some(worker) => format!("{}.{worker}", text(&session["account"])),
        };
        vec![
            name,
            text(&session["address"]),
            text(&session["difficulty"]),
            text(&session["accepted"]),
            text(&session["refused"]),
            session["last_refusal"]["words"].as_str().unwrap_or("").to_owned(),
            span(quiet_ms / 1000),
            bytes(&session["bytes"]),
        ]
    };
    let heads = ["WORKER", "ADDRESS", "DIFFICULTY", "ACCEPTED", "REFUSED", "LAST REFUSAL", "QUIET", "SENT"];
    table(&heads, sessions.iter().map(row), out);
    let _ = writeln!(out, "{} of {} connections", sessions.len(), text(&answer["count"]));
}

fn blocks(blocks: &[Value], out: &mut String) {
    let row = |block: &Value| {
        let state = match (&block["banned_until_ms"], block["proven"].as_bool()) {
            (Value::Number(_), _) => format!("banned, {} left", left(&block["banned_until_ms"])),
            (_, Some(true)) => "proven".into(),
            _ => String::new(),
        };
        vec![
            text(&block["network"]),
            text(&block["connections"]),
            text(&block["strangers"]),
            text(&block["accepted"]),
            text(&block["refused"]),
            format!("{:.1}", block["offences"].as_f64().unwrap_or(0.0)),
            bytes(&block["bytes"]),
            state,
        ]
    };
    let heads =
        ["ADDRESS BLOCK", "CONNECTIONS", "STRANGERS", "ACCEPTED", "REFUSED", "OFFENCES", "SENT", "STATE"];
    table(&heads, blocks.iter().map(row), out);
}

fn why(who: &str, answer: &Value, out: &mut String) {
    let (why, reason) = (&answer["why"], answer["reason"].as_str());
    let _ = match (&why["now"], &why["block"]["last_refusal"], reason) {
        (Value::String(now), _, Some(reason)) => writeln!(out, "{who} is turned away ({now}): {reason}"),
        (_, Value::Array(last), Some(reason)) => {
            let ago_ms = unix_ms().saturating_sub(last[1].as_u64().unwrap_or(0));
            writeln!(
                out,
                "{who} would be let in. It was turned away {} ago ({}): {reason}",
                span(ago_ms / 1000),
                text(&last[0])
            )
        }
        _ if why["allowed"] == true => writeln!(out, "{who} is in pool.guard.allow: it has no limits"),
        (_, _, _) => writeln!(out, "{who} would be let in; no refusal of it is remembered"),
    };
    if !why["block"].is_null() {
        blocks(std::slice::from_ref(&why["block"]), out);
    }
}

/// Columns as wide as their widest cell.
fn table(heads: &[&str], rows: impl Iterator<Item = Vec<String>>, out: &mut String) {
    let rows: Vec<Vec<String>> =
        std::iter::once(heads.iter().map(|head| (*head).to_owned()).collect()).chain(rows).collect();
    let widths: Vec<usize> =
        (0..heads.len()).map(|i| rows.iter().map(|row| row[i].chars().count()).max().unwrap_or(0)).collect();
    for row in rows {
        let line: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        let _ = writeln!(out, "{}", line.join("  ").trim_end());
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn left(until_ms: &Value) -> String {
    span(until_ms.as_u64().unwrap_or(0).saturating_sub(unix_ms()).div_ceil(1000))
}

fn span(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3600),
    }
}

fn bytes(value: &Value) -> String {
    match value.as_u64().unwrap_or(0) {
        bytes @ 0..10_000 => format!("{bytes} B"),
        bytes @ 10_000..10_000_000 => format!("{} kB", bytes / 1000),
        bytes => format!("{} MB", bytes / 1_000_000),
    }
}
