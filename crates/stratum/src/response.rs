//! What a pool writes: answers and notifications. Each function appends one line to `out`.

use std::io::Write as _;

use crate::hex_field::{push_hex, push_hex_u32};
use crate::{Configure, Difficulty, Reject};

/// `result: true` under the raw id: a share accepted, a user authorised.
pub fn write_accepted(id: &str, out: &mut Vec<u8>) {
    write_result(id, "true", out);
}

/// A result given as raw JSON under the raw id.
pub fn write_result(id: &str, result: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"id\":");
    out.extend_from_slice(id.as_bytes());
    out.extend_from_slice(b",\"result\":");
    out.extend_from_slice(result.as_bytes());
    out.extend_from_slice(b",\"error\":null}\n");
}

/// A refusal under the raw id, with its reason where Bitaxe looks for it too.
pub fn write_error(id: &str, reject: Reject, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"id\":");
    out.extend_from_slice(id.as_bytes());
    let (code, message) = (reject.code(), reject.message());
    // Writing to a Vec cannot fail.
    let _ = writeln!(
        out,
        ",\"result\":null,\"error\":[{code},\"{message}\",null],\"reject-reason\":\"{message}\"}}"
    );
}

/// Why the connection is about to be closed: an error that answers nothing.
pub fn write_last_word(why: &str, out: &mut Vec<u8>) {
    let why = serde_json::Value::from(why);
    let _ = writeln!(out, "{{\"id\":null,\"result\":null,\"error\":[20,{why},null]}}");
}

/// The answer to `mining.subscribe`: subscriptions (under the extranonce as their id), extranonce 1, size of extranonce 2
/// in bytes.
pub fn write_subscribe_reply(id: &str, extranonce1: &[u8], extranonce2_size: usize, out: &mut Vec<u8>) {
    write_subscription(id, "mining.set_difficulty", extranonce1, extranonce2_size, out);
}

/// The same, with the method by which shares are told what to reach.
pub(crate) fn write_subscription(
    id: &str,
    method: &str,
    extranonce1: &[u8],
    extranonce2_size: usize,
    out: &mut Vec<u8>,
) {
    out.extend_from_slice(b"{\"id\":");
    out.extend_from_slice(id.as_bytes());
    let _ = write!(out, ",\"result\":[[[\"{method}\",\"");
    push_hex(extranonce1, out);
    out.extend_from_slice(b"\"],[\"mining.notify\",\"");
    push_hex(extranonce1, out);
    out.extend_from_slice(b"\"]],\"");
    push_hex(extranonce1, out);
    let _ = writeln!(out, "\",{extranonce2_size}],\"error\":null}}");
}

/// The answer to `mining.configure`: each extension asked for, and no other. `mask` is the version mask agreed on.
pub fn write_configure_reply(id: &str, asked: &Configure, mask: u32, out: &mut Vec<u8>) {
    let mut result = serde_json::Map::new();
    if asked.version_rolling.is_some() {
        result.insert("version-rolling".into(), (mask != 0).into());
        result.insert("version-rolling.mask".into(), format!("{mask:08x}").into());
    }
    if asked.minimum_difficulty.is_some() {
        result.insert("minimum-difficulty".into(), true.into());
    }
    if asked.subscribe_extranonce {
        result.insert("subscribe-extranonce".into(), true.into());
    }
    if asked.info {
        result.insert("info".into(), true.into());
    }
    for name in &asked.unknown {
        result.insert(name.clone(), false.into());
    }
    write_result(id, &serde_json::Value::Object(result).to_string(), out);
}

/// `mining.set_difficulty`: from the next job on.
pub fn write_set_difficulty(difficulty: Difficulty, out: &mut Vec<u8>) {
    let _ = writeln!(out, "{{\"id\":null,\"method\":\"mining.set_difficulty\",\"params\":[{difficulty}]}}");
}

/// `mining.set_version_mask`: bits of the version the miner may roll.
pub fn write_set_version_mask(mask: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"id\":null,\"method\":\"mining.set_version_mask\",\"params\":[\"");
    push_hex_u32(mask, out);
    out.extend_from_slice(b"\"]}\n");
}

/// `mining.set_extranonce`: from the next job on, which must say `clean_jobs`.
pub fn write_set_extranonce(extranonce1: &[u8], extranonce2_size: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"id\":null,\"method\":\"mining.set_extranonce\",\"params\":[\"");
    push_hex(extranonce1, out);
    let _ = writeln!(out, "\",{extranonce2_size}]}}");
}

/// `client.show_message`: only to agents known to take it.
pub fn write_show_message(text: &str, out: &mut Vec<u8>) {
    let text = serde_json::Value::from(text);
    let _ = writeln!(out, "{{\"id\":null,\"method\":\"client.show_message\",\"params\":[{text}]}}");
}

/// `client.reconnect` after some seconds: only to agents known to take it. `to`: another host and port; without one the
/// same place again. The port is text: old firmware reads nothing else.
pub fn write_reconnect(to: Option<(&str, u16)>, wait_seconds: u32, out: &mut Vec<u8>) {
    let params = match to {
        Some((host, port)) => serde_json::json!([host, port.to_string(), wait_seconds]),
        // An empty host is refused by some that take no parameters at all for "here".
        None => serde_json::json!([]),
    };
    let _ = writeln!(out, "{{\"id\":null,\"method\":\"client.reconnect\",\"params\":{params}}}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        let text = String::from_utf8(out).unwrap();
        let body = text.strip_suffix('\n').unwrap();
        serde_json::from_str::<serde_json::Value>(body).unwrap();
        body.to_owned()
    }

    #[test]
    fn answers_are_the_json_miners_expect() {
        assert_eq!(line(|out| write_accepted("\"x\"", out)), r#"{"id":"x","result":true,"error":null}"#);
        assert_eq!(
            line(|out| write_error("null", Reject::Stale, out)),
            r#"{"id":null,"result":null,"error":[21,"Job not found (stale)",null],"reject-reason":"Job not found (stale)"}"#
        );
        assert_eq!(
            line(|out| write_subscribe_reply("1", &[0xab, 0, 0, 1], 8, out)),
            r#"{"id":1,"result":[[["mining.set_difficulty","ab000001"],["mining.notify","ab000001"]],"ab000001",8],"error":null}"#
        );
        let asked =
            Configure { version_rolling: Some(1), unknown: vec!["a\"b".into()], ..Configure::default() };
        assert_eq!(
            line(|out| write_configure_reply("2", &asked, 0x1fff_e000, out)),
            r#"{"id":2,"result":{"a\"b":false,"version-rolling":true,"version-rolling.mask":"1fffe000"},"error":null}"#
        );
        assert!(line(|out| write_set_difficulty(Difficulty::new(0.5).unwrap(), out)).ends_with("[0.5]}"));
        assert!(
            line(|out| write_set_difficulty(Difficulty::new(65536.0).unwrap(), out)).ends_with("[65536]}")
        );
        assert!(line(|out| write_set_version_mask(0x1fff_e000, out)).ends_with(r#"["1fffe000"]}"#));
        assert!(line(|out| write_set_extranonce(&[1, 2], 8, out)).ends_with(r#"["0102",8]}"#));
        line(|out| write_show_message("a \"b\"", out));
        assert!(line(|out| write_reconnect(Some(("a.b", 1)), 5, out)).ends_with(r#"["a.b","1",5]}"#));
        assert!(line(|out| write_reconnect(None, 5, out)).ends_with("[]}"));
        assert!(line(|out| write_last_word("so", out)).contains(r#"[20,"so",null]"#));
    }
}
