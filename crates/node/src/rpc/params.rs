//! Parameters of a call: what a method takes ([`Arg`]), and reading what came ([`Params`]).
//!
//! Positional and named parameters become one list in the order of the method's table entry, checked for type
//! before the method runs, so a method only checks ranges. `lode cli` uses the same table to turn words of a
//! command line into JSON.

use lode_primitives::{Amount, BlockHash, Txid};
use serde_json::Value;

use super::error::{RpcError, code};

/// JSON type of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A string.
    Text,
    /// A number.
    Number,
    /// A boolean.
    Bool,
    /// An array.
    Array,
    /// An object.
    Object,
    /// More than one type; the method looks itself.
    Any,
}

impl Kind {
    /// Name as bitcoind's help and errors use it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Text => "string",
            Self::Number => "number",
            Self::Bool => "bool",
            Self::Array => "array",
            Self::Object => "object",
            Self::Any => "any",
        }
    }

    fn takes(self, value: &Value) -> bool {
        match self {
            Self::Text => value.is_string(),
            Self::Number => value.is_number(),
            Self::Bool => value.is_boolean(),
            Self::Array => value.is_array(),
            Self::Object => value.is_object(),
            Self::Any => true,
        }
    }
}

/// One parameter of a method.
#[derive(Debug, Clone, Copy)]
pub struct Arg {
    /// Name, and further names it is known by, as `verbosity|verbose`.
    pub names: &'static str,
    /// Its JSON type.
    pub kind: Kind,
    /// Whether a call without it is an error.
    pub required: bool,
    /// One line for `help`.
    pub about: &'static str,
}

impl Arg {
    /// The name shown to people: the first.
    pub fn name(&self) -> &'static str {
        self.names.split('|').next().unwrap_or(self.names)
    }
}

/// A required parameter.
pub(crate) const fn req(names: &'static str, kind: Kind, about: &'static str) -> Arg {
    Arg { names, kind, required: true, about }
}

/// An optional parameter.
pub(crate) const fn opt(names: &'static str, kind: Kind, about: &'static str) -> Arg {
    Arg { names, kind, required: false, about }
}

/// The name of a JSON value's type.
fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// The parameters of one call, one entry per [`Arg`] of its method, `null` where none came.
#[derive(Debug, Clone)]
pub(crate) struct Params(Vec<Value>);

impl Params {
    /// Puts `given` (array, object or null) into the order of `args`. `usage` is the error for a wrong number of
    /// parameters: the method's help text, as bitcoind answers.
    pub(crate) fn read(args: &[Arg], given: Value, usage: impl Fn() -> String) -> Result<Self, RpcError> {
        let mut values = match given {
            Value::Null => Vec::new(),
            Value::Array(values) => values,
            Value::Object(named) => from_named(args, named)?,
            _ => return Err(RpcError::new(code::INVALID_REQUEST, "Params must be an array or object")),
        };
        // As bitcoind counts: a required parameter that is left out is wrong use, one that is null a wrong type.
        let least = args.iter().rposition(|arg| arg.required).map_or(0, |last| last + 1);
        if !(least..=args.len()).contains(&values.len()) {
            return Err(RpcError::misc(usage()));
        }
        values.resize(args.len(), Value::Null);
        for (position, (arg, value)) in args.iter().zip(&values).enumerate() {
            let fits = if value.is_null() { !arg.required } else { arg.kind.takes(value) };
            if !fits {
                return Err(RpcError::new(
                    code::TYPE_ERROR,
                    format!(
                        "Wrong type passed:\n{{\n    \"Position {} ({})\": \"JSON value of type {} is not of expected type {}\"\n}}",
                        position + 1,
                        arg.name(),
                        type_name(value),
                        arg.kind.name()
                    ),
                ));
            }
        }
        Ok(Self(values))
    }

    /// The raw value at `i`; `null` if none came.
    pub(crate) fn value(&self, i: usize) -> &Value {
        self.0.get(i).unwrap_or(&Value::Null)
    }

    /// Text at `i`, `None` if none came.
    pub(crate) fn text(&self, i: usize) -> Option<&str> {
        self.value(i).as_str()
    }

    /// Required text at `i`.
    pub(crate) fn required_text(&self, i: usize) -> Result<&str, RpcError> {
        expect_text(self.value(i))
    }

    /// Boolean at `i`.
    pub(crate) fn bool(&self, i: usize) -> Option<bool> {
        self.value(i).as_bool()
    }

    /// Whole number at `i`.
    pub(crate) fn int(&self, i: usize) -> Result<Option<i64>, RpcError> {
        match self.value(i) {
            Value::Null => Ok(None),
            value => expect_int(value).map(Some),
        }
    }

    /// Height or count at `i`: a whole number that bitcoind keeps in 32 bits.
    pub(crate) fn height(&self, i: usize) -> Result<Option<i64>, RpcError> {
        match self.value(i) {
            Value::Null => Ok(None),
            value => expect_height(value).map(Some),
        }
    }

    /// Array at `i`.
    pub(crate) fn array(&self, i: usize) -> Option<&[Value]> {
        self.value(i).as_array().map(Vec::as_slice)
    }

    /// Member `key` of the object at `i`; `null` where either is missing.
    pub(crate) fn member(&self, i: usize, key: &str) -> &Value {
        self.value(i).get(key).unwrap_or(&Value::Null)
    }

    /// Block hash at `i`, called `name` in errors.
    pub(crate) fn block_hash(&self, i: usize, name: &str) -> Result<BlockHash, RpcError> {
        parse_block_hash(self.value(i), name)
    }

    /// Transaction id at `i`, called `name` in errors.
    pub(crate) fn txid(&self, i: usize, name: &str) -> Result<Txid, RpcError> {
        parse_txid(self.value(i), name)
    }
}

/// Named parameters in table order. `args` in `named` gives leading positional ones, as bitcoind allows.
fn from_named(args: &[Arg], mut named: serde_json::Map<String, Value>) -> Result<Vec<Value>, RpcError> {
    let mut values = match named.remove("args") {
        Some(Value::Array(positional)) => positional,
        Some(other) => {
            named.insert("args".into(), other);
            Vec::new()
        }
        None => Vec::new(),
    };
    let positional = values.len();
    for (position, arg) in args.iter().enumerate() {
        let found: Vec<&str> = arg.names.split('|').filter(|name| named.contains_key(*name)).collect();
        if found.len() > 1 {
            return Err(RpcError::parameter(format!("Parameter {} specified multiple times", found[1])));
        }
        let Some(value) = found.first().and_then(|name| named.remove(*name)) else { continue };
        if position < positional {
            return Err(RpcError::parameter(format!(
                "Parameter {} specified twice both as positional and named argument",
                arg.names
            )));
        }
        if values.len() <= position {
            values.resize(position + 1, Value::Null);
        }
        values[position] = value;
    }
    if let Some(unknown) = named.keys().next() {
        return Err(RpcError::parameter(format!("Unknown named parameter {unknown}")));
    }
    Ok(values)
}

/// A string, or bitcoind's type error.
pub(crate) fn expect_text(value: &Value) -> Result<&str, RpcError> {
    value.as_str().ok_or_else(|| wrong_type(value, "string"))
}

/// A whole number, or an error that says why not.
pub(crate) fn expect_int(value: &Value) -> Result<i64, RpcError> {
    match value {
        Value::Number(number) => {
            number.as_i64().ok_or_else(|| RpcError::misc(format!("JSON integer out of range: {number}")))
        }
        other => Err(wrong_type(other, "number")),
    }
}

/// A whole number of 32 bits, or an error that says why not.
pub(crate) fn expect_height(value: &Value) -> Result<i64, RpcError> {
    let number = expect_int(value)?;
    i32::try_from(number).map(i64::from).map_err(|_| RpcError::misc("JSON integer out of range"))
}

/// An amount in whole coins (number or string, at most 8 decimals) as satoshi.
pub(crate) fn expect_amount(value: &Value) -> Result<Amount, RpcError> {
    let text = match value {
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        _ => return Err(RpcError::new(code::TYPE_ERROR, "Amount is not a number or string")),
    };
    let amount: Amount =
        text.parse().map_err(|_| RpcError::new(code::TYPE_ERROR, format!("Invalid amount: {text}")))?;
    if amount < Amount::ZERO {
        return Err(RpcError::new(code::TYPE_ERROR, format!("Amount out of range: {text}")));
    }
    Ok(amount)
}

pub(crate) fn wrong_type(value: &Value, wanted: &str) -> RpcError {
    RpcError::new(
        code::TYPE_ERROR,
        format!("JSON value of type {} is not of expected type {wanted}", type_name(value)),
    )
}

fn check_hash<'a>(value: &'a Value, name: &str) -> Result<&'a str, RpcError> {
    let text = expect_text(value)?;
    if text.len() != 64 {
        let shown: String = text.chars().take(80).collect();
        return Err(RpcError::parameter(format!(
            "{name} must be of length 64 (not {}, for '{shown}')",
            text.len()
        )));
    }
    Ok(text)
}

fn not_hex(name: &str, text: &str) -> RpcError {
    RpcError::parameter(format!("{name} must be hexadecimal string (not '{text}')"))
}

/// A block hash as people write it (reversed hex).
pub(crate) fn parse_block_hash(value: &Value, name: &str) -> Result<BlockHash, RpcError> {
    let text = check_hash(value, name)?;
    text.parse().map_err(|_| not_hex(name, text))
}

/// A transaction id as people write it (reversed hex).
pub(crate) fn parse_txid(value: &Value, name: &str) -> Result<Txid, RpcError> {
    let text = check_hash(value, name)?;
    text.parse().map_err(|_| not_hex(name, text))
}

/// Turns the words of a command line into the JSON parameters of a method: text where the method takes text, JSON
/// else. `named` words are `name=value`.
///
/// # Errors
/// Says which word is not the JSON that the method wants there.
pub fn from_words(args: Option<&[Arg]>, words: &[String], named: bool) -> Result<Value, String> {
    let to_json = |arg: Option<&Arg>, word: &str| -> Result<Value, String> {
        match arg.map(|a| a.kind) {
            Some(Kind::Text) => Ok(Value::String(word.into())),
            Some(Kind::Any) | None => {
                Ok(serde_json::from_str(word).unwrap_or_else(|_| Value::String(word.into())))
            }
            Some(kind) => serde_json::from_str(word).map_err(|_| {
                let name = arg.map_or("parameter", Arg::name);
                format!("{name} must be JSON of type {}, got '{word}'", kind.name())
            }),
        }
    };
    if !named {
        let mut values = Vec::with_capacity(words.len());
        for (position, word) in words.iter().enumerate() {
            values.push(to_json(args.and_then(|a| a.get(position)), word)?);
        }
        return Ok(Value::Array(values));
    }
    let mut map = serde_json::Map::new();
    for word in words {
        let (name, value) = word
            .split_once('=')
            .ok_or_else(|| format!("with --named every parameter is NAME=VALUE, got '{word}'"))?;
        let arg = args.and_then(|a| a.iter().find(|arg| arg.names.split('|').any(|n| n == name)));
        map.insert(name.into(), to_json(arg, value)?);
    }
    Ok(Value::Object(map))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ARGS: &[Arg] = &[
        req("blockhash", Kind::Text, "the block"),
        opt("verbosity|verbose", Kind::Number, "how much"),
        opt("flag", Kind::Bool, "a flag"),
    ];

    fn read(given: Value) -> Result<Params, RpcError> {
        Params::read(ARGS, given, || "usage".into())
    }

    #[test]
    fn positional_and_named_mean_the_same() {
        for given in [
            json!(["aa", 2]),
            json!({"blockhash": "aa", "verbose": 2}),
            json!({"verbosity": 2, "blockhash": "aa"}),
            json!({"args": ["aa"], "verbosity": 2}),
        ] {
            let params = read(given).unwrap();
            assert_eq!(params.text(0), Some("aa"));
            assert_eq!(params.int(1).unwrap(), Some(2));
            assert_eq!(params.bool(2), None);
        }
    }

    #[test]
    fn wrong_parameters_are_named() {
        assert_eq!(read(json!([])).unwrap_err(), RpcError::misc("usage"));
        assert_eq!(read(json!(["a", 1, true, 4])).unwrap_err().code, code::MISC_ERROR);
        let wrong = read(json!([3])).unwrap_err();
        assert_eq!(wrong.code, code::TYPE_ERROR);
        assert!(wrong.message.contains("Position 1 (blockhash)"), "{wrong}");
        assert_eq!(read(json!({"blockhash": "a", "x": 1})).unwrap_err().message, "Unknown named parameter x");
        assert!(read(json!({"blockhash": "a", "verbose": 1, "verbosity": 1})).is_err());
        assert!(read(json!({"args": ["a"], "blockhash": "b"})).is_err());
    }

    #[test]
    fn hashes_say_what_is_wrong_with_them() {
        let params = read(json!(["abcd"])).unwrap();
        assert_eq!(
            params.block_hash(0, "blockhash").unwrap_err().message,
            "blockhash must be of length 64 (not 4, for 'abcd')"
        );
        let params = read(json!(["z".repeat(64)])).unwrap();
        assert_eq!(params.block_hash(0, "blockhash").unwrap_err().code, code::INVALID_PARAMETER);
    }

    #[test]
    fn words_become_what_the_method_takes() {
        let words = |w: &[&str]| w.iter().map(|s| (*s).to_string()).collect::<Vec<_>>();
        assert_eq!(from_words(Some(ARGS), &words(&["12", "2"]), false).unwrap(), json!(["12", 2]));
        assert_eq!(
            from_words(Some(ARGS), &words(&["verbose=1", "blockhash=12"]), true).unwrap(),
            json!({"verbose": 1, "blockhash": "12"})
        );
        assert!(from_words(Some(ARGS), &words(&["12", "x"]), false).is_err());
    }
}
