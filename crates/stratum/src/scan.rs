//! A scanner for the plain JSON that miners send: one object, strings without escapes. It never allocates; whatever
//! it does not know for certain it leaves to `serde_json` by returning `None`.

/// The parts of a request, each as its raw JSON text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Parts<'a> {
    /// Value of `id`, `null` where there is none.
    pub(crate) id: &'a str,
    /// Text of `method`, without quotes.
    pub(crate) method: &'a str,
    /// Value of `params`, `[]` where there is none.
    pub(crate) params: &'a str,
}

struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r')) {
            self.at += 1;
        }
    }

    fn eat(&mut self, byte: u8) -> Option<()> {
        self.space();
        (self.peek()? == byte).then(|| self.at += 1)
    }

    /// A string without escapes and control characters; the cursor stands behind its closing quote.
    fn string(&mut self) -> Option<&'a str> {
        self.eat(b'"')?;
        let start = self.at;
        loop {
            match self.peek()? {
                b'"' => break,
                b'\\' | 0..=0x1f => return None,
                _ => self.at += 1,
            }
        }
        self.at += 1;
        self.text.get(start..self.at - 1)
    }

    /// A number, `true`, `false` or `null`, as text. Its form is checked: it is echoed.
    fn word(&mut self) -> Option<&'a str> {
        let start = self.at;
        while matches!(self.peek()?, b'0'..=b'9' | b'-' | b'+' | b'.' | b'a'..=b'z' | b'E') {
            self.at += 1;
        }
        let word = self.text.get(start..self.at)?;
        let plain = !word.is_empty()
            && word.len() < 20
            && word.bytes().all(|byte| byte.is_ascii_digit())
            && (word.len() == 1 || !word.starts_with('0'));
        (plain || matches!(word, "null" | "true" | "false")).then_some(word)
    }

    /// A string (with its quotes) or word.
    fn scalar(&mut self) -> Option<&'a str> {
        self.space();
        let start = self.at;
        if self.peek()? == b'"' {
            self.string()?;
            return self.text.get(start..self.at);
        }
        self.word()
    }

    /// A flat array of scalars, as text.
    fn flat_array(&mut self) -> Option<&'a str> {
        self.space();
        let start = self.at;
        self.eat(b'[')?;
        self.space();
        if self.peek()? == b']' {
            self.at += 1;
        } else {
            loop {
                self.scalar()?;
                self.space();
                self.at += 1;
                match self.text.as_bytes()[self.at - 1..].first()? {
                    b',' => {}
                    b']' => break,
                    _ => return None,
                }
            }
        }
        self.text.get(start..self.at)
    }
}

/// Takes a plain request apart.
pub(crate) fn parts(line: &str) -> Option<Parts<'_>> {
    let mut cursor = Cursor { text: line, at: 0 };
    let mut parts = Parts { id: "null", method: "", params: "[]" };
    cursor.eat(b'{')?;
    loop {
        cursor.space();
        let key = cursor.string()?;
        cursor.eat(b':')?;
        match key {
            "id" => parts.id = cursor.scalar()?,
            "method" => {
                cursor.space();
                parts.method = cursor.string()?;
            }
            "params" => parts.params = cursor.flat_array()?,
            _ => {
                cursor.scalar()?;
            }
        }
        cursor.space();
        match cursor.peek()? {
            b',' => cursor.at += 1,
            b'}' => break,
            _ => return None,
        }
    }
    cursor.at += 1;
    cursor.space();
    (cursor.at == line.len() && !parts.method.is_empty()).then_some(parts)
}

/// The first strings of a flat array as [`parts`] found it, and how many there are; `None` where one of the first
/// `N` is not a string.
pub(crate) fn strings<const N: usize>(params: &str) -> Option<([&str; N], usize)> {
    let mut cursor = Cursor { text: params, at: 0 };
    let mut out = [""; N];
    let mut count = 0;
    cursor.eat(b'[')?;
    loop {
        cursor.space();
        if cursor.peek()? == b']' {
            break;
        }
        if count < N {
            out[count] = cursor.string()?;
        } else {
            cursor.scalar()?;
        }
        count += 1;
        cursor.space();
        if cursor.peek()? == b',' {
            cursor.at += 1;
        }
    }
    Some((out, count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_requests_are_taken_apart() {
        let line = r#"{"params": ["a.b", "1f", "0000000000000001", "504e86ed", "b2957c02"], "id": 4, "method": "mining.submit"}"#;
        let parts = parts(line).unwrap();
        assert_eq!((parts.id, parts.method), ("4", "mining.submit"));
        let (strings, count) = strings::<6>(parts.params).unwrap();
        assert_eq!(strings, ["a.b", "1f", "0000000000000001", "504e86ed", "b2957c02", ""]);
        assert_eq!(count, 5);
    }

    #[test]
    fn what_is_not_plain_is_left_to_the_full_parser() {
        for line in [
            r#"{"id":1,"method":"mining.submit","params":["a\u0041"]}"#,
            r#"{"id":[1],"method":"a","params":[]}"#,
            r#"{"id":1.5,"method":"a","params":[]}"#,
            r#"{"id":01,"method":"a","params":[]}"#,
            r#"{"id":1,"method":"a","params":{}}"#,
            r#"{"id":1,"method":"a","params":[1 2]}"#,
            r#"{"id":1,"method":"a","params":[}"#,
            r#"{"id":1,"method":"a"} x"#,
            r#"{"id":1"#,
            "",
        ] {
            assert_eq!(parts(line), None, "{line}");
        }
    }
}
