//! TLS for miners that want it: told from plain Stratum by the first byte, on every port. The certificate is read again when
//! its file changes, and when the operator says so.

use std::io::{self, Read as _, Write as _};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use mio::net::TcpStream;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection};

use super::connection::{Gone, UNSENT_MAX};
use crate::config::TlsConfig;

/// The first byte of a TLS connection: a handshake record (RFC 8446, section 5.1). No line of Stratum begins so.
const HANDSHAKE: u8 = 0x16;

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// One file is named without the other.
    #[error("pool.tls needs both a certificate and a key: set both files, or neither")]
    Half,
    /// A file cannot be read.
    #[error("{path}: {source}; it must hold PEM", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rustls::pki_types::pem::Error,
    },
    /// The two do not fit together, or are of a kind that is not supported.
    #[error("the certificate {certificate} and its key cannot be used: {source}", certificate = certificate.display())]
    Pair {
        /// The certificate's file.
        certificate: PathBuf,
        /// Why.
        source: rustls::Error,
    },
}

/// The certificate in use, and the files it came from.
pub(crate) struct Certificate {
    files: (PathBuf, PathBuf),
    current: Mutex<(Arc<ServerConfig>, [Option<SystemTime>; 2])>,
}

impl Certificate {
    /// Reads the files that the settings name, if they do.
    pub(super) fn load(config: &TlsConfig) -> Result<Option<Self>, TlsError> {
        let files = match (&config.certificate, &config.key) {
            (Some(certificate), Some(key)) => (certificate.clone(), key.clone()),
            (None, None) => return Ok(None),
            _ => return Err(TlsError::Half),
        };
        let times = changed(&files);
        let current = Mutex::new((read(&files)?, times));
        Ok(Some(Self { files, current }))
    }

    /// Reads the files again where they have changed, and says in the log how that went.
    pub(super) fn refresh(&self) {
        if self.lock().1 != changed(&self.files) {
            let _ = self.reload();
        }
    }

    /// Reads the files again, and says in the log how that went. The old pair stays in force where the new one cannot be used.
    pub(super) fn reload(&self) -> Result<(), TlsError> {
        self.lock().1 = changed(&self.files);
        let path = self.files.0.display();
        match read(&self.files) {
            Ok(new) => {
                self.lock().0 = new;
                tracing::info!("the certificate {path} is read: new connections get it");
                Ok(())
            }
            Err(error) => {
                tracing::error!(
                    "the certificate that was in force stays in force, until {path} and its key can be used: {error}"
                );
                Err(error)
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, (Arc<ServerConfig>, [Option<SystemTime>; 2])> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection that begins with this byte is TLS.
    pub(super) fn wanted(first: u8) -> bool {
        first == HANDSHAKE
    }

    /// A new connection's state.
    pub(super) fn accept(&self) -> Result<Box<Tls>, Gone> {
        let config = Arc::clone(&self.lock().0);
        let mut connection = ServerConnection::new(config).map_err(|_| Gone("tls"))?;
        connection.set_buffer_limit(Some(UNSENT_MAX));
        Ok(Box::new(Tls(connection)))
    }
}

fn changed(files: &(PathBuf, PathBuf)) -> [Option<SystemTime>; 2] {
    [&files.0, &files.1].map(|path| std::fs::metadata(path).and_then(|file| file.modified()).ok())
}

fn read((certificate, key): &(PathBuf, PathBuf)) -> Result<Arc<ServerConfig>, TlsError> {
    let file = |path: &PathBuf| {
        let path = path.clone();
        move |source| TlsError::File { path, source }
    };
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect).map_err(file(certificate))?;
    let secret = PrivateKeyDer::from_pem_file(key).map_err(file(key))?;
    let pair = |source| TlsError::Pair { certificate: certificate.clone(), source };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(pair)?
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .map_err(pair)?;
    // Miners hold a connection for days: nothing to resume, nothing to keep for it.
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// One connection's encryption.
pub(super) struct Tls(ServerConnection);

impl Tls {
    /// Takes what came from the socket, and appends what it says to `plain`.
    pub(super) fn receive(&mut self, mut bytes: &[u8], plain: &mut Vec<u8>) -> Result<(), Gone> {
        while !bytes.is_empty() {
            self.0.read_tls(&mut bytes).map_err(|_| Gone("tls"))?;
            let state = self.0.process_new_packets().map_err(|_| Gone("tls"))?;
            let start = plain.len();
            plain.resize(start + state.plaintext_bytes_to_read(), 0);
            self.0.reader().read_exact(&mut plain[start..]).map_err(|_| Gone("tls"))?;
        }
        Ok(())
    }

    /// Encrypts bytes to be sent by [`Tls::flush`].
    pub(super) fn say(&mut self, bytes: &[u8]) -> Result<(), Gone> {
        match self.0.writer().write(bytes) {
            Ok(written) if written == bytes.len() => Ok(()),
            // Its buffer is full.
            _ => Err(Gone("slow_reader")),
        }
    }

    /// True where the socket has taken all.
    pub(super) fn is_sent(&self) -> bool {
        !self.0.wants_write()
    }

    /// Sends what is encrypted, as much as the socket takes.
    pub(super) fn flush(&mut self, stream: &mut TcpStream) -> Result<(), Gone> {
        while self.0.wants_write() {
            match self.0.write_tls(stream) {
                Ok(0) => return Err(Gone("broken")),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Err(Gone("broken")),
            }
        }
        Ok(())
    }
}
