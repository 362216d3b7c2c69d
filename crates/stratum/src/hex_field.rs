//! Hex fields, read and written without going through strings.

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Value of each hex digit, 0xff for all other bytes.
const VALUES: [u8; 256] = {
    let mut table = [0xff; 256];
    let mut i = 0;
    while i < 10 {
        table[b'0' as usize + i] = i as u8;
        i += 1;
    }
    i = 0;
    while i < 6 {
        table[b'a' as usize + i] = 10 + i as u8;
        table[b'A' as usize + i] = 10 + i as u8;
        i += 1;
    }
    table
};

/// Appends `bytes` as lower-case hex.
pub fn push_hex(bytes: &[u8], out: &mut Vec<u8>) {
    out.reserve(bytes.len() * 2);
    for byte in bytes {
        out.push(DIGITS[usize::from(byte >> 4)]);
        out.push(DIGITS[usize::from(byte & 15)]);
    }
}

/// Appends `value` as eight hex digits, most significant first.
pub fn push_hex_u32(value: u32, out: &mut Vec<u8>) {
    push_hex(&value.to_be_bytes(), out);
}

/// The integer of one to eight hex digits (leading zeros beyond eight are let pass), most significant first.
pub fn parse_hex_u32(text: &str) -> Option<u32> {
    let digits = text.as_bytes();
    if digits.is_empty() {
        return None;
    }
    let mut value = 0u32;
    for &digit in digits {
        let nibble = VALUES[usize::from(digit)];
        if nibble == 0xff || value >> 28 != 0 {
            return None;
        }
        value = value << 4 | u32::from(nibble);
    }
    Some(value)
}

/// Decodes hex into the front of `out`; what does not fit is cut off, what is missing stays as it was. Returns the
/// bytes written, or `None` where a character is no hex digit. An odd last digit is dropped.
pub fn decode_hex(text: &str, out: &mut [u8]) -> Option<usize> {
    if text.bytes().any(|digit| VALUES[usize::from(digit)] == 0xff) {
        return None;
    }
    let mut written = 0;
    for (pair, byte) in text.as_bytes().chunks_exact(2).zip(out.iter_mut()) {
        *byte = VALUES[usize::from(pair[0])] << 4 | VALUES[usize::from(pair[1])];
        written += 1;
    }
    Some(written)
}

/// The bytes of hex text of even length.
pub(crate) fn hex_bytes(text: &str) -> Option<Vec<u8>> {
    let mut bytes = vec![0; text.len() / 2];
    (text.len().is_multiple_of(2) && decode_hex(text, &mut bytes)? == bytes.len()).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_as_miners_write_them() {
        assert_eq!(parse_hex_u32("1fffe000"), Some(0x1fff_e000));
        assert_eq!(parse_hex_u32("00000000FF"), Some(255));
        for bad in ["", "0x10", "100000000", "12 ", "-1"] {
            assert_eq!(parse_hex_u32(bad), None, "{bad}");
        }
        let mut eight = [0; 8];
        assert_eq!(decode_hex("0102030405060708090a", &mut eight), Some(8));
        assert_eq!(eight, [1, 2, 3, 4, 5, 6, 7, 8]);
        let mut eight = [0; 8];
        assert_eq!(decode_hex("aabbccdd", &mut eight), Some(4));
        assert_eq!(eight, [0xaa, 0xbb, 0xcc, 0xdd, 0, 0, 0, 0]);
        assert_eq!(decode_hex("zz", &mut eight), None);
        let mut out = Vec::new();
        push_hex_u32(0x00ab_0001, &mut out);
        assert_eq!(out, b"00ab0001");
    }
}
