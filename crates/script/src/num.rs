//! Numbers on the script stack: little-endian, sign in the last byte's top bit, zero is empty.

use crate::ScriptError;

/// Bytes a number may take where an opcode calculates with it.
pub const DEFAULT_MAX_LEN: usize = 4;

/// Reads a number of at most `max_len` bytes (at most 8); with `minimal`, refuses all but its shortest form.
///
/// # Errors
/// [`ScriptError::ScriptNum`].
pub fn decode(bytes: &[u8], minimal: bool, max_len: usize) -> Result<i64, ScriptError> {
    if bytes.len() > max_len.min(8) {
        return Err(ScriptError::ScriptNum);
    }
    let Some((&last, rest)) = bytes.split_last() else { return Ok(0) };
    // A last byte with nothing but a sign is needed only where the byte before it has its top bit set.
    if minimal && last & 0x7f == 0 && rest.last().is_none_or(|byte| byte & 0x80 == 0) {
        return Err(ScriptError::ScriptNum);
    }
    let magnitude = rest.iter().rev().fold(i64::from(last & 0x7f), |sum, &byte| (sum << 8) | i64::from(byte));
    Ok(if last & 0x80 == 0 { magnitude } else { -magnitude })
}

/// The shortest form of a number: the bytes and how many of them count.
pub(crate) fn encode_array(number: i64) -> ([u8; 9], usize) {
    let mut bytes = [0; 9];
    let mut len = 0;
    let mut rest = number.unsigned_abs();
    while rest != 0 {
        bytes[len] = rest as u8;
        rest >>= 8;
        len += 1;
    }
    if len > 0 {
        let sign = if number < 0 { 0x80 } else { 0 };
        if bytes[len - 1] & 0x80 != 0 {
            bytes[len] = sign;
            len += 1;
        } else {
            bytes[len - 1] |= sign;
        }
    }
    (bytes, len)
}

/// The shortest form of a number.
pub fn encode(number: i64) -> Vec<u8> {
    let (bytes, len) = encode_array(number);
    bytes[..len].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_forms() {
        for (number, bytes) in [
            (0, &[][..]),
            (1, &[1]),
            (-1, &[0x81]),
            (127, &[0x7f]),
            (128, &[0x80, 0]),
            (-128, &[0x80, 0x80]),
            (256, &[0, 1]),
            (-255, &[0xff, 0x80]),
            (0x7fff_ffff, &[0xff, 0xff, 0xff, 0x7f]),
        ] {
            assert_eq!(encode(number), bytes);
            assert_eq!(decode(bytes, true, 4), Ok(number));
        }
        assert_eq!(decode(&[0x80], false, 4), Ok(0));
        assert_eq!(decode(&[0x80], true, 4), Err(ScriptError::ScriptNum));
        assert_eq!(decode(&[1, 0], true, 4), Err(ScriptError::ScriptNum));
        assert_eq!(decode(&[1, 0, 0, 0, 0], false, 4), Err(ScriptError::ScriptNum));
    }

    proptest! {
        #[test]
        fn round_trips(number in -0x7f_ffff_ffff_ffffi64..=0x7f_ffff_ffff_ffff) {
            prop_assert_eq!(decode(&encode(number), true, 8), Ok(number));
        }
    }
}
