//! Cutting a byte stream into lines, each bounded.

/// Longest line a server reads, in bytes. The longest honest request (a `configure` with every extension, a `submit`
/// with a 127-byte user name) is under 600.
pub const MAX_CLIENT_LINE: usize = 4096;

/// Longest line a miner reads, in bytes: a `notify` with a coinbase of 16,000 bytes and a branch of 14 hashes is 33,000.
pub const MAX_SERVER_LINE: usize = 128 * 1024;

/// A line grew over its bound; the connection is of no further use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a line of more than {0} bytes")]
pub struct LineTooLong(pub usize);

/// Cuts chunks of a stream into lines. It holds memory only while a line is incomplete.
#[derive(Debug, Default)]
pub struct LineSplitter {
    partial: Vec<u8>,
}

impl LineSplitter {
    /// Calls `each` with every line completed by `chunk`, without its line end; empty lines are left out. Stops early
    /// where `each` returns false (the rest of the chunk is then lost: the caller is about to close).
    pub fn feed(
        &mut self,
        chunk: &[u8],
        max: usize,
        mut each: impl FnMut(&[u8]) -> bool,
    ) -> Result<(), LineTooLong> {
        let mut rest = chunk;
        while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
            let (head, tail) = (&rest[..end], &rest[end + 1..]);
            rest = tail;
            let go_on = if self.partial.is_empty() {
                if head.len() > max {
                    return Err(LineTooLong(max));
                }
                deliver(head, &mut each)
            } else {
                if self.partial.len() + head.len() > max {
                    return Err(LineTooLong(max));
                }
                let mut line = std::mem::take(&mut self.partial);
                line.extend_from_slice(head);
                deliver(&line, &mut each)
            };
            if !go_on {
                return Ok(());
            }
        }
        if self.partial.len() + rest.len() > max {
            return Err(LineTooLong(max));
        }
        if !rest.is_empty() {
            self.partial.reserve_exact(rest.len());
            self.partial.extend_from_slice(rest);
        }
        Ok(())
    }

    /// Bytes of the incomplete line held.
    pub fn held(&self) -> usize {
        self.partial.len()
    }
}

fn deliver(line: &[u8], each: &mut impl FnMut(&[u8]) -> bool) -> bool {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    line.is_empty() || each(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn chunks_do_not_matter(lines in prop::collection::vec("[a-z]{1,20}", 0..10), cut in 1usize..9) {
            let stream = lines.iter().map(|line| format!("{line}\r\n")).collect::<String>();
            let mut splitter = LineSplitter::default();
            let mut seen = Vec::new();
            for chunk in stream.as_bytes().chunks(cut) {
                splitter.feed(chunk, 64, |line| { seen.push(String::from_utf8(line.to_vec()).unwrap()); true }).unwrap();
            }
            prop_assert_eq!(seen, lines);
            prop_assert_eq!(splitter.held(), 0);
        }
    }

    #[test]
    fn an_endless_line_is_refused_and_not_kept() {
        let mut splitter = LineSplitter::default();
        assert_eq!(splitter.feed(&[b'x'; 60], 100, |_| true), Ok(()));
        assert_eq!(splitter.feed(&[b'x'; 60], 100, |_| true), Err(LineTooLong(100)));
        assert!(splitter.held() <= 100);
    }
}
