//! Who may call: the cookie file a node writes when it starts, and a user with a password from the configuration.

use std::io::Write;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

/// User name in a cookie file, as bitcoind writes it.
const COOKIE_USER: &str = "__cookie__";

/// A user and password that may call besides the cookie.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// User name; may not contain `:`.
    pub user: String,
    /// Password; comes from a file or the environment, never from a flag.
    pub password: String,
}

impl std::fmt::Debug for Credentials {
    /// Without the password: this may end in a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:***", self.user)
    }
}

impl Credentials {
    /// The value of an `Authorization` header.
    pub fn basic(&self) -> String {
        format!("Basic {}", BASE64.encode(format!("{}:{}", self.user, self.password)))
    }

    /// Reads a cookie file: `user:password` in one line.
    ///
    /// # Errors
    /// The file cannot be read, or holds no `:`.
    pub fn from_cookie(path: &Path) -> std::io::Result<Self> {
        let text = std::fs::read_to_string(path)?;
        let line = text.lines().next().unwrap_or_default();
        let (user, password) = line
            .split_once(':')
            .ok_or_else(|| std::io::Error::new(std::io::ErrorKind::InvalidData, "no user:password in it"))?;
        Ok(Self { user: user.into(), password: password.into() })
    }
}

/// A cookie file: made when the RPC server starts, removed when it is dropped.
#[derive(Debug)]
pub(crate) struct Cookie {
    path: PathBuf,
    credentials: Credentials,
}

impl Cookie {
    /// Writes a fresh cookie to `path`, readable by its owner only. It appears whole or not at all.
    pub(crate) fn create(path: PathBuf) -> std::io::Result<Self> {
        let credentials =
            Credentials { user: COOKIE_USER.into(), password: hex::encode(rand::random::<[u8; 32]>()) };
        let temporary = path.with_extension("cookie.tmp");
        let _ = std::fs::remove_file(&temporary);
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&temporary)?;
        write!(file, "{}:{}", credentials.user, credentials.password)?;
        file.sync_all()?;
        std::fs::rename(&temporary, &path)?;
        Ok(Self { path, credentials })
    }
}

impl Drop for Cookie {
    fn drop(&mut self) {
        // A later node may have written its own by now only if it got the directory's lock, which we still hold.
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove the RPC cookie file");
        }
    }
}

/// Everybody who may call.
#[derive(Debug)]
pub(crate) struct Auth {
    /// The cookie, kept here so that the file goes when the server goes.
    pub(crate) cookie: Option<Cookie>,
    /// The configured user.
    pub(crate) user: Option<Credentials>,
}

impl Auth {
    /// Whether an `Authorization` header lets its sender in.
    pub(crate) fn allows(&self, header: &[u8]) -> bool {
        let Some(encoded) = header.strip_prefix(b"Basic ") else { return false };
        let Ok(given) = BASE64.decode(encoded.trim_ascii()) else { return false };
        let mut allowed = false;
        for known in self.cookie.iter().map(|c| &c.credentials).chain(&self.user) {
            let wanted = format!("{}:{}", known.user, known.password);
            allowed |= same(wanted.as_bytes(), &given);
        }
        allowed
    }
}

/// Compares in a time that depends on the lengths only.
fn same(a: &[u8], b: &[u8]) -> bool {
    let mut difference = a.len() ^ b.len();
    for (i, byte) in b.iter().enumerate() {
        difference |= usize::from(byte ^ a.get(i % a.len().max(1)).copied().unwrap_or(0));
    }
    difference == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookie_file_round_trips_and_goes_with_its_server() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".cookie");
        let auth = Auth { cookie: Some(Cookie::create(path.clone()).unwrap()), user: None };
        let read = Credentials::from_cookie(&path).unwrap();
        assert!(auth.allows(read.basic().as_bytes()));
        assert!(!auth.allows(b"Basic AAAA"));
        assert!(!auth.allows(b""));
        drop(auth);
        assert!(!path.exists());
    }

    #[test]
    fn a_configured_user_is_let_in_and_nobody_else() {
        let user = Credentials { user: "alice".into(), password: "a:b".into() };
        let auth = Auth { cookie: None, user: Some(user.clone()) };
        assert!(auth.allows(user.basic().as_bytes()));
        let wrong = Credentials { password: "a:c".into(), ..user };
        assert!(!auth.allows(wrong.basic().as_bytes()));
        assert!(
            !auth.allows(Credentials { user: String::new(), password: String::new() }.basic().as_bytes())
        );
    }

    #[test]
    fn comparison_of_unequal_lengths() {
        assert!(same(b"", b""));
        assert!(!same(b"", b"a"));
        assert!(!same(b"a", b""));
        assert!(!same(b"aa", b"a"));
        assert!(same(b"ab", b"ab"));
    }
}
