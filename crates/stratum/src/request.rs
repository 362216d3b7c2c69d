//! What miners ask of a pool.

use std::borrow::Cow;

use lode_primitives::{Multiplier, Target, U256};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::hex_field::parse_hex_u32;
use crate::prime::multiplier;
use crate::scan;

/// One request: what is asked, and the id to answer under.
#[derive(Debug, Clone, PartialEq)]
pub struct Request<'a> {
    /// The id's raw JSON text, to be echoed as it came (`null` where there was none).
    pub id: &'a str,
    /// What is asked.
    pub call: Call<'a>,
}

/// The requests a pool knows.
#[derive(Debug, Clone, PartialEq)]
pub enum Call<'a> {
    /// `mining.submit`: a share.
    Submit(Submit<'a>),
    /// `mining.subscribe`: give me an extranonce and work.
    Subscribe {
        /// Name and version of the miner's software, empty where it gave none.
        agent: String,
        /// A session to go on with (an earlier extranonce 1 as hex), where given as a string.
        session: Option<String>,
    },
    /// `mining.authorize`: a user name to credit.
    Authorize {
        /// User name, not taken apart.
        user: String,
        /// Password, empty where there was none.
        password: String,
    },
    /// `mining.configure` (BIP310): extensions.
    Configure(Configure),
    /// `mining.suggest_difficulty`; `None` where the parameter is no positive number.
    SuggestDifficulty(Option<f64>),
    /// `mining.suggest_target`; `None` where the parameter is no target.
    SuggestTarget(Option<Target>),
    /// `mining.extranonce.subscribe`: `mining.set_extranonce` will be understood.
    ExtranonceSubscribe,
    /// `mining.multi_version`: an early way of version rolling, answered with true and else ignored.
    MultiVersion,
    /// `mining.get_transactions`: answered with an empty list.
    GetTransactions,
    /// `client.get_version` asked by a miner or a proxy.
    GetVersion,
    /// `mining.ping`, `ping`.
    Ping,
    /// An answer to something the server asked (`client.get_version`); nothing to answer.
    Answer,
    /// Any other method.
    Unknown(String),
}

/// A share as submitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submit<'a> {
    /// User name, not taken apart.
    pub user: Cow<'a, str>,
    /// The job's id.
    pub job_id: Cow<'a, str>,
    /// Extranonce 2 as hex text: its length is for the session to put right.
    pub extranonce2: Cow<'a, str>,
    /// The header's time, Unix seconds.
    pub time: u32,
    /// The header's nonce.
    pub nonce: u32,
    /// The sixth parameter as it came, empty where there was none: version bits, or a prime chain's multiplier.
    pub sixth: Cow<'a, str>,
}

impl Submit<'_> {
    /// The sixth parameter as version bits (BIP310), `Some(None)` where none were given; `None` where it is no such number.
    pub fn version_bits(&self) -> Option<Option<u32>> {
        match &*self.sixth {
            "" => Some(None),
            bits => parse_hex_u32(bits).map(Some),
        }
    }

    /// The sixth parameter as a prime chain's multiplier, a number in hex, most significant digit first; `None` where it is
    /// none or longer than any multiplier. See `docs/stratum-prime.md`.
    pub fn multiplier(&self) -> Option<Multiplier> {
        multiplier(&self.sixth)
    }
}

/// What `mining.configure` asks for. Only what was asked is answered.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Configure {
    /// `version-rolling`: the bits the miner can roll.
    pub version_rolling: Option<u32>,
    /// `minimum-difficulty`: the least difficulty the miner wants, 0 where it gave no value.
    pub minimum_difficulty: Option<f64>,
    /// `subscribe-extranonce`.
    pub subscribe_extranonce: bool,
    /// `info`.
    pub info: bool,
    /// Extensions not known here, each answered with false; at most [`Configure::MAX_UNKNOWN`].
    pub unknown: Vec<String>,
}

impl Configure {
    /// Unknown extensions answered at most: there are four known ones, and a reply must not grow with a stranger's list.
    pub const MAX_UNKNOWN: usize = 8;
}

/// Why a line is no request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError<'a> {
    /// Not UTF-8, not JSON, or not an object with a method.
    #[error("not a JSON request")]
    NotARequest,
    /// The parameters do not fit the method.
    #[error("bad parameters for {method}")]
    Params {
        /// The id to answer under, raw JSON text.
        id: &'a str,
        /// The method.
        method: Cow<'a, str>,
    },
}

#[derive(Deserialize)]
struct Loose<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    method: Option<Cow<'a, str>>,
    params: Option<Value>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
}

/// Reads one line as a request.
pub fn parse_request(line: &[u8]) -> Result<Request<'_>, RequestError<'_>> {
    let text = std::str::from_utf8(line).map_err(|_| RequestError::NotARequest)?;
    if let Some(parts) = scan::parts(text)
        && parts.method == "mining.submit"
        && let Some((fields, count)) = scan::strings::<6>(parts.params)
    {
        return match submit(fields.map(Cow::Borrowed), count) {
            Some(submit) => Ok(Request { id: parts.id, call: Call::Submit(submit) }),
            None => Err(RequestError::Params { id: parts.id, method: Cow::Borrowed(parts.method) }),
        };
    }
    let loose: Loose<'_> = serde_json::from_str(text).map_err(|_| RequestError::NotARequest)?;
    let id = loose.id.map_or("null", RawValue::get);
    let Some(method) = loose.method else {
        return if loose.result.is_some() || loose.id.is_some() {
            Ok(Request { id, call: Call::Answer })
        } else {
            Err(RequestError::NotARequest)
        };
    };
    let params = match loose.params {
        Some(Value::Array(params)) => params,
        // Some software sends the only parameter bare.
        Some(Value::Null) | None => Vec::new(),
        Some(single) => vec![single],
    };
    match call(&method, &params) {
        Some(call) => Ok(Request { id, call }),
        None => Err(RequestError::Params { id, method }),
    }
}

/// The call, or `None` where the parameters do not fit.
fn call(method: &str, params: &[Value]) -> Option<Call<'static>> {
    let text = |i: usize| params.get(i).and_then(Value::as_str).unwrap_or_default().to_owned();
    Some(match method {
        "mining.submit" => {
            let mut fields: [Cow<'static, str>; 6] = Default::default();
            for (field, param) in fields.iter_mut().zip(params) {
                *field = match param {
                    Value::String(text) => Cow::Owned(text.clone()),
                    Value::Null => Cow::Borrowed(""),
                    _ => return None,
                };
            }
            Call::Submit(submit(fields, params.len())?)
        }
        "mining.subscribe" => Call::Subscribe {
            agent: text(0),
            session: params.get(1).and_then(Value::as_str).map(str::to_owned),
        },
        "mining.authorize" | "mining.auth" => match params.first()?.as_str()? {
            "" => return None,
            user => Call::Authorize { user: user.to_owned(), password: text(1) },
        },
        "mining.configure" => Call::Configure(configure(params)),
        "mining.suggest_difficulty" => {
            Call::SuggestDifficulty(params.first().and_then(number).filter(|n| *n > 0.0))
        }
        "mining.suggest_target" => {
            Call::SuggestTarget(params.first().and_then(Value::as_str).and_then(target))
        }
        "mining.extranonce.subscribe" => Call::ExtranonceSubscribe,
        "mining.multi_version" => Call::MultiVersion,
        "mining.get_transactions" => Call::GetTransactions,
        "client.get_version" | "mining.get_version" => Call::GetVersion,
        "mining.ping" | "ping" => Call::Ping,
        other => Call::Unknown(other.chars().take(64).collect()),
    })
}

fn submit<'a>(fields: [Cow<'a, str>; 6], count: usize) -> Option<Submit<'a>> {
    if count < 5 {
        return None;
    }
    let [user, job_id, extranonce2, time, nonce, sixth] = fields;
    Some(Submit {
        user,
        job_id,
        extranonce2,
        time: parse_hex_u32(&time)?,
        nonce: parse_hex_u32(&nonce)?,
        sixth,
    })
}

/// A number, or a string holding one.
fn number(value: &Value) -> Option<f64> {
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }?;
    number.is_finite().then_some(number)
}

/// A target as hex, most significant digit first.
fn target(text: &str) -> Option<Target> {
    let digits = text.trim_start_matches("0x");
    let plain = (1..=64).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !plain {
        return None;
    }
    U256::from_str_radix(digits, 16).ok().filter(|value| !value.is_zero()).map(Target)
}

fn configure(params: &[Value]) -> Configure {
    let none = Vec::new();
    let asked = params.first().and_then(Value::as_array).unwrap_or(&none);
    let options = params.get(1);
    let option = |name: &str| options.and_then(|options| options.get(name));
    let mut out = Configure::default();
    for name in asked.iter().filter_map(Value::as_str) {
        match name {
            "version-rolling" => {
                // No mask given: the miner leaves the choice to the pool (BIP310's default).
                let mask = option("version-rolling.mask").and_then(Value::as_str).and_then(parse_hex_u32);
                out.version_rolling = Some(mask.unwrap_or(u32::MAX));
            }
            "minimum-difficulty" => {
                out.minimum_difficulty =
                    Some(option("minimum-difficulty.value").and_then(number).unwrap_or(0.0));
            }
            "subscribe-extranonce" => out.subscribe_extranonce = true,
            "info" => out.info = true,
            other if out.unknown.len() < Configure::MAX_UNKNOWN => {
                out.unknown.push(other.chars().take(64).collect());
            }
            _ => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(line: &str) -> Request<'_> {
        parse_request(line.as_bytes()).unwrap()
    }

    #[test]
    fn submits_are_read_without_copying() {
        let line = r#"{"id":"a7","method":"mining.submit","params":["bc1q.x","1f","0000000000000001","504e86ed","b2957c02","00002000"]}"#;
        let request = parse(line);
        assert_eq!(request.id, r#""a7""#);
        let Call::Submit(submit) = request.call else { panic!() };
        assert!(matches!(submit.user, Cow::Borrowed("bc1q.x")));
        assert_eq!((submit.time, submit.nonce), (0x504e_86ed, 0xb295_7c02));
        assert_eq!(submit.version_bits(), Some(Some(0x2000)));
    }

    #[test]
    fn odd_submits_are_read_too() {
        // Escapes, a null sixth parameter, an id that is an object.
        let line = r#"{"id":{"x":1},"method":"mining.submit","params":["bc1q\u002ex","1f","01","504e86ed","b2957c02",null]}"#;
        let request = parse(line);
        assert_eq!(request.id, r#"{"x":1}"#);
        let Call::Submit(submit) = request.call else { panic!() };
        assert_eq!(submit.user, "bc1q.x");
        assert_eq!(submit.version_bits(), Some(None));
        for (line, id) in [
            (r#"{"id":7,"method":"mining.submit","params":["a","b","c","zz","00"]}"#, "7"),
            (r#"{"id":8,"method":"mining.submit","params":["a"]}"#, "8"),
            (r#"{"id":9,"method":"mining.submit","params":[1,2,3,4,5]}"#, "9"),
        ] {
            let error = parse_request(line.as_bytes()).unwrap_err();
            assert_eq!(error, RequestError::Params { id, method: Cow::Borrowed("mining.submit") });
        }
    }

    #[test]
    fn any_id_is_echoed_as_it_came() {
        for id in ["1", "\"x\"", "null", "-1.5e3", "true", "18446744073709551616", "[1, 2]"] {
            let line = format!(r#"{{"id":{id},"method":"mining.ping","params":[]}}"#);
            assert_eq!(parse(&line), Request { id, call: Call::Ping });
        }
        assert_eq!(parse(r#"{"method":"mining.ping"}"#).id, "null");
    }

    #[test]
    fn subscribe_takes_nulls_and_nothing() {
        for (params, agent, session) in [
            ("[]", "", None),
            (r#"["cgminer/4"]"#, "cgminer/4", None),
            (r#"["a",null,"host",null]"#, "a", None),
            (r#"["a","08000001"]"#, "a", Some("08000001")),
            (r#"[null,17]"#, "", None),
            ("null", "", None),
        ] {
            let line = format!(r#"{{"id":1,"method":"mining.subscribe","params":{params}}}"#);
            assert_eq!(
                parse(&line).call,
                Call::Subscribe { agent: agent.into(), session: session.map(String::from) }
            );
        }
    }

    #[test]
    fn configure_is_what_was_asked() {
        let line = r#"{"id":1,"method":"mining.configure","params":[["version-rolling","minimum-difficulty","magic"],
            {"version-rolling.mask":"ffffffff","version-rolling.min-bit-count":2,"minimum-difficulty.value":2048}]}"#
            .replace('\n', " ");
        assert_eq!(
            parse(&line).call,
            Call::Configure(Configure {
                version_rolling: Some(u32::MAX),
                minimum_difficulty: Some(2048.0),
                unknown: vec!["magic".into()],
                ..Configure::default()
            })
        );
    }

    #[test]
    fn suggestions_and_small_talk() {
        for (method, params, call) in [
            ("mining.suggest_difficulty", "[0.5]", Call::SuggestDifficulty(Some(0.5))),
            ("mining.suggest_difficulty", "[\"42\"]", Call::SuggestDifficulty(Some(42.0))),
            ("mining.suggest_difficulty", "[-1]", Call::SuggestDifficulty(None)),
            ("mining.suggest_difficulty", "[]", Call::SuggestDifficulty(None)),
            ("mining.suggest_target", "[\"ff\"]", Call::SuggestTarget(Some(Target(U256::from(255))))),
            ("mining.suggest_target", "[\"\"]", Call::SuggestTarget(None)),
            ("mining.extranonce.subscribe", "[]", Call::ExtranonceSubscribe),
            ("mining.multi_version", "[1]", Call::MultiVersion),
            ("mining.get_transactions", "[\"1\"]", Call::GetTransactions),
            ("mining.nonsense", "[]", Call::Unknown("mining.nonsense".into())),
        ] {
            let line = format!(r#"{{"id":1,"method":"{method}","params":{params}}}"#);
            assert_eq!(parse(&line).call, call, "{line}");
        }
        assert_eq!(parse(r#"{"id":1,"result":"x/1","error":null}"#).call, Call::Answer);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse_request(&bytes);
        }

        #[test]
        fn near_requests_are_survived(line in r#"\{?"(id|method|params)?":?[\[\]{}",:0-9a-z\\ ]{0,80}\}?"#) {
            let _ = parse_request(line.as_bytes());
        }

        #[test]
        fn the_fast_way_and_the_full_parser_agree(
            user in "[a-zA-Z0-9._]{0,40}", job in "[0-9a-f]{0,8}", en2 in "[0-9a-f]{0,20}",
            time: u32, nonce: u32, bits: Option<u32>, id in 0u64..1_000_000, space in "[ ]{0,2}",
        ) {
            let sixth = bits.map_or(String::new(), |bits| format!(",\"{bits:08x}\""));
            let plain = format!(
                "{{\"id\":{space}{id},\"method\":\"mining.submit\",\"params\":[\"{user}\",{space}\"{job}\",\"{en2}\",\"{time:08x}\",\"{nonce:08x}\"{sixth}]}}"
            );
            // An unknown nested member sends the same request the long way.
            let long = plain.replacen('{', "{\"x\":{\"y\":[]},", 1);
            prop_assert_eq!(parse_request(plain.as_bytes()), parse_request(long.as_bytes()));
        }
    }
}
