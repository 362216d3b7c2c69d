//! A JSON-RPC client for this node and for bitcoind and its kin.
//!
//! `lode cli` and the pool's external-node template source call it. One client keeps its connections open and may be
//! shared; every call has a timeout; a cookie is read again when the node refuses it (a restarted node writes a new
//! one).

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::auth::Credentials;
use super::error::RpcError;

/// Largest reply: `getblock` of the largest block with full detail stays far below.
const REPLY_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Time to open a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for a call, unless [`RpcClient::call_within`] says otherwise.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// An idle connection is kept this long; bitcoind closes them after 30 s.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);

/// How a client shows who it is.
#[derive(Debug, Clone)]
pub enum RpcAuth {
    /// The node's cookie file, read before the first call and again whenever the node refuses.
    Cookie(PathBuf),
    /// A user and password.
    User(Credentials),
}

/// Why a call gave no result.
#[derive(Debug, thiserror::Error)]
pub enum RpcClientError {
    /// The address is no `http://HOST:PORT`.
    #[error("'{0}' is not an RPC address; use http://HOST:PORT or HOST:PORT")]
    Address(String),
    /// The cookie file cannot be read: mostly because no node runs there.
    #[error("cannot read the RPC cookie {path}: {error}; is the node running, with this data directory?")]
    Cookie {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// No connection, or it broke.
    #[error("no answer from the node at {address}: {reason}")]
    Connection {
        /// Where.
        address: String,
        /// Why.
        reason: String,
    },
    /// No reply in time.
    #[error("the node at {address} did not answer {method} within {seconds} s")]
    Timeout {
        /// Where.
        address: String,
        /// The call.
        method: String,
        /// How long it had.
        seconds: u64,
    },
    /// The node refused user and password.
    #[error("the node at {0} refused the user and password (or the cookie)")]
    Unauthorized(String),
    /// A reply that is no JSON-RPC.
    #[error("the node at {address} answered HTTP {status}: {text}")]
    Http {
        /// Where.
        address: String,
        /// The HTTP status.
        status: u16,
        /// The first bytes of its body.
        text: String,
    },
    /// The node answered with an error.
    #[error(transparent)]
    Rpc(#[from] RpcError),
}

/// A reply object.
#[derive(Deserialize)]
struct Reply<T> {
    #[serde(default = "none")]
    result: Option<T>,
    #[serde(default)]
    error: Option<RpcError>,
}

fn none<T>() -> Option<T> {
    None
}

/// A JSON-RPC client.
pub struct RpcClient {
    uri: Uri,
    address: String,
    auth: RpcAuth,
    /// The `Authorization` header in use.
    header: Mutex<Option<String>>,
    http: Client<HttpConnector, Full<Bytes>>,
    next_id: AtomicU64,
}

impl std::fmt::Debug for RpcClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RpcClient").field("address", &self.address).finish_non_exhaustive()
    }
}

impl RpcClient {
    /// A client for the node at `address` (`http://HOST:PORT` or `HOST:PORT`). Connects at the first call.
    ///
    /// # Errors
    /// [`RpcClientError::Address`].
    pub fn new(address: &str, auth: RpcAuth) -> Result<Self, RpcClientError> {
        let bad = || RpcClientError::Address(address.to_string());
        let full = if address.contains("://") { address.to_string() } else { format!("http://{address}/") };
        let uri: Uri = full.parse().map_err(|_| bad())?;
        if uri.scheme_str() != Some("http") || uri.port_u16().is_none() {
            return Err(bad());
        }
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let http = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .build(connector);
        let address = uri.authority().map_or_else(|| address.to_string(), ToString::to_string);
        Ok(Self { uri, address, auth, header: Mutex::new(None), http, next_id: AtomicU64::new(1) })
    }

    /// Host and port, for messages.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Calls `method` with `params` (array or object), within [`CALL_TIMEOUT`].
    ///
    /// # Errors
    /// [`RpcClientError::Rpc`] if the node answered with an error, others if it did not answer.
    pub async fn call(&self, method: &str, params: Value) -> Result<Value, RpcClientError> {
        self.call_within(method, params, CALL_TIMEOUT).await
    }

    /// Calls `method` and waits up to `timeout` for the reply: for long polls.
    ///
    /// # Errors
    /// As [`RpcClient::call`].
    pub async fn call_within(
        &self,
        method: &str,
        params: Value,
        timeout: Duration,
    ) -> Result<Value, RpcClientError> {
        Ok(self.call_as::<Value>(method, params, timeout).await?.unwrap_or(Value::Null))
    }

    /// Calls `method` and reads the result as a `T` straight from the reply's bytes: for large ones. `None` is a
    /// result of null.
    ///
    /// # Errors
    /// As [`RpcClient::call`]; a result that is no `T` is [`RpcClientError::Http`].
    pub async fn call_as<T: DeserializeOwned>(
        &self,
        method: &str,
        params: Value,
        timeout: Duration,
    ) -> Result<Option<T>, RpcClientError> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let request = json!({"jsonrpc": "1.0", "id": id, "method": method, "params": params});
        let body = Bytes::from(request.to_string());
        let exchange = self.exchange(method, body);
        let (status, bytes) =
            tokio::time::timeout(timeout, exchange).await.map_err(|_| RpcClientError::Timeout {
                address: self.address.clone(),
                method: method.to_string(),
                seconds: timeout.as_secs(),
            })??;
        match serde_json::from_slice::<Reply<T>>(&bytes) {
            Ok(Reply { error: Some(error), .. }) => Err(error.into()),
            Ok(Reply { result, error: None }) if status == StatusCode::OK => Ok(result),
            _ => Err(RpcClientError::Http {
                address: self.address.clone(),
                status: status.as_u16(),
                text: String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).trim().to_string(),
            }),
        }
    }

    /// Sends `body`; once more with a fresh cookie if the node refuses the one in use.
    async fn exchange(&self, method: &str, body: Bytes) -> Result<(StatusCode, Bytes), RpcClientError> {
        let known = self.header.lock().ok().and_then(|header| header.clone());
        let fresh = known.is_none();
        let header = match known {
            Some(header) => header,
            None => self.read_credentials()?,
        };
        let (status, bytes) = self.post(method, &header, body.clone()).await?;
        if status != StatusCode::UNAUTHORIZED {
            return Ok((status, bytes));
        }
        if fresh || matches!(self.auth, RpcAuth::User(_)) {
            return Err(RpcClientError::Unauthorized(self.address.clone()));
        }
        let header = self.read_credentials()?;
        let (status, bytes) = self.post(method, &header, body).await?;
        if status == StatusCode::UNAUTHORIZED {
            return Err(RpcClientError::Unauthorized(self.address.clone()));
        }
        Ok((status, bytes))
    }

    fn read_credentials(&self) -> Result<String, RpcClientError> {
        let header = match &self.auth {
            RpcAuth::User(credentials) => credentials.basic(),
            RpcAuth::Cookie(path) => Credentials::from_cookie(path)
                .map_err(|error| RpcClientError::Cookie { path: path.clone(), error })?
                .basic(),
        };
        if let Ok(mut kept) = self.header.lock() {
            *kept = Some(header.clone());
        }
        Ok(header)
    }

    async fn post(
        &self,
        method: &str,
        header: &str,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), RpcClientError> {
        let failed = |reason: String| RpcClientError::Connection { address: self.address.clone(), reason };
        let request = Request::builder()
            .method(Method::POST)
            .uri(self.uri.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(AUTHORIZATION, header)
            .body(Full::new(body))
            .map_err(|error| failed(error.to_string()))?;
        tracing::trace!(address = %self.address, method, "RPC call");
        let response = self.http.request(request).await.map_err(|error| failed(chain_of(&error)))?;
        let status = response.status();
        let bytes = Limited::new(response.into_body(), REPLY_BYTES_MAX)
            .collect()
            .await
            .map_err(|error| failed(error.to_string()))?
            .to_bytes();
        Ok((status, bytes))
    }
}

/// An error's causes in one line, the innermost last.
fn chain_of(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}
