//! The two forms of a PSBT: BIP174's, which carries the unsigned transaction, and BIP370's (version 2), which carries its
//! parts. The library that signs knows the first; what comes in the second is put into the first here, and so goes out.

use lode_primitives::{
    Amount, Decode as _, DecodeError, Encode as _, Form, OutPoint, Reader, SEQUENCE_FINAL, Transaction, TxIn,
    TxOut, Txid, Witness, encode_bytes,
};

use crate::WalletError;

/// First bytes of every PSBT.
pub(crate) const MAGIC: &[u8] = b"psbt\xff";
/// Inputs and outputs that are read at most: no standard transaction has more.
const COUNT_MAX: u64 = 100_000;
/// Lock times from here on are times, below block heights.
const FIRST_LOCK_TIME: u32 = 500_000_000;

/// Key types of version 2, in the global map, in inputs and in outputs. Version 0 has none of them.
const GLOBAL_TX_VERSION: u8 = 0x02;
const GLOBAL_FALLBACK_LOCKTIME: u8 = 0x03;
const GLOBAL_INPUT_COUNT: u8 = 0x04;
const GLOBAL_OUTPUT_COUNT: u8 = 0x05;
const GLOBAL_TX_MODIFIABLE: u8 = 0x06;
const GLOBAL_VERSION: u8 = 0xfb;
const IN_TXID: u8 = 0x0e;
const IN_VOUT: u8 = 0x0f;
const IN_SEQUENCE: u8 = 0x10;
const IN_TIME_LOCK: u8 = 0x11;
const IN_HEIGHT_LOCK: u8 = 0x12;
const OUT_AMOUNT: u8 = 0x03;
const OUT_SCRIPT: u8 = 0x04;

const GLOBAL_KEYS: [u8; 5] = [
    GLOBAL_TX_VERSION,
    GLOBAL_FALLBACK_LOCKTIME,
    GLOBAL_INPUT_COUNT,
    GLOBAL_OUTPUT_COUNT,
    GLOBAL_TX_MODIFIABLE,
];
const IN_KEYS: [u8; 5] = [IN_TXID, IN_VOUT, IN_SEQUENCE, IN_TIME_LOCK, IN_HEIGHT_LOCK];
const OUT_KEYS: [u8; 2] = [OUT_AMOUNT, OUT_SCRIPT];

/// One map of keys and values, in the order in which they came.
struct Map(Vec<(Vec<u8>, Vec<u8>)>);

impl Map {
    fn read(reader: &mut Reader<'_>, max: usize) -> Result<Self, DecodeError> {
        let mut entries: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        loop {
            let key = reader.bytes("key", max)?.to_vec();
            if key.is_empty() {
                return Ok(Self(entries));
            }
            entries.push((key, reader.bytes("value", max)?.to_vec()));
        }
    }

    fn get(&self, key: u8) -> Option<&[u8]> {
        self.0.iter().find(|(found, _)| found[..] == [key]).map(|(_, value)| &value[..])
    }

    fn fixed<const N: usize>(&self, key: u8, name: &str) -> Result<Option<[u8; N]>, WalletError> {
        let wrong = |_| bad(format!("{name} is not {N} bytes long"));
        self.get(key).map(|value| value.try_into().map_err(wrong)).transpose()
    }

    fn number(&self, key: u8, name: &str) -> Result<Option<u32>, WalletError> {
        Ok(self.fixed(key, name)?.map(u32::from_le_bytes))
    }

    /// The number of inputs or outputs.
    fn count(&self, key: u8, name: &str) -> Result<u64, WalletError> {
        let value = self.get(key).ok_or_else(|| bad(format!("version 2 without {name}")))?;
        let count = Reader::new(value).compact_size().map_err(bad)?;
        if count > COUNT_MAX { Err(bad(format!("{name} is {count}"))) } else { Ok(count) }
    }

    /// Writes it without the keys that `without` names.
    fn write(&self, without: &[u8], out: &mut Vec<u8>) {
        for (key, value) in self.0.iter().filter(|(key, _)| key.len() != 1 || !without.contains(&key[0])) {
            encode_bytes(key, out);
            encode_bytes(value, out);
        }
        out.push(0);
    }
}

/// The PSBT in BIP174's form. One that is in it already comes back as it is, but one that mixes the forms is refused.
///
/// # Errors
/// [`WalletError::Psbt`] says what is missing or does not fit together.
pub(crate) fn to_version_0(bytes: &[u8]) -> Result<Vec<u8>, WalletError> {
    let body = bytes.strip_prefix(MAGIC).ok_or_else(|| bad("it does not begin as one"))?;
    let mut reader = Reader::new(body);
    let mut read = || Map::read(&mut reader, bytes.len()).map_err(bad);
    let global = read()?;
    match global.number(GLOBAL_VERSION, "the version")? {
        None | Some(0) => {
            if GLOBAL_KEYS.iter().any(|key| global.get(*key).is_some()) {
                return Err(bad("version 0 with fields of version 2"));
            }
            // The maps of inputs and outputs follow, as many as the transaction has.
            let tx = global.get(0).ok_or_else(|| bad("version 0 without an unsigned transaction"))?;
            let tx = Transaction::from_bytes(tx, Form::default()).map_err(bad)?;
            let inputs = tx.inputs.iter().map(|_| &IN_KEYS[..]);
            for keys in inputs.chain(tx.outputs.iter().map(|_| &OUT_KEYS[..])) {
                let map = read()?;
                if keys.iter().any(|key| map.get(*key).is_some()) {
                    return Err(bad("version 0 with fields of version 2"));
                }
            }
            return Ok(bytes.to_vec());
        }
        Some(2) => {}
        Some(other) => return Err(bad(format!("version {other}; 0 and 2 are known"))),
    }
    if global.get(0).is_some() {
        return Err(bad("version 2 with an unsigned transaction"));
    }
    let version = global.number(GLOBAL_TX_VERSION, "the transaction's version")?;
    let version = version.ok_or_else(|| bad("version 2 without the transaction's version"))?;
    let inputs = global.count(GLOBAL_INPUT_COUNT, "the number of inputs")?;
    let outputs = global.count(GLOBAL_OUTPUT_COUNT, "the number of outputs")?;
    let inputs: Vec<Map> = (0..inputs).map(|_| read()).collect::<Result<_, _>>()?;
    let outputs: Vec<Map> = (0..outputs).map(|_| read()).collect::<Result<_, _>>()?;
    if reader.remaining() > 0 {
        return Err(bad("there are more maps than it counts"));
    }
    let fallback = global.number(GLOBAL_FALLBACK_LOCKTIME, "the lock time")?.unwrap_or(0);
    let tx = Transaction {
        version: version as i32,
        inputs: inputs.iter().map(input).collect::<Result<_, _>>()?,
        outputs: outputs.iter().map(output).collect::<Result<_, _>>()?,
        lock_time: lock_time(&inputs, fallback)?,
        data: None,
    };
    let mut out = MAGIC.to_vec();
    encode_bytes(&[0], &mut out);
    encode_bytes(&tx.to_bytes(), &mut out);
    let mut global_without = GLOBAL_KEYS.to_vec();
    global_without.push(GLOBAL_VERSION);
    global.write(&global_without, &mut out);
    inputs.iter().for_each(|map| map.write(&IN_KEYS, &mut out));
    outputs.iter().for_each(|map| map.write(&OUT_KEYS, &mut out));
    Ok(out)
}

fn input(map: &Map) -> Result<TxIn, WalletError> {
    let txid =
        map.fixed(IN_TXID, "an input's transaction")?.ok_or_else(|| bad("an input without its coin"))?;
    let vout = map.number(IN_VOUT, "an input's index")?.ok_or_else(|| bad("an input without its coin"))?;
    let sequence = map.number(IN_SEQUENCE, "an input's sequence")?.unwrap_or(SEQUENCE_FINAL);
    let prevout = OutPoint { txid: Txid(txid), vout };
    Ok(TxIn { prevout, script_sig: Vec::new(), sequence, witness: Witness::default() })
}

fn output(map: &Map) -> Result<TxOut, WalletError> {
    let amount =
        map.fixed(OUT_AMOUNT, "an output's amount")?.ok_or_else(|| bad("an output without amount"))?;
    let script = map.get(OUT_SCRIPT).ok_or_else(|| bad("an output without script"))?;
    Ok(TxOut { value: Amount::from_sat(i64::from_le_bytes(amount)), script_pubkey: script.to_vec() })
}

/// The lock time that suits every input that asks for one: a height where all can take one, else a time (BIP370).
fn lock_time(inputs: &[Map], fallback: u32) -> Result<u32, WalletError> {
    let mut asked = Vec::new();
    for map in inputs {
        let height = map.number(IN_HEIGHT_LOCK, "a height to wait for")?;
        let time = map.number(IN_TIME_LOCK, "a time to wait for")?;
        if height.is_some_and(|height| height == 0 || height >= FIRST_LOCK_TIME)
            || time.is_some_and(|time| time < FIRST_LOCK_TIME)
        {
            return Err(bad("a lock time out of its range"));
        }
        if height.is_some() || time.is_some() {
            asked.push((height, time));
        }
    }
    if asked.is_empty() {
        return Ok(fallback);
    }
    let heights: Option<Vec<u32>> = asked.iter().map(|(height, _)| *height).collect();
    let times: Option<Vec<u32>> = asked.iter().map(|(_, time)| *time).collect();
    heights
        .or(times)
        .and_then(|all| all.into_iter().max())
        .ok_or_else(|| bad("inputs ask for a height and for a time"))
}

fn bad(reason: impl std::fmt::Display) -> WalletError {
    WalletError::Psbt(reason.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(key: u8, value: &[u8]) -> Vec<u8> {
        let mut out = vec![1, key];
        encode_bytes(value, &mut out);
        out
    }

    /// Version 2, one output, and an input for each pair of height and time to wait for.
    fn version_2(locks: &[(Option<u32>, Option<u32>)], fallback: u32) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend(entry(GLOBAL_TX_VERSION, &2u32.to_le_bytes()));
        out.extend(entry(GLOBAL_FALLBACK_LOCKTIME, &fallback.to_le_bytes()));
        out.extend(entry(GLOBAL_INPUT_COUNT, &[locks.len() as u8]));
        out.extend(entry(GLOBAL_OUTPUT_COUNT, &[1]));
        out.extend(entry(GLOBAL_VERSION, &2u32.to_le_bytes()));
        out.push(0);
        for (height, time) in locks {
            out.extend(entry(IN_TXID, &[7; 32]));
            out.extend(entry(IN_VOUT, &[1, 0, 0, 0]));
            height.iter().for_each(|lock| out.extend(entry(IN_HEIGHT_LOCK, &lock.to_le_bytes())));
            time.iter().for_each(|lock| out.extend(entry(IN_TIME_LOCK, &lock.to_le_bytes())));
            out.push(0);
        }
        out.extend(entry(OUT_AMOUNT, &5_000u64.to_le_bytes()));
        out.extend(entry(OUT_SCRIPT, &[0x51]));
        out.push(0);
        out
    }

    /// BIP370's table of lock times.
    #[test]
    fn lock_times_are_agreed_on() {
        let (h, t) = (Some(10_000), Some(1_657_048_460));
        let lock = |locks: &[(Option<u32>, Option<u32>)], fallback| {
            let bytes = to_version_0(&version_2(locks, fallback))?;
            let psbt = bitcoin::psbt::Psbt::deserialize(&bytes).map_err(bad)?;
            Ok::<_, WalletError>(psbt.unsigned_tx.lock_time.to_consensus_u32())
        };
        assert_eq!(lock(&[(None, None)], 0).unwrap(), 0);
        assert_eq!(lock(&[(None, None)], 77).unwrap(), 77);
        assert_eq!(lock(&[(h, None), (None, None)], 77).unwrap(), 10_000);
        assert_eq!(lock(&[(h, None), (Some(9_000), None)], 0).unwrap(), 10_000);
        assert_eq!(lock(&[(h, None), (Some(9_000), t)], 0).unwrap(), 10_000);
        assert_eq!(lock(&[(h, t), (Some(9_000), t)], 0).unwrap(), 10_000);
        assert_eq!(lock(&[(None, t), (Some(9_000), t)], 0).unwrap(), 1_657_048_460);
        assert_eq!(lock(&[(None, t), (None, None)], 0).unwrap(), 1_657_048_460);
        assert!(lock(&[(h, None), (None, t)], 0).is_err());
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        let whole = version_2(&[(None, None)], 0);
        for cut in 0..whole.len() {
            assert!(to_version_0(&whole[..cut]).is_err(), "cut at {cut}");
        }
        assert!(to_version_0(&[&whole[..], &[0]].concat()).is_err());
        // Each field that must be there, left out by giving it another key.
        for (key, value) in [
            (GLOBAL_TX_VERSION, &2u32.to_le_bytes()[..]),
            (GLOBAL_INPUT_COUNT, &[1]),
            (GLOBAL_OUTPUT_COUNT, &[1]),
            (IN_TXID, &[7; 32]),
            (IN_VOUT, &[1, 0, 0, 0]),
            (OUT_AMOUNT, &5_000u64.to_le_bytes()),
            (OUT_SCRIPT, &[0x51]),
        ] {
            let (found, other) = (entry(key, value), entry(0xf0, value));
            let at = whole.windows(found.len()).rposition(|window| window == found).unwrap();
            let without = [&whole[..at], &other, &whole[at + found.len()..]].concat();
            assert!(to_version_0(&without).is_err(), "without {key:#x}");
        }
        let other_version = |version: u32| {
            let (found, other) =
                (entry(GLOBAL_VERSION, &2u32.to_le_bytes()), entry(GLOBAL_VERSION, &version.to_le_bytes()));
            let at = whole.windows(found.len()).position(|window| window == found).unwrap();
            to_version_0(&[&whole[..at], &other, &whole[at + found.len()..]].concat())
        };
        assert!(other_version(0).is_err() && other_version(1).is_err() && other_version(3).is_err());
    }
}
