//! The miner's end: requests written, the pool's messages read.

use std::io::Write as _;

use lode_pow::ChainLength;
use serde_json::Value;

use crate::hex_field::{hex_bytes, parse_hex_u32, push_hex, push_hex_u32};
use crate::{Difficulty, Notify};

/// `mining.subscribe` with the miner's name and version.
pub fn write_subscribe(id: u64, agent: &str, out: &mut Vec<u8>) {
    let agent = Value::from(agent);
    // Writing to a Vec cannot fail, here and below.
    let _ = writeln!(out, "{{\"id\":{id},\"method\":\"mining.subscribe\",\"params\":[{agent}]}}");
}

/// `mining.authorize`.
pub fn write_authorize(id: u64, user: &str, password: &str, out: &mut Vec<u8>) {
    let (user, password) = (Value::from(user), Value::from(password));
    let _ = writeln!(out, "{{\"id\":{id},\"method\":\"mining.authorize\",\"params\":[{user},{password}]}}");
}

/// `mining.configure` for version rolling with the bits in `mask`.
pub fn write_configure(id: u64, mask: u32, out: &mut Vec<u8>) {
    let _ = writeln!(
        out,
        "{{\"id\":{id},\"method\":\"mining.configure\",\"params\":[[\"version-rolling\"],\
         {{\"version-rolling.mask\":\"{mask:08x}\",\"version-rolling.min-bit-count\":2}}]}}"
    );
}

/// `mining.suggest_difficulty`.
pub fn write_suggest_difficulty(id: u64, difficulty: Difficulty, out: &mut Vec<u8>) {
    let _ =
        writeln!(out, "{{\"id\":{id},\"method\":\"mining.suggest_difficulty\",\"params\":[{difficulty}]}}");
}

/// `mining.submit`. `version_bits` are the rolled bits alone, where version rolling was agreed on.
#[allow(clippy::too_many_arguments, reason = "the method's own parameters, in their order on the wire")]
pub fn write_submit(
    id: u64,
    user: &str,
    job_id: &str,
    extranonce2: &[u8],
    time: u32,
    nonce: u32,
    version_bits: Option<u32>,
    out: &mut Vec<u8>,
) {
    begin_submit(id, user, job_id, extranonce2, time, nonce, out);
    if let Some(bits) = version_bits {
        out.extend_from_slice(b"\",\"");
        push_hex_u32(bits, out);
    }
    out.extend_from_slice(b"\"]}\n");
}

/// `mining.submit` up to its fifth parameter, whose closing quote is still to come; a sixth may follow.
pub(crate) fn begin_submit(
    id: u64,
    user: &str,
    job_id: &str,
    extranonce2: &[u8],
    time: u32,
    nonce: u32,
    out: &mut Vec<u8>,
) {
    let (user, job_id) = (Value::from(user), Value::from(job_id));
    let _ = write!(out, "{{\"id\":{id},\"method\":\"mining.submit\",\"params\":[{user},{job_id},\"");
    push_hex(extranonce2, out);
    out.extend_from_slice(b"\",\"");
    push_hex_u32(time, out);
    out.extend_from_slice(b"\",\"");
    push_hex_u32(nonce, out);
}

/// What a pool sends.
#[derive(Debug, Clone, PartialEq)]
pub enum ServerMessage {
    /// An answer to a request of ours.
    Answer {
        /// The request's id, where it is a whole number as ours are.
        id: Option<u64>,
        /// The result, or the error's code and text.
        result: Result<Value, (i64, String)>,
    },
    /// `mining.notify`.
    Notify(Notify),
    /// `mining.set_difficulty`: for the jobs that follow.
    SetDifficulty(Difficulty),
    /// `mining.set_target`, on prime chains: least length of shares, for the jobs that follow.
    SetTarget(ChainLength),
    /// `mining.set_version_mask`.
    SetVersionMask(u32),
    /// `mining.set_extranonce`: for the jobs that follow.
    SetExtranonce {
        /// Extranonce 1.
        extranonce1: Vec<u8>,
        /// Size of extranonce 2 in bytes.
        extranonce2_size: usize,
    },
    /// `client.reconnect`.
    Reconnect {
        /// Host to go to; empty for the same.
        host: String,
        /// Port to go to; 0 for the same.
        port: u16,
        /// Seconds to wait before.
        wait_seconds: u64,
    },
    /// `client.show_message`.
    ShowMessage(String),
    /// `client.get_version`: to be answered with the agent under this id (raw JSON).
    GetVersion(String),
    /// Any other method, or parameters that do not fit it.
    Unknown(String),
}

/// A line from the server that is no JSON object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the pool sent {0:?}, which is not a Stratum message")]
pub struct ServerMessageError(pub String);

impl ServerMessage {
    /// Reads one line.
    pub fn parse(line: &[u8]) -> Result<Self, ServerMessageError> {
        let message: Value = serde_json::from_slice(line).ok().filter(Value::is_object).ok_or_else(|| {
            ServerMessageError(String::from_utf8_lossy(&line[..line.len().min(80)]).into_owned())
        })?;
        let Some(method) = message.get("method").and_then(Value::as_str) else {
            return Ok(answer(&message));
        };
        let none = Vec::new();
        let params = message.get("params").and_then(Value::as_array).unwrap_or(&none);
        Ok(notification(method, params, &message)
            .unwrap_or_else(|| Self::Unknown(method.chars().take(64).collect())))
    }

    /// Extranonce 1 and the size of extranonce 2 from the result of `mining.subscribe`.
    pub fn subscription(result: &Value) -> Option<(Vec<u8>, usize)> {
        let extranonce1 = hex_bytes(result.get(1)?.as_str()?)?;
        let size = usize::try_from(result.get(2)?.as_u64()?).ok()?;
        (extranonce1.len() <= 32 && size <= 32).then_some((extranonce1, size))
    }

    /// Whether the result of `mining.subscribe` says that prime chains are mined here.
    pub fn is_prime(result: &Value) -> bool {
        let subscriptions = result.get(0).and_then(Value::as_array);
        let named = |pair: &Value| pair.get(0).and_then(Value::as_str) == Some("mining.set_target");
        subscriptions.is_some_and(|pairs| pairs.iter().any(named))
    }

    /// The version mask granted in the result of `mining.configure`; 0 where it was refused.
    pub fn granted_mask(result: &Value) -> u32 {
        let granted = result.get("version-rolling").and_then(Value::as_bool).unwrap_or(false);
        let mask = result.get("version-rolling.mask").and_then(Value::as_str).and_then(parse_hex_u32);
        if granted { mask.unwrap_or(0) } else { 0 }
    }
}

fn answer(message: &Value) -> ServerMessage {
    let id = message.get("id").and_then(Value::as_u64);
    let error = message.get("error").filter(|error| !error.is_null());
    let result = match error {
        None => Ok(message.get("result").cloned().unwrap_or(Value::Null)),
        Some(error) => {
            // Pools write [code, text, trace], {"code":..,"message":..} or plain text.
            let code = error.get(0).or_else(|| error.get("code")).and_then(Value::as_i64).unwrap_or(20);
            let text = error.get(1).or_else(|| error.get("message")).unwrap_or(error);
            Err((code, text.as_str().map_or_else(|| text.to_string(), str::to_owned)))
        }
    };
    ServerMessage::Answer { id, result }
}

fn notification(method: &str, params: &[Value], message: &Value) -> Option<ServerMessage> {
    let text = |i: usize| params.get(i).and_then(Value::as_str);
    // Some pools send numbers as strings.
    let number = |i: usize| {
        params.get(i).and_then(|value| value.as_f64().or_else(|| value.as_str()?.parse::<f64>().ok()))
    };
    Some(match method {
        "mining.notify" => ServerMessage::Notify(Notify::from_params(params)?),
        "mining.set_difficulty" => ServerMessage::SetDifficulty(Difficulty::new(number(0)?)?),
        "mining.set_target" => ServerMessage::SetTarget(crate::prime::length(text(0)?)?),
        "mining.set_version_mask" => ServerMessage::SetVersionMask(parse_hex_u32(text(0)?)?),
        "mining.set_extranonce" => {
            let size = number(1).filter(|size| (0.0..=32.0).contains(size))?;
            ServerMessage::SetExtranonce {
                extranonce1: hex_bytes(text(0)?).filter(|bytes| bytes.len() <= 32)?,
                extranonce2_size: size as usize,
            }
        }
        "client.reconnect" => ServerMessage::Reconnect {
            host: text(0).unwrap_or_default().to_owned(),
            port: number(1).map_or(0, |port| port as u16),
            wait_seconds: number(2).map_or(0, |wait| wait as u64),
        },
        "client.show_message" => ServerMessage::ShowMessage(text(0)?.to_owned()),
        "client.get_version" => {
            ServerMessage::GetVersion(message.get("id").unwrap_or(&Value::Null).to_string())
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Call, Reject, parse_request, write_error, write_set_difficulty, write_set_extranonce,
        write_subscribe_reply,
    };
    use lode_primitives::BlockHash;
    use proptest::prelude::*;

    fn message(write: impl FnOnce(&mut Vec<u8>)) -> ServerMessage {
        let mut out = Vec::new();
        write(&mut out);
        ServerMessage::parse(out.strip_suffix(b"\n").unwrap()).unwrap()
    }

    #[test]
    fn what_the_pool_writes_the_miner_reads() {
        let ServerMessage::Answer { id: Some(3), result: Ok(result) } =
            message(|out| write_subscribe_reply("3", &[1, 2, 3, 4], 8, out))
        else {
            panic!()
        };
        assert_eq!(ServerMessage::subscription(&result), Some((vec![1, 2, 3, 4], 8)));
        assert_eq!(
            message(|out| write_error("4", Reject::LowDifficulty, out)),
            ServerMessage::Answer { id: Some(4), result: Err((23, "Low difficulty share".into())) }
        );
        let difficulty = Difficulty::new(0.25).unwrap();
        assert_eq!(
            message(|out| write_set_difficulty(difficulty, out)),
            ServerMessage::SetDifficulty(difficulty)
        );
        assert_eq!(
            message(|out| write_set_extranonce(&[9], 4, out)),
            ServerMessage::SetExtranonce { extranonce1: vec![9], extranonce2_size: 4 }
        );
    }

    #[test]
    fn what_the_miner_writes_the_pool_reads() {
        let mut out = Vec::new();
        write_submit(5, "bc1q.\"x", "a1", &[0, 1], 7, 8, Some(0x2000), &mut out);
        let request = parse_request(out.strip_suffix(b"\n").unwrap()).unwrap();
        let Call::Submit(submit) = request.call else { panic!() };
        assert_eq!((&*submit.user, &*submit.job_id, &*submit.extranonce2), ("bc1q.\"x", "a1", "0001"));
        assert_eq!((submit.time, submit.nonce, submit.version_bits()), (7, 8, Some(Some(0x2000))));
        let mut out = Vec::new();
        write_configure(1, 0x1fff_e000, &mut out);
        assert!(matches!(parse_request(out.strip_suffix(b"\n").unwrap()).unwrap().call,
            Call::Configure(asked) if asked.version_rolling == Some(0x1fff_e000)));
    }

    #[test]
    fn a_known_notification_of_a_known_block() {
        // The first block after genesis: the previous hash is genesis, whose words come swapped.
        let genesis: BlockHash =
            "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f".parse().unwrap();
        let job = Notify {
            job_id: "1".into(),
            prev: genesis,
            coinbase1: vec![1],
            coinbase2: vec![2],
            branch: vec![],
            version: 0x2000_0000,
            bits: 0x1d00_ffff,
            time: 7,
            clean_jobs: true,
        };
        let mut out = Vec::new();
        job.write(&mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "{\"id\":null,\"method\":\"mining.notify\",\"params\":[\"1\",\
             \"0a8ce26f72b3f1b646a2a6c14ff763ae65831e939c085ae10019d66800000000\",\
             \"01\",\"02\",[],\"20000000\",\"1d00ffff\",\"00000007\",true]}\n"
        );
    }

    proptest! {
        #[test]
        fn jobs_round_trip(
            prev: [u8; 32], coinbase1 in prop::collection::vec(any::<u8>(), 0..80),
            coinbase2 in prop::collection::vec(any::<u8>(), 0..80),
            branch in prop::collection::vec(any::<[u8; 32]>(), 0..14),
            version: u32, bits: u32, time: u32, clean_jobs: bool,
        ) {
            let job = Notify {
                job_id: "a0".into(), prev: BlockHash(prev), coinbase1, coinbase2, branch, version, bits, time, clean_jobs,
            };
            prop_assert_eq!(message(|out| job.write(out)), ServerMessage::Notify(job.clone()));
        }

        #[test]
        fn any_line_is_survived(line in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = ServerMessage::parse(&line);
        }
    }
}
