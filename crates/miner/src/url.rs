//! Where the work comes from, as written on the command line: a pool, or a node to mine alone with.

use std::fmt;
use std::str::FromStr;

/// A pool's address: `stratum+tcp://HOST:PORT`, `stratum://`, `tcp://` or just `HOST:PORT`; encrypted with
/// `stratum+ssl://`, `stratum+tls://`, `ssl://` or `tls://`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolUrl {
    host: String,
    port: u16,
    encrypted: bool,
}

/// Text that is no address of a pool.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PoolUrlError {
    /// A scheme this miner does not speak.
    #[error("{0}:// is not spoken here; use stratum+tcp://HOST:PORT or stratum+ssl://HOST:PORT")]
    Scheme(String),
    /// No port, or none that is one.
    #[error("{0:?} names no port; use stratum+tcp://HOST:PORT")]
    Port(String),
    /// No host.
    #[error("{0:?} names no host; use stratum+tcp://HOST:PORT")]
    Host(String),
}

impl PoolUrl {
    /// The address of a host (a name, or an IP address without brackets) and a port.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self { host: host.into(), port, encrypted: false }
    }

    /// Host name or IP address, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The same pool at another port.
    #[must_use]
    pub(crate) fn with_port(&self, port: u16) -> Self {
        Self { port, ..self.clone() }
    }

    /// True where the connection is to be encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.encrypted
    }

    fn scheme(&self) -> &'static str {
        if self.encrypted { "stratum+ssl" } else { "stratum+tcp" }
    }
}

impl FromStr for PoolUrl {
    type Err = PoolUrlError;

    fn from_str(text: &str) -> Result<Self, PoolUrlError> {
        let text = text.trim();
        let (encrypted, rest) = match text.split_once("://") {
            Some((scheme, rest)) => match scheme.to_ascii_lowercase().as_str() {
                "stratum+tcp" | "stratum" | "tcp" => (false, rest),
                "stratum+ssl" | "stratum+tls" | "ssl" | "tls" => (true, rest),
                _ => return Err(PoolUrlError::Scheme(scheme.to_owned())),
            },
            None => (false, text),
        };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let (host, port) = authority.rsplit_once(':').ok_or_else(|| PoolUrlError::Port(text.to_owned()))?;
        let port = port.parse().ok().filter(|&port| port != 0);
        let port = port.ok_or_else(|| PoolUrlError::Port(text.to_owned()))?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if host.is_empty() || host.contains('@') {
            return Err(PoolUrlError::Host(text.to_owned()));
        }
        Ok(Self { encrypted, ..Self::new(host, port) })
    }
}

impl fmt::Display for PoolUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "{}://[{}]:{}", self.scheme(), self.host, self.port)
        } else {
            write!(f, "{}://{}:{}", self.scheme(), self.host, self.port)
        }
    }
}

/// A node's JSON-RPC address: `http://HOST:PORT`, with `USER:PASSWORD@` in front of the host where it has one.
#[derive(Clone, PartialEq, Eq)]
pub struct NodeUrl {
    host: String,
    port: u16,
    credentials: Option<String>,
}

impl NodeUrl {
    /// Host name or IP address, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `USER:PASSWORD`.
    pub fn credentials(&self) -> Option<&str> {
        self.credentials.as_deref()
    }

    /// The same node with these credentials, `USER:PASSWORD` as a node's cookie file holds them.
    #[must_use]
    pub fn with_credentials(mut self, credentials: impl Into<String>) -> Self {
        self.credentials = Some(credentials.into());
        self
    }
}

impl FromStr for NodeUrl {
    type Err = PoolUrlError;

    fn from_str(text: &str) -> Result<Self, PoolUrlError> {
        let text = text.trim();
        let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
        if !scheme.eq_ignore_ascii_case("http") {
            return Err(PoolUrlError::Scheme(scheme.to_owned()));
        }
        // A password may hold an @, a host may not.
        let (credentials, rest) = match rest.rsplit_once('@') {
            Some((credentials, rest)) => (Some(credentials.to_owned()), rest),
            None => (None, rest),
        };
        let address: PoolUrl = rest.parse()?;
        Ok(Self { host: address.host, port: address.port, credentials })
    }
}

impl fmt::Display for NodeUrl {
    /// Without the credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "http://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "http://{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Debug for NodeUrl {
    /// Without the credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Either of the two, told apart by the scheme.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkUrl {
    /// A pool, over Stratum.
    Pool(PoolUrl),
    /// A node, over JSON-RPC.
    Node(NodeUrl),
}

impl FromStr for WorkUrl {
    type Err = PoolUrlError;

    fn from_str(text: &str) -> Result<Self, PoolUrlError> {
        let node = text.trim().get(..7).is_some_and(|start| start.eq_ignore_ascii_case("http://"));
        if node { text.parse().map(Self::Node) } else { text.parse().map(Self::Pool) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (text, host, port) in [
            ("stratum+tcp://pool.example:3333", "pool.example", 3333),
            ("127.0.0.1:3333", "127.0.0.1", 3333),
            ("stratum+tcp://[::1]:3333/", "::1", 3333),
            ("TCP://a:1", "a", 1),
            ("stratum+ssl://a:1", "a", 1),
            ("stratum+tls://[::1]:1", "::1", 1),
        ] {
            let url: PoolUrl = text.parse().unwrap();
            assert_eq!((url.host(), url.port()), (host, port), "{text}");
            assert_eq!(url.to_string().parse(), Ok(url));
        }
        for bad in
            ["", "pool", "pool:", "pool:0", "pool:99999", ":3333", "stratum2+tcp://pool:1", "http://a:1"]
        {
            assert!(bad.parse::<PoolUrl>().is_err(), "{bad}");
        }
    }

    #[test]
    fn nodes() {
        let url: NodeUrl = "http://me:se@cret@[::1]:8332/".parse().unwrap();
        assert_eq!((url.host(), url.port(), url.credentials()), ("::1", 8332, Some("me:se@cret")));
        assert!(!format!("{url} {url:?}").contains("cret"), "a password is not shown");
        assert!(matches!("HTTP://a:1".parse(), Ok(WorkUrl::Node(_))));
        assert!(matches!("a:1".parse(), Ok(WorkUrl::Pool(_))));
        assert!("https://a:1".parse::<WorkUrl>().is_err());
    }
}
