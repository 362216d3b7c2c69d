//! One connection of the load generator.

use std::io::{ErrorKind, Read as _, Write as _};
use std::time::Instant;

use mio::net::TcpStream;

/// What a connection does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Waits for the TCP connection.
    Connecting,
    /// Waits for answers to subscribe and authorize.
    LoggingIn,
    /// Logged in.
    Ready,
}

/// Ids of the two requests at login; shares have those from [`FIRST_SHARE`] on.
const SUBSCRIBE: u64 = 1;
const AUTHORIZE: u64 = 2;
pub(super) const FIRST_SHARE: u64 = 10;

pub(super) struct Client {
    pub(super) stream: TcpStream,
    pub(super) state: State,
    pub(super) number: usize,
    /// Was sent a job.
    pub(super) has_job: bool,
    partial: Vec<u8>,
    unsent: Vec<u8>,
    /// Shares sent and not answered, and when the last batch went.
    pub(super) waiting: usize,
    pub(super) sent: Option<Instant>,
}

/// What a line was.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    LoggedIn,
    LoginRefused,
    Accepted,
    Refused,
    Job(&'a [u8]),
    Other,
}

impl Client {
    pub(super) fn new(stream: TcpStream, number: usize) -> Self {
        Self {
            stream,
            state: State::Connecting,
            number,
            has_job: false,
            partial: Vec::new(),
            unsent: Vec::new(),
            waiting: 0,
            sent: None,
        }
    }

    pub(super) fn login(&mut self, user: &str, password: &str) -> std::io::Result<()> {
        self.state = State::LoggingIn;
        let user = user.replace('%', &self.number.to_string());
        let mut lines = Vec::new();
        lode_stratum::write_subscribe(
            SUBSCRIBE,
            concat!("lode-load/", env!("CARGO_PKG_VERSION")),
            &mut lines,
        );
        lode_stratum::write_authorize(AUTHORIZE, &user, password, &mut lines);
        self.send(&lines)
    }

    pub(super) fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.unsent.extend_from_slice(bytes);
        self.flush()
    }

    pub(super) fn flush(&mut self) -> std::io::Result<()> {
        let mut done = 0;
        while done < self.unsent.len() {
            match self.stream.write(&self.unsent[done..]) {
                Ok(written) => done += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.unsent.drain(..done);
        Ok(())
    }

    /// Reads all there is; false at the end of the connection. `to_end`: the pool has closed its side, so even behind a short
    /// read there is an end to be seen, which is told only once.
    pub(super) fn read(&mut self, buffer: &mut [u8], to_end: bool, mut each: impl FnMut(Line<'_>)) -> bool {
        loop {
            let read = match self.stream.read(buffer) {
                Ok(0) => return false,
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return false,
            };
            let mut rest = &buffer[..read];
            while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
                if self.partial.is_empty() {
                    each(classify(&rest[..end]));
                } else {
                    self.partial.extend_from_slice(&rest[..end]);
                    each(classify(&self.partial));
                    self.partial.clear();
                }
                rest = &rest[end + 1..];
            }
            self.partial.extend_from_slice(rest);
            if read < buffer.len() && !to_end {
                return true;
            }
        }
    }
}

/// How a job begins at most pools: nothing is searched where thousands of them come at once.
const NOTIFY: &[u8] = b"{\"id\":null,\"method\":\"mining.notify\"";

fn contains(line: &[u8], part: &[u8]) -> bool {
    line.windows(part.len()).any(|window| window == part)
}

/// Tells lines apart by what all pools write, without reading them as JSON: a load generator must cost little.
fn classify(line: &[u8]) -> Line<'_> {
    if line.starts_with(NOTIFY) {
        return Line::Job(line);
    }
    let head = &line[..line.len().min(120)];
    if contains(head, b"mining.notify\"") && contains(head, b"\"method\"") {
        return Line::Job(line);
    }
    if contains(head, b"\"method\"") {
        return Line::Other;
    }
    let id = head.windows(5).position(|window| window == b"\"id\":").map(|at| &head[at + 5..]);
    let digits = id.map_or(&[][..], |id| {
        let id = id.trim_ascii_start();
        &id[..id.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(id.len())]
    });
    let id = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse::<u64>().ok());
    let accepted = contains(head, b"\"result\":true") || contains(head, b"\"result\": true");
    match id {
        Some(AUTHORIZE) if accepted => Line::LoggedIn,
        Some(AUTHORIZE) => Line::LoginRefused,
        Some(id) if id >= FIRST_SHARE && accepted => Line::Accepted,
        Some(id) if id >= FIRST_SHARE => Line::Refused,
        _ => Line::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_many_pools_are_told_apart() {
        assert_eq!(classify(br#"{"id":2,"result":true,"error":null}"#), Line::LoggedIn);
        assert_eq!(classify(br#"{"result": true, "error": null, "id": 15}"#), Line::Accepted);
        assert_eq!(classify(br#"{"id":2,"result":null,"error":[24,"x",null]}"#), Line::LoginRefused);
        assert_eq!(
            classify(br#"{"id":15,"result":null,"error":[22,"Duplicate share",null]}"#),
            Line::Refused
        );
        assert!(matches!(classify(br#"{"id":null,"method":"mining.notify","params":["1f"]}"#), Line::Job(_)));
        assert_eq!(classify(br#"{"id":null,"method":"mining.set_difficulty","params":[1]}"#), Line::Other);
        let subscribed = br#"{"id":1,"result":[[["mining.set_difficulty","1"],["mining.notify","1"]],"1",8],"error":null}"#;
        assert_eq!(classify(subscribed), Line::Other);
    }
}
